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


def test_the_network_of_one_is_cut_while_both_type(shared_lab: LabProcess, join: Join) -> None:
    path = write_notebook(shared_lab.root, "cut.ipynb", "a\nb")
    ada, bob = join(shared_lab, path, "ada"), join(shared_lab, path, "bob")
    ada.click(0, line=0)
    bob.click(0, line=1)
    ada.cut()
    ada.wait_status("Offline")
    ada.type(" by ada, offline")
    bob.type(" by bob")
    bob.wait_status("Live")
    assert bob.sources() == ["a\nb by bob"]
    ada.mend()
    ada.wait_status("Live")
    assert same(ada, bob) == ["a by ada, offline\nb by bob"]


def test_a_tab_is_reloaded_while_offline_edits_wait(own_lab: LabProcess, join: Join) -> None:
    path = write_notebook(own_lab.root, "reload.ipynb", "a")
    ada, bob = join(own_lab, path, "ada"), join(own_lab, path, "bob")
    ada.click(0)
    ada.cut()
    ada.wait_status("Offline")
    ada.type(" kept")
    ada.wait_status("Offline, ")
    bob.click(0)
    bob.press("Home")
    bob.type("# ")
    bob.wait_status("Live")
    ada.mend_at_reload(path)
    assert same(ada, bob) == ["# a kept"]


def test_the_file_is_changed_on_disk_while_both_type(shared_lab: LabProcess, join: Join) -> None:
    path = write_notebook(shared_lab.root, "disk.ipynb", "a\nb", "c")
    ada, bob = join(shared_lab, path, "ada"), join(shared_lab, path, "bob")
    write_notebook(shared_lab.root, path, "a\nb", "c", "from outside")
    ada.click(0, line=0)
    ada.type(" by ada")
    bob.click(0, line=1)
    bob.type(" by bob")
    wanted = ["a by ada\nb by bob", "c", "from outside"]
    assert same(ada, bob, until=lambda cells: cells == wanted) == wanted
    assert ada.page.locator(".jp-Dialog").count() == 0


def test_the_file_is_renamed_while_both_type(shared_lab: LabProcess, join: Join) -> None:
    path = write_notebook(shared_lab.root, "old-name.ipynb", "a\nb")
    ada, bob = join(shared_lab, path, "ada"), join(shared_lab, path, "bob")
    bob.click(0, line=1)
    bob.type(" by")
    ada.page.evaluate(
        "([from, to]) => window.jupyterapp.serviceManager.contents.rename(from, to)",
        [path, "new-name.ipynb"],
    )
    bob.type(" bob")
    tab = "() => document.title.includes('new-name') || !!document.querySelector("
    for person in (ada, bob):
        person.wait(tab + "'.lm-TabBar-tab.jp-mod-current[title*=\"new-name\"]')")
    ada.click(0, line=0)
    ada.type(" by ada")
    assert same(ada, bob, until=lambda cells: "ada" in cells[0]) == ["a by ada\nb by bob"]
