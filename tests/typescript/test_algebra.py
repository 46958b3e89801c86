"""The TypeScript algebra does what Python's does: all of Python's checks, and the same results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from ot_jupyter import transforms
from ot_jupyter.transforms import Refused, delta, diff
from ot_jupyter.transforms.check import client_cell

from ..fuzz.strategies import CLIENT, PROFILES, pick, random_case, random_text
from ..fuzz.test_mutations import quick_checks
from .core import Call, Core, algebra, survives_json

CASES = 2_000  # random cases, each with dozens of calls
BATCH = 50

HALVES = ("\ud83d", "\ude00")  # of a surrogate pair, each alone
ALIKE = ("\U0001f600", "\U0001f601", "\U0001fa00", "\n", "a", *HALVES)  # pairs that share a half
# Texts of which one is the other with one more unit, but not with one more code point; and such as
# differ within a pair.
WITHIN_PAIRS = (
    (HALVES[1], "\U0001f600"), (HALVES[0], "\U0001f600"), ("\U0001f600", "\U0001f601"),
    ("\U0001f600", "\U0001fa00"), ("\U0001f600", f"{HALVES[0]}a{HALVES[1]}"),
    ("\U0001f600", "\U0001f601\U0001f600"),
    (f"{HALVES[1]}x\nq\n", f"{HALVES[1]}xw\n\U0001f600x\nq\n"),
    (f"a\n{HALVES[1]}\n", "a\n\U0001f600\n"),
)  # fmt: skip


def test_all_that_is_known_of_the_algebra(core: Core) -> None:
    """The table, the small scopes, the properties: Python's own tests, asked of node."""
    module = algebra(core)
    for check in quick_checks():
        check(module)


def _expected(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    try:
        return function(*arguments, **options)
    except Refused as refused:
        return refused


def expected_calls(seed: int) -> Iterator[tuple[Call, Any]]:
    """Calls for a random case, with Python's answers."""
    chance = Random(seed)
    profile = (*PROFILES, CLIENT)[seed % 3]
    document, a, b, c, then = random_case(chance, profile)
    notebook = transforms.is_notebook(document)
    for change in (a, b, c):
        yield Call("apply", (document, change)), transforms.apply(document, change)
        yield Call("invert", (document, change)), transforms.invert(document, change)
    for later in (False, True):
        for one, other in ((a, b), (b, c), (a + then, b)):
            both = transforms.transform_changes(one, other, later=later)
            yield Call("transformChanges", (one, other, {"later": later})), list(both)
    if not any(one["op"] == "run" for one in a):
        yield Call("compose", (a, then)), transforms.compose(a, then)
    yield from _misfits(document, a, then, notebook)
    after = transforms.apply(document, b)
    yield Call("diff", (document, after)), diff.diff(document, after)
    if notebook:
        for cell_id, cell in document["cells"].items():
            path = f"/cells/{cell_id}/source"
            for offset in {0, len(cell["source"]) // 2, len(cell["source"])}:
                expected = transforms.position(path, offset, a)
                yield Call("position", (path, offset, a)), expected
            yield Call("clientCell", (cell,)), client_cell(cell)
        renamed = _renamed(chance, after)
        yield Call("adoptIds", (document, renamed)), diff.adopt_ids(document, renamed)
    yield from _texts(chance)


def _misfits(document: Any, a: Any, then: Any, notebook: bool) -> Iterator[tuple[Call, Any]]:
    """What does not fit is refused alike."""
    yield Call("apply", (document, then)), _expected(transforms.apply, document, then)
    broken = [dict(one) for one in a]
    for one in broken:
        for field in ("index", "to"):
            if field in one:
                one[field] += 1
        if "delta" in one:
            one["delta"] = [3, *one["delta"], -1]
    yield Call("apply", (document, broken)), _expected(transforms.apply, document, broken)
    for from_client in (False, True):
        for change in (a, broken):
            expected = _expected(
                transforms.check_change, change, notebook=notebook, from_client=from_client
            )
            origin = {"notebook": notebook, "fromClient": from_client}
            yield Call("checkChange", (change, origin)), expected


def _renamed(chance: Random, document: Any) -> Any:
    """The document after a tool that has stripped some ids."""
    names = {one: one if chance.randrange(2) else f"n{one}" for one in document["order"]}
    return {
        **document,
        "cells": {names[one]: cell for one, cell in document["cells"].items()},
        "order": [names[one] for one in document["order"]],
    }


def _text(chance: Random) -> str:
    """Some text, seldom with halves of surrogate pairs."""
    lines = [random_text(chance, 6) for _ in range(chance.randrange(5))]
    text = "\n".join(lines)
    for _ in range(chance.randrange(4) if chance.randrange(6) == 0 else 0):
        at = chance.randrange(len(text) + 1)
        longer = text[:at] + HALVES[chance.randrange(2)] + text[at:]
        text = longer if survives_json(longer) else text
    return text


def _with_lines(chance: Random, text: str) -> str:
    """The text with some of its lines there once more."""
    lines = text.split("\n")
    at, start = chance.randrange(len(lines) + 1), chance.randrange(len(lines))
    return "\n".join([*lines[:at], *lines[start : start + 2], *lines[at:]])


def corners() -> Iterator[tuple[Call, Any]]:
    """Calls that chance seldom makes, with their answers."""
    for number in (2**53, -(2**53), 2**53 + 2, -(2**53) - 2):
        yield Call("checkValue", (number,)), _expected(transforms.check_value, number)
    for part in (1.5, -0.5):
        yield (
            Call("checkDelta", ([part, "a"], "text")),
            _expected(delta.check_delta, [part, "a"], str),
        )
    for one, other in WITHIN_PAIRS:
        for old, new in ((one, other), (other, one)):
            yield from _text_calls(Random(0), old, new)


def _typed(chance: Random, text: str) -> str:
    """The text with a piece taken out, or put in: symbols that have half of their pair in common,
    and halves themselves."""
    at = chance.randrange(len(text) + 1)
    gone = chance.randrange(3) if chance.randrange(2) else 0
    piece = "" if gone else "".join(pick(chance, ALIKE) for _ in range(chance.randrange(4)))
    longer = text[:at] + piece + text[at + gone :]
    return longer if survives_json(longer) else text


def _changed(chance: Random, text: str) -> str:
    """Another text, or what the text may have become."""
    kind = chance.randrange(4)
    if kind == 0:
        return _with_lines(chance, text)
    return _typed(chance, text) if kind == 1 else _text(chance)


def _texts(chance: Random) -> Iterator[tuple[Call, Any]]:
    for alike in (False, True):
        old = _typed(chance, _typed(chance, _text(chance))) if alike else _text(chance)
        new = _typed(chance, old) if alike else _changed(chance, old)
        yield from _text_calls(chance, old, new)


def _text_calls(chance: Random, old: str, new: str) -> Iterator[tuple[Call, Any]]:
    found = diff.diff_text(old, new)
    yield Call("diffText", (old, new)), found
    yield Call("applyDelta", (old, found)), new
    yield Call("invertDelta", (old, found)), delta.invert_delta(old, found)
    yield Call("pointLength", (old,)), len(old)
    at = chance.randrange(len(old) + 1)
    units = len(old[:at].encode("utf-16-le", "surrogatepass")) // 2
    yield Call("toUnits", (old, at)), units
    yield Call("toPoints", (old, units)), at
    expected = _expected(transforms.check_value, [old])
    yield Call("checkValue", ([old],)), expected


def same(found: Any, expected: Any) -> bool:
    """Whether an answer is the one that was expected: of a refusal, code and pointer."""
    if isinstance(expected, Refused) or isinstance(found, Refused):
        return (
            isinstance(found, Refused)
            and isinstance(expected, Refused)
            and (found.code, found.pointer) == (expected.code, expected.pointer)
        )
    return diff.same(found, expected)


def test_corners(core: Core) -> None:
    for call, expected in corners():
        assert same(core.ask([call])[0], expected), call


def test_the_same_results_and_refusals(core: Core) -> None:
    """Tens of thousands of calls, other ones each time; a failing seed is named."""
    first = Random().randrange(2**32)
    for start in range(first, first + CASES, BATCH):
        cases = [
            (seed, *one) for seed in range(start, start + BATCH) for one in expected_calls(seed)
        ]
        answers = core.ask([call for _, call, _ in cases])
        for (seed, call, expected), found in zip(cases, answers, strict=True):
            assert same(found, expected), f"seed {seed}: {call}\n{found!r}\nnot {expected!r}"
