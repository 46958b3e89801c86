"""A Jupyter server with the extension, started as a user would, in a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from types import TracebackType
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

START_SECONDS = 120.0  # limits for hangs, not for slowness
STOP_SECONDS = 60.0
REPOSITORY = Path(__file__).parent.parent
# As `jupyter server` does, but without a module that takes seconds to import, and is there for
# the check of a format that no schema of Jupyter's names.
PROGRAM = """\
import sys
sys.modules["rfc3987_syntax"] = None
from jupyter_server.serverapp import main
main()
"""
# Jupytext's extension would put its contents manager in the place of Jupyter's.
EXTENSIONS = {"ot_jupyter": True, "jupyterlab_jupytext": False}


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class ServerProcess:
    """``jupyter server`` on a loopback port, with no configuration but what is given.

    ``store`` is a store's URL (None: the default, a file in ``root``), ``extra`` are more options
    of the command line; ``tls`` is what trusts its certificate, if they name one. It may be started
    again after it was stopped or killed: same port, same store, and the log goes on. Use it as a
    context manager, or call :meth:`start` and :meth:`stop`.
    """

    def __init__(
        self,
        root: Path | str,
        store: str | None = None,
        port: int | None = None,
        token: str = "secret",
        extra: Sequence[str] = (),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.root = Path(root)
        self.store = store
        self.port = port or free_port()
        self.token = token
        self.extra = list(extra)
        self.tls = tls
        self.process: subprocess.Popen[bytes] | None = None
        self._own: Path | None = None  # configuration, home and log of this server

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        """The socket's address, with the token."""
        return f"ws://127.0.0.1:{self.port}/api/ot/socket?token={self.token}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def data(self) -> Path:
        """Its own data folder, where it finds kernelspecs; there is one once it was started."""
        assert self._own is not None
        return self._own / "data"

    @property
    def log(self) -> str:
        """What the server wrote so far, over all its starts."""
        return "" if self._own is None else (self._own / "log").read_text(errors="replace")

    def start(self) -> ServerProcess:
        """Start, and return when the extension answers (whether the store does or not)."""
        assert self.process is None, "it is running"
        if self._own is None:
            self._own = Path(tempfile.mkdtemp(prefix="ot-jupyter-server-"))
        with (self._own / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self._command(), env=self._environment(), cwd=self.root,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        end = monotonic() + START_SECONDS
        while not self._answers():
            try:
                code = self.process.wait(0.05)  # a pause, and its end if the server's comes first
            except subprocess.TimeoutExpired:
                if monotonic() < end:
                    continue
                self.kill()
                raise TimeoutError(f"the server does not answer:\n{self.log}") from None
            self.process = None
            raise RuntimeError(f"the server ended with {code}:\n{self.log}")
        return self

    def _command(self) -> list[str]:
        command = [
            sys.executable, "-c", PROGRAM, "--no-browser", "--allow-root",
            f"--ServerApp.port={self.port}",
            "--ServerApp.port_retries=0",
            f"--IdentityProvider.token={self.token}",
            f"--ServerApp.root_dir={self.root}",
            f"--ServerApp.jpserver_extensions={EXTENSIONS}",
        ]  # fmt: skip
        if self.store is not None:
            command.append(f"--OtJupyter.store={self.store}")
        return command + self.extra

    def _environment(self) -> dict[str, str]:
        assert self._own is not None
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")
        }
        environment |= {
            "HOME": str(self._own),
            "JUPYTER_CONFIG_DIR": str(self._own / "config"),
            "JUPYTER_DATA_DIR": str(self.data),
            "JUPYTER_RUNTIME_DIR": str(self._own / "runtime"),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": str(REPOSITORY),  # for classes of the tests, named in options
            "PYTHONFAULTHANDLER": "1",  # SIGABRT writes into the log where each thread is
            "PYTHONUNBUFFERED": "1",
        }
        return environment

    def _answers(self) -> bool:
        request = Request(f"{self.url}/api/ot/health", headers=self.headers)
        try:
            with urlopen(request, timeout=10, context=self.tls):
                return True
        except HTTPError as error:
            if error.code == 503:  # it answers that its store is away
                return True
            raise RuntimeError(f"{error} from {request.full_url}:\n{self.log}") from None
        except (URLError, OSError):
            return False

    @property
    def headers(self) -> dict[str, str]:
        """What a request needs to be let in."""
        return {"Authorization": f"token {self.token}"}

    def stop(self) -> None:
        """Have it end as a user would (SIGTERM), and return when it has; nothing if it did."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        self._end(signal.SIGKILL)

    @contextmanager
    def held(self) -> Iterator[None]:
        """It does nothing meanwhile (SIGSTOP), in the midst of whatever it was about."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)  # it has stopped
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)
            process.wait()
            raise TimeoutError(f"the server does not stop:\n{self.log}") from None

    def __enter__(self) -> ServerProcess:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        if self._own is not None:
            shutil.rmtree(self._own, ignore_errors=True)
            self._own = None
