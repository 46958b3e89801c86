"""The file of an open document: a projection of the log, and one more author.

The store keeps the *image*, what was last seen on disk. It is the base for merging: what differs
between image and state was typed, what differs between image and file was written by others, and
both survive. A save is told to the store before it is written (an *attempt*), so that after a
crash, or from another server, our own save is not taken for somebody else's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from dataclasses import dataclass
from hashlib import blake2b
from random import uniform
from time import monotonic, time
from typing import Any, TypeVar, cast
from uuid import uuid4

import nbformat
import orjson
from jupyter_server.services.contents.filemanager import (
    AsyncFileContentsManager,
    FileContentsManager,
)
from jupyter_server.services.contents.largefilemanager import (
    AsyncLargeFileManager,
    LargeFileManager,
)
from jupyter_server.utils import ensure_async
from tornado.web import HTTPError

from ..transforms import Change, Document, Refused, is_notebook, transform_changes
from ..transforms.diff import adopt_ids, diff
from ..transforms.notebook import (
    document_notebook,
    notebook_document,
    read_notebook,
    text_document,
)
from .disk import exchanged, file_stat
from .live import LiveDocument
from .log import Attempt, FileState, LogUnavailable
from .pen import Accepted, Submission

logger = logging.getLogger("ot_jupyter")

# Managers whose files are plain bytes on this machine: what they hold as text is the file itself.
# (A subclass may convert, as jupytext's does: it is asked for the notebook.)
_PLAIN = (
    FileContentsManager,
    LargeFileManager,
    AsyncFileContentsManager,
    AsyncLargeFileManager,
)
LOOKS = 100  # at a file that changes while it is read
LOOK_SECONDS = 0.02  # between two of them
BUSY_SECONDS = 10.0  # so long another server's save is waited for
LATE_SECONDS = 5.0  # a save that has not been written by then is given up: others go ahead
ATTEMPT_SECONDS = 30.0  # a save that is older and was never read back did not happen

T = TypeVar("T")


def project(document: Document) -> Document:
    """What of the document reaches its file."""
    if is_notebook(document):
        return notebook_document(document_notebook(document))
    return document


def digest_of(projection: Document) -> str:
    """A name for a file's content, whatever its bytes look like."""
    return blake2b(
        orjson.dumps(projection, option=orjson.OPT_SORT_KEYS), digest_size=16
    ).hexdigest()


@dataclass(frozen=True, slots=True)
class Loadable:
    """A file that can be a document."""

    path: str
    kind: str  # "notebook" or "text"
    document: Document


class Files:
    """Reads and writes documents through a ContentsManager."""

    def __init__(self, contents: Any) -> None:
        self.contents = contents

    async def _ask(self, value: T | Awaitable[T]) -> T:
        return cast(T, await ensure_async(value))

    async def stat(self, path: str) -> tuple[Any, ...] | None:
        """What changes when the file changes; None if there is no file. Raises ``OSError``."""
        try:
            if type(self.contents) in _PLAIN:
                try:
                    return await asyncio.to_thread(file_stat, self.contents._get_os_path(path))
                except (FileNotFoundError, NotADirectoryError):
                    return None
            model = await self._ask(self.contents.get(path, content=False))
        except HTTPError as error:
            if error.status_code == 404:
                return None
            raise OSError(error.log_message) from None
        return (model.get("last_modified"), model.get("size"), model.get("type"))

    async def read(self, path: str) -> Loadable:
        """The file as a document. Raises :class:`Refused` (``not_found``, ``is_directory``,
        ``not_text``, ``not_json``, ``not_a_notebook``, …), and ``OSError``."""
        notebook = path.endswith(".ipynb")
        try:
            if notebook and type(self.contents) in _PLAIN:
                model = await self._ask(
                    self.contents.get(path, content=True, type="file", format="text")
                )
                document = await asyncio.to_thread(read_notebook, model["content"])
                return Loadable(path, "notebook", document)
            model = await self._ask(self.contents.get(path, content=True))
        except HTTPError as error:
            raise _refusal(error) from None
        if model["type"] == "notebook":
            document = await asyncio.to_thread(notebook_document, dict(model["content"]))
            return Loadable(path, "notebook", document)
        if model["type"] == "directory":
            raise Refused("is_directory", f"{path!r} is a folder", "/path")
        if model.get("format") != "text":
            raise Refused("not_text", f"{path!r} is not a text in UTF-8", "/path")
        return Loadable(path, "text", text_document(model["content"]))

    async def write(
        self, path: str, projection: Document, seen: tuple[Any, ...] | None
    ) -> Document | None:
        """Write a projection over the file whose ``stat`` was ``seen``.

        Returns what was displaced, if that was another file, written since. Raises ``OSError``,
        and :class:`Refused` if somebody is writing the file at this moment: it is left to him.
        """
        if is_notebook(projection):
            content: Any = await asyncio.to_thread(document_notebook, projection)
            model = {"type": "notebook", "format": "json", "content": content}
        else:
            model = {"type": "file", "format": "text", "content": projection["source"]}
        try:
            if type(self.contents) in _PLAIN:
                return await self._write_plain(model, path, seen)
            await self._ask(self.contents.save(model, path))
            return None
        except HTTPError as error:
            raise OSError(error.log_message) from None

    async def _write_plain(
        self, model: dict[str, Any], path: str, seen: tuple[Any, ...] | None
    ) -> Document | None:
        """What the manager's ``save`` does, but the file is exchanged in one step."""
        contents = self.contents
        contents.run_pre_save_hooks(model=model, path=path)
        os_path = contents._get_os_path(path)
        notebook = model["type"] == "notebook"
        if notebook:
            node = await asyncio.to_thread(nbformat.from_dict, model["content"])
            if contents.notary.check_cells(node):
                contents.notary.sign(node)
            text = await asyncio.to_thread(nbformat.v4.writes, node)
            text += "" if text.endswith("\n") else "\n"
        else:
            text = model["content"]
        displaced = await asyncio.to_thread(_put, os_path, text.encode(), seen, notebook)
        if notebook and not await self._ask(contents.checkpoints.list_checkpoints(path)):
            await self._ask(contents.create_checkpoint(path))
        saved = await self._ask(contents.get(path, content=False))
        contents.run_post_save_hooks(model=saved, os_path=os_path)
        contents.emit(data={"action": "save", "path": path})
        return displaced


def _put(path: str, data: bytes, seen: tuple[Any, ...] | None, notebook: bool) -> Document | None:
    """Exchange the file, and read what was displaced if it is not the one that was seen."""
    with exchanged(path, data) as beside:
        if file_stat(beside) == seen:
            return None
        with open(beside, "rb") as file:
            found = file.read()
        return read_notebook(found) if notebook else text_document(found.decode())


def _refusal(error: HTTPError) -> Refused:
    message = error.log_message or str(error)
    if error.status_code == 404:
        return Refused("not_found", "there is no such file", "/path")
    if error.status_code == 400 and "not UTF-8" in message:
        return Refused("not_text", "the file is not a text in UTF-8", "/path")
    if error.status_code == 400 and "is a directory" in message:
        return Refused("is_directory", message, "/path")
    return Refused("unreadable", message, "/path")


def _nearest(bases: list[Document], found: Document) -> tuple[Document, Document, Change]:
    """The base that ``found`` was most likely made from, ``found`` with the ids of that base, and
    what it changes of it."""
    tried = []
    for base in bases:
        same = adopt_ids(base, found)
        change = diff(base, same)
        tried.append((len(orjson.dumps(change)), (base, same, change)))
    return min(tried, key=lambda one: one[0])[1]


class Projection:
    """Keeps one open document and its file in step."""

    def __init__(
        self, live: LiveDocument, files: Files, server: str, *, delay: float, longest: float
    ) -> None:
        """Saves come ``delay`` seconds after the last change, and at most ``longest`` seconds
        after the first one that is not saved yet. ``server`` names this process."""
        self.live = live
        self.files = files
        self.server = server
        self.delay = delay
        self.longest = longest
        self.problem: str | None = None  # why the file can't follow now
        self._image: Document | None = None
        self._digest = ""
        self._image_rev = 0
        self._stat: tuple[Any, ...] | None = None
        self._saved_head = -1
        self._first_change: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self.resume()

    def resume(self) -> None:
        """Follow the document."""
        self.live.on_change = self._changed
        self.live.on_restored = self._forget_stat

    def stop(self) -> None:
        """Leave document and file alone from now on."""
        self.live.on_change = self.live.on_restored = lambda: None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def start(self) -> None:
        """Take up the image, and what was written while nobody looked."""
        state = await self.live.log.file_state(self.live.ref.doc)
        if state.image is None:
            # The log was made from the file a moment ago, and its maker did not get further; or
            # the store was lost and put back, and this server ended in the same moment. Then the
            # file is taken for our last save: nothing tells what others may have written to it.
            rev, image = self.live.head.rev, self.live.document
            if rev:
                logger.warning("ot_jupyter: no image of %s in the store", self.live.ref.path)
                image = (await self.files.read(self.live.ref.path)).document
            await self._settle(project(image), rev, state)
        self._take(await self.live.log.file_state(self.live.ref.doc))
        await self.sync()

    # When.

    def _changed(self) -> None:
        now = monotonic()
        if self._first_change is None:
            self._first_change = now
        if self._timer is not None:
            self._timer.cancel()
        wait = min(self.delay, max(0.0, self._first_change + self.longest - now))
        self._timer = asyncio.get_running_loop().call_later(wait, self._due)

    def _forget_stat(self) -> None:
        """The store was lost and put back without the image: look at the file, and set it."""
        self._stat = None
        self._changed()

    def _due(self) -> None:
        self._timer = None
        task = asyncio.ensure_future(self._save_quietly())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _save_quietly(self) -> None:
        try:
            await self.sync()
        except (LogUnavailable, OSError, Refused) as error:
            self._report(str(error))
            self._changed()

    def _report(self, problem: str | None) -> None:
        if problem != self.problem:
            self.problem = problem
            path = self.live.ref.path
            if problem is None:
                logger.info("ot_jupyter: %s is saved again", path)
            else:
                logger.warning("ot_jupyter: %s is not saved: %s", path, problem)
            for one in self.live.subscriptions:
                one.say("file", "", self.live.message("file", problem=problem))

    # What.

    async def look(self) -> None:
        """See whether the file changed outside, cheaply, and take it up if it did."""
        if await self.files.stat(self.live.ref.path) != self._stat:
            await self._save_quietly()

    async def sync(self) -> None:
        """Take up what others wrote, then save what the log has. Raises ``OSError`` and
        ``LogUnavailable``; the next change or look tries again."""
        async with self._lock:
            if await self._absorb_outside():
                await self._save()

    async def flush(self) -> None:
        """Have the file hold what the log has now; another server's save is waited for. Raises as
        ``sync``, and returns if the file can't follow (see ``problem``)."""
        wanted, end = self.live.head.rev, monotonic() + BUSY_SECONDS
        while True:
            await self.sync()
            if self._saved_head >= wanted or self.problem is not None:
                return
            if monotonic() > end:
                raise OSError("another server is saving the file")
            await asyncio.sleep(uniform(0, 5 * LOOK_SECONDS))

    async def _absorb_outside(self, mine: Document | None = None) -> bool:
        """Whether the file is ours to write now, all that others wrote being in the log."""
        path = self.live.ref.path
        for _ in range(LOOKS):
            stat = await self.files.stat(path)
            if stat is not None and stat == self._stat:
                return True
            if stat is None:
                self._report("the file was moved or deleted; the document goes on without it")
                self._stat = None
                return False
            try:
                loaded = await self.files.read(path)
            except Refused as refused:
                if refused.code != "not_found":
                    self._report(f"what is on disk can't be read, and is left alone: {refused}")
                    return False
                continue
            if await self._recognise(loaded.document, stat, mine):
                self._report(None)
                return True
            await asyncio.sleep(LOOK_SECONDS)
        raise OSError("the file is written by others all the time")

    async def _recognise(
        self, found: Document, stat: tuple[Any, ...], mine: Document | None
    ) -> bool:
        """Take up what was found on disk, be it ours or theirs. False: look again, as the file,
        or what the store says of it, changed meanwhile."""
        digest = await asyncio.to_thread(digest_of, found)
        state = await self.live.log.file_state(self.live.ref.doc)
        if await self.files.stat(self.live.ref.path) != stat:
            return False  # what the store says may be of a later file than the one we read
        if not await self._take_up(found, digest, state, mine):
            return False
        self._stat = stat
        return True

    async def _take_up(
        self, found: Document, digest: str, state: FileState, mine: Document | None = None
    ) -> bool:
        """Make content the image: as it is if it is ours, else by entering what is new in it.
        ``mine`` is what this server wrote over the image and has not read back. False: try again.
        """
        self._take(state)
        if digest == self._digest:
            return state.image is not None or await self._settle(found, self._image_rev, state)
        ours = next((one for one in state.attempts if one.digest == digest), None)
        if ours is not None and time() - ours.time < ATTEMPT_SECONDS:
            return await self._settle(found, ours.rev, state)
        if self._is_busy(state):
            return False  # what was written may be made from a save that is not the image yet
        return await self._absorb(found, digest, state, mine)

    def _is_busy(self, state: FileState) -> bool:
        """Whether another server is about to save."""
        young = time() - BUSY_SECONDS
        return any(one.server != self.server and one.time > young for one in state.attempts)

    async def _take_up_displaced(self, found: Document, before: FileState) -> None:
        """Take up what our save displaced: another server's save, or what somebody wrote since we
        looked. ``before`` is what the store said before we wrote."""
        digest = await asyncio.to_thread(digest_of, found)
        if digest in {before.digest, *(one.digest for one in before.attempts)}:
            return
        for _ in range(LOOKS):
            state = await self.live.log.file_state(self.live.ref.doc)
            if await self._take_up(found, digest, state):
                return
            await asyncio.sleep(LOOK_SECONDS)

    async def _absorb(
        self, found: Document, digest: str, state: FileState, mine: Document | None
    ) -> bool:
        """Enter what others wrote as one change, with the image as its base; or, if that is
        nearer, with what we wrote over the image just before."""
        assert self._image is not None
        base, document = self.live.head, self.live.document
        image, found, theirs = await asyncio.to_thread(
            _nearest, [self._image] if mine is None else [self._image, mine], found
        )
        if theirs:
            typed = await asyncio.to_thread(diff, image, document)
            change, _ = transform_changes(theirs, typed, later=True)
            # The name says which change of the file this is: two servers that see it enter it once.
            name = f"file:{self._image_rev}-{digest}"
            verdict = await self.live.commit(
                lambda answer: Submission(
                    client=name, n=1, base=base, ops=change, user="file", answer=answer,
                    consume=False,
                )
            )  # fmt: skip
            if not isinstance(verdict, Accepted):
                raise OSError(f"the change on disk can't be merged: {verdict.message}")
            logger.info("ot_jupyter: %s was changed outside", self.live.ref.path)
            base = verdict.head
        return await self._settle(found, base.rev, state)

    async def _save(self) -> None:
        head, document = self.live.head, self.live.document
        if head.rev == self._saved_head:
            return
        first = self._first_change
        projection = await asyncio.to_thread(project, document)
        digest = await asyncio.to_thread(digest_of, projection)
        if digest != self._digest:
            attempt = Attempt(uuid4().hex, self.server, digest, head.rev, time())
            await self.live.log.begin_save(self.live.ref.doc, attempt)
            before = await self.live.log.file_state(self.live.ref.doc)
            if self._is_busy(before) or time() - attempt.time > LATE_SECONDS:
                await self._withdraw(attempt, before)
                return
            displaced = await self.files.write(self.live.ref.path, projection, self._stat)
            if displaced is not None:
                await self._take_up_displaced(displaced, before)
            # Read back: hooks may have changed it, and somebody else may have been faster.
            if not await self._absorb_outside(projection):
                return
            if self._digest != digest:
                self._changed()  # another's save was the last: see that ours follows
                return
        self._saved_head = head.rev
        if self._first_change == first:
            self._first_change = None

    async def _withdraw(self, attempt: Attempt, state: FileState) -> None:
        """Another server is about to save: let it, and try again a little later. (Both may give
        way; that they wait differently long ends it.)"""
        if state.image is not None:
            await self.live.log.settle_save(
                self.live.ref.doc, state.image, state.digest, state.rev, [attempt.id],
                over=state.digest,
            )  # fmt: skip
        self._first_change = None
        asyncio.get_running_loop().call_later(uniform(0, self.delay), self._changed)

    def _take(self, state: FileState) -> None:
        if state.image is not None and state.digest != self._digest:
            self._image = orjson.loads(state.image)
            self._digest = state.digest
            self._image_rev = state.rev

    async def _settle(self, image: Document, rev: int, state: FileState) -> bool:
        """Set the image over that of ``state``, and use up the attempts that it answers or that
        are too old. False: another server was first."""
        digest = digest_of(image)
        old = time() - ATTEMPT_SECONDS
        used = [one.id for one in state.attempts if one.digest == digest or one.time < old]
        done = await self.live.log.settle_save(
            self.live.ref.doc, orjson.dumps(image), digest, rev, used, over=state.digest
        )
        if done:
            self._image, self._digest, self._image_rev = image, digest, rev
        return done

    async def close(self) -> None:
        """Save, and stop following."""
        self.stop()
        try:
            await self.flush()
        except (LogUnavailable, OSError, Refused) as error:
            self._report(str(error))
