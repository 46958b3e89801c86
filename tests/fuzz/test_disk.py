"""Worlds in which servers save and others write the same file. Each seed replays to the letter."""

from __future__ import annotations

import time
from collections import Counter
from itertools import count
from random import SystemRandom

import pytest

from .disk import DISK_PROFILES, DiskWorld, simulate_disk
from .simulation import Violation

SEEDS = 12  # of each profile, in the quick run
PROFILES = [name for name in DISK_PROFILES if name != "disk stale"]


@pytest.mark.parametrize("name", PROFILES)
def test_nothing_typed_and_nothing_written_is_lost(
    name: str, fuzz_seconds: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """At rest all hold one document, and the file it; a failing seed is named."""
    first = SystemRandom().randrange(2**32) if fuzz_seconds else 0
    end = time.monotonic() + fuzz_seconds / len(PROFILES)
    unreverted = 0
    for seed in count(first):
        if seed - first >= SEEDS and time.monotonic() >= end:
            break
        try:
            unreverted += simulate_disk(seed, name).unreverted
        except Exception as error:  # noqa: BLE001 (whatever it is, it is what we look for)
            pytest.fail(f"{error!r}\nreplay: simulate_disk({seed}, {name!r})")
    with capsys.disabled():
        if fuzz_seconds:
            print(f"\n{name}: {seed - first} worlds from seed {first}, not reverted: {unreverted}")


def test_a_stale_writer_is_what_remains() -> None:
    """Who reads, waits and writes back takes back what was saved meanwhile: these worlds lose."""

    def loses(seed: int) -> bool:
        try:
            simulate_disk(seed, "disk stale")
        except Violation:
            return True
        return False

    assert any(loses(seed) for seed in range(20))


def test_the_worlds_are_what_they_claim() -> None:
    """Files are written by all kinds of programs in them, and saves are put back and resolved."""
    acts: Counter[str] = Counter()
    seen: set[str] = set()
    for profile, seeds in (("disk", range(6)), ("disk crashes", (1, 8))):
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
