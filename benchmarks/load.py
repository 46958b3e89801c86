"""The load generator: clients of one server, in one process; the same for every server.

    echo '{"peer": "ours", …}' | python -m benchmarks.load

reads a :class:`Load` as JSON and writes a :class:`Result`. It runs in a process of its own, so that
every server meets it fresh, and in the Python that has what the peer's protocol needs.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import math
import random
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from time import perf_counter, process_time
from typing import Any

from .processes import Costs
from .typist import Address, Ledger, Seat, Typist

DRAIN_SECONDS = 20.0  # that what is under way may take to arrive after the load has ended
OPENING = 10  # documents that are opened at a time
MB = 1e6


@dataclass(frozen=True, slots=True)
class Load:
    """What is to be done to which server."""

    peer: str  # a module in peers/
    url: str
    token: str
    pids: list[int]  # of the server
    paths: list[str]  # documents
    clients: int  # of each document
    rate: float = 0.0  # keys per second and client; 0: as fast as acknowledgements come
    window: int = 2  # letters unacknowledged, if there is no rate: half in flight, half waiting
    letters: int = 0  # with no rate: it ends after so many
    seconds: float = 8.0  # 0: the documents are opened, no more
    warm_up: float = 2.0  # seconds before that, not counted
    idle: float = 0.0  # seconds of nothing, once all is open


@dataclass(frozen=True, slots=True)
class Result:
    """What was seen. Times run from a key to the last receiver that has the letter, its author
    included. Edits are letters; processor time and memory are the server's."""

    edits: int  # in all
    undelivered: int  # of them: not everybody had them when the load gave up waiting
    edits_per_s: float
    deliveries_per_s: float
    changes: int  # that the letters went off in
    p50_ms: float
    p99_ms: float
    cpu_percent: float
    cpu_s_per_1000: float
    load_cpu_percent: float  # of this process: near 100, it is what is measured
    bytes_per_delivery: float
    letters_per_message: float  # that a client gets: how well the server joins what waits
    open_s: float  # all clients, OPENING at a time
    received_mb: float  # in messages, over all clients, till then
    idle_cpu_percent: float
    memory_mb: tuple[float, float, float]  # before, with all open, at the end


async def run(load: Load) -> Result:
    """Play a load. Raises what goes wrong anywhere in this process, a socket's end included."""
    failed: asyncio.Future[Result] = asyncio.get_running_loop().create_future()

    def fail(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not failed.done():
            failed.set_exception(context.get("exception") or RuntimeError(context["message"]))

    asyncio.get_running_loop().set_exception_handler(fail)
    playing = asyncio.ensure_future(_play(load))
    await asyncio.wait({playing, failed}, return_when=asyncio.FIRST_COMPLETED)
    return (failed if failed.done() else playing).result()


async def _play(load: Load) -> Result:
    server = Costs(load.pids)
    memory = [server.memory()]
    typists = _typists(load)
    open_s = await _open(typists)
    memory.append(server.memory())
    idle_cpu = await _idle(server, load.idle) if load.idle else 0.0
    gc.collect()
    gc.freeze()
    gc.disable()  # a pause here would count as the server's
    received_mb = _received(typists) / MB
    span = await _type(server, typists, load)
    await _drain(typists)
    gave_up = perf_counter()
    memory.append(server.memory())
    received = _received(typists) - received_mb * MB
    for one in typists:
        one.close()

    ledger = _ledger(typists, load)
    latencies, undelivered = _latencies(typists, ledger, span, gave_up)
    edits = sum(len(one.keys) for one in ledger.arrivals if one.complete and span.holds(one.last))
    letters = [letters for _, letters in ledger.deliveries]
    in_time = sum(letters for when, letters in ledger.deliveries if span.holds(when))
    return Result(
        edits=sum(len(one.keys) for one in ledger.arrivals) + _pending(typists),
        undelivered=undelivered,
        edits_per_s=_divide(edits, span.seconds),
        deliveries_per_s=_divide(in_time, span.seconds),
        changes=len(ledger.arrivals),
        p50_ms=1000 * percentile(latencies, 0.5),
        p99_ms=1000 * percentile(latencies, 0.99),
        cpu_percent=100 * _divide(span.cpu, span.seconds),
        cpu_s_per_1000=1000 * _divide(span.cpu, edits),
        load_cpu_percent=100 * _divide(span.own_cpu, span.seconds),
        bytes_per_delivery=_divide(received, sum(letters)),
        letters_per_message=_divide(sum(letters), len(letters)),
        open_s=open_s,
        received_mb=received_mb,
        idle_cpu_percent=100 * idle_cpu,
        memory_mb=(memory[0] / MB, memory[1] / MB, memory[2] / MB),
    )


@dataclass(frozen=True, slots=True)
class Span:
    """The time that counts: when, and what processor time the server and this process took."""

    begin: float
    end: float
    cpu: float
    own_cpu: float

    @property
    def seconds(self) -> float:
        return self.end - self.begin

    def holds(self, when: float) -> bool:
        return self.begin <= when < self.end


async def _type(server: Costs, typists: Sequence[Typist], load: Load) -> Span:
    """Have them type, and say which part of it counts."""
    typing = asyncio.ensure_future((_people if load.rate else _flat_out)(typists, load))
    await asyncio.wait({typing}, timeout=load.warm_up)
    begin, cpu, own_cpu = perf_counter(), server.cpu(), process_time()
    await asyncio.wait({typing}, timeout=load.seconds)
    span = Span(begin, perf_counter(), server.cpu() - cpu, process_time() - own_cpu)
    await typing
    return span


def _latencies(
    typists: Sequence[Typist], ledger: Ledger, span: Span, gave_up: float
) -> tuple[list[float], int]:
    """Seconds from key to last receiver, sorted, of the keys that count; and how many letters in
    all did not get there: of those, the time that they were waited for."""
    arrived = [(one.last, one.keys) for one in ledger.arrivals if one.complete]
    lost = [(gave_up, one.keys) for one in ledger.arrivals if not one.complete]
    lost += [(gave_up, one.pending) for one in typists]
    seconds = sorted(last - key for last, keys in arrived + lost for key in keys if span.holds(key))
    return seconds, sum(len(keys) for _, keys in lost)


def _divide(above: float, below: float) -> float:
    return above / below if below else math.nan


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of the sorted values does not exceed; NaN if there are none."""
    return values[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


def _typists(load: Load) -> list[Typist]:
    peer = importlib.import_module(f"benchmarks.peers.{load.peer}")
    address = Address(load.url, load.token)
    return [
        peer.Client(address, Seat(path, number))
        for path in load.paths
        for number in range(load.clients)
    ]


async def _open(typists: Sequence[Typist]) -> float:
    """Open all; seconds."""
    begin = perf_counter()
    room = asyncio.Semaphore(OPENING)

    async def one(typist: Typist) -> None:
        async with room:
            await typist.open()

    await asyncio.gather(*map(one, typists))
    return perf_counter() - begin


async def _idle(server: Costs, seconds: float) -> float:
    """The share of a processor that the server uses when nothing happens."""
    await asyncio.sleep(1.0)  # whatever opening has left to do
    before, begin = server.cpu(), perf_counter()
    await asyncio.sleep(seconds)
    return (server.cpu() - before) / (perf_counter() - begin)


async def _people(typists: Sequence[Typist], load: Load) -> None:
    """Everybody types at the load's rate, irregularly, the same way in every run."""
    rng = random.Random(17)
    total = load.warm_up + load.seconds
    keys = []
    for typist in typists:
        at = rng.random() / load.rate
        while at < total:
            keys.append((at, typist))
            at += rng.uniform(0.5, 1.5) / load.rate
    keys.sort(key=lambda key: key[0])
    begin = perf_counter()
    for at, typist in keys:
        await asyncio.sleep(max(0.0, begin + at - perf_counter()))
        typist.press(1)


async def _flat_out(typists: Sequence[Typist], load: Load) -> None:
    """Everybody types on as soon as something is acknowledged."""
    if not load.seconds:
        return
    left = load.letters or sys.maxsize
    done = asyncio.Event()

    def more(typist: Typist, letters: int) -> None:
        nonlocal left
        letters = min(letters, left)
        if letters and not done.is_set():
            left -= letters
            typist.press(letters)
        elif not _pending(typists):
            done.set()

    for typist in typists:
        typist.on_acknowledged = lambda letters, typist=typist: more(typist, letters)  # type: ignore[misc]
        more(typist, (load.window + 1) // 2)
        if load.window > 1:
            more(typist, load.window // 2)
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(done.wait(), load.warm_up + load.seconds)
    done.set()


async def _drain(typists: Sequence[Typist]) -> None:
    """Wait until all is acknowledged and nothing comes any more, or for as long as one may."""
    end = perf_counter() + DRAIN_SECONDS
    seen = -1
    while perf_counter() < end:
        await asyncio.sleep(0.25)
        now = sum(len(one.marks) for one in typists)
        if now == seen and not _pending(typists):
            return
        seen = now


def _received(typists: Sequence[Typist]) -> int:
    return sum(one.socket.received for one in typists)


def _pending(typists: Sequence[Typist]) -> int:
    return sum(len(one.pending) for one in typists)


def _ledger(typists: Sequence[Typist], load: Load) -> Ledger:
    """What became of all letters, over all documents."""
    groups = [typists[at : at + load.clients] for at in range(0, len(typists), load.clients)]
    ledgers = [group[0].ledger(group) for group in groups]
    return Ledger(
        [arrival for one in ledgers for arrival in one.arrivals],
        [delivery for one in ledgers for delivery in one.deliveries],
    )


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(run(Load(**json.load(sys.stdin)))))))
