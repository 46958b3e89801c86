"""This server's protocol: docs/protocol.md."""

from __future__ import annotations

import os
from typing import Any

import orjson

from ..typist import Address, Composing, Seat
from ..wire import ask, connect

REV = b'"rev":'
HASH = b'"hash":"'


class Client(Composing):
    """Reads of a frame of entries no more than the last revision and its hash, and whether its own
    entry is in it. Everybody types in a cell of his own, so no transform is needed."""

    async def open(self) -> None:
        self.client = f"p{self.seat.number}-{os.urandom(4).hex()}"
        self.socket = await connect(self.address.ws + "/api/ot/socket", self.address.token)
        message = {"type": "open", "path": self.seat.path, "client": self.client}
        self.socket.send(orjson.dumps(message))
        opened = orjson.loads(await self.socket.read())
        assert opened["type"] == "opened", opened
        order = opened["document"]["order"]
        cell = order[self.seat.number % len(order)]
        self._hash = opened["hash"].encode()
        self.place = self.first = opened["rev"]
        self._n = 0
        self._at = len(opened["document"]["cells"][cell]["source"])
        self._head = b'{"type":"submit","doc":"%s","n":' % opened["doc"].encode()
        self._path = b'","ops":[{"op":"edit","path":"/cells/%s/source","delta":[' % cell.encode()
        self._full = b'"client":"%s","n":' % self.client.encode()
        self.socket.hand_over(self._receive)

    def transmit(self, letters: int) -> None:
        self._n += 1
        start = b"%d," % self._at if self._at else b""
        self._at += letters
        self.socket.send(
            b'%s%d,"base":%d,"hash":"%s%s%s"%s"]}]}'
            % (self._head, self._n, self.place, self._hash, self._path, start, b"x" * letters)
        )

    def _receive(self, payload: bytes) -> None:
        if not payload.startswith(b'{"type":"entries"'):
            self._other(payload)
            return
        at = payload.rindex(HASH) + len(HASH)
        self._hash = payload[at : payload.index(b'"', at)]
        self.reach(_number(payload, payload.rindex(REV) + len(REV)))
        if self._in_flight:
            found = payload.find(b'"n":%d,"hash"' % self._n)  # the acknowledgement
            if found < 0:
                found = payload.find(b"%s%d," % (self._full, self._n))  # or the entry in full
            if found >= 0:
                self.own(_number(payload, payload.rindex(REV, 0, found) + len(REV)))

    def _other(self, payload: bytes) -> None:
        message = orjson.loads(payload)
        if message["type"] in ("error", "resync", "repeated"):
            raise RuntimeError(f"the server says {message}")


class Runner:
    """Somebody who runs the last cell over REST."""

    def __init__(self, address: Address, seat: Seat) -> None:
        self._address = address
        self._seat = seat
        self._cells: list[str] = []

    async def open(self) -> None:
        """Have a kernel, and run something in it."""
        self._cells = [one["id"] for one in (await self._notebook())["cells"]]
        assert await self.runs_again()

    async def run(self) -> None:
        await self._run(self._cells[-1])

    async def runs_again(self) -> bool:
        return await self._run(self._cells[-2]) == "ok"

    async def kept(self) -> int:
        outputs = (await self._notebook())["cells"][-1]["outputs"]
        return sum("".join(one.get("text", "")).count("line ") for one in outputs)

    async def _run(self, cell: str) -> str:
        url = f"{self._address.url}/api/ot/runs/{self._seat.path}?wait=50"
        answer = await ask("POST", url, self._address.token, {"cells": [cell]})
        state: str = answer["cells"][cell]["state"]
        return state

    async def _notebook(self) -> dict[str, Any]:
        url = f"{self._address.url}/api/ot/documents/{self._seat.path}"
        notebook: dict[str, Any] = await ask("GET", url, self._address.token)
        return notebook


def _number(payload: bytes, at: int) -> int:
    return int(payload[at : payload.index(b",", at)])
