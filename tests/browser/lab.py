"""A real JupyterLab or Notebook, and people who use it in browsers of their own."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nbformat
from playwright.sync_api import Browser, BrowserContext, Locator, Page

from tests.server_process import ServerProcess

from .line import Line

# As `jupyter lab` does, but without a module that takes seconds to import, and is there for the
# check of a format that no schema of Jupyter's names.
PROGRAM = """\
import sys
sys.modules["rfc3987_syntax"] = None
from {module} import main
main()
"""
# What asks people whether they want news, and what is not part of JupyterLab.
NOISE = ["@jupyterlab/apputils-extension:announcements", "jupyterlab-jupytext"]
SECONDS = 60.0  # a limit for hangs, not for slowness


class LabProcess(ServerProcess):
    """``jupyter lab`` (or ``module``, another one's) with our extension, in its own process."""

    module = "jupyterlab.labapp"
    root_url = "lab/tree"

    def _command(self) -> list[str]:
        _python, _flag, _program, *options = super()._command()
        # Those of the command line replace what the configuration enables.
        options = [one for one in options if not one.startswith("--ServerApp.jpserver_extensions")]
        program = PROGRAM.format(module=self.module)
        return [
            sys.executable, "-c", program, *options,
            "--expose-app-in-browser",
            "--ServerApp.identity_provider_class=tests.browser.people.ByCookie",
            "--ServerApp.authorizer_class=tests.browser.people.Rights",
            "--FileContentsManager.delete_to_trash=False",
        ]  # fmt: skip

    def _environment(self) -> dict[str, str]:
        environment = super()._environment()
        config = Path(environment["JUPYTER_CONFIG_DIR"]) / "labconfig" / "page_config.json"
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text(json.dumps({"disabledExtensions": dict.fromkeys(NOISE, True)}))
        return environment

    def address(self, path: str, url: str | None = None) -> str:
        """Where a browser opens a document, by the server's own URL or another one."""
        return f"{url or self.url}/{self.root_url}/{quote(path)}?token={self.token}&reset"


class NotebookProcess(LabProcess):
    """``jupyter notebook``."""

    module = "notebook.app"
    root_url = "notebooks"


def write_notebook(folder: Path, name: str, *sources: str, **kinds: str) -> str:
    """A notebook of code cells ``c0``, ``c1``, …; ``kinds`` says which have another type.
    Returns its path within the folder."""
    cells = []
    for index, source in enumerate(sources):
        kind = kinds.get(f"c{index}", "code")
        make = getattr(nbformat.v4, f"new_{kind}_cell")
        cells.append(make(source, id=f"c{index}"))
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, folder / name)
    return name


class Person:
    """Somebody with a browser of their own, and one document open in it."""

    def __init__(self, browser: Browser, lab: LabProcess, name: str) -> None:
        self.name = name
        self.lab = lab
        self.line = Line(lab.port)
        self.closed = False
        self.context: BrowserContext = browser.new_context(
            viewport={"width": 1100, "height": 800},
            permissions=["clipboard-read", "clipboard-write"],
        )
        self.context.set_default_timeout(SECONDS * 1000)
        self.context.add_cookies([{"name": "who", "value": name, "url": self.line.url}])
        self.page: Page = self.context.new_page()
        self.console: list[str] = []
        self.page.on("console", lambda message: self.console.append(message.text))
        self.page.on("pageerror", lambda error: self.console.append(f"pageerror: {error}"))

    def open(self, path: str) -> Person:
        """Open a document by its address, and wait until it is live."""
        self.page.goto(self.lab.address(path, self.line.url))
        self.wait_status("Live", "Read only")
        return self

    # What is seen.

    @property
    def status(self) -> str:
        return self.page.locator(".ot-Status:visible").first.inner_text()

    def wait_status(self, *words: str) -> None:
        """Wait until the status says one of these."""
        self.wait(
            "words => [...document.querySelectorAll('.ot-Status')].some(node =>"
            " words.some(word => node.textContent.startsWith(word)))",
            list(words),
        )

    def cell(self, index: int) -> Locator:
        return self.page.locator(".jp-Notebook .jp-Cell").nth(index)

    def editor(self, index: int) -> Locator:
        return self.cell(index).locator(".cm-content").first

    def sources(self) -> list[str]:
        """The sources of all cells, as JupyterLab has them."""
        found: list[str] = self.model("model => model.cells.map(cell => cell.getSource())")
        return found

    def ids(self) -> list[str]:
        found: list[str] = self.model("model => model.cells.map(cell => cell.getId())")
        return found

    def model(self, script: str, argument: Any = None) -> Any:
        """What a function says of the shared model of the current document."""
        return self.page.evaluate(
            "([script, argument]) => eval(script)("
            "window.jupyterapp.shell.currentWidget.context.model.sharedModel, argument)",
            [script, argument],
        )

    def outputs(self, index: int) -> str:
        """The text of a cell's outputs, as shown."""
        shown = self.cell(index).locator(".jp-OutputArea-output")
        return "\n".join(one.inner_text() for one in shown.all())

    def wait(self, script: str, argument: Any = None) -> None:
        """Wait until a function of the page says yes."""
        self.page.wait_for_function(script, arg=argument, timeout=SECONDS * 1000)

    def wait_sources(self, sources: Sequence[str]) -> None:
        self.wait(
            "wanted => JSON.stringify(window.jupyterapp.shell.currentWidget.context.model"
            ".sharedModel.cells.map(cell => cell.getSource())) === wanted",
            _json(sources),
        )

    def wait_output(self, index: int, text: str) -> None:
        """Wait until a cell shows this in its outputs."""
        found = self.cell(index).locator(".jp-OutputArea-output", has_text=text)
        found.first.wait_for(timeout=SECONDS * 1000)

    # What is done.

    def click(self, index: int, line: int = 0) -> None:
        """Put the caret at the end of a line of a cell."""
        self.editor(index).locator(".cm-line").nth(line).click()
        self.page.keyboard.press("End")

    def type(self, text: str) -> None:
        self.page.keyboard.type(text)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def command(self, name: str, **arguments: Any) -> None:
        """Do what a menu entry does."""
        self.page.evaluate(
            "([name, args]) => window.jupyterapp.commands.execute(name, args)", [name, arguments]
        )

    def cut(self) -> None:
        """Cut the line of this browser, in the middle of whatever is on it."""
        self.line.cut()

    def mend(self) -> None:
        self.line.mend()

    def mend_at_reload(self, path: str) -> None:
        """Leave the page while the network is cut, and come back when it is there again."""
        self.page.goto("about:blank")
        self.mend()
        self.open(path)

    def screenshot(self, path: Path | str) -> None:
        self.page.screenshot(path=str(path))

    def close(self) -> None:
        self.closed = True
        self.context.close()
        self.line.close()


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def same(*people: Person, until: Callable[[list[str]], bool] = lambda _: True) -> list[str]:
    """Wait until all have the same cells, nothing is on its way, and ``until`` is content."""
    for _ in range(600):
        all_sources = [person.sources() for person in people]
        calm = all(person.page.evaluate(CALM) for person in people)
        if calm and all(one == all_sources[0] for one in all_sources) and until(all_sources[0]):
            return all_sources[0]
        people[0].page.wait_for_timeout(100)
    raise AssertionError(f"not the same: {[(p.name, p.status, p.sources()) for p in people]}")


CALM = "() => !window.jupyterapp.shell.currentWidget.context.model.dirty"
