"""The heart: two changes made for one state, each rewritten to apply after the other.

``transform(a, b, later=…)`` knows which of the two was committed *later*. The server transforms a
submission as the later one over each entry that its author had not seen; a client transforms an
entry as the earlier one over what it has pending. Same function, same roles, same order: equal
documents. As the log is a total order, the first transformation property (TP1) is enough:

    apply(apply(d, a), transform(b, a)) == apply(apply(d, b), transform(a, b))

Operations inside cells carry the cell's id, so moves never touch them. Operations on the order of
the cells carry the id and indexes: ids say "the same cell", indexes are transformed.
"""

from __future__ import annotations

from typing import Any

from .delta import apply_delta, transform_delta
from .pointer import Segments, segments
from .values import Change, Operation


def transform(a: Operation, b: Operation, *, later: bool) -> Change:
    """``a``, rewritten to apply after ``b``: none, one or two operations.

    Both are valid operations for one document; ``later`` says that ``a`` is committed after ``b``.
    The rules are the table of ``docs/algebra.md``.
    """
    path_a, path_b = a["path"], b["path"]
    if path_a == path_b:
        if a["op"] == "edit" and b["op"] == "edit":
            return _edit_over_edit(a, b, later)
    elif a["op"] == "edit" and b["op"] == "edit":
        return [a]
    if b["op"] in ("run", "test") or a["op"] == "test":
        return [a]
    where_a, where_b = segments(path_a), segments(path_b)
    if "index" in b:
        if "index" in a:
            return _order_over_order(a, b, where_a[1], where_b[1], later)
        inside = where_a[:2] == where_b
        return [] if inside and b["op"] == "remove" else [a]
    if "index" in a:
        if a["op"] == "add" and where_b[:2] == where_a:
            return [written_into(a, where_b[2:], b)]
        return [a]
    if a["op"] == "run":
        return [a]
    return _write_over_write(a, b, where_a, where_b, later)


def _edit_over_edit(a: Operation, b: Operation, later: bool) -> Change:
    delta = transform_delta(a["delta"], b["delta"], later)
    return [{**a, "delta": delta}] if delta else []


# Registers: keys of objects. The later write wins; a removed container wins over writes inside.


def _write_over_write(
    a: Operation, b: Operation, where_a: Segments, where_b: Segments, later: bool
) -> Change:
    if where_a == where_b:
        if a["op"] == "remove" and b["op"] == "remove":
            return []
        return [a] if later else []
    if where_a[: len(where_b)] == where_b:  # a writes inside what b wrote
        if later and b["op"] == "replace":
            return [a] if _has_place(b["value"], where_a[len(where_b) :], a) else []
        return []
    if where_b[: len(where_a)] == where_a:  # a writes what b wrote inside of
        if not later and a["op"] == "replace":
            return [written_into(a, where_b[len(where_a) :], b)]
        return [a]
    return [a]


def _has_place(value: Any, where: Segments, operation: Operation) -> bool:
    """Whether a write finds its way in the value (for a removal: and its key)."""
    for key in where[:-1]:
        if type(value) is not dict or key not in value:
            return False
        value = value[key]
    return type(value) is dict and (operation["op"] != "remove" or where[-1] in value)


def written_into(a: Operation, where: Segments, b: Operation) -> Operation:
    """``a`` with ``b``, which goes to ``where`` in a's value, written into that value.

    For an ``add`` this can't be a race (who writes into a cell that is not there yet?); it is how
    a foreign edit of a removed cell gets into the removal's inverse, so that undo brings it back.
    """
    if not _has_place(a["value"], where, b):
        return a
    value = root = dict(a["value"])
    for key in where[:-1]:
        value[key] = dict(value[key])
        value = value[key]
    key = where[-1]
    if b["op"] == "replace":
        value[key] = b["value"]
    elif b["op"] == "remove":
        del value[key]
    else:
        value[key] = apply_delta(value[key], b["delta"])
    return {**a, "value": root}


# The order of the cells. An operation takes a cell out at an index, or puts one into a gap, or
# both; the gap of a move is counted in the list without the moved cell.


def _order_over_order(a: Operation, b: Operation, id_a: str, id_b: str, later: bool) -> Change:
    if id_a == id_b:
        return _same_cell(a, b, later)
    taken_a = a["index"] if a["op"] != "add" else None
    taken_b = b["index"] if b["op"] != "add" else None
    result = dict(a)
    if taken_a is not None:
        result["index"] = _index_after(taken_a, taken_b, _gap(b))
    gap_a = _gap(a)
    if gap_a is not None:
        field = "to" if a["op"] == "move" else "index"
        result[field] = _gap_after(gap_a, taken_a, _gap(b), taken_b, later)
    if a["op"] == "move" and result["to"] == result["index"]:
        return []
    return [result]


def _same_cell(a: Operation, b: Operation, later: bool) -> Change:
    verbs = (a["op"], b["op"])
    if verbs == ("add", "add"):
        # Both undid one removal. The earlier cell stands, so that the later author's next
        # operations find the cell that everyone has.
        if later:
            return []
        return [{"op": "remove", "path": a["path"], "index": b["index"]}, a]
    if verbs in (("remove", "move"), ("add", "move")):
        # An add meets a move as the inverse of a pending removal: undo puts the cell where the
        # other has moved it.
        return [{**a, "index": b["to"]}]
    if verbs == ("move", "move") and later:
        return [] if a["to"] == b["to"] else [{**a, "index": b["to"]}]
    return []


def _gap(operation: Operation) -> int | None:
    """The gap into which an operation puts a cell."""
    verb = operation["op"]
    if verb == "remove":
        return None
    gap: int = operation["index" if verb == "add" else "to"]
    return gap


def _index_after(index: int, taken: int | None, gap: int | None) -> int:
    """Where the cell at ``index`` is after another was taken out at ``taken``, put at ``gap``."""
    if taken is not None and taken < index:
        index -= 1
    if gap is not None and gap <= index:
        index += 1
    return index


def _without(gap: int, index: int) -> int:
    """A gap, counted in the list without the cell at ``index``."""
    return gap - 1 if index < gap else gap


def _gap_after(
    gap_a: int, taken_a: int | None, gap_b: int | None, taken_b: int | None, later: bool
) -> int:
    """Gap a after b. Both gaps are first counted in the list without either moved cell: only
    there do both sides see the same numbers, whichever comes first."""
    if taken_b is not None:
        gap_a = _without(
            gap_a, taken_b if taken_a is None else _index_after(taken_b, taken_a, None)
        )
    if gap_b is None:
        return gap_a
    if taken_a is not None:
        gap_b = _without(
            gap_b, taken_a if taken_b is None else _index_after(taken_a, taken_b, None)
        )
    if gap_b < gap_a or (gap_b == gap_a and not later):
        return gap_a + 1
    return gap_a


# Changes.


def transform_changes(a: Change, b: Change, *, later: bool) -> tuple[Change, Change]:
    """Both changes, each rewritten to apply after the other: ``(a over b, b over a)``.

    Every operation of one against every operation of the other, in their orders (the grid); an
    operation may become none, one or two.
    """
    if len(a) == 1 and len(b) == 1:
        return transform(a[0], b[0], later=later), transform(b[0], a[0], later=not later)
    over_b: Change = []
    for operation in a:
        crossing = [operation]
        b_after: Change = []
        for other in b:
            crossing, other_after = _cross(crossing, other, later)
            b_after += other_after
        over_b += crossing
        b = b_after
    return over_b, b


def _cross(a: Change, other: Operation, later: bool) -> tuple[Change, Change]:
    if not a:
        return a, [other]
    return transform_changes(a, [other], later=later)


def transform_change(a: Change, b: Change, *, later: bool) -> Change:
    """``a`` over ``b`` where nobody needs ``b`` over ``a``."""
    if len(a) == 1:
        over = a
        for other in b:
            if len(over) != 1:
                return transform_changes(a, b, later=later)[0] if over else []
            over = transform(over[0], other, later=later)
        return over
    return transform_changes(a, b, later=later)[0]
