"""Browsers and servers for the tests of the JupyterLab extension."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from jupyter_core.paths import jupyter_path
from playwright.sync_api import Browser, Error, sync_playwright

from .lab import LabProcess, Person

NO_BROWSER = """\
there is no Chromium. Install the system's: `apt-get install chromium` (Debian), \
`dnf install chromium` (Fedora), `brew install --cask chromium` (macOS)"""
NO_EXTENSION = """\
the extension of JupyterLab is not built: `pip install -e '.[test]'` builds and installs it"""


def _chromium() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome", "chrome"):
        found = shutil.which(name)
        if found is not None:
            return found
    pytest.fail(NO_BROWSER, pytrace=False)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A Chromium without a window."""
    for folder in jupyter_path("labextensions"):
        package = Path(folder) / "ot-jupyter" / "package.json"
        if package.exists():
            assert json.loads(package.read_text())["name"] == "ot-jupyter"
            break
    else:
        pytest.fail(NO_EXTENSION, pytrace=False)
    with sync_playwright() as playwright:
        try:
            chromium = playwright.chromium.launch(
                executable_path=_chromium(), args=["--no-sandbox", "--disable-dev-shm-usage"]
            )
        except Error as error:
            pytest.fail(f"Chromium does not start: {error}", pytrace=False)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def shared_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabProcess]:
    """One JupyterLab for all tests that leave it as it is."""
    with LabProcess(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture
def own_lab(tmp_path: Path) -> Iterator[LabProcess]:
    """A JupyterLab for one test, which may kill it."""
    with LabProcess(tmp_path) as lab:
        yield lab


Join = Callable[..., Person]


@pytest.fixture
def join(browser: Browser, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Join]:
    """Have somebody open a document: ``join(lab, path, name)``."""
    people: list[Person] = []

    def make(lab: LabProcess, path: str, name: str = "somebody") -> Person:
        person = Person(browser, lab, name)
        people.append(person)
        return person.open(path)

    yield make
    for person in people:
        if person.closed:
            continue
        if getattr(request.node, "failed", False):
            picture = tmp_path / f"{person.name}.png"
            person.screenshot(picture)
            print(f"{person.name}: {picture}\n" + "\n".join(person.console))
        person.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.failed:  # type: ignore[attr-defined]
        item.failed = True  # type: ignore[attr-defined]
    return report
