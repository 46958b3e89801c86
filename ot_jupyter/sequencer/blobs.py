"""Large outputs in the store, beside the logs: blobs, by document and hash, and spools.

A blob is kept in pieces of :data:`PIECE_BYTES`, so that neither writing nor reading one holds up
what else the store does, nor fills memory. It counts only when all of its pieces are there. A
*spool* is a text that still grows, such as the stream of a running cell; sealed, it is a blob.

:class:`PieceStore` says how, once for all stores, in steps that each of them does its own way.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from time import time
from typing import Final

from ..transforms import Document
from ..transforms.blobs import Contents, attach_document, new_blob_hash, references
from .log import Log

PIECE_BYTES: Final = 2**20
READ_BYTES: Final = 4 * 2**20  # of a content that is read as a whole, at once
SPOOL_SECONDS: Final = 86400.0  # after which one that nobody wrote to or sealed is forgotten
CHUNKS: Final = 4  # of a spool that are read at once


def slices(data: bytes) -> Iterator[bytes]:
    """Data in pieces; at least one."""
    for start in range(0, max(1, len(data)), PIECE_BYTES):
        yield data[start : start + PIECE_BYTES]


class PieceStore(ABC):
    """The part of :class:`~.log.Log` that is about blobs. Times are seconds since 1970."""

    async def put_blobs(self, doc: str, contents: Mapping[str, bytes]) -> None:
        """See :meth:`~.log.Log.put_blobs`."""
        if not contents:
            return
        whole = await self._begin_blobs(doc, list(contents), time())
        for name, content in contents.items():
            if name not in whole:
                for part, piece in enumerate(slices(content)):
                    await self._put_piece(doc, name, part, piece)
                await self._end_blob(doc, name, len(content), time())

    async def read_blob(self, doc: str, hash: str, start: int, end: int) -> bytes:
        """See :meth:`~.log.Log.read_blob`."""
        start, end = max(0, start), min(end, await self.blob_size(doc, hash) or 0)
        if start >= end:
            return b""
        first = start // PIECE_BYTES
        pieces = await self._pieces(doc, hash, first, (end - 1) // PIECE_BYTES)
        return b"".join(pieces)[start - first * PIECE_BYTES : end - first * PIECE_BYTES]

    async def append_spool(self, doc: str, name: str, data: bytes) -> None:
        """See :meth:`~.log.Log.append_spool`."""
        await self._append_chunks(doc, name, list(slices(data)), time())

    async def seal_spool(self, doc: str, name: str) -> tuple[str, int]:
        """See :meth:`~.log.Log.seal_spool`."""
        # Read twice, so that the blob's name is known before anything of it is written: whatever
        # happens in between, it can be done again.
        hasher, size = new_blob_hash(), 0
        async for chunk in self._chunks_of(doc, name):
            await asyncio.to_thread(hasher.update, chunk)
            size += len(chunk)
        hash = hasher.hexdigest()
        if not await self._begin_blobs(doc, [hash], time()):
            part, rest = 0, b""
            async for chunk in self._chunks_of(doc, name):
                rest += chunk
                while len(rest) >= PIECE_BYTES:
                    await self._put_piece(doc, hash, part, rest[:PIECE_BYTES])
                    part, rest = part + 1, rest[PIECE_BYTES:]
            await self._put_piece(doc, hash, part, rest)
            await self._end_blob(doc, hash, size, time())
        await self._forget_spool(doc, name)
        return hash, size

    async def _chunks_of(self, doc: str, name: str) -> AsyncIterator[bytes]:
        at = 0
        while chunks := await self._chunks(doc, name, at, CHUNKS):
            at += len(chunks)
            for chunk in chunks:
                yield chunk
        if not at:
            raise KeyError(name)

    async def keep_blobs(self, doc: str, hashes: Collection[str], older_than: float) -> None:
        """See :meth:`~.log.Log.keep_blobs`."""
        now = time()
        await self._forget_blobs(doc, frozenset(hashes), now - older_than)
        await self._forget_spools(doc, now - SPOOL_SECONDS)

    # What a store does. Each step is atomic, and what it has done when it returns is durable.

    @abstractmethod
    async def blob_size(self, doc: str, hash: str) -> int | None:
        """See :meth:`~.log.Log.blob_size`."""

    @abstractmethod
    async def spools(self, doc: str) -> list[str]:
        """See :meth:`~.log.Log.spools`."""

    @abstractmethod
    async def _begin_blobs(self, doc: str, hashes: list[str], now: float) -> set[str]:
        """Note that these blobs are put now. Returns those that are whole already."""

    @abstractmethod
    async def _put_piece(self, doc: str, hash: str, part: int, piece: bytes) -> None:
        """Keep one piece of a blob; it may be there already."""

    @abstractmethod
    async def _end_blob(self, doc: str, hash: str, size: int, now: float) -> None:
        """Note that a blob is whole."""

    @abstractmethod
    async def _pieces(self, doc: str, hash: str, first: int, last: int) -> list[bytes]:
        """Some pieces of a blob, ``last`` being one of them."""

    @abstractmethod
    async def _append_chunks(self, doc: str, name: str, chunks: list[bytes], now: float) -> None:
        """Append to a spool."""

    @abstractmethod
    async def _chunks(self, doc: str, name: str, first: int, count: int) -> list[bytes]:
        """What was appended to a spool, from the chunk of that number on."""

    @abstractmethod
    async def _forget_spool(self, doc: str, name: str) -> None:
        """Forget a spool."""

    @abstractmethod
    async def _forget_blobs(self, doc: str, but: frozenset[str], before: float) -> None:
        """Forget the blobs that were not put after that time, but those."""

    @abstractmethod
    async def _forget_spools(self, doc: str, before: float) -> None:
        """Forget the spools that were not appended to after that time."""


async def read_contents(log: Log, doc: str, hashes: Collection[str]) -> Contents:
    """Those of the blobs that the store has, each as a whole. Raises ``LogUnavailable``."""
    contents: Contents = {}
    for hash in hashes:
        size = await log.blob_size(doc, hash)
        if size is None:
            continue
        parts = [
            await log.read_blob(doc, hash, start, min(size, start + READ_BYTES))
            for start in range(0, size, READ_BYTES)
        ]
        content = b"".join(parts)
        if len(content) == size:  # else it was forgotten just now
            contents[hash] = content
    return contents


async def in_full(log: Log, doc: str, document: Document) -> Document:
    """The document with its large outputs, where the store has them. Raises ``LogUnavailable``."""
    wanted = references(document)
    if not wanted:
        return document
    contents = await read_contents(log, doc, wanted)
    return await asyncio.to_thread(attach_document, document, contents)
