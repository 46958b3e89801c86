"""Logs in one SQLite file. Two servers may share the file, on a local disk; never put it on a
network file system, where SQLite's locks and shared memory don't work.

Two threads, each with its own connection, keep the event loop free: the *writer* takes all that
waits for it and commits it in one transaction, the *reader* answers from one consistent cut at a
time, so that a large load delays nobody's append. Nothing is told before it is committed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import zlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import astuple
from itertools import chain
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic, sleep
from typing import Any, Final, Literal, TypeVar, cast

import orjson

from ..transforms import Document
from .blobs import PieceStore
from .entry import NOTHING_SEEN, Entry, Head, Seen, Snapshot, read_entry
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
from .memory import SNAPSHOTS_KEPT, agrees, is_one_off, moved, no_document, pack, unpack, weigh

SCHEMA_VERSION: Final = 2
BUSY_SECONDS: Final = 5.0  # how long another process may hold the file before we give up
POLL_SECONDS: Final = 0.05  # between looks for other processes' commits, while anyone listens
SWEPT_AT_ONCE: Final = 4  # pieces of 1 MiB, so that nobody waits long for his commit
INSERTED_AT_ONCE: Final = 64  # rows; SQLite takes 999 values or more
_SIZES: Final = {
    "wal_autocheckpoint": 500,  # pages of 4 KiB; then what is in the WAL goes into the database
    "journal_size_limit": 4 * 2**20,  # bytes that are left of a WAL that had to be larger
    "cache_size": -512,  # KiB of a connection: an append touches few pages, a load each one once
}
HISTORY_FIELDS: Final = ("rev", "client", "user", "time")

_SCHEMA = (
    """CREATE TABLE document (
        doc TEXT PRIMARY KEY, path TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, epoch TEXT NOT NULL,
        floor INTEGER NOT NULL, rev INTEGER NOT NULL, hash TEXT NOT NULL)""",
    """CREATE TABLE entry (
        doc TEXT NOT NULL, rev INTEGER NOT NULL, hash TEXT NOT NULL, body BLOB NOT NULL,
        PRIMARY KEY (doc, rev)) WITHOUT ROWID""",
    """CREATE TABLE seen (
        doc TEXT NOT NULL, client TEXT NOT NULL, n INTEGER NOT NULL, rev INTEGER NOT NULL,
        holes TEXT NOT NULL, digest TEXT NOT NULL, time TEXT NOT NULL,
        PRIMARY KEY (doc, client)) WITHOUT ROWID""",
    """CREATE TABLE snapshot (
        doc TEXT NOT NULL, rev INTEGER NOT NULL, hash TEXT NOT NULL, part INTEGER NOT NULL,
        piece BLOB NOT NULL, PRIMARY KEY (doc, rev, part))""",
    # The newest revision of each piece, which is compressed: names and times repeat themselves.
    """CREATE TABLE history (
        doc TEXT NOT NULL, rev INTEGER NOT NULL, piece BLOB NOT NULL, PRIMARY KEY (doc, rev))""",
    """CREATE TABLE image (
        doc TEXT PRIMARY KEY, image BLOB NOT NULL, digest TEXT NOT NULL, rev INTEGER NOT NULL)""",
    """CREATE TABLE attempt (
        doc TEXT PRIMARY KEY, id TEXT NOT NULL, server TEXT NOT NULL, digest TEXT NOT NULL,
        rev INTEGER NOT NULL, time REAL NOT NULL, content BLOB NOT NULL,
        entry TEXT NOT NULL)""",
)
_LARGE_SCHEMA = (
    # Blobs, by hash (of one that is not whole the size is null), and spools, by name. No id is
    # given twice: so pieces whose owner is gone can be removed bit by bit, whatever comes.
    """CREATE TABLE large (
        id INTEGER PRIMARY KEY AUTOINCREMENT, doc TEXT NOT NULL, kind TEXT NOT NULL,
        name TEXT NOT NULL, size INTEGER, time REAL NOT NULL, UNIQUE (doc, kind, name))""",
    """CREATE TABLE piece (
        owner INTEGER NOT NULL, part INTEGER NOT NULL, piece BLOB NOT NULL,
        PRIMARY KEY (owner, part))""",
)
_STEPS = (_SCHEMA, _LARGE_SCHEMA)  # from each version of the schema to the next
_TABLES = ("document", "entry", "seen", "snapshot", "history", "image", "attempt", "large")

T = TypeVar("T")
_Pieces = list[bytes]  # a packed document
_Work = Callable[[sqlite3.Connection], Any]
_Job = tuple[_Work, "asyncio.Future[Any]"]
_Done = tuple["asyncio.Future[Any]", Any]  # the result, or an Exception


# What is done inside a transaction: functions of the connection.


def _packed(document: Document) -> _Pieces:
    return list(pack(document))


def _row(connection: sqlite3.Connection, sql: str, *values: object) -> Any:
    return connection.execute(sql, values).fetchone()


def _find(connection: sqlite3.Connection, column: str, value: str) -> DocumentRef | None:
    row = _row(connection, f"SELECT doc, path, kind, epoch FROM document WHERE {column} = ?", value)
    return row and DocumentRef(*row)


def _head(connection: sqlite3.Connection, doc: str) -> Head | None:
    row = _row(connection, "SELECT rev, hash FROM document WHERE doc = ?", doc)
    return row and Head(*row)


def _floor(connection: sqlite3.Connection, doc: str) -> int:
    return cast(int, _row(connection, "SELECT floor FROM document WHERE doc = ?", doc)[0])


def _entries(
    connection: sqlite3.Connection, doc: str, since: int, limit: int | None = None
) -> list[Entry]:
    rows = connection.execute(
        "SELECT body, hash FROM entry WHERE doc = ? AND rev > ? ORDER BY rev LIMIT ?",
        (doc, since, -1 if limit is None else limit),
    )
    return [read_entry(body, hash) for body, hash in rows]


def _make(
    connection: sqlite3.Connection,
    ref: DocumentRef,
    floor: int,
    head: Head,
    snapshot: Head,
    document: _Pieces,
) -> None:
    connection.execute(
        "INSERT INTO document VALUES (?, ?, ?, ?, ?, ?, ?)",
        (ref.doc, ref.path, ref.kind, ref.epoch, floor, *head),
    )
    _put_snapshot(connection, ref.doc, snapshot, document)


def _create(
    connection: sqlite3.Connection, ref: DocumentRef, initial: Head, document: _Pieces
) -> DocumentRef:
    standing = _find(connection, "path", ref.path) or _find(connection, "doc", ref.doc)
    if standing is None:
        _make(connection, ref, initial.rev, initial, initial, document)
    return standing or ref


def _restore(connection: sqlite3.Connection, loaded: Loaded, document: _Pieces) -> bool:
    ref = loaded.ref
    if _find(connection, "path", ref.path) or _find(connection, "doc", ref.doc):
        return False
    _make(connection, ref, loaded.floor, loaded.head, loaded.snapshot.head, document)
    _put_entries(connection, ref.doc, loaded.entries)
    _put_seen(connection, ref.doc, loaded.seen)
    return True


def _documents(connection: sqlite3.Connection, under: str) -> list[DocumentRef]:
    rows = connection.execute(
        "SELECT doc, path, kind, epoch FROM document WHERE substr(path, 1, ?) = ?",
        (len(under) + 1, under + "/"),
    )
    return [DocumentRef(*row) for row in rows]


def _rename(connection: sqlite3.Connection, doc: str, path: str) -> bool:
    holder = _find(connection, "path", path)
    if holder is not None:
        return holder.doc == doc
    changed = connection.execute("UPDATE document SET path = ? WHERE doc = ?", (path, doc))
    return changed.rowcount == 1


def _delete(connection: sqlite3.Connection, doc: str) -> None:
    for table in _TABLES:
        connection.execute(f"DELETE FROM {table} WHERE doc = ?", (doc,))


def _load(connection: sqlite3.Connection, doc: str) -> Loaded | None:
    ref, head = _find(connection, "doc", doc), _head(connection, doc)
    if ref is None or head is None:
        return None
    snapshots = connection.execute(
        "SELECT rev, hash FROM snapshot WHERE doc = ? AND part = 0 ORDER BY rev DESC", (doc,)
    ).fetchall()
    for rev, hash in snapshots:
        after = _entries(connection, doc, rev)
        if agrees(Head(rev, hash), after, head):
            pieces = connection.execute(
                "SELECT piece FROM snapshot WHERE doc = ? AND rev = ? ORDER BY part", (doc, rev)
            )
            snapshot = Snapshot(rev, hash, unpack(piece for (piece,) in pieces))
            return Loaded(ref, snapshot, after, _floor(connection, doc), _seen(connection, doc))
    raise LogUnavailable(f"no snapshot of {ref.path!r} agrees with its log")


def _seen(connection: sqlite3.Connection, doc: str) -> dict[str, Seen]:
    rows = connection.execute(
        "SELECT client, n, rev, holes, digest, time FROM seen WHERE doc = ?", (doc,)
    )
    return {client: _read_seen(row) for client, *row in rows}


def _seen_of(connection: sqlite3.Connection, doc: str, clients: set[str]) -> dict[str, Seen]:
    """What is seen of these clients. The names are repeated up to a power of two, so that there
    are few statements and all stay prepared."""
    names = list(clients)
    names += names[:1] * ((1 << (len(names) - 1).bit_length()) - len(names))
    rows = connection.execute(
        "SELECT client, n, rev, holes, digest, time FROM seen WHERE doc = ?"
        f" AND client IN ({', '.join('?' * len(names))})",
        (doc, *names),
    )
    return {client: _read_seen(row) for client, *row in rows}


def _read_seen(row: Sequence[Any]) -> Seen:
    n, rev, holes, digest, time = row
    return Seen(n, rev, tuple(orjson.loads(holes)), digest, time)


def _append(
    connection: sqlite3.Connection, doc: str, head: Head, entries: Sequence[Entry]
) -> Outcome:
    row = _row(connection, "SELECT rev, hash, floor FROM document WHERE doc = ?", doc)
    if row is None:
        return Moved(None, None)
    *at, floor = row
    if Head(*at) != head:
        after = _entries(connection, doc, head.rev) if head.rev >= floor else []
        return moved(Head(*at), head, after)
    known = _seen_of(connection, doc, {entry.client for entry in entries})
    seen = weigh(entries, floor, lambda client: known.get(client, NOTHING_SEEN))
    if isinstance(seen, NotAppended):
        return seen
    if entries:
        _put_entries(connection, doc, entries)
        _put_seen(connection, doc, seen)
        connection.execute(
            "UPDATE document SET rev = ?, hash = ? WHERE doc = ?", (*entries[-1].head, doc)
        )
    return Appended()


def _put_entries(connection: sqlite3.Connection, doc: str, entries: Sequence[Entry]) -> None:
    _insert(
        connection, "INSERT INTO entry", [(doc, one.rev, one.hash, one.body) for one in entries]
    )


def _put_seen(connection: sqlite3.Connection, doc: str, seen: dict[str, Seen]) -> None:
    _insert(
        connection,
        "INSERT OR REPLACE INTO seen",
        [
            (doc, client, one.n, one.rev, orjson.dumps(one.holes).decode(), one.digest, one.time)
            for client, one in seen.items()
        ],
    )


def _insert(connection: sqlite3.Connection, into: str, rows: list[tuple[object, ...]]) -> None:
    """Insert rows, a power of two at once: after each step of SQLite this thread has to get the
    interpreter back from the event loop, which is busy when there is much to insert."""
    while rows:
        count = min(1 << (len(rows).bit_length() - 1), INSERTED_AT_ONCE)
        now, rows = rows[:count], rows[count:]
        row = f"({', '.join('?' * len(now[0]))})"
        connection.execute(
            f"{into} VALUES {', '.join([row] * count)}", [value for one in now for value in one]
        )


def _put_snapshot(connection: sqlite3.Connection, doc: str, at: Head, document: _Pieces) -> None:
    connection.execute("DELETE FROM snapshot WHERE doc = ? AND rev = ?", (doc, at.rev))
    connection.executemany(
        "INSERT INTO snapshot VALUES (?, ?, ?, ?, ?)",
        ((doc, *at, part, piece) for part, piece in enumerate(document)),
    )


def _save_snapshot(connection: sqlite3.Connection, doc: str, at: Head, document: _Pieces) -> None:
    head = _head(connection, doc)
    made_by = _row(connection, "SELECT hash FROM entry WHERE doc = ? AND rev = ?", doc, at.rev)
    if at != head and made_by != (at.hash,):
        return
    _put_snapshot(connection, doc, at, document)
    connection.execute(
        "DELETE FROM snapshot WHERE doc = ? AND rev NOT IN"
        " (SELECT rev FROM snapshot WHERE doc = ? AND part = 0 ORDER BY rev DESC LIMIT ?)",
        (doc, doc, SNAPSHOTS_KEPT),
    )


def _trim(
    connection: sqlite3.Connection, doc: str, floor: int, keep_history: bool, seen_before: str
) -> None:
    if not _row(connection, "SELECT 1 FROM snapshot WHERE doc = ? AND rev >= ?", doc, floor):
        return
    if floor > _floor(connection, doc):
        upto = (doc, floor)
        if keep_history:
            bodies = connection.execute(
                "SELECT body FROM entry WHERE doc = ? AND rev <= ? ORDER BY rev DESC", upto
            )
            piece = orjson.dumps([_thinned(body) for (body,) in bodies])
            connection.execute(
                "INSERT INTO history VALUES (?, ?, ?)", (*upto, zlib.compress(piece))
            )
        connection.execute("DELETE FROM entry WHERE doc = ? AND rev <= ?", upto)
        connection.execute("DELETE FROM snapshot WHERE doc = ? AND rev < ?", upto)
        connection.execute("UPDATE document SET floor = ? WHERE doc = ?", (floor, doc))
    old = connection.execute(
        "SELECT client FROM seen WHERE doc = ? AND time < ?", (doc, seen_before)
    ).fetchall()
    connection.executemany(
        "DELETE FROM seen WHERE doc = ? AND client = ?",
        ((doc, client) for (client,) in old if is_one_off(client)),
    )


def _thinned(body: bytes) -> list[object]:
    entry = orjson.loads(body)
    return [entry[field] for field in HISTORY_FIELDS]


def _history(connection: sqlite3.Connection, doc: str, limit: int) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    pieces = connection.execute("SELECT piece FROM history WHERE doc = ? ORDER BY rev DESC", (doc,))
    for (piece,) in pieces:
        for row in orjson.loads(zlib.decompress(piece)):
            if len(found) >= limit:
                return found
            found.append(dict(zip(HISTORY_FIELDS, row, strict=True)))
    return found


def _file_state(connection: sqlite3.Connection, doc: str) -> FileState:
    row = _row(connection, "SELECT image, digest, rev FROM image WHERE doc = ?", doc)
    image, digest, rev = row or (None, "", 0)
    pending = _row(
        connection,
        "SELECT id, server, digest, rev, time, content, entry FROM attempt WHERE doc = ?",
        doc,
    )
    return FileState(image, digest, rev, Attempt(*pending) if pending else None)


def _file_is(connection: sqlite3.Connection, doc: str, digest: str, attempt: str) -> bool:
    """Whether the image and the pending save are these. Raises ``LogUnavailable`` if there is no
    such document."""
    if _head(connection, doc) is None:
        raise no_document(doc)
    image = _row(connection, "SELECT digest FROM image WHERE doc = ?", doc) or ("",)
    pending = _row(connection, "SELECT id FROM attempt WHERE doc = ?", doc) or ("",)
    return (image[0], pending[0]) == (digest, attempt)


def _begin_save(connection: sqlite3.Connection, doc: str, attempt: Attempt, over: str) -> bool:
    if not _file_is(connection, doc, over, ""):
        return False
    connection.execute(
        "INSERT INTO attempt VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (doc, *astuple(attempt))
    )
    return True


def _settle_save(
    connection: sqlite3.Connection, doc: str, image: FileState, over: str, attempt: str
) -> bool:
    if not _file_is(connection, doc, over, attempt):
        return False
    connection.execute(
        "INSERT OR REPLACE INTO image VALUES "
        "(?, coalesce(?, (SELECT content FROM attempt WHERE doc = ?)), ?, ?)",
        (doc, image.image, doc, image.digest, image.rev),
    )
    _end_save(connection, doc, attempt)
    return True


def _end_save(connection: sqlite3.Connection, doc: str, attempt: str) -> None:
    connection.execute("DELETE FROM attempt WHERE doc = ? AND id = ?", (doc, attempt))


def _touch_large(
    connection: sqlite3.Connection, doc: str, kind: str, names: list[str], now: float
) -> None:
    connection.executemany(
        "INSERT INTO large (doc, kind, name, time) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (doc, kind, name) DO UPDATE SET time = excluded.time",
        ((doc, kind, name, now) for name in names),
    )


def _begin_blobs(
    connection: sqlite3.Connection, doc: str, hashes: list[str], now: float
) -> set[str]:
    _touch_large(connection, doc, "blob", hashes, now)
    rows = connection.execute(
        "SELECT name FROM large WHERE doc = ? AND kind = 'blob' AND size IS NOT NULL", (doc,)
    )
    return {hash for (hash,) in rows}.intersection(hashes)


def _put_piece(
    connection: sqlite3.Connection, doc: str, kind: str, name: str, part: int, piece: bytes
) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO piece"
        " SELECT id, ?, ? FROM large WHERE doc = ? AND kind = ? AND name = ?",
        (part, piece, doc, kind, name),
    )


def _end_blob(connection: sqlite3.Connection, doc: str, hash: str, size: int, now: float) -> None:
    connection.execute(
        "UPDATE large SET size = ?, time = ? WHERE doc = ? AND kind = 'blob' AND name = ?",
        (size, now, doc, hash),
    )


def _blob_size(connection: sqlite3.Connection, doc: str, hash: str) -> int | None:
    row = _row(
        connection, "SELECT size FROM large WHERE doc = ? AND kind = 'blob' AND name = ?", doc, hash
    )
    return row and cast("int | None", row[0])


def _append_chunks(
    connection: sqlite3.Connection, doc: str, name: str, chunks: list[bytes], now: float
) -> None:
    _touch_large(connection, doc, "spool", [name], now)
    (last,) = _row(
        connection,
        "SELECT (SELECT max(part) FROM piece WHERE owner = id) FROM large"
        " WHERE doc = ? AND kind = 'spool' AND name = ?",
        doc,
        name,
    )
    for part, chunk in enumerate(chunks, 0 if last is None else last + 1):
        _put_piece(connection, doc, "spool", name, part, chunk)


def _pieces(
    connection: sqlite3.Connection, doc: str, kind: str, name: str, first: int, last: int
) -> list[bytes]:
    rows = connection.execute(
        "SELECT piece FROM large JOIN piece ON owner = id"
        " WHERE doc = ? AND kind = ? AND name = ? AND part BETWEEN ? AND ? ORDER BY part",
        (doc, kind, name, first, last),
    )
    return [piece for (piece,) in rows]


def _spools(connection: sqlite3.Connection, doc: str) -> list[str]:
    rows = connection.execute(
        "SELECT name FROM large WHERE doc = ? AND kind = 'spool' ORDER BY name", (doc,)
    )
    return [name for (name,) in rows]


def _forget_old(
    connection: sqlite3.Connection, doc: str, kind: str, but: frozenset[str], before: float
) -> None:
    # Also those of documents that were not made in the end: another server was first, or crashed.
    rows = connection.execute(
        "SELECT id, doc, name FROM large WHERE kind = ? AND time <= ?"
        " AND (doc = ? OR doc NOT IN (SELECT doc FROM document))",
        (kind, before, doc),
    ).fetchall()
    connection.executemany(
        "DELETE FROM large WHERE id = ?",
        ((id,) for id, of, name in rows if of != doc or name not in but),
    )


def _forget_spool(connection: sqlite3.Connection, doc: str, name: str) -> None:
    connection.execute(
        "DELETE FROM large WHERE doc = ? AND kind = 'spool' AND name = ?", (doc, name)
    )


def _sweep(connection: sqlite3.Connection) -> int:
    """Remove some of the pieces whose owner is gone. Returns how many."""
    removed = connection.execute(
        "DELETE FROM piece WHERE rowid IN (SELECT rowid FROM piece"
        " WHERE owner NOT IN (SELECT id FROM large) LIMIT ?)",
        (SWEPT_AT_ONCE,),
    )
    return removed.rowcount


# The file.


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file the path names just now."""
    try:
        stat = os.stat(path)
    except FileNotFoundError:
        return None
    return stat.st_dev, stat.st_ino


class _File:
    """One connection to the database file, opened when it is asked for, and opened anew when the
    path names another file, or none, since."""

    def __init__(self, path: Path, durability: str) -> None:
        self._path = path
        self._durability = durability
        self._connection: sqlite3.Connection | None = None
        self._known: dict[Path, tuple[int, int] | None] = {}

    def connection(self) -> sqlite3.Connection:
        """A connection to the file that the path names. Raises ``sqlite3.Error``, ``OSError``,
        and ``LogUnavailable`` where there is a file but not one for us."""
        if self._connection is not None and _identity(self._path) != self._known[self._path]:
            self._forsake()
        if self._connection is None:
            self._connection = self._open()
        return self._connection

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _forsake(self) -> None:
        """Close a file that is no longer there. SQLite finds the files beside the database by
        name: what is left of the old one's would be taken for parts of the next. The connection
        is open meanwhile, so nobody else's file can have got their inode numbers."""
        for path, known in self._known.items():
            if path != self._path and known is not None and _identity(path) == known:
                with contextlib.suppress(OSError):
                    path.unlink()
        self.close()

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        beside = [self._path.with_name(self._path.name + end) for end in ("-wal", "-shm")]
        self._known = {path: _identity(path) for path in (self._path, *beside)}
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        self._check_version(connection)
        _patiently(lambda: connection.execute("PRAGMA journal_mode = WAL"))
        full = self._durability == "fsync"
        connection.execute(f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")
        for name, value in _SIZES.items():
            connection.execute(f"PRAGMA {name} = {value}")
        if self._check_version(connection) == SCHEMA_VERSION:
            return
        connection.execute("BEGIN IMMEDIATE")
        with _finishing(connection):
            version = self._check_version(connection)
            if version != SCHEMA_VERSION:  # nobody was faster
                for statement in chain.from_iterable(_STEPS[version:]):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _check_version(self, connection: sqlite3.Connection) -> int:
        version = cast(int, _row(connection, "PRAGMA user_version")[0])
        if version > SCHEMA_VERSION:
            raise LogUnavailable(
                f"{self._path} was written by a newer ot-jupyter (its schema is {version}, this "
                f"one knows {SCHEMA_VERSION}): upgrade, or name another file"
            )
        return version

    def explain(self, error: Exception) -> LogUnavailable:
        """What to tell the caller."""
        if isinstance(error, LogUnavailable):
            return error
        text = str(error)
        if "malformed" in text or "not a database" in text:
            text += "; it is damaged, and left as it is: restore it from a backup or move it away"
        return LogUnavailable(f"{self._path}: {text}")


def _patiently(attempt: Callable[[], T]) -> T:
    """Repeat what SQLite refuses at once, without waiting, while another process is at it."""
    end = monotonic() + BUSY_SECONDS
    while True:
        try:
            return attempt()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or monotonic() > end:
                raise
        sleep(0.01)


@contextlib.contextmanager
def _finishing(connection: sqlite3.Connection) -> Iterator[None]:
    """End the transaction: commit, or roll back what failed (some failures did already)."""
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


# The threads.


class _Worker:
    """A thread with a connection of its own, and the jobs that wait for it. The future of a job
    gets its result when the transaction that held it is committed."""

    def __init__(self, file: _File, *, writes: bool, changed: Callable[[], object]) -> None:
        """``changed`` is called on the event loop after another connection has committed, or the
        file has become another; that is found out at once only while ``watching`` is set."""
        self.watching = False
        self._file = file
        self._changed = changed
        self._begin = "BEGIN IMMEDIATE" if writes else "BEGIN"
        self._most = 1000 if writes else 1  # jobs in one transaction
        self._queue: SimpleQueue[_Job | Literal["wake", "end"]] = SimpleQueue()
        self._looked: tuple[sqlite3.Connection, int] | None = None
        self._loop = asyncio.get_running_loop()
        self._thread = Thread(target=self._run, name="ot-jupyter-log", daemon=True)
        self._thread.start()

    def submit(self, work: _Work) -> asyncio.Future[Any]:
        """Have ``work`` done in a transaction. The future raises what it raises, and
        ``LogUnavailable`` if the transaction failed."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._queue.put((work, future))
        return future

    def watch(self, on: bool) -> None:
        """Look for others' commits all the time, or not."""
        if on != self.watching:
            self.watching = on
            self._queue.put("wake")

    async def end(self) -> None:
        """Return when all that waits is done and the file is closed."""
        self._queue.put("end")
        await asyncio.to_thread(self._thread.join)

    # In the thread.

    def _run(self) -> None:
        ended = False
        look_at = 0.0
        while not ended:
            jobs, ended = self._wait()
            if jobs:
                self._call(_resolve, self._execute(jobs))
            if monotonic() >= look_at:
                self._look()
                look_at = monotonic() + POLL_SECONDS
        self._file.close()

    def _wait(self) -> tuple[list[_Job], bool]:
        """The jobs that wait, at least one unless it is time to look, and whether to end."""
        jobs: list[_Job] = []
        with contextlib.suppress(Empty):
            item = self._queue.get(timeout=POLL_SECONDS if self.watching else None)
            while True:
                if item == "end":
                    return jobs, True
                if item == "wake":
                    break
                jobs.append(item)
                if len(jobs) == self._most:
                    break
                item = self._queue.get_nowait()
        return jobs, False

    def _execute(self, jobs: list[_Job]) -> list[_Done]:
        try:
            connection = self._file.connection()
            connection.execute(self._begin)
        except Exception as error:  # noqa: BLE001 - whatever it is, the callers are told
            return self._failed(jobs, error)
        try:
            with _finishing(connection):
                return [(future, work(connection)) for work, future in jobs]
        except Exception as error:  # noqa: BLE001
            if len(jobs) > 1:  # what one can't do must not keep the others from it
                return [done for job in jobs for done in self._execute([job])]
            if isinstance(error, (sqlite3.Error, OSError)):
                return self._failed(jobs, error)
            return [(jobs[0][1], error)]  # it is the caller's, not the file's

    def _failed(self, jobs: list[_Job], error: Exception) -> list[_Done]:
        self._file.close()
        return [(future, self._file.explain(error)) for _, future in jobs]

    def _look(self) -> None:
        """Notice what others did to the file since the last look."""
        try:
            connection = self._file.connection()
            looked = connection, _row(connection, "PRAGMA data_version")[0]
        except (sqlite3.Error, OSError, LogUnavailable):
            self._file.close()  # the next job says what is wrong
            return
        if self._looked is not None and looked != self._looked:
            self._call(self._changed)
        self._looked = looked

    def _call(self, function: Callable[..., object], *values: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(function, *values)


def _resolve(done: list[_Done]) -> None:
    for future, result in done:
        if future.done():  # cancelled
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)


class SqliteLog(PieceStore):
    """A :class:`~.log.Log` in an SQLite file, made if it is missing, with its folder.

    ``durability``: ``"normal"`` keeps all that was acknowledged through any crash of a process,
    ``"fsync"`` through a power cut too. Raises :class:`ValueError` for another one.
    """

    def __init__(self, path: Path | str, durability: str = "normal") -> None:
        if durability not in ("normal", "fsync"):
            raise ValueError(f"durability is 'normal' or 'fsync', not {durability!r}")
        self.path = Path(path).absolute()
        self._durability = durability
        self._writer: _Worker | None = None
        self._reader: _Worker | None = None
        self._listeners: dict[str, Listener] = {}

    async def start(self) -> None:
        """Open or make the file."""
        self._writer = self._worker(writes=True)
        self._reader = self._worker(writes=False)
        try:
            # Both now: who has the file open can tell when it becomes another.
            await self._write(lambda connection: None)
            await self._read(lambda connection: None)
        except LogUnavailable:
            await self.close()
            raise

    def _worker(self, *, writes: bool) -> _Worker:
        changed = self._poke if writes else lambda: None
        return _Worker(_File(self.path, self._durability), writes=writes, changed=changed)

    async def close(self) -> None:
        writer, self._writer = self._writer, None
        reader, self._reader = self._reader, None
        self._listeners.clear()
        for worker in (reader, writer):  # the last connection tidies up, and only one can write
            if worker is not None:
                await worker.end()

    async def ping(self) -> None:
        await self._read(lambda connection: _row(connection, "SELECT 1 FROM document"))

    def _write(self, work: Callable[[sqlite3.Connection], T]) -> Awaitable[T]:
        return _submit(self._writer, work)

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> Awaitable[T]:
        return _submit(self._reader, work)

    # names

    async def find(self, path: str) -> DocumentRef | None:
        return await self._read(lambda connection: _find(connection, "path", path))

    async def get(self, doc: str) -> DocumentRef | None:
        return await self._read(lambda connection: _find(connection, "doc", doc))

    async def create(self, ref: DocumentRef, initial: Snapshot) -> DocumentRef:
        document = await asyncio.to_thread(_packed, initial.document)
        return await self._write(
            lambda connection: _create(connection, ref, initial.head, document)
        )

    async def restore(self, loaded: Loaded) -> bool:
        document = await asyncio.to_thread(_packed, loaded.snapshot.document)
        return await self._write(lambda connection: _restore(connection, loaded, document))

    async def rename(self, doc: str, path: str) -> bool:
        return await self._write(lambda connection: _rename(connection, doc, path))

    async def delete(self, doc: str) -> None:
        await self._write(lambda connection: _delete(connection, doc))
        await self._sweep()

    async def documents(self, under: str) -> list[DocumentRef]:
        return await self._read(lambda connection: _documents(connection, under))

    # the log

    async def load(self, doc: str) -> Loaded | None:
        return await self._read(lambda connection: _load(connection, doc))

    async def append(self, doc: str, head: Head, entries: Sequence[Entry]) -> Outcome:
        do = self._write if entries else self._read  # without entries it only compares
        return await do(lambda connection: _append(connection, doc, head, entries))

    async def read(self, doc: str, since: int, limit: int | None = None) -> list[Entry]:
        return await self._read(lambda connection: _entries(connection, doc, since, limit))

    async def head(self, doc: str) -> Head | None:
        return await self._read(lambda connection: _head(connection, doc))

    async def save_snapshot(self, doc: str, snapshot: Snapshot) -> None:
        document = await asyncio.to_thread(_packed, snapshot.document)
        await self._write(
            lambda connection: _save_snapshot(connection, doc, snapshot.head, document)
        )

    async def trim(self, doc: str, floor: int, *, keep_history: bool, seen_before: str) -> None:
        await self._write(
            lambda connection: _trim(connection, doc, floor, keep_history, seen_before)
        )

    async def history(self, doc: str, limit: int = 1000) -> list[dict[str, object]]:
        return await self._read(lambda connection: _history(connection, doc, limit))

    # poke

    async def subscribe(self, doc: str, listener: Listener, hearer: Hearer | None = None) -> None:
        """The listener hears, with None, of every commit of another process or another
        ``SqliteLog``, to whatever document; not of this one's own. Nobody hears ``publish``."""
        self._listeners[doc] = listener
        self._watch()

    async def unsubscribe(self, doc: str) -> None:
        self._listeners.pop(doc, None)
        self._watch()

    async def publish(self, doc: str, message: bytes) -> None:
        """Nobody hears it."""

    def _watch(self) -> None:
        if self._writer is not None:
            self._writer.watch(bool(self._listeners))

    def _poke(self) -> None:
        for listener in list(self._listeners.values()):
            listener(None)

    # the file

    async def file_state(self, doc: str) -> FileState:
        return await self._read(lambda connection: _file_state(connection, doc))

    async def begin_save(self, doc: str, attempt: Attempt, *, over: str) -> bool:
        """Raises ``LogUnavailable`` if there is no such document."""
        return await self._write(lambda connection: _begin_save(connection, doc, attempt, over))

    async def settle_save(
        self, doc: str, image: bytes | None, digest: str, rev: int, *, over: str, attempt: str = ""
    ) -> bool:
        """Raises ``LogUnavailable`` if there is no such document."""
        state = FileState(image, digest, rev)
        return await self._write(
            lambda connection: _settle_save(connection, doc, state, over, attempt)
        )

    async def end_save(self, doc: str, attempt: str) -> None:
        await self._write(lambda connection: _end_save(connection, doc, attempt))

    # large outputs

    async def blob_size(self, doc: str, hash: str) -> int | None:
        return await self._read(lambda connection: _blob_size(connection, doc, hash))

    async def spools(self, doc: str) -> list[str]:
        return await self._read(lambda connection: _spools(connection, doc))

    async def _begin_blobs(self, doc: str, hashes: list[str], now: float) -> set[str]:
        return await self._write(lambda connection: _begin_blobs(connection, doc, hashes, now))

    async def _put_piece(self, doc: str, hash: str, part: int, piece: bytes) -> None:
        await self._write(lambda connection: _put_piece(connection, doc, "blob", hash, part, piece))

    async def _end_blob(self, doc: str, hash: str, size: int, now: float) -> None:
        await self._write(lambda connection: _end_blob(connection, doc, hash, size, now))

    async def _pieces(self, doc: str, hash: str, first: int, last: int) -> list[bytes]:
        return await self._read(
            lambda connection: _pieces(connection, doc, "blob", hash, first, last)
        )

    async def _append_chunks(self, doc: str, name: str, chunks: list[bytes], now: float) -> None:
        await self._write(lambda connection: _append_chunks(connection, doc, name, chunks, now))

    async def _chunks(self, doc: str, name: str, first: int, count: int) -> list[bytes]:
        return await self._read(
            lambda connection: _pieces(connection, doc, "spool", name, first, first + count - 1)
        )

    async def _forget_spool(self, doc: str, name: str) -> None:
        await self._write(lambda connection: _forget_spool(connection, doc, name))
        await self._sweep()

    async def _forget_blobs(self, doc: str, but: frozenset[str], before: float) -> None:
        await self._write(lambda connection: _forget_old(connection, doc, "blob", but, before))
        await self._sweep()

    async def _forget_spools(self, doc: str, before: float) -> None:
        await self._write(
            lambda connection: _forget_old(connection, doc, "spool", frozenset(), before)
        )
        await self._sweep()

    async def _sweep(self) -> None:
        # In steps, between which others commit. Who crashes leaves the rest for the next time.
        while await self._write(_sweep):
            pass


def _submit(worker: _Worker | None, work: _Work) -> asyncio.Future[Any]:
    if worker is None:
        raise LogUnavailable("the log is closed")
    return worker.submit(work)
