"""Large outputs, by what the document says of them: whole, or a range of their bytes."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import ClassVar, Final

import orjson

from ..sequencer.blobs import PIECE_BYTES
from ..sequencer.log import LogUnavailable
from ..transforms import Refused
from ..transforms.blobs import BLOB_HASH
from .base import ApiHandler, guarded
from .errors import ApiError
from .paths import is_visible

_DOC: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_RANGE: Final = re.compile(r"bytes=([0-9]{0,15})-([0-9]{0,15})")
# What no browser runs. Anything else is shown as text.
_HARMLESS: Final = re.compile(
    r"image/(png|jpeg|gif|webp|bmp|avif)|(audio|video)/[a-z0-9.+-]+"
    r"|application/([a-z0-9.-]+\+)?json|text/plain"
)


class BlobHandler(ApiHandler):
    """``/api/ot/blobs/{doc}/{hash}``"""

    REQUEST_HEADERS: ClassVar[str] = f"{ApiHandler.REQUEST_HEADERS}, range, if-range"

    @guarded("read")
    async def get(self, doc: str, hash: str) -> None:
        """A content. What a hash names never changes, so it may be kept for good."""
        size = await self._size(doc, hash)
        etag = f'"{hash}"'
        self.set_header("ETag", etag)
        self.set_header("Cache-Control", "private, max-age=31536000, immutable")
        self.set_header("Accept-Ranges", "bytes")
        self.set_header("Content-Security-Policy", "sandbox")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Content-Type", harmless(self.get_query_argument("type", "")))
        if self.check_etag_header():
            self.set_status(HTTPStatus.NOT_MODIFIED)
            await self.finish()
            return
        start, end = 0, size
        if self.request.headers.get("If-Range", etag) == etag:
            found = read_range(self.request.headers.get("Range", ""), size)
            if found is not None:
                start, end = found
                if start >= end:
                    await self._finish_unsatisfiable(size)
                    return
                self.set_status(HTTPStatus.PARTIAL_CONTENT)
                self.set_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        self.set_header("Content-Length", end - start)
        if self.request.method != "HEAD":
            await self._send(doc, hash, start, end)
        await self.finish(set_content_type=self._headers["Content-Type"])

    async def _size(self, doc: str, hash: str) -> int:
        log = self.sequencer.log
        if _DOC.fullmatch(doc) and BLOB_HASH.fullmatch(hash):
            ref = await log.get(doc)
            if ref is not None and await is_visible(self.contents_manager, ref.path):
                size = await log.blob_size(doc, hash)
                if size is not None:
                    return size
        raise Refused("not_found", "there is no such output, or not any more", "/hash")

    async def _send(self, doc: str, hash: str, start: int, end: int) -> None:
        """Write the bytes as fast as they are taken."""
        while start < end:
            upto = min(end, start + PIECE_BYTES)
            piece = await self.sequencer.log.read_blob(doc, hash, start, upto)
            if len(piece) != upto - start:
                raise LogUnavailable("the output was forgotten while it was read")
            self.write(piece)
            await self.flush()
            start = upto

    async def _finish_unsatisfiable(self, size: int) -> None:
        error = ApiError(
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            "out_of_range",
            f"the output has {size} bytes",
            "/Range",
        )
        self.clear_header("ETag")
        self.set_header("Cache-Control", "no-cache")
        self.set_header("Content-Range", f"bytes */{size}")
        self.set_status(error.status_code)
        await self.finish(orjson.dumps(error.body()))


def harmless(media_type: str) -> str:
    """The ``Content-Type`` for what is said to be of that type."""
    media_type = media_type.lower()
    if media_type == "text/plain" or not _HARMLESS.fullmatch(media_type):
        return "text/plain; charset=UTF-8"
    return media_type


def read_range(header: str, size: int) -> tuple[int, int] | None:
    """The bytes that a ``Range`` asks for, from, up to; none of them if it begins behind the end.
    None: all, as there is no range, more than one, or one that can't be read."""
    match = _RANGE.fullmatch(header.strip())
    if match is None or match[0] == "bytes=-":
        return None
    first, last = match[1], match[2]
    if not first:
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    return int(first), min(size, int(last) + 1) if last else size
