"""A document's log: from a revision on, as it grows, or read as JSON Patches."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from time import monotonic
from typing import ClassVar
from uuid import uuid4

import orjson
from tornado.iostream import StreamClosedError

from ..sequencer.entry import Entry
from ..sequencer.live import LiveDocument
from ..transforms import Document, apply
from ..transforms.jsonpatch import project_entry
from .base import ApiHandler, guarded, read_number, read_state
from .errors import ApiError, bad_argument
from .past import check_not_ahead, document_at, entries_since, head_at

EVENTS = "text/event-stream"


class Follower:
    """A request's place in a document's stream."""

    def __init__(self, live: LiveDocument) -> None:
        self.live = live
        self.disconnected = False
        self._news = asyncio.Event()
        name = f"rest:{uuid4().hex}"
        self.subscription = live.subscribe(name, live.head, self._news.set)

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.disconnected or self.live.closed or self.subscription.lost is not None

    def disconnect(self) -> None:
        """The one who asked is gone."""
        self.disconnected = True
        self._news.set()

    async def news(self, seconds: float) -> bool:
        """Wait for something to happen. False: nothing did."""
        try:
            await asyncio.wait_for(self._news.wait(), seconds)
        except asyncio.TimeoutError:
            return False
        self._news.clear()
        # What waits for a socket here waits for nobody: the entries are read from the log.
        self.subscription.cursor = self.live.head
        self.subscription.messages.clear()
        return True


class Written:
    """Entries as they are answered: the log's bytes, or projected to JSON Patches."""

    def __init__(self, before: Document | None) -> None:
        """``before`` is the document that the first entry applies to; None: don't project."""
        self.before = before

    async def __call__(self, entries: list[Entry]) -> list[bytes]:
        if self.before is None:
            return [entry.wire() for entry in entries]
        lines, self.before = await asyncio.to_thread(_project, self.before, entries)
        return lines


def _project(document: Document, entries: list[Entry]) -> tuple[list[bytes], Document]:
    """The entries with a ``patch`` instead of ``ops``, and the document after them."""
    lines = []
    for entry in entries:
        value = orjson.loads(entry.wire())
        del value["ops"]
        value["patch"] = project_entry(document, entry.ops)
        lines.append(orjson.dumps(value))
        document = apply(document, entry.ops)
    return lines, document


def _another_branch() -> ApiError:
    message = "the log does not go on from that state: get the document again"
    return ApiError(HTTPStatus.CONFLICT, "unknown_base", message, "/since")


class EntriesHandler(ApiHandler):
    """``/api/ot/entries/{path}``"""

    MOST: ClassVar[int] = 10_000  # entries in one answer
    KEEP_ALIVE_SECONDS: ClassVar[float] = 15.0  # proxies cut what is silent for long

    _follower: Follower | None = None

    @guarded("read")
    async def get(self, path: str) -> None:
        """The entries since a revision, at once, when there are some, or as they come."""
        events = EVENTS in self.request.headers.get("Accept", "")
        wait = min(self.seconds_argument("wait"), self.limits.wait_seconds)
        limit = self.number_argument("limit")
        if limit == 0:
            raise bad_argument("limit", "'limit' is a number from 1")
        form = self.get_query_argument("as", "operations")
        if form not in ("operations", "json-patch"):
            raise bad_argument("as", f"'as' is 'operations' or 'json-patch': not {form!r}")
        live = await self.open_to_read(path)
        since = await self._since(live)
        await entries_since(live, since, 1)  # raises here, not in the middle of a stream
        write = Written(await document_at(live, since) if form == "json-patch" else None)
        if self.request.method == "HEAD":
            wait, events = 0.0, False
        if events:
            await self._stream(live, since, write)
        else:
            await self._answer(live, since, min(limit or self.MOST, self.MOST), wait, write)

    async def _since(self, live: LiveDocument) -> int:
        """The revision to start from: the head, if none was given."""
        # A browser that reconnects to a stream says where it was, the address stays as it is.
        name = "Last-Event-ID" if self.request.headers.get("Last-Event-ID") else "since"
        text = self.request.headers.get("Last-Event-ID") or self.get_query_argument("since", None)
        if text is None:
            return live.head.rev
        if "-" not in text:
            rev = read_number(text, name)
            check_not_ahead(live, rev, name)
            return rev
        state = read_state(text, name)
        check_not_ahead(live, state.rev, name)
        if await head_at(live, state.rev) != state:
            raise _another_branch()
        return state.rev

    # One answer.

    async def _answer(
        self, live: LiveDocument, since: int, limit: int, wait: float, write: Written
    ) -> None:
        if wait and live.head.rev == since:
            await self._wait(live, since, wait)
        entries = await entries_since(live, since, limit)
        last = entries[-1].head if entries else await head_at(live, since)
        lines = await write(entries)
        await self.finish_json(
            {
                "doc": live.ref.doc,
                "path": live.ref.path,
                "epoch": live.ref.epoch,
                "rev": last.rev,
                "hash": last.hash,
                "more": last.rev < live.head.rev,
                "entries": [orjson.Fragment(line) for line in lines],
            }
        )

    async def _wait(self, live: LiveDocument, since: int, seconds: float) -> None:
        """Return when there are entries after ``since``, or when the time is over."""
        end = monotonic() + seconds
        with self._following(live) as follower:
            while live.head.rev == since and not follower.ended:
                if not await follower.news(end - monotonic()):
                    return
            if follower.subscription.lost is not None:
                raise _another_branch()

    # A stream of answers.

    async def _stream(self, live: LiveDocument, rev: int, write: Written) -> None:
        """Server-Sent Events: one for each entry, until the client goes or the server stops."""
        self.set_header("Content-Type", EVENTS)
        self.set_header("Cache-Control", "no-cache")
        self.set_header("X-Accel-Buffering", "no")  # or nginx keeps it to itself
        with self._following(live) as follower, contextlib.suppress(StreamClosedError):
            self.write(b": follows revision %d\n\n" % rev)
            await self.flush()
            try:
                await self._send_events(live, follower, rev, write)
            except ApiError as error:  # too late for a status
                self.write(b"event: resync\ndata: %s\n\n" % orjson.dumps(error.body()))
            await self.finish(set_content_type=EVENTS)

    async def _send_events(
        self, live: LiveDocument, follower: Follower, rev: int, write: Written
    ) -> None:
        while not follower.ended:
            if rev == live.head.rev:
                if not await follower.news(self.KEEP_ALIVE_SECONDS):
                    self.write(b": nothing new\n\n")
                    await self.flush()
                continue
            entries = await entries_since(live, rev, 100)
            for entry, line in zip(entries, await write(entries), strict=True):
                self.write(b"id: %d\ndata: %s\n\n" % (entry.rev, line))
            rev = entries[-1].rev
            await self.flush()  # waits for a slow reader
        if follower.subscription.lost is not None:
            raise _another_branch()

    @contextmanager
    def _following(self, live: LiveDocument) -> Iterator[Follower]:
        self._follower = Follower(live)
        try:
            yield self._follower
        finally:
            live.unsubscribe(self._follower.subscription)
            self._follower = None

    def on_connection_close(self) -> None:
        super().on_connection_close()
        if self._follower is not None:
            self._follower.disconnect()
