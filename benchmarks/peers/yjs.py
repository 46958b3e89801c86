"""jupyter-collaboration's protocol: Yjs' sync messages over a WebSocket, one room per notebook."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from time import perf_counter
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from pycrdt import (
    Array,
    Doc,
    Map,
    Text,
    create_sync_message,
    create_update_message,
    handle_sync_message,
)

from ..typist import Address, Arrival, Ledger, Seat, Typist
from ..wire import BINARY, ask, connect

AGAIN_SECONDS = 10.0
SYNC, STEP1, STEP2, UPDATE = 0, 0, 1, 2


class Client(Typist):
    """Sends an update for each letter, as Yjs' own clients do. What others type is recognised and
    not applied: nobody types in another's cell, so own updates do not need it.

    A letter's name is that of its Yjs item, (client, clock). The server sends every update to all,
    its author included: that is the acknowledgement.
    """

    def __init__(self, address: Address, seat: Seat) -> None:
        super().__init__(address, seat)
        self._unacknowledged: dict[tuple[int, int], float] = {}

    @property
    def pending(self) -> list[float]:
        return list(self._unacknowledged.values())

    async def open(self) -> None:
        room = await self._room()
        url = f"{self.address.ws}/api/collaboration/room/{room}"
        self.socket = await connect(url, self.address.token)
        self.document = Doc()
        while not self._synchronise(await self.socket.read()):
            pass
        self.cells = self.document.get("cells", type=Array)
        self.text: Any = self.cells[self.seat.number % len(self.cells)]["source"]
        self._at = len(str(self.text))
        self._clock = 0
        self._updates: list[bytes] = []
        self._subscription = self.document.observe(lambda event: self._updates.append(event.update))
        self.socket.hand_over(self._receive)

    def _synchronise(self, payload: bytes) -> bool:
        """Take part in the exchange of states; whether the document is here now."""
        if payload[0] != SYNC:
            return False
        if payload[1] == STEP1:
            self.socket.send(create_sync_message(self.document), BINARY)
        reply = handle_sync_message(payload[1:], self.document)
        if reply is not None:
            self.socket.send(reply, BINARY)
        return payload[1] == STEP2

    async def _room(self) -> str:
        """What a front end asks before it connects."""
        session = await ask(
            "PUT", f"{self.address.url}/api/collaboration/session/{quote(self.seat.path)}",
            self.address.token, {"format": "json", "type": "notebook"},
        )  # fmt: skip
        return f"json:notebook:{session['fileId']}?sessionId={session['sessionId']}"

    def press(self, letters: int) -> None:
        for _ in range(letters):
            self._unacknowledged[self.document.client_id, self._clock] = perf_counter()
            self._clock += 1
            self.text.insert(self._at, "x")
            self._at += 1
            self.socket.send(create_update_message(self._updates.pop()), BINARY)

    def _receive(self, payload: bytes) -> None:
        if payload[0] != SYNC or payload[1] != UPDATE:
            return
        name = first_item(payload)
        self.marks.append((perf_counter(), name))
        key = self._unacknowledged.pop(name, None)
        if key is not None:
            self.acknowledged([key], name)

    def ledger(self, all: Sequence[Typist]) -> Ledger:
        last: dict[Any, float] = {}
        heard: dict[Any, int] = {}
        for typist in all:
            for when, name in typist.marks:
                last[name] = max(last.get(name, 0.0), when)
                heard[name] = heard.get(name, 0) + 1
        return Ledger(
            [
                Arrival(sent.keys, last[sent.name], heard[sent.name] == len(all))
                for typist in all
                for sent in typist.sent
            ],
            [(when, 1) for typist in all for when, _ in typist.marks],
        )


class Runner(Client):
    """The tab that runs the last cell as JupyterLab's front end does: it talks to the kernel, and
    writes into the shared document what the kernel says. A stream is one output, whose text
    grows."""

    async def open(self) -> None:
        await super().open()
        self.cell: Any = self.cells[len(self.cells) - 1]
        session = await ask(
            "POST", f"{self.address.url}/api/sessions", self.address.token,
            {"path": self.seat.path, "type": "notebook", "name": "", "kernel": {"name": "python3"}},
        )  # fmt: skip
        kernel = session["kernel"]["id"]
        self.session = session["id"]
        url = f"{self.address.ws}/api/kernels/{kernel}/channels?session_id={self.session}"
        self.kernel = await connect(url, self.address.token)
        self.kernel.hand_over(self._hear)
        self._runs: dict[str, asyncio.Event] = {}
        assert await self.runs_again()

    async def run(self) -> None:
        self.cell["outputs"].clear()
        await self._execute(str(self.cell["source"]))

    async def runs_again(self) -> bool:
        try:
            await asyncio.wait_for(self._execute("print(1)"), AGAIN_SECONDS)
        except asyncio.TimeoutError:
            return False
        return True

    async def kept(self) -> int:
        outputs = self.cell["outputs"]
        return sum(str(one["text"]).count("line ") for one in outputs)

    async def _execute(self, code: str) -> None:
        name = uuid4().hex
        content = {
            "code": code, "silent": False, "store_history": True, "user_expressions": {},
            "allow_stdin": True, "stop_on_error": True,
        }  # fmt: skip
        header = {
            "msg_id": name, "msg_type": "execute_request", "session": self.session,
            "username": "", "version": "5.3", "date": "2026-01-01T00:00:00Z",
        }  # fmt: skip
        message = {
            "header": header, "parent_header": {}, "metadata": {}, "content": content,
            "channel": "shell", "buffers": [],
        }  # fmt: skip
        self._runs[name] = asyncio.Event()
        self.kernel.send(json.dumps(message).encode())
        await self._runs[name].wait()

    def _hear(self, payload: bytes) -> None:
        message = json.loads(payload)
        kind, parent = message["header"]["msg_type"], message["parent_header"].get("msg_id")
        if kind == "stream":
            self._print(message["content"]["text"])
        idle = kind == "status" and message["content"]["execution_state"] == "idle"
        if idle and parent in self._runs:
            self._runs[parent].set()

    def _print(self, text: str) -> None:
        outputs = self.cell["outputs"]
        if len(outputs):
            grown: Text = outputs[0]["text"]
            grown += text
        else:
            stream = {"output_type": "stream", "name": "stdout", "text": Text(text)}
            outputs.append(Map(stream))
        while self._updates:
            self.socket.send(create_update_message(self._updates.pop(0)), BINARY)


def first_item(payload: bytes) -> tuple[int, int]:
    """(client, clock) of the first item of an update message: sync, update, length, number of
    clients, number of the first one's items, that client, the clock, in integers of seven bits a
    byte."""
    at = 2
    for _ in range(3):
        _, at = _integer(payload, at)
    client, at = _integer(payload, at)
    clock, at = _integer(payload, at)
    return client, clock


def _integer(payload: bytes, at: int) -> tuple[int, int]:
    """The integer at a place, and the place after it."""
    value = shift = 0
    while payload[at] & 0x80:
        value |= (payload[at] & 0x7F) << shift
        shift += 7
        at += 1
    return value | payload[at] << shift, at + 1
