"""Each rule of the algebra is noticed when it is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from random import Random
from types import ModuleType
from typing import TypeAlias

import pytest

from ot_jupyter import transforms

from .. import test_algebra_table as table
from . import test_exhaustive as exhaustive
from . import test_properties as properties
from .mutations import MUTATIONS, Mutation, broken
from .strategies import PROFILES, Case, Chance, random_case

Check: TypeAlias = Callable[[ModuleType], object]


def _case(seed: int) -> Case:
    return random_case(Random(seed), PROFILES[seed % len(PROFILES)])


def _random_check(check: properties.Property, seed: int) -> Check:
    return lambda algebra: check(algebra, _case(seed))


def _drawn_check(check: Callable[[ModuleType, Chance], None], seed: int) -> Check:
    return lambda algebra: check(algebra, Random(seed))


def quick_checks() -> Iterator[Check]:
    """All that is known of the algebra, in a small scope: about two seconds."""
    # First, on cases of its own: whoever writes into arguments must not get at those of the rest.
    for seed in range(60):
        yield _random_check(properties.leaves_arguments, seed)
    yield from table.checks()
    yield partial(exhaustive.check_order_pairs, most=4)
    yield partial(exhaustive.check_delta_pairs, most=2)
    yield partial(exhaustive.check_single_deltas, most=2)
    yield partial(exhaustive.check_composed_deltas, most=2)
    yield partial(exhaustive.check_item_pairs, most=1)
    yield partial(exhaustive.check_single_item_deltas, most=2)
    yield partial(exhaustive.check_composed_item_deltas, most=1, inserts=(True, False))
    yield partial(exhaustive.check_composed_item_deltas, most=2, inserts=(False, False))
    yield exhaustive.check_register_pairs
    yield exhaustive.check_register_batches
    yield partial(exhaustive.check_one_over_batch, most=1)
    yield partial(exhaustive.check_batch_pairs, most=1, edits=True)
    for seed in range(400):
        for check in properties.PROPERTIES:
            yield _random_check(check, seed)
    for seed in range(100):
        yield _drawn_check(properties.deltas_converge, seed)
        yield _drawn_check(properties.runs_stay_whole, seed)


def is_noticed(algebra: ModuleType) -> bool:
    """Whether any check fails; the way in which does not matter."""
    failures = (
        AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError,
        algebra.Refused, transforms.Refused, pytest.fail.Exception,
    )  # fmt: skip
    for check in quick_checks():
        try:
            check(algebra)
        except failures:
            return True
    return False


def _examples() -> str:
    """The examples that all checks share, to see that they are still the same."""
    refusals = [refusal for refusal in table.REFUSALS if refusal.code != "too_deep"]
    return repr(
        [
            *(table.NOTEBOOK, table.ROWS, table.UNDOS, refusals, table.MISFITS, table.ACCEPTED),
            *(exhaustive.TREE, exhaustive.ALL_VALUES, exhaustive.FEW_VALUES),
        ]
    )


def test_nothing_is_noticed_where_nothing_is_broken() -> None:
    with broken(Mutation("none", "delta", "def canonical(", "def canonical(")) as algebra:
        assert algebra is not transforms
        assert algebra.Refused is not transforms.Refused
        for check in quick_checks():
            check(algebra)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.rule)
def test_noticed(mutation: Mutation) -> None:
    before = _examples()
    with broken(mutation) as algebra:
        assert is_noticed(algebra), f"nobody notices: {mutation.rule}"
    assert _examples() == before, "it has written into the examples: no later test is of worth"


def test_the_true_algebra_stays() -> None:
    with broken(MUTATIONS[0]) as algebra:
        assert algebra.delta.transform_delta(["x"], ["y"], True) == [1, "x"]
        assert transforms.delta.transform_delta(["x"], ["y"], True) == ["x"]
