"""Which paths a request or message may name."""

from __future__ import annotations

from typing import Any

from jupyter_server.utils import ensure_async
from tornado.web import HTTPError

from ..sequencer.sequencer import canonical_path
from ..transforms import Refused


async def is_visible(contents: Any, path: str) -> bool:
    """Whether jupyter_server shows what is at a canonical path, if something is."""
    try:
        return bool(contents.allow_hidden or not await ensure_async(contents.is_hidden(path)))
    except OSError:  # no file can have such a name: it is too long, say
        return False


async def visible_path(contents: Any, path: str) -> str:
    """The canonical path. Raises :class:`Refused` for one that leaves the root, and for one that
    is hidden, which looks as if it weren't there."""
    path = canonical_path(path)
    try:
        if await is_visible(contents, path):
            return path
    except HTTPError as error:
        raise Refused("bad_path", error.log_message or "there is no such path", "/path") from None
    raise Refused("not_found", "there is no such file", "/path")
