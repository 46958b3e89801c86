"""Notebook files (nbformat JSON) to documents, and back.

Formats 3 to 4.5 are read, 4.5 is written. Reading repairs what is harmless (a missing field gets
its empty value) and refuses the rest with the JSON Pointer of what is wrong, in the file. Writing
leaves out what nbformat's own schema forbids, so that a file is valid whatever the registers of a
document hold; :func:`illegal_fields` tells what that is.
"""

from __future__ import annotations

import codecs
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import blake2b
from itertools import count
from pathlib import Path
from typing import Any, Final, TypeGuard, TypeVar

import nbformat
import orjson
from nbformat import v3, v4
from nbformat.json_compat import FastJsonSchemaValidator

from .pointer import Segments, pointer, segments
from .values import (
    CELL_ID,
    CELL_TYPES,
    MAX_DEPTH,
    MAX_INTEGER,
    Cell,
    Document,
    Json,
    Refused,
    is_notebook,
    new_cell,
)

T = TypeVar("T")

NBFORMAT: Final = 4
NBFORMAT_MINOR: Final = 5
OLDEST_NBFORMAT: Final = 3

# A notebook's list of cells and the notebook itself lie around each cell: so no cell, which may
# come back as the value of an operation, nests deeper than a value may.
_DEPTH: Final = MAX_DEPTH + 2
_ORJSON_DEPTH: Final = 254

_NOTEBOOK_TRANSIENT: Final = frozenset(
    ("trusted", "orig_nbformat", "orig_nbformat_minor", "signature")
)
_CELL_TRANSIENT: Final = frozenset(("trusted",))
_OUTPUT_TRANSIENT: Final = frozenset(("transient",))
_REFERENCES: Final = "blobs"  # of an output to what is large in it, see blobs.py

_KINDS: Final[dict[type, str]] = {dict: "an object", list: "a list", str: "a text"}

# The fields of each type of output besides its type, and what stands in for a missing one.
_OUTPUT_FIELDS: Final[dict[str, dict[str, Callable[[], Json]]]] = {
    "execute_result": {"data": dict, "metadata": dict, "execution_count": lambda: None},
    "display_data": {"data": dict, "metadata": dict},
    "stream": {"name": lambda: "stdout", "text": str},
    "error": {"ename": str, "evalue": str, "traceback": list},
}


# Reading


def read_notebook(text: str | bytes) -> Document:
    """The document of an ``.ipynb``'s content (bytes are UTF-8, with or without a BOM).

    Raises :class:`Refused`: ``not_json``, ``not_a_notebook``, ``unsupported_format``,
    ``too_deep``, ``bad_text`` (half a surrogate pair). NaN and the infinities become null and
    integers beyond 2^53 floats, as in a browser.
    """
    return _document(_parse(text))


def notebook_document(notebook: dict[str, Any]) -> Document:
    """The document of a notebook that is parsed JSON already, of any format that is read.

    The argument is not changed and shares nothing with the document. Raises as
    :func:`read_notebook`.
    """
    try:
        data = orjson.dumps(notebook)  # the fastest copy; NaN becomes null on the way
    except TypeError:
        return _document(_tamed(notebook))
    return read_notebook(data)


def json_cell(value: dict[str, Any]) -> tuple[str | None, Cell]:
    """A cell of nbformat 4: its id, None if it has no legal one, and the complete cell.

    The argument is not changed; the cell shares values with it. Raises :class:`Refused`
    (``not_a_notebook``) with a pointer relative to the cell.
    """
    _expect(value, dict)
    cell_type = value.get("cell_type")
    if cell_type not in CELL_TYPES:
        raise Refused(
            "not_a_notebook", f"a cell's type is one of {', '.join(CELL_TYPES)}", "/cell_type"
        )
    cell = new_cell(
        cell_type,
        _text(value, "source"),
        _without(_field(value, "metadata", dict), _CELL_TRANSIENT),
    )
    cell["outputs"] = [_read_output(output) for output in _objects(value, "outputs")]
    cell["execution_count"] = _count(value.get("execution_count"))
    cell["attachments"] = {
        name: _joined_bundle(_expect(bundle, dict, pointer("attachments", name)))
        for name, bundle in _field(value, "attachments", dict).items()
    }
    cell_id = value.get("id")
    legal = isinstance(cell_id, str) and CELL_ID.fullmatch(cell_id)
    return (cell_id if legal else None), cell


def text_document(text: str) -> Document:
    """The document of a text file. Raises :class:`Refused` (``bad_text``) if the text is not
    well-formed."""
    return {"source": _tamed(text, 0, ("source",))}


def _parse(text: str | bytes) -> Json:
    """Plain JSON as a document may hold it, at the speed of orjson where the text allows."""
    if isinstance(text, str):
        text = text.removeprefix("\ufeff")
    else:
        text = text.removeprefix(codecs.BOM_UTF8)
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return _tamed(_parse_leniently(text))
    return value if _is_tame(value) else _tamed(value)


def _parse_leniently(text: str | bytes) -> Json:
    """What only the standard library reads: NaN, huge numbers, halves of surrogate pairs."""
    if isinstance(text, bytes):
        encoding = json.detect_encoding(text)
        if encoding != "utf-8":
            raise Refused("not_json", f"the file is not UTF-8 but looks like {encoding}")
        try:
            text = text.decode()
        except UnicodeDecodeError as error:
            raise Refused("not_json", f"the file is not UTF-8 at byte {error.start}") from None
    if not text.strip():
        raise Refused("not_json", "the file is empty: line 1 column 1")
    try:
        return json.loads(text, parse_int=_integer)
    except json.JSONDecodeError as error:
        message = f"the file is not JSON: {error.msg}: line {error.lineno} column {error.colno}"
        raise Refused("not_json", message) from None
    except RecursionError:
        raise _too_deep() from None


def _integer(digits: str) -> int | float:
    """An integer literal; a long one as a float, as Python reads only so many digits."""
    return int(digits) if len(digits) <= 32 else float(digits)


def _is_tame(value: Json) -> bool:
    """Whether :func:`_tamed` would leave the value as it is, given that it holds no NaN.

    orjson finds a string that is not well-formed, a great integer and deep nesting far faster
    than we could; lists around the value bring its limit of nesting down to ours.
    """
    for _ in range(_ORJSON_DEPTH - _DEPTH):
        value = [value]
    try:
        orjson.dumps(value, option=orjson.OPT_STRICT_INTEGER)
    except TypeError:
        return False
    return True


def _tamed(value: Json, depth: int = 0, at: Segments = ()) -> Json:
    """A copy with what no document may hold made into what a browser makes of it, or refused."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            message = "a text holds half a surrogate pair, which is no character"
            raise Refused("bad_text", message, pointer(*at)) from None
        return value
    if isinstance(value, (dict, list)) and depth >= _DEPTH:
        raise _too_deep(at)
    if isinstance(value, dict):
        return {
            _tamed(_expect(key, str, pointer(*at)), depth + 1, at): _tamed(
                item, depth + 1, (*at, key)
            )
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_tamed(item, depth + 1, (*at, str(i))) for i, item in enumerate(value)]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int):
        if abs(value) <= MAX_INTEGER:
            return value
        try:
            return float(value)
        except OverflowError:
            return None
    if value is None:
        return None
    raise Refused("not_json", f"JSON has no {type(value).__name__}", pointer(*at))


def _too_deep(at: Segments = ()) -> Refused:
    return Refused("too_deep", f"values are nested in more than {_DEPTH} levels", pointer(*at))


def _document(notebook: Json) -> Document:
    """The document of tame JSON, whose values it takes over."""
    notebook = _expect(notebook, dict)
    major, minor = _version(notebook)
    if not OLDEST_NBFORMAT <= major <= NBFORMAT:
        message = f"notebooks of format {OLDEST_NBFORMAT} to {NBFORMAT} are read, not {major}"
        raise Refused("unsupported_format", message, "/nbformat")
    if major == NBFORMAT and minor > NBFORMAT_MINOR:
        message = f"format {major}.{minor} is newer than {NBFORMAT}.{NBFORMAT_MINOR}"
        raise Refused("unsupported_format", message, "/nbformat_minor")
    if major < NBFORMAT:
        return _upgraded(notebook)
    cells = []
    for index, value in enumerate(_required(notebook, "cells", list)):
        with _within(pointer("cells", index)):
            cells.append(json_cell(value))
    order = _ids(cells)
    return {
        "cells": {cell_id: cell for cell_id, (_, cell) in zip(order, cells, strict=True)},
        "order": order,
        "metadata": _without(_field(notebook, "metadata", dict), _NOTEBOOK_TRANSIENT),
    }


def _version(notebook: dict[str, Any]) -> tuple[int, int]:
    major, minor = notebook.get("nbformat"), notebook.get("nbformat_minor", 0)
    if not _is_count(major):
        raise Refused("not_a_notebook", "a notebook tells its format, a number", "/nbformat")
    if not _is_count(minor):
        raise Refused("not_a_notebook", "the minor of a format is a number", "/nbformat_minor")
    return major, minor


def _upgraded(notebook: dict[str, Any]) -> Document:
    """The document of a notebook of format 3, by nbformat's conversion."""
    places, cells = [], []
    for w, sheet in enumerate(_required(notebook, "worksheets", list)):
        with _within(pointer("worksheets", w)):
            for c, cell in enumerate(_field(_expect(sheet, dict), "cells", list)):
                with _within(pointer("cells", c)):
                    cells.append(_old_cell(cell))
                places.append(pointer("worksheets", w, "cells", c))
    old = {
        "nbformat": 3,
        "nbformat_minor": 0,
        "metadata": _field(notebook, "metadata", dict),
        "worksheets": [{"cells": cells}],
    }
    try:
        new = nbformat.convert(v3.to_notebook_json(old), NBFORMAT)  # type: ignore[no-untyped-call]
    except RecursionError:
        raise _too_deep() from None
    except (AttributeError, LookupError, TypeError, ValueError, nbformat.ValidationError) as error:
        message = f"this notebook of format 3 can't be converted: {error}"
        raise Refused("not_a_notebook", message, "/worksheets") from None
    for cell in new["cells"]:
        del cell["id"]  # a random one
    try:
        return notebook_document(new)
    except Refused as refused:
        raise _in_old_file(refused, places) from None


def _old_cell(cell: Json) -> dict[str, Any]:
    """A cell of format 3 with what nbformat's conversion takes for granted."""
    old: dict[str, Any] = {**_expect(cell, dict)}
    old["metadata"] = _field(old, "metadata", dict)
    cell_type = _required(old, "cell_type", str)
    source = "input" if cell_type == "code" else "source"
    _text(old, source)  # looked at only: nbformat knows how lines were split in this format
    old[source] = old.get(source) or ""
    if cell_type == "code":
        old["outputs"] = _objects(old, "outputs")
        for index, output in enumerate(old["outputs"]):
            with _within(pointer("outputs", index)):
                _required(output, "output_type", str)
    if cell_type == "heading":
        level = old.get("level")
        old["level"] = min(level, 6) if _is_count(level) else 1  # becomes that many "#"
    return old


def _in_old_file(refused: Refused, places: list[str]) -> Refused:
    """A refusal of the converted notebook, its pointer into the file of format 3."""
    match segments(refused.pointer):
        case ("cells", index, *rest):
            place = places[int(index)] + pointer(*rest)
            return Refused(refused.code, refused.message, place)
    return refused


def _ids(cells: list[tuple[str | None, Cell]]) -> list[str]:
    """The id of each cell: its own, or one from position and content for a cell without one and
    for the second holder of one."""
    taken = {cell_id for cell_id, _ in cells if cell_id is not None}
    order: dict[str, None] = {}
    for position, (cell_id, cell) in enumerate(cells):
        if cell_id is None or cell_id in order:
            cell_id = next(new for new in _possible_ids(position, cell) if new not in taken)
            taken.add(cell_id)
        order[cell_id] = None
    return list(order)


def _possible_ids(position: int, cell: Cell) -> Iterator[str]:
    """Ids for a cell, always the same ones in the same order."""
    for attempt in count():
        content = f"{position} {attempt} {cell['cell_type']} {cell['source']}"
        yield blake2b(content.encode(), digest_size=4).hexdigest()


def _read_output(output: dict[str, Any]) -> dict[str, Any]:
    """An output, complete, its lines joined; one of an unknown type as it is."""
    fields = _output_fields(output)
    output = _completed(_without(output, _OUTPUT_TRANSIENT), fields)
    if "data" in fields and isinstance(output["data"], dict):
        output["data"] = _joined_bundle(output["data"])
    elif "text" in fields:
        output["text"] = _joined(output["text"])
    return output


def _joined_bundle(bundle: dict[str, Any]) -> dict[str, Any]:
    return {
        mime: value if _is_json_mime(mime) else _joined(value) for mime, value in bundle.items()
    }


def _is_json_mime(mime: str) -> bool:
    return mime == "application/json" or (
        mime.startswith("application/") and mime.endswith("+json")
    )


def _joined(value: Json) -> Json:
    """The text of a list of lines; anything else as it is."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "".join(value)
    return value


# Writing


def document_notebook(document: Document) -> dict[str, Any]:
    """The notebook as nbformat 4.5 JSON, always valid but for references to large outputs, which
    only :func:`~.blobs.attach_document` takes out. It shares values with the document."""
    return {
        "cells": [cell_json(cell_id, document["cells"][cell_id]) for cell_id in document["order"]],
        "metadata": _legal_metadata(document["metadata"], _NOTEBOOK_TRANSIENT, _NOTEBOOK_METADATA),
        "nbformat": NBFORMAT,
        "nbformat_minor": NBFORMAT_MINOR,
    }


def cell_json(cell_id: str, cell: Cell) -> dict[str, Any]:
    """The cell as nbformat 4.5 JSON, always valid (see :func:`document_notebook`): the fields of
    its type, less what :func:`illegal_fields` names. It shares values with the cell."""
    cell_type = cell["cell_type"]
    value = {
        "cell_type": cell_type,
        "id": cell_id,
        "metadata": _legal_metadata(cell["metadata"], _CELL_TRANSIENT, _cell_metadata(cell_type)),
        "source": cell["source"],
    }
    if cell_type == "code":
        outputs = map(_legal_output, cell["outputs"])
        value["execution_count"] = _count(cell["execution_count"])
        value["outputs"] = [output for output in outputs if output is not None]
    else:
        attachments = {
            name: bundle for name, bundle in cell["attachments"].items() if _is_bundle(bundle)
        }
        if attachments:
            value["attachments"] = attachments
    return value


def illegal_fields(document: Document) -> list[str]:
    """The pointers of what a document holds and its file doesn't, as nbformat forbids it there.

    What merely doesn't belong to a cell's type (outputs of a markdown cell) is not among them.
    """
    if not is_notebook(document):
        return []
    metadata = _illegal_metadata(document["metadata"], _NOTEBOOK_METADATA)
    return [pointer("metadata", key) for key in metadata if key not in _NOTEBOOK_TRANSIENT] + [
        pointer("cells", cell_id, *place)
        for cell_id in document["order"]
        for place in _illegal_in_cell(document["cells"][cell_id])
    ]


def _illegal_in_cell(cell: Cell) -> Iterator[tuple[str | int, ...]]:
    for key in _illegal_metadata(cell["metadata"], _cell_metadata(cell["cell_type"])):
        yield "metadata", key
    if cell["cell_type"] == "code":
        if cell["execution_count"] != _count(cell["execution_count"]):
            yield ("execution_count",)
        for index, output in enumerate(cell["outputs"]):
            legal = _legal_output(output)
            if legal is None:
                yield "outputs", index
                continue
            for key, value in output.items():
                if key not in _OUTPUT_TRANSIENT and (key not in legal or legal[key] is not value):
                    yield "outputs", index, key
    else:
        for name, bundle in cell["attachments"].items():
            if not _is_bundle(bundle):
                yield "attachments", name


def _legal_metadata(
    metadata: dict[str, Any], transient: frozenset[str], place: Segments
) -> dict[str, Any]:
    return _without(metadata, transient.union(_illegal_metadata(metadata, place)))


def _illegal_metadata(metadata: dict[str, Any], place: Segments) -> list[str]:
    rules = _metadata_rules(place)
    return [key for key, value in metadata.items() if key in rules and not rules[key](value)]


def _legal_output(output: dict[str, Any]) -> dict[str, Any] | None:
    """The output with the fields of its type, all of them, and its references; None if one of the
    fields is illegal."""
    fields = _output_fields(output)
    if not fields:
        return None
    legal = {key: value for key, value in output.items() if key == "output_type" or key in fields}
    legal = _completed(legal, fields)
    if not _rule(("definitions", legal["output_type"]))(legal):
        return None
    if _REFERENCES in output:
        legal[_REFERENCES] = output[_REFERENCES]
    return legal


def _is_bundle(value: Json) -> bool:
    return _rule(("definitions", "misc", "mimebundle"))(value)


# nbformat's rules


_NOTEBOOK_METADATA: Final = ("properties", "metadata", "properties")


def _cell_metadata(cell_type: str) -> Segments:
    return ("definitions", f"{cell_type}_cell", *_NOTEBOOK_METADATA)


@cache
def _schema() -> Json:
    """nbformat's schema of the format that is written."""
    name = v4.nbformat_schema[(NBFORMAT, NBFORMAT_MINOR)]
    return orjson.loads(Path(v4.__file__).with_name(name).read_bytes())


def _schema_at(place: Segments) -> Json:
    part = _schema()
    for key in place:
        part = part[key]
    return part


@cache
def _metadata_rules(place: Segments) -> dict[str, Callable[[Json], bool]]:
    """The keys of some metadata that nbformat has a rule for; all others are free."""
    return {key: _rule((*place, key)) for key in _schema_at(place)}


@cache
def _rule(place: Segments) -> Callable[[Json], bool]:
    """Whether a value obeys the part of the schema at a place.

    Parts are judged one by one, not the notebook as a whole: so it is plain which part is wrong,
    and no output is held against every type of output.
    """
    schema = {key: _schema()[key] for key in ("$schema", "definitions")}
    validator = FastJsonSchemaValidator({**schema, **_schema_at(place)})  # type: ignore[no-untyped-call]

    def obeys(value: Json) -> bool:
        try:
            validator.validate(value)  # type: ignore[no-untyped-call]
        except nbformat.ValidationError:
            return False
        return True

    return obeys


# Fields, read and written


def _output_fields(output: dict[str, Any]) -> dict[str, Callable[[], Json]]:
    """The fields of the output's type; none if its type is unknown."""
    output_type = output.get("output_type")
    return _OUTPUT_FIELDS.get(output_type, {}) if isinstance(output_type, str) else {}


def _completed(output: dict[str, Any], fields: dict[str, Callable[[], Json]]) -> dict[str, Any]:
    """The output (changed in place) with every field of its type."""
    for key, default in fields.items():
        if output.get(key) is None:
            output[key] = default()
    if "execution_count" in fields:
        output["execution_count"] = _count(output["execution_count"])
    return output


def _count(value: Json) -> int | None:
    """An execution count; null for what is none, such as the "*" of a running cell."""
    return value if _is_count(value) else None


def _is_count(value: Json) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _without(value: dict[str, Any], keys: frozenset[str]) -> dict[str, Any]:
    return {key: item for key, item in value.items() if key not in keys}


def _text(value: dict[str, Any], key: str) -> str:
    """A text that may be a list of lines, empty if it is missing or null."""
    found = _joined(value.get(key))
    return "" if found is None else _expect(found, str, pointer(key))


def _field(value: dict[str, Any], key: str, kind: type[T]) -> T:
    """A field, empty if it is missing or null."""
    found = value.get(key)
    return kind() if found is None else _expect(found, kind, pointer(key))


def _objects(value: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """A list of objects, empty if it is missing or null."""
    found: list[dict[str, Any]] = _field(value, key, list)
    for index, item in enumerate(found):
        if not isinstance(item, dict):
            _expect(item, dict, pointer(key, index))
    return found


def _required(value: dict[str, Any], key: str, kind: type[T]) -> T:
    if key not in value:
        raise Refused("not_a_notebook", f"{key!r} is missing", pointer(key))
    return _expect(value[key], kind, pointer(key))


def _expect(value: Json, kind: type[T], at: str = "") -> T:
    if isinstance(value, kind):
        return value
    raise Refused("not_a_notebook", f"{_KINDS[kind]} belongs here", at)


@contextmanager
def _within(place: str) -> Iterator[None]:
    """What is refused here is at that place."""
    try:
        yield
    except Refused as refused:
        raise refused.within(place) from None
