"""The client's end of a WebSocket (RFC 6455), as little of it as a load generator needs.

One process plays a hundred clients beside the server it measures, so a frame must cost next to
nothing here: tornado's client takes three times the processor time of this.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
FINAL = 0x80
MASKED = 0x80
MASK = bytes(4)  # a mask of zeros is a mask: servers undo it like any other
KEY = b64encode(bytes(16)).decode()


class Closed(ConnectionError):
    """The server closed the socket."""


def frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """One whole message as a client sends it."""
    size = len(payload)
    if size < 126:
        head = bytes((FINAL | opcode, MASKED | size))
    elif size < 1 << 16:
        head = bytes((FINAL | opcode, MASKED | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((FINAL | opcode, MASKED | 127)) + size.to_bytes(8, "big")
    return head + MASK + payload


# What came from the network, of whichever socket: asyncio fills it and hands it on in one step. A
# new buffer for each read, which is what it does otherwise, takes longer than all the rest here.
RECEIVED = bytearray(2**18)


class WebSocket(asyncio.BufferedProtocol):
    """One socket. Messages are read one at a time, or, after :meth:`hand_over`, handed on.

    asyncio sets TCP_NODELAY on the sockets that it makes. If the server ends the connection, the
    loop's exception handler is told.
    """

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._buffer = bytearray()
        self._needed = 0  # bytes in the buffer before it is worth a look
        self._parts: list[bytes] = []  # of a message in several frames
        self._upgraded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport
        self._unread: asyncio.Queue[bytes | None] = asyncio.Queue()  # None: there is no more
        self._on_message: Callable[[bytes], None] = self._unread.put_nowait
        self.received = 0  # bytes of messages
        self.closed: str | None = None  # why

    def send(self, payload: bytes, opcode: int = TEXT) -> None:
        """Send one message."""
        if self.closed is not None:
            raise Closed(self.closed)
        self._transport.write(frame(payload, opcode))

    async def read(self) -> bytes:
        """The next message. Raises :class:`Closed`."""
        payload = await self._unread.get()
        if payload is None:
            raise Closed(self.closed)
        return payload

    def hand_over(self, on_message: Callable[[bytes], None]) -> None:
        """From now on call this with each message."""
        self._on_message = on_message
        while not self._unread.empty():
            payload = self._unread.get_nowait()
            if payload is not None:
                on_message(payload)

    def close(self) -> None:
        """Close without a farewell."""
        self.closed = self.closed or "closed by us"
        self._transport.abort()

    async def upgraded(self) -> None:
        """Wait until the server has agreed. Raises :class:`Closed` if it does not."""
        await self._upgraded

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def connection_lost(self, error: Exception | None) -> None:
        self._unread.put_nowait(None)
        if self.closed is not None:
            return
        self.closed = str(error or "the server ended the connection")
        if not self._upgraded.done():
            self._upgraded.set_exception(Closed(self.closed))
        else:
            self._complain()

    def _complain(self) -> None:
        context = {"message": "a socket was closed", "exception": Closed(self.closed)}
        asyncio.get_running_loop().call_exception_handler(context)

    def get_buffer(self, sizehint: int) -> bytearray:
        return RECEIVED

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(memoryview(RECEIVED)[:nbytes])
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._needed:
                return
            data = bytes(self._buffer)
            self._buffer.clear()
        if not self._upgraded.done():
            data = self._upgrade(data)
        used = self._take_frames(data)
        if used < len(data):
            self._buffer += data[used:] if used else data

    def _upgrade(self, data: bytes) -> bytes:
        head, end, rest = data.partition(b"\r\n\r\n")
        if not end:
            return data
        status = head.partition(b"\r\n")[0].decode()
        if " 101 " in status:
            self._upgraded.set_result(None)
        else:
            self.closed = status
            self._upgraded.set_exception(Closed(status))
            self.close()
        return rest

    def _take_frames(self, data: bytes) -> int:
        """Hand on every whole frame; returns the bytes used."""
        at, end = 0, len(data)
        self._needed = 0
        if not self._upgraded.done():
            return 0
        while end - at >= 2:
            size, start = data[at + 1], at + 2
            if size == 126:
                start += 2
                size = int.from_bytes(data[at + 2 : start], "big")
            elif size == 127:
                start += 8
                size = int.from_bytes(data[at + 2 : start], "big")
            if start > end or start + size > end:
                self._needed = start + size - at
                return at
            self._take(data[at], data[start : start + size])
            at = start + size
        return at

    def _take(self, first: int, payload: bytes) -> None:
        opcode = first & 0x0F
        if first & FINAL and opcode in (TEXT, BINARY):
            self.received += len(payload)
            self._on_message(payload)
        elif opcode == PING:
            self.send(payload, PONG)
        elif opcode == CLOSE:
            code = int.from_bytes(payload[:2], "big")
            self.closed = f"closed by the server: {code} {payload[2:].decode(errors='replace')}"
            self._complain()
            self.close()
        elif opcode != PONG:
            self._parts.append(payload)
            if first & FINAL:
                whole = b"".join(self._parts)
                self._parts.clear()
                self.received += len(whole)
                self._on_message(whole)


async def connect(url: str, token: str) -> WebSocket:
    """Open a socket to a ``ws://`` address. Raises :class:`Closed` if the server refuses."""
    parts = urlsplit(url)
    host, port = parts.hostname, parts.port
    assert host is not None
    assert port is not None
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    request = (
        f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: token {token}\r\n"
        f"Upgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    ).encode()
    loop = asyncio.get_running_loop()
    _, socket = await loop.create_connection(lambda: WebSocket(request), host, port)
    await socket.upgraded()
    return socket


async def ask(method: str, url: str, token: str, body: Any = None) -> Any:
    """One HTTP request; its answer's JSON (None: no content). Raises OSError if it is refused."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    text = b"" if body is None else json.dumps(body).encode()
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    writer.write(
        f"{method} {target} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Authorization: token {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n"
        f"Connection: close\r\n\r\n".encode()
        + text
    )
    answer = await reader.read()
    writer.close()
    head, _, content = answer.partition(b"\r\n\r\n")
    status = head.partition(b"\r\n")[0].decode()
    if " 20" not in status:
        raise OSError(f"{status} from {url}: {content[:500]!r}")
    return json.loads(content) if content else None
