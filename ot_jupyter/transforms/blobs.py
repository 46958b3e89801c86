"""Large outputs: what stands in the document, and what stands beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

import orjson

OUTPUT_LIMIT: Final = 64 * 1024  # bytes
HEAD: Final = 16 * 1024  # code points of a long text that stay
TAIL: Final = 4 * 1024


def excerpt(head: str, tail: str, size: int) -> str:
    """What is shown of a text of ``size`` bytes."""
    return f"{head}\n[… {size} bytes in all …]\n{tail}"


def detach(output: dict[str, Any], limit: int) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The output with every value of its data above ``limit`` bytes replaced by a reference under
    ``blobs``, and the contents by their hashes."""
    blobs: dict[str, dict[str, Any]] = {}
    contents: dict[str, bytes] = {}
    data = output.get("data", {})
    for mime, value in data.items():
        content = value.encode() if isinstance(value, str) else orjson.dumps(value)
        if len(content) > limit:
            name = blake2b(content, digest_size=16).hexdigest()
            blobs[mime] = {"hash": name, "size": len(content), "type": mime}
            contents[name] = content
    if not blobs:
        return output, {}
    kept = {mime: value for mime, value in data.items() if mime not in blobs}
    return {**output, "data": kept, "blobs": blobs}, contents


def attach(output: dict[str, Any], contents: Mapping[str, bytes]) -> dict[str, Any]:
    """The output in full, without ``blobs``."""
    full = {key: value for key, value in output.items() if key != "blobs"}
    for field, reference in output.get("blobs", {}).items():
        content = contents[reference["hash"]]
        if field == "text":
            full["text"] = content.decode()
        else:
            is_json = re.fullmatch(r"application/(.*\+)?json", field)
            value = orjson.loads(content) if is_json else content.decode()
            full["data"] = {**full["data"], field: value}
    return full
