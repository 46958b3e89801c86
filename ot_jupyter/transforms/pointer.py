"""JSON Pointers (RFC 6901) as tuples of decoded segments.

Paths are compared as segments, never as texts: ``/metadata/a`` is no ancestor of ``/metadata/ab``.
"""

from __future__ import annotations

import re
from functools import lru_cache

from .values import Refused

Segments = tuple[str, ...]

_BAD_ESCAPE = re.compile(r"~(?![01])")


@lru_cache(maxsize=16384)
def segments(path: str) -> Segments:
    """The decoded segments of a pointer; ``""`` is the root and has none.

    Raises :class:`Refused` where ``~`` is not followed by 0 or 1, or the text does not start
    with a slash.
    """
    if path == "":
        return ()
    if path[0] != "/":
        raise Refused("bad_pointer", "a path is empty or starts with '/'")
    if _BAD_ESCAPE.search(path):
        raise Refused("bad_pointer", "'~' stands only in '~0' (for '~') and '~1' (for '/')")
    parts = path[1:].split("/")
    if "~" in path:
        parts = [part.replace("~1", "/").replace("~0", "~") for part in parts]
    return tuple(parts)


def pointer(*parts: str | int) -> str:
    """The pointer with these segments: ``pointer("cells", "a/b")`` is ``/cells/a~1b``."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)
