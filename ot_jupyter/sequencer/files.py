"""Reading and writing documents through a ContentsManager.

Where its files are plain bytes on this machine they are read and written by ``disk.py``, which
does more than a manager's ``save`` can: exchange in one step, and see what was displaced. With any
other manager it is its ``get`` and ``save``; what a program writes between the last look and
``save`` can't be seen then, and what the manager makes of a notebook is known by reading back.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from itertools import zip_longest
from pathlib import Path
from time import time
from typing import Any, TypeVar, cast

import nbformat
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

from ..transforms import Document, Refused, is_notebook
from ..transforms.blobs import Contents, attach_document, detach_document
from ..transforms.notebook import (
    document_notebook,
    notebook_document,
    read_notebook,
    text_document,
)
from . import disk
from .log import Attempt
from .projection import Lost, Staged, Stat, Written, digest_of

# Managers whose files are plain bytes on this machine: what they hold as text is the file itself.
# (A subclass may convert, as jupytext's does: it is asked for the notebook.)
_PLAIN = (
    FileContentsManager,
    LargeFileManager,
    AsyncFileContentsManager,
    AsyncLargeFileManager,
)

STALE_SECONDS = 60.0  # a staged file that is older and belongs to no save was left behind

logger = logging.getLogger("ot_jupyter")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Loadable:
    """A file that can be a document."""

    path: str
    kind: str  # "notebook" or "text"
    document: Document  # refers to its large outputs
    contents: Contents  # of these


def detached(document: Document) -> tuple[Document, Contents]:
    """What was read from outside, with references to its large outputs, and their contents. What
    it brings as references are none: only who has a content can tell its name."""
    return detach_document(attach_document(document, {}))


class Files:
    """Files as documents, by API paths. Every method may raise ``OSError``."""

    def __init__(self, contents: Any) -> None:
        self.contents = contents
        self.plain = type(contents) in _PLAIN
        self._staged: dict[str, Document] = {}  # where there is no file beside

    async def _ask(self, value: T | Awaitable[T]) -> T:
        return cast(T, await ensure_async(value))

    def os_path(self, path: str) -> str | None:
        """Where a file is on this machine, if it is a plain one."""
        return cast(str, self.contents._get_os_path(path)) if self.plain else None

    def os_paths(self, paths: Iterable[str]) -> dict[str, str]:
        """The paths that plain files have on this machine, and those they have here."""
        places = ((self.os_path(path), path) for path in paths)
        return {place: path for place, path in places if place is not None}

    async def real_path(self, path: str) -> str:
        """The API path of the file itself: two links to one file are one document. A file outside
        of the root folder goes by the link's path."""
        if not self.plain:
            return path
        os_path, root = self.contents._get_os_path(path), self.contents.root_dir
        return await asyncio.to_thread(_real_path, os_path, root) or path

    async def stat(self, path: str) -> Stat | None:
        """What changes when the file changes; None if there is no file."""
        try:
            if self.plain:
                try:
                    return await asyncio.to_thread(disk.file_stat, self.contents._get_os_path(path))
                except (FileNotFoundError, NotADirectoryError):
                    return None
            model = await self._ask(self.contents.get(path, content=False))
        except HTTPError as error:
            if error.status_code == 404:
                return None
            raise OSError(error.log_message) from None
        return (model.get("last_modified"), model.get("size"), model.get("type"))

    async def fingerprint(self, path: str) -> str:
        """A name for what is in a file: for its bytes, or what the manager makes of them."""
        os_path = self.os_path(path)
        if os_path is not None:
            return await asyncio.to_thread(_fingerprint, os_path)
        try:
            document = (await self.read(path)).document
        except Refused as refused:
            return refused.code
        return await asyncio.to_thread(digest_of, document)

    async def moved_to(self, path: str, known: Stat) -> str | None:
        """The API path that a plain file has now which was at ``path``, if it is near there."""
        os_path = self.os_path(path)
        if os_path is None:
            return None
        root = self.contents.root_dir
        found = await asyncio.to_thread(disk.find_moved, os_path, cast(Any, known), root)
        return None if found is None else await asyncio.to_thread(_real_path, found, root)

    async def read(self, path: str) -> Loadable:
        """The file as a document. Raises :class:`Refused` (``not_found``, ``is_directory``,
        ``not_text``, ``not_json``, ``not_a_notebook``, …)."""
        if self.plain:
            return await asyncio.to_thread(_read, self.contents._get_os_path(path), path)
        try:
            model = await self._ask(self.contents.get(path, content=True))
        except HTTPError as error:
            raise _refusal(error) from None
        if model["type"] == "notebook":
            again = await self._ask(self.contents.get(path, content=True))
            content = _without_new_ids(model["content"], again["content"])
            document = await asyncio.to_thread(notebook_document, content)
            return Loadable(path, "notebook", *await asyncio.to_thread(detached, document))
        if model["type"] == "directory":
            raise Refused("is_directory", f"{path!r} is a folder", "/path")
        if model.get("format") != "text":
            raise Refused("not_text", f"{path!r} is not a text in UTF-8", "/path")
        return Loadable(path, "text", text_document(model["content"]), {})

    # Writing: see the requests in ``projection.py``.

    async def stage(
        self, path: str, attempt: str, projection: Document, contents: Contents
    ) -> Staged:
        """Write what is to be saved beside the file, or keep it for ``put``. ``contents`` are those
        of the large outputs."""
        full = await asyncio.to_thread(attach_document, projection, contents)
        if not self.plain:
            self._staged[attempt] = full
            return await asyncio.to_thread(_staged, full)
        # As the manager's own save does: its hooks may change what is saved.
        content = await asyncio.to_thread(_model, full)
        hooked = self.contents.pre_save_hook is not None or bool(self.contents._pre_save_hooks)
        try:
            self.contents.run_pre_save_hooks(model=content, path=path)
        except HTTPError as error:
            raise OSError(error.log_message or "a hook refuses the save") from None
        if content["type"] == "notebook":
            node = await asyncio.to_thread(nbformat.from_dict, content["content"])
            if self.contents.notary.check_cells(node):
                self.contents.notary.sign(node)
            content["content"] = node
        os_path = self.contents._get_os_path(path)
        return await asyncio.to_thread(_stage, os_path, attempt, content, full, hooked)

    async def put(self, path: str, attempt: str, seen: Stat | None) -> Written | Lost | None:
        """Exchange the file with the staged one."""
        if not self.plain:
            return await self._save(path, attempt, seen)
        os_path = self.contents._get_os_path(path)
        try:
            stat = await asyncio.to_thread(disk.put, os_path, attempt, cast(Any, seen))
        except FileNotFoundError:
            return Lost()
        if stat is None:
            return None
        try:
            await self._follow_up(path, os_path)
        except (HTTPError, OSError) as error:  # what was saved is saved all the same
            logger.warning("ot_jupyter: after the save of %s: %s", path, error)
        return Written(stat)

    async def _follow_up(self, path: str, os_path: str) -> None:
        """What a manager's save does after it has written."""
        contents = self.contents
        if path.endswith(".ipynb") and not await self._ask(
            contents.checkpoints.list_checkpoints(path)
        ):
            await self._ask(contents.create_checkpoint(path))
        saved = await self._ask(contents.get(path, content=False))
        contents.run_post_save_hooks(model=saved, os_path=os_path)
        contents.emit(data={"action": "save", "path": path})

    async def _save(self, path: str, attempt: str, seen: Stat | None) -> Written | Lost | None:
        full = self._staged.pop(attempt, None)
        if full is None:
            return Lost()
        if await self.stat(path) != seen:
            return None
        model = await asyncio.to_thread(_model, full)
        try:
            await self._ask(self.contents.save(model, path))
        except HTTPError as error:
            raise OSError(error.log_message or str(error)) from None
        return Written(None)

    async def discard(self, path: str, attempt: str) -> None:
        """Remove what was staged."""
        self._staged.pop(attempt, None)
        if self.plain:
            await asyncio.to_thread(disk.discard, self.contents._get_os_path(path), attempt)

    async def resolve(self, path: str, attempt: Attempt, image: str) -> bool | None:
        """Take over from a server that does not go on. ``image`` is a digest. Returns whether its
        save was made; None if that can't be told."""
        if not self.plain:
            return None
        os_path = self.contents._get_os_path(path)
        is_mine, is_image = (partial(_has_digest, one, path) for one in (attempt.digest, image))
        return await asyncio.to_thread(disk.resolve, os_path, attempt.id, is_mine, is_image)

    async def clean(self, path: str, pending: str) -> None:
        """Remove what crashed servers staged for attempts that nobody remembers."""
        if self.plain:
            os_path = self.contents._get_os_path(path)
            await asyncio.to_thread(_clean, os_path, pending)


def _real_path(os_path: str, root: str) -> str | None:
    """The API path of the file that a path of this machine leads to; None if that is outside."""
    root, real = os.path.realpath(root), os.path.realpath(os_path)
    if not real.startswith(root.rstrip(os.sep) + os.sep):
        return None
    return Path(os.path.relpath(real, root)).as_posix()


def _clean(os_path: str, pending: str) -> None:
    for attempt, written in disk.left_behind(os_path):
        if attempt != pending and time() - written > STALE_SECONDS:
            disk.discard(os_path, attempt)


def _without_new_ids(notebook: dict[str, Any], again: dict[str, Any]) -> dict[str, Any]:
    """A notebook that was read twice, less the ids that were made up in reading it, as for a
    format that has none: those of the document are made from place and content, always the same."""
    pairs: Iterable[tuple[dict[str, Any], dict[str, Any]]] = zip_longest(
        notebook["cells"], again["cells"], fillvalue={}
    )
    cells = [
        cell if cell.get("id") == other.get("id") else {**cell, "id": None} for cell, other in pairs
    ]
    return {**notebook, "cells": cells[: len(notebook["cells"])]}


def _fingerprint(os_path: str) -> str:
    try:
        return blake2b(Path(os_path).read_bytes()).hexdigest()
    except FileNotFoundError:
        return "gone"


def _read(os_path: str, path: str) -> Loadable:
    try:
        data = Path(os_path).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise Refused("not_found", "there is no such file", "/path") from None
    except IsADirectoryError:
        raise Refused("is_directory", f"{path!r} is a folder", "/path") from None
    return Loadable(path, _kind(path), *detached(_document(data, path)))


def _kind(path: str) -> str:
    return "notebook" if path.endswith(".ipynb") else "text"


def _document(data: bytes, path: str) -> Document:
    if _kind(path) == "notebook":
        return read_notebook(data)
    try:
        return text_document(data.decode())
    except UnicodeDecodeError:
        raise Refused("not_text", "the file is not a text in UTF-8", "/path") from None


def _has_digest(digest: str, path: str, data: bytes) -> bool:
    try:
        return digest_of(detached(_document(data, path))[0]) == digest
    except Refused:
        return False


def _model(full: Document) -> dict[str, Any]:
    if is_notebook(full):
        content = document_notebook(full)
        return {"type": "notebook", "format": "json", "content": content}
    return {"type": "file", "format": "text", "content": full["source"]}


def _staged(full: Document) -> Staged:
    """What will be read back: not always what it was made from, as a content may be missing."""
    document, _ = detached(full)
    return Staged(document, digest_of(document))


def _stage(
    os_path: str, attempt: str, model: dict[str, Any], full: Document, hooked: bool
) -> Staged:
    text: str = model["content"]
    if model["type"] == "notebook":
        text = nbformat.v4.writes(  # type: ignore[no-untyped-call]
            model["content"]
        )
        text += "" if text.endswith("\n") else "\n"
    data = text.encode()
    staged = _staged(_document(data, os_path) if hooked else full)
    disk.stage(os_path, attempt, data)
    return staged


def _refusal(error: HTTPError) -> Refused:
    message = error.log_message or str(error)
    if error.status_code == 404:
        return Refused("not_found", "there is no such file", "/path")
    if error.status_code == 400 and "not UTF-8" in message:
        return Refused("not_text", "the file is not a text in UTF-8", "/path")
    if error.status_code == 400 and "is a directory" in message:
        return Refused("is_directory", message, "/path")
    return Refused("unreadable", message, "/path")
