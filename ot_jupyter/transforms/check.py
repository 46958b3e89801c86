"""What an operation must look like, told from the operation alone.

What depends on the document (does the cell exist, is the index right) is told by ``apply``.
Nothing is repaired: a wrong operation is refused with the pointer of the field that is wrong.
"""

from __future__ import annotations

import math
from typing import Any

import orjson

from .blobs import reference_fits
from .delta import check_delta
from .pointer import Segments, pointer, segments
from .values import (
    CELL_FIELDS,
    CELL_ID,
    CELL_TYPES,
    MAX_DEPTH,
    MAX_INTEGER,
    MAX_PATH,
    Cell,
    Json,
    Operation,
    Refused,
)

_MOST_REFERENCES = 64 * 1024  # bytes of JSON, of one output

_FIELDS = {
    "edit": {"op", "path", "delta"},
    "replace": {"op", "path", "value"},
    "add": {"op", "path", "index", "value"},
    "remove": {"op", "path"},
    "move": {"op", "path", "index", "to"},
    "run": {"op", "path"},
}


def check_value(value: Json, level: int = 0) -> None:
    """Raise :class:`Refused` unless ``value`` is JSON that every reader keeps exactly.

    Refused: NaN and infinities, integers beyond 2**53, strings that are not well-formed (lone
    surrogates), nesting deeper than 100, counted from ``level`` objects around the value.
    """
    # A stack, not recursion: the depth is the sender's choice.
    stack: list[tuple[Json, tuple[str | int, ...]]] = [(value, ())]
    while stack:
        item, where = stack.pop()
        kind = type(item)
        if kind is str:
            _check_text(item, where)
        elif kind is dict or kind is list:
            if len(where) + level >= MAX_DEPTH:
                raise Refused("too_deep", f"values nest at most {MAX_DEPTH} deep")
            if kind is dict:
                for key, inner in item.items():
                    if type(key) is not str:
                        raise Refused("wrong_type", "keys are strings", pointer(*where))
                    _check_text(key, where)
                    stack.append((inner, (*where, key)))
            else:
                for index, inner in enumerate(item):
                    # Most lists that come are long lists of short texts and numbers.
                    stack.append((inner, (*where, index)))
        elif kind is int:
            if not -MAX_INTEGER <= item <= MAX_INTEGER:
                raise Refused("bad_number", "an integer is within ±2**53", pointer(*where))
        elif kind is float:
            if not math.isfinite(item):
                raise Refused("bad_number", "NaN and infinities are not JSON", pointer(*where))
        elif item is not None and kind is not bool:
            raise Refused("wrong_type", f"{kind.__name__} is not JSON", pointer(*where))


def _check_text(text: str, where: tuple[str | int, ...]) -> None:
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Refused(
            "bad_text", "a string is not well-formed: half of a surrogate pair", pointer(*where)
        ) from None


def check_cell(cell: Json) -> None:
    """Raise :class:`Refused` unless this is a complete cell: every field, each of its type."""
    if type(cell) is not dict:
        raise Refused("wrong_type", "a cell is an object")
    for field in CELL_FIELDS:
        if field not in cell:
            raise Refused("missing_field", f"a cell has {field!r}", pointer(field))
    for field, value in cell.items():
        if field not in CELL_FIELDS:
            _check_text(str(field), ())
            raise Refused("unknown_field", f"a cell has no {field!r}", pointer(field))
        check_field(field, value)
    check_value(cell)
    for index, output in enumerate(cell["outputs"]):
        if "blobs" in output:
            try:
                _check_references(output)
            except Refused as refused:
                raise refused.within(pointer("outputs", index, "blobs")) from None


def _check_references(output: dict[str, Any]) -> None:
    """The references of an output to its large parts."""
    blobs = output["blobs"]
    if type(blobs) is not dict:
        raise Refused("wrong_type", "'blobs' is an object")
    for field, reference in blobs.items():
        if not reference_fits(output, field, reference):
            raise Refused(
                "wrong_type",
                "a reference is {hash, size, type}, of a field and type that the output has",
                pointer(field),
            )
    if len(orjson.dumps(blobs)) > _MOST_REFERENCES:
        raise Refused("too_large", f"references have at most {_MOST_REFERENCES} bytes")


def check_field(field: str, value: Json) -> None:
    """The type of a cell's fixed field, not what is inside."""
    at = pointer(field)
    if field == "cell_type":
        if value not in CELL_TYPES:
            raise Refused("wrong_type", f"a cell type is one of {', '.join(CELL_TYPES)}", at)
    elif field == "source":
        if type(value) is not str:
            raise Refused("wrong_type", "a source is one string", at)
    elif field == "outputs":
        if type(value) is not list or any(type(item) is not dict for item in value):
            raise Refused("wrong_type", "outputs are a list of objects", at)
    elif field == "execution_count":
        if value is not None and (type(value) is not int or value < 0):
            raise Refused("wrong_type", "an execution count is a number from 0, or null", at)
    elif type(value) is not dict:
        raise Refused("wrong_type", f"{field!r} is an object", at)
    if field == "metadata":
        _check_untrusted(value, at)


def _check_untrusted(metadata: dict[str, Any], at: str) -> None:
    if "trusted" in metadata:
        raise Refused(
            "not_writable", "trust is each reader's own, never in the document", at + "/trusted"
        )


def check_change(change: Json, *, notebook: bool, from_client: bool) -> None:
    """Raise :class:`Refused` unless this is a list of well-formed operations.

    ``notebook``: for a notebook (else for a text file). ``from_client``: refuse what only the
    server writes: new outputs and a cell's ``execution``.
    """
    if type(change) is not list:
        raise Refused("wrong_type", "a change is a list of operations")
    running = False
    for index, operation in enumerate(change):
        try:
            check_operation(operation, notebook=notebook, from_client=from_client)
            if running and operation["op"] != "run":
                raise Refused("not_canonical", "'run' stands only at the end of a change", "/op")
        except Refused as refused:
            raise refused.within(f"/{index}") from None
        running = running or operation["op"] == "run"


def check_operation(operation: Json, *, notebook: bool, from_client: bool) -> None:
    """The same for one operation; pointers are relative to it."""
    if type(operation) is not dict:
        raise Refused("wrong_type", "an operation is an object")
    verb = operation.get("op")
    fields = _FIELDS.get(verb) if type(verb) is str else None
    if fields is None:
        raise Refused("unknown_operation", f"'op' is one of {', '.join(_FIELDS)}", "/op")
    path = operation.get("path")
    if type(path) is not str:
        raise Refused("wrong_type", "'path' is a JSON Pointer", "/path")
    if len(path) > MAX_PATH:
        raise Refused("too_large", f"a path has at most {MAX_PATH} characters", "/path")
    _check_text(path, ("path",))
    try:
        where = segments(path)
    except Refused as refused:
        raise refused.within("/path") from None
    is_cell = notebook and len(where) == 2 and where[0] == "cells"
    if verb == "remove" and is_cell:
        fields = fields | {"index"}
    if operation.keys() != fields:
        raise _wrong_fields(operation, fields)
    if is_cell:
        _check_cell_operation(operation, where[1], from_client)
    elif verb in ("add", "move", "run"):
        raise Refused("not_writable", f"{verb!r} is for cells: /cells/ID", "/path")
    else:
        _check_write(operation, where, notebook, from_client)


def _wrong_fields(operation: Operation, fields: set[str]) -> Refused:
    verb = operation["op"]
    for field in operation:
        if field not in fields:
            _check_text(str(field), ())  # it is about to be a pointer
            return Refused("unknown_field", f"{verb!r} has no {field!r} here", pointer(field))
    field = min(fields - operation.keys())
    return Refused("missing_field", f"{verb!r} has {field!r} here", pointer(field))


def _check_cell_operation(operation: Operation, cell_id: str, from_client: bool) -> None:
    verb = operation["op"]
    if verb in ("edit", "replace"):
        raise Refused("not_writable", "a cell is written field by field", "/path")
    for field in ("index", "to"):
        if field in operation and (type(operation[field]) is not int or operation[field] < 0):
            raise Refused("wrong_type", f"{field!r} is a number from 0", pointer(field))
    if verb == "move" and operation["index"] == operation["to"]:
        raise Refused("no_effect", "the cell is there already", "/to")
    if verb == "add":
        if not CELL_ID.fullmatch(cell_id):
            raise Refused("bad_id", f"a cell id matches {CELL_ID.pattern}", "/path")
        try:
            check_cell(operation["value"])
        except Refused as refused:
            raise refused.within("/value") from None
        if from_client and operation["value"]["execution"]:
            raise Refused("forbidden", "'execution' is the kernel's: send {}", "/value/execution")


def _check_write(operation: Operation, where: Segments, notebook: bool, from_client: bool) -> None:
    """An edit, replace or remove of what is no cell."""
    field, inner = _target(where, notebook)
    verb = operation["op"]
    if field in ("source", "outputs"):
        if inner:
            raise Refused("not_found", f"{field!r} has no parts with paths", "/path")
        if verb != "edit":
            raise Refused("not_writable", f"{field!r} is written by 'edit'", "/op")
        _check_edit(operation, field, _level(where), from_client)
        return
    if verb == "edit":
        raise Refused("not_writable", f"'edit' is for sequences; {field!r} is none", "/op")
    if field in ("execution", "kernel") and from_client:
        raise Refused("forbidden", f"{field!r} is the server's", "/path")
    if field in ("cell_type", "execution_count") and inner:
        raise Refused("not_found", f"{field!r} has no parts", "/path")
    if field == "metadata" and inner and inner[0] == "trusted":
        raise Refused("not_writable", "trust is each reader's own, never in the document", "/path")
    if verb == "remove":
        if not inner and field != "kernel":
            raise Refused("not_writable", f"{field!r} is always there", "/path")
        return
    if not inner:
        try:
            check_field(field, operation["value"])
        except Refused as refused:
            inside = refused.pointer.removeprefix(pointer(field))
            raise Refused(refused.code, refused.message, "/value" + inside) from None
    try:
        check_value(operation["value"], _level(where))
    except Refused as refused:
        raise refused.within("/value") from None
    if _level(where) > MAX_DEPTH:
        raise Refused("too_deep", f"values nest at most {MAX_DEPTH} deep", "/path")


def _level(where: Segments) -> int:
    """How deep a value there is nested, counted from the cell. Were it counted from the value,
    a removed cell could be too deep to be added again."""
    return len(where) - 2


def _target(where: Segments, notebook: bool) -> tuple[str, Segments]:
    """The fixed field that a path is in, and the segments inside it."""
    if not notebook:
        if where and where[0] == "source":
            return "source", where[1:]
    elif where:
        if where[0] in ("metadata", "kernel"):
            return where[0], where[1:]
        if where[0] == "cells" and len(where) > 2 and where[2] in CELL_FIELDS:
            return where[2], where[3:]
    if not where or (where[0] in ("cells", "order") and len(where) < 3):
        raise Refused("not_writable", "the root, /cells and /order change by cells", "/path")
    raise Refused("not_found", "the document has no such field", "/path")


def _check_edit(operation: Operation, field: str, level: int, from_client: bool) -> None:
    delta = operation["delta"]
    try:
        check_delta(delta, str if field == "source" else list)
        for index, part in enumerate(delta):
            if type(part) is int:
                if abs(part) > MAX_INTEGER:
                    raise Refused("out_of_range", "no sequence is that long", f"/{index}")
                continue
            if field == "outputs":
                if from_client:
                    raise Refused("forbidden", "outputs are the kernel's", f"/{index}")
                if type(part) is list and any(type(item) is not dict for item in part):
                    raise Refused("wrong_type", "an output is an object", f"/{index}")
            try:
                check_value(part, level)
            except Refused as refused:
                raise refused.within(f"/{index}") from None
    except Refused as refused:
        raise refused.within("/delta") from None


def client_cell(cell: Cell) -> Cell:
    """The cell as a client may add it: what the kernel wrote about its runs is reset."""
    return {**cell, "execution": {}} if cell["execution"] else cell
