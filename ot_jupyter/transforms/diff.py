"""What was changed, told from two states: texts, lists of outputs, whole documents.

Texts are compared in levels, coarse to fine: lines, lines but for their indentation, lines that
are similar, words, characters. Each level looks only into what the one above found replaced.
Whatever the texts are, the work grows in proportion to their length (times a logarithm): edit
distances, rounds and candidates are bounded, and what exceeds a bound counts as replaced, which
is correct, only coarser.

The same arguments give the same answer everywhere: nothing depends on time or hashes, whole
numbers stand in for ratios, and characters are told apart by explicit ranges.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Final

from .delta import canonical
from .pointer import pointer
from .values import CELL_FIELDS, Cell, Change, Delta, Document, Json, is_notebook

# i, j, n: n elements from i on in the old sequence are those from j on in the new one.
Match = tuple[int, int, int]
# Finds matches in two texts, of which neither is empty.
Level = Callable[[str, str], list[Match]]

_MAX_EDITS: Final = 64  # the longest edit script that is searched for
_MAX_ROUNDS: Final = 16  # of splitting by unique elements
_REACH: Final = 32  # how far from its proportional place a similar element is looked for

# A word, blanks, or one character. Ideographs and emoji (from U+2E80 on) stand alone.
_TOKEN: Final = re.compile(r"[0-9A-Za-z_\u0080-\u1fff\u2c00-\u2dff]+|[ \t]+|[^0-9A-Za-z_ \t]")
_WORDY: Final = re.compile(r"[0-9A-Za-z_\u0080-\U0010ffff]")
_BLANKS: Final = " \t\r\n"


# Documents


def diff(old: Document, new: Document) -> Change:
    """The change that makes ``old`` into ``new``: two notebooks, or two text files.

    Cells are the same if their ids are (see :func:`adopt_ids`). They are moved as few times as
    possible; texts and outputs are edited, of objects only the keys that differ are written.
    Equal documents give ``[]``. The values of the change are those of ``new``, not copies.

    Raises :class:`ValueError` for a notebook and a text file.
    """
    if is_notebook(old) != is_notebook(new):
        raise ValueError("a notebook and a text file have no change between them")
    if not is_notebook(old):
        return _edit(pointer("source"), diff_text(old["source"], new["source"]))
    change = _diff_order(old, new)
    for cell_id in new["order"]:
        if cell_id in old["cells"]:
            change += _diff_cell(cell_id, old["cells"][cell_id], new["cells"][cell_id])
    change += _diff_object(("metadata",), old["metadata"], new["metadata"])
    kernels = [{"kernel": one["kernel"]} if "kernel" in one else {} for one in (old, new)]
    return change + _diff_object((), *kernels)


def _diff_order(old: Document, new: Document) -> Change:
    """Remove, add and move cells; each index is that in the list as the operation finds it."""
    change: Change = [
        {"op": "remove", "path": pointer("cells", cell_id), "index": index}
        for index, cell_id in reversed([*enumerate(old["order"])])
        if cell_id not in new["cells"]
    ]
    order = [cell_id for cell_id in old["order"] if cell_id in new["cells"]]
    place = {cell_id: index for index, cell_id in enumerate(order)}
    kept = [cell_id for cell_id in new["order"] if cell_id in place]
    staying = {kept[index] for index in _longest_increasing([place[cell] for cell in kept])}
    # Left of `at` stands what is in order already, among cells that are still to be moved away.
    at = 0
    for cell_id in new["order"]:
        path = pointer("cells", cell_id)
        if cell_id in staying:
            at = order.index(cell_id, at)
        elif cell_id in place:
            index = order.index(cell_id)
            del order[index]
            if index < at:
                at -= 1
            order.insert(at, cell_id)
            change.append({"op": "move", "path": path, "index": index, "to": at})
        else:
            order.insert(at, cell_id)
            value = new["cells"][cell_id]
            change.append({"op": "add", "path": path, "index": at, "value": value})
        at += 1
    return change


def _diff_cell(cell_id: str, old: Cell, new: Cell) -> Change:
    if old is new:
        return []
    change: Change = []
    for field in CELL_FIELDS:
        where = ("cells", cell_id, field)
        if field == "source":
            change += _edit(pointer(*where), diff_text(old[field], new[field]))
        elif field == "outputs":
            change += _edit(pointer(*where), diff_list(old[field], new[field]))
        elif type(new[field]) is dict:
            change += _diff_object(where, old[field], new[field])
        elif not same(old[field], new[field]):
            change.append({"op": "replace", "path": pointer(*where), "value": new[field]})
    return change


def _edit(path: str, delta: Delta) -> Change:
    return [{"op": "edit", "path": path, "delta": delta}] if delta else []


def _diff_object(where: tuple[str, ...], old: dict[str, Json], new: dict[str, Json]) -> Change:
    """Write the keys that differ, as deep inside as there are objects on both sides."""
    change: Change = []
    stack = [(where, old, new)]
    while stack:
        where, old, new = stack.pop()
        for key in old:
            if key not in new:
                change.append({"op": "remove", "path": pointer(*where, key)})
        for key, value in new.items():
            if key in old and type(old[key]) is dict and type(value) is dict:
                stack.append(((*where, key), old[key], value))
            elif key not in old or not same(old[key], value):
                change.append({"op": "replace", "path": pointer(*where, key), "value": value})
    return change


def same(a: Json, b: Json) -> bool:
    """Whether two JSON values are the same for every reader: unlike ``==`` it tells ``true`` from
    ``1``, ``1`` from ``1.0`` and ``0.0`` from ``-0.0``. The order of an object's keys is nothing.
    """
    stack = [(a, b)]
    while stack:
        a, b = stack.pop()
        if a is b:
            continue
        kind = type(a)
        if kind is not type(b):
            return False
        if kind is dict:
            if a.keys() != b.keys():
                return False
            stack.extend((value, b[key]) for key, value in a.items())
        elif kind is list:
            if len(a) != len(b):
                return False
            stack.extend(zip(a, b, strict=True))
        elif kind is float:
            if a.hex() != b.hex():
                return False
        elif a != b:
            return False
    return True


# Cells whose ids were lost


def adopt_ids(old: Document, new: Document) -> Document:
    """``new`` with the ids of ``old``'s cells where it is the same cell.

    For a file whose ids were stripped, renewed or doubled by others. A cell whose id ``old`` has
    keeps it. The others are recognised, in this order, by equal type and source between the same
    neighbours, equal type and source elsewhere (moved), similar source between the same
    neighbours. Content and order are those of ``new``, which is returned itself if all ids stay.
    Text files have no ids.
    """
    if not (is_notebook(old) and is_notebook(new)):
        return new
    ids = _adopted(old, new)
    if not ids:
        return new
    return {
        **new,
        "cells": {ids.get(cell_id, cell_id): cell for cell_id, cell in new["cells"].items()},
        "order": [ids.get(cell_id, cell_id) for cell_id in new["order"]],
    }


def _adopted(old: Document, new: Document) -> dict[str, str]:
    """The new names of cells, by the ids they have in ``new``."""
    ids: dict[str, str] = {}
    a, b = old["order"], new["order"]
    free_a = [cell_id not in new["cells"] for cell_id in a]
    free_b = [cell_id not in old["cells"] for cell_id in b]
    if not any(free_b):
        return ids
    keys_a = [_cell_key(cell_id, old, new) for cell_id in a]
    keys_b = [_cell_key(cell_id, new, old) for cell_id in b]

    def adopt(i: int, j: int) -> None:
        if free_b[j]:
            ids[b[j]] = a[i]
            free_a[i] = free_b[j] = False

    in_order = _match(keys_a, keys_b, unique_first=True)
    for i, j, n in in_order:
        for k in range(n):
            adopt(i + k, j + k)
    places: dict[str, list[int]] = {}
    for i in reversed(range(len(a))):
        if free_a[i]:
            places.setdefault(keys_a[i], []).append(i)
    for j, key in enumerate(keys_b):
        if free_b[j] and places.get(key):
            adopt(places[key].pop(), j)
    for i, i_end, j, j_end in _gaps(in_order, len(a), len(b)):
        left = [x for x in range(i, i_end) if free_a[x]]
        right = [y for y in range(j, j_end) if free_b[y]]
        sources_a = [old["cells"][a[x]]["source"] for x in left]
        sources_b = [new["cells"][b[y]]["source"] for y in right]
        for x, y in _similar(sources_a, sources_b):
            adopt(left[x], right[y])
    return ids


def _cell_key(cell_id: str, mine: Document, others: Document) -> str:
    """What two cells that are one have in common: the id; else, without it, type and source."""
    if cell_id in others["cells"]:
        return "=" + cell_id
    cell = mine["cells"][cell_id]
    return f"{cell['cell_type']} {cell['source']}"


# Lists and texts


def diff_list(old: list[Json], new: list[Json]) -> Delta:
    """The canonical delta between two lists of outputs: what lies between the equal items at the
    start and at the end is replaced."""
    limit = min(len(old), len(new))
    start = 0
    while start < limit and same(old[start], new[start]):
        start += 1
    end = 0
    while end < limit - start and same(old[-1 - end], new[-1 - end]):
        end += 1
    return canonical([start, new[start : len(new) - end], start + end - len(old)])


def diff_text(old: str, new: str) -> Delta:
    """The canonical delta between two texts; ``[]`` if they are equal.

    Not always the shortest one: it keeps words and lines together where they belong together.
    """
    limit = min(len(old), len(new))
    prefix, suffix = common_prefix(old, new), common_suffix(old, new)
    if prefix + suffix >= limit:
        return _one_piece(old, new, prefix)
    # Whole lines: where within a line a change begins is the business of the levels below.
    start = old.rfind("\n", 0, prefix) + 1
    end = old.find("\n", len(old) - min(suffix, limit - start)) + 1
    suffix = len(old) - end if end else 0
    found = _within(old, new, (start, len(old) - suffix, start, len(new) - suffix), _lines)
    delta: Delta = [start]
    i = j = start
    for x, y, n in [*sorted(found), (len(old) - suffix, len(new) - suffix, suffix)]:
        delta += [new[j:y], i - x, n]
        i, j = x + n, y + n
    return canonical(delta)


def _one_piece(old: str, new: str, at: int) -> Delta:
    """The delta where one text is the other with one piece more, at the latest ``at``.

    Of the places where the piece may stand, a start of a line is right for lines.
    """
    grows = len(new) > len(old)
    longer, size = (new if grows else old), abs(len(new) - len(old))
    start = longer.rfind("\n", 0, at) + 1
    lines = "\n" in longer[at : at + size]
    if lines and longer[start:at] == longer[start + size : at + size]:
        at = start
    return canonical([at, new[at : at + size] if grows else -size])


def common_prefix(a: str, b: str) -> int:
    """How many characters at the start are equal: halving, as comparing slices is fast."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def common_suffix(a: str, b: str) -> int:
    """How many characters at the end are equal."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[len(a) - middle : len(a) - low] == b[len(b) - middle : len(b) - low]:
            low = middle
        else:
            high = middle - 1
    return low


# The levels


def _lines(old: str, new: str) -> list[Match]:
    a, b = _split_lines(old), _split_lines(new)
    runs = _in_characters(a, b, _match(a, b, unique_first=True))
    return _filled(old, new, runs, _indented_lines)


def _indented_lines(old: str, new: str) -> list[Match]:
    """Lines that differ only in the blanks around them: code that was put into a block."""
    a, b = _split_lines(old), _split_lines(new)
    runs = _match([x.strip(_BLANKS) for x in a], [y.strip(_BLANKS) for y in b], unique_first=True)
    pairs = [(i + k, j + k) for i, j, n in runs for k in range(n)]
    return _paired(old, new, a, b, pairs, _similar_lines)


def _similar_lines(old: str, new: str) -> list[Match]:
    """Lines that have half of their words in common; words tell no more in a longer block."""
    a, b = _split_lines(old), _split_lines(new)
    if len(a) > _REACH or len(b) > _REACH:
        return _words(old, new)
    paired = _paired(old, new, a, b, _similar(a, b), _words)
    if len(a) == len(b) == 1:
        return paired
    # Lines that were split or joined are no pairs: their words tell much more.
    words = _words(old, new)
    shorter = min(len(old), len(new))
    return words if 2 * (shorter - _total(words)) < shorter - _total(paired) else paired


def _words(old: str, new: str) -> list[Match]:
    a, b = _TOKEN.findall(old), _TOKEN.findall(new)
    runs = _in_characters(a, b, _match(a, b, unique_first=False))

    def worth(run: Match) -> int:
        """A word stays even if more changes around it; a blank or a bracket is found anywhere."""
        i, _, n = run
        return 4 * n if _WORDY.search(old, i, i + n) else n

    runs = _joined(sorted(_filled(old, new, runs, _characters)))
    return _settled(runs, len(old), len(new), worth)


def _characters(old: str, new: str) -> list[Match]:
    """Letters, where the two are similar: in unrelated words some letters are always equal."""
    total, shorter = len(old) + len(new), min(len(old), len(new))
    prefix = common_prefix(old, new)
    suffix = min(common_suffix(old, new), shorter - prefix)
    edges = [(0, 0, prefix), (len(old) - suffix, len(new) - suffix, suffix)]
    if prefix + suffix == shorter:
        return edges
    if 4 * shorter >= total:
        runs = _match(list(old), list(new), unique_first=False)
        runs = _settled(runs, len(old), len(new), lambda run: run[2])
        common = _total(runs)
        if 4 * common >= total and common >= 2 * len(runs):
            return runs
    return edges if 4 * (prefix + suffix) >= total else []


def _split_lines(text: str) -> list[str]:
    """The lines with their ends; only ``\\n`` ends a line."""
    parts = text.split("\n")
    lines = [part + "\n" for part in parts[:-1]]
    return [*lines, parts[-1]] if parts[-1] else lines


def _in_characters(a: list[str], b: list[str], runs: list[Match]) -> list[Match]:
    """Matches of tokens as matches of the texts."""
    at_a, at_b = _offsets(a), _offsets(b)
    return [(at_a[i], at_b[j], at_a[i + n] - at_a[i]) for i, j, n in runs]


def _offsets(tokens: list[str]) -> list[int]:
    return list(accumulate(map(len, tokens), initial=0))


def _filled(old: str, new: str, runs: list[Match], level: Level) -> list[Match]:
    """The matches, and those that the level finds between them."""
    found = list(runs)
    for gap in _gaps(runs, len(old), len(new)):
        found += _within(old, new, gap, level)
    return found


def _paired(
    old: str, new: str, a: list[str], b: list[str], pairs: list[tuple[int, int]], level: Level
) -> list[Match]:
    """The matches in pairs of lines, word by word, and those that the level finds between."""
    at_a, at_b = _offsets(a), _offsets(b)
    found: list[Match] = []
    i = j = 0
    for x, y in pairs:
        found += _within(old, new, (at_a[i], at_a[x], at_b[j], at_b[y]), level)
        i, j = x + 1, y + 1
        found += _within(old, new, (at_a[x], at_a[i], at_b[y], at_b[j]), _words)
    return found + _within(old, new, (at_a[i], len(old), at_b[j], len(new)), level)


def _total(runs: list[Match]) -> int:
    """How many characters match."""
    return sum(n for _, _, n in runs)


def _within(old: str, new: str, part: tuple[int, int, int, int], level: Level) -> list[Match]:
    """The matches that the level finds in a part: old from, old to, new from, new to."""
    i, i_end, j, j_end = part
    if i == i_end or j == j_end:
        return []
    return [(i + x, j + y, n) for x, y, n in level(old[i:i_end], new[j:j_end])]


def _gaps(runs: list[Match], n: int, m: int) -> Iterator[tuple[int, int, int, int]]:
    """What lies between the matches of sequences of these lengths, empty parts too."""
    i = j = 0
    for x, y, length in runs:
        yield i, x, j, y
        i, j = x + length, y + length
    yield i, n, j, m


def _settled(runs: list[Match], n: int, m: int, worth: Callable[[Match], int]) -> list[Match]:
    """The matches without those worth less than what changes on either side of them: these are
    accidents, and would leave a replaced part in shreds."""

    def between(left: Match, right: Match) -> int:
        return max(right[0] - left[0] - left[2], right[1] - left[1] - left[2])

    kept: list[Match] = [(0, 0, 0)]
    for run in [*runs, (n, m, 0)]:
        # One that goes widens the gap behind the one before it.
        while len(kept) > 1 and worth(kept[-1]) < min(
            between(kept[-2], kept[-1]), between(kept[-1], run)
        ):
            kept.pop()
        kept.append(run)
    return kept[1:-1]


# Sequences of any elements


def _match(a: list[str], b: list[str], *, unique_first: bool) -> list[Match]:
    """Matches of two sequences, in order, each as long as possible.

    Between what is equal at both ends either elements that are unique in both anchor the rest
    (``unique_first``, "patience": right for lines of code), or the shortest edit script is
    searched for (right for words); the other way is tried where the first leads nowhere.
    """
    numbers: dict[str, int] = {}
    x = [numbers.setdefault(token, len(numbers)) for token in a]
    y = [numbers.setdefault(token, len(numbers)) for token in b]
    found: list[Match] = []
    stack = [(0, len(a), 0, len(b), 0)]
    while stack:
        i, i_end, j, j_end, rounds = stack.pop()
        start = i
        while i < i_end and j < j_end and x[i] == y[j]:
            i += 1
            j += 1
        found.append((start, j - i + start, i - start))
        end = i_end
        while i < i_end and j < j_end and x[i_end - 1] == y[j_end - 1]:
            i_end -= 1
            j_end -= 1
        found.append((i_end, j_end, end - i_end))
        if i == i_end or j == j_end:
            continue
        anchors: list[tuple[int, int]] = []
        if unique_first and rounds < _MAX_ROUNDS:
            anchors = _unique_in_both(x[i:i_end], y[j:j_end])
        if not anchors:
            runs = _shortest_script(x[i:i_end], y[j:j_end])
            if runs is not None:
                found += [(i + p, j + q, n) for p, q, n in runs]
                continue
            if not unique_first and rounds < _MAX_ROUNDS:
                anchors = _unique_in_both(x[i:i_end], y[j:j_end])
        if not anchors:
            continue
        found += [(i + p, j + q, 1) for p, q in anchors]
        steps = [(p, q, 1) for p, q in anchors]
        for p, p_end, q, q_end in _gaps(steps, i_end - i, j_end - j):
            if p < p_end and q < q_end:
                stack.append((i + p, i + p_end, j + q, j + q_end, rounds + 1))
    return _joined(sorted(found))


def _joined(runs: Iterable[Match]) -> list[Match]:
    """The same matches, adjacent ones as one."""
    result: list[Match] = []
    for i, j, n in runs:
        if not n:
            continue
        if result and result[-1][0] + result[-1][2] == i and result[-1][1] + result[-1][2] == j:
            result[-1] = (*result[-1][:2], result[-1][2] + n)
        else:
            result.append((i, j, n))
    return result


def _unique_in_both(a: list[int], b: list[int]) -> list[tuple[int, int]]:
    """Pairs of elements that occur once in each, as many as are in one order."""
    in_a, in_b = _places_of_unique(a), _places_of_unique(b)
    pairs = [(i, in_b[token]) for token, i in in_a.items() if i >= 0 and in_b.get(token, -1) >= 0]
    return [pairs[index] for index in _longest_increasing([j for _, j in pairs])]


def _places_of_unique(tokens: list[int]) -> dict[int, int]:
    """Where each element is; -1 if it is in several places."""
    places: dict[int, int] = {}
    for index, token in enumerate(tokens):
        places[token] = -1 if token in places else index
    return places


def _longest_increasing(values: list[int]) -> list[int]:
    """The indexes of a longest increasing subsequence of different numbers."""
    smallest: list[int] = []  # at k: the smallest last value of such a sequence of length k + 1
    last: list[int] = []  # its index
    before = [-1] * len(values)
    for index, value in enumerate(values):
        k = bisect_left(smallest, value)
        if k:
            before[index] = last[k - 1]
        if k == len(smallest):
            smallest.append(value)
            last.append(index)
        else:
            smallest[k] = value
            last[k] = index
    result = []
    index = last[-1] if last else -1
    while index >= 0:
        result.append(index)
        index = before[index]
    return result[::-1]


def _shortest_script(a: list[int], b: list[int]) -> list[Match] | None:
    """Matches of a shortest edit script; None if it is long to find."""
    in_a, in_b = set(a), set(b)
    # What the other does not have can't match, and would only make the script longer.
    left = [i for i, token in enumerate(a) if token in in_b]
    right = [j for j, token in enumerate(b) if token in in_a]
    runs = _myers([a[i] for i in left], [b[j] for j in right])
    if runs is None:
        return None
    return [(left[i + k], right[j + k], 1) for i, j, n in runs for k in range(n)]


def _myers(a: list[int], b: list[int]) -> list[Match] | None:
    """Myers' O(ND) algorithm with a bound on D, the edits."""
    n, m = len(a), len(b)
    # For each diagonal k = x - y the x that the edits so far reach. A diagonal is entered from
    # k + 1 by an insertion or from k - 1 by a deletion, whichever reaches further.
    furthest = {1: 0}
    trace: list[dict[int, int]] = []
    for edits in range(min(_MAX_EDITS, n + m) + 1):
        trace.append(dict(furthest))
        lowest = edits - 2 * max(0, edits - m)  # diagonals outside the rectangle lead nowhere
        highest = edits - 2 * max(0, edits - n)
        for k in range(-lowest, highest + 1, 2):
            inserted, deleted = furthest.get(k + 1, -1), furthest.get(k - 1, -1)
            x = inserted if inserted > deleted else deleted + 1
            y = x - k
            while x < n and y < m and a[x] == b[y]:
                x += 1
                y += 1
            if x >= n and y >= m:
                return _way_back(trace, n, m)
            furthest[k] = x
    return None


def _way_back(trace: list[dict[int, int]], n: int, m: int) -> list[Match]:
    """The matches on the way that led to the end."""
    runs: list[Match] = []
    x, y = n, m
    for furthest in reversed(trace):
        k = x - y
        inserted, deleted = furthest.get(k + 1, -1), furthest.get(k - 1, -1)
        start = inserted if inserted > deleted else deleted + 1
        if x > start:
            runs.append((start, start - k, x - start))
        source = k + 1 if inserted > deleted else k - 1
        x = furthest[source]
        y = x - source
    return runs[::-1]


# Similarity


def _similar(a: list[str], b: list[str]) -> list[tuple[int, int]]:
    """Pairs of texts that have at least half of their words in common, in order, so that they
    have as much in common as possible. Only texts near each other are compared."""
    bags_a, bags_b = [_bag(text) for text in a], [_bag(text) for text in b]
    sizes_a, sizes_b = [_size(bag) for bag in bags_a], [_size(bag) for bag in bags_b]

    def score(i: int, j: int) -> int:
        """In thousandths; 0: not similar."""
        total = sizes_a[i] + sizes_b[j]
        if 4 * min(sizes_a[i], sizes_b[j]) < total or not total:
            return 0
        common = _common_size(bags_a[i], bags_b[j])
        return 2000 * common // total if 4 * common >= total else 0

    return _aligned(len(a), len(b), score)


def _aligned(n: int, m: int, score: Callable[[int, int], int]) -> list[tuple[int, int]]:
    """Pairs in order, of the greatest sum of scores, within reach of the diagonal."""
    width = m + 1

    def onward(i: int, j: int) -> int:
        """The first place within reach that is left when those before i and j are skipped, as
        one number; one beyond the end if there is none."""
        if j < m:
            i = max(i, -(max(0, j - _REACH) * n // -m))  # rounded up
        if i >= n or j >= m:
            return n * width
        return i * width + max(j, i * m // n - _REACH)

    best = {n * width: 0}  # the greatest sum from a place on
    scores: dict[int, int] = {}
    for i in reversed(range(n)):
        middle = i * m // n
        for j in reversed(range(max(0, middle - _REACH), min(m, middle + _REACH + 1))):
            at = i * width + j
            scores[at] = score(i, j)
            skipping = max(best[onward(i + 1, j)], best[onward(i, j + 1)])
            best[at] = max(skipping, scores[at] + best[onward(i + 1, j + 1)])
    pairs = []
    at = onward(0, 0)
    while at < n * width:
        i, j = divmod(at, width)
        if scores[at] and best[at] == scores[at] + best[onward(i + 1, j + 1)]:
            pairs.append((i, j))
            at = onward(i + 1, j + 1)
        elif best[at] == best[onward(i + 1, j)]:
            at = onward(i + 1, j)
        else:
            at = onward(i, j + 1)
    return pairs


def _bag(text: str) -> dict[str, int]:
    """How often each word and symbol occurs."""
    bag: dict[str, int] = {}
    for token in _TOKEN.findall(text):
        if token[0] not in _BLANKS:
            bag[token] = bag.get(token, 0) + 1
    return bag


def _size(bag: dict[str, int]) -> int:
    return sum(len(token) * count for token, count in bag.items())


def _common_size(a: dict[str, int], b: dict[str, int]) -> int:
    if len(a) > len(b):
        a, b = b, a
    return sum(len(token) * min(count, b.get(token, 0)) for token, count in a.items())
