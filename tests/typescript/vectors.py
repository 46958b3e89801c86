"""Vectors: calls of the algebra with what Python answers, for the tests of the TypeScript one.

``python -m tests.typescript.vectors`` writes them anew. A line is one call, as JSON in ASCII:
``{"call": name, "arguments": [argument, …], "ok": result}``, or ``"refused": [code, pointer]``
where there is no result. The names are those of TypeScript.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from random import Random
from typing import Any

from ot_jupyter import transforms
from ot_jupyter.transforms import Refused, check, delta, diff

from .. import test_algebra_table as table
from ..fuzz.strategies import random_delta, random_text
from .core import CLIENTS, algebra
from .test_algebra import corners, expected_calls

FILE = CLIENTS / "core" / "test" / "transforms" / "vectors.jsonl"
RANDOM = 9  # random cases, besides the table

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "apply": transforms.apply,
    "compose": transforms.compose,
    "invert": transforms.invert,
    "position": transforms.position,
    "transform": lambda a, b, role: transforms.transform(a, b, **role),
    "transformChange": lambda a, b, role: transforms.transform_change(a, b, **role),
    "transformChanges": lambda a, b, role: list(transforms.transform_changes(a, b, **role)),
    "checkChange": lambda change, origin: transforms.check_change(
        change, notebook=origin["notebook"], from_client=origin["fromClient"]
    ),
    "checkDelta": lambda one, insert: delta.check_delta(one, str if insert == "text" else list),
    "checkValue": check.check_value,
    "clientCell": check.client_cell,
    "applyDelta": delta.apply_delta,
    "transformDelta": delta.transform_delta,
    "composeDelta": delta.compose_delta,
    "invertDelta": delta.invert_delta,
    "positionInDelta": delta.position_in_delta,
    "canonical": delta.canonical,
    "adoptIds": diff.adopt_ids,
    "diff": diff.diff,
    "diffText": diff.diff_text,
    "pointLength": len,
    "toPoints": lambda text, unit: len(_decoded(_units(text)[: 2 * unit])),
    "toUnits": lambda text, point: len(_units(text[:point])) // 2,
}

DELTAS: list[list[Any]] = [
    [], [0, 0], [3], ["", 1, "", 2], [1, 1, "a", "b"], [-1, "a", -1, "b"], [-1, -2, 3],
    ["\U0001f600", "\U0001f601", -1], [[1], [2], -1], [-1, [1]], [{"text": []}, {"text": [1]}],
    [{"text": [-1, "x"]}, {"text": ["", 0, "y", 2]}, 1], [-1, {"text": ["x"]}, [1]],
]  # fmt: skip


def _units(text: str) -> bytes:
    return text.encode("utf-16-le", "surrogatepass")


def _decoded(units: bytes) -> str:
    return units.decode("utf-16-le", "surrogatepass")


class Recorder:
    """Answers as a process of node does, by Python's functions, and keeps what it was asked."""

    def __init__(self) -> None:
        self.lines: dict[str, None] = {}  # without repetitions, in order

    def call(self, name: str, *arguments: Any) -> Any:
        """The result; raises what is refused."""
        asked = {"call": name, "arguments": arguments}
        try:
            result = FUNCTIONS[name](*arguments)
        except Refused as refused:
            self._keep({**asked, "refused": [refused.code, refused.pointer]})
            raise
        self._keep({**asked, "ok": result})
        return result

    def _keep(self, vector: dict[str, Any]) -> None:
        self.lines[json.dumps(vector, separators=(",", ":"))] = None


def _ask_of_deltas(recorder: Recorder, seed: int) -> None:
    """What the functions of deltas answer for three of one text, the last made after the first."""
    chance = Random(seed)
    old = random_text(chance, 8)
    a, b = (_delta(chance, old) for _ in range(2))
    then = _delta(chance, delta.apply_delta(old, a))
    for later in (False, True):
        recorder.call("transformDelta", a, b, later)
    recorder.call("composeDelta", a, then)
    recorder.call("positionInDelta", len(old) // 2, a)
    recorder.call("transformChange", [_edit(a), _edit(then)], [_edit(b)], {"later": seed % 2 == 0})


def _delta(chance: Random, old: str) -> Any:
    return random_delta(chance, len(old), lambda: random_text(chance, 3) or "x")


def _edit(one: Any) -> Any:
    return {"op": "edit", "path": "/source", "delta": one}


def _asked(recorder: Recorder, name: str, *arguments: Any) -> None:
    """Ask; what is refused is kept like what is not."""
    with suppress(Refused):
        recorder.call(name, *arguments)


def lines() -> Iterator[str]:
    """All vectors, always the same."""
    recorder = Recorder()
    module = algebra(recorder)
    for one in table.checks():
        one(module)
    for one in DELTAS:
        recorder.call("canonical", one)
        for insert in ("text", "list"):
            _asked(recorder, "checkDelta", one, insert)
    for seed in range(RANDOM):
        _ask_of_deltas(recorder, seed)
    random = (one for seed in range(RANDOM) for one in expected_calls(seed))
    for call, _ in chain(corners(), random):
        _asked(recorder, call.name, *call.arguments)
    yield from recorder.lines


def text() -> str:
    """The file's content."""
    return "".join(line + "\n" for line in lines())


if __name__ == "__main__":
    FILE.write_text(text(), encoding="ascii")
