"""Jupyter's own ``/api/contents``, for documents that are open: what is read is what people see at
this moment, what is written goes into the log as one change, and what becomes of files becomes of
their documents. For everything else jupyter_server's handlers do what they always do.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from http import HTTPStatus
from time import monotonic
from typing import Any, Final, cast
from uuid import uuid4

import orjson
from jupyter_client.jsonutil import json_default
from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler, path_regex
from jupyter_server.services.contents import handlers as core
from jupyter_server.utils import ensure_async
from nbformat import from_dict
from tornado import web

from ..sequencer.blobs import in_full
from ..sequencer.entry import Head
from ..sequencer.files import detached
from ..sequencer.live import LiveDocument
from ..sequencer.live_file import LiveFile
from ..sequencer.log import LogUnavailable
from ..sequencer.pen import Rejected, Submission
from ..sequencer.projection import merge, project
from ..sequencer.sequencer import Sequencer
from ..transforms import Change, Document, Refused, is_notebook
from ..transforms.blobs import Contents, attach_document
from ..transforms.diff import adopt_ids
from ..transforms.notebook import document_notebook, notebook_document, text_document
from .base import requester_of
from .copies import Copies, Copy, chosen
from .errors import ApiError, as_api_error
from .limits import ApiLimits
from .paths import visible_path

logger = logging.getLogger("ot_jupyter")

RETRIES: Final = 60  # of telling the store of a move, while it is away
RETRY_SECONDS: Final = 1.0


class _Handler(APIHandler):
    """What the handlers share. They stand before those of jupyter_server that they inherit from."""

    @property
    def sequencer(self) -> Sequencer:
        return cast(Sequencer, self.settings["ot_jupyter"])

    async def real_path(self, path: str) -> str | None:
        """The path of the file itself; None if a request may not name this one."""
        try:
            path = await visible_path(self.contents_manager, path)
            return await self.sequencer.files.real_path(path)
        except Refused:
            return None

    @property
    def manager(self) -> Any:
        """The contents manager."""
        return self.contents_manager

    async def save_under(self, path: Any) -> None:
        """Have the files at a path, or in the folder that is there, hold what people see. Where
        that can't be, it is as if they had typed a moment later."""
        real = await self.real_path(path) if isinstance(path, str) else None
        for one in [] if real is None else self.sequencer.under(real):
            await self.save_quietly(one.file)

    async def save_quietly(self, file: LiveFile) -> None:
        try:
            await file.flush()
        except (LogUnavailable, OSError, Refused) as error:
            logger.warning("ot_jupyter: %s could not be saved: %s", file.path, error)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs["exc_info"][1] if "exc_info" in kwargs else None
        if isinstance(error, ApiError):
            self.finish(orjson.dumps(error.body()))
        else:
            super().write_error(status_code, **kwargs)


class ContentsHandler(_Handler, core.ContentsHandler):
    """``/api/contents/{path}``"""

    _answer: Callable[[], None] | None = None
    _waits = False  # with the answer

    def _finish_model(self, model: dict[str, Any], location: bool = True) -> None:
        answer = partial(super()._finish_model, model, location)
        if self._waits:
            self._answer = answer
        else:
            answer()

    @property
    def copies(self) -> Copies:
        return cast(Copies, self.settings["ot_jupyter_copies"])

    def _file(self, live: LiveDocument) -> LiveFile:
        return self.sequencer.open_documents[live.ref.doc].file

    async def find(self, path: str) -> LiveDocument | None:
        """The document of a path, if it is open, or if this user holds a copy of it: then it is
        opened again."""
        if not self.sequencer.open_documents and not len(self.copies):
            return None
        real = await self.real_path(path)
        if real is None:
            return None
        one = self.sequencer.find(real)
        if one is not None:
            one.live.touched = monotonic()  # it stays open while this is answered
            return one.live
        with contextlib.suppress(LogUnavailable, OSError, Refused):
            ref = await self.sequencer.log.find(real)
            if ref is not None and self.copies.of(requester_of(self), ref.doc):
                return await self.sequencer.open(real)
        return None

    # Reading.

    @web.authenticated
    @authorized
    async def get(self, path: str = "") -> None:
        """The model of a file or folder. That of an open document has the text of this moment."""
        content = self.get_query_argument("content", "1")
        wants_hash = self.get_query_argument("hash", "0") == "1"
        live = await self.find(path) if content == "1" or wants_hash else None
        if live is None:
            await _promised(super().get(path))
        elif content == "1" and self._is_plain_question(live):
            await self._get_live(live, path, wants_hash)
        elif content == "0" and self.copies.of(requester_of(self), live.ref.doc):
            model = await self._model(path, hash=True)
            self._set_hash(model, live)
            self._finish_model(model, location=False)
        else:
            await _promised(super().get(path))

    def _is_plain_question(self, live: LiveDocument) -> bool:
        """Whether the live document is what is asked for. Else it is the file: as base64, say."""
        format = self.get_query_argument("format", None)
        return format in (None, "text") and self.get_query_argument("type", None) in (
            None,
            _model_type(live),
        )

    async def _get_live(self, live: LiveDocument, path: str, wants_hash: bool) -> None:
        with contextlib.suppress(LogUnavailable):
            await live.in_step()
        if wants_hash:  # of a file that holds what is read, if it can
            await self.save_quietly(self._file(live))
        model = await self._model(path, hash=wants_hash)
        head, document = live.head, live.document
        copy = await asyncio.to_thread(_copy, head, document)
        self.copies.read(requester_of(self), live.ref.doc, copy)
        if wants_hash:
            self._set_hash(model, live)
        if is_notebook(document):
            try:
                document = await in_full(live.log, live.ref.doc, document)
            except LogUnavailable as error:  # an excerpt might be saved as if it were all
                raise as_api_error(error) from error
            notebook = await asyncio.to_thread(_notebook, document)
            self.manager.mark_trusted_cells(notebook, path)
            model |= {"type": "notebook", "format": "json", "content": notebook}
        else:
            model |= {"type": "file", "format": "text", "content": document["source"]}
            model["mimetype"] = model["mimetype"] or "text/plain"
        _check(model, content=True)
        self.set_header("Last-Modified", model["last_modified"])
        await self.finish(await asyncio.to_thread(_json, model))

    async def _model(self, path: str, hash: bool = False) -> dict[str, Any]:
        """The file's model without content, as the manager gives it."""
        get = partial(self.manager.get, path=path, content=False)
        try:
            model = await ensure_async(get(require_hash=True) if hash else get())
        except TypeError:  # a manager that does not know of hashes
            model = await ensure_async(get())
        _check(model, content=False)
        return cast(dict[str, Any], model)

    def _set_hash(self, model: dict[str, Any], live: LiveDocument) -> None:
        hash = model.get("hash")
        model["hash"] = self.copies.told_hash(requester_of(self), live.ref.doc, hash)

    # Writing.

    @web.authenticated
    @authorized
    async def put(self, path: str = "") -> None:
        """Save a file. What is written to an open document becomes one change of it."""
        live = await self.find(path)
        model = None if live is None else self.get_json_body()
        if live is None or not isinstance(model, dict) or not _is_whole(model, live):
            await _promised(super().put(path))
            return
        exists = await ensure_async(self.manager.file_exists(path))
        try:
            found, contents = await asyncio.to_thread(_document, model)
        except Refused as refused:
            message = f"what is to be saved is not valid: {refused.message}"
            at = "/content" + refused.pointer
            raise ApiError(HTTPStatus.BAD_REQUEST, refused.code, message, at) from None
        try:
            await live.log.put_blobs(live.ref.doc, contents)
            written = await self._within_limits(self._enter(live, found))
            await self._write(live)
        except PermissionError as error:
            message = f"the change is kept, but not in the file: {error.strerror}"
            raise ApiError(HTTPStatus.FORBIDDEN, "file_unavailable", message) from None
        except (LogUnavailable, OSError, Refused) as error:
            raise as_api_error(error) from error
        if is_notebook(written) and self.manager.notary.check_cells(_node(model["content"])):
            # As jupyter_server does: what the user trusts is trusted, if it is what was saved.
            full = await asyncio.to_thread(attach_document, written, contents)
            self.manager.notary.sign(await asyncio.to_thread(_notebook, full))
        self.set_status(HTTPStatus.OK if exists else HTTPStatus.CREATED)
        self._finish_model(await self._model(path))

    async def _within_limits(self, entering: Coroutine[Any, Any, Document]) -> Document:
        """Wait for it as long as anybody waits. It goes on after that: what is committed later
        must be known when the request is repeated."""
        task = asyncio.ensure_future(entering)
        _entering.add(task)
        task.add_done_callback(_entered)
        limits = cast(ApiLimits, self.settings["ot_jupyter_limits"])
        done, _ = await asyncio.wait({task}, timeout=limits.wait_seconds)
        if not done:
            raise LogUnavailable("it does not answer in time")
        return task.result()

    async def _enter(self, live: LiveDocument, found: Document) -> Document:
        """Enter what was changed by who wrote this. The next that he writes has to wait: it speaks
        of what he holds after this. Returns what he wrote, with the ids that its cells have."""
        doc, user = live.ref.doc, requester_of(self)
        async with self.copies.lock(user, doc):
            await live.in_step()
            over, held, since = await self._base(live, found)
            found = await asyncio.to_thread(adopt_ids, held, found)
            head, document = live.head, live.document
            known = live.pen.hash_at(since.rev) == since.hash
            past = self._file(live).projection.past(since.rev) if known else None
            ops = await asyncio.to_thread(merge, held, found, document, past)
            if ops:
                head = await self._commit(live, head, ops)
            self.copies.wrote(user, doc, over, await asyncio.to_thread(Copy.pack, head, found))
        return found

    async def _base(
        self, live: LiveDocument, found: Document
    ) -> tuple[Copy | None, Document, Head]:
        """What the writer held, and the state of the document since which he holds it; if nothing
        is known of him, what is on disk."""
        copies = self.copies.of(requester_of(self), live.ref.doc)
        if not copies:
            projection = self._file(live).projection
            assert projection.image is not None  # the file of an open document has been seen
            rev = projection.image_rev
            return None, projection.image.document, Head(rev, live.pen.hash_at(rev) or "")
        held = [await asyncio.to_thread(copy.unpack) for copy in copies]
        index = await asyncio.to_thread(chosen, held, found)
        return copies[index], held[index], copies[index].head

    async def _commit(self, live: LiveDocument, base: Head, ops: Change) -> Head:
        client, user = f"contents:{uuid4().hex}", self.current_user.username
        verdict = await live.commit(
            lambda answer: Submission(
                client=client, n=1, base=base, ops=ops, user=user, answer=answer, consume=False
            )
        )
        if isinstance(verdict, Rejected):
            raise Refused(verdict.code, verdict.message, verdict.pointer)
        return verdict.head

    async def _write(self, live: LiveDocument) -> None:
        """Write the file, also if it is gone. Raises ``OSError`` if it can't follow."""
        await self.sequencer.flush(live, make=True)
        problem = self._file(live).problem
        if problem is not None:
            raise OSError(problem)

    # Files that come and go.

    @web.authenticated
    @authorized
    async def post(self, path: str = "") -> None:
        """Make a new file: a copy has what people see in the original."""
        model = self.get_json_body()
        if isinstance(model, dict):
            await self.save_under(model.get("copy_from"))
        await _promised(super().post(path))

    @web.authenticated
    @authorized
    async def patch(self, path: str = "") -> None:
        """Move a file or folder; its documents go along before it is answered: who asks for the
        new path from then on finds them."""
        model = self.get_json_body()
        new = model.get("path") if isinstance(model, dict) else None
        await self.save_under(path)
        self._waits = True
        await _promised(super().patch(path))
        if isinstance(new, str) and new.strip("/") != path.strip("/"):
            try:
                await self.sequencer.moved(path.strip("/"), new.strip("/"))
            except LogUnavailable as error:  # it is tried again, see ``listener``
                logger.warning("ot_jupyter: %s is %s now, and the store: %s", path, new, error)
        if self._answer is not None:
            self._answer()


class CheckpointsHandler(_Handler, core.CheckpointsHandler):
    """``/api/contents/{path}/checkpoints``"""

    @web.authenticated
    @authorized
    async def post(self, path: str = "") -> None:
        """A new checkpoint, of what people see."""
        await self.save_under(path)
        await _promised(super().post(path))


class ModifyCheckpointsHandler(_Handler, core.ModifyCheckpointsHandler):
    """``/api/contents/{path}/checkpoints/{checkpoint_id}``"""

    @web.authenticated
    @authorized
    async def post(self, path: str, checkpoint_id: str) -> None:
        """Restore the file: as if another program had written it."""
        await _promised(super().post(path, checkpoint_id))
        await self.sequencer.changed(path.strip("/"))


def listener(sequencer: Sequencer) -> Callable[..., Coroutine[Any, Any, None]]:
    """Hears of what a contents manager does, whoever asked it to."""

    async def hear(logger: Any, schema_id: str, data: dict[str, Any]) -> None:
        if data["action"] == "rename":
            await _move(sequencer, data["source_path"].strip("/"), data["path"].strip("/"))
        elif data["action"] in ("delete", "save"):
            await sequencer.changed(data["path"].strip("/"))

    return hear


async def _move(sequencer: Sequencer, old: str, new: str) -> None:
    for _ in range(RETRIES):
        try:
            await sequencer.moved(old, new)
            return
        except LogUnavailable:
            await asyncio.sleep(RETRY_SECONDS)


_entering: set[asyncio.Task[Document]] = set()  # the loop itself does not hold tasks


def _entered(task: asyncio.Task[Document]) -> None:
    _entering.discard(task)
    if not task.cancelled():
        task.exception()  # it may be that nobody waits for it any more


def _promised(answer: Awaitable[None] | None) -> Awaitable[None]:
    """What a method of jupyter_server's handlers returns to who may call it."""
    assert answer is not None
    return answer


def _model_type(live: LiveDocument) -> str:
    return "notebook" if live.notebook else "file"


def _check(model: dict[str, Any], *, content: bool) -> None:
    core.validate_model(model, expect_content=content)  # type: ignore[no-untyped-call]


def _is_whole(model: dict[str, Any], live: LiveDocument) -> bool:
    """Whether a model to be saved is all of such a document."""
    if model.get("chunk") or model.get("copy_from") or "content" not in model:
        return False
    return model.get("type") == _model_type(live) and (
        live.notebook or model.get("format") == "text"
    )


def _document(model: dict[str, Any]) -> tuple[Document, Contents]:
    """The document in a model, and the contents of its large outputs. Raises :class:`Refused`,
    with a pointer into the content."""
    content = model["content"]
    if model["type"] == "notebook":
        return detached(notebook_document(content))
    if not isinstance(content, str):
        raise Refused("wrong_type", "the content of a text file is a string")
    return text_document(content), {}


def _copy(head: Head, document: Document) -> Copy:
    return Copy.pack(head, project(document))


def _node(notebook: Any) -> Any:
    return from_dict(notebook)  # type: ignore[no-untyped-call]


def _notebook(document: Document) -> Any:
    return _node(document_notebook(document))


def _json(model: dict[str, Any]) -> bytes:
    return orjson.dumps(model, default=json_default, option=orjson.OPT_PASSTHROUGH_DATETIME)


handlers: Final[list[tuple[str, type[APIHandler] | type[web.RequestHandler]]]] = [
    (rf"/api/contents{path_regex}/checkpoints", CheckpointsHandler),
    (
        rf"/api/contents{path_regex}/checkpoints/(?P<checkpoint_id>[\w-]+)",
        ModifyCheckpointsHandler,
    ),
    # Not ours, but as it stands the path that comes next would take it.
    (rf"/api/contents{path_regex}/trust", core.TrustNotebooksHandler),
    (rf"/api/contents{path_regex}", ContentsHandler),
]
