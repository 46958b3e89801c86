"""What the figures were measured on and with."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from .install import CACHE

OURS = ("ot-jupyter", "jupyter_server", "tornado")
THEIRS = ("jupyter-collaboration", "jupyter-server-ydoc", "pycrdt")
VERSIONS = "import importlib.metadata as m, sys; print(*map(m.version, sys.argv[1:]))"


def machine() -> dict[str, str]:
    """Names and versions, of what is there."""
    found = {
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
    }
    found |= {name: version(name) for name in OURS}
    for python in CACHE.glob("jupyter-collaboration-*/bin/python"):
        found |= dict(zip(THEIRS, _say(str(python), "-c", VERSIONS, *THEIRS).split(), strict=False))
    for name in ("sharedb", "ot-json1", "ws"):
        about = CACHE / "sharedb" / "node_modules" / name / "package.json"
        if about.exists():
            found |= {"Node": _say("node", "--version").strip(), name: _version(about)}
    return found


def _version(about: Path) -> str:
    return str(json.loads(about.read_text())["version"])


def _say(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout
