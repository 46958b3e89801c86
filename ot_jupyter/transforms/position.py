"""Where a caret stands after a change."""

from __future__ import annotations

from .delta import position_in_delta
from .pointer import segments
from .values import Change


def position(path: str, offset: int, change: Change) -> int | None:
    """The caret before code point ``offset`` of the sequence at ``path``, after the change.

    A caret stays left of what is inserted at its very place. None if its cell is removed (and not
    added again by the same change).
    """
    where = segments(path)
    result: int | None = offset
    for operation in change:
        if "index" in operation:
            if segments(operation["path"]) == where[:2]:
                if operation["op"] == "remove":
                    result = None
                elif operation["op"] == "add":
                    result = min(offset, len(operation["value"][where[2]]))
        elif result is not None and operation["op"] == "edit" and operation["path"] == path:
            result = position_in_delta(result, operation["delta"])
    return result
