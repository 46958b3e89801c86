"""A store of logs in memory: for tests, for simulations, and as the model of the other two.

:class:`MemoryCore` is the store, synchronous and without a clock: a simulation drives it directly
and sets it back to an older copy (:func:`copy.deepcopy`) to lose a tail or to fork.
:class:`MemoryLog` is its asynchronous face; several may share one core, like servers do a store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import orjson

from ..transforms import Document, is_notebook
from .blobs import PieceStore
from .entry import NOTHING_SEEN, Entry, Head, Seen, Snapshot, advance, chain, judge
from .log import (
    Appended,
    Attempt,
    DocumentRef,
    FileState,
    Hearer,
    Listener,
    Loaded,
    LogUnavailable,
    Moved,
    NotAppended,
    Outcome,
)

SNAPSHOTS_KEPT = 2
PIECE_BYTES = 2**20

# What all stores do alike.


def pack(document: Document) -> Iterator[bytes]:
    """A document as a store keeps it, in pieces: JSON, each cell in a line of its own, some lines
    in a piece. Written and read bit by bit (in another thread), no document is so large that the
    event loop stands still for it: both JSON and copying keep the interpreter to themselves."""
    cells = document["cells"].items() if is_notebook(document) else ()
    lines = [orjson.dumps({**document, "cells": {}} if cells else document)]
    size = len(lines[0])
    for name, cell in cells:
        if size >= PIECE_BYTES:
            yield b"\n".join(lines)
            lines, size = [], 0
        lines.append(orjson.dumps({name: cell}))
        size += len(lines[-1])
    yield b"\n".join(lines)


def unpack(pieces: Iterable[bytes]) -> Document:
    """The document that was packed."""
    lines = (line for piece in pieces for line in BytesIO(piece))
    document: Document = orjson.loads(next(lines))
    for line in lines:
        document["cells"].update(orjson.loads(line))
    return document


def follows(head: Head, entry: Entry) -> bool:
    """Whether the entry is the one after this very state. So a state can be checked against a
    log that no longer holds the entry which made it."""
    return entry.rev == head.rev + 1 and chain(head.hash, entry.body) == entry.hash


def agrees(snapshot: Head, after: Sequence[Entry], head: Head) -> bool:
    """Whether a snapshot is a state of the log that holds ``after`` behind it, up to ``head``."""
    return follows(snapshot, after[0]) if after else snapshot == head


def moved(head: Head, writer: Head, after: list[Entry]) -> Moved:
    """The answer to a writer who is elsewhere; ``after`` is what the log holds after his
    revision."""
    return Moved(head, after if after and follows(writer, after[0]) else None)


def weigh(
    entries: Sequence[Entry], floor: int, seen_of: Callable[[str], Seen]
) -> NotAppended | dict[str, Seen]:
    """What is seen of the entries' clients after them, or which of them is refused."""
    seen: dict[str, Seen] = {}
    for index, entry in enumerate(entries):
        if entry.base < floor:
            return NotAppended(index, "floor")
        before = seen.get(entry.client) or seen_of(entry.client)
        judgement = judge(before, entry.n, entry.skip)
        if judgement != "next":
            return NotAppended(index, judgement)
        seen[entry.client] = advance(before, entry)
    return seen


def thinned(entry: Entry) -> dict[str, object]:
    """What the history keeps of an entry."""
    return {"rev": entry.rev, "client": entry.client, "user": entry.user, "time": entry.time}


def is_one_off(client: str) -> bool:
    """Whether the client is one request's, so that what is seen of it may be forgotten."""
    return ":" in client


def no_document(doc: str) -> LogUnavailable:
    """The error for a save of a document that the store does not (or no longer) hold."""
    return LogUnavailable(f"the store does not hold the document {doc}")


@dataclass(slots=True)
class _Kept:
    """One document. Entries, snapshots and documents are never changed, so copies share them."""

    ref: DocumentRef
    floor: int
    head: Head
    entries: list[Entry]  # those with the revisions floor + 1, …, head.rev
    snapshots: list[Snapshot]  # the newest last
    seen: dict[str, Seen]
    history: list[dict[str, object]] = field(default_factory=list)  # the newest last
    file: FileState = field(default_factory=FileState)

    def copy(self) -> _Kept:
        return replace(
            self,
            entries=self.entries[:],
            snapshots=self.snapshots[:],
            seen=dict(self.seen),
            history=self.history[:],
        )

    def after(self, rev: int) -> list[Entry]:
        return self.entries[max(0, rev - self.floor) :]

    def holds(self, state: Head) -> bool:
        index = state.rev - self.floor - 1
        if 0 <= index < len(self.entries):
            return self.entries[index].hash == state.hash
        return state == self.head


@dataclass(slots=True)
class _Pieces:
    """A blob (``size`` is None until it is whole) or a spool."""

    pieces: list[bytes] = field(default_factory=list)
    size: int | None = None
    time: float = 0.0

    def copy(self) -> _Pieces:
        return replace(self, pieces=self.pieces[:])


class MemoryCore:
    """The store. Methods as in :class:`~.log.Log`, without ``async``."""

    def __init__(self) -> None:
        self.documents: dict[str, _Kept] = {}
        self.blobs: dict[tuple[str, str], _Pieces] = {}  # by document and hash
        self.spools: dict[tuple[str, str], _Pieces] = {}  # by document and name

    def __deepcopy__(self, memo: dict[int, Any]) -> MemoryCore:
        twin = MemoryCore()
        twin.documents = {doc: kept.copy() for doc, kept in self.documents.items()}
        twin.blobs = {key: blob.copy() for key, blob in self.blobs.items()}
        twin.spools = {key: spool.copy() for key, spool in self.spools.items()}
        return twin

    # names

    def find(self, path: str) -> DocumentRef | None:
        """The document that has the path."""
        for kept in self.documents.values():
            if kept.ref.path == path:
                return kept.ref
        return None

    def get(self, doc: str) -> DocumentRef | None:
        """The document of that id."""
        kept = self.documents.get(doc)
        return None if kept is None else kept.ref

    def create(self, ref: DocumentRef, initial: Snapshot) -> DocumentRef:
        """See :meth:`~.log.Log.create`."""
        standing = self.find(ref.path) or self.get(ref.doc)
        if standing is not None:
            return standing
        self.documents[ref.doc] = _Kept(ref, initial.rev, initial.head, [], [initial], {})
        return ref

    def restore(self, loaded: Loaded) -> bool:
        """See :meth:`~.log.Log.restore`."""
        ref = loaded.ref
        if self.find(ref.path) or self.get(ref.doc):
            return False
        self.documents[ref.doc] = _Kept(
            ref,
            loaded.floor,
            loaded.head,
            list(loaded.entries),
            [loaded.snapshot],
            dict(loaded.seen),
        )
        return True

    def rename(self, doc: str, path: str) -> bool:
        """See :meth:`~.log.Log.rename`. To its own path: True. An unknown document: False."""
        kept = self.documents.get(doc)
        holder = self.find(path)
        if kept is None or (holder is not None and holder.doc != doc):
            return False
        kept.ref = replace(kept.ref, path=path)
        return True

    def delete(self, doc: str) -> None:
        """See :meth:`~.log.Log.delete`."""
        self.documents.pop(doc, None)
        for kept in (self.blobs, self.spools):
            for key in [key for key in kept if key[0] == doc]:
                del kept[key]

    def documents_under(self, folder: str) -> list[DocumentRef]:
        """See :meth:`~.log.Log.documents`."""
        refs = (kept.ref for kept in self.documents.values())
        return [ref for ref in refs if ref.path.startswith(folder + "/")]

    # the log

    def load(self, doc: str) -> Loaded | None:
        """See :meth:`~.log.Log.load`. Raises ``LogUnavailable`` if no snapshot fits the log."""
        kept = self.documents.get(doc)
        if kept is None:
            return None
        for snapshot in reversed(kept.snapshots):
            after = kept.after(snapshot.rev)
            if agrees(snapshot.head, after, kept.head):
                return Loaded(kept.ref, snapshot, after, kept.floor, dict(kept.seen))
        raise LogUnavailable(f"no snapshot of {kept.ref.path!r} agrees with its log")

    def append(self, doc: str, head: Head, entries: Sequence[Entry]) -> Outcome:
        """See :meth:`~.log.Log.append`."""
        kept = self.documents.get(doc)
        if kept is None:
            return Moved(None, None)
        if head != kept.head:
            known = head.rev >= kept.floor
            return moved(kept.head, head, kept.after(head.rev) if known else [])
        seen = weigh(entries, kept.floor, lambda client: kept.seen.get(client, NOTHING_SEEN))
        if isinstance(seen, NotAppended):
            return seen
        if entries:
            kept.entries += entries
            kept.head = entries[-1].head
            kept.seen |= seen
        return Appended()

    def read(self, doc: str, since: int, limit: int | None = None) -> list[Entry]:
        """See :meth:`~.log.Log.read`."""
        kept = self.documents.get(doc)
        return [] if kept is None else kept.after(since)[:limit]

    def head(self, doc: str) -> Head | None:
        """The log's head; None if there is no such document."""
        kept = self.documents.get(doc)
        return None if kept is None else kept.head

    def save_snapshot(self, doc: str, snapshot: Snapshot) -> None:
        """See :meth:`~.log.Log.save_snapshot`."""
        kept = self.documents.get(doc)
        if kept is None or not kept.holds(snapshot.head):
            return
        others = [one for one in kept.snapshots if one.rev != snapshot.rev]
        kept.snapshots = sorted([*others, snapshot], key=lambda one: one.rev)[-SNAPSHOTS_KEPT:]

    def trim(self, doc: str, floor: int, *, keep_history: bool, seen_before: str) -> None:
        """See :meth:`~.log.Log.trim`."""
        kept = self.documents.get(doc)
        if kept is None or not any(floor <= one.rev for one in kept.snapshots):
            return
        if floor > kept.floor:
            gone = kept.entries[: floor - kept.floor]
            if keep_history:
                kept.history += [thinned(entry) for entry in gone]
            kept.entries = kept.entries[len(gone) :]
            kept.snapshots = [one for one in kept.snapshots if one.rev >= floor]
            kept.floor = floor
        for client, seen in list(kept.seen.items()):
            if is_one_off(client) and seen.time < seen_before:
                del kept.seen[client]

    def history(self, doc: str, limit: int = 1000) -> list[dict[str, object]]:
        """See :meth:`~.log.Log.history`."""
        kept = self.documents.get(doc)
        return [] if kept is None else kept.history[::-1][:limit]

    # the file

    def file_state(self, doc: str) -> FileState:
        """The image and the pending save; an empty one if there is no such document."""
        kept = self.documents.get(doc)
        return FileState() if kept is None else kept.file

    def begin_save(self, doc: str, attempt: Attempt, *, over: str) -> bool:
        """Keep an attempt. Raises ``LogUnavailable`` if there is no such document."""
        kept = self._held(doc)
        if kept.file.digest != over or kept.file.attempt is not None:
            return False
        kept.file = replace(kept.file, attempt=attempt)
        return True

    def settle_save(
        self, doc: str, image: bytes | None, digest: str, rev: int, *, over: str, attempt: str = ""
    ) -> bool:
        """Set the image. Raises ``LogUnavailable`` if there is no such document."""
        kept = self._held(doc)
        pending = kept.file.attempt.id if kept.file.attempt else ""
        if kept.file.digest != over or pending != attempt:
            return False
        if image is None and kept.file.attempt:
            image = kept.file.attempt.content
        kept.file = FileState(image, digest, rev)
        return True

    def end_save(self, doc: str, attempt: str) -> None:
        """See :meth:`~.log.Log.end_save`."""
        kept = self.documents.get(doc)
        if kept is not None and kept.file.attempt and kept.file.attempt.id == attempt:
            kept.file = replace(kept.file, attempt=None)

    def _held(self, doc: str) -> _Kept:
        kept = self.documents.get(doc)
        if kept is None:
            raise no_document(doc)
        return kept


_sharers: WeakKeyDictionary[MemoryCore, WeakSet[MemoryLog]] = WeakKeyDictionary()


class MemoryLog(PieceStore):
    """A :class:`~.log.Log` on a :class:`MemoryCore`. All logs on one core, of one event loop,
    hear what any of them appends and publishes, themselves included."""

    def __init__(self, core: MemoryCore | None = None) -> None:
        self.core = MemoryCore() if core is None else core
        self._listeners: dict[str, tuple[Listener, Hearer | None]] = {}
        _sharers.setdefault(self.core, WeakSet()).add(self)

    async def start(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Stop listening."""
        self._listeners.clear()

    async def ping(self) -> None:
        """Nothing to do."""

    async def find(self, path: str) -> DocumentRef | None:
        return self.core.find(path)

    async def get(self, doc: str) -> DocumentRef | None:
        return self.core.get(doc)

    async def create(self, ref: DocumentRef, initial: Snapshot) -> DocumentRef:
        return self.core.create(ref, initial)

    async def restore(self, loaded: Loaded) -> bool:
        return self.core.restore(loaded)

    async def rename(self, doc: str, path: str) -> bool:
        return self.core.rename(doc, path)

    async def delete(self, doc: str) -> None:
        self.core.delete(doc)

    async def documents(self, under: str) -> list[DocumentRef]:
        return self.core.documents_under(under)

    async def load(self, doc: str) -> Loaded | None:
        return self.core.load(doc)

    async def append(self, doc: str, head: Head, entries: Sequence[Entry]) -> Outcome:
        outcome = self.core.append(doc, head, entries)
        if entries and isinstance(outcome, Appended):
            told = list(entries)
            self._tell(doc, lambda listener, _: listener(told[:]))
        return outcome

    async def read(self, doc: str, since: int, limit: int | None = None) -> list[Entry]:
        return self.core.read(doc, since, limit)

    async def head(self, doc: str) -> Head | None:
        return self.core.head(doc)

    async def save_snapshot(self, doc: str, snapshot: Snapshot) -> None:
        self.core.save_snapshot(doc, snapshot)

    async def trim(self, doc: str, floor: int, *, keep_history: bool, seen_before: str) -> None:
        self.core.trim(doc, floor, keep_history=keep_history, seen_before=seen_before)

    async def history(self, doc: str, limit: int = 1000) -> list[dict[str, object]]:
        return self.core.history(doc, limit)

    async def subscribe(self, doc: str, listener: Listener, hearer: Hearer | None = None) -> None:
        self._listeners[doc] = (listener, hearer)

    async def unsubscribe(self, doc: str) -> None:
        self._listeners.pop(doc, None)

    async def publish(self, doc: str, message: bytes) -> None:
        self._tell(doc, lambda _, hearer: hearer(message) if hearer else None)

    def _tell(self, doc: str, tell: Callable[[Listener, Hearer | None], None]) -> None:
        loop = asyncio.get_running_loop()
        for log in _sharers[self.core]:
            if doc in log._listeners:
                loop.call_soon(tell, *log._listeners[doc])

    async def file_state(self, doc: str) -> FileState:
        return self.core.file_state(doc)

    async def begin_save(self, doc: str, attempt: Attempt, *, over: str) -> bool:
        return self.core.begin_save(doc, attempt, over=over)

    async def settle_save(
        self, doc: str, image: bytes | None, digest: str, rev: int, *, over: str, attempt: str = ""
    ) -> bool:
        return self.core.settle_save(doc, image, digest, rev, over=over, attempt=attempt)

    async def end_save(self, doc: str, attempt: str) -> None:
        self.core.end_save(doc, attempt)

    async def blob_size(self, doc: str, hash: str) -> int | None:
        blob = self.core.blobs.get((doc, hash))
        return None if blob is None else blob.size

    async def spools(self, doc: str) -> list[str]:
        return sorted(name for of, name in self.core.spools if of == doc)

    async def _begin_blobs(self, doc: str, hashes: list[str], now: float) -> set[str]:
        blobs = [self.core.blobs.setdefault((doc, hash), _Pieces()) for hash in hashes]
        for blob in blobs:
            blob.time = now
        return {hash for hash, one in zip(hashes, blobs, strict=True) if one.size is not None}

    async def _put_piece(self, doc: str, hash: str, part: int, piece: bytes) -> None:
        self.core.blobs[doc, hash].pieces[part:] = [piece]

    async def _end_blob(self, doc: str, hash: str, size: int, now: float) -> None:
        blob = self.core.blobs[doc, hash]
        blob.size, blob.time = size, now

    async def _pieces(self, doc: str, hash: str, first: int, last: int) -> list[bytes]:
        return self.core.blobs[doc, hash].pieces[first : last + 1]

    async def _append_chunks(self, doc: str, name: str, chunks: list[bytes], now: float) -> None:
        spool = self.core.spools.setdefault((doc, name), _Pieces())
        spool.pieces += chunks
        spool.time = now

    async def _chunks(self, doc: str, name: str, first: int, count: int) -> list[bytes]:
        spool = self.core.spools.get((doc, name))
        return [] if spool is None else spool.pieces[first : first + count]

    async def _forget_spool(self, doc: str, name: str) -> None:
        self.core.spools.pop((doc, name), None)

    async def _forget_blobs(self, doc: str, but: frozenset[str], before: float) -> None:
        for (of, hash), blob in list(self.core.blobs.items()):
            if of == doc and hash not in but and blob.time <= before:
                del self.core.blobs[of, hash]

    async def _forget_spools(self, doc: str, before: float) -> None:
        for (of, name), spool in list(self.core.spools.items()):
            if of == doc and spool.time <= before:
                del self.core.spools[of, name]
