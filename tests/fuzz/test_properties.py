"""The properties of the algebra, at random.

Every property is a function of the algebra and a case, so that the mutation list can run it on an
algebra with a rule broken. ``pytest tests/fuzz --fuzz-seconds 600`` goes on for ten minutes; what
fails is shrunk and printed as a test.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from itertools import count
from pprint import pformat
from random import Random, SystemRandom
from time import monotonic
from types import ModuleType
from typing import Any, TypeAlias

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ot_jupyter import transforms
from ot_jupyter.transforms import Change, Document, segments

from .reference import applied, caret, edited, is_canonical
from .strategies import (
    CELL_IDS,
    CLIENT,
    MIXED,
    PROFILES,
    TYPING,
    Case,
    Chance,
    Drawn,
    Profile,
    Tape,
    cases,
    random_case,
    random_delta,
    random_text,
    seldom,
    shrink,
)

Property: TypeAlias = Callable[[ModuleType, Case], None]

_quick = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


# What is true of every change and of every document.


def assert_valid(algebra: ModuleType, document: Document, change: Change) -> Document:
    """The document after a change that must be well-formed, canonical and fitting."""
    for operation in change:
        if operation["op"] == "edit":
            assert is_canonical(operation["delta"]), operation
        if operation["op"] == "move":
            assert operation["index"] != operation["to"], operation
    # By the true one: the algebra under test may have a lenient check.
    transforms.check_change(change, notebook="cells" in document, from_client=False)
    algebra.check_change(change, notebook="cells" in document, from_client=False)
    after: Document = algebra.apply(document, change)
    if "cells" in after:
        assert len(after["order"]) == len(after["cells"]), "a cell is doubled or lost"
        assert set(after["order"]) == set(after["cells"]), "a cell is doubled or lost"
    return after


def cells_of(change: Change, verb: str) -> set[str]:
    """The cells that a change adds or removes as a whole."""
    paths = [segments(op["path"]) for op in change if op["op"] == verb and "index" in op]
    return {path[1] for path in paths}


def fields_of(change: Change) -> set[tuple[str, ...]]:
    """What a change writes in: ``("cells", id, field)`` or ``("metadata",)`` or ``("source",)``;
    for a whole cell ``("cells", id)``."""
    return {
        path[:3] if path[0] == "cells" else path[:1]
        for path in (segments(op["path"]) for op in change if op["op"] != "run")
    }


# The properties.


def converge(algebra: ModuleType, case: Case) -> None:
    """TP1, whoever is later, and nothing lost that nobody removed."""
    _converge(algebra, case.document, case.a, case.b)
    _converge(algebra, case.document, case.b, case.a)


def _converge(algebra: ModuleType, document: Document, earlier: Change, later: Change) -> Document:
    over_later, over_earlier = algebra.transform_changes(earlier, later, later=False)
    swapped = algebra.transform_changes(later, earlier, later=True)
    assert swapped == (over_earlier, over_later), "the order of the arguments matters"
    assert algebra.transform_change(later, earlier, later=True) == over_earlier
    assert algebra.transform_change(earlier, later, later=False) == over_later
    after_earlier = algebra.apply(document, earlier)
    after_later = algebra.apply(document, later)
    merged = assert_valid(algebra, after_earlier, over_earlier)
    assert merged == assert_valid(algebra, after_later, over_later), "TP1"
    if "cells" not in document:
        return merged
    removed = cells_of(earlier, "remove") | cells_of(later, "remove")
    added = cells_of(earlier, "add") | cells_of(later, "add")
    kept = set(document["cells"]) - removed
    assert kept <= set(merged["cells"]), "a cell is gone that nobody removed"
    assert set(merged["cells"]) <= kept | added, "a removed cell is back"
    assert added - removed <= set(merged["cells"]), "an added cell is gone"
    for mine, foreign, alone in (
        (earlier, later, after_earlier),
        (later, earlier, after_later),
    ):
        # What only one side has written stands as it left it.
        for where in fields_of(mine) - fields_of(foreign):
            if where == ("metadata",):
                assert merged["metadata"] == alone["metadata"]
            elif len(where) == 3 and where[1] in kept:
                _, cell_id, field = where
                assert merged["cells"][cell_id][field] == alone["cells"][cell_id][field]
    return merged


def everyone_converges(algebra: ModuleType, case: Case) -> None:
    """Three authors and a server that commits ``a``, ``b``, ``c`` and then ``then``, which the
    author of ``a`` made before seeing the others."""
    document, a, b, c, then = case

    def over(change: Change, *entries: Change) -> Change:
        for entry in entries:
            change = algebra.transform_change(change, entry, later=True)
        return change

    b_committed = over(b, a)
    c_committed = over(c, a, b_committed)
    then_committed = over(then, b_committed, c_committed)
    log = [a, b_committed, c_committed, then_committed]
    state = document
    for entry in log:
        state = assert_valid(algebra, state, entry)

    for own, pending in (((0, 3), [a, then]), ((1,), [b]), ((2,), [c])):
        seen = document
        for change in pending:
            seen = algebra.apply(seen, change)
        for revision, entry in enumerate(log):
            if revision in own:
                assert entry == pending.pop(0), "what is committed is not what the author has"
                continue
            for index, change in enumerate(pending):
                entry, pending[index] = algebra.transform_changes(entry, change, later=False)
            seen = assert_valid(algebra, seen, entry)
        assert seen == state, "a client has another document"


def inverts(algebra: ModuleType, case: Case) -> None:
    """A change and its inverse leave nothing; the inverse of the inverse is the change again."""
    document = case.document
    after = algebra.apply(document, case.a)
    inverse = algebra.invert(document, case.a)
    assert assert_valid(algebra, after, inverse) == document
    again = algebra.invert(after, inverse)
    assert assert_valid(algebra, document, again) == after


def composes(algebra: ModuleType, case: Case) -> None:
    """A composed change does what its parts do, and is a pending change like any other."""
    document = case.document
    a = [operation for operation in case.a if operation["op"] != "run"]
    composed = algebra.compose(a, case.then)
    after = algebra.apply(algebra.apply(document, a), case.then)
    assert assert_valid(algebra, document, composed) == after
    assert len(composed) <= len(a) + len(case.then)
    _converge(algebra, document, case.b, composed)
    _converge(algebra, document, composed, case.b)


def applies(algebra: ModuleType, case: Case) -> None:
    """``apply`` does what the reference does."""
    assert algebra.apply(case.document, case.a) == applied(case.document, case.a)
    # Also in one change what is seldom in a random one: an own cell that goes and comes back.
    for cell_id in case.document.get("order", ()):
        path = f"/cells/{cell_id}"
        edit = {"op": "edit", "path": path + "/source", "delta": ["x"]}
        write = {"op": "replace", "path": path + "/metadata/k", "value": 1}
        away, back = _away_and_back(case.document, cell_id)
        change = [edit, away, back, edit, write]
        assert algebra.apply(case.document, change) == applied(case.document, change)


def _away_and_back(document: Document, cell_id: str) -> Change:
    index = document["order"].index(cell_id)
    path = f"/cells/{cell_id}"
    value = deepcopy(document["cells"][cell_id])
    return [
        {"op": "remove", "path": path, "index": index},
        {"op": "add", "path": path, "index": index, "value": value},
    ]


def undo_brings_back(algebra: ModuleType, case: Case) -> None:
    """What others did in a cell while one's own removal of it was pending, undo brings back.

    What dies in the pending removal is applied to its inverse instead.
    """
    document, foreign = case.document, case.b
    for index, cell_id in enumerate(document.get("order", ())):
        if cell_id in cells_of(foreign, "remove"):
            continue
        pending: Change = [{"op": "remove", "path": f"/cells/{cell_id}", "index": index}]
        inverse = algebra.invert(document, pending)
        state = algebra.apply(document, pending)
        for operation in foreign:
            over, pending = algebra.transform_changes([operation], pending, later=False)
            state = algebra.apply(state, over)
            inverse = algebra.transform_change(inverse, over or [operation], later=True)
        undone = assert_valid(algebra, state, inverse)
        expected = algebra.apply(document, foreign)
        assert undone["cells"] == expected["cells"]
        assert undone["metadata"] == expected["metadata"]


def carets(algebra: ModuleType, case: Case) -> None:
    """A caret stays in its text, moves as the reference says, and goes with its cell only."""
    document, change = case.document, case.a
    if "cells" in document:
        places = [
            (f"/cells/{key}/source", cell["source"]) for key, cell in document["cells"].items()
        ]
    else:
        places = [("/source", document["source"])]
    after = algebra.apply(document, change)
    for path, text in places:
        gone = "cells" in document and path.split("/")[2] not in after["cells"]
        added = [op for op in change if op["op"] == "add" and path.startswith(op["path"] + "/")]
        for offset in range(len(text) + 1):
            place = algebra.position(path, offset, change)
            if gone:
                assert place is None
                continue
            if added:
                continue
            expected = offset
            for operation in change:
                if operation["op"] == "edit" and operation["path"] == path:
                    expected = caret(expected, operation["delta"])
            assert place == expected
        if added and not gone:
            cell = after["cells"][path.split("/")[2]]
            place = algebra.position(path, len(text), change)
            assert place is not None
            assert place <= len(cell["source"])


def leaves_arguments(algebra: ModuleType, case: Case) -> None:
    """No function writes into what it is given, nor into what it gave before."""
    document, a, b, _, then = case
    before = orjson.dumps(list(case))
    after = algebra.apply(document, a)
    edits_within: Change = []
    for cell_id in after.get("order", ()):
        edits_within += [
            {"op": "edit", "path": f"/cells/{cell_id}/source", "delta": ["x"]},
            *_away_and_back(after, cell_id),
            {"op": "edit", "path": f"/cells/{cell_id}/source", "delta": ["y"]},
            {"op": "replace", "path": f"/cells/{cell_id}/metadata/k", "value": {}},
            {"op": "replace", "path": f"/cells/{cell_id}/metadata/k/k", "value": {}},
        ]
    given = (after, edits_within, algebra.invert(document, a))
    between = orjson.dumps(given)
    algebra.apply(after, edits_within)
    algebra.apply(after, then)
    algebra.apply(after, given[2])
    for later in (True, False):
        algebra.transform_changes(a, b, later=later)
        algebra.transform_change(a, b, later=later)
    algebra.compose([operation for operation in a if operation["op"] != "run"], then)
    if document.get("order"):
        algebra.position(f"/cells/{document['order'][0]}/source", 0, a)
    assert orjson.dumps(list(case)) == before
    assert orjson.dumps(given) == between


def stays_a_clients(algebra: ModuleType, case: Case) -> None:
    """What a client may send it may also resend, as transformed by then, and composed."""
    a = [operation for operation in case.a if operation["op"] != "run"]
    notebook = "cells" in case.document
    try:
        for change in (a, case.then):
            transforms.check_change(change, notebook=notebook, from_client=True)
    except transforms.Refused:
        return  # not what a client may send
    for change in (
        algebra.transform_change(a, case.b, later=True),
        algebra.transform_change(algebra.compose(a, case.then), case.b, later=True),
    ):
        transforms.check_change(change, notebook=notebook, from_client=True)


PROPERTIES: tuple[Property, ...] = (
    converge,
    everyone_converges,
    inverts,
    composes,
    applies,
    undo_brings_back,
    carets,
    leaves_arguments,
    stays_a_clients,
)


@pytest.mark.parametrize("check", PROPERTIES, ids=lambda check: check.__name__)
@pytest.mark.parametrize("profile", [MIXED, TYPING, CLIENT], ids=repr)
def test_property(check: Property, profile: Profile) -> None:
    @_quick
    @given(cases(profile))
    def run(case: Case) -> None:
        check(transforms, case)

    run()


# Sequences of any kind, longer than the exhaustive tests have them.


def deltas_converge(algebra: ModuleType, chance: Chance) -> None:
    """Two edits of a long sequence do what the reference says, in texts and in lists."""
    delta = algebra.delta
    length = chance.randrange(30)
    numbers = iter(count(1000))
    sequence: Any = list(range(length))
    a, b = (
        random_delta(
            chance, length, lambda: [next(numbers) for _ in range(1 + chance.randrange(3))]
        )
        for _ in range(2)
    )
    if seldom(chance, 2):
        sequence, a, b = _as_text(sequence), _texts(a), _texts(b)
    a_over_b = delta.transform_delta(a, b, True)
    b_over_a = delta.transform_delta(b, a, False)
    for one in (a_over_b, b_over_a):
        assert not one or is_canonical(one)
    expected = edited(sequence, b, a)
    after_a, after_b = (delta.apply_delta(sequence, one) for one in (a, b))
    assert after_a == edited(sequence, a)
    assert delta.apply_delta(after_b, a_over_b) == expected
    assert delta.apply_delta(after_a, b_over_a) == expected
    composed = delta.compose_delta(a, b_over_a)
    assert not composed or is_canonical(composed)
    assert delta.apply_delta(sequence, composed) == expected
    inverse = delta.invert_delta(sequence, a)
    assert is_canonical(inverse)
    assert delta.apply_delta(after_a, inverse) == sequence
    for offset in range(length + 1):
        assert delta.position_in_delta(offset, a) == caret(offset, a)


def _as_text(sequence: list[int]) -> str:
    return "".join(chr(0x10000 + number) for number in sequence)


def _texts(delta: list[Any]) -> list[Any]:
    return [_as_text(part) if isinstance(part, list) else part for part in delta]


@_quick
@given(st.data())
def test_deltas_converge(data: st.DataObject) -> None:
    deltas_converge(transforms, Drawn(data.draw))


# Two people who type.


class Typist:
    """A client with one caret: what it typed is pending until its entry comes, one at a time."""

    def __init__(self, algebra: ModuleType, text: str, at: int) -> None:
        self.algebra = algebra
        self.document: Document = {"source": text}
        self.revision = 0
        self.pending: list[Change] = []
        self.in_flight = False
        self.caret = at
        self.run = ""

    def press(self, letter: str) -> None:
        self._edit([self.caret, letter] if self.caret else [letter])
        self.caret += 1
        self.run += letter

    def erase(self) -> None:
        self.caret -= 1
        self._edit([self.caret, -1] if self.caret else [-1])
        self.run = self.run[:-1]

    def _edit(self, delta: list[Any]) -> None:
        change = [{"op": "edit", "path": "/source", "delta": delta}]
        self.document = self.algebra.apply(self.document, change)
        if len(self.pending) > (1 if self.in_flight else 0):
            composed = self.algebra.compose(self.pending.pop(), change)
            self.pending += [composed] if composed else []
        else:
            self.pending.append(change)

    def receive(self, entry: Change, own: bool) -> None:
        self.revision += 1
        if own:
            self.pending.pop(0)
            self.in_flight = False
            return
        for index, change in enumerate(self.pending):
            entry, self.pending[index] = self.algebra.transform_changes(entry, change, later=False)
        self.document = self.algebra.apply(self.document, entry)
        moved = self.algebra.position("/source", self.caret, entry)
        assert moved is not None
        self.caret = moved


def runs_stay_whole(algebra: ModuleType, chance: Chance) -> None:
    """Two typists at one spot, or at two, leave the text that is known beforehand: each run
    whole, and at one spot that of the one who was first committed right of the other's."""
    text = random_text(chance, 4)
    spots = [chance.randrange(len(text) + 1)]
    spots.append(spots[0] if chance.randrange(3) else chance.randrange(len(text) + 1))
    typists = [Typist(algebra, text, spot) for spot in spots]
    log: list[tuple[int, Change]] = []

    def send(who: int) -> None:
        typist = typists[who]
        if typist.pending and not typist.in_flight:
            typist.in_flight = True
            change = typist.pending[0]
            for _, entry in log[typist.revision :]:
                change = algebra.transform_change(change, entry, later=True)
            log.append((who, change))

    def hear(who: int) -> None:
        typist = typists[who]
        if typist.revision < len(log):
            author, entry = log[typist.revision]
            typist.receive(entry, author == who)

    for _ in range(chance.randrange(40)):
        who = chance.randrange(2)
        step = chance.randrange(5)
        if step < 2:
            typists[who].press(("abcdefgh", "stuvwxyz")[who][chance.randrange(8)])
        elif step == 2:
            send(who)
        elif step == 3:
            hear(who)
        elif len(typists[who].run) > 1:
            typists[who].erase()
    while any(typist.pending or typist.revision < len(log) for typist in typists):
        for who in (0, 1):
            send(who)
            hear(who)

    first = log[0][0] if log else 0
    runs = [(spots[who], typists[who].run) for who in (1 - first, first)]
    if spots[0] != spots[1]:
        runs.sort()
    expected, at = "", 0
    for spot, run in runs:
        expected += text[at:spot] + run
        at = spot
    expected += text[at:]
    for typist in typists:
        assert typist.document == {"source": expected}


@_quick
@given(st.data())
def test_two_typists_leave_two_whole_runs(data: st.DataObject) -> None:
    runs_stay_whole(transforms, Drawn(data.draw))


# Many cases from seeds.


def _report(seed: int, profile: Profile, check: Property, numbers: list[int], why: str) -> str:
    """What has failed, as a test to paste into this file."""
    case = random_case(Tape(numbers), profile)
    lines = [f"seed {seed}, profile {profile}: {check.__name__} fails: {why}", ""]
    lines += [f"def test_seed_{seed}() -> None:", "    case = Case("]
    for name, value in case._asdict().items():
        code = pformat(value, width=90, sort_dicts=False).replace(
            "\n", "\n" + " " * (9 + len(name))
        )
        lines.append(f"        {name}={code},")
    lines += ["    )", f"    {check.__name__}(transforms, case)"]
    return "\n".join(lines)


def _why(check: Property, case: Case) -> str:
    """What is wrong with a case; empty if nothing."""
    try:
        check(transforms, case)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong is to be shrunk and shown
        return f"{type(error).__name__}: {error}"
    return ""


def run_seed(seed: int, profile: Profile, properties: tuple[Property, ...] = PROPERTIES) -> str:
    """A report of the first property that the seed's case breaks; empty if there is none."""
    tape = Tape(rest=Random(seed))
    case = random_case(tape, profile)
    broken = next((check for check in properties if _why(check, case)), None)
    return _shrunk(seed, profile, broken, tape.taken) if broken else ""


def _shrunk(seed: int, profile: Profile, check: Property, numbers: list[int]) -> str:
    def why(tape: Tape) -> str:
        return _why(check, random_case(tape, profile))

    numbers = shrink(numbers, lambda tape: bool(why(tape)))
    return _report(seed, profile, check, numbers, why(Tape(numbers)))


@pytest.mark.parametrize("profile", PROFILES, ids=repr)
def test_seeds(profile: Profile, fuzz_seconds: float, capsys: pytest.CaptureFixture[str]) -> None:
    """Without ``--fuzz-seconds`` always the same few cases; with it new ones for its time."""
    first = SystemRandom().randrange(2**32) if fuzz_seconds else 0
    now = start = said = monotonic()
    seed = first
    while (now - start < fuzz_seconds / len(PROFILES)) if fuzz_seconds else seed < 500:
        report = run_seed(seed, profile)
        assert not report, "\n" + report
        seed += 1
        now = monotonic()
        if fuzz_seconds and now - said > 5:
            said = now
            with capsys.disabled():
                print(f"\n{profile}: {seed - first} cases, seed {seed}", end="", flush=True)


def test_a_failing_seed_is_shrunk_and_printed_as_a_test() -> None:
    def no_emoji_is_removed(algebra: ModuleType, case: Case) -> None:
        for cell_id in cells_of(case.a, "remove") & set(CELL_IDS):
            cell = case.document["cells"].get(cell_id, {"source": ""})
            assert "\U0001f600" not in cell["source"]

    report = next(
        report for seed in count() if (report := run_seed(seed, MIXED, (no_emoji_is_removed,)))
    )
    head, code = report.split("\n\n")
    assert "no_emoji_is_removed fails: AssertionError" in head
    namespace = {"Case": Case, "transforms": transforms, "no_emoji_is_removed": no_emoji_is_removed}
    exec(code, namespace)
    name = code.split("(")[0].removeprefix("def ")
    with pytest.raises(AssertionError):
        namespace[name]()  # type: ignore[operator]
    found = Case(**_arguments(code))
    assert len(found.document["cells"]) == 1
    assert [operation["op"] for operation in found.a] == ["remove"]
    assert [len(change) for change in found[2:]] == [1, 1, 1]


def _arguments(code: str) -> dict[str, Any]:
    """The arguments of the case in a printed test."""
    call = code[code.index("Case(") + 4 : code.rindex("\n    no_emoji")]
    return dict(eval("dict" + call))
