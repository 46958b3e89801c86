"""Large outputs: kept beside the document, referred to by what is in them.

An output may have the key ``blobs``: ``{field: {"hash", "size", "type"}}``, where the field is
``text`` of a stream, ``traceback`` of an error, or a media type in ``data``. Of a text and a
traceback an excerpt stays in the output; a media type is left out of ``data``. The content is the
text in UTF-8, or the JSON (with sorted keys, as in a file) of a traceback and of a value whose
media type is JSON; ``size`` counts its bytes, ``hash`` is that of :func:`blob_hash`. Equal content
has an equal name: so references are compared and merged as the outputs themselves would be.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Any, Final, TypeAlias

import orjson

from .values import Change, Document, Json, Operation, is_notebook

Output: TypeAlias = dict[str, Any]
Contents: TypeAlias = dict[str, bytes]

OUTPUT_LIMIT: Final = 64 * 1024  # bytes of one field's content; a larger one is a blob
HEAD: Final = 16 * 1024  # code points of a text's beginning that stay visible
TAIL: Final = 4 * 1024  # … and of its end
NEAR: Final = 1024  # code points; a line's end within these is where an excerpt is cut

BLOB_HASH: Final = re.compile(r"[0-9a-f]{32}")
_JSON_TYPE: Final = re.compile(r"application/(.*\+)?json")
_HASH_BYTES: Final = 16
_MOST_BYTES: Final = 6  # that a code point takes in JSON
_MISSING: Final = object()


def blob_hash(content: bytes) -> str:
    """The name of a content."""
    return blake2b(content, digest_size=_HASH_BYTES).hexdigest()


def new_blob_hash() -> blake2b:
    """The same, for a content that comes in pieces: ``update``, then ``hexdigest``."""
    return blake2b(digest_size=_HASH_BYTES)


def excerpt(head: str, tail: str, size: int) -> str:
    """What stays visible of a text of ``size`` bytes, with a note in between.

    ``head`` is its first :data:`HEAD` code points, ``tail`` its last :data:`TAIL` (or all of a
    shorter text): no more has to be known.
    """
    doubled = len(head.encode()) + len(tail.encode()) - size
    if doubled > 0:
        tail = tail.encode()[doubled:].decode()
    cut = head.rfind("\n", max(0, len(head) - NEAR))
    head = head[:cut] if cut >= 0 else head
    tail = tail[tail.find("\n", 0, NEAR) + 1 :]
    note = f"[… {size:,} bytes in all; the middle is not shown, the file keeps it in full …]"
    return f"{head}\n{note}\n{tail}"


def _excerpt_of(text: str) -> str:
    return excerpt(text[:HEAD], text[-TAIL:], len(text.encode()))


# Out of the document, and into it again.


def detach(output: Output, limit: int = OUTPUT_LIMIT) -> tuple[Output, Contents]:
    """The output with references in place of what has more than ``limit`` bytes, and the contents
    by their hashes. Nothing is large: the same object, and none. What is a reference already, and
    what no file may hold, is left alone."""
    held = references_of(output)
    found = {
        field: (media_type, content)
        for field, value, media_type in _fields(output)
        if field not in held and (content := _large(value, media_type, limit)) is not None
    }
    if not found:
        return output, {}
    new = dict(output)
    new["blobs"] = dict(held)
    contents: Contents = {}
    for field, (media_type, content) in found.items():
        name = blob_hash(content)
        contents[name] = content
        new["blobs"][field] = {"hash": name, "size": len(content), "type": media_type}
    match output["output_type"]:
        case "stream":
            new["text"] = _excerpt_of(output["text"])
        case "error":
            new["traceback"] = [_excerpt_of("\n".join(output["traceback"]))]
        case _:
            new["data"] = {key: item for key, item in output["data"].items() if key not in found}
    return new, contents


def attach(output: Output, contents: Mapping[str, bytes]) -> Output:
    """The output in full, without ``blobs``. What is missing among the contents is left as an
    excerpt, or told in ``text/plain`` if there is none."""
    if "blobs" not in output:
        return output
    full = {key: value for key, value in output.items() if key != "blobs"}
    for field, reference in references_of(output).items():
        value = _value(contents.get(reference["hash"]), reference["type"])
        if output["output_type"] == "stream":
            full["text"] = value if isinstance(value, str) else output["text"]
        elif output["output_type"] == "error":
            full["traceback"] = value if _is_lines(value) else output["traceback"]
        elif value is _MISSING:
            full["data"] = {"text/plain": _lost(field, reference["size"]), **full["data"]}
        else:
            full["data"] = {**full["data"], field: value}
    return full


def references_of(output: Output) -> dict[str, Any]:
    """The output's references that are as they must be, by field."""
    blobs = output.get("blobs")
    if not isinstance(blobs, dict) or not _can_refer(output):
        return {}
    return {field: one for field, one in blobs.items() if reference_fits(output, field, one)}


def reference_fits(output: Output, field: str, reference: Json) -> bool:
    """Whether the output may refer to this for that field."""
    if not isinstance(reference, dict) or reference.keys() != {"hash", "size", "type"}:
        return False
    name, size = reference["hash"], reference["size"]
    return (
        reference["type"] == _type_of(output, field)
        and isinstance(name, str)
        and BLOB_HASH.fullmatch(name) is not None
        and type(size) is int
        and size >= 0
    )


def _can_refer(output: Output) -> bool:
    match output.get("output_type"):
        case "stream":
            return isinstance(output.get("text"), str)
        case "error":
            return _is_lines(output.get("traceback"))
        case "display_data" | "execute_result":
            return isinstance(output.get("data"), dict)
    return False


def _type_of(output: Output, field: str) -> str | None:
    """The type of a field's content; None if the output has no such field."""
    match output.get("output_type"):
        case "stream":
            return "text/plain" if field == "text" else None
        case "error":
            return "application/json" if field == "traceback" else None
        case "display_data" | "execute_result":
            return field
    return None


def _fields(output: Output) -> Iterator[tuple[str, Json, str]]:
    """What of an output may be large: field, value, type of the content."""
    if not _can_refer(output):
        return
    match output["output_type"]:
        case "stream":
            yield "text", output["text"], "text/plain"
        case "error":
            yield "traceback", output["traceback"], "application/json"
        case _:
            for media_type, value in output["data"].items():
                yield media_type, value, media_type


def _large(value: Json, media_type: str, limit: int) -> bytes | None:
    """The content, if it has more bytes than that; None also for what is no legal value."""
    if _JSON_TYPE.fullmatch(media_type):
        if _is_lines(value) and sum(map(len, value)) * _MOST_BYTES + 3 * len(value) + 2 <= limit:
            return None  # most tracebacks: never written out
        content = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    elif not isinstance(value, str) or 4 * len(value) <= limit:
        return None
    else:
        content = value.encode()
    return content if len(content) > limit else None


def _value(content: bytes | None, media_type: str) -> Json:
    """The value that has this content; ``_MISSING`` if it is not known, or is another's."""
    if content is None:
        return _MISSING
    try:
        return orjson.loads(content) if _JSON_TYPE.fullmatch(media_type) else content.decode()
    except ValueError:
        return _MISSING


def _is_lines(value: Json) -> bool:
    return isinstance(value, list) and all(isinstance(line, str) for line in value)


def _lost(field: str, size: int) -> str:
    return f"[{field}, {size:,} bytes: it is kept no more]"


# Of whole documents.


def detach_document(document: Document, limit: int = OUTPUT_LIMIT) -> tuple[Document, Contents]:
    """The document with its large outputs detached, and their contents."""
    contents: Contents = {}

    def take(output: Output) -> Output:
        new, found = detach(output, limit)
        contents.update(found)
        return new

    return _with_outputs(document, take), contents


def detach_within(value: Json, limit: int = OUTPUT_LIMIT) -> tuple[Json, Contents]:
    """The same for any JSON, wherever there are outputs in it: a cell, some, a JSON Patch."""
    contents: Contents = {}

    def take(item: Json) -> Json:
        if isinstance(item, list):
            return [take(one) for one in item]
        if not isinstance(item, dict):
            return item
        if isinstance(item.get("output_type"), str):
            new, found = detach(item, limit)
            contents.update(found)
            return new
        return {key: take(one) for key, one in item.items()}

    return take(value), contents


def attach_document(document: Document, contents: Mapping[str, bytes]) -> Document:
    """The document with its outputs in full, as far as their contents are there."""
    return _with_outputs(document, lambda output: attach(output, contents))


def references(value: Json) -> set[str]:
    """The hashes that a document, or a change, refers to."""
    outputs = _outputs_of_change(value) if isinstance(value, list) else _outputs(value)
    return {
        reference["hash"]
        for output in outputs
        if "blobs" in output
        for reference in references_of(output).values()
    }


def _outputs(document: Document) -> Iterator[Output]:
    if is_notebook(document):
        for cell in document["cells"].values():
            yield from cell["outputs"]


def _outputs_of_change(change: Change) -> Iterator[Output]:
    for operation in change:
        if operation["op"] == "add":
            yield from operation["value"]["outputs"]
        elif operation["op"] == "edit":
            yield from _inserted(operation)


def _inserted(operation: Operation) -> Iterable[Output]:
    return (item for part in operation["delta"] if isinstance(part, list) for item in part)


def _with_outputs(document: Document, function: Callable[[Output], Output]) -> Document:
    """The document with each output replaced; it shares what stays."""
    if not is_notebook(document):
        return document
    changed = {}
    for name, cell in document["cells"].items():
        new = [function(output) for output in cell["outputs"]]
        if any(one is not other for one, other in zip(new, cell["outputs"], strict=True)):
            changed[name] = {**cell, "outputs": new}
    return {**document, "cells": {**document["cells"], **changed}} if changed else document
