"""Editing histories of single authors: recorded ones, else generated ones.

A file of recorded typing is gzip JSON, ``{"startContent": "", "endContent": "…", "txns":
[{"time": "…", "patches": [[position, deleted, "inserted"], …]}]}``, positions and lengths in code
points: the format of https://github.com/josephg/editing-traces.
"""

from __future__ import annotations

import gzip
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

GENERATED = "generated"
TRANSACTIONS = 20_000  # of a generated one
TEXT = "value frame print(total) model = fit(x, y) # the mean é of what was read\n"


class Patch(NamedTuple):
    """Code points: where, how many go, what comes."""

    position: int
    deleted: int
    inserted: str


Transaction: TypeAlias = list[Patch]


@dataclass(frozen=True, slots=True)
class Trace:
    """``transactions`` take an empty text to ``end``."""

    transactions: list[Transaction]
    end: str


def names(folder: Path | None) -> list[str]:
    """What there is to replay: files, or the word for a generated trace."""
    found = sorted(folder.glob("*.json.gz")) if folder is not None else []
    return [str(file) for file in found] or [GENERATED]


def title(name: str) -> str:
    """A trace's short name."""
    return Path(name).name.removesuffix(".json.gz")


def load(name: str, limit: int | None = None) -> Trace:
    """A trace, or its first transactions."""
    transactions = _generate() if name == GENERATED else _read(name)
    transactions = transactions[:limit]
    text = Text()
    for transaction in transactions:
        for patch in transaction:
            text.patch(patch)
    return Trace(transactions, text.value)


class Text:
    """A plain string that patches are made in."""

    def __init__(self) -> None:
        self.value = ""

    def patch(self, patch: Patch) -> None:
        at, deleted, inserted = patch
        self.value = self.value[:at] + inserted + self.value[at + deleted :]


def _read(name: str) -> list[Transaction]:
    with gzip.open(name) as file:
        trace = json.load(file)
    start = [[Patch(0, 0, trace["startContent"])]] if trace["startContent"] else []
    return start + [[Patch(*patch) for patch in one["patches"]] for one in trace["txns"]]


def _generate() -> list[Transaction]:
    """Somebody who types words, now and then takes some letters back, pastes, goes elsewhere."""
    rng, words = random.Random(5), TEXT.split(" ")
    transactions: list[Transaction] = []
    length = at = 0
    while len(transactions) < TRANSACTIONS:
        dice = rng.random()
        if dice < 0.2:
            at = rng.randint(0, length)
        elif dice < 0.45:
            for _ in range(min(at, rng.randint(1, 12))):
                at, length = at - 1, length - 1
                transactions.append([Patch(at, 1, "")])
        elif dice < 0.47:
            pasted = " ".join(rng.choices(words, k=40))
            transactions.append([Patch(at, 0, pasted)])
            at, length = at + len(pasted), length + len(pasted)
        else:
            for letter in rng.choice(words) + " ":
                transactions.append([Patch(at, 0, letter)])
                at, length = at + 1, length + 1
    return transactions
