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
from time import monotonic, time
from typing import Any, TypeVar, cast
from uuid import uuid4

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

from ..transforms import Document, Refused, is_notebook, transform_changes
from ..transforms.diff import adopt_ids, diff
from ..transforms.notebook import (
    document_notebook,
    notebook_document,
    read_notebook,
    text_document,
)
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

    async def write(self, path: str, projection: Document) -> None:
        """Write a projection. Raises ``OSError``."""
        if is_notebook(projection):
            content: Any = await asyncio.to_thread(document_notebook, projection)
            model = {"type": "notebook", "format": "json", "content": content}
        else:
            model = {"type": "file", "format": "text", "content": projection["source"]}
        try:
            await self._ask(self.contents.save(model, path))
        except HTTPError as error:
            raise OSError(error.log_message) from None


def _refusal(error: HTTPError) -> Refused:
    message = error.log_message or str(error)
    if error.status_code == 404:
        return Refused("not_found", "there is no such file", "/path")
    if error.status_code == 400 and "not UTF-8" in message:
        return Refused("not_text", "the file is not a text in UTF-8", "/path")
    return Refused("unreadable", message, "/path")


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

    def stop(self) -> None:
        """Leave document and file alone from now on."""
        self.live.on_change = lambda: None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def start(self) -> None:
        """Take up the image, and what was written while nobody looked."""
        state = await self.live.log.file_state(self.live.ref.doc)
        if state.image is None:
            # The log was made from the file a moment ago, and its maker did not get further.
            image = self.live.document if self.live.head.rev == 0 else None
            if image is None:
                raise Refused("no_image", "the store has a log but nothing of its file")
            await self._settle(project(image), 0, state)
        else:
            self._take(state)
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

    async def _absorb_outside(self) -> bool:
        """Whether the file is ours to write now, all that others wrote being in the log."""
        path = self.live.ref.path
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
            self._report(f"what is on disk can't be read, and is left alone: {refused.message}")
            return False
        digest = digest_of(loaded.document)
        if digest != self._digest:
            state = await self.live.log.file_state(self.live.ref.doc)
            self._take(state)  # another server may have been there before us
            if digest != self._digest:
                ours = next((one for one in state.attempts if one.digest == digest), None)
                if ours is not None and time() - ours.time < ATTEMPT_SECONDS:
                    await self._settle(loaded.document, ours.rev, state)
                else:
                    await self._absorb(loaded.document, digest, state)
        self._stat = stat
        self._report(None)
        return True

    async def _absorb(self, found: Document, digest: str, state: FileState) -> None:
        """Enter what others wrote as one change, with the image as its base."""
        assert self._image is not None
        image = self._image
        found = adopt_ids(image, found)
        rev, document = self.live.head.rev, self.live.document
        theirs = await asyncio.to_thread(diff, image, found)
        if theirs:
            typed = await asyncio.to_thread(diff, image, document)
            change, _ = transform_changes(theirs, typed, later=True)
            # The name says which change of the file this is: two servers that see it enter it once.
            name = f"file:{self._image_rev}-{digest}"
            verdict = await self.live.commit(
                lambda answer: Submission(
                    client=name, n=1, base=rev, ops=change, user="file", answer=answer,
                    consume=False,
                )
            )  # fmt: skip
            if not isinstance(verdict, Accepted):
                raise OSError(f"the change on disk can't be merged: {verdict.message}")
            logger.info("ot_jupyter: %s was changed outside", self.live.ref.path)
            rev = verdict.head.rev
        await self._settle(found, rev, state)

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
            await self.files.write(self.live.ref.path, projection)
            # Read back: hooks may have changed it, and somebody else may have been faster.
            stat = await self.files.stat(self.live.ref.path)
            loaded = await self.files.read(self.live.ref.path)
            state = await self.live.log.file_state(self.live.ref.doc)
            await self._settle(projection, head.rev, state)
            found = digest_of(loaded.document)
            if found != digest and not any(one.digest == found for one in state.attempts):
                await self._absorb(loaded.document, found, state)
            self._stat = stat
        self._saved_head = head.rev
        if self._first_change == first:
            self._first_change = None

    def _take(self, state: FileState) -> None:
        assert state.image is not None
        if state.digest != self._digest:
            self._image = orjson.loads(state.image)
            self._digest = state.digest
            self._image_rev = state.rev

    async def _settle(self, image: Document, rev: int, state: FileState) -> None:
        """Set the image, and use up the attempts that it answers or that are too old."""
        digest = digest_of(image)
        old = time() - ATTEMPT_SECONDS
        used = [one.id for one in state.attempts if one.digest == digest or one.time < old]
        await self.live.log.settle_save(self.live.ref.doc, orjson.dumps(image), digest, rev, used)
        self._image, self._digest, self._image_rev = image, digest, rev

    async def close(self) -> None:
        """Save, and stop following."""
        self.stop()
        try:
            await self.sync()
        except (LogUnavailable, OSError, Refused) as error:
            self._report(str(error))
