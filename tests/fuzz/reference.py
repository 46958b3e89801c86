"""What must come out, told in the simplest way: slow, and without the algebra under test."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, NamedTuple

from ot_jupyter.transforms import Change, Delta, Document, Operation, segments

# Sequences: a delta is a set of deleted elements, an insert in some of the gaps, and edits of the
# texts of some items.


def is_canonical(delta: Delta) -> bool:
    """No empty and no adjacent like parts, insert before delete, no retain at the end."""
    kinds = ""
    for part in delta:
        if isinstance(part, dict):
            if part.keys() != {"text"} or not is_canonical(part["text"]):
                return False
            kinds += "e"
            continue
        if isinstance(part, bool) or not isinstance(part, int | str | list) or not part:
            return False
        kinds += "i" if not isinstance(part, int) else "r" if part > 0 else "d"
    forbidden = ("ii", "rr", "dd", "di")
    return bool(kinds) and kinds[-1] != "r" and not any(pair in kinds for pair in forbidden)


class Parts(NamedTuple):
    """The deleted elements, the inserts by gap, the edits of texts by item, and how far the delta
    reaches."""

    deleted: set[int]
    inserts: dict[int, Any]
    edits: dict[int, Delta]
    reach: int


def taken_apart(delta: Delta) -> Parts:
    deleted: set[int] = set()
    inserts: dict[int, Any] = {}
    edits: dict[int, Delta] = {}
    at = 0
    for part in delta:
        if isinstance(part, dict):
            edits[at] = part["text"]
            at += 1
            continue
        if not isinstance(part, int):
            inserts[at] = inserts[at] + part if at in inserts else part
            continue
        if part < 0:
            deleted.update(range(at, at - part))
        at += abs(part)
    return Parts(deleted, inserts, edits, at)


def edited(sequence: Any, *deltas: Delta) -> Any:
    """The sequence after concurrent edits, the earliest committed first: what any of them deletes
    is gone, and in each gap the later ones' inserts stand left. So it is in the text of an item."""
    parts = [taken_apart(delta) for delta in deltas]
    assert all(part.reach <= len(sequence) for part in parts)
    result = sequence[:0]
    for gap in range(len(sequence) + 1):
        for part in reversed(parts):
            result = result + part.inserts.get(gap, sequence[:0])
        if any(gap in part.deleted for part in parts):
            continue
        kept = sequence[gap : gap + 1]
        if edits := [part.edits[gap] for part in parts if gap in part.edits]:
            kept = [{**kept[0], "text": edited(kept[0]["text"], *edits)}]
        result = result + kept
    return result


def caret(offset: int, delta: Delta) -> int:
    """Where a caret stands after an edit: left of what comes in at its own place."""
    parts = taken_apart(delta)
    kept = sum(element not in parts.deleted for element in range(offset))
    return kept + sum(len(insert) for gap, insert in parts.inserts.items() if gap < offset)


# The order of the cells: gaps are counted in the list of those that neither side touches.


def ordered(order: list[str], earlier: Operation, later: Operation) -> list[str]:
    """The order after two concurrent operations on it."""
    if earlier["path"] == later["path"]:
        verbs = {earlier["op"], later["op"]}
        winner = earlier if verbs == {"add"} else later
        if "remove" in verbs:
            winner = earlier if earlier["op"] == "remove" else later
        return ordered_by(order, winner)
    touched = {segments(operation["path"])[1] for operation in (earlier, later)}
    others = [cell_id for cell_id in order if cell_id not in touched]
    put = [(_gap(order, others, operation), operation) for operation in (later, earlier)]
    result = []
    for gap in range(len(others) + 1):
        result += [segments(op["path"])[1] for at, op in put if at == gap]
        result += others[gap : gap + 1]
    # What one side moves or adds, the other does not remove: their cells are different ones.
    return result


def _gap(order: list[str], others: list[str], operation: Operation) -> int:
    if operation["op"] == "remove":
        return -1
    cell_id = segments(operation["path"])[1]
    before = [one for one in order if one != cell_id]
    before = before[: operation["index" if operation["op"] == "add" else "to"]]
    return sum(one in others for one in before)


def ordered_by(order: list[str], operation: Operation) -> list[str]:
    cell_id = segments(operation["path"])[1]
    result = [one for one in order if one != cell_id]
    if operation["op"] != "remove":
        result.insert(operation["index" if operation["op"] == "add" else "to"], cell_id)
    return result


# Documents.


def applied(document: Document, change: Change) -> Document:
    """The document after a valid change; the wrong ones end in some exception."""
    document = deepcopy(document)
    for operation in change:
        _apply(document, deepcopy(operation))
    return document


def _apply(document: Document, operation: Operation) -> None:
    verb = operation["op"]
    where = segments(operation["path"])
    if verb == "run":
        assert where[1] in document["cells"]
        return
    if "index" in operation:
        cell_id, order = where[1], document["order"]
        if verb == "add":
            assert cell_id not in document["cells"]
            assert operation["index"] <= len(order)
            document["cells"][cell_id] = operation["value"]
        else:
            assert order[operation["index"]] == cell_id
            assert operation.get("to", 0) < len(order)
        document["order"] = ordered_by(order, operation)
        if verb == "remove":
            del document["cells"][cell_id]
        return
    container: Any = document
    for key in where[:-1]:
        container = container[key]
        assert type(container) is dict
    if verb == "edit":
        container[where[-1]] = edited(container[where[-1]], operation["delta"])
    elif verb == "remove":
        del container[where[-1]]
    else:
        container[where[-1]] = operation["value"]
