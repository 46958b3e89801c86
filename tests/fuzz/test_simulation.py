"""The protocol in a world that is out to break it, and its rules broken one at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from importlib import import_module
from pathlib import Path
from random import SystemRandom
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from . import simulation
from .simulation import PROFILES, Profile, World

SEEDS = 12  # of each profile, in the quick run


@pytest.mark.parametrize("name", PROFILES)
def test_worlds(name: str, fuzz_seconds: float, capsys: pytest.CaptureFixture[str]) -> None:
    """Everybody comes to hold one document; nothing is lost, doubled or reordered."""
    start = said = time.monotonic()
    first = SystemRandom().randrange(2**32) if fuzz_seconds else 0
    count = 0
    while (
        time.monotonic() - start < fuzz_seconds / len(PROFILES) if fuzz_seconds else count < SEEDS
    ):
        live(first + count, PROFILES[name])
        count += 1
        if fuzz_seconds and time.monotonic() - said > 5:
            said = time.monotonic()
            with capsys.disabled():
                print(f"\n{name}: {count} worlds from seed {first}", end="", flush=True)


def live(seed: int, profile: Profile) -> None:
    """Run one world; if it fails, find the smallest world that does and say how to replay it."""
    failure = attempt(seed, profile)
    if failure is None:
        return
    profile, failure = shrink(seed, profile, failure)
    changed = ", ".join(
        f"{field.name}={getattr(profile, field.name)!r}"
        for field in fields(Profile)
        if getattr(profile, field.name) != field.default
    )
    pytest.fail(f"{failure!r}\nreplay: World({seed}, Profile({changed})).run()")


def attempt(seed: int, profile: Profile) -> Exception | None:
    """What goes wrong in a world."""
    try:
        World(seed, profile).run()
    except Exception as error:  # noqa: BLE001 (whatever it is, it is what we look for)
        return error
    return None


def shrink(seed: int, profile: Profile, failure: Exception) -> tuple[Profile, Exception]:
    """A smaller world that fails too: no fault, fewer people, less time, while it does."""
    again = True
    while again:
        again = False
        for smaller in _smaller(profile):
            found = attempt(seed, smaller)
            if type(found) is type(failure):
                profile, failure, again = smaller, found, True
                break
    return profile, failure


def _smaller(profile: Profile) -> Iterator[Profile]:
    for name in (
        "cut", "crash", "stall", "log_away", "unknown_outcome", "lose_tail", "delete_store",
        "trim", "lose_poke", "duplicate",
    ):  # fmt: skip
        if getattr(profile, name):
            yield replace(profile, **{name: 0.0})
    for name in ("clients", "servers", "cells"):
        if getattr(profile, name) > 1:
            yield replace(profile, **{name: getattr(profile, name) - 1})
    for factor in (0.5, 0.8, 0.95):
        if profile.seconds > 1:
            yield replace(profile, seconds=round(profile.seconds * factor, 2))


def test_a_seed_replays_exactly() -> None:
    one, two = World(7, PROFILES["everything"]), World(7, PROFILES["everything"])
    one.run()
    two.run()
    assert one.trace == two.trace
    assert one.clients[0].state.head == two.clients[0].state.head


class Mutation(NamedTuple):
    """A rule of the protocol, the source that keeps it, and what breaks it."""

    rule: str
    module: str
    old: str
    new: str
    profile: str


PEN, STREAM = "sequencer.pen", "sequencer.stream"
STATE = "client.state"

MUTATIONS = [
    Mutation("a submission is the later one", PEN,
             "transform_change(ops, entry.ops, later=True)",
             "transform_change(ops, entry.ops, later=False)", "calm"),
    Mutation("a submission goes over every entry it has not seen", PEN,
             "for entry in (*missed, *draft.entries):", "for entry in missed:", "calm"),
    Mutation("a number is taken once", PEN,
             'if judgement == "repeat":', 'if judgement == "never":', "mixed"),
    Mutation("what a client has is named by its hash", PEN,
             "if self.hash_at(head.rev) == head.hash:",
             "if self.hash_at(head.rev) is not None:", "failover"),
    Mutation("a tail is taken from the own head on", PEN,
             "                    outcome = yield Append(self.head, [])\n"
             "                    continue\n",
             "                    outcome = again\n                    continue\n", "failover"),
    Mutation("a lost log is put back", PEN,
             "if (yield Restore(self._whole())):", "if False:", "deleted"),
    Mutation("the anchor stays in the window", PEN,
             "self.anchors = [one for one in self.anchors if one.rev >= anchor.rev]\n",
             "pass\n", "mixed"),
    Mutation("the log is wider than memory", PEN,
             "                self.window[:0] = older[1:]\n",
             "                self.window[:0] = older\n", "mixed"),
    Mutation("an arrived entry follows the own head", PEN,
             "elif entry.rev == self.head.rev + 1 and self._follows(entry):",
             "elif entry.rev > self.head.rev:", "mixed"),
    Mutation("pending goes over what comes, as the later one", STATE,
             "            one.ops, ops = transform_changes(one.ops, ops, later=True)\n"
             "        if not ops:",
             "            one.ops, ops = transform_changes(one.ops, ops, later=False)\n"
             "        if not ops:", "calm"),
    Mutation("what was sent is not changed any more", STATE,
             "if last is None or last.sent or len", "if last is None or len", "calm"),
    Mutation("one change is in flight", STATE,
             "or self.in_flight or not self.pending", "or not self.pending", "calm"),
    Mutation("own entries that are taken back are pending again", STATE,
             "        self.pending[:0] = own\n", "", "failover"),
    Mutation("foreign entries are taken back", STATE,
             "                without = one.inverse + without\n",
             "                pass\n", "failover"),
    Mutation("numbers are left out only on purpose", STATE,
             '            message["skip"] = True\n', "            pass\n", "deleted"),
    Mutation("a rebase goes over the difference", STATE,
             "        self._foreign(diff(state, snapshot), self.pending)\n",
             "        self.document = snapshot\n", "deleted"),
    Mutation("what has no place is kept as a copy", STATE,
             "        self._save_conflicts(ops, pending)\n", "", "mixed"),
    Mutation("what a snapshot has is confirmed", STATE,
             "        there = max(there, self._known_to_server(coming))\n", "", "away"),
    Mutation("a new log began with some state of ours", STATE,
             "            back, there = self._nearest(snapshot)\n",
             "            back, there = self.head.rev, 0\n", "deleted"),
]  # fmt: skip


@contextmanager
def broken(mutation: Mutation) -> Iterator[None]:
    """The simulation with one module of the real code broken."""
    original = import_module(f"ot_jupyter.{mutation.module}")
    assert original.__file__ is not None
    source = Path(original.__file__).read_text(encoding="utf-8")
    assert source.count(mutation.old) == 1, f"{source.count(mutation.old)} places: {mutation.old}"
    copy = ModuleType(original.__name__)
    copy.__dict__["__package__"] = original.__package__
    copy.__dict__["__file__"] = original.__file__
    exec(
        compile(source.replace(mutation.old, mutation.new), original.__file__, "exec"),
        copy.__dict__,
    )
    users: list[Any] = [simulation, import_module("ot_jupyter.client.state")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(__import__("sys").modules, original.__name__, copy)
        for user in users:
            for name, value in vars(user).copy().items():
                if getattr(value, "__module__", None) == original.__name__:
                    patch.setattr(user, name, getattr(copy, name))
        yield


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.rule)
def test_a_broken_rule_is_noticed(mutation: Mutation) -> None:
    with broken(mutation):
        for seed in range(100):
            if attempt(seed, replace(PROFILES[mutation.profile], seconds=12.0)) is not None:
                return
    pytest.fail(f"nobody notices: {mutation.rule}")
