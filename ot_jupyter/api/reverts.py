"""Taking back what is in the log: an outside change of the file, or anybody's."""

from __future__ import annotations

from http import HTTPStatus
from typing import ClassVar

import orjson

from ..sequencer.pen import Accepted
from ..transforms import Operation, Refused, check_change, invert, is_notebook
from ..transforms.check import client_cell
from .base import guarded
from .changes import ChangeHandler, state_of
from .errors import ApiError, bad_argument
from .past import check_not_ahead, document_at, entries_since


class RevertsHandler(ChangeHandler):
    """``/api/ot/reverts/{path}``"""

    METHODS: ClassVar[tuple[str, ...]] = ("POST",)

    @guarded("write")
    async def post(self, path: str) -> None:
        """Take one entry back, in one change; what came after it stays."""
        rev = self._read_rev()
        author = self.read_author()
        live = await self.open(path)
        if await self.is_repeat(live, author):
            return
        check_not_ahead(live, rev, "rev")
        (entry,) = await entries_since(live, rev - 1, 1)
        before = await document_at(live, rev - 1)
        inverse = [_restorable(one) for one in invert(before, entry.ops)]
        try:
            check_change(inverse, notebook=is_notebook(before), from_client=True)
        except Refused as refused:
            message = f"what entry {rev} did is not for clients to take back: {refused.message}"
            raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, refused.code, message, "/rev") from None
        verdict = await self.commit(live, author, entry.head, inverse)
        if not isinstance(verdict, Accepted):
            raise ApiError(
                HTTPStatus.CONFLICT, verdict.code, verdict.message, "/rev", **state_of(live.head)
            )
        await self.finish_state(live, verdict.head)

    def _read_rev(self) -> int:
        """The revision that the entry made. Raises ``ApiError``."""
        try:
            value = orjson.loads(self.request.body)
        except orjson.JSONDecodeError as error:
            raise bad_argument("body", f"the body is not JSON: {error}") from None
        rev = value.get("rev") if type(value) is dict and len(value) == 1 else None
        if type(rev) is not int or rev < 1:
            raise bad_argument("rev", 'the body is {"rev": REVISION}, a number from 1')
        return rev


def _restorable(operation: Operation) -> Operation:
    """The operation as a client may submit it: in a cell that comes back nothing runs."""
    if operation["op"] == "add":
        return {**operation, "value": client_cell(operation["value"])}
    return operation
