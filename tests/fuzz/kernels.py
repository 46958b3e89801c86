"""The simulated world of kernels: servers that stall and are killed, kernels that die, people who
run, edit, remove, restart. One seed, one history, in virtual time.

The servers are the real :class:`Kernels` and all below it, over the real pen and a log in memory
that is slow, or away for a while. What is simulated is the kernel: a process that takes code, puts
out marks and ends somehow, and remembers what it was given.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from ot_jupyter.kernel.execution import ENDED, executions_in, runs_in
from ot_jupyter.kernel.kernels import Kernels
from ot_jupyter.kernel.sessions import KernelUnavailable
from ot_jupyter.sequencer.entry import Entry, Snapshot, initial_hash
from ot_jupyter.sequencer.live import Keeping, LiveDocument
from ot_jupyter.sequencer.log import DocumentRef, Loaded, LogUnavailable, Outcome
from ot_jupyter.sequencer.memory import MemoryCore, MemoryLog
from ot_jupyter.sequencer.pen import Limits, Submission
from ot_jupyter.sequencer.runs import AUTHOR, NO_KERNEL
from ot_jupyter.transforms import Document, apply, new_cell

from .simulation import Violation

DOC = "doc"
REST_SECONDS = 120.0  # after which everything must have ended


@dataclass(frozen=True)
class KernelProfile:
    """Probabilities are those of one act, which comes every ``act_every`` seconds."""

    servers: int = 1
    seconds: float = 60.0
    act_every: float = 0.5
    crash: float = 0.0  # of a server, which is started again
    stall: float = 0.0  # of a server's store, for up to half a minute
    away: float = 0.0  # the store fails for a while
    death: float = 0.0  # of a kernel
    mute: float = 0.0  # a kernel's last words on a run get lost
    remote: bool = False  # kernels outlive their server


KERNEL_PROFILES = {
    "kernel calm": KernelProfile(),
    "kernel deaths": KernelProfile(death=0.06, away=0.03, mute=0.05),
    "kernel crashes": KernelProfile(servers=2, crash=0.05, death=0.02, away=0.02),
    "kernel stalls": KernelProfile(servers=3, stall=0.06, crash=0.02),
    "kernel remote": KernelProfile(servers=2, crash=0.06, stall=0.03, remote=True),
}


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to what comes next."""

    def __init__(self) -> None:
        super().__init__()
        self._virtual = 0.0

    def time(self) -> float:
        return self._virtual

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self._virtual = max(self._virtual, self._scheduled[0].when())  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


# Kernels.


@dataclass
class Given:
    """What a process was given to run, and what it put out for it."""

    process: str
    run: str
    code: str
    marks: str = ""
    whole: bool = False  # it ran to its end, and that was heard of


@dataclass(eq=False)
class SimKernel:
    """A kernel: its processes, one after the other, and who hears them."""

    world: World
    name: str
    alive: bool = True
    epoch: int = 0
    hearers: list[SimConnection] = field(default_factory=list)
    queue: asyncio.Queue[tuple[str, str]] = field(default_factory=asyncio.Queue)
    interrupted: bool = False
    task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self.epoch += 1
        self.alive = True
        self.queue = asyncio.Queue()
        self.task = self.world.start(self.work())

    def end(self) -> None:
        self.alive = False
        if self.task is not None:
            self.task.cancel()

    @property
    def process(self) -> str:
        return f"{self.name}.{self.epoch}"

    def say(self, channel: str, kind: str, parent: str, content: dict[str, Any]) -> None:
        message = {
            "header": {
                "msg_type": kind,
                "session": self.process,
                "msg_id": f"m{self.world.mark()}",
            },
            "parent_header": {"msg_id": parent},
            "metadata": {},
            "content": content,
        }
        for one in list(self.hearers):
            one.hear(channel, message)

    async def work(self) -> None:
        chance = self.world.chance
        self.say("iopub", "status", "", {"execution_state": "starting"})
        count = 0
        while True:
            run, code = await self.queue.get()
            if code == "?":  # it is asked whether it has nothing else to do
                self.say("shell", "kernel_info_reply", run, {})
                self.say("iopub", "status", run, {"execution_state": "idle"})
                continue
            count += 1
            given = Given(self.process, run, code)
            self.world.given.append(given)
            self.interrupted = False
            self.say("iopub", "status", run, {"execution_state": "busy"})
            self.say("iopub", "execute_input", run, {"execution_count": count})
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(chance.choice((0.0, 0.005, 0.1, 1.0)))
                if self.interrupted:
                    break
                mark = f"<{self.world.mark()}>"
                given.marks += mark
                self.say("iopub", "stream", run, {"name": "stdout", "text": mark})
            failed = self.interrupted or "error" in code
            if failed:
                content = {"ename": "E", "evalue": "", "traceback": []}
                self.say("iopub", "error", run, content)
            reply = {"status": "error" if failed else "ok", "execution_count": count}
            given.whole = True
            said: list[tuple[str, str, dict[str, Any]]] = [
                ("shell", "execute_reply", reply),
                ("iopub", "status", {"execution_state": "idle"}),
            ]
            for channel, kind, content in chance.sample(said, 2):
                if chance.random() < self.world.profile.mute:
                    continue
                self.say(channel, kind, run, content)
                await asyncio.sleep(chance.choice((0.0, 0.02)))


@dataclass(eq=False)
class SimConnection:
    """A server's connection to a kernel, with the interface of ``Connection``."""

    kernel: SimKernel
    heard: Any
    name: str = "python3"
    asked: int = 0
    last: float = 0.0  # when the last message on iopub arrives
    mine: set[str] = field(default_factory=set)

    def hear(self, channel: str, message: dict[str, Any]) -> None:
        if channel == "shell":
            if message["parent_header"]["msg_id"] in self.mine:  # a reply goes to who asked
                self.heard(channel, message)
            return
        # In order, but not in step with the other channel.
        loop = asyncio.get_running_loop()
        delay = self.kernel.world.chance.choice((0.0, 0.0, 0.01, 0.1))
        self.last = max(self.last + 1e-6, loop.time() + delay)
        loop.call_at(self.last, self._deliver, message)

    def _deliver(self, message: dict[str, Any]) -> None:
        if self in self.kernel.hearers:
            self.heard("iopub", message)

    def run(self, name: str, code: str) -> None:
        self.mine.add(name)
        if self.kernel.alive:
            self.kernel.queue.put_nowait((name, code))

    def ask(self) -> str:
        self.asked += 1
        name = f"ask {self.kernel.world.mark()} {self.asked}"
        self.mine.add(name)
        self.kernel.queue.put_nowait((name, "?"))
        return name

    async def close(self) -> None:
        if self in self.kernel.hearers:
            self.kernel.hearers.remove(self)


class SimSessions:
    """The kernels of one server, with the interface of ``Sessions``."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.kernels: dict[str, SimKernel] = {}
        self.session: str | None = None

    async def start(self, path: str, spec: str | None) -> str:
        await asyncio.sleep(self.world.chance.choice((0.1, 1.0)))
        if self.world.chance.random() < 0.05:
            raise KernelUnavailable("no such luck")
        if self.session is None or not self.kernels[self.session].alive:
            kernel = SimKernel(self.world, f"k{self.world.mark()}")
            kernel.begin()
            self.kernels[kernel.name] = self.world.kernels[kernel.name] = kernel
            self.session = kernel.name
        return self.session

    async def find(self, path: str, kernel: str) -> bool:
        if self.world.profile.remote and kernel in self.world.kernels:
            self.kernels[kernel] = self.world.kernels[kernel]
        if not await self.is_alive(kernel):
            return False
        self.session = kernel
        return True

    async def connect(self, kernel: str, heard: Any) -> SimConnection:
        await asyncio.sleep(self.world.chance.choice((0.0, 0.3)))
        if not await self.is_alive(kernel):
            raise KernelUnavailable("it is dead")
        connection = SimConnection(self.kernels[kernel], heard)
        self.kernels[kernel].hearers.append(connection)
        return connection

    async def describe(self, spec: str) -> dict[str, str]:
        return {"name": spec, "display_name": "Python 3", "language": "python"}

    def knows(self, kernel: str) -> bool:
        return kernel in self.kernels

    async def is_alive(self, kernel: str) -> bool:
        return kernel in self.kernels and self.kernels[kernel].alive

    async def interrupt(self, kernel: str) -> None:
        self.kernels[kernel].interrupted = True

    async def restart(self, kernel: str) -> None:
        self.kernels[kernel].end()
        await asyncio.sleep(0.5)
        self.kernels[kernel].begin()

    async def shut_down(self, path: str) -> None:
        if self.session is not None:
            self.kernels.pop(self.session).end()
            self.session = None

    async def moved(self, old: str, new: str) -> None:
        pass

    async def close(self) -> None:
        pass


# Servers.


class SimLog(MemoryLog):
    """A log on a shared core that is slow, stalls with its server, and fails for a while."""

    def __init__(self, world: World) -> None:
        super().__init__(world.core)
        self.world = world
        self.stalled_until = 0.0

    def _tell(self, doc: str, tell: Callable[[Any, Any], None]) -> None:
        for server in self.world.servers:  # one after the other: a set has no order
            listener = server.log._listeners.get(doc)
            if listener is not None:
                asyncio.get_running_loop().call_soon(tell, *listener)

    async def _pass(self) -> None:
        await asyncio.sleep(self.world.chance.choice((0.0, 0.0, 0.002, 0.05)))
        now = asyncio.get_running_loop().time()
        await asyncio.sleep(max(0.0, self.stalled_until - now))
        if asyncio.get_running_loop().time() < self.world.away_until:
            raise LogUnavailable("away")

    async def append(self, doc: str, head: Any, entries: Sequence[Entry]) -> Outcome:
        await self._pass()
        return await super().append(doc, head, entries)

    async def load(self, doc: str) -> Loaded | None:
        await self._pass()
        return await super().load(doc)

    async def publish(self, doc: str, message: bytes) -> None:
        await self._pass()
        await super().publish(doc, message)


@dataclass(eq=False)
class Opened:
    live: LiveDocument


class Server:
    """One server, with the interface of ``Sequencer`` that kernels need."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.incarnation = 0
        self.live: LiveDocument | None = None

    async def begin(self) -> None:
        self.incarnation += 1
        # Each on a machine of its own: whether another lives is known by what is heard of it.
        self.server = f"host{self.number}:{self.incarnation}:x"
        self.open_documents: dict[str, Opened] = {}
        self.on_open: Any = None
        self.log = SimLog(self.world)
        self.sessions = SimSessions(self.world)
        self.kernels = Kernels(self, self.sessions)  # type: ignore[arg-type]
        self.kernels.start()
        ref = self.world.ref
        while True:
            try:
                live = await LiveDocument.open(self.log, ref, Limits(), Keeping())
                break
            except LogUnavailable:
                await asyncio.sleep(0.5)
        self.live = live
        self.open_documents[DOC] = Opened(live)
        self.on_open(live)
        self.world.start(self._poll(live))

    async def _poll(self, live: LiveDocument) -> None:
        while not live.closed:
            await asyncio.sleep(2.0)
            live.poll()

    def kill(self) -> None:
        """The process is gone: nothing of it does anything any more."""
        live, self.live = self.live, None
        if live is None:
            return
        live.closed = True
        for task in self.tasks(live):
            task.cancel()
        for kernel in self.sessions.kernels.values():
            for one in list(kernel.hearers):
                if one.heard.__self__._sessions is self.sessions:
                    kernel.hearers.remove(one)
            if not self.world.profile.remote:
                kernel.end()
        self.log._listeners.clear()

    def tasks(self, live: LiveDocument) -> list[asyncio.Task[Any]]:
        found = [live._task, *live._published]
        if live._summing is not None:
            found.append(live._summing)
        if self.kernels._task is not None:
            found.append(self.kernels._task)
        found += self.kernels._side
        for one in self.kernels._owned.values():
            found += [*one._tasks, *one._side]
        return found


# The world.


class World:
    """One history. :meth:`run` raises :class:`Violation` if a promise was broken in it."""

    def __init__(self, seed: int, profile: KernelProfile) -> None:
        self.chance = random.Random(seed)
        self.profile = profile
        self.core = MemoryCore()
        self.kernels: dict[str, SimKernel] = {}
        self.given: list[Given] = []
        self.shown: dict[str, str] = {}  # what a run's cell showed when it had ended
        self.away_until = 0.0
        self.marks = 0
        self.tasks: set[asyncio.Task[Any]] = set()
        self.ref = DocumentRef(DOC, "a.ipynb", "notebook", "epoch")
        self.n = 0

    def mark(self) -> int:
        self.marks += 1
        return self.marks

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def run(self) -> None:
        cells = {name: new_cell("code", f"{name}0") for name in "abcd"}
        document: Document = {
            "cells": cells, "order": list(cells), "metadata": {}, "kernel": NO_KERNEL,
        }  # fmt: skip
        self.initial = document
        head = initial_hash(self.ref.epoch, document)
        self.core.create(self.ref, Snapshot(0, head, document))
        self.servers = [Server(self, number) for number in range(self.profile.servers)]
        for server in self.servers:
            await server.begin()
        loop = asyncio.get_running_loop()
        while loop.time() < self.profile.seconds:
            await asyncio.sleep(self.chance.random() * 2 * self.profile.act_every)
            self.act()
        self.away_until = 0.0
        await asyncio.sleep(REST_SECONDS)
        self.check()

    # What happens.

    def act(self) -> None:
        chance, profile = self.chance, self.profile
        up = [one for one in self.servers if one.live is not None]
        if not up:
            return
        now = asyncio.get_running_loop().time()
        server = chance.choice(up)
        if chance.random() < profile.crash:
            server.kill()
            self.start(self.begin_again(server))
        elif chance.random() < profile.stall:
            server.log.stalled_until = now + chance.choice((1.0, 8.0, 15.0, 30.0))
        elif chance.random() < profile.away:
            self.away_until = now + chance.choice((0.5, 3.0))
        elif chance.random() < profile.death:
            living = [one for one in self.kernels.values() if one.alive]
            if living:
                victim = chance.choice(living)
                victim.end()
                if chance.random() < 0.5:  # jupyter_client starts it again
                    self.start(self.revive(victim))
        else:
            self.start(self.somebody(server.live))

    async def begin_again(self, server: Server) -> None:
        await asyncio.sleep(self.chance.choice((0.5, 3.0, 12.0)))
        await server.begin()

    async def revive(self, kernel: SimKernel) -> None:
        await asyncio.sleep(self.chance.choice((0.3, 3.0)))
        if not kernel.alive and any(
            kernel.name in one.sessions.kernels for one in self.servers if one.live is not None
        ):
            kernel.begin()

    async def somebody(self, live: LiveDocument | None) -> None:
        """Somebody does something on a server."""
        if live is None:
            return
        chance, document = self.chance, live.document
        order = document["order"]
        kind = chance.randrange(12)
        ops: list[dict[str, Any]] = []
        if not order or kind == 0:
            name = f"c{self.mark()}"
            index = chance.randrange(len(order) + 1)
            cell = new_cell("code", chance.choice((name, "error", "")))
            ops = [{"op": "add", "path": f"/cells/{name}", "index": index, "value": cell}]
        elif kind == 1:
            index = chance.randrange(len(order))
            ops = [{"op": "remove", "path": f"/cells/{order[index]}", "index": index}]
        elif kind == 2:
            cell = chance.choice(order)
            outputs = document["cells"][cell]["outputs"]
            if outputs:
                path = f"/cells/{cell}/outputs"
                ops = [{"op": "edit", "path": path, "delta": [-len(outputs)]}]
        elif kind == 3 and chance.randrange(2):
            action = chance.choice(("interrupt", "restart", "shutdown", "start"))
            self.start(self.quietly(self.request(live, action)))
            return
        else:
            cell = chance.choice(order)
            path = f"/cells/{cell}/source"
            ops = [{"op": "edit", "path": path, "delta": [f"{self.mark()} "]}]
        if order and chance.randrange(2) and kind != 1:
            some = chance.sample(order, chance.randrange(1, min(4, len(order)) + 1))
            ops += [{"op": "run", "path": f"/cells/{cell}"} for cell in some]
        if ops:
            self.n += 1
            client = f"person{self.n}"
            head = live.head
            await live.commit(
                lambda answer: Submission(
                    client=client, n=1, base=head, ops=ops, user=client, answer=answer
                )
            )

    async def request(self, live: LiveDocument, action: str) -> None:
        server = next(one for one in self.servers if one.live is live)
        await server.kernels.request(live, "somebody", action, None, [])

    async def quietly(self, work: Coroutine[Any, Any, None]) -> None:
        with contextlib.suppress(StopIteration):
            await work

    # What must hold.

    def check(self) -> None:
        lives = [one.live for one in self.servers if one.live is not None]
        document = lives[0].document
        for live in lives:
            if live.document != document:
                raise Violation("two servers have different documents")
        self._check_ended(document)
        runs, order, codes = self.asked()
        self._check_given(runs, order, codes)
        self._check_outputs(document)

    def _check_ended(self, document: Document) -> None:
        for cell in document["cells"].values():
            for run in runs_in(cell["execution"]):
                if run["state"] not in ENDED:
                    raise Violation(f"never ended: {run}")

    def asked(self) -> tuple[dict[str, str], dict[str, int], dict[str, str]]:
        """By run, from the log: its last state, its place among all, its code."""
        states: dict[str, str] = {}
        order: dict[str, int] = {}
        codes: dict[str, str] = {}
        document = self.initial
        for entry in self.core.read(DOC, 0):
            document = apply(document, entry.ops)
            for cell, value in executions_in(entry):
                for run in runs_in(value):
                    name, state = run["run"], run["state"]
                    if entry.client.endswith(AUTHOR) and name not in order:
                        order[name] = len(order)
                        codes[name] = document["cells"][cell]["source"]
                    if states.get(name) in ENDED and state != states[name]:
                        raise Violation(f"{name} was {states[name]} and then {state}")
                    if state == "running" and states.get(name) not in ("queued", "running"):
                        raise Violation(f"{name} was claimed when it was {states.get(name)}")
                    states[name] = state
                    if state in ("ok", "error"):
                        self.shown[name] = _text(document["cells"][cell])
        return states, order, codes

    def _check_given(
        self, states: dict[str, str], order: dict[str, int], codes: dict[str, str]
    ) -> None:
        seen: set[str] = set()
        last: dict[str, int] = {}
        for given in self.given:
            if given.run in seen:
                raise Violation(f"{given.run} ran twice")
            seen.add(given.run)
            if given.code != codes[given.run]:
                raise Violation(f"{given.run} ran {given.code!r}, not {codes[given.run]!r}")
            if order[given.run] < last.get(given.process, -1):
                raise Violation(f"{given.run} ran out of order")
            last[given.process] = order[given.run]
        for name, state in states.items():
            ran = name in seen
            if state in ("ok", "error") and not ran and codes[name].strip():
                raise Violation(f"{name} is {state}, but did not run")

    def _check_outputs(self, document: Document) -> None:
        """Who ended well shows all that it put out, unless somebody cleared it."""
        by_run = {given.run: given for given in self.given}
        cleared = self._cleared()
        for cell in document["cells"].values():
            execution = cell["execution"]
            given = by_run.get(execution.get("run", ""))
            if given is None or execution["state"] not in ("ok", "error"):
                continue
            if given.run in cleared:
                continue
            if self.shown[given.run] != given.marks:
                shown = self.shown[given.run]
                raise Violation(f"{given.run} put out {given.marks}, {shown} was shown at its end")
            if _text(cell) != given.marks:
                raise Violation(f"{given.run} put out {given.marks}, {_text(cell)} is shown")

    def _cleared(self) -> set[str]:
        """The runs that had begun when somebody cleared their cell's outputs, or removed it."""
        found: set[str] = set()
        document = self.initial
        for entry in self.core.read(DOC, 0):
            for op in entry.ops:
                name = op["path"].split("/")[2] if op["path"].startswith("/cells/") else ""
                mine = entry.client.startswith("kernel:")
                clears = op["op"] == "remove" or op["path"].endswith("/outputs")
                if clears and not mine and name in document["cells"]:
                    execution = document["cells"][name]["execution"]
                    found |= {one["run"] for one in runs_in(execution)}
                document = apply(document, [op])
        return found


def _text(cell: dict[str, Any]) -> str:
    return "".join(one.get("text", "") for one in cell["outputs"])


def simulate_kernels(seed: int, profile: str) -> World:
    """Run one world. Raises :class:`Violation`."""
    loop = VirtualLoop()
    world = World(seed, KERNEL_PROFILES[profile])
    try:
        loop.run_until_complete(world.run())
        return world
    finally:
        pending = asyncio.all_tasks(loop)
        for task in pending:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
        loop.close()
