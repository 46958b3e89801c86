"""Each rule of the TypeScript algebra is noticed when it is broken."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from ot_jupyter.transforms import Refused

from .. import test_algebra_table as table
from ..fuzz.test_mutations import quick_checks
from .core import Call, Core, algebra, request, running, survives_json
from .mutations import MUTATIONS, Mutation
from .test_algebra import corners, expected_calls, same

SEEDS = 200
BATCH = 200  # calls: most mutations are noticed by the first few hundred
ENDLESS = 60.0  # seconds after which a broken rule is taken for an endless loop


@cache
def _batches() -> list[tuple[str, list[Any]]]:
    """The examples in batches, as they are asked, and with their answers."""
    found = _examples()
    batches = [found[at : at + BATCH] for at in range(0, len(found), BATCH)]
    return [
        (request([call for call, _ in batch]), [expected for _, expected in batch])
        for batch in batches
    ]


@cache
def _examples() -> list[tuple[Call, Any]]:
    """Calls with their answers: random ones, and all that the table refuses."""
    found = [*corners(), *(one for seed in range(SEEDS) for one in expected_calls(seed))]
    for refusal in table.REFUSALS:
        if survives_json(refusal.change):
            origin = {"notebook": refusal.notebook, "fromClient": refusal.from_client}
            expected = Refused(refusal.code, "", refusal.pointer)
            found.append((Call("checkChange", (refusal.change, origin)), expected))
    return found


def _is_noticed(core: Core) -> bool:
    """Whether any answer is another; the way in which does not matter."""
    try:
        if not all(all(map(same, core.answers(one), expected)) for one, expected in _batches()):
            return True
        module = algebra(core)
        for check in quick_checks():
            check(module)
    except (AssertionError, LookupError, OSError, TypeError, ValueError, Refused,
            pytest.fail.Exception):  # fmt: skip
        return True
    return False


def test_nothing_is_noticed_where_nothing_is_broken(core: Core) -> None:
    answers = core.ask([call for call, _ in _examples()])
    for (call, expected), found in zip(_examples(), answers, strict=True):
        assert same(found, expected), call


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.rule)
def test_noticed(mutation: Mutation, modules: Path, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(modules, folder)
    mutation.apply(folder)
    with running(folder) as core:
        end = Timer(ENDLESS, core.kill)
        end.start()
        try:
            assert _is_noticed(core), f"nobody notices: {mutation.rule}"
        finally:
            end.cancel()
