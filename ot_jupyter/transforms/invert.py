"""The change that takes a change back."""

from __future__ import annotations

from typing import Any

from .apply import apply
from .delta import invert_delta
from .pointer import segments
from .values import Change, Document, Operation


def invert(document: Document, change: Change) -> Change:
    """The change that takes ``change`` back; ``document`` is the one before it.

    ``apply(apply(document, change), invert(document, change)) == document``. Raises as ``apply``.
    """
    inverse: Change = []
    last = len(change) - 1
    for index, operation in enumerate(change):
        inverse[:0] = _invert(document, operation)
        if index < last:
            document = apply(document, [operation])
    return inverse


def _invert(document: Document, operation: Operation) -> Change:
    verb, path = operation["op"], operation["path"]
    if verb == "run":
        return []
    where = segments(path)
    if verb == "add":
        return [{"op": "remove", "path": path, "index": operation["index"]}]
    if verb == "move":
        return [{**operation, "index": operation["to"], "to": operation["index"]}]
    if "index" in operation:
        cell = document["cells"][where[1]]
        return [{"op": "add", "path": path, "index": operation["index"], "value": cell}]
    container: Any = document
    for key in where[:-1]:
        container = container[key]
    key = where[-1]
    if verb == "edit":
        return [{**operation, "delta": invert_delta(container[key], operation["delta"])}]
    if key not in container:
        return [{"op": "remove", "path": path}]
    return [{"op": "replace", "path": path, "value": container[key]}]
