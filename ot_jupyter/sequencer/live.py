"""An open document: the pen with a real log, and those who follow it.

One task per open document runs the pen; everything else only puts things into its queue or reads
what is true at this moment, so no lock is needed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from time import monotonic, time_ns
from typing import Any

import orjson

from ..transforms import Document, is_notebook
from ..transforms.blobs import references
from . import measures
from .entry import Entry, Head, Snapshot
from .log import DocumentRef, Loaded, Log, LogUnavailable
from .pen import Append, Limits, Load, Pen, Read, Restore, Submission, Verdict, Work
from .stream import Stream, Subscription

logger = logging.getLogger("ot_jupyter")


def utc_now() -> str:
    """UTC in ISO 8601 with milliseconds."""
    now = time_ns() // 10**6
    return f"{_utc_second(now // 1000)}.{now % 1000:03}Z"


@lru_cache(maxsize=1)
def _utc_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long a log keeps what, and how often it is summed up. Counts, bytes and seconds."""

    snapshot_entries: int = 500
    log_entries: int = 20_000
    log_seconds: float = 30 * 86400.0
    keep_history: bool = True
    key_seconds: float = 86400.0


@dataclass(slots=True)
class Presence:
    """Who is where: ``value`` is the client's, plain JSON, at revision ``rev``."""

    user: dict[str, Any]
    value: dict[str, Any]
    rev: int
    seen: float = field(default_factory=monotonic)

    def public(self, client: str) -> dict[str, Any]:
        return {"client": client, "user": self.user, "rev": self.rev, "presence": self.value}


PRESENCE_SECONDS = 60.0  # without a word, a client is taken to be gone
PRESENCE_PAUSE = 0.1  # seconds between two tellings of one document's presence
TURNS = 3  # of the event loop: those who were told write, are read, and submit
RETRY_SECONDS = (0.05, 2.0)  # first and longest pause while the log is away
BLOB_SECONDS = 600.0  # so long a blob may wait for the entry that refers to it


class LiveDocument(Stream):
    """A document that is open on this server: its stream, its presence, its log."""

    def __init__(self, log: Log, loaded: Loaded, limits: Limits, keeping: Keeping) -> None:
        self.log = log
        self.keeping = keeping
        self.presence: dict[str, Presence] = {}
        self.on_change: Callable[[], None] = lambda: None  # the file side listens
        self.on_restored: Callable[[], None] = lambda: None
        self.on_heard: Callable[[dict[str, Any]], None] = lambda message: None
        self.on_renamed: Callable[[str], None] = lambda old: None
        self.watchers: list[Callable[[list[Entry]], None]] = []  # hear of each entry, once
        self.held = False  # somebody needs it though nobody follows it
        self.stalled: str | None = None  # why nothing can be committed now
        self.touched = monotonic()
        self.closed = False
        super().__init__(
            Pen(loaded, limits, now=utc_now, on_entries=self._on_entries, on_branch=self.branch)
        )
        self._snapshot_rev = loaded.snapshot.rev
        self._told: set[str] = set()  # clients whose presence changed and was not told yet
        self._wake = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []
        self._extra: list[Work] = []  # what the pen's task does before its own work
        self._published: set[asyncio.Task[None]] = set()  # a task without a reference may vanish
        self._task = asyncio.create_task(self._write())
        self._summing: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls, log: Log, ref: DocumentRef, limits: Limits, keeping: Keeping
    ) -> LiveDocument:
        """Open a document that the log has. Raises ``LogUnavailable``, and ``KeyError`` if the
        log does not know it."""
        # Subscribe first, then read: an entry between the two is heard of, not missed.
        early: list[Entry] = []
        opened: list[LiveDocument] = []

        def listen(entries: list[Entry] | None) -> None:
            if opened:
                opened[0]._on_log(entries)
            else:
                early.extend(entries or [])

        def hear(message: bytes) -> None:
            if opened:
                opened[0]._on_heard(message)

        await log.subscribe(ref.doc, listen, hear)
        try:
            loaded = await log.load(ref.doc)
            if loaded is None:
                raise KeyError(ref.doc)
        except BaseException:
            await log.unsubscribe(ref.doc)
            raise
        live = cls(log, loaded, limits, keeping)
        opened.append(live)
        if early:
            live._on_log(early)
        return live

    # What is true now.

    @property
    def ref(self) -> DocumentRef:
        return self.pen.ref

    @property
    def document(self) -> Document:
        return self.pen.document

    @property
    def head(self) -> Head:
        return self.pen.head

    @property
    def notebook(self) -> bool:
        return is_notebook(self.pen.document)

    @property
    def queue_bytes(self) -> int:
        """Bytes of log that wait to be sent, over all subscriptions."""
        floor = self.pen.window_floor.rev
        return sum(
            len(entry.body)
            for one in self.subscriptions
            for entry in self.pen.entries_after(max(floor, one.cursor.rev))
        )

    def rename(self, path: str) -> None:
        """The document's file has another path now: so has the document, and clients are told."""
        old = self.ref.path
        self.pen.ref = replace(self.pen.ref, path=path)
        self.on_renamed(old)
        for one in self.subscriptions:
            one.say("renamed", "", self.message("renamed", path=path))

    # Submissions.

    def submit(self, submission: Submission) -> None:
        """Queue a submission; its ``answer`` is called when the verdict stands."""
        self.touched = monotonic()
        self.pen.submit(submission)
        self._wake.set()

    async def commit(self, submit: Callable[[Callable[[Verdict], None]], Submission]) -> Verdict:
        """Submit and wait for the verdict; ``submit`` makes the submission from its ``answer``."""
        verdict: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()

        def answer(value: Verdict) -> None:
            if not verdict.done():
                verdict.set_result(value)

        self.submit(submit(answer))
        return await verdict

    async def in_step(self) -> None:
        """Return when the pen has compared its head with the log's and repaired what differs.
        Raises ``LogUnavailable`` if the log can't be reached."""
        self.pen.ask()
        await self._settled()

    def poll(self) -> None:
        """Have the pen compare its head with the log's soon: a lost message heals so."""
        self.pen.ask()
        self._wake.set()

    async def reach(self, rev: int) -> None:
        """Get revision ``rev`` into the window, if the log has it."""
        if self.pen.floor <= rev < self.pen.window_floor.rev:
            await self._settled(self.pen.widen())

    async def _settled(self, work: Work | None = None) -> None:
        if self.stalled is not None:
            raise LogUnavailable(self.stalled)
        if self.closed:
            raise LogUnavailable("the document is closed")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        if work is not None:
            self._extra.append(work)
        self._wake.set()
        await done

    async def _write(self) -> None:
        """The pen's task."""
        pause = RETRY_SECONDS[0]
        while not self.closed:
            await self._wake.wait()
            self._wake.clear()
            waiting, self._waiting = self._waiting, []
            try:
                while self._extra:
                    await self._run(self._extra.pop())
                await self._run(self.pen.work())
            except LogUnavailable as error:
                self._stall(str(error))
                for one in waiting:
                    if not one.done():
                        one.set_exception(LogUnavailable(str(error)))
                await asyncio.sleep(pause)
                pause = min(2 * pause, RETRY_SECONDS[1])
                self._wake.set()
                continue
            except Exception:
                # A bug must not take the document down with it: nothing was acknowledged.
                logger.exception("ot_jupyter: the pen failed", extra={"doc": self.ref.doc})
                await asyncio.sleep(RETRY_SECONDS[1])
                self.pen.uncertain = True
                self._wake.set()
                continue
            pause = RETRY_SECONDS[0]
            self._stall(None)
            for one in waiting:
                if not one.done():
                    one.set_result(None)
            if self.pen.gone:
                self.branch()
            self._keep()
            if not self.pen.idle:
                # There is much to do: let those who were just told answer, and go along. The
                # larger a batch is, the less each change costs.
                for _ in range(TURNS):
                    await asyncio.sleep(0)
                self._wake.set()

    async def _run(self, work: Work) -> None:
        result: Any = None
        doc = self.ref.doc
        while True:
            try:
                request = work.send(result)
            except StopIteration:
                return
            if isinstance(request, Append):
                began = monotonic()
                result = await self.log.append(doc, request.head, request.entries)
                if request.entries:
                    measures.append_seconds.observe(monotonic() - began)
            elif isinstance(request, Read):
                result = await self.log.read(doc, request.since)
            elif isinstance(request, Load):
                result = await self.log.load(doc)
            elif isinstance(request, Restore):
                logger.warning(
                    "ot_jupyter: the store lost %s; putting it back", request.loaded.ref.path
                )
                result = await self.log.restore(request.loaded)
                self.on_restored()

    def _stall(self, reason: str | None) -> None:
        if (reason is None) == (self.stalled is None):
            self.stalled = reason
            return
        self.stalled = reason
        if reason is None:
            logger.info("ot_jupyter: the store is back for %s", self.ref.path)
        else:
            logger.warning("ot_jupyter: can't commit to %s: %s", self.ref.path, reason)
        for one in list(self.subscriptions):
            one.say("status", "", self.message("status", committing=reason is None, reason=reason))

    # What the pen and the log tell.

    def _on_entries(self, entries: list[Entry]) -> None:
        measures.entries.inc(len(entries))
        self.advance()
        for watch in self.watchers:
            watch(entries)  # before the window moves on: it may ask for their documents
        self.pen.trim_window()
        self.on_change()

    def _on_log(self, entries: list[Entry] | None) -> None:
        if entries is None:
            self.pen.ask()
        else:
            self.pen.arrive(entries)
        self._wake.set()

    def subscribe(self, client: str, cursor: Head, poke: Callable[[], None]) -> Subscription:
        self.touched = monotonic()
        return super().subscribe(client, cursor, poke)

    def unsubscribe(self, subscription: Subscription) -> None:
        """Give up a place in the stream; its client's presence ends with it."""
        super().unsubscribe(subscription)
        self.touched = monotonic()
        if not any(one.client == subscription.client for one in self.subscriptions):
            self.set_presence(subscription.client, None, None)

    # Presence.

    def set_presence(
        self, client: str, user: dict[str, Any] | None, value: dict[str, Any] | None
    ) -> None:
        """Note where a client of this server is, and tell the others; None: it is gone.

        ``value["rev"]`` is the revision that its offsets speak of.
        """
        if value is None or user is None:
            if self.presence.pop(client, None) is None:
                return
        else:
            rest = {key: item for key, item in value.items() if key != "rev"}
            self.presence[client] = Presence(user, rest, value.get("rev", self.head.rev))
        if not self._told:
            asyncio.get_running_loop().call_later(PRESENCE_PAUSE, self._tell_presence)
        self._told.add(client)

    def _tell_presence(self) -> None:
        told, self._told = self._told, set()
        if self.closed:
            return
        for client in told:
            one = self.presence.get(client)
            public = one.public(client) if one else {"client": client, "presence": None}
            message = self.message("presence", **public)
            for subscription in self.subscriptions:
                if subscription.client != client:
                    subscription.say("presence", client, message)
            task = asyncio.ensure_future(self._publish(public))
            self._published.add(task)
            task.add_done_callback(self._published.discard)

    async def _publish(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(LogUnavailable):
            await self.publish(message)

    async def publish(self, message: dict[str, Any]) -> None:
        """Tell the other servers something that is not for the log. Raises ``LogUnavailable``."""
        await self.log.publish(self.ref.doc, orjson.dumps(message))

    def _on_heard(self, message: bytes) -> None:
        """What another server said: where a client of it is, or something of another kind."""
        public = orjson.loads(message)
        if "client" not in public:
            self.on_heard(public)
            return
        client = public["client"]
        if any(one.client == client for one in self.subscriptions):
            return  # our own, come back
        if public["presence"] is None:
            if self.presence.pop(client, None) is None:
                return
        else:
            self.presence[client] = Presence(public["user"], public["presence"], public["rev"])
        told = self.message("presence", **public)
        for subscription in self.subscriptions:
            subscription.say("presence", client, told)

    def expire_presence(self) -> None:
        """Forget clients without a socket here that have not been heard of for long."""
        here = {one.client for one in self.subscriptions}
        for client, one in list(self.presence.items()):
            if client not in here and monotonic() - one.seen > PRESENCE_SECONDS:
                del self.presence[client]

    # Keeping.

    def _keep(self) -> None:
        """Sum up now and then, beside the pen's work."""
        due = self.head.rev - self._snapshot_rev >= self.keeping.snapshot_entries
        if due and (self._summing is None or self._summing.done()):
            self._summing = asyncio.create_task(self.sum_up())

    async def sum_up(self) -> None:
        """Write a snapshot, trim the log to its bounds, and forget blobs that nothing in the window
        refers to."""
        head, document = self.head, self.document
        if head.rev == self._snapshot_rev:
            return
        try:
            await self.log.save_snapshot(self.ref.doc, Snapshot(head.rev, head.hash, document))
            self._snapshot_rev = head.rev
            floor = self._trim_to()
            if floor > self.pen.floor:
                before = datetime.now(timezone.utc) - timedelta(seconds=self.keeping.key_seconds)
                await self.log.trim(
                    self.ref.doc,
                    floor,
                    keep_history=self.keeping.keep_history,
                    seen_before=before.isoformat(timespec="milliseconds"),
                )
                self.pen.floor = floor
            # Pictures of the pen's state, as it goes on meanwhile.
            documents = [self.document, *(anchor.document for anchor in self.pen.anchors)]
            used = await asyncio.to_thread(_referred_to, documents, list(self.pen.window))
            await self.log.keep_blobs(self.ref.doc, used, BLOB_SECONDS)
        except LogUnavailable as error:
            logger.warning("ot_jupyter: no snapshot of %s: %s", self.ref.path, error)

    def _trim_to(self) -> int:
        """The floor that the bounds ask for."""
        floor = max(self.pen.floor, self.head.rev - self.keeping.log_entries)
        oldest = datetime.now(timezone.utc) - timedelta(seconds=self.keeping.log_seconds)
        limit = oldest.isoformat(timespec="milliseconds")
        for entry in self.pen.entries_after(max(floor, self.pen.window_floor.rev)):
            if entry.time >= limit:
                break
            floor = max(floor, entry.rev)
        return floor

    async def close(self) -> None:
        """Sum up and stop. What is queued and can be committed is."""
        with contextlib.suppress(LogUnavailable):
            while not self.pen.idle and self.stalled is None:
                await self._settled()
        await self.sum_up()
        self.closed = True
        for one in list(self.subscriptions):
            one.poke()  # nothing more will come: who waits for it may go
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(LogUnavailable("the document is closed"))
        with contextlib.suppress(LogUnavailable):
            await self.log.unsubscribe(self.ref.doc)


def _referred_to(documents: list[Document], entries: list[Entry]) -> set[str]:
    """The blobs that documents, and what entries write, refer to."""
    large = (references(entry.ops) for entry in entries if b'"blobs"' in entry.body)
    return set().union(*map(references, documents), *large)
