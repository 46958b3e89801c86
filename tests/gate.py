"""A gate between clients and a server: closed, nobody gets through, as if the net were away."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType


class Gate:
    """Forwards a loopback port to another; :meth:`shut` cuts what is there and lets nobody in."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.port = 0
        self.is_shut = False
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Gate:
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.shut()
        assert self._server is not None
        self._server.close()

    def shut(self) -> None:
        """Cut everything at once, in the middle of whatever it is."""
        self.is_shut = True
        for writer in self._writers:
            writer.transport.abort()

    def open(self) -> None:
        """Let clients through again."""
        self.is_shut = False

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_shut:
            writer.transport.abort()
            return
        there_reader, there = await asyncio.open_connection("127.0.0.1", self.target)
        both = {writer, there}
        self._writers |= both
        try:
            await asyncio.gather(_pour(reader, there), _pour(there_reader, writer))
        finally:
            self._writers -= both


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
