"""A JSON Patch as operations, and what is wrong with those told in the patch's own words."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

from ..transforms import Change, Document, Refused, check_change, is_notebook, pointer, segments
from ..transforms.jsonpatch import resolve_patch
from .errors import patch_error


def resolve(document: Document, patch: list[Any]) -> Change:
    """The operations that a patch stands for in this document, its tests among them.

    Raises ``ApiError`` for what is no patch, does not fit the document, or is not for clients.
    """
    try:
        ops = resolve_patch(document, patch)
    except Refused as refused:
        raise patch_error(refused, refused.pointer) from None
    forbidden = _not_for_clients(document, ops)
    if forbidden is not None:
        raise patch_error(forbidden, _culprit(document, patch))
    return ops


def test_place(patch: list[Any], ops: Change, place: str) -> str:
    """The place in the patch of a test, given its place in the operations: tests keep their order,
    while other operations may become none, one or more."""
    index, *inner = segments(place)
    before = sum(one["op"] == "test" for one in ops[: int(index)])
    tests = [i for i, one in enumerate(patch) if one["op"] == "test"]
    return pointer(tests[before], *inner)


def _not_for_clients(document: Document, ops: Change) -> Refused | None:
    writes = [one for one in ops if one["op"] != "test"]
    try:
        check_change(writes, notebook=is_notebook(document), from_client=True)
    except Refused as refused:
        return refused
    return None


def _culprit(document: Document, patch: list[Any]) -> str:
    """The pointer of the first operation of the patch that does what is not for clients."""

    def is_guilty(count: int) -> bool:
        try:
            return _not_for_clients(document, resolve_patch(document, patch[:count])) is not None
        except Refused:  # so far it is no notebook
            return False

    index = bisect_left(range(1, len(patch)), True, key=is_guilty)
    return pointer(index, "value" if "value" in patch[index] else "path")
