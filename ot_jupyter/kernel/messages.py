"""A kernel's messages, read with distrust: what comes out may stand in a document.

A kernel is a program of somebody else's. It may send fields of any type, halves of surrogate
pairs, NaN, huge integers and nests of any depth, and none of that may stop a document.
"""

from __future__ import annotations

import math
from typing import Any, Final, TypeVar

from ..transforms.values import MAX_DEPTH, MAX_INTEGER, Json

T = TypeVar("T")
Output = dict[str, Any]

# What is around a value of a mime bundle: cell, outputs, output, data.
_BUNDLE_DEPTH: Final = MAX_DEPTH - 4


class Malformed(Exception):
    """A message, or a part of it, that is not as the protocol says."""


class TooDeep(Malformed):
    """A value that nests deeper than a document may."""


def field(value: Json, key: str, kind: type[T]) -> T:
    """A field that must be there. Raises :class:`Malformed`."""
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, kind):
        raise Malformed(f"{key!r} is no {kind.__name__}")
    return found


def optional(value: Json, key: str, kind: type[T]) -> T:
    """A field, empty if it is missing or null. Raises :class:`Malformed` for another type."""
    if isinstance(value, dict) and value.get(key) is None:
        return kind()
    return field(value, key, kind)


def display_id(message: Json) -> str | None:
    """``transient.display_id``."""
    transient = optional(field(message, "content", dict), "transient", dict)
    return optional(transient, "display_id", str) or None


def stream(content: Json) -> tuple[str, str]:
    """Name and text of a ``stream``."""
    return well_formed(field(content, "name", str)), _text(field(content, "text", object))


def output(kind: str, content: Json) -> Output:
    """The nbformat output of a ``display_data``, ``update_display_data``, ``execute_result`` or
    ``error``. Raises :class:`Malformed`."""
    if kind == "error":
        return {
            "output_type": "error",
            "ename": _name(content, "ename"),
            "evalue": _name(content, "evalue"),
            "traceback": [
                well_formed(line)
                for line in optional(content, "traceback", list)
                if isinstance(line, str)
            ],
        }
    result: Output = {
        "output_type": "execute_result" if kind == "execute_result" else "display_data",
        "data": _bundle(field(content, "data", dict)),
        "metadata": _metadata(optional(content, "metadata", dict)),
    }
    if kind == "execute_result":
        result["execution_count"] = _count(content.get("execution_count"))
    return result


def page(content: Json) -> Output | None:
    """What the pager of an ``execute_reply`` shows (``print?``); JupyterLab shows the first."""
    if content.get("status") != "ok":
        return None
    for payload in optional(content, "payload", list):
        if isinstance(payload, dict) and payload.get("source") == "page":
            return output("display_data", {"data": payload.get("data")})
    return None


def well_formed(text: str) -> str:
    """The text, each half of a surrogate pair replaced by U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def clean(value: Json, depth: int) -> Json:
    """A copy that a document may hold, nested at most ``depth`` deep.

    NaN and infinities become null, as a browser makes of them; integers that JavaScript can't
    hold become floats. Raises :class:`TooDeep`.
    """
    if isinstance(value, str):
        return well_formed(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if -MAX_INTEGER <= value <= MAX_INTEGER else _float(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, (dict, list, tuple)):
        if depth <= 0:
            raise TooDeep("a value is nested too deep")
        if isinstance(value, dict):
            return {well_formed(str(key)): clean(item, depth - 1) for key, item in value.items()}
        return [clean(item, depth - 1) for item in value]
    raise Malformed(f"JSON has no {type(value).__name__}")


def _float(value: int) -> float | None:
    try:
        return float(value)
    except OverflowError:
        return None


def _bundle(data: dict[Any, Json]) -> dict[str, Json]:
    result: dict[str, Json] = {}
    note = ""
    for key, value in data.items():
        mime = well_formed(str(key))
        if not _is_json(mime):
            # A number or null under text/html can't be shown and is no nbformat.
            if isinstance(value, (str, list)):
                result[mime] = _text(value)
            continue
        try:
            result[mime] = clean(value, _BUNDLE_DEPTH)
        except TooDeep:
            note = f"[{mime}: nested too deep to be shown]"
    if note:
        result.setdefault("text/plain", note)
    return result


def _is_json(mime: str) -> bool:
    """nbformat's rule: any JSON under these, text under all others."""
    return mime.startswith("application/") and (
        mime == "application/json" or mime.endswith("+json")
    )


def _metadata(value: dict[str, Json]) -> dict[str, Json]:
    try:
        result: dict[str, Json] = clean(value, _BUNDLE_DEPTH + 1)
    except TooDeep:
        return {}
    return result


def _text(value: Json) -> str:
    """A text that may be a list of lines."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        value = "".join(value)
    if not isinstance(value, str):
        raise Malformed("a text is no text")
    return well_formed(value)


def _name(content: Json, key: str) -> str:
    """A part of an error. Whatever is wrong with it, the error must be seen."""
    value = content.get(key)
    return well_formed(value) if isinstance(value, str) else ""


def _count(value: Json) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_INTEGER:
        return value
    return None
