"""With jupyter-collaboration installed, too."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Join
from .lab import LabProcess, same, write_notebook


class LabBesideCollaboration(LabProcess):
    """A JupyterLab of an environment that has jupyter-collaboration as well as all that we have."""

    python = Path(sys.executable)

    def _command(self) -> list[str]:
        return [str(self.python), *super()._command()[1:]]

    def _environment(self) -> dict[str, str]:
        # The environment is above ours: what ours has in its folders is found there.
        ours = Path(sys.prefix)
        return super()._environment() | {
            "JUPYTER_PATH": str(ours / "share" / "jupyter"),
            "JUPYTER_CONFIG_PATH": str(ours / "etc" / "jupyter"),
        }


@pytest.fixture(scope="module")
def lab_beside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabProcess]:
    folder = tmp_path_factory.mktemp("beside")
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = environment / ("Scripts" if os.name == "nt" else "bin") / "python"
    site = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    packages = [path for path in sys.path if path.endswith("site-packages")]
    (Path(site) / "ours.pth").write_text(
        "\n".join(f"import site; site.addsitedir({path!r})" for path in packages)
    )
    subprocess.run(
        [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check",
         "jupyter-collaboration>=5"],
        check=True,
    )  # fmt: skip
    (folder / "root").mkdir()
    lab = LabBesideCollaboration(folder / "root")
    lab.python = python
    with lab:
        yield lab


def test_ours_is_active_and_theirs_is_off(lab_beside: LabProcess, join: Join) -> None:
    path = write_notebook(lab_beside.root, "beside.ipynb", "a\nb", "print(6 * 7)")
    ada, bob = join(lab_beside, path, "ada"), join(lab_beside, path, "bob")
    ada.click(0, line=0)
    ada.type(" by ada")
    bob.click(0, line=1)
    bob.type(" by bob")
    bob.click(1)
    bob.press("Control+Enter")
    ada.wait_output(1, "42")
    assert same(ada, bob)[0] == "a by ada\nb by bob"
    told = [line for line in ada.console if "these are off" in line]
    assert len(told) == 1
    assert "@jupyter/docprovider-extension" in told[0]
