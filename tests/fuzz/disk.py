"""The simulated world with a disk: servers that save, and others who write the same file.

The decisions are the real :class:`Projection`. What is simulated is the file system (files that
are exchanged, replaced, written in place, half written, removed), the time between any two steps
of a save, in which servers stall and crash, and programs that know nothing of us: editors,
formatters, tools that strip ids, checkouts of what was committed, which mostly is an old save.
"""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass
from typing import Any

import orjson

from ot_jupyter.sequencer.entry import Entry
from ot_jupyter.sequencer.log import LogUnavailable
from ot_jupyter.sequencer.pen import Accepted, Submission, Verdict
from ot_jupyter.sequencer.projection import (
    Begin,
    CatchUp,
    Compute,
    Discard,
    End,
    Enter,
    Entered,
    Follow,
    Look,
    Lost,
    Past,
    Projection,
    Put,
    ReadFile,
    Recall,
    Resolve,
    Settle,
    Stage,
    Staged,
    Written,
    digest_of,
    project,
)
from ot_jupyter.transforms import Document, Refused, new_cell

from .simulation import FIRST_MARK, PATH, Profile, Server, Violation, World, marks


@dataclass(frozen=True)
class DiskProfile(Profile):
    """Probabilities are those of one act outside, which comes every ``outside_every`` seconds."""

    seconds: float = 25.0
    outside_every: float = 1.5
    save_delay: float = 0.5
    stale: float = 0.0  # a program that reads, waits and writes
    full: float = 0.0  # the disk, for a while
    acts: tuple[str, ...] = (
        "edit", "edit", "edit", "in place", "checkout", "checkout", "commit", "commit", "strip",
        "double", "reorder", "touch", "remove", "format",
    )  # fmt: skip


DISK_PROFILES = {
    "disk calm": DiskProfile(
        cut=0, crash=0, stall=0, log_away=0, unknown_outcome=0, trim=0, lose_poke=0, servers=1
    ),
    "disk": DiskProfile(crash=0, stall=0, unknown_outcome=0.0),
    "disk stalls": DiskProfile(crash=0, stall=0.2, unknown_outcome=0.0, servers=2, full=0.05),
    "disk crashes": DiskProfile(crash=0.08, stall=0.05, outside_every=4.0, unknown_outcome=0.02),
    "disk stale": DiskProfile(stale=0.5),
}


@dataclass
class Inode:
    """A file: what stat tells of it (``name``, ``version``), and what is in it; None: half."""

    name: int
    content: Document | None
    version: int = 0
    writing: Document | None = None  # what a program is about to have in it

    @property
    def stat(self) -> tuple[int, int]:
        return (self.name, self.version)


class Disk:
    """One file, and what servers stage beside it."""

    def __init__(self, content: Document) -> None:
        self._names = 0
        self.file: Inode | None = self.new(content)
        self.staged: dict[str, Inode] = {}
        self.full = False

    def new(self, content: Document | None) -> Inode:
        self._names += 1
        return Inode(self._names, content)

    def exchange(self, name: str) -> None:
        assert self.file is not None
        self.file, self.staged[name] = self.staged[name], self.file


class DiskServer(Server):
    """A process that saves, too: what ``LiveFile`` does, in simulated time."""

    world: DiskWorld
    window = 300

    def __init__(self, world: DiskWorld, name: str) -> None:
        super().__init__(world, name)
        self.projection: Projection | None = None
        self.filing: Any = None
        self.due: float | None = None
        self.opened = False

    def crash(self) -> None:
        super().crash()
        self.projection = self.filing = self.due = None

    def _load(self) -> bool:
        """As ``Sequencer._open``: nobody is served before the file was seen to."""
        fresh = self.pen is None
        file = self.world.disk.file
        if fresh and not self.world.core.find(PATH) and (file is None or file.content is None):
            return False
        if not super()._load():
            return False
        if fresh:
            assert self.pen is not None
            pen = self.pen
            self.projection = Projection(
                lambda: (pen.head, pen.document),
                lambda rev: Past(*found) if (found := pen.changes_since(rev)) else None,
                f"{self.name}.{self.life}",
                now=lambda: self.world.now,
                mint=lambda: f"{self.name}.{self.world.rng.random()}",
            )
            self.opened = False
            self.file_soon(0.0)
        return self.opened

    def _on_entries(self, entries: list[Any]) -> None:
        super()._on_entries(entries)
        self.file_soon(self.world.profile.save_delay)

    def tick(self) -> None:
        super().tick()
        if self.world.happens(0.05) and self.projection is not None:
            self.projection.forget()
        self.file_soon(0.0)

    def file_soon(self, seconds: float) -> None:
        """See to the file, at the latest then."""
        at = self.world.now + seconds
        if self.due is None or at < self.due:
            self.due = at

            def do() -> None:
                if self.due == at:
                    self.due = None
                    self._see_to_the_file()

            self.soon(seconds, do)

    def _see_to_the_file(self) -> None:
        if self.filing is None and self.projection is not None and self.pen is not None:
            self.filing = self.projection.work()
            self._file_step(None)

    def _file_step(self, result: Any) -> None:
        assert self.projection is not None
        work = self.filing
        try:
            if isinstance(result, Exception):
                request = work.throw(result)
            else:
                request = work.send(result)
        except StopIteration:
            self.filing = None
            self.opened = True
            if self.projection.again is not None:
                self.file_soon(self.projection.again + 0.01)
            return
        except (OSError, LogUnavailable, Refused) as error:
            self.world.note(f"{self.name} file: {error}")
            self.filing = None
            self.file_soon(0.5)
            return
        self.soon(self.world.rng.random() * 0.02, lambda: self._file_do(work, request))

    def _file_do(self, work: Any, request: Any) -> None:
        if work is not self.filing:
            return
        try:
            result = self._file_perform(work, request)
        except (OSError, LogUnavailable, Refused) as error:
            result = error
        if result is not PENDING:
            self.soon(self.world.rng.random() * 0.02, lambda: self._file_next(work, result))

    def _file_next(self, work: Any, result: Any) -> None:
        if work is self.filing:
            self._file_step(result)

    def _file_perform(self, work: Any, request: Any) -> Any:
        disk = self.world.disk
        assert self.pen is not None
        if isinstance(request, Look):
            return disk.file.stat if disk.file else None
        if isinstance(request, ReadFile):
            if disk.file is None:
                raise Refused("not_found", "no file")
            if disk.file.content is None:
                raise Refused("not_json", "half a file")
            return disk.file.content
        if isinstance(request, Follow):
            return False
        if isinstance(request, Stage):
            if disk.full and not self.world.calm:
                raise OSError("the disk is full")
            content = project(request.projection)
            disk.staged[request.attempt] = disk.new(content)
            return Staged(content, digest_of(content))
        if isinstance(request, Discard):
            disk.staged.pop(request.attempt, None)
            return None
        if isinstance(request, Put):
            return self._put(work, request)
        if isinstance(request, Resolve):
            return self._resolve(request)
        if isinstance(request, Compute):
            return request.function(*request.arguments)
        if isinstance(request, Enter):
            return self._enter(work, request)
        if isinstance(request, (CatchUp, Entered)):
            name = request.name if isinstance(request, Entered) else ""

            def look() -> None:
                if self.pen is not None:
                    seen = self.pen.seen.get(name)
                    self._file_next(work, None if seen is None else seen.rev)

            self.opening.append(look)
            self.pen.ask()
            self.kick()
            return PENDING
        return self._in_store(request)

    def _in_store(self, request: Any) -> Any:
        world = self.world
        assert self.pen is not None
        core, doc = world.core, self.pen.ref.doc
        if world.now < world.away_until:
            raise LogUnavailable("away")
        if isinstance(request, Recall):
            return core.file_state(doc)
        if isinstance(request, Begin):
            result: Any = core.begin_save(doc, request.attempt, over=request.over)
        elif isinstance(request, End):
            result = core.end_save(doc, request.attempt)
        else:
            assert isinstance(request, Settle)
            result = core.settle_save(
                doc, request.image, request.digest, request.rev, over=request.over,
                attempt=request.attempt,
            )  # fmt: skip
        if world.happens(world.profile.unknown_outcome):
            raise LogUnavailable("no answer")
        return result

    def _enter(self, work: Any, request: Enter) -> Any:
        assert self.pen is not None

        def answer(verdict: Verdict) -> None:
            result: Any
            if isinstance(verdict, Accepted):
                result = verdict.head
            elif verdict.code in ("unexpected", "unknown_base"):
                result = None
            else:
                result = OSError(verdict.message)
            self.soon(0.001, lambda: self._file_next(work, result))

        self.pen.submit(
            Submission(
                client=request.name, n=1, base=request.base, ops=request.ops, user="file",
                answer=answer, consume=False, expects=request.expects,
            )
        )  # fmt: skip
        self.kick()
        return PENDING

    def _put(self, work: Any, request: Put) -> Any:
        """In two steps: a server may stall or crash between exchange and look."""
        disk, name = self.world.disk, request.attempt
        if name not in disk.staged:
            return Lost()
        if disk.file is None:
            return None
        mine = disk.staged[name].stat
        disk.exchange(name)

        def look() -> None:
            self._file_next(work, self._keep_or_put_back(name, mine, request.seen))

        self.soon(self.world.rng.random() * 0.02, look)
        return PENDING

    def _keep_or_put_back(self, name: str, mine: Any, seen: Any) -> Any:
        disk = self.world.disk
        if name not in disk.staged:
            return Lost()
        displaced = disk.staged[name].stat
        if displaced == seen:
            del disk.staged[name]
            return Written(mine)
        self.world.note(f"{self.name} puts back")
        if disk.file is None:
            return Lost()  # removed since
        disk.exchange(name)
        if disk.staged[name].stat != mine:  # replaced since: newer than what we hold
            disk.exchange(name)
            return Lost()
        self.world.withdraw(disk.staged[name])
        return None

    def _resolve(self, request: Resolve) -> bool | None:
        disk, attempt = self.world.disk, request.attempt
        held = disk.staged.pop(attempt.id, None)
        if held is None:
            return None
        self.world.note(f"{self.name} resolves {attempt.id}")
        digest = digest_of(held.content) if held.content is not None else ""
        if digest in (attempt.digest, request.image):
            return digest == request.image
        if disk.file and disk.file.content and digest_of(disk.file.content) == attempt.digest:
            disk.file = held
            return False
        self.world.set_aside(held)
        return True


PENDING = object()


class DiskWorld(World):
    """The world, with others who write the file."""

    profile: DiskProfile
    server_class = DiskServer
    servers: list[DiskServer]  # type: ignore[assignment]

    def __post_init__(self) -> None:
        cells = {f"c{i}": new_cell("code", "x" * 3) for i in range(self.profile.cells)}
        self.disk = Disk(project({"cells": cells, "order": list(cells), "metadata": {}}))
        self.commits: list[Document] = []
        self.fate: dict[str, bool] = {}  # of marks that others touched: is it to be there?
        self.overwritten: set[str] = set()  # outside, twice in the midst of one save
        self.placed: dict[str, str] = {}  # mark that was written outside -> its cell
        self.acts: Counter[str] = Counter()
        self.unreverted = 0
        super().__post_init__()

    @property
    def file(self) -> Document:
        assert self.disk.file is not None
        assert self.disk.file.content is not None
        return self.disk.file.content

    @file.setter
    def file(self, value: Document) -> None:
        """The other world's saves."""

    def run(self) -> None:
        self.after(1.0, self._outside)
        super().run()

    def unrest(self) -> str:
        found = super().unrest()
        if found:
            return found
        file = self.disk.file
        if file is None or file.content is None:
            return "the file is not there, or half of it"
        live = [one for one in self.servers if one.pen is not None]
        if not live:
            return ""
        assert live[0].pen is not None
        if digest_of(file.content) != digest_of(project(live[0].pen.document)):
            return "the file is not saved"
        state = self.core.file_state(live[0].pen.ref.doc)
        return "a save is pending" if state.attempt else ""

    def set_aside(self, inode: Inode) -> None:
        """Somebody wrote after it, in the midst of a save: it is kept under another name."""
        content = inode.content or inode.writing
        assert content is not None
        self.overwritten |= marks(content).keys()

    def withdraw(self, inode: Inode) -> None:
        """A save was put back, which takes microseconds, though here it is long enough for others
        to read it. Who does, and writes it back much later, makes text stand twice: see
        docs/operating.md."""
        self.commits = [one for one in self.commits if one is not inode.content]

    def note_logged(self, entries: list[Entry]) -> None:
        super().note_logged(entries)
        for entry in entries:
            if entry.client.startswith("file:"):
                self._place(entry.ops)

    def _place(self, ops: list[Any]) -> None:
        """Note in which cells a change of the file put its marks."""
        for op in ops:
            for char in set(orjson.dumps(op).decode()) if op["path"].startswith("/cells/") else ():
                if ord(char) >= FIRST_MARK:
                    self.placed[char] = op["path"].split("/")[2]

    # What others do.

    def _outside(self) -> None:
        if self.calm:
            return
        self.after(self.rng.expovariate(1 / self.profile.outside_every), self._outside)
        self.disk.full = self.happens(self.profile.full)
        file = self.disk.file
        if file is None or file.content is None:
            return
        act = self.rng.choice(self.profile.acts)
        self.acts[act] += 1
        self.note(f"outside: {act}")
        if act == "commit":
            self.commits.append(file.content)
        elif act == "touch":
            self._write(file.content)
        elif act == "remove":
            content = file.content
            self.disk.file = None
            self.after(self.rng.choice([0.05, 1.0, 4.0]), lambda: self._write(content))
        elif act == "checkout":
            if self.commits:
                self._replace(self.rng.choice(self.commits))
        elif act == "in place":
            self._in_place(self._edited(file.content))
        else:
            content = self._changed(act, file.content)
            if self.happens(self.profile.stale):
                self.after(self.rng.random() * 4, lambda: self._write(content))
            else:
                self._replace(content)

    def _changed(self, act: str, content: Document) -> Document:
        if act == "edit":
            return self._edited(content)
        if act == "strip":  # a tool that knows no ids: its reader makes new ones
            names = {name: f"n{self.rng.randrange(10**9)}" for name in content["order"]}
            return {
                **content,
                "cells": {names[name]: cell for name, cell in content["cells"].items()},
                "order": [names[name] for name in content["order"]],
            }
        if act == "double" and content["order"]:
            # Copied with its id: who reads the file gives the second one another.
            order, copy_id = list(content["order"]), f"d{self.rng.randrange(10**9)}"
            at = self.rng.randrange(len(order))
            order.insert(at + 1, copy_id)
            cells = {**content["cells"], copy_id: content["cells"][order[at]]}
            return {**content, "cells": cells, "order": order}
        if act == "reorder":
            order = list(content["order"])
            self.rng.shuffle(order)
            return {**content, "order": order}
        cells = {  # a formatter: something in every cell
            name: {**cell, "source": cell["source"].replace("x", "x ").replace("  ", " ")}
            for name, cell in content["cells"].items()
        }
        return {**content, "cells": cells}

    def _edited(self, content: Document) -> Document:
        """Some marks more in cells that are there, some less, perhaps a cell more or less."""
        rng = self.rng
        content = copy.deepcopy(content)
        order = content["order"]
        for name in rng.sample(order, min(len(order), 2)):
            source = content["cells"][name]["source"]
            at = rng.randint(0, len(source))
            cut = rng.choice([0, 0, 0, 1, 2])
            text = "".join(self.mark() for _ in range(rng.choice([1, 2])))
            content["cells"][name]["source"] = source[:at] + text + source[at + cut :]
        if rng.random() < 0.2:
            name = f"o{rng.randrange(10**9)}"
            content["cells"][name] = new_cell("code", self.mark())
            order.insert(rng.randint(0, len(order)), name)
        elif rng.random() < 0.2 and len(order) > 1:
            del content["cells"][order.pop(rng.randrange(len(order)))]
        return content

    def _replace(self, content: Document) -> None:
        """Read and write in one step: the writer knows all that was there."""
        self._decide(content)
        self._write(content)

    def _in_place(self, content: Document) -> None:
        """The same, into the same file, which for a moment is half a file."""
        self._decide(content)
        file = self.disk.file
        assert file is not None
        file.content, file.writing = None, content
        file.version += 1

        def finish() -> None:
            file.content = content
            file.version += 1

        self.after(self.rng.choice([0.01, 0.1, 1.0]), finish)

    def _decide(self, content: Document) -> None:
        """Note what is to be there, and what not, when that is written over what is there."""
        assert self.disk.file is not None
        assert self.disk.file.content is not None
        before, after = marks(self.disk.file.content), marks(content)
        for mark in before - after:
            self.fate[mark] = mark in after
            self.outside_deleted.add(mark)
        for mark, more in (after - before).items():
            if mark not in before:
                self.fate[mark] = True
                self.outside_restored[mark] += 1
                more -= 1
            self.outside_copied[mark] += more

    def _write(self, content: Document) -> None:
        self.disk.file = self.disk.new(content)

    # What must hold.

    @property
    def forgets_deletions(self) -> bool:
        """A cell that people remove while others write in it comes back, and then again by undo."""
        return True

    def check(self) -> None:
        super().check()
        assert self.servers[0].world is self
        document = self.clients[0].state.document
        counts = marks(document)
        deleted: set[str] = set().union(*(one.deleted for one in self.clients))
        removed: set[str] = set().union(*(one.removed_cells for one in self.clients))
        cells = {mark: cell for one in self.clients for mark, cell in one.typed.items()}
        cells |= self.placed
        for mark, there in sorted(self.fate.items()):
            name = f"{ord(mark):x}, written outside"
            restored = sum(one.restored[mark] for one in self.clients)
            allowed = max(1, self.outside_restored[mark] + restored + bool(restored))
            if counts[mark] > allowed + self.outside_copied[mark]:
                raise Violation(f"doubled: {name}, stands {counts[mark]} times")
            if there and not counts[mark] and mark not in deleted | self.overwritten:
                if cells.get(mark) in removed and mark in self.logged:
                    continue  # it was there when its cell was removed: removal wins
                raise Violation(f"lost: {name}")
            if not there and counts[mark]:
                self.unreverted += 1


def simulate_disk(seed: int, profile: str) -> DiskWorld:
    """Run one world with a disk; raises :class:`Violation`."""
    world = DiskWorld(seed, DISK_PROFILES[profile])
    world.run()
    return world
