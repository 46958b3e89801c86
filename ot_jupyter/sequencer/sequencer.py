"""All documents that are open on this server: which is which, and when each opens and closes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from socket import gethostname
from time import monotonic
from uuid import uuid4
from weakref import WeakValueDictionary

from ..transforms import Refused, is_notebook
from . import measures
from .entry import Snapshot, initial_hash
from .files import Files, Loadable
from .live import Keeping, LiveDocument
from .live_file import LiveFile
from .log import DocumentRef, Log, LogUnavailable
from .pace import Pace
from .pen import Limits
from .projection import project
from .runs import NO_KERNEL
from .watch import Watch

logger = logging.getLogger("ot_jupyter")


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator sets. Seconds."""

    limits: Limits = field(default_factory=Limits)
    keeping: Keeping = field(default_factory=Keeping)
    save_delay: float = 1.0
    save_longest: float = 10.0
    look_interval: float = 2.0
    content_interval: float = 30.0
    poll_interval: float = 5.0
    idle_seconds: float = 60.0


@dataclass(slots=True)
class Open:
    """An open document and its file."""

    live: LiveDocument
    file: LiveFile


class Sequencer:
    """The authority of this server: one pen per open document."""

    def __init__(self, log: Log, files: Files, settings: Settings) -> None:
        self.log = log
        self.files = files
        self.settings = settings
        self.server = f"{gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"
        self.open_documents: dict[str, Open] = {}  # by document id
        self.on_open: Callable[[LiveDocument], None] = lambda live: None
        # By path, while one opens or closes.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._task: asyncio.Task[None] | None = None
        self._pace = Pace()
        self._watch = Watch(self._happened)
        self._places: dict[str, str] = {}  # paths of this machine -> those of the documents there
        self._looks: set[asyncio.Task[None]] = set()
        self._stopping = False

    async def start(self) -> None:
        """Connect to the store and begin to tend what is open."""
        await self.log.start()
        self._task = asyncio.create_task(self._tend())

    async def open(self, path: str, kind: str | None = None) -> LiveDocument:
        """The live document of a path (as ``canonical_path`` gives it), opened if need be.

        Raises :class:`Refused` (no such file, not a notebook, …) and ``LogUnavailable``.
        """
        if self._stopping:
            raise LogUnavailable("the server is stopping")
        path = await self.files.real_path(path)
        lock = self._locks.setdefault(path, asyncio.Lock())
        async with lock:
            one = self.find(path)
            if one is None:
                one = await self._open(path)
                self.open_documents[one.live.ref.doc] = one
                self.on_open(one.live)
            one.live.touched = monotonic()
        if kind is not None and kind != one.live.ref.kind:
            raise Refused("wrong_kind", f"{path!r} is open as {one.live.ref.kind}", "/kind")
        return one.live

    def find(self, path: str) -> Open | None:
        """The open document of a path."""
        for one in self.open_documents.values():
            if one.live.ref.path == path and not one.live.pen.gone:
                return one
        return None

    async def flush(self, live: LiveDocument, *, make: bool = False) -> None:
        """Write the document's file now; ``make``: also if it is gone. Raises ``OSError``,
        ``LogUnavailable`` and :class:`Refused`."""
        await self.open_documents[live.ref.doc].file.flush(make=make)

    def under(self, path: str) -> list[Open]:
        """The open documents that are at a real path, or in the folder that is there."""
        return [
            one
            for one in self.open_documents.values()
            if f"{one.live.ref.path}/".startswith(f"{path}/") and not one.live.pen.gone
        ]

    async def moved(self, old: str, new: str) -> None:
        """A file, or a folder with all that is in it, was given another path by Jupyter: so are
        its documents. Raises ``LogUnavailable``."""
        old, new = await self.files.real_path(old), await self.files.real_path(new)
        ref = await self.log.find(old)
        refs = [ref] if ref is not None else await self.log.documents(old)
        for one in refs:
            path = new + one.path[len(old) :]
            holder = await self.log.find(path)
            if holder is not None and holder.doc != one.doc:  # its file was not there any more
                await self._rename(holder, _spare_path(holder))
            await self._rename(one, path)

    async def _rename(self, ref: DocumentRef, path: str) -> None:
        if await self.log.rename(ref.doc, path):
            one = self.open_documents.get(ref.doc)
            if one is not None:
                await one.file.move(path)

    async def _found(self, live: LiveDocument, path: str) -> bool:
        """An open document's file was found at another path: have the store know. False if the
        document can't have that path."""
        holder = await self.log.find(path)
        if holder is not None and holder.doc != live.ref.doc:
            if holder.doc in self.open_documents:
                return False  # somebody works in the file there
            await self.log.rename(holder.doc, _spare_path(holder))
        return await self.log.rename(live.ref.doc, path)

    async def changed(self, path: str) -> None:
        """Something happened to a file or folder: look at it at once. Never raises."""
        for one in self.under(await self.files.real_path(path)):
            with contextlib.suppress(OSError, LogUnavailable, Refused):
                await one.file.look()

    async def _open(self, path: str) -> Open:
        ref = await self.log.find(path)
        if ref is None:
            ref = await self._create(await self.files.read(path))
        live = await LiveDocument.open(self.log, ref, self.settings.limits, self.settings.keeping)
        file = LiveFile(
            live,
            self.files,
            self.server,
            self._found,
            self._pace,
            delay=self.settings.save_delay,
            longest=self.settings.save_longest,
            content_interval=self.settings.content_interval,
            ended=has_ended,
        )
        try:
            await file.start()
        except BaseException:
            file.stop()
            await live.close()
            raise
        return Open(live, file)

    async def _create(self, file: Loadable) -> DocumentRef:
        """Make revision 0, once: of two servers that do, one wins and both use its log."""
        epoch = uuid4().hex[:12]
        document = project(file.document)
        if is_notebook(document):
            document["kernel"] = NO_KERNEL
        ref = DocumentRef(uuid4().hex[:16], file.path, file.kind, epoch)
        await self.log.put_blobs(ref.doc, file.contents)
        standing = await self.log.create(ref, Snapshot(0, initial_hash(epoch, document), document))
        if standing.doc != ref.doc:
            await self.log.delete(ref.doc)
        return standing

    def _happened(self, os_paths: set[str]) -> None:
        """Something happened to files: look at those that are open."""
        for path in {self._places[one] for one in os_paths & self._places.keys()}:
            task = asyncio.ensure_future(self.changed(path))
            self._looks.add(task)
            task.add_done_callback(self._looks.discard)

    async def _tend(self) -> None:
        """Look at files and log, close what nobody uses."""
        looked = polled = monotonic()
        while True:
            await asyncio.sleep(min(self.settings.look_interval, 1.0))
            now = monotonic()
            look = now - looked >= self.settings.look_interval
            poll = now - polled >= self.settings.poll_interval
            for one in list(self.open_documents.values()):
                try:
                    await self._tend_one(one, look, poll)
                except (LogUnavailable, OSError, Refused) as error:
                    logger.warning("ot_jupyter: tending %s: %s", one.live.ref.path, error)
                except Exception:
                    logger.exception("ot_jupyter: tending %s", one.live.ref.path)
            opens = [one.live.ref.path for one in self.open_documents.values()]
            self._places = self.files.os_paths(opens)
            await self._watch.follow({os.path.dirname(one) for one in self._places})
            looked = now if look else looked
            polled = now if poll else polled
            self._measure()

    async def _tend_one(self, one: Open, look: bool, poll: bool) -> None:
        live = one.live
        live.expire_presence()
        if live.pen.gone or self._unused(live):
            await self._close(one)
        elif look and live.stalled is None:
            await one.file.look()
        if poll:
            live.poll()

    def _unused(self, live: LiveDocument) -> bool:
        idle = monotonic() - live.touched > self.settings.idle_seconds
        return idle and not live.subscriptions and not live.held

    async def _close(self, one: Open) -> None:
        live = one.live
        lock = self._locks.setdefault(live.ref.path, asyncio.Lock())
        async with lock:
            if live.pen.gone:
                one.file.stop()
            elif self._unused(live):
                await one.file.close()
                if not self._unused(live):  # somebody came while it was saved
                    one.file.resume()
                    return
            else:
                return
            self.open_documents.pop(live.ref.doc, None)
            await live.close()

    def _measure(self) -> None:
        opens = [one.live for one in self.open_documents.values()]
        measures.open_documents.set(len(opens))
        measures.clients.set(sum(len(live.subscriptions) for live in opens))
        measures.queue_bytes.set(sum(live.queue_bytes for live in opens))
        for live in opens:
            measures.transforms.inc(live.pen.steps)
            measures.retries.inc(live.pen.retries)
            live.pen.steps = live.pen.retries = 0

    async def close(self) -> None:
        """Save and close everything."""
        self._stopping = True
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._watch.close()
        for one in list(self.open_documents.values()):
            await one.file.close()
            await one.live.close()
        self.open_documents.clear()
        await self.log.close()


def _spare_path(ref: DocumentRef) -> str:
    """Where the document of a vanished file goes when another takes its path: who is in it may
    still save it."""
    stem, end = os.path.splitext(ref.path)
    return f"{stem}~{ref.doc}{end}"


def host_of(server: str) -> str:
    """The machine that a server runs on."""
    return server.rpartition(":")[0].rpartition(":")[0]


def has_ended(server: str) -> bool:
    """Whether another server certainly runs no more: it was on this machine, and has no process."""
    pid = server.rpartition(":")[0].rpartition(":")[2]
    if host_of(server) != gethostname() or os.name != "posix":
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # somebody else's process
    return False


def canonical_path(path: str) -> str:
    """The one spelling of an API path. Raises :class:`Refused` for one that leaves the root."""
    if "\0" in path:
        raise Refused("bad_path", "a path has no NUL", "/path")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts:
        raise Refused("bad_path", "the path is empty", "/path")
    if ".." in parts:
        raise Refused("bad_path", "a path does not leave the root", "/path")
    return "/".join(parts)
