"""Tabs that close and servers that die."""

from __future__ import annotations

from .conftest import Join
from .lab import LabProcess, same, write_notebook

SLOW = "import time\nfor i in range(20):\n    print('line', i, flush=True)\n    time.sleep(0.2)"


def test_the_tab_is_closed_while_a_cell_runs(shared_lab: LabProcess, join: Join) -> None:
    path = write_notebook(shared_lab.root, "closed.ipynb", SLOW)
    ada = join(shared_lab, path, "ada")
    ada.click(0)
    ada.press("Control+Enter")
    ada.wait_output(0, "line 0")
    ada.close()
    bob = join(shared_lab, path, "bob")
    bob.wait_output(0, "line 19")
    assert bob.outputs(0).splitlines() == [f"line {i}" for i in range(20)]


def test_the_server_is_killed_under_two_open_tabs(own_lab: LabProcess, join: Join) -> None:
    path = write_notebook(own_lab.root, "killed.ipynb", "a\nb")
    ada, bob = join(own_lab, path, "ada"), join(own_lab, path, "bob")
    own_lab.kill()
    ada.wait_status("Offline")
    bob.wait_status("Offline")
    ada.click(0, line=0)
    ada.type(" by ada")
    bob.click(0, line=1)
    bob.type(" by bob")
    ada.wait_status("Offline, ")
    own_lab.start()
    ada.wait_status("Live")
    bob.wait_status("Live")
    assert same(ada, bob, until=lambda cells: "bob" in cells[0]) == ["a by ada\nb by bob"]
    assert ada.page.locator(".jp-Dialog").count() == 0
