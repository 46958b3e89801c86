"""Edits of a sequence: a text, or a list of outputs.

A *delta* is a list of parts that walk over the old sequence: ``12`` retains twelve elements,
``"abc"`` (or ``[item, …]``) inserts, ``-2`` deletes two. What is left at the end is retained.
Elements of a text are Unicode code points.

Deltas are canonical: no empty part, no two adjacent parts of a kind, an insert before a delete at
one place, no retain at the end. Equal effects in other forms would break ties differently, so
other forms are refused, and every function here returns canonical ones.

The algorithms are those of the ot-text family (ShareDB's text type, Quill's Delta).
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

from .values import Delta, Refused

Sequence = TypeVar("Sequence", str, list)  # type: ignore[type-arg]


def _push(delta: Delta, part: Any) -> None:
    """Append a part, keeping the delta canonical but for a retain at the end."""
    if not part:
        return
    if not delta:
        delta.append(part)
        return
    last = delta[-1]
    if type(part) is int:
        if type(last) is int and (part > 0) == (last > 0):
            delta[-1] = last + part
        else:
            delta.append(part)
    elif type(last) is not int:
        delta[-1] = last + part
    elif last > 0:
        delta.append(part)
    elif len(delta) > 1 and type(delta[-2]) is not int:
        delta[-2] = delta[-2] + part
    else:
        delta.insert(-1, part)


def _trim(delta: Delta) -> Delta:
    """Drop the retain at the end."""
    if delta and type(delta[-1]) is int and delta[-1] > 0:
        delta.pop()
    return delta


def canonical(delta: Delta) -> Delta:
    """The canonical delta with the same effect."""
    result: Delta = []
    for part in delta:
        _push(result, part)
    return _trim(result)


def check_delta(delta: object, insert: type[str] | type[list[object]]) -> None:
    """Raise :class:`Refused` unless this is a canonical delta whose inserts are of that type.

    The strings themselves are checked elsewhere (they are values like any other).
    """
    if not isinstance(delta, list):
        raise Refused("wrong_type", "a delta is a list of retains, inserts and deletes")
    if not delta:
        raise Refused("no_effect", "an edit has at least one insert or delete")
    before = ""
    for index, part in enumerate(delta):
        where = f"/{index}"
        if type(part) is int:
            if part == 0:
                raise Refused("not_canonical", "a delta has no 0", where)
            kind = "retain" if part > 0 else "delete"
        elif type(part) is insert:
            if not part:
                raise Refused("not_canonical", "a delta has no empty insert", where)
            kind = "insert"
        else:
            expected = "text" if insert is str else "a list of outputs"
            raise Refused("wrong_type", f"a part is an integer or {expected}", where)
        if kind == before:
            raise Refused("not_canonical", f"two {kind} parts stand side by side", where)
        if kind == "insert" and before == "delete":
            raise Refused("not_canonical", "an insert stands before a delete", where)
        before = kind
    if before == "retain":
        raise Refused("not_canonical", "a delta does not end with a retain", f"/{len(delta) - 1}")


def apply_delta(sequence: Sequence, delta: Delta) -> Sequence:
    """The sequence after the edit. Raises :class:`Refused` where the delta reaches beyond it."""
    pieces: list[Any] = []
    at = 0
    for part in delta:
        if type(part) is not int:
            pieces.append(part)
        elif part > 0:
            pieces.append(sequence[at : at + part])
            at += part
        else:
            at -= part
    if at > len(sequence):
        raise Refused("out_of_range", f"the edit reaches {at}, the length is {len(sequence)}")
    pieces.append(sequence[at:])
    joined: Any = (
        "".join(pieces) if type(sequence) is str else [item for piece in pieces for item in piece]
    )
    return cast(Sequence, joined)


def transform_delta(a: Delta, b: Delta, later: bool) -> Delta:
    """``a``, rewritten to apply after ``b``; both were made for the same sequence.

    ``later``: ``a`` was committed after ``b``. Where both insert at one place the later one goes
    left, so that two people who type at one spot leave two whole runs (see ``position``).
    """
    result: Delta = []
    parts = iter(b)
    other = next(parts, None)  # what is left of the part of b at this place; None: a retain
    for part in a:
        if type(part) is not int:
            # An insert of b at this very place comes first.
            if not later and other is not None and type(other) is not int:
                _push(result, len(other))
                other = next(parts, None)
            _push(result, part)
            continue
        while part:
            if other is None:
                _push(result, part)
                break
            if type(other) is not int:
                _push(result, len(other))
                other = next(parts, None)
                continue
            step = min(abs(part), abs(other))
            if other > 0:
                _push(result, step if part > 0 else -step)
            part = _shorter(part, step)
            other = _shorter(other, step) or next(parts, None)
    return _trim(result)


def _shorter(part: int, step: int) -> int:
    """What is left of a retain or a delete."""
    return part - step if part > 0 else part + step


class _Reader:
    """Reads a delta in pieces: the other delta's parts decide how long each piece is."""

    __slots__ = ("delta", "index", "offset")

    def __init__(self, delta: Delta) -> None:
        self.delta = delta
        self.index = 0
        self.offset = 0

    def peek(self) -> Any:
        """The whole part that is being read; a retain without end after the last one."""
        return self.delta[self.index] if self.index < len(self.delta) else None

    def left(self) -> int:
        """How much of the present retain or delete is left; -1: no end."""
        if self.index >= len(self.delta):
            return -1
        part = self.delta[self.index]
        return (abs(part) if isinstance(part, int) else len(part)) - self.offset

    def take(self, length: int) -> None:
        """Go on by that much of the present part."""
        if self.index >= len(self.delta):
            return
        self.offset += length
        part = self.delta[self.index]
        if self.offset == (abs(part) if isinstance(part, int) else len(part)):
            self.index += 1
            self.offset = 0


def compose_delta(a: Delta, b: Delta) -> Delta:
    """The one delta that does ``a`` and then ``b``."""
    result: Delta = []
    reader = _Reader(a)
    for part in b:
        if not isinstance(part, int):
            # b's insert comes before what a inserts here, but after what a deleted before it.
            _push(result, part)
            continue
        length = abs(part)
        while length:
            other = reader.peek()
            if isinstance(other, int) and other < 0:
                _push(result, -reader.left())
                reader.take(reader.left())
                continue
            left = reader.left()
            step = length if left < 0 else min(length, left)
            if other is None or isinstance(other, int):
                _push(result, step if part > 0 else -step)
            elif part > 0:
                start = reader.offset
                _push(result, other[start : start + step])
            reader.take(step)
            length -= step
    while (other := reader.peek()) is not None:
        left = reader.left()
        if isinstance(other, int):
            _push(result, left if other > 0 else -left)
        else:
            _push(result, other[reader.offset :])
        reader.take(left)
    return _trim(result)


def invert_delta(sequence: str | list[object], delta: Delta) -> Delta:
    """The delta that takes ``delta`` back; ``sequence`` is the one before it."""
    result: Delta = []
    at = 0
    for part in delta:
        if not isinstance(part, int):
            _push(result, -len(part))
        elif part > 0:
            _push(result, part)
            at += part
        else:
            _push(result, sequence[at : at - part])
            at -= part
    return _trim(result)


def position_in_delta(offset: int, delta: Delta) -> int:
    """Where a caret before element ``offset`` stands after the edit.

    It stays left of what is inserted at its very place. With "the later insert goes left" this is
    one decision: one's own caret follows one's own letters (the editor moves it), and a foreign
    run begins right of it.
    """
    at = 0  # in the old sequence
    result = offset
    for part in delta:
        if at >= offset:
            break
        if not isinstance(part, int):
            result += len(part)
        elif part > 0:
            at += part
        else:
            result -= min(-part, offset - at)
            at -= part
    return result
