"""Two people in one notebook."""

from __future__ import annotations

from .conftest import Join
from .lab import LabProcess, same, write_notebook


def test_both_type_in_one_cell_at_once(shared_lab: LabProcess, join: Join) -> None:
    path = write_notebook(shared_lab.root, "both.ipynb", "first = 1\nsecond = 2")
    ada, bob = join(shared_lab, path, "ada"), join(shared_lab, path, "bob")
    ada.click(0, line=0)
    bob.click(0, line=1)
    for one, two in zip("  # by ada", "  # by bob", strict=True):
        ada.type(one)
        bob.type(two)
    assert same(ada, bob) == ["first = 1  # by ada\nsecond = 2  # by bob"]
    ada.wait_status("Live")


def test_both_type_at_one_spot_and_leave_two_whole_words(
    shared_lab: LabProcess, join: Join
) -> None:
    path = write_notebook(shared_lab.root, "spot.ipynb", "x")
    ada, bob = join(shared_lab, path, "ada"), join(shared_lab, path, "bob")
    ada.click(0)
    bob.click(0)
    for one, two in zip("AAAAAAAA", "BBBBBBBB", strict=True):
        ada.type(one)
        bob.type(two)
    (text,) = same(ada, bob)
    assert text in ("xAAAAAAAABBBBBBBB", "xBBBBBBBBAAAAAAAA")


def test_run_and_see_each_others_outputs(shared_lab: LabProcess, join: Join) -> None:
    path = write_notebook(shared_lab.root, "run.ipynb", "x = 20", "print('sum', x + 1)")
    ada, bob = join(shared_lab, path, "ada"), join(shared_lab, path, "bob")
    ada.click(0)
    ada.press("Shift+Enter")
    bob.click(1)
    bob.press("Control+Enter")
    ada.wait_output(1, "sum 21")
    bob.wait_output(1, "sum 21")
    prompt = ada.cell(1).locator(".jp-InputPrompt")
    ada.wait("node => node.textContent === '[2]:'", prompt.element_handle())
    assert ada.ids() == bob.ids()


def test_undo_of_one_leaves_the_text_of_the_other(shared_lab: LabProcess, join: Join) -> None:
    path = write_notebook(shared_lab.root, "undo.ipynb", "a\nb")
    ada, bob = join(shared_lab, path, "ada"), join(shared_lab, path, "bob")
    ada.click(0, line=0)
    ada.type(" by ada")
    bob.click(0, line=1)
    bob.type(" by bob")
    assert same(ada, bob, until=lambda cells: "by bob" in cells[0]) == ["a by ada\nb by bob"]
    ada.press("Control+z")
    assert same(ada, bob, until=lambda cells: "ada" not in cells[0]) == ["a\nb by bob"]
    ada.press("Control+Shift+z")
    assert same(ada, bob, until=lambda cells: "ada" in cells[0]) == ["a by ada\nb by bob"]
