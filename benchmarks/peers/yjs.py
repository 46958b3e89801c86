"""jupyter-collaboration's protocol: Yjs' sync messages over a WebSocket, one room per notebook."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any
from urllib.parse import quote

from pycrdt import Array, Doc, create_sync_message, create_update_message, handle_sync_message

from ..typist import Address, Arrival, Ledger, Seat, Typist
from ..wire import BINARY, ask, connect

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
