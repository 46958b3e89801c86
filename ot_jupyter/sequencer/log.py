"""What a store of logs must do. Three do it: memory, SQLite and Redis.

The storage decides: :meth:`Log.append` is one atomic compare-and-append, and whatever order it
makes is the order of the document. Servers are equal; none owns a document.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from .entry import Entry, Head, Seen, Snapshot


@dataclass(frozen=True, slots=True)
class DocumentRef:
    """A document's names. ``doc`` is minted once and names the log; ``path`` may change; ``epoch``
    is minted with the log, so a log made anew is told from the one before it."""

    doc: str
    path: str
    kind: str  # "notebook" or "text"
    epoch: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """One consistent cut of a log: a snapshot, all entries after it, and ``seen`` at the head.

    ``floor`` is the oldest revision that may still be a base: the log holds every entry after it.
    The snapshot's revision is never below the floor.
    """

    ref: DocumentRef
    snapshot: Snapshot
    entries: list[Entry]
    floor: int
    seen: dict[str, Seen]

    @property
    def head(self) -> Head:
        return self.entries[-1].head if self.entries else self.snapshot.head


@dataclass(frozen=True, slots=True)
class Appended:
    """The entries are in the log, durable."""


@dataclass(frozen=True, slots=True)
class Moved:
    """The log's head is not the one the writer named; nothing was written.

    ``tail`` holds the entries after the writer's head if that head is in the log (the usual race).
    It is None if it is not: the log is shorter (it lost its tail), is another branch (a fork), or
    is gone (``head`` is None then).
    """

    head: Head | None
    tail: list[Entry] | None


@dataclass(frozen=True, slots=True)
class NotAppended:
    """The log refuses the entry at ``index``: ``why`` is ``"repeat"``, ``"gap"`` or ``"floor"``.
    Nothing of the call was written."""

    index: int
    why: str


Outcome = Appended | Moved | NotAppended


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a server is about to do that makes a new image, told before it is done: to save, or to
    enter into the log what others wrote into the file."""

    id: str
    server: str
    digest: str  # of the content, see projection.py
    rev: int
    time: float  # seconds since 1970
    content: bytes  # what will be the image, if it is done
    entry: str = ""  # the client of the entry that takes it up; of a save: none


@dataclass(frozen=True, slots=True)
class FileState:
    """What was last seen on disk (the base for merging what others write), and the one attempt
    that was begun and neither confirmed nor given up."""

    image: bytes | None = None  # the document, JSON
    digest: str = ""
    rev: int = 0
    attempt: Attempt | None = None


# Called on the event loop with the entries that another writer (or this one) appended, in order,
# or with None: "look at the log".
Listener = Callable[[list[Entry] | None], None]
# Called on the event loop with what another server published (presence): nothing is kept.
Hearer = Callable[[bytes], None]


class LogUnavailable(Exception):
    """The store can't be reached or can't write now. Whether a write happened is unknown."""


class Log(Protocol):
    """A store of logs. Every method may raise :class:`LogUnavailable`."""

    async def start(self) -> None:
        """Connect, make the tables."""

    async def close(self) -> None:
        """Write what waits and let go of everything."""

    async def ping(self) -> None:
        """Return if the store can be reached."""

    # names
    async def find(self, path: str) -> DocumentRef | None: ...

    async def get(self, doc: str) -> DocumentRef | None: ...

    async def create(self, ref: DocumentRef, initial: Snapshot) -> DocumentRef:
        """Make the log of a path at revision 0, unless the path has one: returns the one that
        stands (of two servers that create at once, both get the same)."""

    async def restore(self, loaded: Loaded) -> bool:
        """Put a whole log back that the store lost (its file deleted, its Redis emptied): same
        names, snapshot, entries, ``seen``; its blobs stay lost. False, and nothing written, if the
        document or its path exists."""

    async def rename(self, doc: str, path: str) -> bool:
        """Give the document another path; False if a document has it already."""

    async def delete(self, doc: str) -> None:
        """Forget the document, its log and its blobs."""

    async def documents(self, under: str) -> list[DocumentRef]:
        """The documents whose paths lie in the folder ``under`` or in one of its folders."""

    # the log
    async def load(self, doc: str) -> Loaded | None:
        """One consistent cut; None if there is no such document."""

    async def append(self, doc: str, head: Head, entries: Sequence[Entry]) -> Outcome:
        """Append all entries or none, if the log's head is ``head``. Checks, in this order: the
        head (by revision and hash), then for each entry its base against the floor and its number
        against what is seen of the client, with :func:`~.entry.judge`. Durable when it returns."""

    async def read(self, doc: str, since: int, limit: int | None = None) -> list[Entry]:
        """The entries after ``since`` that the log holds, oldest first."""

    async def head(self, doc: str) -> Head | None: ...

    async def save_snapshot(self, doc: str, snapshot: Snapshot) -> None:
        """Keep a snapshot (the newest two are kept), if the log holds its revision with its hash;
        else do nothing."""

    async def trim(self, doc: str, floor: int, *, keep_history: bool, seen_before: str) -> None:
        """Raise the floor: entries at and below it leave the log, and stay as thinned history
        (revision, client, user, time) or are dropped. Does nothing unless a snapshot at or above
        the floor is kept. What is seen of one-off clients (names that contain ``:``) with a time
        below ``seen_before`` (ISO 8601) is forgotten."""

    async def history(self, doc: str, limit: int = 1000) -> list[dict[str, object]]:
        """The thinned history, newest first: ``{"rev", "client", "user", "time"}``."""

    # poke
    async def subscribe(self, doc: str, listener: Listener, hearer: Hearer | None = None) -> None:
        """From when this returns, ``listener`` hears of every append by any server. It may hear
        of one twice, late or not at all: the head is the truth, and is polled now and then."""

    async def unsubscribe(self, doc: str) -> None: ...

    async def publish(self, doc: str, message: bytes) -> None:
        """Tell the other servers' hearers; may get lost. (SQLite tells nobody: two servers on one
        file share the log, not presence.)"""

    # the file
    async def file_state(self, doc: str) -> FileState: ...

    async def begin_save(self, doc: str, attempt: Attempt, *, over: str) -> bool:
        """Note that a save begins, if the image's digest is ``over`` (``""``: there is none) and
        no other save is pending. False, and nothing done, if another server was first."""

    async def settle_save(
        self, doc: str, image: bytes | None, digest: str, rev: int, *, over: str, attempt: str = ""
    ) -> bool:
        """Set the image (None: to the pending save's content) and end the pending save, in one
        step, if the image's digest is ``over`` and the pending save's id is ``attempt`` (``""``:
        there is none). False, and nothing done, if another server was first."""

    async def end_save(self, doc: str, attempt: str) -> None:
        """Forget the pending save, if that is its id: it did not happen."""

    # large outputs: what they are is told in transforms/blobs.py
    async def put_blobs(self, doc: str, contents: Mapping[str, bytes]) -> None:
        """Keep contents by their hashes. What is there already counts as put just now; there need
        not be such a document yet. Put them before an entry that refers to them is appended, and
        again if that takes minutes: see :meth:`keep_blobs`."""

    async def blob_size(self, doc: str, hash: str) -> int | None:
        """Bytes of a blob; None if there is no such."""

    async def read_blob(self, doc: str, hash: str, start: int, end: int) -> bytes:
        """The bytes from ``start`` up to ``end``; fewer where the blob ends, or is gone."""

    async def keep_blobs(self, doc: str, hashes: Collection[str], older_than: float) -> None:
        """Forget the other blobs of the document, if they were put longer ago than so many
        seconds, and the spools that nobody wrote to for a day."""

    async def append_spool(self, doc: str, name: str, data: bytes) -> None:
        """Add to a text that grows, made if there is none of that name. Durable when it
        returns. If it fails, whether it was added is unknown."""

    async def seal_spool(self, doc: str, name: str) -> tuple[str, int]:
        """Make a spool into a blob: its hash and size. If it fails it can be done again. Raises
        ``KeyError`` if there is no such spool."""

    async def spools(self, doc: str) -> list[str]:
        """The names of the document's spools."""
