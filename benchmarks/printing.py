"""People type while a cell of the same notebook prints; clients of one server, in one process.

    echo '{"peer": "ours", …}' | python -m benchmarks.printing

reads a :class:`Printing` as JSON and writes a :class:`Printed`.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import random
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any, Protocol

from .load import percentile
from .typist import Address, Seat, Typist

END = b"all of them are printed"
LIMIT_SECONDS = 60.0  # then whoever waits for the end of the output gives up
DRAIN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Printing:
    """``people`` type in cells of their own, each ``rate`` keys a second, while somebody else runs
    the notebook's last cell, whose code prints :data:`END` at its end."""

    peer: str
    url: str
    token: str
    path: str
    people: int
    rate: float


@dataclass(frozen=True, slots=True)
class Printed:
    """Times run from the run to the last client that has the end of the output, and from a key to
    the last client that has it. ``kept`` counts lines that the document has afterwards."""

    last_client_s: float
    reached: int  # clients that got the end
    p50_ms: float
    p99_ms: float
    bytes_per_client: float
    kept: int
    next_cell: bool  # whether another cell runs after it


class Runner(Protocol):
    """Somebody who runs cells, in whatever protocol."""

    async def open(self) -> None: ...

    async def run(self) -> None:
        """Run the last cell; return when the kernel has said that it has ended."""

    async def kept(self) -> int:
        """The lines that the document has of it."""

    async def runs_again(self) -> bool:
        """Whether another cell can be run."""


async def play(printing: Printing) -> Printed:
    """Play it."""
    peer = importlib.import_module(f"benchmarks.peers.{printing.peer}")
    address = Address(printing.url, printing.token)
    typists = [peer.Client(address, Seat(printing.path, at)) for at in range(printing.people)]
    for one in typists:
        await one.open()
    runner: Runner = peer.Runner(address, Seat(printing.path, -1))
    await runner.open()
    ends: dict[Typist, float] = {}
    all_there = asyncio.Event()
    for one in typists:
        _watch(one, ends, lambda: len(ends) == len(typists) and all_there.set())
    received = sum(one.socket.received for one in typists)
    typing = asyncio.ensure_future(_type(typists, printing.rate))
    await asyncio.sleep(1.0)
    begin = perf_counter()
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(runner.run(), LIMIT_SECONDS)
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(all_there.wait(), LIMIT_SECONDS)
    end = perf_counter()
    typing.cancel()
    await asyncio.sleep(DRAIN_SECONDS)
    received = sum(one.socket.received for one in typists) - received
    ledger = typists[0].ledger(typists)
    latencies = sorted(
        one.last - key
        for one in ledger.arrivals
        if one.complete
        for key in one.keys
        if begin <= key < end
    )
    kept = await runner.kept()
    again = await runner.runs_again()
    for one in typists:
        one.close()
    return Printed(
        last_client_s=max(ends.values(), default=end) - begin,
        reached=len(ends),
        p50_ms=1000 * percentile(latencies, 0.5),
        p99_ms=1000 * percentile(latencies, 0.99),
        bytes_per_client=received / len(typists),
        kept=kept,
        next_cell=again,
    )


def _watch(typist: Typist, ends: dict[Typist, float], found: Callable[[], object]) -> None:
    """Note when the end of the output comes."""
    receive: Any = typist.socket._on_message

    def look(payload: bytes) -> None:
        if END in payload and typist not in ends:
            ends[typist] = perf_counter()
            found()
        receive(payload)

    typist.socket.hand_over(look)


async def _type(typists: list[Typist], rate: float) -> None:
    rng = random.Random(17)
    while True:
        await asyncio.sleep(rng.uniform(0.5, 1.5) / rate / len(typists))
        rng.choice(typists).press(1)


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(play(Printing(**json.load(sys.stdin)))))))
