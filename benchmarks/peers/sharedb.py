"""ShareDB's protocol: JSON messages over a WebSocket, operations of the type json1."""

from __future__ import annotations

from urllib.parse import quote

import orjson

from ..typist import Composing
from ..wire import ask, connect

VERSION = b'"v":'
COLLECTION = "notebooks"


class Client(Composing):
    """One operation is in flight, and what is typed meanwhile is composed into the next, as
    ShareDB's own client does. Everybody types in a cell of his own, so no transform is needed.

    A change's place is its version, and the next operation is made at the version seen last.
    """

    async def open(self) -> None:
        name = self.seat.path
        await ask("GET", f"{self.address.url}/{quote(name)}", "")
        self.socket = await connect(self.address.ws, "")
        self.socket.send(b'{"a":"hs","id":null,"protocol":1,"protocolMinor":2}')
        while orjson.loads(await self.socket.read())["a"] != "hs":
            pass  # a greeting for older clients
        self.socket.send(orjson.dumps({"a": "s", "c": COLLECTION, "d": name}))
        reply = orjson.loads(await self.socket.read())
        document = reply["data"]["data"]
        cell = document["order"][self.seat.number % len(document["order"])]
        self.place = self.first = reply["data"]["v"]
        self._seq = 0
        self._at = len(document["cells"][cell]["source"])
        self._head = b'{"a":"op","c":"%s","d":"%s","x":{},"op":["cells","%s","source",{"es":[' % (
            COLLECTION.encode(), name.encode(), cell.encode(),
        )  # fmt: skip
        self.socket.hand_over(self._receive)

    def transmit(self, letters: int) -> None:
        self._seq += 1
        start = b"%d," % self._at if self._at else b""
        self._at += letters
        self.socket.send(
            b'%s%s"%s"]}],"v":%d,"seq":%d}'
            % (self._head, start, b"x" * letters, self.place, self._seq)
        )

    def _receive(self, payload: bytes) -> None:
        at = payload.index(VERSION) + len(VERSION)
        version = int(payload[at : payload.index(b",", at)])
        if version < self.place:
            return  # sent twice: before the acknowledgement, and by subscription
        if version > self.place or b'"error":' in payload:
            raise RuntimeError(f"at version {self.place}: {payload!r}")
        self.reach(version + 1)
        if b'"op":[' not in payload:
            self.own(version + 1)
