"""Worlds in which people run cells, and servers and kernels die. Each seed replays."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from itertools import count
from random import SystemRandom
from typing import Any

import pytest

from ot_jupyter.kernel import execution, live_kernel
from ot_jupyter.kernel.execution import NOTHING, Proposal
from ot_jupyter.kernel.live_kernel import LiveKernel
from ot_jupyter.kernel.writer import Writer

from .kernels import DOC, KERNEL_PROFILES, Violation, simulate_kernels

SEEDS = 8  # of each profile, in the quick run


@pytest.mark.parametrize("name", KERNEL_PROFILES)
def test_every_run_ends_and_none_runs_twice(
    name: str, fuzz_seconds: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the order of the log, with the code of its revision, all output shown; a failing seed is
    named."""
    first = SystemRandom().randrange(2**32) if fuzz_seconds else 0
    end = time.monotonic() + fuzz_seconds / len(KERNEL_PROFILES)
    for seed in count(first):
        if seed - first >= SEEDS and time.monotonic() >= end:
            break
        try:
            simulate_kernels(seed, name)
        except Exception as error:  # noqa: BLE001 (whatever it is, it is what we look for)
            pytest.fail(f"{error!r}\nreplay: simulate_kernels({seed}, {name!r})")
    with capsys.disabled():
        if fuzz_seconds:
            print(f"\n{name}: {seed - first} worlds from seed {first}")


def test_the_worlds_are_what_they_claim() -> None:
    """Runs end in every way there is, and the kernel has more owners than one."""
    ends: Counter[str] = Counter()
    owners: set[str] = set()
    for seed in range(6):
        world = simulate_kernels(seed, "kernel crashes")
        ends.update(world.asked()[0].values())
        owners |= {one.client for one in world.core.read(DOC, 0) if one.user == "kernel"}
    assert set(ends) >= {"ok", "error", "aborted", "lost"}
    assert len(owners) > 6


def test_a_seed_replays() -> None:
    first, second = (simulate_kernels(4, "kernel crashes") for _ in range(2))
    assert [one.ops for one in first.core.read(DOC, 0) if one.client == one.user] == [
        one.ops for one in second.core.read(DOC, 0) if one.client == one.user
    ]
    assert first.given == second.given


# Rules that are broken on purpose, one at a time: the worlds must notice each.


def _anybody_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Writer, "_own", lambda self: ())
    monkeypatch.setattr(Writer, "_check", lambda self: None)


def _nothing_is_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "abandon", lambda *args: NOTHING)


def _what_runs_elsewhere_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    abandon = execution.abandon

    def forgetful(document: Any, queued: Any, running: str, *rest: Any) -> Proposal:
        runs = {
            one["run"]
            for cell in document["cells"].values()
            for one in execution.runs_in(cell["execution"])
        }
        return abandon(document, runs & queued, "", *rest) if not queued else NOTHING

    monkeypatch.setattr(execution, "abandon", forgetful)


def _sent_without_a_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    def claim(self: LiveKernel, run: execution.Run, document: Any) -> Proposal:
        if run.cell not in document["cells"]:
            return NOTHING
        path = f"/cells/{run.cell}/execution_count"
        return Proposal([{"op": "replace", "path": path, "value": None}])

    monkeypatch.setattr(LiveKernel, "_claim", claim)


def _the_dead_are_not_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def look(self: LiveKernel) -> None:
        pass

    monkeypatch.setattr(LiveKernel, "look", look)


def _output_comes_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        live_kernel._Current, "look", lambda self: self.state and self.end(self.state)
    )


def _a_later_code_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    run = LiveKernel._run

    async def late(self: LiveKernel, item: execution.Run) -> None:
        cell = self.live.document["cells"].get(item.cell)
        await run(self, item if cell is None else item._replace(code=cell["source"]))

    monkeypatch.setattr(LiveKernel, "_run", late)


@pytest.mark.parametrize(
    ("break_rule", "profile"),
    [
        (_anybody_writes, "kernel stalls"),
        (_nothing_is_abandoned, "kernel crashes"),
        (_what_runs_elsewhere_is_kept, "kernel crashes"),
        (_sent_without_a_claim, "kernel crashes"),
        (_the_dead_are_not_noticed, "kernel deaths"),
        (_output_comes_after_the_end, "kernel calm"),
        (_a_later_code_is_run, "kernel calm"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_broken_rule_is_noticed(
    break_rule: Callable[[pytest.MonkeyPatch], None],
    profile: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    break_rule(monkeypatch)
    for seed in range(60):
        try:
            simulate_kernels(seed, profile)
        except (Violation, KeyError):
            return
    pytest.fail("not noticed in 60 worlds")
