"""Servers as real processes on loopback ports, each with folders of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from . import install

START_SECONDS = 120.0  # limits for hangs, not for slowness
STOP_SECONDS = 60.0
TOKEN = "secret"
REPOSITORY = Path(__file__).parent.parent
PYTHON_PATH = os.environ.get("PYTHONPATH", str(REPOSITORY))


class Server:
    """One server process. It may be started again after it was stopped: same port, same files."""

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        port: int,
        ready: str | None,
        python_path: str | None = None,
    ) -> None:
        """``folder`` is where it runs, ``ready`` an address that answers when it is up
        (None: it is up when it takes connections), ``python_path`` another PYTHONPATH than that of
        this process."""
        self.command = list(command)
        self.folder = folder
        self.port = port
        self.ready = ready
        self._python_path = python_path
        self._own = Path(tempfile.mkdtemp(prefix="ot-benchmark-"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """What the server wrote so far."""
        return (self._own / "log").read_text(errors="replace")

    def start(self) -> None:
        """Return when it answers."""
        with (self._own / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command, env=self._environment(), cwd=self.folder,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        end = monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or monotonic() > end:
                self.kill()
                raise RuntimeError(f"the server did not start:\n{self.log}")
            sleep(0.05)

    def stop(self) -> None:
        """End it as a user would."""
        if self._process is not None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End it at once."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def remove(self) -> None:
        """End it, and remove what it has outside the documents' folder. At once: with many rooms
        open, jupyter-collaboration takes minutes to end in good order."""
        self.kill()
        shutil.rmtree(self._own, ignore_errors=True)

    def _answers(self) -> bool:
        if self.ready is None:
            return _takes_connections(self.port)
        try:
            request = Request(self.url + self.ready, headers={"Authorization": f"token {TOKEN}"})
            with urlopen(request, timeout=10):
                return True
        except HTTPError:
            return True
        except (URLError, OSError):
            return False

    def _environment(self) -> dict[str, str]:
        """The user's, less what he has configured Jupyter with."""
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")
        }
        return environment | {
            "HOME": str(self._own),
            "JUPYTER_CONFIG_DIR": str(self._own / "config"),
            "JUPYTER_DATA_DIR": str(self._own / "data"),
            "JUPYTER_RUNTIME_DIR": str(self._own / "runtime"),
            "PYTHONPATH": PYTHON_PATH if self._python_path is None else self._python_path,
            "PYTHONUNBUFFERED": "1",
        }


def ours(root: Path, *options: str) -> Server:
    """This project's server, as a user would start it, but for the guard against clients that
    flood: at the default of 1,000 messages a second the load would be what is measured."""
    return _jupyter(
        root,
        sys.executable,
        "{'ot_jupyter': True}",
        "/api/ot/health",
        ("--OtJupyter.messages_per_second=1000000", *options),
    )


def relay(root: Path, *options: str) -> Server:
    """The bare relay of ``peers/relay.py``; ``--join``: it joins the frames that wait."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.peers.relay", str(port), *options]
    return Server(command, REPOSITORY, port, "/")


def collaboration(root: Path, *options: str) -> Server:
    """jupyter-collaboration, which also writes its store. Raises :class:`Missing`."""
    return _jupyter(
        root,
        str(install.collaboration()),
        "{'jupyter_server_ydoc': True, 'jupyter_server_fileid': True}",
        "/api/status",
        options,
        python_path="",
    )


def sharedb(root: Path) -> Server:
    """ShareDB, with the notebooks of the folder; it keeps nothing on disk. Raises
    :class:`Missing`."""
    node, modules = install.sharedb()
    port = free_port()
    script = str(Path(__file__).parent / "peers" / "sharedb_server.js")
    return Server([node, script, str(modules), str(port), str(root)], root, port, "/")


def redis(root: Path, *, always: bool) -> Server:
    """A Redis that writes to its file at each command, or every second."""
    port = free_port()
    command = [
        install.redis(), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(root),
        "--save", "", "--appendonly", "yes", "--appendfsync", "always" if always else "everysec",
    ]  # fmt: skip
    return Server(command, root, port, None)


def _jupyter(
    root: Path,
    python: str,
    extensions: str,
    ready: str,
    options: Sequence[str],
    python_path: str | None = None,
) -> Server:
    port = free_port()
    command = [
        python, "-m", "jupyter_server", "--no-browser", "--allow-root",
        f"--ServerApp.port={port}", "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={root}",
        f"--ServerApp.jpserver_extensions={extensions}", *options,
    ]  # fmt: skip
    return Server(command, root, port, ready, python_path)


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """Start it, and end it whatever happens."""
    try:
        server.start()
        yield server
    finally:
        server.remove()


@contextmanager
def folder() -> Iterator[Path]:
    """A folder for documents, which is removed."""
    path = Path(tempfile.mkdtemp(prefix="ot-benchmark-documents-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _takes_connections(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10):
            return True
    except OSError:
        return False


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
