"""What tests of kernels share: notebooks with cells to run, who asks for it, and what the log says.

Whoever has the server's token may say who he is; three names have fewer rights than all others.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

from jupyter_server.auth import Authorizer, IdentityProvider, User
from tornado.websocket import websocket_connect

from tests.server_process import ServerProcess
from tests.socket_client import MESSAGE_BYTES, Follower, Message, SocketClient

WAIT = 30  # seconds that one request waits for the end of its runs; then it is sent again
OPTIONS = (
    "--ServerApp.identity_provider_class=tests.running.ByName",
    "--ServerApp.authorizer_class=tests.running.Rights",
    "--FileContentsManager.delete_to_trash=False",
)
RIGHTS = {
    "reader": {"read"},
    "writer": {"read", "write"},  # edits, and may not run
    "runner": {"read", "execute"},  # runs, and may not edit
}
FAILURE = re.compile(r"^\[E .*", re.MULTILINE)  # kernels write into the same log, otherwise


class ByName(IdentityProvider):
    """Whoever has the token says who he is."""

    async def get_user(self, handler: Any) -> User | None:  # type: ignore[override]
        user = await super().get_user(handler)  # type: ignore[misc]
        name = handler.request.headers.get("X-User") or handler.get_argument("user", "")
        return User(name) if user is not None and name else user


class Rights(Authorizer):
    """See ``RIGHTS``."""

    def is_authorized(self, handler: Any, user: User, action: str, resource: str) -> bool:
        return action in RIGHTS.get(user.username, {action})


class Answer(NamedTuple):
    status: int
    json: Any


class Lab:
    """A server whose kernels are used, and its REST API."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self._names = count()

    def write(
        self, *cells: str | dict[str, Any], name: str | None = None, spec: str = "python3"
    ) -> str:
        """A new notebook: its path. The ids of its cells are c0, c1, …; a text is a code cell."""
        path = name or f"{next(self._names)}.ipynb"
        content = notebook(*cells, spec=spec)
        (self.server.root / path).write_text(json.dumps(content), encoding="utf-8")
        return path

    async def rest(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        user: str = "ada",
        key: str | None = None,
        kind: str = "application/json",
    ) -> Answer:
        """Ask, in a thread: status and JSON of the answer."""
        headers = {**self.server.headers, "X-User": user, "Content-Type": kind}
        if key is not None:
            headers["Idempotency-Key"] = key
        data = None if body is None else json.dumps(body).encode()
        url = f"{self.server.url}/api/{quote(path, safe='/?=&')}"
        request = Request(url, data, headers, method=method)
        return await asyncio.to_thread(_answer, request)

    async def get(self, path: str, **more: Any) -> Any:
        answer = await self.rest("GET", path, **more)
        assert answer.status == 200, answer
        return answer.json

    async def document(self, path: str) -> dict[str, Any]:
        """The notebook as it is now, as clients have it."""
        async with self.visit(path, f"look-{next(_keys)}") as follower:
            return follower.document

    async def cell(self, path: str, cell: str = "c0") -> dict[str, Any]:
        value: dict[str, Any] = (await self.document(path))["cells"][cell]
        return value

    async def outputs(self, path: str, cell: str = "c0") -> list[dict[str, Any]]:
        value: list[dict[str, Any]] = (await self.cell(path, cell))["outputs"]
        return value

    async def run(
        self, path: str, cells: Sequence[str] | str = "all", *, user: str = "ada"
    ) -> dict[str, Any]:
        """Run cells and wait until all have ended, asking again and again with one key."""
        key = f"run-{next(_keys)}"
        while True:
            answer = await self.rest(
                "POST", f"ot/runs/{path}?wait={WAIT}", {"cells": cells}, user=user, key=key
            )
            assert answer.status in (200, 202), answer
            if answer.status == 200:
                ended: dict[str, Any] = answer.json["cells"]
                return ended

    async def states(self, path: str, cells: Sequence[str] | str = "all") -> list[str]:
        """Run cells: how they ended."""
        return [one["state"] for one in (await self.run(path, cells)).values()]

    async def control(self, path: str, action: str, **more: Any) -> Any:
        """Ask something of the kernel itself and wait until it is done; the kernel."""
        answer = await self.rest("POST", f"ot/kernels/{path}?wait=50", {"action": action, **more})
        assert answer.status == 200, answer
        return answer.json.get("kernel", answer.json)

    async def saved(self, path: str) -> dict[str, Any]:
        """The notebook as its file has it, when all that happened has been saved."""
        async with self.visit(path, "saver") as follower:
            await follower.socket.send("save", doc=follower.doc)
            await other(follower, "saved")
        value: dict[str, Any] = json.loads((self.server.root / path).read_text(encoding="utf-8"))
        return value

    def visit(self, path: str, name: str, user: str | None = None) -> Visit:
        """Somebody who follows a notebook, as an asynchronous context manager."""
        return Visit(self.server, path, name, user or name)


class Guest(SocketClient):
    """A socket of somebody with a name."""

    def __init__(self, server: ServerProcess, user: str) -> None:
        super().__init__(server)
        self.user = user

    async def __aenter__(self) -> Guest:
        url = f"{self.server.ws_url}&user={self.user}"
        self.connection = await websocket_connect(url, max_message_size=MESSAGE_BYTES)
        return self


class Visit:
    """See :meth:`Lab.visit`."""

    def __init__(self, server: ServerProcess, path: str, name: str, user: str) -> None:
        self._guest = Guest(server, user)
        self._path = path
        self._name = name

    async def __aenter__(self) -> Follower:
        await self._guest.__aenter__()
        return await self._guest.open(self._path, self._name)

    async def __aexit__(self, *error: Any) -> None:
        self._guest.connection.close()


class Step(NamedTuple):
    """A state of a run, as an entry wrote it."""

    cell: str
    run: str
    state: str


_keys = count()


def notebook(*cells: str | dict[str, Any], spec: str = "python3") -> dict[str, Any]:
    """A notebook file."""
    return {
        "cells": [_cell(index, one) for index, one in enumerate(cells)],
        "metadata": {"kernelspec": {"name": spec, "display_name": spec}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _cell(index: int, cell: str | dict[str, Any]) -> dict[str, Any]:
    given = {"source": cell} if isinstance(cell, str) else cell
    plain = {"cell_type": "code", "id": f"c{index}", "metadata": {}}
    if given.get("cell_type", "code") == "code":
        plain |= {"execution_count": None, "outputs": []}
    return {**plain, **given}


def _answer(request: Request) -> Answer:
    try:
        with urlopen(request, timeout=90) as response:
            body = response.read()
            return Answer(response.status, json.loads(body) if body else None)
    except HTTPError as error:
        body = error.read()
        return Answer(error.code, json.loads(body) if body else None)


def run(*cells: str) -> list[dict[str, Any]]:
    """A change that asks to run cells."""
    return [{"op": "run", "path": f"/cells/{cell}"} for cell in cells]


async def other(follower: Follower, type: str) -> Message:
    """Follow until a message of this type comes, also if it is an error; the message."""
    while True:
        message = await follower.socket.receive()
        assert message is not None, f"closed: {follower.socket.connection.close_code}"
        if message["type"] == "entries":
            follower.take(message)
        elif message["type"] == type:
            return message
        else:
            assert message["type"] != "error", message
            follower.others.append(message)


def steps(entries: Iterable[Message]) -> list[Step]:
    """What entries say of runs, in their order; each state of each run once."""
    found: dict[Step, None] = {}
    for entry in entries:
        for operation in entry.get("ops", ()):
            if operation["op"] == "replace" and operation["path"].endswith("/execution"):
                cell = operation["path"].split("/")[2]
                value = operation["value"]
                for one in (value, *value.get("next", ())):
                    if "run" in one:
                        found[Step(cell, one["run"], one["state"])] = None
    return list(found)


def in_state(follower: Follower, state: str) -> list[str]:
    """The cells that came into a state, in the order of the log."""
    return [one.cell for one in steps(follower.entries) if one.state == state]


def is_in(follower: Follower, cell: str, *states: str) -> Callable[[], bool]:
    """Whether a cell's execution is in one of these states, asked when it is called."""
    return lambda: follower.document["cells"][cell]["execution"].get("state") in states


def at_rest(follower: Follower) -> Callable[[], bool]:
    """Whether nothing is queued or running, asked when it is called."""
    return lambda: (
        not any(
            cell["execution"].get("state") in ("queued", "running")
            for cell in follower.document["cells"].values()
            if cell["cell_type"] == "code"
        )
    )


def text_of(outputs: Sequence[dict[str, Any]], name: str = "stdout") -> str:
    """All that was printed."""
    return "".join(one["text"] for one in outputs if one.get("name") == name)


@contextmanager
def a_lab(root: Path, *options: str) -> Iterator[Lab]:
    """A server with its helpers; nothing of it failed when it is over."""
    with ServerProcess(root, extra=[*OPTIONS, *options]) as server:
        yield Lab(server)
        assert FAILURE.findall(server.log) == [], server.log


def until_file(name: str) -> str:
    """Code that runs until there is a file of this name beside the notebook."""
    return f"import pathlib, time\nwhile not pathlib.Path({name!r}).exists(): time.sleep(0.01)"
