"""A reader that stops reading while others write megabytes: it costs no more than the frame that
it has not taken, nobody waits for it, and when it reads again it can get current."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import psutil

from ot_jupyter.transforms import apply
from tests.server_process import ServerProcess
from tests.socket_client import SocketClient

READERS = 4
CHANGES = 60
CHANGE_BYTES = 2**20
BOUND_BYTES = 120 * 2**20  # for each reader a frame or two; a queue each would be 240 MiB


class RawReader:
    """A WebSocket client on a bare stream, which takes from the network only what it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, server: ServerProcess) -> RawReader:
        # With a small limit asyncio stops reading when nobody takes what came.
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=2**12)
        writer.write(
            f"GET /api/ot/socket?token={server.token} HTTP/1.1\r\n"
            f"Host: 127.0.0.1:{server.port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            "\r\n".encode()
        )
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        return cls(reader, writer)

    async def send(self, **message: Any) -> None:
        text = json.dumps(message).encode()
        # The client's frames are masked; this mask changes nothing.
        self.writer.write(b"\x81\xfe" + len(text).to_bytes(2, "big") + b"\0\0\0\0" + text)
        await self.writer.drain()

    async def receive(self) -> dict[str, Any]:
        """The next text message."""
        while True:
            kind, size = await self.reader.readexactly(2)
            if size >= 126:
                size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8), "big")
            body = await self.reader.readexactly(size)
            if kind == 0x81:
                message: dict[str, Any] = json.loads(body)
                return message


async def test_a_reader_that_stops_reading(tmp_path: Path) -> None:
    (tmp_path / "n.ipynb").write_text(
        json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    )
    with ServerProcess(tmp_path) as server:
        process = psutil.Process(server.pid)
        async with SocketClient(server) as one, SocketClient(server) as two:
            writer, other = await one.open("n.ipynb", "writer"), await two.open("n.ipynb", "other")

            async def write(changes: int) -> None:
                for _ in range(changes):
                    blob = os.urandom(CHANGE_BYTES // 2).hex()
                    operation = {"op": "replace", "path": "/metadata/blob", "value": blob}
                    await writer.submit([operation])
                    await other.until_rev(writer.rev)

            await write(20)  # the window is full now
            slow = [await RawReader.connect(server) for _ in range(READERS)]
            opened = []
            for index, reader in enumerate(slow):
                await reader.send(type="open", path="n.ipynb", client=f"slow{index}")
                opened.append(await reader.receive())
            before = process.memory_info().rss
            await write(CHANGES)
            assert process.memory_info().rss - before < BOUND_BYTES
            assert other.document == writer.document  # others went on with every change

            for index, (reader, start) in enumerate(zip(slow, opened, strict=True)):
                document, known = start["document"], [[start["rev"], start["hash"]]]
                while (message := await reader.receive())["type"] == "entries":
                    for entry in message["entries"]:
                        document = apply(document, entry["ops"])
                        known.insert(0, [entry["rev"], entry["hash"]])
                assert (message["type"], message["reason"]) == ("resync", "behind")
                assert known[0][0] < writer.rev  # what it was told was not all
                await reader.send(
                    type="open", path="n.ipynb", client=f"slow{index}", epoch=start["epoch"],
                    known=known,
                )  # fmt: skip
                message = await reader.receive()
                assert message["type"] == "opened"
                assert message.get("document") or message["since"] == known[0][0]
                document = message.get("document", document)
                for entry in message["entries"]:
                    document = apply(document, entry["ops"])
                assert document == writer.document
                assert (message["rev"], message["hash"]) == writer.head
                reader.writer.close()
