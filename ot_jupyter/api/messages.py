"""What clients say on the WebSocket: read and checked before anything is done with it. No I/O.

A message is read in two steps, so that an error can say which message it answers:
:func:`read_message` makes a JSON object of the text, :func:`parse_message` a message of the object.
The operations of a submission are checked in a third one, :func:`check_ops`, when it is known what
kind of document they are for.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Set
from typing import Any, Final, NamedTuple, TypeAlias

import orjson

from ..sequencer.entry import Head
from ..transforms import Change, Refused, check_change, check_value, pointer
from ..transforms.values import CELL_ID, MAX_DEPTH, MAX_INTEGER
from .limits import ApiLimits

CLIENT_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
NAME_LENGTH: Final = 64  # of a document id, an epoch or a hash
PATH_LENGTH: Final = 4096
MOST_KNOWN: Final = 1000
MOST_INPUT: Final = 2**20  # characters of an answer
PRESENCE_DEPTH: Final = 4
DEEPEST: Final = MAX_DEPTH + 3  # a value, in an operation, in a list: check_change allows no more


class Open(NamedTuple):
    """Follow a document. ``known``: the states that the client can go back to, newest first."""

    path: str
    client: str
    kind: str | None
    epoch: str
    known: list[Head]


class Submit(NamedTuple):
    """A change of the state ``base``. ``ops`` are a list; what is in it is for :func:`check_ops`
    to say."""

    doc: str
    n: int
    base: Head
    ops: Change
    skip: bool
    presence: dict[str, Any] | None


class SetPresence(NamedTuple):
    """Where the client is; None: nowhere."""

    doc: str
    presence: dict[str, Any] | None


class Ping(NamedTuple):
    """Say that you are there: a page in a browser does not see the pings of the protocol below."""


class Close(NamedTuple):
    """Follow a document no longer."""

    doc: str


class Save(NamedTuple):
    """Write a document's file now."""

    doc: str


class Control(NamedTuple):
    """Something for the kernel itself; ``spec`` is the kernelspec to change to, ``cells`` are run
    after it."""

    doc: str
    action: str
    spec: str | None
    cells: list[str]


class Answer(NamedTuple):
    """The answer to a question of the kernel (``execution.input.id``)."""

    doc: str
    id: str
    value: str


class Comms(NamedTuple):
    """Hear of the kernel's comms from now on, or no longer."""

    doc: str
    on: bool


class Comm(NamedTuple):
    """A comm message for the kernel: a message of that kind with this content."""

    doc: str
    id: str
    kind: str
    content: dict[str, Any]
    buffers: list[bytes]


Message: TypeAlias = (
    Open | Submit | SetPresence | Close | Save | Control | Answer | Comms | Comm | Ping
)


def _fields(required: set[str], *optional: str) -> tuple[Set[str], Set[str]]:
    return required, {"type", *required, *optional}


# Per type: the fields that are always there, and all that may be.
_FIELDS: Final = {
    "open": _fields({"path", "client"}, "kind", "epoch", "known"),
    "submit": _fields({"doc", "n", "base", "hash", "ops"}, "skip", "presence"),
    "presence": _fields({"doc", "presence"}),
    "ping": _fields(set()),
    "close": _fields({"doc"}),
    "save": _fields({"doc"}),
    "kernel": _fields({"doc", "action"}, "spec", "cells"),
    "input": _fields({"doc", "id", "value"}),
    "comms": _fields({"doc", "on"}),
    "comm": _fields({"doc", "id", "kind", "content"}, "buffers"),
}
ACTIONS: Final = ("start", "interrupt", "restart", "shutdown", "change")
COMM_KINDS: Final = ("comm_open", "comm_msg", "comm_close")


def read_message(text: str) -> dict[str, Any]:
    """The JSON object of a text. Raises :class:`Refused`: ``not_json``, ``too_deep``,
    ``wrong_type``.

    The reader is the guard against what JSON readers differ in or fall over: it refuses NaN,
    infinite numbers, halves of surrogate pairs, and nesting that would exhaust a stack (1024).
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if re.search("depth|recursion", error.msg, re.IGNORECASE):
            raise Refused("too_deep", "the message nests too deep") from None
        raise Refused("not_json", f"the message is not JSON: {error}") from None
    if type(value) is not dict:
        raise Refused("wrong_type", "a message is an object")
    return value


def about(value: dict[str, Any]) -> dict[str, Any]:
    """What an answer repeats of the message it is about: ``of``, ``doc``, ``path``, ``n``, as far
    as they are what they should be."""
    result: dict[str, Any] = {}
    kind, n = value.get("type"), value.get("n")
    if type(kind) is str and kind in _FIELDS:
        result["of"] = kind
    for field, limit in (("doc", NAME_LENGTH), ("path", PATH_LENGTH)):
        name = value.get(field)
        if type(name) is str and len(name) <= limit:
            result[field] = name
    if type(n) is int and 1 <= n <= MAX_INTEGER:
        result["n"] = n
    return result


def parse_message(value: dict[str, Any], limits: ApiLimits) -> Message:
    """The message that an object is. Raises :class:`Refused` with the pointer of what is wrong."""
    kind = value.get("type")
    if type(kind) is not str or kind not in _FIELDS:
        raise Refused("unknown_message", f"'type' is one of {', '.join(_FIELDS)}", "/type")
    _check_fields(value, kind)
    if kind == "open":
        return _open(value)
    if kind == "ping":
        return Ping()
    doc = _text(value, "doc", NAME_LENGTH)
    if kind == "submit":
        return _submit(value, doc, limits)
    if kind == "presence":
        return SetPresence(doc, _presence(value["presence"], limits))
    if kind == "kernel":
        return Control(doc, *read_control(value))
    if kind == "input":
        return Answer(doc, _text(value, "id", NAME_LENGTH), _text(value, "value", MOST_INPUT))
    if kind == "comms":
        if type(value["on"]) is not bool:
            raise Refused("wrong_type", "'on' is true or false", "/on")
        return Comms(doc, value["on"])
    if kind == "comm":
        return _comm(value, doc)
    return Save(doc) if kind == "save" else Close(doc)


def read_control(value: dict[str, Any]) -> tuple[str, str | None, list[str]]:
    """``action``, ``spec`` and ``cells`` of a message or a request's body. Raises
    :class:`Refused`."""
    action = value.get("action")
    if action not in ACTIONS:
        raise Refused("wrong_type", f"'action' is one of {', '.join(ACTIONS)}", "/action")
    spec = _text(value, "spec", NAME_LENGTH) if "spec" in value else None
    if (spec is not None) is not (action == "change"):
        raise Refused("wrong_type", "'spec' goes with the action 'change'", "/spec")
    return action, spec, read_cells(value) if "cells" in value else []


def read_cells(value: dict[str, Any]) -> list[str]:
    """The ids of ``cells``. Raises :class:`Refused`."""
    cells = value.get("cells")
    if type(cells) is not list:
        raise Refused("wrong_type", "'cells' is a list of cell ids", "/cells")
    for index, cell in enumerate(cells):
        if type(cell) is not str or not CELL_ID.fullmatch(cell):
            raise Refused("bad_id", f"a cell id matches {CELL_ID.pattern}", f"/cells/{index}")
    return cells


def _comm(value: dict[str, Any], doc: str) -> Comm:
    kind = value["kind"]
    if kind not in COMM_KINDS:
        raise Refused("wrong_type", f"'kind' is one of {', '.join(COMM_KINDS)}", "/kind")
    content = value["content"]
    if type(content) is not dict or type(content.get("comm_id")) is not str:
        raise Refused("wrong_type", "'content' is an object with a 'comm_id'", "/content")
    buffers = value.get("buffers", [])
    if type(buffers) is not list:
        raise Refused("wrong_type", "'buffers' is a list of base64 texts", "/buffers")
    try:
        data = [b64decode(one, validate=True) for one in buffers]
    except (TypeError, ValueError):
        raise Refused("wrong_type", "'buffers' is a list of base64 texts", "/buffers") from None
    return Comm(doc, _text(value, "id", NAME_LENGTH), kind, content, data)


def check_ops(ops: Change, *, notebook: bool, limits: ApiLimits) -> None:
    """Raise :class:`Refused` unless these are operations that a client may submit to a notebook,
    or else to a text file. What depends on the document's state is told by the pen."""
    if len(ops) > limits.change_operations:
        raise Refused(
            "too_many_operations",
            f"a change has at most {limits.change_operations} operations, this one {len(ops)}",
            "/ops",
        )
    try:
        check_change(ops, notebook=notebook, from_client=True)
        if limits.depth < DEEPEST and _deeper(ops, limits.depth):
            raise Refused("too_deep", f"a message nests at most {limits.depth} deep")
    except Refused as refused:
        raise refused.within("/ops") from None


def _deeper(value: Any, limit: int) -> bool:
    """Whether a value nests deeper. Level by level: the depth is the sender's choice."""
    level = [value]
    for _ in range(limit):
        level = [
            item
            for outer in level
            for item in (outer.values() if type(outer) is dict else outer)
            if type(item) is dict or type(item) is list
        ]
        if not level:
            return False
    return True


def _check_fields(value: dict[str, Any], kind: str) -> None:
    required, known = _FIELDS[kind]
    if required <= value.keys() <= known:
        return
    for field in value:
        if field not in known:
            raise Refused("unknown_field", f"{kind!r} has no {field!r}", pointer(field))
    for field in sorted(required):
        if field not in value:
            raise Refused("missing_field", f"{kind!r} has {field!r}", pointer(field))


def _open(value: dict[str, Any]) -> Open:
    client = value["client"]
    if type(client) is not str or not CLIENT_ID.fullmatch(client):
        raise Refused("bad_id", f"a client id matches {CLIENT_ID.pattern}", "/client")
    kind = value.get("kind")
    if kind not in (None, "notebook", "text"):
        raise Refused("wrong_type", "'kind' is 'notebook' or 'text'", "/kind")
    epoch = _text(value, "epoch", NAME_LENGTH) if "epoch" in value else ""
    return Open(_text(value, "path", PATH_LENGTH), client, kind, epoch, _known(value))


def _known(value: dict[str, Any]) -> list[Head]:
    known = value.get("known", [])
    if type(known) is not list:
        raise Refused("wrong_type", "'known' is a list of [revision, hash]", "/known")
    if len(known) > MOST_KNOWN:
        raise Refused("out_of_range", f"'known' has at most {MOST_KNOWN} states", "/known")
    for index, state in enumerate(known):
        if (
            type(state) is not list
            or len(state) != 2
            or type(state[0]) is not int
            or type(state[1]) is not str
            or not 0 <= state[0] <= MAX_INTEGER
            or len(state[1]) > NAME_LENGTH
        ):
            raise Refused("wrong_type", "a known state is [revision, hash]", f"/known/{index}")
    return [Head(rev, hash) for rev, hash in known]


def _submit(value: dict[str, Any], doc: str, limits: ApiLimits) -> Submit:
    n = _number(value, "n", 1)
    base = Head(_number(value, "base", 0), _text(value, "hash", NAME_LENGTH))
    if type(value["ops"]) is not list:
        raise Refused("wrong_type", "a change is a list of operations", "/ops")
    skip = value.get("skip", False)
    if type(skip) is not bool:
        raise Refused("wrong_type", "'skip' is true or false", "/skip")
    return Submit(doc, n, base, value["ops"], skip, _presence(value.get("presence"), limits))


def _presence(value: Any, limits: ApiLimits) -> dict[str, Any] | None:
    if value is None:
        return None
    if type(value) is not dict:
        raise Refused("wrong_type", "a presence is an object or null", "/presence")
    if _deeper(value, PRESENCE_DEPTH):
        raise Refused("too_deep", f"a presence nests at most {PRESENCE_DEPTH} deep", "/presence")
    if len(orjson.dumps(value)) > limits.presence_bytes:
        raise Refused(
            "too_large", f"a presence has at most {limits.presence_bytes} bytes", "/presence"
        )
    try:
        check_value(value)
        if "rev" in value:
            _number(value, "rev", 0)
    except Refused as refused:
        raise refused.within("/presence") from None
    return value


def _text(value: dict[str, Any], field: str, limit: int) -> str:
    text = value[field]
    if type(text) is not str:
        raise Refused("wrong_type", f"{field!r} is a string", pointer(field))
    if len(text) > limit:
        raise Refused("out_of_range", f"{field!r} has at most {limit} characters", pointer(field))
    return text


def _number(value: dict[str, Any], field: str, least: int) -> int:
    number = value[field]
    if type(number) is not int:
        raise Refused("wrong_type", f"{field!r} is an integer", pointer(field))
    if not least <= number <= MAX_INTEGER:
        raise Refused("out_of_range", f"{field!r} is from {least} to 2**53", pointer(field))
    return number
