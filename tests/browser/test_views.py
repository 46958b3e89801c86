"""Other programs, other documents, other rights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

from .conftest import Join
from .lab import LabProcess, NotebookProcess, same, write_notebook


def test_a_text_file(shared_lab: LabProcess, join: Join) -> None:
    (shared_lab.root / "m.py").write_text("x = 1\ny = 2\n")
    ada, bob = join(shared_lab, "m.py", "ada"), join(shared_lab, "m.py", "bob")
    text = "text => window.jupyterapp.shell.currentWidget.context.model.sharedModel.getSource()"
    for person, line in ((ada, 0), (bob, 1)):
        person.page.locator(".jp-FileEditor .cm-line").nth(line).click()
        person.press("End")
    for one, two in zip("  # ada", "  # bob", strict=True):
        ada.type(one)
        bob.type(two)
    for person in (ada, bob):
        person.wait(f"{text} === 'x = 1  # ada\\ny = 2  # bob\\n'")
        person.wait_status("Live")
    ada.page.locator(".ot-Caret").wait_for(state="attached")


def test_save_asks_nothing(shared_lab: LabProcess, join: Join) -> None:
    path = write_notebook(shared_lab.root, "save.ipynb", "a")
    ada, bob = join(shared_lab, path, "ada"), join(shared_lab, path, "bob")
    for person, key in ((ada, "1"), (bob, "2")):
        person.click(0)
        person.type(key)
        person.command("docmanager:save")
        assert person.page.locator(".jp-Dialog").count() == 0
    (text,) = same(ada, bob, until=lambda cells: len(cells[0]) == 3)
    ada.command("docmanager:save")
    assert nbformat.read(shared_lab.root / path, as_version=4).cells[0].source == text
    ada.command("application:close")
    ada.wait("() => document.querySelectorAll('.jp-NotebookPanel').length === 0")
    assert ada.page.locator(".jp-Dialog").count() == 0


def test_share_copies_a_link_that_opens_the_notebook(shared_lab: LabProcess, join: Join) -> None:
    path = write_notebook(shared_lab.root, "a name.ipynb", "shared")
    ada = join(shared_lab, path, "ada")
    ada.page.get_by_title("Share: copy a link").first.click()
    ada.page.get_by_text("The link is copied").wait_for()
    link = ada.page.evaluate("() => navigator.clipboard.readText()")
    ada.page.goto(link)
    ada.wait_status("Live")
    assert ada.sources() == ["shared"]


def test_carets_presence_and_following(shared_lab: LabProcess, join: Join) -> None:
    sources = [f"cell {index}\n" * 6 for index in range(12)]
    path = write_notebook(shared_lab.root, "carets.ipynb", *sources)
    ada, bob = join(shared_lab, path, "ada"), join(shared_lab, path, "bob")
    bob.click(0)
    ada.cell(0).locator(".ot-Caret").wait_for(state="attached")
    ada.cell(0).locator(".ot-CellPeople").wait_for()
    badge = ada.page.locator(".ot-Presence button")
    assert "cell 1" in (badge.get_attribute("title") or "")
    badge.click()
    bob.page.locator(".jp-Notebook .jp-WindowedPanel-outer, .jp-WindowedPanel-outer").first.hover()
    bob.page.mouse.wheel(0, 10000)
    bob.page.locator(".jp-Cell", has_text="cell 11").locator(".cm-content").click()
    ada.page.locator(".jp-Cell", has_text="cell 11").locator(".ot-Caret").wait_for()
    bob.close()
    ada.wait("() => document.querySelectorAll('.ot-Presence button, .ot-Caret').length === 0")


def test_who_may_not_write_follows_live_and_changes_nothing(
    shared_lab: LabProcess, join: Join
) -> None:
    path = write_notebook(shared_lab.root, "guest.ipynb", "a", "b")
    ada, guest = join(shared_lab, path, "ada"), join(shared_lab, path, "guest")
    guest.wait_status("Read only")
    ada.click(0)
    ada.type(" by ada")
    guest.wait_sources(["a by ada", "b"])
    guest.click(1)
    guest.type("x")
    guest.press("Escape", "a")  # a new cell
    guest.command("notebook:delete-cell")
    ada.type("!")
    guest.wait_sources(["a by ada!", "b"])
    assert ada.sources() == ["a by ada!", "b"]
    assert guest.page.locator(".jp-Dialog").count() == 0


def test_a_notebook_as_text_can_only_be_read(shared_lab: LabProcess, join: Join) -> None:
    path = write_notebook(shared_lab.root, "both-views.ipynb", "as a notebook")
    ada = join(shared_lab, path, "ada")
    ada.command("docmanager:open", path=path, factory="Editor")
    text = ada.page.locator(".jp-FileEditor .cm-content")
    text.get_by_text("as a notebook").wait_for()
    before = ada.model("model => model.getSource()")
    text.click()
    ada.type("x")
    assert ada.model("model => model.getSource()") == before


def test_500_cells(shared_lab: LabProcess, join: Join) -> None:
    path = write_notebook(shared_lab.root, "many.ipynb", *[f"x{i} = {i}" for i in range(500)])
    ada, bob = join(shared_lab, path, "ada"), join(shared_lab, path, "bob")
    ada.click(0)
    ada.type("  # ada")
    assert len(same(ada, bob, until=lambda cells: "ada" in cells[0])) == 500


@pytest.fixture
def notebook7(tmp_path: Path) -> Iterator[NotebookProcess]:
    with NotebookProcess(tmp_path) as server:
        yield server


def test_notebook_7(notebook7: NotebookProcess, join: Join) -> None:
    path = write_notebook(notebook7.root, "seven.ipynb", "a", "print(6 * 7)")
    ada, bob = join(notebook7, path, "ada"), join(notebook7, path, "bob")
    ada.click(0)
    ada.type(" by ada")
    bob.click(1)
    bob.press("Control+Enter")
    ada.wait_output(1, "42")
    assert same(ada, bob)[0] == "a by ada"
