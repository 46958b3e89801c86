"""The document's ``kernel``: which one it has, where, and what was asked of it. Pure functions.

{"state": "ready", "generation": 3, "owner": "host:pid:id", "id": "…", "name": "python3",
 "request": {"id", "action", "user"}, "done": {"request", "error"?}}
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any, Final

from ..sequencer.live import utc_now
from ..transforms import Change, Document, pointer
from ..transforms.values import MAX_DEPTH
from .execution import NOTHING, Proposal, abandon
from .messages import TooDeep, clean

STOPPED: Final = "the server that ran the kernel was stopped"


def write_kernel(kernel: dict[str, Any]) -> dict[str, Any]:
    return {"op": "replace", "path": "/kernel", "value": kernel}


def noted(fields: dict[str, Any], document: Document) -> Proposal:
    """``kernel`` with these fields."""
    kernel = {**document["kernel"], **fields}
    kernel.pop("reason", None)
    return Proposal([write_kernel(kernel)], ((("kernel",), document["kernel"]),))


def given_up(kernel: dict[str, Any], still: Set[str]) -> dict[str, Any]:
    """``kernel``, where the last request is answered that nobody will carry out any more."""
    name = kernel.get("request", {}).get("id")
    if name is None or name in still or kernel.get("done", {}).get("request") == name:
        return kernel
    return {**kernel, "done": {"request": name, "error": STOPPED}}


def without_process(kernel: dict[str, Any]) -> dict[str, Any]:
    """What is left of ``kernel`` when its process is gone."""
    return {key: value for key, value in kernel.items() if key not in ("id", "reason")}


def parting(reason: str, document: Document) -> Proposal:
    """Nobody owns the kernel any more, and nothing is left for it to do."""
    left = abandon(document, set(), "", utc_now(), reason)
    kernel = {**without_process(given_up(document["kernel"], set())), "owner": ""}
    kernel["state"] = "none"
    expects = (*left.expects, (("kernel",), document["kernel"]))
    return Proposal([*left.ops, write_kernel(kernel)], expects)


def with_metadata(field: str, value: object, document: Document) -> Proposal:
    """What the kernel says of itself, as front ends write it into the notebook's metadata."""
    if type(value) is not dict or not value or document["metadata"].get(field) == value:
        return NOTHING
    try:
        value = clean(value, MAX_DEPTH - 2)
    except TooDeep:
        return NOTHING
    path = pointer("metadata", field)
    return Proposal([{"op": "replace", "path": path, "value": value}])


def with_spec(spec: str, document: Document) -> Proposal:
    """Have the notebook ask for another kernelspec; what it says of the language is not true any
    more."""
    named = {"name": spec, "display_name": spec}
    ops: Change = [{"op": "replace", "path": "/metadata/kernelspec", "value": named}]
    if "language_info" in document["metadata"]:
        ops.append({"op": "remove", "path": "/metadata/language_info"})
    return Proposal(ops)
