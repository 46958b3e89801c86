"""This server's protocol: docs/protocol.md."""

from __future__ import annotations

import os

import orjson

from ..typist import Composing
from ..wire import connect

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


def _number(payload: bytes, at: int) -> int:
    return int(payload[at : payload.index(b",", at)])
