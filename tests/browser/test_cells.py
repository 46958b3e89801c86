"""Cells that are moved, changed, split and merged while somebody types in them."""

from __future__ import annotations

from .conftest import Join
from .lab import LabProcess, same, write_notebook


def test_a_cell_is_moved_while_the_other_types_in_it(shared_lab: LabProcess, join: Join) -> None:
    path = write_notebook(shared_lab.root, "move.ipynb", "one", "two", "three")
    ada, bob = join(shared_lab, path, "ada"), join(shared_lab, path, "bob")
    bob.click(0)
    bob.type("#a")
    ada.click(0)
    ada.press("Escape")
    ada.command("notebook:move-cell-down")
    bob.type("b")
    ada.command("notebook:move-cell-down")
    bob.type("c")
    assert same(ada, bob, until=lambda cells: cells[2].endswith("c")) == ["two", "three", "one#abc"]
    assert ada.ids() == ["c1", "c2", "c0"]


def test_the_type_is_changed_while_the_other_types(shared_lab: LabProcess, join: Join) -> None:
    path = write_notebook(shared_lab.root, "type.ipynb", "one", "two")
    ada, bob = join(shared_lab, path, "ada"), join(shared_lab, path, "bob")
    bob.click(0)
    bob.type("#a")
    ada.click(0)
    ada.press("Escape", "m")
    bob.wait("() => document.querySelector('.jp-Cell').classList.contains('jp-MarkdownCell')")
    bob.click(0)
    bob.type("b")
    assert same(ada, bob, until=lambda cells: cells[0].endswith("b")) == ["one#ab", "two"]
    assert ada.ids() == bob.ids() == ["c0", "c1"]


def test_split_and_merge(shared_lab: LabProcess, join: Join) -> None:
    path = write_notebook(shared_lab.root, "split.ipynb", "a = 1\nb = 2", "c = 3")
    ada, bob = join(shared_lab, path, "ada"), join(shared_lab, path, "bob")
    bob.click(1)
    ada.click(0, line=0)
    ada.command("notebook:split-cell-at-cursor")
    bob.type("0")
    assert same(ada, bob, until=lambda cells: len(cells) == 3) == ["a = 1", "b = 2", "c = 30"]
    ada.click(1)
    ada.press("Escape")
    ada.command("notebook:merge-cell-above")
    assert same(ada, bob, until=lambda cells: len(cells) == 2) == ["a = 1\n\nb = 2", "c = 30"]


def test_a_new_notebook_has_one_first_cell_for_two_who_open_it(
    shared_lab: LabProcess, join: Join
) -> None:
    path = write_notebook(shared_lab.root, "new.ipynb")
    ada, bob = join(shared_lab, path, "ada"), join(shared_lab, path, "bob")
    assert same(ada, bob, until=lambda cells: len(cells) == 1) == [""]
    ada.click(0)
    ada.type("x")
    bob.wait_sources(["x"])


def test_a_cell_is_deleted_and_comes_back_by_undo(shared_lab: LabProcess, join: Join) -> None:
    path = write_notebook(shared_lab.root, "delete.ipynb", "one", "two")
    ada, bob = join(shared_lab, path, "ada"), join(shared_lab, path, "bob")
    ada.click(0)
    ada.press("Escape", "d", "d")
    bob.wait_sources(["two"])
    bob.click(0)
    bob.type("#b")
    ada.wait_sources(["two#b"])
    ada.press("z")
    assert same(ada, bob, until=lambda cells: len(cells) == 2) == ["one", "two#b"]
    assert ada.ids() == ["c0", "c1"]


def test_emoji(shared_lab: LabProcess, join: Join) -> None:
    path = write_notebook(shared_lab.root, "emoji.ipynb", "👍🏽 = '😀'")
    ada, bob = join(shared_lab, path, "ada"), join(shared_lab, path, "bob")
    ada.click(0)
    bob.click(0)
    bob.press("ArrowLeft", "ArrowLeft")
    for one, two in zip("🎉x🎈", "😎yé", strict=True):
        ada.page.keyboard.insert_text(one)
        bob.page.keyboard.insert_text(two)
    assert same(ada, bob, until=lambda cells: "🎈" in cells[0] and "é" in cells[0]) == [
        "👍🏽 = '😎yé😀'🎉x🎈"
    ]


def test_an_input_method_composes_while_the_other_types(shared_lab: LabProcess, join: Join) -> None:
    path = write_notebook(shared_lab.root, "method.ipynb", "a\nb")
    ada, bob = join(shared_lab, path, "ada"), join(shared_lab, path, "bob")
    ada.click(0, line=1)
    bob.click(0, line=1)
    method = ada.context.new_cdp_session(ada.page)
    for composed in ("に", "にほ", "にほん"):
        method.send(
            "Input.imeSetComposition",
            {"text": composed, "selectionStart": len(composed), "selectionEnd": len(composed)},
        )
        bob.type("x")
        bob.wait_status("Live")
    method.send("Input.insertText", {"text": "日本"})
    (text,) = same(ada, bob, until=lambda cells: "日本" in cells[0])
    assert text in ("a\nb日本xxx", "a\nbxxx日本")
