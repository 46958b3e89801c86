"""What a document was: states and entries before its head.

What the pen holds in memory is taken from there, the rest from the log. All of it raises
``ApiError`` (404 ``unknown_revision``: not yet; 410 ``trimmed``: not any more) and
``LogUnavailable``.
"""

from __future__ import annotations

from http import HTTPStatus

from ..sequencer.entry import Entry, Head
from ..sequencer.live import LiveDocument
from ..transforms import Document, apply
from .errors import ApiError


def _trimmed(rev: int, floor: int) -> ApiError:
    message = f"revision {rev} can't be reached any more, only those from {floor} on"
    return ApiError(HTTPStatus.GONE, "trimmed", message, floor=floor)


def check_not_ahead(live: LiveDocument, rev: int, name: str) -> None:
    """Raise if the document has no such revision yet; ``name`` is the argument's."""
    if rev > live.head.rev:
        message = f"the document is at revision {live.head.rev}, not yet at {rev}"
        raise ApiError(HTTPStatus.NOT_FOUND, "unknown_revision", message, f"/{name}")


async def entries_since(live: LiveDocument, since: int, limit: int | None = None) -> list[Entry]:
    """At most ``limit`` entries after a revision, oldest first."""
    if since >= live.pen.window_floor.rev:
        entries = live.pen.entries_after(since)
        return entries if limit is None else entries[:limit]
    if since < live.pen.floor:
        raise _trimmed(since, live.pen.floor)
    entries = await live.log.read(live.ref.doc, since, limit)
    if not entries:
        raise _trimmed(since, live.head.rev)
    if entries[0].rev != since + 1:  # another server trimmed the log, or we did just now
        raise _trimmed(since, entries[0].rev - 1)
    return entries


async def head_at(live: LiveDocument, rev: int) -> Head:
    """The name of the state at a revision."""
    known = live.pen.hash_at(rev)
    if known is not None:
        return Head(rev, known)
    for entry in await live.log.read(live.ref.doc, max(rev - 1, 0), 1):
        if entry.rev == rev:
            return entry.head
    loaded = await live.log.load(live.ref.doc)  # the state at the floor has no entry left
    if loaded is not None and loaded.snapshot.rev == rev:
        return loaded.snapshot.head
    raise _trimmed(rev, max(rev + 1, live.pen.floor))


async def document_at(live: LiveDocument, rev: int) -> Document:
    """The document at a revision, made from the nearest state before it that is kept."""
    document = live.pen.document_at(rev)
    if document is not None:
        return document
    loaded = await live.log.load(live.ref.doc)
    if loaded is None or not loaded.snapshot.rev <= rev <= loaded.head.rev:
        raise _trimmed(rev, live.pen.anchor.rev)
    document = loaded.snapshot.document
    for entry in loaded.entries[: rev - loaded.snapshot.rev]:
        document = apply(document, entry.ops)
    return document
