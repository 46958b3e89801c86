"""Everything that is small, without chance: each function takes the algebra and a bound, so that
the mutation list can run a smaller bound on an algebra with a rule broken.

Covered, always for every ordered pair (earlier, later), so both roles:

- every pair of operations on the order, on lists of up to 6 cells, with ids of their own and one
  id that both add: the order must be the one of the reference, the content the right one;
- every pair of batches of two such operations on lists of up to 3 cells, with ids of their own,
  one that both add, and cells brought back after their removal (about 100,000 pairs); on lists of
  up to 2 cells also with edits in the cells. The names of cells don't matter to the algebra, so
  lists that differ only in names are one case;
- every pair of canonical deltas on texts of up to 3 letters with inserts of one letter: transform,
  compose with every delta that can follow, invert, and every caret;
- the same for deltas on lists of up to 2 items that keep, remove or edit each item, in several
  ways;
- every pair of writes to registers of a small tree, and of batches of two on a smaller one, where
  also every three are composed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from types import ModuleType
from typing import Any

from ot_jupyter import transforms
from ot_jupyter.transforms import Change, Delta, Document, Operation, apply, new_cell, pointer

from .reference import applied, caret, edited, is_canonical, ordered

# The order of the cells.


def notebook(count: int) -> Document:
    order = list("abcdef"[:count])
    cells = {cell_id: new_cell("code", cell_id * 2) for cell_id in order}
    return {"cells": cells, "order": order, "metadata": {}}


def order_operations(document: Document, new: Sequence[str], side: str) -> Iterator[Operation]:
    """Every operation on the order; ``side`` marks the content of the cells that it adds."""
    order = document["order"]
    for cell_id in new:
        if cell_id not in order:
            for index in range(len(order) + 1):
                value = new_cell("code", side)
                yield {"op": "add", "path": f"/cells/{cell_id}", "index": index, "value": value}
    for index, cell_id in enumerate(order):
        path = f"/cells/{cell_id}"
        yield {"op": "remove", "path": path, "index": index}
        for to in range(len(order)):
            if to != index:
                yield {"op": "move", "path": path, "index": index, "to": to}


def edit_operations(document: Document, side: str) -> Iterator[Operation]:
    """For each cell an edit that fits only its own present source."""
    for cell_id in document["order"]:
        length = len(document["cells"][cell_id]["source"])
        delta = [length - 1, side, -1] if length > 1 else [side]
        yield {"op": "edit", "path": f"/cells/{cell_id}/source", "delta": delta}


def check_order_pairs(algebra: ModuleType, most: int) -> None:
    for count in range(most + 1):
        document = notebook(count)
        sides = [list(order_operations(document, (new, "s"), new)) for new in ("x", "y")]
        for earlier, later in product(*sides):
            earlier_over = algebra.transform(earlier, later, later=False)
            later_over = algebra.transform(later, earlier, later=True)
            merged = algebra.apply(algebra.apply(document, [earlier]), later_over)
            assert merged == algebra.apply(algebra.apply(document, [later]), earlier_over)
            assert merged["order"] == ordered(document["order"], earlier, later)
            assert set(merged["order"]) == set(merged["cells"])
            added = {op["path"][-1]: op["value"] for op in (later, earlier) if op["op"] == "add"}
            assert merged["cells"].items() >= added.items()  # of two of one id the earlier one
            for result in (*earlier_over, *later_over):
                assert result["op"] != "move" or result["index"] != result["to"]


def batches(document: Document, new: str, edits: bool) -> Iterator[tuple[Change, Document]]:
    """Every batch of two operations, with the document after it."""
    ids = (new, "s", *document["order"])

    def operations(state: Document) -> Iterator[Operation]:
        yield from order_operations(state, ids, new)
        if edits:
            yield from edit_operations(state, new)

    for first in operations(document):
        between = apply(document, [first])
        for second in operations(between):
            yield [first, second], apply(between, [second])


def check_batch_pairs(algebra: ModuleType, most: int, edits: bool) -> int:
    pairs = 0
    for count in range(most + 1):
        document = notebook(count)
        sides = [list(batches(document, new, edits)) for new in ("x", "y")]
        for (earlier, after_earlier), (later, after_later) in product(*sides):
            over_later, over_earlier = algebra.transform_changes(earlier, later, later=False)
            merged = algebra.apply(after_earlier, over_earlier)
            assert merged == algebra.apply(after_later, over_later)
            assert len(merged["order"]) == len(merged["cells"])
            gone = {op["path"][-1] for op in (*earlier, *later) if op["op"] == "remove"}
            assert set(merged["cells"]) >= set(document["order"]) - gone
            pairs += 1
    return pairs


def test_order_pairs() -> None:
    check_order_pairs(transforms, 6)


def test_batch_pairs() -> None:
    assert check_batch_pairs(transforms, 3, edits=False) > 100_000


def test_batch_pairs_with_edits() -> None:
    assert check_batch_pairs(transforms, 2, edits=True) > 25_000


def test_batches_invert_and_compose() -> None:
    check_batches(transforms, 3)


def check_batches(algebra: ModuleType, most: int) -> None:
    """Each batch of two, and composed of its two operations."""
    for count in range(most + 1):
        document = notebook(count)
        for batch, after in batches(document, "x", edits=True):
            assert algebra.apply(document, batch) == applied(document, batch) == after
            assert algebra.apply(after, algebra.invert(document, batch)) == document
            composed = algebra.compose(batch[:1], batch[1:])
            assert algebra.apply(document, composed) == after


def test_one_operation_over_a_batch() -> None:
    check_one_over_batch(transforms, 2)


def check_one_over_batch(algebra: ModuleType, most: int) -> None:
    """The short way, where nobody asks for the batch over the operation."""
    for count in range(most + 1):
        document = notebook(count)
        ones = [
            *order_operations(document, ("x", "s"), "x"),
            *edit_operations(document, "x"),
            *({"op": "run", "path": f"/cells/{cell_id}"} for cell_id in document["order"]),
        ]
        for one, (batch, _) in product(ones, batches(document, "y", edits=True)):
            for later in (True, False):
                both = algebra.transform_changes([one], batch, later=later)
                assert algebra.transform_change([one], batch, later=later) == both[0]
                assert algebra.transform_change(batch, [one], later=not later) == both[1]


# Sequences.


def deltas(length: int, letters: str) -> Iterator[Delta]:
    """Every canonical delta with inserts of one letter: ``letters[gap]`` in that gap. After a
    deleted element there is none: it belongs before the deletion."""
    for kept in product((True, False), repeat=length):
        gaps = [gap for gap in range(length + 1) if gap == 0 or kept[gap - 1]]
        for chosen in product((False, True), repeat=len(gaps)):
            inserted = {gap for gap, choice in zip(gaps, chosen, strict=True) if choice}
            delta: Delta = []
            for gap in range(length + 1):
                if gap in inserted:
                    delta.append(letters[gap])
                if gap < length:
                    step = 1 if kept[gap] else -1
                    if delta and isinstance(delta[-1], int) and delta[-1] * step > 0:
                        delta[-1] += step
                    else:
                        delta.append(step)
            if delta and isinstance(delta[-1], int) and delta[-1] > 0:
                delta.pop()
            if delta:
                yield delta


def check_delta_pairs(algebra: ModuleType, most: int) -> None:
    module = algebra.delta
    for length in range(most + 1):
        text = "abc"[:length]
        for earlier, later in product(deltas(length, "PQRS"), deltas(length, "wxyz")):
            expected = edited(text, earlier, later)
            over_later = module.transform_delta(earlier, later, False)
            over_earlier = module.transform_delta(later, earlier, True)
            for delta in (over_later, over_earlier):
                assert not delta or is_canonical(delta)
            assert module.apply_delta(edited(text, later), over_later) == expected
            assert module.apply_delta(edited(text, earlier), over_earlier) == expected


def check_single_deltas(algebra: ModuleType, most: int) -> None:
    module = algebra.delta
    for length in range(most + 1):
        text = "abc"[:length]
        for delta in deltas(length, "PQRS"):
            after = edited(text, delta)
            module.check_delta(delta, str)
            assert module.canonical(delta) == delta
            assert module.apply_delta(text, delta) == after
            as_list = [[part] if isinstance(part, str) else part for part in delta]
            assert module.apply_delta(list(text), as_list) == list(after)
            inverse = module.invert_delta(text, delta)
            assert is_canonical(inverse)
            assert module.apply_delta(after, inverse) == text
            for offset in range(length + 1):
                assert module.position_in_delta(offset, delta) == caret(offset, delta)


def check_composed_deltas(algebra: ModuleType, most: int) -> None:
    module = algebra.delta
    for length in range(most + 1):
        text = "abc"[:length]
        for first in deltas(length, "PQRS"):
            between = edited(text, first)
            for second in deltas(len(between), "stuvwxyz"):
                composed = module.compose_delta(first, second)
                assert not composed or is_canonical(composed)
                assert module.apply_delta(text, composed) == edited(between, second)


def test_deltas_are_all_of_them() -> None:
    """Each is canonical and another one; on one letter they can be counted by hand."""
    assert list(deltas(1, "PQ")) == [[1, "Q"], ["P"], ["P", 1, "Q"], [-1], ["P", -1]]
    for length in range(4):
        all_of_them = [repr(delta) for delta in deltas(length, "PQRS")]
        assert len(set(all_of_them)) == len(all_of_them)
        assert all(is_canonical(delta) for delta in deltas(length, "PQRS"))


def test_delta_pairs() -> None:
    check_delta_pairs(transforms, 3)


def test_single_deltas() -> None:
    check_single_deltas(transforms, 3)


def test_composed_deltas() -> None:
    check_composed_deltas(transforms, 3)


# Items whose texts are edited.

ITEM: dict[str, Any] = {"output_type": "stream", "name": "stdout", "text": "ab"}


def item_deltas(items: list[Any], side: str, inserts: bool) -> Iterator[Delta]:
    """Every canonical delta that keeps, removes or edits each item, in some ways that depend on
    the text; with ``inserts`` also with those of one item."""
    for fates in product(*(item_fates(item["text"], side) for item in items)):
        kept = [fate != -1 for fate in fates]
        gaps = [gap for gap in range(len(items) + 1) if gap == 0 or kept[gap - 1]]
        for chosen in product((False, True) if inserts else (False,), repeat=len(gaps)):
            inserted = {gap for gap, choice in zip(gaps, chosen, strict=True) if choice}
            delta: Delta = []
            for gap in range(len(items) + 1):
                if gap in inserted:
                    delta.append([{**ITEM, "text": f"{side}{gap}"}])
                if gap < len(items):
                    fate = fates[gap]
                    last = delta[-1] if delta else None
                    if isinstance(last, int) and isinstance(fate, int) and last * fate > 0:
                        delta[-1] += fate
                    else:
                        delta.append(fate)
            if delta and isinstance(delta[-1], int) and delta[-1] > 0:
                delta.pop()
            if delta:
                yield delta


def item_fates(text: str, side: str) -> list[Any]:
    edits: list[Delta] = [[side]]
    if text:
        edits += [[-1], [len(text), side]]
    return [1, -1, *({"text": edit} for edit in edits)]


def check_item_pairs(algebra: ModuleType, most: int) -> None:
    module = algebra.delta
    for length in range(most + 1):
        items = [ITEM] * length
        for earlier, later in product(item_deltas(items, "P", True), item_deltas(items, "w", True)):
            expected = edited(items, earlier, later)
            over_later = module.transform_delta(earlier, later, False)
            over_earlier = module.transform_delta(later, earlier, True)
            for delta in (over_later, over_earlier):
                assert not delta or is_canonical(delta)
            assert module.apply_delta(edited(items, later), over_later) == expected
            assert module.apply_delta(edited(items, earlier), over_earlier) == expected
        assert items == [{**ITEM, "text": "ab"}] * length


def check_single_item_deltas(algebra: ModuleType, most: int) -> None:
    module = algebra.delta
    loose = [1, {"text": ["a", "b", 0]}, {"text": [1, "", 2]}, [ITEM]]
    assert module.canonical(loose) == [1, {"text": ["ab"]}, 1, [ITEM]]
    for length in range(most + 1):
        items = [ITEM] * length
        for delta in item_deltas(items, "P", True):
            after = edited(items, delta)
            module.check_delta(delta, list)
            assert module.canonical(delta) == delta
            assert module.apply_delta(items, delta) == after
            inverse = module.invert_delta(items, delta)
            assert is_canonical(inverse)
            assert module.apply_delta(after, inverse) == items
            assert module.invert_delta(after, inverse) == delta
            for offset in range(length + 1):
                assert module.position_in_delta(offset, delta) == caret(offset, delta)


def check_composed_item_deltas(algebra: ModuleType, most: int, inserts: tuple[bool, bool]) -> None:
    """``inserts``: whether there are some in the first delta, and in the second."""
    module = algebra.delta
    for length in range(most + 1):
        items = [ITEM] * length
        for first in item_deltas(items, "P", inserts[0]):
            before = repr(first)
            between = edited(items, first)
            for second in item_deltas(between, "w", inserts[1]):
                composed = module.compose_delta(first, second)
                assert not composed or is_canonical(composed)
                assert module.apply_delta(items, composed) == edited(between, second)
            back = module.invert_delta(items, first)
            composed = module.compose_delta(first, back)
            assert not composed or is_canonical(composed)
            assert module.apply_delta(items, composed) == items
            assert repr(first) == before


def test_item_pairs() -> None:
    check_item_pairs(transforms, 2)


def test_single_item_deltas() -> None:
    check_single_item_deltas(transforms, 3)


def test_composed_item_deltas() -> None:
    check_composed_item_deltas(transforms, 1, inserts=(True, True))
    check_composed_item_deltas(transforms, 2, inserts=(False, True))


# Registers.

TREE: Document = {
    "cells": {},
    "order": [],
    "metadata": {"k": {"m": {"n": 1}, "l": 2}, "kk": {"m": 3}},
}
ALL_PATHS = (
    (), ("k",), ("k", "m"), ("k", "m", "n"), ("k", "l"), ("k", "new"), ("kk",), ("kk", "m"),
    ("new",),
)  # fmt: skip
ALL_VALUES: tuple[Any, ...] = (
    5, {}, {"m": {}}, {"m": {"n": 6}}, {"m": 7, "l": {}}, {"k": {"m": {}}}, {"k": 8}, [{"m": 9}],
)  # fmt: skip
FEW_PATHS = (("k",), ("k", "m"), ("k", "m", "n"))
FEW_VALUES: tuple[Any, ...] = (5, {"n": 6}, {"m": {"n": 7}})


def register_operations(
    document: Document, paths: Sequence[tuple[str, ...]], values: Sequence[Any]
) -> Iterator[Operation]:
    """Every write of the values to the paths, and every removal, that the document has a place
    for."""
    for keys in paths:
        container: Any = document
        for key in ("metadata", *keys)[:-1]:
            container = container.get(key) if type(container) is dict else None
        if type(container) is not dict:
            continue
        path = pointer("metadata", *keys)
        for value in values:
            if keys or type(value) is dict:
                yield {"op": "replace", "path": path, "value": value}
        if keys and keys[-1] in container:
            yield {"op": "remove", "path": path}


def check_register_pairs(algebra: ModuleType) -> None:
    """The table in one sentence: the later one is written after the earlier one, if it still has
    a place there."""
    operations = list(register_operations(TREE, ALL_PATHS, ALL_VALUES))
    for earlier, later in product(operations, repeat=2):
        earlier_over = algebra.transform(earlier, later, later=False)
        later_over = algebra.transform(later, earlier, later=True)
        after = applied(TREE, [earlier])
        try:
            expected = applied(after, [later])
        except (AssertionError, KeyError):
            expected = after
        assert algebra.apply(algebra.apply(TREE, [earlier]), later_over) == expected
        assert algebra.apply(algebra.apply(TREE, [later]), earlier_over) == expected


def check_register_batches(algebra: ModuleType) -> int:
    made = []
    for first in register_operations(TREE, FEW_PATHS, FEW_VALUES):
        between = apply(TREE, [first])
        for second in register_operations(between, FEW_PATHS, FEW_VALUES):
            after = apply(between, [second])
            made.append(([first, second], after))
            assert algebra.apply(after, algebra.invert(TREE, [first, second])) == TREE
            assert algebra.apply(TREE, algebra.compose([first], [second])) == after
            for third in register_operations(after, FEW_PATHS, FEW_VALUES):
                for parts in (([first, second], [third]), ([first], [second, third])):
                    composed = algebra.compose(*parts)
                    assert algebra.apply(TREE, composed) == apply(after, [third])
    for (earlier, after_earlier), (later, after_later) in product(made, repeat=2):
        over_later, over_earlier = algebra.transform_changes(earlier, later, later=False)
        merged = algebra.apply(after_earlier, over_earlier)
        assert merged == algebra.apply(after_later, over_later)
    return len(made) ** 2


def test_register_pairs() -> None:
    check_register_pairs(transforms)


def test_register_batches() -> None:
    assert check_register_batches(transforms) > 5000
