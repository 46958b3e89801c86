"""A deterministic world of clients, servers, one log and a bad network, driven by one seed.

The clients are the real :class:`ClientDocument`, the servers the real :class:`Pen` and
:class:`Stream`, the log the real :class:`MemoryCore`. What is simulated is what lies between:
time, messages that are delayed and cut off, servers that stall and crash, a log that is away,
answers too late, loses its tail, forks, is trimmed or deleted.

Every insert is one unique character, a *mark*, so that "nothing lost, nothing doubled" can be
counted. The same seed gives the same run, to the letter.
"""

from __future__ import annotations

import copy
import heapq
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import orjson

from ot_jupyter.client.state import ClientDocument, Conflict, Events
from ot_jupyter.sequencer.entry import Entry, Head, Snapshot, chain, initial_hash
from ot_jupyter.sequencer.log import Appended, DocumentRef
from ot_jupyter.sequencer.memory import MemoryCore
from ot_jupyter.sequencer.pen import (
    Accepted,
    Append,
    Limits,
    Load,
    Pen,
    Read,
    Submission,
    Verdict,
)
from ot_jupyter.sequencer.stream import Stream, Subscription
from ot_jupyter.transforms import apply, check_change, new_cell

PATH = "a.ipynb"
MANY_EVENTS = 200_000
FIRST_MARK = 0xF0000  # a private plane: one code point each, two UTF-16 units


@dataclass(frozen=True)
class Profile:
    """How bad the world is. Probabilities are per event of that kind, times are seconds."""

    clients: int = 4
    servers: int = 2
    seconds: float = 20.0
    edit_every: float = 0.4
    cells: int = 3
    text_only: bool = False  # everybody types in one cell
    cut: float = 0.04
    crash: float = 0.02
    stall: float = 0.02
    log_away: float = 0.02
    unknown_outcome: float = 0.03
    lose_tail: float = 0.0
    delete_store: float = 0.0
    trim: float = 0.03
    lose_poke: float = 0.2
    duplicate: float = 0.05
    delay: float = 0.08
    come_back: float = 0.5  # per tick of a client that is away


PROFILES = {
    "calm": Profile(cut=0, crash=0, stall=0, log_away=0, unknown_outcome=0, trim=0, lose_poke=0),
    "mixed": Profile(),
    "text": Profile(text_only=True, cells=1),
    "away": Profile(cut=0.1, come_back=0.05, trim=0.5, crash=0.005),
    "failover": Profile(lose_tail=0.03),
    "deleted": Profile(delete_store=0.04, crash=0.01, trim=0.0, seconds=12.0),
    "everything": Profile(clients=5, servers=3, lose_tail=0.02, crash=0.03, stall=0.03),
}


class Violation(AssertionError):
    """An invariant does not hold."""


@dataclass
class World:
    """Time, the log, and everybody in it."""

    seed: int
    profile: Profile
    server_class: ClassVar[type[Server]]
    rng: random.Random = field(init=False)
    now: float = 0.0
    calm: bool = False  # no more faults: everything comes to rest
    trace: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self.core = MemoryCore()
        self.away_until = 0.0
        self.copies: deque[MemoryCore] = deque(maxlen=4)
        self.epochs = 0
        self.logged: set[str] = set()  # every character that ever was in an entry
        cells = {f"c{i}": new_cell("code", "x" * 3) for i in range(self.profile.cells)}
        self.file = {"cells": cells, "order": list(cells), "metadata": {}}
        self.next_mark = FIRST_MARK
        # What programs that write the file did: nothing, in this world.
        self.outside_deleted: set[str] = set()
        self.outside_restored: Counter[str] = Counter()
        self.outside_copied: Counter[str] = Counter()
        self.servers = [self.server_class(self, f"s{i}") for i in range(self.profile.servers)]
        self.clients = [Client(self, f"k{i}") for i in range(self.profile.clients)]

    # Time.

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (self.now + seconds, self._count, what))

    def delay(self) -> float:
        return self.rng.expovariate(1 / self.profile.delay)

    def happens(self, probability: float) -> bool:
        return not self.calm and self.rng.random() < probability

    def note(self, what: str) -> None:
        self.trace.append(f"{self.now:8.3f} {what}")

    def run(self) -> None:
        """Live, come to rest, check."""
        for server in self.servers:
            self.after(0, server.tick)
        for client in self.clients:
            self.after(self.rng.random() * 0.1, client.tick)
        self.after(0.5, self._fate)
        self._until(self.profile.seconds)
        self.calm = True
        self.away_until = 0.0
        self.note("--- calm")
        for _ in range(60):
            self._until(self.now + 5.0)
            if self.at_rest():
                break
        else:
            raise Violation("the world does not come to rest: " + self.unrest())
        self.check()

    def _until(self, end: float) -> None:
        while self._events and self._events[0][0] <= end:
            self.now, _, what = heapq.heappop(self._events)
            what()
            if self._count > MANY_EVENTS:
                raise Violation("something goes on for ever")
        self.now = end

    def at_rest(self) -> bool:
        return not self.unrest()

    def unrest(self) -> str:
        for client in self.clients:
            if not client.state.live or client.state.pending:
                return f"{client.name} live={client.state.live} pending={client.state.pending}"
        heads = {client.state.head for client in self.clients}
        heads |= {one.pen.head for one in self.servers if one.pen is not None}
        return f"heads {heads}" if len(heads) > 1 else ""

    # The log's fate.

    def _fate(self) -> None:
        profile = self.profile
        if self.happens(profile.log_away):
            self.away_until = self.now + self.rng.random() * 2
            self.note("log away")
        if self.happens(0.3):
            self.copies.append(copy.deepcopy(self.core))
        if self.copies and self.happens(profile.lose_tail):
            self.core = self.copies[self.rng.randrange(len(self.copies))]
            self.core = copy.deepcopy(self.core)
            self.note("log lost its tail")
        # Once: a client that is away while the store is deleted twice can't tell what of its
        # confirmed text went into the second file by way of others (docs/operating.md).
        if self.epochs == 1 and self.happens(profile.delete_store):
            self.core = MemoryCore()
            self.copies.clear()
            self.note("store deleted")
            if self.rng.random() < 0.5:
                for server in self.servers:
                    server.crash()
        for server in self.servers:
            if server.pen is not None and self.happens(profile.trim):
                server.sum_up()
            if server.pen is not None and self.happens(0.2):
                self.file = server.pen.document  # a save
        if not self.calm:
            self.after(0.25, self._fate)

    def ref(self) -> DocumentRef:
        """The document's names, made on first use as the sequencer makes them."""
        ref = self.core.find(PATH)
        if ref is None:
            self.epochs += 1
            epoch = f"e{self.epochs}"
            ref = DocumentRef(f"d{self.epochs}", PATH, "notebook", epoch)
            initial = Snapshot(0, initial_hash(epoch, self.file), self.file)
            ref = self.core.create(ref, initial)
        return ref

    def note_logged(self, entries: list[Entry]) -> None:
        """These are in the log now, whoever hears of it."""
        self.logged |= {char for entry in entries for char in entry.body.decode()}

    @property
    def forgets_deletions(self) -> bool:
        """Whether what somebody deleted may be there again without him."""
        return self.profile.lose_tail > 0 or self.profile.delete_store > 0

    def check(self) -> None:
        """The invariants, at rest."""
        check(self)

    def mark(self) -> str:
        self.next_mark += 1
        return chr(self.next_mark)


class Server:
    """One process: a pen with a stream, and its sockets."""

    window = 30  # entries

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.pen: Pen | None = None
        self.stream: Stream | None = None
        self.life = 0  # counts crashes: what was scheduled in an earlier life is void
        self.down_until = 0.0
        self.stalled_until = 0.0
        self.sockets: list[Socket] = []
        self.working: Any = None
        self.opening: list[Callable[[], None]] = []

    @property
    def up(self) -> bool:
        return self.world.now >= self.down_until

    def soon(self, seconds: float, what: Callable[[], None]) -> None:
        """Do something in this life, not before a stall ends."""
        life = self.life

        def do() -> None:
            if self.life != life:
                return
            if self.world.now < self.stalled_until:
                self.world.after(self.stalled_until - self.world.now, do)
            else:
                what()

        self.world.after(seconds, do)

    def tick(self) -> None:
        world = self.world
        if world.happens(world.profile.crash):
            self.crash()
        elif world.happens(world.profile.stall):
            self.stalled_until = world.now + world.rng.random() * 4
            world.note(f"{self.name} stalls")
        elif self.pen is not None and world.now >= self.stalled_until:
            self.pen.ask()
            self.kick()
        world.after(0.5 + world.rng.random(), self.tick)

    def crash(self) -> None:
        world = self.world
        world.note(f"{self.name} crashes")
        self.life += 1
        self.pen = self.stream = self.working = None
        self.opening = []
        self.stalled_until = 0.0
        self.down_until = world.now + world.rng.random() * 2
        for socket in list(self.sockets):
            socket.cut()

    # The pen's driver: what LiveDocument does.

    def _load(self) -> bool:
        if self.pen is None:
            if self.world.now < self.world.away_until:
                return False
            loaded = self.world.core.load(self.world.ref().doc)
            assert loaded is not None
            self.pen = Pen(
                loaded,
                Limits(window_entries=self.window, batch=4),
                now=lambda: f"{self.world.now:010.3f}",
                on_entries=self._on_entries,
                on_branch=lambda: self.stream.branch() if self.stream else None,
            )
            self.stream = Stream(self.pen)
        return True

    def _on_entries(self, entries: list[Any]) -> None:
        assert self.pen is not None
        assert self.stream is not None
        self.stream.advance()
        self.pen.trim_window()

    def kick(self) -> None:
        if self.working is None and self.pen is not None:
            self.working = self.pen.work()
            self._step(None)

    def _step(self, result: Any) -> None:
        assert self.pen is not None
        try:
            request = self.working.send(result)
        except StopIteration:
            self.working = None
            if self.pen.gone:
                assert self.stream is not None
                self.stream.branch()
                self.pen = self.stream = None
                for one in list(self.opening):
                    one()
                return
            opening, self.opening = self.opening, []
            for one in opening:
                one()
            if self.pen is not None and not self.pen.idle:
                self.kick()
            return
        self.soon(self.world.rng.random() * 0.03, lambda: self._perform(request))

    def _perform(self, request: Any) -> None:
        assert self.pen is not None
        world, doc = self.world, self.pen.ref.doc
        if world.now < world.away_until:
            self._fail()
            return
        if isinstance(request, Append):
            result: Any = world.core.append(doc, request.head, request.entries)
            if request.entries and isinstance(result, Appended):
                world.note_logged(request.entries)
                for other in world.servers:
                    other.hear(self, doc, list(request.entries))
        elif isinstance(request, Read):
            result = world.core.read(doc, request.since)
        elif isinstance(request, Load):
            result = world.core.load(doc)
        else:
            result = world.core.restore(copy.deepcopy(request.loaded))
        if world.happens(world.profile.unknown_outcome):
            self._fail()
            return
        self.soon(world.rng.random() * 0.03, lambda: self._step(result))

    def _fail(self) -> None:
        """The request raised: the work is dropped where it is, and begun again later."""
        self.working = None
        self.soon(0.2, self.kick)

    def hear(self, origin: Server, doc: str, entries: list[Any]) -> None:
        world = self.world
        times = 2 if world.happens(world.profile.duplicate) else 1
        if world.happens(world.profile.lose_poke):
            return

        def take() -> None:
            if self.pen is not None and self.pen.ref.doc == doc:
                self.pen.arrive(entries)
                self.kick()

        for _ in range(times):
            self.soon(world.delay(), take)

    def sum_up(self) -> None:
        """Snapshot and trim, as LiveDocument does when due."""
        assert self.pen is not None
        world, pen = self.world, self.pen
        if world.now < world.away_until or world.now < self.stalled_until:
            return
        world.core.save_snapshot(pen.ref.doc, Snapshot(pen.head.rev, pen.head.hash, pen.document))
        floor = max(pen.floor, pen.head.rev - world.rng.randrange(5, 60))
        if floor > pen.floor:
            world.core.trim(pen.ref.doc, floor, keep_history=False, seen_before="")
            pen.floor = floor
            world.note(f"{self.name} trims to {floor}")


World.server_class = Server


class Socket:
    """A connection of one client to one server: two ordered channels, cut at any moment."""

    def __init__(self, world: World, client: Client, server: Server) -> None:
        self.world, self.client, self.server = world, client, server
        self.alive = True
        self.subscription: Subscription | None = None
        self.to_server = self.to_client = 0.0  # when the last message arrives: order is kept
        self.flushing = False
        server.sockets.append(self)

    def cut(self) -> None:
        if not self.alive:
            return
        self.alive = False
        self.server.sockets.remove(self)
        if self.subscription is not None and self.server.stream is not None:
            self.server.stream.unsubscribe(self.subscription)
        self.client.cut(self)

    def send(self, message: dict[str, Any]) -> None:
        """From the client."""
        data = orjson.dumps(message)
        self.to_server = max(self.to_server, self.world.now + self.world.delay())
        self.server.soon(self.to_server - self.world.now, lambda: self._at_server(data))

    def _at_server(self, data: bytes) -> None:
        # Half a connection: what was on its way still arrives, sometimes.
        if not self.alive and not self.world.happens(0.5):
            return
        message = orjson.loads(data)
        if message["type"] == "open":
            if self.alive:
                self._open(message)
        else:
            self._submit(message)

    def _open(self, message: dict[str, Any]) -> None:
        server = self.server
        if not server._load():
            server.soon(0.3, lambda: self._open(message))
            return
        assert server.pen is not None
        known = [Head(*one) for one in message.get("known", [])]

        def settled() -> None:
            if not self.alive:
                return
            pen, stream = server.pen, server.stream
            if pen is None or stream is None:
                self._open(message)
                return
            if pen.carried or pen.uncertain or pen.asked:
                server.opening.append(settled)
                server.kick()
                return
            if any(pen.floor <= one.rev < pen.window_floor.rev for one in known):
                work = pen.widen()
                try:
                    request = next(work)
                    work.send(self.world.core.read(pen.ref.doc, request.since))
                except StopIteration:
                    pass
            if self.subscription is not None:
                stream.subscriptions.pop(self.subscription, None)
            answer, self.subscription = stream.join(
                message["client"], message.get("epoch", ""), known, self.flush
            )
            self._to_client(answer)

        server.pen.ask()
        server.opening.append(settled)
        server.kick()

    def _submit(self, message: dict[str, Any]) -> None:
        pen, subscription = self.server.pen, self.subscription
        if pen is None or subscription is None or pen.ref.doc != message["doc"]:
            return
        check_change(message["ops"], notebook=True, from_client=True)
        n = message["n"]

        def answer(verdict: Verdict) -> None:
            if isinstance(verdict, Accepted):
                if not verdict.repeated:
                    subscription.own.add(verdict.head.rev)
                else:
                    self._say({"type": "repeated", "n": n})
                return
            self._say(
                {"type": "error", "code": verdict.code, "message": verdict.message, "n": n,
                 "taken": verdict.taken}
            )  # fmt: skip

        pen.submit(
            Submission(
                client=self.client.name, n=n, base=Head(message["base"], message["hash"]),
                ops=message["ops"], user="u", answer=answer, skip=message.get("skip", False),
            )
        )  # fmt: skip
        self.server.kick()

    def _say(self, message: dict[str, Any]) -> None:
        if self.alive:
            self._to_client(orjson.dumps(message))

    def flush(self) -> None:
        """The subscription has something: send it when there is room."""
        if not self.flushing:
            self.flushing = True
            self.server.soon(self.world.rng.random() * 0.05, self._flush)

    def _flush(self) -> None:
        self.flushing = False
        if self.alive and self.subscription is not None:
            for data in self.subscription.take():
                self._to_client(data)

    def _to_client(self, data: bytes) -> None:
        self.to_client = max(self.to_client, self.world.now + self.world.delay())
        self.world.after(
            self.to_client - self.world.now, lambda: self.alive and self.client.receive(self, data)
        )


class Client:
    """A person with a laptop."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.socket: Socket | None = None
        self.typed: dict[str, str] = {}  # mark -> cell
        self.deleted: set[str] = set()
        self.restored: Counter[str] = Counter()
        self.conflicts: set[str] = set()
        self.acknowledged: dict[int, int] = {}
        self.removed_cells: set[str] = set()
        self.sent_at: float | None = None
        self.state = ClientDocument(
            PATH,
            name,
            events=Events(
                conflict=self._conflict, refused=self._refused, acknowledged=self._acknowledged
            ),
        )

    def _conflict(self, conflict: Conflict) -> None:
        self.conflicts |= set(conflict.cell["source"])

    def _refused(self, error: dict[str, Any]) -> None:
        if error.get("taken"):
            raise Violation(f"{self.name}: a valid change was refused: {error}")

    def _acknowledged(self, n: int, head: Any) -> None:
        self.acknowledged[n] = head.rev

    def cut(self, socket: Socket) -> None:
        if self.socket is socket:
            self.socket = None
            self.state.disconnected()
            self.sent_at = None

    def receive(self, socket: Socket, data: bytes) -> None:
        if self.socket is socket:
            self.state.receive(orjson.loads(data))
            self._pump()

    def _pump(self) -> None:
        if self.socket is None:
            return
        for _ in range(100):
            message = self.state.outgoing()
            if message is None:
                break
            self.socket.send(message)
            self.sent_at = self.world.now
        else:
            raise Violation(f"{self.name} does not stop sending")
        if not self.state.in_flight and self.state.live:
            self.sent_at = None

    def tick(self) -> None:
        world = self.world
        if self.socket is None:
            if world.calm or world.rng.random() < world.profile.come_back:
                up = [one for one in world.servers if one.up]
                if up:
                    self.socket = Socket(world, self, world.rng.choice(up))
        elif world.happens(world.profile.cut):
            self.socket.cut()
        elif self.sent_at is not None and world.now - self.sent_at > 8:
            self.socket.cut()  # no acknowledgement: try another connection
        if self.state.epoch and not world.calm and world.rng.random() < 0.8:
            self._edit()
        self._pump()
        world.after(world.rng.expovariate(1 / world.profile.edit_every), self.tick)

    # What people do.

    def _edit(self) -> None:
        before = marks(self.state.document)
        fresh = self._do()
        after = marks(self.state.document)
        self.deleted |= set(before - after)
        for mark, count in after.items():
            if mark not in fresh and count > before.get(mark, 0):
                self.restored[mark] += count - before.get(mark, 0)

    def _do(self) -> str:
        """One action; returns the marks that it typed."""
        rng, document = self.world.rng, self.state.document
        order = document["order"]
        dice = rng.random()
        if self.world.profile.text_only and order:
            dice = 0.3 + dice * 0.55
        if not order or dice < 0.06:
            mark = self.world.mark()
            name = f"{self.name}-{mark.encode().hex()}"
            self.typed[mark] = name
            self._submit("add", f"/cells/{name}", index=rng.randint(0, len(order)),
                         value=new_cell("code", mark))  # fmt: skip
            return mark
        cell_id = rng.choice(order)
        index = order.index(cell_id)
        if dice < 0.10:
            self.removed_cells.add(cell_id)
            self._submit("remove", f"/cells/{cell_id}", index=index)
        elif dice < 0.18:
            to = rng.randrange(len(order))
            if to != index:
                self._submit("move", f"/cells/{cell_id}", index=index, to=to)
        elif dice < 0.22:
            kind = rng.choice(["code", "markdown", "raw"])
            self._submit("replace", f"/cells/{cell_id}/cell_type", value=kind)
        elif dice < 0.28:
            self._submit("replace", f"/cells/{cell_id}/metadata/k", value=rng.randrange(9))
        elif dice < 0.68:
            text = "".join(self.world.mark() for _ in range(rng.choice([1, 1, 2, 3])))
            for mark in text:
                self.typed[mark] = cell_id
            length = len(document["cells"][cell_id]["source"])
            at = rng.choice([0, length, rng.randint(0, length)])
            self._submit("edit", f"/cells/{cell_id}/source", delta=[at, text] if at else [text])
            return text
        elif dice < 0.76:
            length = len(document["cells"][cell_id]["source"])
            if length:
                at = rng.randrange(length)
                count = rng.randint(1, min(3, length - at))
                delta = [at, -count] if at else [-count]
                self._submit("edit", f"/cells/{cell_id}/source", delta=delta)
        elif dice < 0.86:
            self._undo(self.state.undo)
        else:
            self._undo(self.state.redo)
        return ""

    def _undo(self, step: Callable[[], bool]) -> None:
        before = set(self.state.document["cells"])
        step()
        self.removed_cells |= before - set(self.state.document["cells"])

    def _submit(self, verb: str, path: str, **fields: Any) -> None:
        self.state.edit([{"op": verb, "path": path, **fields}])


def marks(document: dict[str, Any]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for cell in document["cells"].values():
        counts.update(char for char in cell["source"] if ord(char) >= FIRST_MARK)
    return counts


def check(world: World) -> None:
    """The invariants, at rest."""
    state = world.clients[0].state
    document, head = state.document, state.head
    ref = world.ref()
    loaded = world.core.load(ref.doc)
    assert loaded is not None
    fold, at = loaded.snapshot.document, loaded.snapshot.hash
    for entry in loaded.entries:
        fold = apply(fold, entry.ops)
        if chain(at, entry.body) != entry.hash:
            raise Violation(f"the chain is broken at {entry.rev}")
        at = entry.hash
    if fold != document:
        raise Violation("the log's fold is not the clients' document")
    if list(loaded.head) != list(head):
        raise Violation("the head is not the log's head")
    for client in world.clients:
        if client.state.document != document or client.state.confirmed != document:
            raise Violation(f"{client.name} has another document")
    for server in world.servers:
        if server.pen is not None and server.pen.document != document:
            raise Violation(f"{server.name} has another document")
    if sorted(document["order"]) != sorted(document["cells"]):
        raise Violation("order and cells differ: a cell is doubled or lost")
    _check_log(world, loaded.entries)
    _check_marks(world, document)


def _check_log(world: World, entries: list[Any]) -> None:
    """Each number at most once, and in each author's order but for holes filled late."""
    numbers: set[tuple[str, int]] = set()
    for entry in entries:
        if (entry.client, entry.n) in numbers:
            raise Violation(f"{entry.client} {entry.n} is in the log twice")
        numbers.add((entry.client, entry.n))


def _check_marks(world: World, document: dict[str, Any]) -> None:
    counts = marks(document)
    deleted = world.outside_deleted.union(*(one.deleted for one in world.clients))
    removed: set[str] = set().union(*(one.removed_cells for one in world.clients))
    restored = world.outside_restored + world.outside_copied
    for one in world.clients:
        restored.update(one.restored)
    for client in world.clients:
        for mark, cell in client.typed.items():
            count = counts[mark]
            name = f"{ord(mark):x} of {client.name} in {cell}"
            # Text that two people delete and both bring back is there twice; and so it is where
            # the log lost the deletion, but not who brought it back.
            allowed = max(1, restored[mark] + world.forgets_deletions)
            if count > (allowed if restored[mark] else 1):
                raise Violation(f"doubled: {name} stands {count} times")
            if count == 0 and mark not in deleted and mark not in client.conflicts:
                if cell in removed:
                    if mark in world.logged:
                        continue  # it was there when its cell was removed: removal wins
                    raise Violation(f"lost in a removed cell, and no conflict copy: {name}")
                raise Violation(f"lost: {name}")


def simulate(seed: int, profile: str) -> World:
    """Run one world; raises :class:`Violation` with the last of its trace."""
    world = World(seed, PROFILES[profile])
    try:
        world.run()
    except Exception as error:
        error.add_note(f"replay: simulate({seed}, {profile!r})") if hasattr(
            error, "add_note"
        ) else None
        raise
    return world
