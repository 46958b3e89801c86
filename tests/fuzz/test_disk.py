"""Worlds in which servers save and others write the same file. Each seed replays to the letter."""

from __future__ import annotations

from collections import Counter

import pytest

from .disk import DISK_PROFILES, DiskWorld, simulate_disk

SEEDS = 12  # per profile in this suite; more by hand, see docs/contributing.md


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("profile", [name for name in DISK_PROFILES if name != "disk stale"])
def test_nothing_typed_and_nothing_written_is_lost(profile: str, seed: int) -> None:
    simulate_disk(seed, profile)


def test_the_worlds_are_what_they_claim() -> None:
    """Files are written by all kinds of programs in them, and saves are put back and resolved."""
    acts: Counter[str] = Counter()
    seen: set[str] = set()
    for profile, seeds in (("disk", range(6)), ("disk crashes", (172, 509))):
        for seed in seeds:
            world = DiskWorld(seed, DISK_PROFILES[profile])
            world.run()
            acts += world.acts
            seen |= {word for line in world.trace for word in line.split()}
    assert set(acts) == set(DISK_PROFILES["disk"].acts)
    assert {"puts", "resolves", "crashes"} <= seen


def test_a_seed_replays() -> None:
    first, second = simulate_disk(5, "disk crashes"), simulate_disk(5, "disk crashes")
    assert first.trace == second.trace
    assert first.clients[0].state.head == second.clients[0].state.head
