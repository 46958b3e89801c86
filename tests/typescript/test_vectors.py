"""The vectors that the TypeScript tests replay are Python's present answers."""

from __future__ import annotations

import json
from collections import Counter

from . import vectors


def test_up_to_date() -> None:
    known = vectors.FILE.read_text(encoding="ascii").splitlines()
    found = list(vectors.lines())
    for number, (old, new) in enumerate(zip(known, found, strict=False), 1):
        assert old == new, f"line {number} is old: run `python -m tests.typescript.vectors`"
    assert len(known) == len(found), "run `python -m tests.typescript.vectors`"


def test_every_function_is_in_them() -> None:
    """With results, and where it can refuse, with refusals."""
    answers = [json.loads(line) for line in vectors.lines()]
    assert {one["call"] for one in answers if "ok" in one} >= set(vectors.FUNCTIONS)
    refused = Counter(one["call"] for one in answers if "refused" in one)
    assert set(refused) >= {"apply", "checkChange", "checkValue"}
