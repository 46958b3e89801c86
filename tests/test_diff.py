"""Diffs: exact, canonical, as fine as people expect, and never slow."""

from __future__ import annotations

import copy
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import combinations, pairwise, permutations
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ot_jupyter.transforms.diff as diff_module
from ot_jupyter.transforms import Change, Delta, Document, apply, check_change, new_cell
from ot_jupyter.transforms.delta import apply_delta, check_delta
from ot_jupyter.transforms.diff import adopt_ids, diff, diff_list, diff_text, same
from ot_jupyter.transforms.transform import transform_changes

some = settings(max_examples=150, deadline=None)
few = settings(max_examples=40, deadline=None)  # of what is large


def exact(value: Any) -> str:
    """The value as JSON text: tells 1 from 1.0 and true, and forgets the order of keys."""
    return json.dumps(value, sort_keys=True)


def text_delta(old: str, new: str) -> Delta:
    """The diff of two texts, which must be canonical and right."""
    delta = diff_text(old, new)
    if delta:
        check_delta(delta, str)
    assert apply_delta(old, delta) == new
    assert bool(delta) == (old != new)
    return delta


def change_between(old: Document, new: Document) -> Change:
    """The diff of two documents, which must be valid, right, and change neither."""
    before = exact([old, new])
    change = diff(old, new)
    check_change(change, notebook="cells" in old, from_client=False)
    assert exact(apply(old, change)) == exact(new)
    assert exact([old, new]) == before
    assert bool(change) == (exact(old) != exact(new))
    return change


def touched(delta: Delta) -> int:
    """How many characters are inserted or deleted."""
    return sum(len(part) if isinstance(part, str) else max(0, -part) for part in delta)


def notebook(*sources: str, ids: str | None = None) -> Document:
    """A notebook of code cells. ``ids`` has a letter for each."""
    order = list("abcdefghijklmnopqrstuvwxyz"[: len(sources)] if ids is None else ids)
    cells = {cell_id: new_cell("code", text) for cell_id, text in zip(order, sources, strict=True)}
    return {"cells": cells, "order": order, "metadata": {}}


# Strategies

LETTERS = "ab (.\n\t\r\u00e9\u4e2d\u0301\U0001f600"
KEYS = ("k", "kk", "a/b", "m~n", "~01", "", "__proto__", "constructor")
texts = st.text(LETTERS, max_size=12)
WORDS = ("x", "for", "index", "total", " ", " ", "\n", "\n    ", "=", "(", ")", "日", "\U0001f600")
prose = st.lists(st.sampled_from(WORDS), max_size=60).map("".join)
scalars = st.sampled_from([None, 0, False, 0.0, -0.0, 1, True, 1.0, "", "\U0001f600"])
values = scalars | st.lists(scalars, max_size=2)
for _ in range(2):
    values |= st.dictionaries(st.sampled_from(KEYS), values, max_size=2)
objects = st.dictionaries(st.sampled_from(KEYS), values, max_size=3)
outputs = st.lists(
    st.builds(lambda value: {"output_type": "display_data", "data": value}, scalars), max_size=4
)
cells = st.fixed_dictionaries(
    {
        "cell_type": st.sampled_from(["code", "markdown", "raw"]),
        "source": texts,
        "metadata": objects,
        "outputs": outputs,
        "execution_count": st.sampled_from([None, 0, 1]),
        "attachments": objects,
        "execution": objects,
    }
)


@st.composite
def notebooks(draw: st.DrawFn) -> Document:
    order = draw(st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=8))
    return {
        "cells": {cell_id: draw(cells) for cell_id in order},
        "order": order,
        "metadata": draw(objects),
    }


@st.composite
def successors(draw: st.DrawFn) -> tuple[Document, Document]:
    """A notebook and one that shares cells with it: equal, changed in one field, or anew."""
    old, new = draw(notebooks()), draw(notebooks())
    for cell_id in new["order"]:
        if cell_id in old["cells"]:
            field = draw(st.sampled_from([None, *new["cells"][cell_id]]))
            changed = {field: new["cells"][cell_id][field]} if field else {}
            new["cells"][cell_id] = {**copy.deepcopy(old["cells"][cell_id]), **changed}
    return old, new


# Texts


@some
@given(texts, texts)
def test_short_texts(old: str, new: str) -> None:
    text_delta(old, new)


@some
@given(prose, prose)
def test_longer_texts(old: str, new: str) -> None:
    text_delta(old, new)


@some
@given(st.lists(prose, max_size=5), st.data())
def test_texts_that_share_pieces(pieces: list[str], data: st.DataObject) -> None:
    if not pieces:
        return
    of_these = st.lists(st.sampled_from(pieces), max_size=6).map("".join)
    text_delta(data.draw(of_these), data.draw(of_these))


def test_all_short_texts_of_two_letters() -> None:
    every = [
        "".join("a\n"[number >> bit & 1] for bit in range(length))
        for length in range(6)
        for number in range(2**length)
    ]
    for old in every:
        for new in every:
            text_delta(old, new)


@some
@given(prose, prose, prose)
def test_a_piece_put_in_or_taken_out_is_one_edit(head: str, piece: str, tail: str) -> None:
    assert touched(text_delta(head + tail, head + piece + tail)) == len(piece)
    assert touched(text_delta(head + piece + tail, head + tail)) == len(piece)


CODE = """import numpy as np

def mean(values):
    total = 0
    for value in values:
        total += value
    return total / len(values)
"""


@pytest.mark.parametrize("letters", [1, 2, 5])
def test_changed_letters_are_edits_of_single_letters(letters: int) -> None:
    chance = random.Random(letters)
    words = [at for at, letter in enumerate(CODE) if letter.isalpha()]
    for _ in range(200):
        changed = list(CODE)
        # At most one in a word: of a word with more of them nothing is to be kept.
        places = sorted(chance.sample(words, letters))
        if any(CODE[a:b].isalpha() for a, b in pairwise(places)):
            continue
        for at in places:
            changed[at] = "Z"
        delta = text_delta(CODE, "".join(changed))
        assert [part for part in delta if isinstance(part, str)] == ["Z"] * letters
        assert touched(delta) == 2 * letters


def test_a_line_that_is_put_in_is_a_whole_line() -> None:
    assert text_delta("a\nb1\nb2\n", "a\nbX\nb1\nb2\n") == [2, "bX\n"]
    assert text_delta("a\nbX\nb1\nb2\n", "a\nb1\nb2\n") == [2, -3]
    assert text_delta("aa", "aaa") == [2, "a"]


@pytest.mark.parametrize(
    ("old", "new", "delta"),
    [
        ("x = 1\n", "x = 2\n", [4, "2", -1]),
        ("foo(a, b)", "foo(c, d)", [4, "c", -1, 2, "d", -1]),
        ("print('hello')", 'print("hello")', [6, '"', -1, 5, '"', -1]),
        # a line that is split while another one changes
        ("x foobar a b c d\ny\n", "x fo\nbar a b c d\nz\n", [4, "\n", -1, 12, "z", -1]),
        # a formatter
        ("f(a, b)\n", "f(\n    a,\n    b,\n)\n", [2, "\n    ", 2, "\n   ", 2, ",\n"]),
        # a block of code is indented
        ("a\nb\nc", "if x:\n  a\n  b\n  c", ["if x:\n  ", 2, "  ", 2, "  "]),
        # the changed line is found among new ones
        ("x = 1\n", "y = f(0)\nz = f(1)\nx = 2\n", ["y = f(0)\nz = f(1)\n", 4, "2", -1]),
        ("今日は天気がいいですね", "今日は天気が悪いですね", [6, "悪", -1]),
        ("\U0001f600a\U0001f600", "\U0001f600b\U0001f601", [1, "b\U0001f601", -2]),
    ],
)
def test_fine_edits(old: str, new: str, delta: Delta) -> None:
    assert text_delta(old, new) == delta


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("alpha gamma", "beta total"),
        ("cat", "concatenate"),
        ("first", "last"),
        ("print", "plot"),
        ("a1b2c3d4", "aXbYcZdW"),
    ],
)
def test_unrelated_words_are_replaced_as_a_whole(old: str, new: str) -> None:
    assert text_delta(old, new) == [new, -len(old)]


def test_unrelated_lines_are_not_left_in_shreds() -> None:
    old = "The quick brown fox jumps over the lazy dog.\n"
    new = "A slow green turtle sits under an old tree.\n"
    assert len(text_delta(old, new)) <= 5


def test_a_function_among_others_leaves_them_whole() -> None:
    """Unique lines anchor: braces and returns of one function don't match those of another."""
    functions = [f"def f{k}(x):\n    if x:\n        return {k}\n    return x\n\n" for k in range(9)]
    old = "".join(functions)
    new = "".join([*functions[:4], "def g(x):\n    return x\n\n", *functions[5:8]])
    lengths = [len(function) for function in functions]
    delta = text_delta(old, new)
    assert delta[0] >= sum(lengths[:4])
    assert delta[-1] == -lengths[8]
    assert len(delta) <= 8


def test_unique_lines_anchor_even_if_more_of_the_others_would_match() -> None:
    assert text_delta("main()\n\n\n\n", "\n\n\nmain()\n") == ["\n\n\n", 7, -3]


def test_a_long_block_of_like_lines_is_indented() -> None:
    lines = ["for x in y:\n", "    x = f(x)\n", "    if x:\n", "        y = g(x)\n"] * 60
    old, new = "".join(lines), "if z:\n" + "".join("    " + line for line in lines)
    assert touched(text_delta(old, new)) == touched(text_delta(new, old)) == 6 + 4 * len(lines)


def test_every_line_changed_and_many_of_them() -> None:
    lines = [f"value_{k} = compute_{k}(alpha, beta)\n" for k in range(200)]
    old, crlf = "".join(lines), "".join(line[:-1] + "\r\n" for line in lines)
    assert touched(text_delta(old, crlf)) == touched(text_delta(crlf, old)) == 200
    indented = "".join("    " + line for line in lines)
    assert touched(text_delta(old, indented)) == touched(text_delta(indented, old)) == 800
    renamed = old.replace("alpha", "gamma")
    assert text_delta(old, renamed).count("gamma") == 200


# Never slow


def steps(call: Callable[[], object]) -> int:
    """How many lines of the module a call runs: its work, the same on every machine."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        if frame.f_code.co_filename != diff_module.__file__:
            return None
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def random_letters(letters: str, size: int, seed: int) -> str:
    return "".join(random.Random(seed).choices(letters, k=size))


def random_words(vocabulary: int, size: int, seed: int, between: str = "   ,(\n") -> str:
    chance = random.Random(seed)
    pieces = []
    for _ in range(size // 6):
        pieces.append(f"{chance.randrange(vocabulary):x}g")
        pieces.append(chance.choice(between))
    return "".join(pieces)


def sprinkled(text: str, count: int, letter: str) -> str:
    chance = random.Random(count)
    letters = list(text)
    for _ in range(count):
        letters[chance.randrange(len(letters))] = letter
    return "".join(letters)


def shuffled_lines(size: int, seed: int) -> str:
    """Mostly one line again and again, with others among them that occur once."""
    lines = ["x\n"] * (size // 3) + [f"line {k}\n" for k in range(size // 30)]
    random.Random(seed).shuffle(lines)
    return "".join(lines)


HARD: dict[str, Callable[[int], tuple[str, str]]] = {
    "one letter, a few changes": lambda n: ("a" * n, sprinkled("a" * n, 20, "b")),
    "one letter, many changes": lambda n: ("a" * n, sprinkled("a" * n, n // 10, "b")),
    "one letter, changes in both": lambda n: (
        sprinkled("a" * n, 40, "b"),
        sprinkled("a" * n, 41, "b"),
    ),
    "two letters": lambda n: (random_letters("ab", n, 1), random_letters("ab", n, 2)),
    "many letters": lambda n: (random_letters(LETTERS, n, 1), random_letters(LETTERS, n, 2)),
    "brackets": lambda n: (random_letters("(),", n, 1), random_letters("(),", n, 2)),
    "ideographs": lambda n: (random_letters("今日天気", n, 1), random_letters("今日天気", n, 2)),
    "empty lines": lambda n: (random_letters("\na", n, 1), random_letters("\na", n, 2)),
    "few words": lambda n: (random_words(30, n, 1), random_words(30, n, 2)),
    "many words": lambda n: (random_words(n // 6, n, 1), random_words(n // 6, n, 2)),
    "one long line": lambda n: (random_words(n // 6, n, 1, " "), random_words(n // 6, n, 2, " ")),
    "nothing in common": lambda n: (random_letters("ab\n", n, 1), random_letters("cd\r", n, 2)),
    "lines in another order": lambda n: (shuffled_lines(n, 1), shuffled_lines(n, 2)),
    "periodic": lambda n: ("abc\n" * (n // 4), "bca\n" * (n // 4)),
    "reversed lines": lambda n: (
        "".join(f"{k}\n" for k in range(n // 5)),
        "".join(f"{k}\n" for k in reversed(range(n // 5))),
    ),
}


@pytest.mark.parametrize("kind", HARD)
def test_the_work_grows_with_the_length(kind: str) -> None:
    small, large = 2_000, 8_000
    done = {}
    for size in (small, large):
        old, new = HARD[kind](size)
        done[size] = steps(lambda old=old, new=new: text_delta(old, new))  # type: ignore[misc]
    # Quadratic work would be 16 times as much for 4 times the length.
    assert done[large] < 4 * 2 * max(done[small], 60 * small)
    assert done[large] < 200 * large


@pytest.mark.parametrize(
    "kind", ["many words", "lines in another order", "one letter, a few changes"]
)
def test_large_texts(kind: str) -> None:
    text_delta(*HARD[kind](200_000))


# Lists


@some
@given(outputs, outputs)
def test_lists(old: list[Any], new: list[Any]) -> None:
    delta = diff_list(old, new)
    if delta:
        check_delta(delta, list)
    assert exact(apply_delta(old, delta)) == exact(new)
    assert bool(delta) == (exact(old) != exact(new))


def test_lists_replace_only_the_middle() -> None:
    assert diff_list([{"a": 1}, {"b": 1}, {"c": 1}], [{"a": 1}, {"x": 1}, {"y": 1}, {"c": 1}]) == [
        1,
        [{"x": 1}, {"y": 1}],
        -1,
    ]
    assert diff_list([{"a": 1}], [{"a": 1}, {"a": 1}]) == [1, [{"a": 1}]]
    assert diff_list([{"a": 1}], [{"a": True}]) == [[{"a": True}], -1]


# Values


@some
@given(values, values)
def test_same_is_equal_json(a: Any, b: Any) -> None:
    assert same(a, b) == (exact(a) == exact(b))
    assert same(a, copy.deepcopy(a))


def test_same_and_depth() -> None:
    def nested(inner: Any) -> Any:
        for _ in range(50_000):
            inner = {"k": [inner]}
        return inner

    assert same(nested(1), nested(1))
    assert not same(nested(1), nested(True))


# Documents


@few
@given(notebooks(), notebooks())
def test_notebooks(old: Document, new: Document) -> None:
    change_between(old, new)


@few
@given(successors())
def test_notebooks_that_share_cells(pair: tuple[Document, Document]) -> None:
    old, new = pair
    change_between(old, new)
    assert diff(old, copy.deepcopy(old)) == []


@some
@given(texts, texts)
def test_text_files(old: str, new: str) -> None:
    change = change_between({"source": old}, {"source": new})
    assert [operation["path"] for operation in change] == ["/source"] * (old != new)


def test_a_notebook_and_a_text_file_have_no_diff() -> None:
    with pytest.raises(ValueError, match="text file"):
        diff(notebook(), {"source": ""})


def test_the_finest_operations() -> None:
    old, new = notebook("x = 1\n", "y"), notebook("x = 2\n", "y")
    old["cells"]["a"]["metadata"] = {"a/b": {"k": 1, "gone": 1, "kept": [1]}, "type": {"k": 1}}
    new["cells"]["a"]["metadata"] = {"a/b": {"k": True, "new": {}, "kept": [1]}, "type": [1]}
    old["cells"]["b"]["attachments"] = {"i.png": {"image/png": "aQ=="}}
    new["cells"]["b"] |= {"cell_type": "markdown", "execution_count": 3}
    old["metadata"] = {"m~n": {"only": 1}}
    new["metadata"] = {"m~n": {}}
    assert change_between(old, new) == [
        {"op": "edit", "path": "/cells/a/source", "delta": [4, "2", -1]},
        {"op": "replace", "path": "/cells/a/metadata/type", "value": [1]},
        {"op": "remove", "path": "/cells/a/metadata/a~1b/gone"},
        {"op": "replace", "path": "/cells/a/metadata/a~1b/k", "value": True},
        {"op": "replace", "path": "/cells/a/metadata/a~1b/new", "value": {}},
        {"op": "replace", "path": "/cells/b/cell_type", "value": "markdown"},
        {"op": "replace", "path": "/cells/b/execution_count", "value": 3},
        {"op": "remove", "path": "/cells/b/attachments/i.png"},
        {"op": "remove", "path": "/metadata/m~0n/only"},
    ]


def longest_increasing(values: list[int]) -> int:
    return max(
        length
        for length in range(len(values) + 1)
        for some in combinations(values, length)
        if list(some) == sorted(some)
    )


def test_all_orders_of_six_cells_take_as_few_moves_as_possible() -> None:
    for length in range(7):
        old = notebook(*"abcdef"[:length])
        for order in permutations(old["order"]):
            change = change_between(old, {**old, "order": list(order)})
            assert {operation["op"] for operation in change} <= {"move"}
            places = [old["order"].index(cell_id) for cell_id in order]
            assert len(change) == length - longest_increasing(places)


def test_all_small_lists_with_cells_added_and_removed() -> None:
    whole = notebook(*"abcde")
    old = {**notebook(*"abc"), "order": list("abc")}
    for length in range(6):
        for order in permutations("abcde", length):
            new = {
                **whole,
                "cells": {cell_id: whole["cells"][cell_id] for cell_id in order},
                "order": list(order),
            }
            for change, before, after in (
                (change_between(old, new), old["order"], order),
                (change_between(new, old), order, old["order"]),
            ):
                verbs = [operation["op"] for operation in change]
                assert verbs.count("remove") == len(set(before) - set(after))
                assert verbs.count("add") == len(set(after) - set(before))
                kept = [before.index(cell_id) for cell_id in after if cell_id in before]
                assert verbs.count("move") == len(kept) - longest_increasing(kept)


def test_text_typed_meanwhile_survives_an_outside_change() -> None:
    old = notebook("import os\n", "x = 1\ny = 2\n", "print(x)\n")
    new = notebook("print(x)\n", "import os\n", "x = 1\ny = 3\n", ids="cab")
    typed: Change = [
        {"op": "edit", "path": "/cells/b/source", "delta": [5, "0"]},
        {"op": "edit", "path": "/cells/c/source", "delta": [6, "y + "]},
    ]
    outside = diff(old, new)
    typed_over, outside_over = transform_changes(typed, outside, later=True)
    both = apply(new, typed_over)
    assert exact(both) == exact(apply(apply(old, typed), outside_over))
    assert both["order"] == list("cab")
    assert both["cells"]["b"]["source"] == "x = 10\ny = 3\n"
    assert both["cells"]["c"]["source"] == "print(y + x)\n"


# Ids


def renamed(document: Document) -> Document:
    """The same cells, each with a new id."""
    return {
        **document,
        "cells": {f"new-{cell_id}": cell for cell_id, cell in document["cells"].items()},
        "order": [f"new-{cell_id}" for cell_id in document["order"]],
    }


def adopted(old: Document, new: Document) -> Document:
    """The result of adopt_ids, which must hold the same cells in the same order."""
    before = exact([old, new])
    result = adopt_ids(old, new)
    assert exact([old, new]) == before
    assert len(set(result["order"])) == len(new["order"])
    assert result["cells"].keys() == set(result["order"])
    assert result["metadata"] == new["metadata"]
    for was, now in zip(new["order"], result["order"], strict=True):
        assert result["cells"][now] is new["cells"][was]
        assert was not in old["cells"] or was == now
        assert now == was or (now in old["cells"] and now not in new["cells"])
    if result["order"] == new["order"]:
        assert result is new
    return result


@few
@given(successors(), st.sets(st.sampled_from("abcdefgh")))
def test_adopting_only_renames(pair: tuple[Document, Document], lost: set[str]) -> None:
    old, new = pair
    names = {cell_id: f"new-{cell_id}" if cell_id in lost else cell_id for cell_id in new["order"]}
    new = {
        **new,
        "cells": {names[cell_id]: cell for cell_id, cell in new["cells"].items()},
        "order": [names[cell_id] for cell_id in new["order"]],
    }
    change_between(old, adopted(old, new))


SOURCES = (
    "import numpy as np\nimport pandas as pd\n",
    "data = pd.read_csv('data.csv')\ndata.head()\n",
    "# Results\nThe mean of *every* column.\n",
    "means = data.mean()\nprint(means)\n",
    "",
    "figure, axes = plt.subplots()\naxes.plot(means)\n",
    "model = fit(data)\nscore = model.score(data)\nprint(score)\n",
    "plt.show()",
)


@some
@given(st.lists(st.sampled_from(SOURCES), max_size=8))
def test_all_ids_come_back(sources: list[str]) -> None:
    old = notebook(*sources)
    assert adopted(old, renamed(old))["order"] == old["order"]


@some
@given(*[st.lists(st.sampled_from(SOURCES[3:6]), max_size=6)] * 2)
def test_no_id_is_given_away_twice(before: list[str], after: list[str]) -> None:
    old, new = notebook(*before), renamed(notebook(*after))
    result = adopted(old, new)
    left = [
        cell["source"] for cell_id, cell in old["cells"].items() if cell_id not in result["cells"]
    ]
    new_ones = [
        result["cells"][cell_id]["source"] for cell_id in result["order"] if cell_id in new["cells"]
    ]
    assert not set(left) & set(new_ones)


@pytest.mark.parametrize("index", range(len(SOURCES)))
def test_ids_come_back_around_a_change(index: int) -> None:
    old = notebook(*SOURCES)
    ids = old["order"]
    source = SOURCES[index]

    edited = renamed(
        notebook(*SOURCES[:index], source.replace("data", "table"), *SOURCES[index + 1 :])
    )
    assert adopted(old, edited)["order"] == ids

    added = renamed(
        notebook(*SOURCES[:index], "assert 1 == 2\n", *SOURCES[index:], ids="abcdefghi")
    )
    order = adopted(old, added)["order"]
    assert order[:index] + order[index + 1 :] == ids

    left = ids[:index] + ids[index + 1 :]
    removed = {**old, "order": left, "cells": {cell_id: old["cells"][cell_id] for cell_id in left}}
    assert adopted(old, renamed(removed))["order"] == left

    for to in range(len(ids)):
        moved = [*left[:to], ids[index], *left[to:]]
        assert adopted(old, renamed({**old, "order": moved}))["order"] == moved


def test_ids_of_a_file_that_was_formatted_and_stripped() -> None:
    """Hundreds of cells, every one changed, some added."""
    old: Document = {"cells": {}, "order": [], "metadata": {}}
    new: Document = {"cells": {}, "order": [], "metadata": {}}
    for k in range(200):
        old["cells"][f"old-{k}"] = new_cell("code", f"value_{k} = f_{k}('a')\n")
        new["cells"][f"new-{k}"] = new_cell("code", f'value_{k} = f_{k}("a")\n')
        new["order"].append(f"new-{k}")
        old["order"].append(f"old-{k}")
        if k % 20 == 0:
            new["cells"][f"added-{k}"] = new_cell("markdown", "# A title\n")
            new["order"].append(f"added-{k}")
    order = adopted(old, new)["order"]
    assert [cell_id for cell_id in order if not cell_id.startswith("added")] == old["order"]


def test_kept_ids_are_never_given_away() -> None:
    old = notebook("one", "two", "three", ids="abc")
    new = notebook("two", "one", "three", ids="axb")
    assert adopted(old, new)["order"] == ["a", "x", "b"]
    new = notebook("three", "one", "two", ids="xby")
    assert adopted(old, new)["order"] == ["c", "b", "y"]


def test_a_cell_whose_type_changed_is_the_same_cell() -> None:
    old, new = notebook("some text", "x"), renamed(notebook("some text", "x"))
    new["cells"]["new-a"]["cell_type"] = "markdown"
    assert adopted(old, new)["order"] == ["a", "b"]


def test_a_dissimilar_cell_is_another_cell() -> None:
    old, new = notebook("import os", "x = 1", "y"), renamed(notebook("import os", "# Title", "y"))
    assert adopted(old, new)["order"] == ["a", "new-b", "c"]


def test_text_files_have_no_ids() -> None:
    file: Document = {"source": "x"}
    assert adopt_ids(file, file) is file
    assert adopt_ids(notebook("x"), file) is file


def test_adopting_is_not_quadratic() -> None:
    def cells_of(count: int, seed: int) -> Document:
        chance = random.Random(seed)
        order = [f"{seed}-{k}" for k in range(count)]
        return {
            "cells": {cell_id: new_cell("code", f"{chance.random()} = x") for cell_id in order},
            "order": order,
            "metadata": {},
        }

    def work(count: int) -> int:
        return steps(lambda: adopt_ids(cells_of(count, 1), cells_of(count, 2)))

    assert work(400) < 4 * 1.5 * work(100)


# The same everywhere


def cases() -> Iterator[tuple[Document, Document]]:
    chance = random.Random(0)
    for seed in range(20):
        sources = [random_words(9, 200, chance.randrange(30)) for _ in range(8)]
        old = notebook(*sources)
        chance.shuffle(sources)
        new = notebook(*sources[:6], random_words(9, 200, seed + 99))
        chance.shuffle(new["order"])
        yield old, new


def test_the_same_in_every_process() -> None:
    """Whatever the seed of Python's hashes is."""
    code = (
        "from tests.test_diff import *\n"
        "for old, new in cases():\n"
        "    print(json.dumps([diff(old, new), adopt_ids(old, renamed(new))['order']]))\n"
    )
    here = "".join(
        json.dumps([diff(old, new), adopt_ids(old, renamed(new))["order"]]) + "\n"
        for old, new in cases()
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == here, done.stderr
