"""Random documents, changes and cases: one generator for every source of chance.

The generators ask for nothing but ``randrange``, so that the same code runs on a seeded
``random.Random`` (fast: the simulations, the long fuzzing runs), on Hypothesis (shrinks, keeps
what failed) and on a :class:`Tape` (replays and shrinks what a seed has found). The lower the
numbers that come, the simpler is what is made of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from random import Random
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from hypothesis import strategies as st

from ot_jupyter.transforms import Cell, Change, Delta, Document, Operation, apply, pointer

Item = TypeVar("Item")


class Chance(Protocol):
    """What a generator needs: a ``random.Random`` has it."""

    def randrange(self, stop: int, /) -> int: ...


class Profile(NamedTuple):
    """What is generated: the verbs, as often as they stand there, the usual one first.

    ``server``: also what only the server writes (outputs, ``execution``). ``typing``: few cells,
    and nearly every edit in the source of the first.
    """

    name: str
    verbs: tuple[str, ...]
    server: bool
    typing: bool
    runs: bool

    def __repr__(self) -> str:
        return self.name


_VERBS: Final = ("edit",) * 6 + ("write",) * 6 + ("move",) * 4 + ("add", "remove", "outputs") * 2

MIXED: Final = Profile("mixed", _VERBS, server=True, typing=False, runs=True)
TYPING: Final = Profile(
    "typing",
    ("edit",) * 16 + ("write", "move", "add", "remove"),
    server=True,
    typing=True,
    runs=True,
)
CLIENT: Final = Profile("client", _VERBS, server=False, typing=False, runs=False)
PROFILES: Final = (MIXED, TYPING)

CELL_IDS: Final = ("a", "b", "c", "d", "e", "f")
# A family is five code points, and an accent one of its own: edits may cut through both.
LETTERS: Final = (
    "a", "b", "c", " ", "\n", "\r", "\u00e9", "e\u0301", "\u4e2d", "\U0001f600",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
)  # fmt: skip
KEYS: Final = ("k", "kk", "a/b", "m~n", "~1", "~01", "", "__proto__", "constructor", "\U0001f600")
SCALARS: Final = (0, 1, "v", None, True, False, -2.5, "\U0001f600", 2**53, "")


def pick(chance: Chance, options: Sequence[Item]) -> Item:
    return options[chance.randrange(len(options))]


def seldom(chance: Chance, once_in: int) -> bool:
    """True once in that many times (two or more)."""
    return chance.randrange(once_in) == 1


def several(chance: Chance, most: int, make: Callable[[], Item]) -> list[Item]:
    """None to ``most``, each number as likely. Asks before each one whether there is one more, so
    that any of them can be shrunk away."""
    result: list[Item] = []
    while chance.randrange(most - len(result) + 1):
        result.append(make())
    return result


# Values and documents.


def random_text(chance: Chance, most: int) -> str:
    return "".join(several(chance, most, lambda: pick(chance, LETTERS)))


def random_value(chance: Chance, depth: int = 2) -> Any:
    kind = chance.randrange(5 if depth else 2)
    if kind < 2:
        return pick(chance, SCALARS)
    if kind == 2:
        return several(chance, 2, lambda: pick(chance, SCALARS))
    return random_object(chance, depth)


def random_object(chance: Chance, depth: int = 2) -> dict[str, Any]:
    return {pick(chance, KEYS): random_value(chance, depth - 1) for _ in range(chance.randrange(4))}


def random_output(chance: Chance) -> dict[str, Any]:
    text = pick(chance, LETTERS) + random_text(chance, 2)
    if seldom(chance, 2):
        return {"output_type": "display_data", "data": {"text/plain": text}, "metadata": {}}
    return {"output_type": "stream", "name": "stdout", "text": text}


def random_cell(chance: Chance, profile: Profile = MIXED) -> Cell:
    """A complete cell; seldom one that has been run."""
    ran = seldom(chance, 4)
    return {
        "cell_type": pick(chance, ("code", "code", "markdown", "raw")),
        "source": random_text(chance, 6),
        "metadata": random_object(chance) if seldom(chance, 2) else {},
        "outputs": [random_output(chance) for _ in range(1 + chance.randrange(3))] if ran else [],
        "execution_count": chance.randrange(3) if ran else None,
        "attachments": {"i.png": {"image/png": "aQ=="}} if seldom(chance, 6) else {},
        "execution": {"state": "ok"} if ran and profile.server else {},
    }


def random_document(chance: Chance, profile: Profile = MIXED) -> Document:
    """A notebook of 0 to 6 cells (*typing*: 1 or 2), or once in ten times a text file."""
    if seldom(chance, 10):
        return {"source": random_text(chance, 8)}
    cells = several(chance, 1 if profile.typing else 6, lambda: random_cell(chance, profile))
    if profile.typing:
        cells.append(random_cell(chance, profile))
    order = list(CELL_IDS[: len(cells)])
    return {
        "cells": dict(zip(order, cells, strict=True)),
        "order": order,
        "metadata": random_object(chance),
    }


# Changes.


def random_delta(chance: Chance, length: int, insert: Callable[[], Any]) -> Delta:
    """A canonical delta with an effect, for a sequence of that length, at one to three places.

    ``insert`` makes what is inserted (not empty). Made without the functions under test.
    """
    delta: Delta = []
    at = 0
    for _ in range(1 + chance.randrange(3)):
        gap = chance.randrange(length - at + 1)
        if delta and not gap:
            break
        kind = chance.randrange(3)  # insert, delete, both
        left = length - at - gap
        if kind and not left:
            kind = 0
        if gap:
            delta.append(gap)
        if kind != 1:
            delta.append(insert())
        if kind:
            deleted = 1 + chance.randrange(min(left, 4))
            delta.append(-deleted)
            at += deleted
        at += gap
    return delta


def random_change(
    chance: Chance,
    document: Document,
    size: int,
    new_ids: Sequence[str],
    profile: Profile = MIXED,
) -> Change:
    """A valid change of ``size`` operations, and with a profile that has runs seldom one or two
    of these behind.

    Cells that are added get ids of ``new_ids``. An id that is in the document stands for a cell
    which the change has removed and brings back.
    """
    change: Change = []
    for _ in range(size):
        operation = random_operation(chance, document, new_ids, profile)
        document = apply(document, [operation])
        change.append(operation)
    if profile.runs and document.get("order") and seldom(chance, 12):
        for _ in range(1 + chance.randrange(2)):
            change.append({"op": "run", "path": "/cells/" + pick(chance, document["order"])})
    return change


def random_operation(
    chance: Chance, document: Document, new_ids: Sequence[str], profile: Profile = MIXED
) -> Operation:
    """One valid operation, not ``run``."""
    if "order" not in document:
        return _edit("/source", _text_delta(chance, document["source"]))
    order = document["order"]
    verb = pick(chance, profile.verbs)
    if verb == "add":
        free = [cell_id for cell_id in new_ids if cell_id not in document["cells"]]
        if free:
            path = "/cells/" + pick(chance, free)
            index = chance.randrange(len(order) + 1)
            return {
                "op": "add",
                "path": path,
                "index": index,
                "value": random_cell(chance, profile),
            }
    if verb == "write" or not order:
        return _random_write(chance, document, profile)
    index = 0 if profile.typing and verb == "edit" else chance.randrange(len(order))
    path = "/cells/" + order[index]
    if verb == "remove":
        return {"op": "remove", "path": path, "index": index}
    if verb == "move" and len(order) > 1:
        to = chance.randrange(len(order) - 1)
        return {"op": "move", "path": path, "index": index, "to": to + 1 if to >= index else to}
    cell = document["cells"][order[index]]
    if verb == "outputs" and (profile.server or cell["outputs"]):
        return _edit(path + "/outputs", _outputs_delta(chance, cell["outputs"], profile))
    return _edit(path + "/source", _text_delta(chance, cell["source"]))


def _edit(path: str, delta: Delta) -> Operation:
    return {"op": "edit", "path": path, "delta": delta}


def _text_delta(chance: Chance, text: str) -> Delta:
    return random_delta(
        chance, len(text), lambda: pick(chance, LETTERS) + random_text(chance, chance.randrange(3))
    )


def _outputs_delta(chance: Chance, outputs: list[Any], profile: Profile) -> Delta:
    if not profile.server:  # a client may only clear
        return [-len(outputs)]
    delta = random_delta(
        chance,
        len(outputs),
        lambda: [random_output(chance) for _ in range(1 + chance.randrange(2))],
    )
    return with_edits(chance, delta, outputs) if chance.randrange(2) else delta


def with_edits(chance: Chance, delta: Delta, outputs: list[Any]) -> Delta:
    """The delta, which also edits the text of some of the outputs that it keeps."""
    reach = sum(abs(part) for part in delta if isinstance(part, int))
    result: Delta = []
    at = 0
    for part in [*delta, len(outputs) - reach]:
        if not isinstance(part, int) or part < 0:
            result.append(part)
            at -= part if isinstance(part, int) else 0
            continue
        for item in outputs[at : at + part]:
            if type(item.get("text")) is str and chance.randrange(2):
                result.append({"text": _text_delta(chance, item["text"])})
            elif result and type(result[-1]) is int and result[-1] > 0:
                result[-1] += 1
            else:
                result.append(1)
        at += part
    if type(result[-1]) is int and result[-1] > 0:
        result.pop()
    return result


def _random_write(chance: Chance, document: Document, profile: Profile) -> Operation:
    """Write a register, or remove a key, at any depth of the notebook's or a cell's objects."""
    where = ["metadata"]
    container = document["metadata"]
    if profile.server and seldom(chance, 8):
        if "kernel" not in document:
            return _replace(["kernel"], random_object(chance))
        where, container = ["kernel"], document["kernel"]
    elif document["order"] and chance.randrange(3):
        cell_id = document["order"][
            0 if profile.typing else chance.randrange(len(document["order"]))
        ]
        fields = ("metadata", "metadata", "attachments", "cell_type", "execution_count")
        field = pick(chance, (*fields, "execution") if profile.server else fields)
        where = ["cells", cell_id, field]
        if field == "cell_type":
            return _replace(where, pick(chance, ("code", "markdown", "raw")))
        if field == "execution_count":
            return _replace(where, pick(chance, (None, 0, 7)))
        container = document["cells"][cell_id][field]
    while True:
        objects = [key for key, value in container.items() if type(value) is dict]
        if not objects or seldom(chance, 2):
            break
        key = pick(chance, objects)
        where.append(key)
        container = container[key]
    kind = chance.randrange(5)
    if kind == 0:
        return _replace(where, random_object(chance))
    if kind < 3 and container:
        path = pointer(*where, pick(chance, list(container)))
        return {"op": "remove", "path": path}
    where.append(pick(chance, (*container, *KEYS)))
    return _replace(where, random_value(chance))


def _replace(where: list[str], value: Any) -> Operation:
    return {"op": "replace", "path": pointer(*where), "value": value}


# Cases.


class Case(NamedTuple):
    """A document, three changes made for it at once, and one that follows ``a``."""

    document: Document
    a: Change
    b: Change
    c: Change
    then: Change


def random_case(chance: Chance, profile: Profile = MIXED) -> Case:
    """Everything that the properties need. ``s`` and the ids of cells that were removed may be
    added by more than one of the changes."""
    document = random_document(chance, profile)
    back = document.get("order", ())[:3]
    a = random_change(chance, document, 1 + chance.randrange(4), ("x", "s", *back), profile)
    b = random_change(chance, document, 1 + chance.randrange(4), ("y", "s", *back), profile)
    c = random_change(chance, document, 1 + chance.randrange(2), ("z", "s", *back), profile)
    then = random_change(
        chance, apply(document, a), 1 + chance.randrange(3), ("w", "x", *back), profile
    )
    return Case(document, a, b, c, then)


# Hypothesis.


class Drawn:
    """Chance that Hypothesis draws, so that it can shrink and remember it.

    ``draw`` is that of a composite strategy, or of ``st.data()``.
    """

    def __init__(self, draw: Callable[[st.SearchStrategy[int]], int]) -> None:
        self.draw = draw

    def randrange(self, stop: int, /) -> int:
        return self.draw(_below(stop))


@cache
def _below(stop: int) -> st.SearchStrategy[int]:
    return st.integers(0, stop - 1)


@st.composite
def documents(draw: st.DrawFn, profile: Profile = MIXED) -> Document:
    return random_document(Drawn(draw), profile)


@st.composite
def changes(
    draw: st.DrawFn,
    document: Document,
    size: int,
    new_ids: Sequence[str] = ("x",),
    profile: Profile = MIXED,
) -> Change:
    """Valid changes for the document, of that many operations."""
    return random_change(Drawn(draw), document, size, new_ids, profile)


@st.composite
def cases(draw: st.DrawFn, profile: Profile = MIXED) -> Case:
    """A document with concurrent changes: use the first two for pairs, three for triples."""
    return random_case(Drawn(draw), profile)


# Replaying and shrinking what a seed has found.


class Tape:
    """Chance from a list of numbers; then from ``rest``, or only zeros. ``taken`` is what came."""

    def __init__(self, numbers: Sequence[int] = (), rest: Random | None = None) -> None:
        self.numbers = numbers
        self.rest = rest
        self.taken: list[int] = []

    def randrange(self, stop: int, /) -> int:
        at = len(self.taken)
        if at < len(self.numbers):
            number = min(self.numbers[at], stop - 1)
        else:
            number = self.rest.randrange(stop) if self.rest else 0
        self.taken.append(number)
        return number


def shrink(numbers: list[int], fails: Callable[[Tape], bool], tries: int = 8000) -> list[int]:
    """Fewer and lower numbers with which it still fails: blocks left out, then each number lower,
    also together with a block behind it (a count and the first of what it counts), again until
    nothing helps or the tries are used up."""
    best = numbers

    def better(candidate: list[int]) -> bool:
        nonlocal best, tries
        tries -= 1
        tape = Tape(candidate)
        if tries < 0 or not fails(tape):
            return False
        if (len(tape.taken), tape.taken) >= (len(best), best):
            return False
        best = tape.taken
        return True

    while True:
        before = best
        for block in (64, 32, 16, 8, 4, 2, 1):
            at = 0
            while at < len(best):
                if not better(best[:at] + best[at + block :]):
                    at += block
        at = 0
        while at < len(best):
            for lower in range(min(best[at], 3)):
                if better([*best[:at], lower, *best[at + 1 :]]):
                    break
            for block in range(1, 13):
                if best[at:] and best[at]:
                    better([*best[:at], best[at] - 1, *best[at + 1 + block :]])
            at += 1
        if best == before:
            return best
