"""The ceiling: a bare tornado server that passes on what it gets, and its clients.

It neither reads, checks, orders nor keeps anything. Its frames are as long as the entries that this
project's server sends. Frame by frame, or joining those that wait into one.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections import defaultdict
from typing import ClassVar

from tornado.web import Application
from tornado.websocket import WebSocketHandler

from ..typist import Composing
from ..wire import connect

REV = b'"rev":'


class Client(Composing):
    """Sends entries as this project's server would send them, and counts those that come."""

    async def open(self) -> None:
        self.client = f"p{self.seat.number}-{os.urandom(4).hex()}"
        self.socket = await connect(f"{self.address.ws}/{self.seat.path}", "")
        self._n = 0
        self._at = 300
        self.socket.hand_over(self._receive)
        self._own = b'"client":"%s","n":' % self.client.encode()

    def transmit(self, letters: int) -> None:
        self._n += 1
        self._at += letters
        self.socket.send(
            b'{"type":"entries","doc":"5f1c0e7a9b3d2468","epoch":"91b2c3d4e5f6","from":1,'
            b'"prev":"9c56cc51b374c3ba","entries":[{"rev":1,%s%d,"base":%d,"user":"ada",'
            b'"time":"2026-11-22T16:30:00.123Z","ops":[{"op":"edit","path":"/cells/c%d/source",'
            b'"delta":[%d,"%s"]}],"hash":"52ab9d1c77e0f3aa"}]}'
            % (self._own, self._n, self.place, self.seat.number, self._at, b"x" * letters)
        )

    def _receive(self, payload: bytes) -> None:
        before = self.place
        self.reach(before + payload.count(REV))
        if self._in_flight:
            found = payload.find(b"%s%d," % (self._own, self._n))
            if found >= 0:
                self.own(before + payload.count(REV, 0, found))


class Relay(WebSocketHandler):
    """All sockets at one address hear each other."""

    rooms: ClassVar[defaultdict[str, set[Relay]]] = defaultdict(set)
    waiting: ClassVar[defaultdict[str, list[bytes]]] = defaultdict(list)
    join = False

    def check_origin(self, origin: str) -> bool:
        return True

    def open(self, *args: str, **kwargs: str) -> None:
        self.set_nodelay(True)
        self.room = args[0]
        self.rooms[self.room].add(self)

    def on_close(self) -> None:
        self.rooms[self.room].discard(self)

    def on_message(self, message: str | bytes) -> None:
        if not self.join:
            self.tell(message)
            return
        waiting = self.waiting[self.room]
        if not waiting:  # what other sockets have for us in this turn of the loop goes along
            asyncio.get_running_loop().call_soon(self.tell_waiting)
        waiting.append(message.encode() if isinstance(message, str) else message)

    def tell_waiting(self) -> None:
        self.tell(b"[" + b",".join(self.waiting.pop(self.room)) + b"]")

    def tell(self, message: str | bytes) -> None:
        for one in self.rooms[self.room]:
            one.write_message(message)


async def main(port: int, join: bool) -> None:
    Relay.join = join
    Application([(r"/(.*)", Relay)]).listen(port, "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--join", action="store_true")
    asyncio.run(main(**vars(parser.parse_args())))
