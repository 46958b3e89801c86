"""Edits of a sequence: a text, or a list of outputs.

A *delta* is a list of parts that walk over the old sequence: ``12`` retains twelve elements,
``"abc"`` (or ``[item, …]``) inserts, ``-2`` deletes two. What is left at the end is retained.
Elements of a text are Unicode code points.

In a list of outputs a part may also be ``{"text": delta}``: it stands for one item, which stays and
whose ``text`` is edited. Such an object has one key, so the ``len`` of every part that is no number
is how many elements it stands for.

Deltas are canonical: no empty part, no two adjacent parts of a kind (edits of items apart: each
stands alone), an insert before a delete at one place, no retain at the end. Equal effects in other
forms would break ties differently, so other forms are refused, and every function here returns
canonical ones.

The algorithms are those of the ot-text family (ShareDB's text type, Quill's Delta).
"""

from __future__ import annotations

from collections.abc import Iterator
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
    elif type(part) is dict:
        delta.append(part)
    elif type(last) is not int:
        if type(last) is dict:
            delta.append(part)
        else:
            delta[-1] = last + part
    elif last > 0:
        delta.append(part)
    elif len(delta) > 1 and type(delta[-2]) is not int and type(delta[-2]) is not dict:
        delta[-2] = delta[-2] + part
    else:
        delta.insert(-1, part)


def _push_edit(delta: Delta, text: Delta) -> None:
    """Append the edit of one item's text; one without effect retains the item."""
    _push(delta, {"text": text} if text else 1)


def _trim(delta: Delta) -> Delta:
    """Drop the retain at the end."""
    if delta and type(delta[-1]) is int and delta[-1] > 0:
        delta.pop()
    return delta


def canonical(delta: Delta) -> Delta:
    """The canonical delta with the same effect."""
    result: Delta = []
    for part in delta:
        if type(part) is dict:
            _push_edit(result, canonical(part["text"]))
        else:
            _push(result, part)
    return _trim(result)


def check_delta(delta: object, insert: type[str] | type[list[object]]) -> None:
    """Raise :class:`Refused` unless this is a canonical delta whose inserts are of that type.

    Only a delta whose inserts are lists may edit items. The strings themselves are checked
    elsewhere (they are values like any other).
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
        elif type(part) is dict and insert is list:
            _check_item_edit(part, where)
            kind = "edit"
        else:
            expected = "or text" if insert is str else "a list of outputs or the edit of one"
            raise Refused("wrong_type", f"a part is an integer, {expected}", where)
        if kind == before and kind != "edit":
            raise Refused("not_canonical", f"two {kind} parts stand side by side", where)
        if kind == "insert" and before == "delete":
            raise Refused("not_canonical", "an insert stands before a delete", where)
        before = kind
    if before == "retain":
        raise Refused("not_canonical", "a delta does not end with a retain", f"/{len(delta) - 1}")


def _check_item_edit(part: dict[object, object], where: str) -> None:
    if part.keys() != {"text"}:
        raise Refused("wrong_type", "the edit of an item has 'text' and nothing else", where)
    try:
        check_delta(part["text"], str)
    except Refused as refused:
        raise refused.within(where + "/text") from None


def apply_delta(sequence: Sequence, delta: Delta) -> Sequence:
    """The sequence after the edit. Raises :class:`Refused` where the delta reaches beyond it, or
    edits the text of an item that has none. Items are copied, never written into."""
    pieces: list[Any] = []
    at = 0
    for part in delta:
        if type(part) is not int:
            if type(part) is dict:
                pieces.append(_edited(sequence[at : at + 1], part, delta))
                at += 1
            else:
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


def _edited(items: Any, edit: dict[str, Delta], delta: Delta) -> list[Any]:
    """The items (one, or none beyond the end), each with its text edited; ``delta`` is that which
    the edit is a part of."""
    try:
        for item in items:
            if type(item) is not dict or type(item.get("text")) is not str:
                raise Refused("not_found", "the item has no text")
        return [{**item, "text": apply_delta(item["text"], edit["text"])} for item in items]
    except Refused as refused:
        index = next(index for index, part in enumerate(delta) if part is edit)
        raise refused.within(f"/{index}/text") from None


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
            if type(part) is dict:
                other = _transform_edit(result, part, other, parts, later)
                continue
            # An insert of b at this very place comes first.
            if not later and other is not None and type(other) in (str, list):
                _push(result, len(other))
                other = next(parts, None)
            _push(result, part)
            continue
        while part:
            if other is None:
                _push(result, part)
                break
            if type(other) is not int:
                if type(other) is dict:  # to a retain or a delete it is a retain of one
                    other = 1
                    continue
                _push(result, len(other))
                other = next(parts, None)
                continue
            step = min(abs(part), abs(other))
            if other > 0:
                _push(result, step if part > 0 else -step)
            part = _shorter(part, step)
            other = _shorter(other, step) or next(parts, None)
    return _trim(result)


def _transform_edit(
    result: Delta, edit: dict[str, Delta], other: Any, parts: Iterator[Any], later: bool
) -> Any:
    """Append the edit of an item, rewritten; ``other`` is what is left of the other delta's part
    at this place, and what is left after it is returned."""
    while type(other) is list:
        _push(result, len(other))
        other = next(parts, None)
    if other is None:
        _push(result, edit)
        return None
    if type(other) is dict:
        _push_edit(result, transform_delta(edit["text"], other["text"], later))
        return next(parts, None)
    if other > 0:
        _push(result, edit)
    return _shorter(other, 1) or next(parts, None)


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
            if type(part) is dict:
                _compose_edit(result, reader, part["text"])
                continue
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
            elif type(other) is dict:
                _push(result, other if part > 0 else -1)
            elif part > 0:
                start = reader.offset
                _push(result, other[start : start + step])
            reader.take(step)
            length -= step
    while (other := reader.peek()) is not None:
        left = reader.left()
        if isinstance(other, int):
            _push(result, left if other > 0 else -left)
        elif type(other) is dict:
            _push(result, other)
        else:
            _push(result, other[reader.offset :])
        reader.take(left)
    return _trim(result)


def _compose_edit(result: Delta, reader: _Reader, text: Delta) -> None:
    """Append what comes of the next item, when its text is then edited."""
    while isinstance(other := reader.peek(), int) and other < 0:
        _push(result, -reader.left())
        reader.take(reader.left())
    if other is None or isinstance(other, int):
        _push(result, {"text": text})
    elif type(other) is dict:
        _push_edit(result, compose_delta(other["text"], text))
    else:
        item = other[reader.offset]
        _push(result, [{**item, "text": apply_delta(item["text"], text)}])
    reader.take(1)


def invert_delta(sequence: str | list[Any], delta: Delta) -> Delta:
    """The delta that takes ``delta`` back; ``sequence`` is the one before it."""
    result: Delta = []
    at = 0
    for part in delta:
        if type(part) is dict:
            old: Any = sequence[at]
            _push(result, {"text": invert_delta(old["text"], part["text"])})
            at += 1
        elif not isinstance(part, int):
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
        if type(part) is dict:
            at += 1
        elif not isinstance(part, int):
            result += len(part)
        elif part > 0:
            at += part
        else:
            result -= min(-part, offset - at)
            at -= part
    return result
