"""Documents: which are open, what is in one, and changes of one as JSON Patches."""

from __future__ import annotations

import asyncio
import re
from http import HTTPStatus
from typing import ClassVar

import orjson

from ..sequencer.blobs import in_full
from ..sequencer.entry import Head
from ..sequencer.live import LiveDocument
from ..sequencer.pen import Accepted
from ..sequencer.sequencer import Open
from ..transforms import Document, Refused, is_notebook
from ..transforms.blobs import OUTPUT_LIMIT, Contents, detach_within
from ..transforms.notebook import document_notebook
from ..transforms.values import Json
from .base import ApiHandler, guarded, read_state
from .changes import ChangeHandler, state_of
from .errors import ApiError, bad_argument, patch_error
from .past import check_not_ahead, document_at, entries_since, head_at
from .patches import resolve, test_place
from .paths import is_visible

JSON_PATCH = "application/json-patch+json"
_ETAG = re.compile(r'(W/)?"([^"]*)"')
_ETAGS = re.compile(rf"\s*{_ETAG.pattern}\s*(,\s*{_ETAG.pattern}\s*)*")
_KEY = re.compile(r"[\x21-\x7e]{1,200}")


class DocumentsHandler(ApiHandler):
    """``/api/ot/documents``"""

    @guarded("read")
    async def get(self) -> None:
        """The documents that are open on this server."""
        opens = list(self.sequencer.open_documents.values())
        visible = [
            one for one in opens if await is_visible(self.contents_manager, one.live.ref.path)
        ]
        visible.sort(key=lambda one: one.live.ref.path)
        await self.finish_json({"documents": [_summary(one) for one in visible]})


def _summary(one: Open) -> dict[str, Json]:
    live = one.live
    sockets = [each for each in live.subscriptions if not each.client.startswith("rest:")]
    return {
        "path": live.ref.path,
        "doc": live.ref.doc,
        "kind": live.ref.kind,
        "rev": live.head.rev,
        "hash": live.head.hash,
        "clients": len(sockets),
        "stalled": live.stalled,
        "problem": one.file.problem,
    }


class DocumentHandler(ChangeHandler):
    """``/api/ot/documents/{path}``"""

    METHODS: ClassVar[tuple[str, ...]] = ("GET", "HEAD", "PATCH")

    # Reading.

    @guarded("read")
    async def get(self, path: str) -> None:
        """The notebook or text, now or at an old revision, with its state as ETag."""
        rev = self.number_argument("rev")
        live = await self.open_to_read(path)
        if rev is None:
            state, document = live.head, live.document
        else:
            check_not_ahead(live, rev, "rev")
            state, document = await head_at(live, rev), await document_at(live, rev)
        self.set_state(state)
        if self.check_etag_header():
            self.set_status(HTTPStatus.NOT_MODIFIED)
            await self.finish()
        elif is_notebook(document):
            document = await in_full(live.log, live.ref.doc, document)
            await self.finish(await asyncio.to_thread(_notebook_json, document))
        else:
            text = document["source"].encode()
            await self.finish(text, set_content_type="text/plain; charset=UTF-8")

    # Changing.

    @guarded("write")
    async def patch(self, path: str) -> None:
        """Change the document by a JSON Patch, all of it or nothing."""
        patch = self._read_patch()
        contents: Contents = {}
        if len(self.request.body) > OUTPUT_LIMIT:  # outputs as they are read, in full
            patch, contents = await asyncio.to_thread(detach_within, patch)
        conditions = [
            self.get_query_argument("base", ""),
            self.request.headers.get("If-Match", ""),
        ]
        author = self.read_author(*conditions)
        live = await self.open(path)
        if await self.is_repeat(live, author):
            return
        base, strict = await self._base(live, *conditions)
        document = await document_at(live, base.rev)
        ops = await asyncio.to_thread(resolve, document, patch)
        await live.log.put_blobs(live.ref.doc, contents)
        verdict = await self.commit(live, author, base, ops, strict=strict)
        if isinstance(verdict, Accepted):
            await self.finish_state(live, verdict.head)
        elif verdict.code == "moved":
            raise _moved(live)
        else:
            between = await entries_since(live, base.rev)
            wires = [orjson.Fragment(entry.wire()) for entry in between]
            at = verdict.pointer.removeprefix("/ops")
            if verdict.code == "test_failed":
                at = test_place(patch, ops, at)
            raise patch_error(verdict, at, entries=wires, **state_of(live.head))

    def _read_patch(self) -> list[Json]:
        """The body. Raises ``ApiError``."""
        content_type = self.request.headers.get("Content-Type", "")
        if content_type.partition(";")[0].strip().lower() != JSON_PATCH:
            message = f"a change comes as {JSON_PATCH}, not as {content_type or 'nothing named'}"
            raise ApiError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
        if len(self.request.body) > self.limits.message_bytes:
            raise patch_error(_too_large(f"{self.limits.message_bytes} bytes"), "")
        try:
            patch = orjson.loads(self.request.body)
        except orjson.JSONDecodeError as error:
            raise patch_error(Refused("not_json", f"the body is not JSON: {error}"), "") from None
        if type(patch) is not list:
            raise patch_error(Refused("bad_patch", "a JSON Patch is a list of operations"), "")
        if len(patch) > self.limits.change_operations:
            raise patch_error(_too_large(f"{self.limits.change_operations} operations"), "")
        if _nests_deeper(patch, self.limits.depth):
            message = f"values nest at most {self.limits.depth} deep"
            raise patch_error(Refused("too_deep", message), "")
        return patch

    async def _base(self, live: LiveDocument, base: str, match: str) -> tuple[Head, bool]:
        """The state that the patch speaks of, and whether it must still be the head when the
        patch's turn comes."""
        named = read_state(base, "base") if base else None
        if match and match.strip() != "*":
            if not _ETAGS.fullmatch(match):
                raise bad_argument("If-Match", f"a list of ETags, or *: not {match}")
            # Weak ones never match here, says HTTP.
            strong = [tag for weak, tag in _ETAG.findall(match) if not weak]
            if live.head.etag not in strong:
                raise _moved(live)
            if named is not None and named != live.head:
                raise bad_argument("base", "base and If-Match name different states")
            return live.head, True
        if named is None:
            return live.head, False
        if named.rev > live.head.rev or await head_at(live, named.rev) != named:
            message = "the document never was in that state: get it again"
            raise ApiError(
                HTTPStatus.CONFLICT, "unknown_base", message, "/base", **state_of(live.head)
            )
        return named, False


def _notebook_json(document: Document) -> bytes:
    return orjson.dumps(document_notebook(document))


def _moved(live: LiveDocument) -> ApiError:
    message = f"the document is at {live.head.etag} now"
    return ApiError(HTTPStatus.PRECONDITION_FAILED, "moved", message, "", **state_of(live.head))


def _too_large(most: str) -> Refused:
    return Refused("too_large", f"a change has at most {most}")


def _nests_deeper(value: Json, depth: int) -> bool:
    """Whether lists and objects nest deeper than that. Level by level: the depth is the sender's
    choice, the stack is ours."""
    level = [value]
    while level and depth >= 0:
        depth -= 1
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return bool(level)
