"""The pictures of the documentation, made of the real thing.

``python -m tests.browser.screenshots FOLDER`` writes them as PNG files.
"""

from __future__ import annotations

import base64
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from .lab import LabProcess, Person, same, write_notebook

SIZE = {"width": 820, "height": 620}
SOURCES = (
    "# Measured by two\n\nBoth of us write here, at once.",
    "import math\n\nradius = 3\narea = math.pi * radius ** 2\narea",
    "import time\n\nfor step in range(4):\n    print('step', step)\n    time.sleep(0.5)",
    "name = input('Who measured this? ')",
)
BESIDE = """<body style="margin:0;display:flex;gap:12px;padding:12px;background:#d5d9de">
<img src="data:image/png;base64,{}"><img src="data:image/png;base64,{}"></body>"""


def main(folder: Path) -> None:
    """Write all pictures into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as root,
        LabProcess(root) as lab,
        sync_playwright() as playwright,
    ):
        assert isinstance(lab, LabProcess)
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        path = write_notebook(lab.root, "measured.ipynb", *SOURCES, c0="markdown")
        ada, bob = Person(browser, lab, "ada"), Person(browser, lab, "bob")
        for person in (ada, bob):
            person.page.set_viewport_size(SIZE)  # type: ignore[arg-type]
            person.open(path)
            person.command("application:toggle-left-area")
        together(ada, bob, browser, folder)
        offline(ada, bob, browser, folder)
        dark(ada, folder)
        for person in (ada, bob):
            person.close()


def together(ada: Person, bob: Person, browser: Browser, folder: Path) -> None:
    """Two windows: carets, who is here, outputs, a question."""
    ada.click(1, line=4)
    ada.press("Control+Enter")
    ada.wait_output(1, "28.27")
    ada.click(3)
    ada.press("Control+Enter")
    bob.page.locator(".ot-Question").wait_for()
    bob.click(1, line=2)
    ada.click(1, line=3)
    ada.type("  # square metres")
    same(ada, bob)
    beside(browser, ada.page, bob.page, folder / "together.png")
    ada.page.locator(".ot-Answer").fill("Ada")
    ada.press("Enter")
    ada.page.locator(".ot-Question").wait_for(state="detached")


def offline(ada: Person, bob: Person, browser: Browser, folder: Path) -> None:
    """One is offline and goes on."""
    ada.cut()
    ada.wait_status("Offline")
    ada.click(1, line=2)
    ada.type("  # typed in a tunnel")
    ada.wait_status("Offline, ")
    bob.click(2, line=2)
    bob.type("  # meanwhile")
    bob.wait_status("Live")
    beside(browser, ada.page, bob.page, folder / "offline.png")
    ada.mend()
    ada.wait_status("Live")
    same(ada, bob)


def dark(ada: Person, folder: Path) -> None:
    """The details, in JupyterLab's dark theme."""
    ada.command("apputils:change-theme", theme="JupyterLab Dark")
    ada.page.locator(".ot-Status:visible").first.click()
    ada.page.locator(".ot-Details").wait_for()
    ada.page.wait_for_timeout(500)  # the theme's sheets
    ada.screenshot(folder / "details.png")


def beside(browser: Browser, left: Page, right: Page, path: Path) -> None:
    """A picture of two pages, one beside the other."""
    pictures = [base64.b64encode(page.screenshot()).decode() for page in (left, right)]
    page = browser.new_page(
        viewport={"width": 2 * SIZE["width"] + 36, "height": SIZE["height"] + 24}
    )
    page.set_content(BESIDE.format(*pictures))
    page.screenshot(path=str(path))
    page.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
