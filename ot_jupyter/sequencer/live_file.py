"""The file of an open document: the projection with a real disk, and when it works."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from random import uniform
from time import monotonic, time
from typing import Any
from uuid import uuid4

from ..transforms import Refused
from ..transforms.blobs import references
from .blobs import read_contents
from .files import Files
from .live import LiveDocument
from .log import LogUnavailable
from .pace import Pace
from .pen import Accepted, Submission
from .projection import (
    Begin,
    CatchUp,
    Compute,
    Discard,
    End,
    Enter,
    Entered,
    Follow,
    Look,
    Past,
    Projection,
    Put,
    ReadFile,
    Recall,
    Resolve,
    Settle,
    Stage,
    Work,
)

logger = logging.getLogger("ot_jupyter")

WAIT_SECONDS = 15.0  # so long a save that was asked for waits for others
MOST_CHANGES = 2000  # operations since a save that a change of the file is transformed over

Handler = Callable[[Any], Awaitable[Any]]


class LiveFile:
    """Keeps one open document and its file in step. One task at a time works on the file."""

    def __init__(
        self,
        live: LiveDocument,
        files: Files,
        server: str,
        rename: Callable[[LiveDocument, str], Awaitable[bool]],
        pace: Pace,
        *,
        delay: float,
        longest: float,
        content_interval: float,
        ended: Callable[[str], bool],
    ) -> None:
        """Saves come ``delay`` seconds after the last change, and at most ``longest`` seconds
        after the first one that is not saved yet. ``content_interval`` seconds are between two
        looks at the content of a file that seems unchanged. ``server`` names this process,
        ``ended`` tells whether another one certainly runs no more. ``rename`` is called when the
        file was found under another path, and tells whether that can be the document's."""
        self.live = live
        self.files = files
        self.delay = delay
        self.longest = longest
        self.content_interval = content_interval
        self.projection = Projection(
            lambda: (live.head, live.document),
            self._past,
            server,
            now=time,
            mint=lambda: uuid4().hex,
            ended=ended,
        )
        self._rename = rename
        self._pace = pace
        self._told: str | None = None
        self._first_change: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._waiting = False  # for a turn to work
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._was: Any = None  # the last stat that was known
        self._print: tuple[Any, str] = (None, "")  # the bytes that belong to a stat
        self._printed = monotonic()
        self._do: dict[type, Handler] = {
            Look: lambda _: files.stat(self.path),
            ReadFile: self._read,
            Follow: self._follow,
            Recall: lambda _: live.log.file_state(self.doc),
            Begin: lambda one: live.log.begin_save(self.doc, one.attempt, over=one.over),
            Settle: lambda one: live.log.settle_save(
                self.doc, one.image, one.digest, one.rev, over=one.over, attempt=one.attempt
            ),
            End: lambda one: live.log.end_save(self.doc, one.attempt),
            Stage: self._stage,
            Put: lambda one: files.put(self.path, one.attempt, one.seen),
            Resolve: lambda one: files.resolve(self.path, one.attempt, one.image),
            Discard: lambda one: files.discard(self.path, one.attempt),
            Enter: self._enter,
            Entered: self._entered,
            CatchUp: lambda _: live.in_step(),
            Compute: lambda one: asyncio.to_thread(one.function, *one.arguments),
        }
        self.resume()

    @property
    def path(self) -> str:
        return self.live.ref.path

    @property
    def doc(self) -> str:
        return self.live.ref.doc

    @property
    def problem(self) -> str | None:
        """Why the file can't follow now."""
        return self.projection.problem

    def resume(self) -> None:
        """Follow the document."""
        self.live.on_change = self._changed
        self.live.on_restored = self._restored

    def stop(self) -> None:
        """Leave document and file alone from now on."""
        self.live.on_change = self.live.on_restored = lambda: None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def start(self) -> None:
        """Take up the image, and what was written while nobody looked. Raises as ``sync``."""
        pending = (await self.live.log.file_state(self.doc)).attempt
        await self.files.clean(self.path, pending.id if pending else "")
        await self.sync()

    async def close(self) -> None:
        """Save, and stop following."""
        self.stop()
        try:
            await self.flush()
        except (LogUnavailable, OSError, Refused) as error:
            self._fail(error)

    # When.

    def _changed(self) -> None:
        now = monotonic()
        if self._first_change is None:
            self._first_change = now
        self._work_after(max(0.0, min(self.delay, self._first_change + self.longest - now)))

    def _restored(self) -> None:
        """The store was lost and put back without the image: look at the file, and set it."""
        self.projection.forget()
        self._changed()

    def _work_after(self, seconds: float, *, at_most: bool = False) -> None:
        """Work on the file then. ``at_most``: or before, if that is to be."""
        due = monotonic() + seconds
        if self._timer is not None:
            if at_most and self._due <= due:
                return
            self._timer.cancel()
        self._due = due
        self._timer = asyncio.get_running_loop().call_later(seconds, self._start_work)

    def _start_work(self) -> None:
        self._timer = None
        if self._waiting:
            return  # for its turn: it will see what came since
        self._waiting = True
        task = asyncio.ensure_future(self._sync_quietly())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _sync_quietly(self) -> None:
        try:
            async with self._pace.turn():
                self._waiting = False
                await self.sync()
        except (LogUnavailable, OSError, Refused) as error:
            self._fail(error)
            self._work_after(self.longest)
        except Exception as error:
            # A bug must not end the saving: what is in the log is safe, and the next try may go.
            logger.exception("ot_jupyter: saving %s", self.path)
            self._fail(error)
            self._work_after(self.longest)

    def _fail(self, error: Exception) -> None:
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        self.projection.problem = text
        self._tell()

    def _tell(self) -> None:
        """Tell the clients whether the file follows."""
        problem = self.projection.problem
        if problem == self._told:
            return
        self._told = problem
        if problem is None:
            logger.info("ot_jupyter: %s is saved again", self.path)
        else:
            logger.warning("ot_jupyter: %s is not saved: %s", self.path, problem)
        for one in self.live.subscriptions:
            one.say("file", "", self.live.message("file", problem=problem))

    # What.

    async def look(self) -> None:
        """See whether the file changed outside, cheaply, and take it up if it did."""
        if self._lock.locked():
            return  # somebody is at it
        known = self.projection.known
        if await self.files.stat(self.path) != known:
            self._work_after(0, at_most=True)
        elif known is not None and monotonic() - self._printed > self.content_interval:
            await self._look_at_content(known)

    async def _look_at_content(self, known: Any) -> None:
        """A checkout can keep inode, size and second of a file."""
        self._printed = monotonic()
        found = await self.files.fingerprint(self.path)
        if (known, found) != self._print:
            self._print = (known, found)
            self.projection.forget()
            self._work_after(0, at_most=True)

    async def sync(self, *, make: bool = False) -> None:
        """Take up what others wrote, then save what the log has; ``make``: also if the file is
        gone. Raises ``OSError``, ``LogUnavailable``, and ``Refused`` if the file can't be read;
        the next change or look tries again."""
        async with self._lock:
            first = self._first_change
            self._first_change = None
            self._was = self.projection.known or self._was
            if make:
                self.projection.saved = None  # in a file that may be gone
            try:
                await self._run(self.projection.work(make=make))
            finally:
                if self.projection.saved != self.live.head and self._first_change is None:
                    self._first_change = first
            self._tell()
            if self.projection.again is not None:
                self._work_after(self.projection.again * uniform(1.0, 1.5), at_most=True)

    async def flush(self, *, make: bool = False) -> None:
        """Have the file hold what the log has now; another server's save is waited for. Raises as
        ``sync``, and returns if the file can't follow (see ``problem``)."""
        wanted, end = self.live.head.rev, monotonic() + WAIT_SECONDS
        while True:
            await self.sync(make=make)
            saved = self.projection.saved
            if (saved is not None and saved.rev >= wanted) or self.problem is not None:
                return
            if monotonic() > end:
                raise OSError("others are writing the file")
            await asyncio.sleep(self.projection.again or 0.0)

    async def move(self, path: str) -> None:
        """The file has another path now. Waits for a save that is under way: what it has staged
        lies beside the old one."""
        async with self._lock:
            self._take_path(path)
            self._work_after(0, at_most=True)

    async def _run(self, work: Work[None]) -> None:
        result: Any = None
        error: Exception | None = None
        while True:
            try:
                request = work.throw(error) if error is not None else work.send(result)
            except StopIteration:
                return
            error = None
            try:
                result = await self._do[type(request)](request)
            except (OSError, LogUnavailable, Refused) as raised:
                error = raised

    def _past(self, rev: int) -> Past | None:
        found = self.live.pen.changes_since(rev)
        return None if found is None or len(found[1]) > MOST_CHANGES else Past(*found)

    async def _read(self, _: ReadFile) -> Any:
        file = await self.files.read(self.path)
        # First: once the log refers to them they must be there, whatever happens to us.
        await self.live.log.put_blobs(self.doc, file.contents)
        return file.document

    async def _stage(self, request: Stage) -> Any:
        wanted = references(request.projection)
        contents = await read_contents(self.live.log, self.doc, wanted)
        if wanted - contents.keys():  # a store that was lost: the file may have them still
            with contextlib.suppress(Refused):
                contents |= (await self.files.read(self.path)).contents
        lost = wanted - contents.keys()
        if lost:
            logger.warning("ot_jupyter: %d large outputs of %s are lost", len(lost), self.path)
        return await self.files.stage(self.path, request.attempt, request.projection, contents)

    async def _enter(self, request: Enter) -> Any:
        verdict = await self.live.commit(
            lambda answer: Submission(
                client=request.name, n=1, base=request.base, ops=request.ops, user="file",
                answer=answer, consume=False, expects=request.expects,
            )
        )  # fmt: skip
        if isinstance(verdict, Accepted):
            logger.info("ot_jupyter: %s was changed outside", self.path)
            return verdict.head
        if verdict.code in ("unexpected", "unknown_base"):
            return None
        raise OSError(f"the change on disk can't be merged: {verdict.message}")

    async def _entered(self, request: Entered) -> int | None:
        await self.live.in_step()
        seen = self.live.pen.seen.get(request.name)
        return None if seen is None else seen.rev

    def _take_path(self, path: str) -> None:
        if path != self.path:
            logger.info("ot_jupyter: %s is %s now", self.path, path)
            self.live.rename(path)

    async def _follow(self, _: Follow) -> bool:
        """Another server may know of the new path, or the file is found near the old one."""
        ref = await self.live.log.get(self.doc)
        path = ref.path if ref is not None and ref.path != self.path else None
        if path is None:
            known = self.projection.known or self._was  # a save that failed for it forgets
            path = await self.files.moved_to(self.path, known) if known else None
        if path is None or not await self._rename(self.live, path):
            return False
        self._take_path(path)
        return True
