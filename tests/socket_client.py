"""A client of the WebSocket that does no more than the protocol says: for tests of the server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Any

from tornado.websocket import WebSocketClientConnection, websocket_connect

from ot_jupyter.transforms import apply
from tests.server_process import ServerProcess

ANSWER_SECONDS = 60.0  # a limit for hangs, not for slowness
MESSAGE_BYTES = 256 * 2**20

Message = dict[str, Any]


class SocketClient:
    """One socket."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.connection: WebSocketClientConnection

    async def __aenter__(self) -> SocketClient:
        self.connection = await websocket_connect(
            self.server.ws_url, max_message_size=MESSAGE_BYTES
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.connection.close()

    async def send_text(self, text: str | bytes, binary: bool = False) -> None:
        await self.connection.write_message(text, binary=binary)

    async def send(self, type: str, **fields: Any) -> None:
        await self.send_text(json.dumps({"type": type, **fields}))

    async def receive(self) -> Message | None:
        """The next message; None if the socket is closed."""
        text = await asyncio.wait_for(self.connection.read_message(), ANSWER_SECONDS)
        return None if text is None else json.loads(text)

    async def expect(self, type: str) -> Message:
        """The next message, which is of this type."""
        message = await self.receive()
        assert message is not None, f"closed: {self.connection.close_code}"
        assert message["type"] == type, message
        return message

    async def ask(self, type: str, answer: str, **fields: Any) -> Message:
        await self.send(type, **fields)
        return await self.expect(answer)

    async def refused(self, type: str, code: str, **fields: Any) -> Message:
        """Send a message that is answered with an error of this code."""
        error = await self.ask(type, "error", **fields)
        assert error["code"] == code, error
        return error

    async def open(self, path: str, client: str, **fields: Any) -> Follower:
        opened = await self.ask("open", "opened", path=path, client=client, **fields)
        return Follower(self, client, opened)


class Follower:
    """One document on a socket, followed. Submits one change at a time, made at its head."""

    def __init__(self, socket: SocketClient, client: str, opened: Message) -> None:
        self.socket = socket
        self.client = client
        self.opened = opened
        self.doc: str = opened["doc"]
        self.path: str = opened["path"]
        self.epoch: str = opened["epoch"]
        self.n: int = opened["n"]
        self.document: dict[str, Any] = opened.get("document", {})
        at_head = opened["since"] == opened["rev"]
        self.heads: list[tuple[int, str]] = [  # oldest first
            (opened["since"], opened["hash"] if at_head else "")
        ]
        self.entries: list[Message] = []  # as they came
        self.others: list[Message] = []  # what came and was no entries
        self.sent: dict[int, list[Any]] = {}
        if self.document:
            for entry in opened["entries"]:
                self._enter(entry)

    @property
    def head(self) -> tuple[int, str]:
        return self.heads[-1]

    @property
    def rev(self) -> int:
        rev, _ = self.heads[-1]
        return rev

    @property
    def known(self) -> list[list[Any]]:
        """The states it can resume from."""
        return [list(head) for head in reversed(self.heads) if head[1]]

    def source(self, cell: str) -> str:
        return str(self.document["cells"][cell]["source"])

    async def send(self, ops: Any, **fields: Any) -> int:
        """Submit a change; its number."""
        self.n += 1
        self.sent[self.n] = ops
        rev, hash = self.head
        message = {"doc": self.doc, "n": self.n, "base": rev, "hash": hash, "ops": ops, **fields}
        await self.socket.send("submit", **message)
        return self.n

    async def submit(self, ops: Any, **fields: Any) -> Message:
        """Submit a change and follow until its entry is there; the entry."""
        start = len(self.entries)
        n = await self.send(ops, **fields)
        own = partial(self._find_own, n, start)
        await self.until(lambda: own() is not None)
        entry = own()
        assert entry is not None
        return entry

    async def refuse(self, ops: Any, **fields: Any) -> Message:
        """Submit a change that is refused; the error. One that is taken is followed to its
        entry, else its number is free again."""
        n = await self.send(ops, **fields)
        error = await self.socket.expect("error")
        assert error["of"] == "submit", error
        if error.get("taken"):
            await self.until(lambda: any(self._is_own(entry, n) for entry in self.entries))
        else:
            self.n -= 1
        return error

    def _find_own(self, n: int, start: int) -> Message | None:
        """The entry of the change of that number, among those from ``start`` on."""
        new = islice(self.entries, start, None)
        return next((entry for entry in new if self._is_own(entry, n)), None)

    def _is_own(self, entry: Message, n: int) -> bool:
        return bool(entry["n"] == n and entry.get("client", self.client) == self.client)

    async def until(self, reached: Callable[[], bool]) -> None:
        """Follow until something is so."""
        while not reached():
            await self.step()

    async def until_rev(self, rev: int) -> None:
        await self.until(lambda: self.rev >= rev)

    async def step(self) -> Message:
        """Take the next message."""
        message = await self.socket.receive()
        assert message is not None, f"closed: {self.socket.connection.close_code}"
        assert message["type"] != "error", message
        if message["type"] == "entries" and message["doc"] == self.doc:
            self.take(message)
        else:
            self.others.append(message)
        return message

    def take(self, message: Message) -> None:
        assert message["epoch"] == self.epoch
        assert (message["from"] - 1, message["prev"]) == self.head
        for entry in message["entries"]:
            self._enter(entry)

    def resume(self, opened: Message) -> Follower:
        """The same client after it came back on another (or the same) socket."""
        follower = Follower(self.socket, self.client, opened)
        if "document" not in opened:
            at = next(i for i, head in enumerate(self.heads) if head[0] == opened["since"])
            assert at == len(self.heads) - 1, "this client takes nothing back"
            follower.document, follower.heads = self.document, self.heads[:]
            follower.sent = self.sent
            for entry in opened["entries"]:
                follower._enter(entry)
        return follower

    def _enter(self, entry: Message) -> None:
        assert entry["rev"] == self.heads[-1][0] + 1
        self.document = apply(
            self.document, entry["ops"] if "ops" in entry else self.sent[entry["n"]]
        )
        self.heads.append((entry["rev"], entry["hash"]))
        self.entries.append(entry)


def type_in(cell: str, at: int, text: str) -> list[Any]:
    """A change: text into a cell's source."""
    return [{"op": "edit", "path": f"/cells/{cell}/source", "delta": [at, text] if at else [text]}]
