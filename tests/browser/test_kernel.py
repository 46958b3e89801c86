"""What kernels ask, and widgets."""

from __future__ import annotations

from .conftest import Join
from .lab import LabProcess, write_notebook

SLIDER = """\
import ipywidgets
slider = ipywidgets.IntSlider(value=3)
slider"""


def test_a_question_is_answered_by_the_other(shared_lab: LabProcess, join: Join) -> None:
    path = write_notebook(shared_lab.root, "input.ipynb", "print('hello', input('Who? '))")
    ada, bob = join(shared_lab, path, "ada"), join(shared_lab, path, "bob")
    ada.click(0)
    ada.press("Control+Enter")
    ada.page.get_by_label("Who?").wait_for()
    bob.page.get_by_label("Who?").fill("Bob")
    bob.press("Enter")
    ada.wait_output(0, "hello Bob")
    bob.wait_output(0, "hello Bob")
    assert ada.page.locator(".ot-Question").count() == 0


def test_a_slider_moved_by_one_moves_for_the_other(shared_lab: LabProcess, join: Join) -> None:
    path = write_notebook(shared_lab.root, "slider.ipynb", SLIDER, "print('now', slider.value)")
    ada, bob = join(shared_lab, path, "ada"), join(shared_lab, path, "bob")
    ada.click(0)
    ada.press("Control+Enter")
    for person in (ada, bob):
        person.cell(0).locator(".widget-readout").wait_for()
    handle = ada.cell(0).locator(".noUi-handle")
    handle.focus()
    ada.press("ArrowRight", "ArrowRight")
    bob.cell(0).locator(".widget-readout", has_text="5").wait_for()
    bob.click(1)
    bob.press("Control+Enter")
    ada.wait_output(1, "now 5")
    carol = join(shared_lab, path, "carol")
    # Nobody has said here that what others ran may come to life.
    carol.cell(0).locator(".jp-OutputArea-output", has_text="IntSlider").wait_for()
    carol.page.evaluate("() => void window.jupyterapp.commands.execute('notebook:trust')")
    carol.page.get_by_role("button", name="Confirm Trusting").click()
    carol.cell(0).locator(".widget-readout", has_text="5").wait_for()


def test_what_waits_says_so_and_interrupt_ends_it(shared_lab: LabProcess, join: Join) -> None:
    path = write_notebook(
        shared_lab.root, "queue.ipynb", "import time\nprint('begun')\ntime.sleep(600)", "print(1)"
    )
    ada, bob = join(shared_lab, path, "ada"), join(shared_lab, path, "bob")
    ada.click(0)
    ada.press("Shift+Enter")
    ada.wait_output(0, "begun")
    ada.click(1)
    ada.press("Control+Enter")
    waiting = bob.cell(1).locator(".jp-InputPrompt[data-ot-queue='1']")
    waiting.wait_for()
    assert "Number 1 in the queue" in (waiting.get_attribute("title") or "")
    bob.command("notebook:interrupt-kernel")
    ada.wait_output(0, "KeyboardInterrupt")
    bob.page.locator(".jp-Cell[data-ot-run='aborted']").wait_for()
    assert bob.outputs(1) == ""


def test_restart_and_run_all(shared_lab: LabProcess, join: Join) -> None:
    path = write_notebook(shared_lab.root, "restart.ipynb", "x = 1", "print('x is', x)", "x = 2")
    ada, bob = join(shared_lab, path, "ada"), join(shared_lab, path, "bob")
    ada.command("notebook:run-all-cells")
    bob.wait_output(1, "x is 1")
    ada.page.locator(".jp-Cell[data-ot-run='ok']").nth(2).wait_for()
    bob.page.evaluate("() => void window.jupyterapp.commands.execute('notebook:restart-run-all')")
    bob.page.get_by_role("button", name="Confirm Kernel Restart").click()
    ada.wait(
        "() => [...document.querySelectorAll('.jp-InputPrompt')].map(one => one.textContent)"
        ".join() === '[1]:,[2]:,[3]:'"
    )
    ada.wait_output(1, "x is 1")
