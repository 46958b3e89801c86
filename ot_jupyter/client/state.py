"""The client's side of one document: a pure state machine. Messages in, messages out; no socket,
no clock.

    confirmed ──(pending[0], in flight)──(pending[1:], waiting)──> document

``confirmed`` is the server's state at ``head``; ``document`` is what the user sees. One change is
in flight at a time; what is typed meanwhile is composed into the next one. An entry that comes is
either the acknowledgement of what is in flight, or somebody else's: then pending is transformed
over it, and it over pending.

After any break the client opens the document again with the states it can go back to. The server
answers with the entries since one of them, or, if it knows none, with the whole document: then the
client *rebases* (see :meth:`ClientDocument._rebase`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..transforms import (
    Cell,
    Change,
    Document,
    Refused,
    apply,
    check_change,
    compose,
    invert,
    is_notebook,
    segments,
    transform_changes,
)
from ..transforms.diff import diff
from ..transforms.values import Operation
from .undo import Undo

_WORD = re.compile(r"\w+|\W")
KNOWN = 500  # confirmed entries that the client can take back
COMPOSED = 1000  # operations in one change, after that a new one begins
LOST = "the log that had it is gone: whether it ran is not known"


class Head(NamedTuple):
    """A state's name."""

    rev: int
    hash: str


@dataclass(slots=True)
class Pending:
    """A change that is not acknowledged. Once it was sent its number and meaning stand."""

    n: int
    ops: Change
    sent: bool = False


@dataclass(frozen=True, slots=True)
class Recent:
    """A confirmed entry that can be taken back: the state before it, and how to get there."""

    before: Head
    n: int  # the own number; 0: somebody else's
    ops: Change
    inverse: Change


@dataclass(frozen=True, slots=True)
class Conflict:
    """What had no place any more: a cell that somebody removed while text of ours was on its way
    into it, or brought back while we did. ``cell`` is the cell as we saw it."""

    id: str
    cell: dict[str, Any]


@dataclass(slots=True)
class Events:
    """What the state machine tells. ``change``: operations that take the document from what it was
    to what it is, and whose they are (``"local"``, ``"remote"``). ``entered``: an entry of the log,
    as it is there, and our number for it (0: somebody else's); ``whole``: the log could not tell
    how it went on, the document came whole; ``cancelled``: the runs that our change of that number
    asked for will not be asked for, or are not to be heard of any more: why, by code and in
    words."""

    change: Callable[[Change, str], None] = lambda ops, origin: None
    conflict: Callable[[Conflict], None] = lambda conflict: None
    refused: Callable[[dict[str, Any]], None] = lambda error: None
    acknowledged: Callable[[int, Head], None] = lambda n, head: None
    entered: Callable[[int, Change], None] = lambda n, ops: None
    whole: Callable[[], None] = lambda: None
    cancelled: Callable[[int, str, str], None] = lambda n, code, why: None


@dataclass(slots=True)
class ClientDocument:
    """See the module. Call :meth:`outgoing` after each call that may have something to send."""

    path: str
    client: str
    events: Events = field(default_factory=Events)
    doc: str = ""
    kind: str | None = None
    epoch: str = ""
    head: Head = field(default_factory=lambda: Head(0, ""))
    confirmed: Document = field(default_factory=dict)
    document: Document = field(default_factory=dict)
    pending: list[Pending] = field(default_factory=list)
    recent: list[Recent] = field(default_factory=list)
    undo_stack: Undo = field(default_factory=Undo)
    live: bool = False  # the server follows us on this connection
    must_open: bool = True
    in_flight: bool = False
    read_only: bool = False
    next_n: int = 1
    server_n: int = 0  # the last of our numbers that the server has

    # What goes out.

    def outgoing(self) -> dict[str, Any] | None:
        """The next message to send, or None. Call again until it is None."""
        if self.must_open:
            self.must_open = False
            return self._open()
        if not self.live or self.in_flight or not self.pending:
            return None
        first = self.pending[0]
        if self.read_only and not only_runs(first.ops):
            return None
        first.sent = self.in_flight = True
        message = {
            "type": "submit", "doc": self.doc, "n": first.n, "base": self.head.rev,
            "hash": self.head.hash, "ops": first.ops,
        }  # fmt: skip
        if first.n != self.server_n + 1:
            message["skip"] = True
        return message

    def _open(self) -> dict[str, Any]:
        message: dict[str, Any] = {"type": "open", "path": self.path, "client": self.client}
        if self.kind is not None:
            message["kind"] = self.kind
        if self.epoch:
            known = [self.head, *(one.before for one in reversed(self.recent))]
            message["epoch"] = self.epoch
            message["known"] = [list(head) for head in known]
        return message

    def disconnected(self) -> None:
        """The connection is gone. What is pending stays; runs asked for and not sent do not."""
        self.live = self.in_flight = False
        self.must_open = True
        for one in list(self.pending):
            if not one.sent:
                self._cancel(one, "offline", "the connection broke before it was asked for")

    def _cancel(self, pending: Pending, code: str, why: str) -> None:
        """Do not ask for the runs of a pending change."""
        ops = without_runs(pending.ops)
        if len(ops) == len(pending.ops):
            return
        pending.ops = ops
        if not ops:
            self.pending.remove(pending)
        self.events.cancelled(pending.n, code, why)

    # What the user does.

    def edit(self, ops: Change, *, undoable: bool = True, of: str = "edit") -> None:
        """Change the document now; it is sent when it can be.

        Raises :class:`Refused`, and does nothing, if the operations are not well-formed or do not
        fit the document as it is seen.
        """
        check_change(ops, notebook=is_notebook(self.document), from_client=True)
        after = apply(self.document, ops)  # first: it refuses what does not fit
        inverse = invert(self.document, ops)
        self.document = after
        if undoable:
            self.undo_stack.record(inverse, of=of)
        last = self.pending[-1] if self.pending else None
        if last is None or last.sent or len(last.ops) >= COMPOSED or _ends_with_run(last.ops):
            self.pending.append(Pending(self.next_n, list(ops)))
            self.next_n += 1
        else:
            last.ops = compose(last.ops, ops)
            if _replaces_a_cell(last.ops):
                # Removed and, by undo, there again: what others type in it must not die for that.
                ops = ops + self._simplify(last)
        self.events.change(ops, "local")

    def _simplify(self, pending: Pending) -> Change:
        """Have the last pending change say only what differs. What the kernel wrote meanwhile in a
        cell that we removed and brought back stays the kernel's: returned is what this changes in
        the document that is seen."""
        before = self._before(pending)
        runs = pending.ops[len(without_runs(pending.ops)) :]
        ops = diff(before, self.document)
        pending.ops = [one for one in ops if not _is_kernels(one)] + runs
        if len(pending.ops) == len(ops) + len(runs):
            return []
        seen, self.document = self.document, apply(before, pending.ops)
        restored = diff(seen, self.document)
        self.undo_stack.foreign(restored)
        return restored

    def _before(self, pending: Pending) -> Document:
        """The document before a pending change."""
        document = self.confirmed
        for one in self.pending:
            if one is pending:
                break
            document = apply(document, one.ops)
        return document

    def undo(self) -> bool:
        """Take one's own last change back; False if there is none."""
        return self._step(self.undo_stack.undo, "undo")

    def redo(self) -> bool:
        """Take one's own last undo back; False if there is none."""
        return self._step(self.undo_stack.redo, "redo")

    def _step(self, stack: list[Change], of: str) -> bool:
        while stack:
            ops = stack.pop()
            if not ops:
                continue  # others have removed all that it was about
            try:
                self.edit(ops, of=of)
            except Refused:
                continue
            return True
        return False

    # What comes in.

    def receive(self, message: dict[str, Any]) -> None:
        """Take a message of the server about this document."""
        kind = message["type"]
        if kind == "opened":
            self._opened(message)
        elif kind == "entries":
            self._entries(message)
        elif kind == "repeated":
            self._repeated(message)
        elif kind == "resync":
            self._reopen()
        elif kind == "error":
            self._error(message)
        elif kind == "renamed":
            self.path = message["path"]

    def _reopen(self) -> None:
        """Open again. While an ``open`` is not answered this does nothing: what is said meanwhile
        is about the place in the stream that we gave up, and a second answer would speak of a
        state that we have left by then."""
        if self.live:
            self.live = self.in_flight = False
            self.must_open = True

    def _opened(self, message: dict[str, Any]) -> None:
        self.doc, self.kind = message["doc"], message["kind"]
        self.path = message["path"]
        self.read_only = not message.get("write", True)
        self.server_n = message["n"]
        entries = message["entries"]
        if "document" not in message:
            if message["since"] < self.head.rev:
                self._take_back(message["since"])
        else:
            if self.epoch or self.pending:
                self._rebase(message["document"], message["epoch"] == self.epoch, entries)
            else:
                self.confirmed = self.document = message["document"]
            self.head = Head(message["since"], "")
            self.epoch = message["epoch"]
            self.events.whole()
        for entry in entries:
            self._enter(entry)
        self.head = Head(message["rev"], message["hash"])
        self.epoch = message["epoch"]
        self.next_n = max(self.next_n, message["n"] + 1)
        self.live, self.in_flight = True, False

    def _entries(self, message: dict[str, Any]) -> None:
        if not self.live:
            return  # of a place in the stream that we have given up
        before = Head(message["from"] - 1, message["prev"])
        ahead = before.rev > self.head.rev
        if (
            ahead
            or message["epoch"] != self.epoch
            or (before.rev == self.head.rev and before.hash != self.head.hash)
        ):
            self._reopen()
            return
        for entry in message["entries"]:
            if entry["rev"] > self.head.rev and self.live:
                self._enter(entry)

    def _repeated(self, message: dict[str, Any]) -> None:
        """The server has our number already, and we do not know where: look at the log again."""
        if self.pending and self.pending[0].n == message["n"]:
            self._reopen()

    def _error(self, message: dict[str, Any]) -> None:
        n = message.get("n")
        if n is not None and not message.get("taken"):
            if message["code"] == "forbidden":
                self._forbidden(n, message["message"])
            else:
                self._reopen()
        self.events.refused(message)

    def _forbidden(self, n: int, why: str) -> None:
        """What is in flight is not permitted: perhaps only to run cells, so try it without."""
        self.in_flight = False
        first = self.pending[0] if self.pending else None
        if first is not None and first.n == n and _ends_with_run(first.ops):
            self._cancel(first, "forbidden", why)
        else:
            self.read_only = True

    # Entries.

    def _enter(self, entry: dict[str, Any]) -> None:
        """Take the entry after the head."""
        n = entry["n"]
        own = "client" not in entry or entry["client"] == self.client
        index = next((i for i, one in enumerate(self.pending) if one.n == n), None) if own else None
        if "ops" not in entry and index is None:  # an acknowledgement of we know not what
            self._reopen()
            return
        ops: Change = entry["ops"] if "ops" in entry else self.pending[index or 0].ops
        state = self.confirmed
        self.recent.append(Recent(self.head, n if own else 0, ops, invert(state, ops)))
        del self.recent[:-KNOWN]
        self.confirmed = apply(state, ops)
        self.head = Head(entry["rev"], entry["hash"])
        if own:
            self.server_n = max(self.server_n, n)
            self.next_n = max(self.next_n, n + 1)
        if index is None:
            self._foreign(ops, self.pending)
        else:
            self._own(state, index, ops)
            self.in_flight = False
            self.events.acknowledged(n, self.head)
        self.events.entered(n if own else 0, ops)

    def _own(self, state: Document, index: int, ops: Change) -> None:
        """Our pending change ``index`` is in the log as ``ops``, made for ``state``."""
        earlier, twin, rest = (
            self.pending[:index], self.pending[index], self.pending[index + 1 :],
        )  # fmt: skip
        self.pending = earlier + rest
        for one in earlier:
            seen_before = one.ops
            one.ops, ops = transform_changes(seen_before, ops, later=True)
            state = apply(state, seen_before)
        if ops != twin.ops:
            # It is there in another form (a rebase, a refusal): take ours back, put that there.
            self._foreign(invert(state, twin.ops) + ops, rest)

    def _foreign(self, ops: Change, pending: list[Pending]) -> None:
        """Somebody else's change, made for the state before ``pending`` (the tail of what is
        pending): pending goes over it, and it over pending into the document."""
        self._save_conflicts(ops, pending)
        for one in pending:
            for lost in _dying(ops, one.ops):
                self.undo_stack.died(lost)
            one.ops, ops = transform_changes(one.ops, ops, later=True)
        if not ops:
            return
        self.document = apply(self.document, ops)
        self.undo_stack.foreign(ops)
        self.events.change(ops, "remote")

    def _save_conflicts(self, ops: Change, pending: list[Pending]) -> None:
        """Keep the cells that ``ops`` removes while text of ours is on its way into them, and
        those that it brings back, with another text, while we do too."""
        for cell_id in _removed(ops):
            cell = self.document["cells"].get(cell_id)
            if cell is not None and any(_types_in(one.ops, cell_id) for one in pending):
                self.events.conflict(Conflict(cell_id, cell))
        for cell_id, theirs in _added(ops).items():
            cell = self.document["cells"].get(cell_id)
            ours = cell is not None and any(cell_id in _added(one.ops) for one in pending)
            if cell is not None and ours and cell["source"] != theirs["source"]:
                self.events.conflict(Conflict(cell_id, cell))

    # Breaks.

    def _take_back(self, rev: int) -> None:
        """Go back to revision ``rev`` of what is confirmed: foreign entries after it are taken
        back, our own become pending again under their old numbers."""
        count = self.head.rev - rev
        recent, self.recent = self.recent[-count:], self.recent[:-count]
        without: Change = []  # from the confirmed state to that one without foreign entries
        own: list[Pending] = []
        for one in recent:
            if one.n:
                self._save_conflicts(without, [Pending(one.n, one.ops)])
                ops, without = transform_changes(one.ops, without, later=True)
                if _ends_with_run(ops):  # it may have run: it must not run twice
                    ops = without_runs(ops)
                    self.events.cancelled(one.n, "lost", LOST)
                own.append(Pending(one.n, ops, sent=True))
            else:
                without = one.inverse + without
        for one in reversed(recent):
            self.confirmed = apply(self.confirmed, one.inverse)
        self.head = recent[0].before
        self._foreign(without, self.pending)
        self.pending[:0] = own

    def _rebase(self, snapshot: Document, same_log: bool, entries: list[dict[str, Any]]) -> None:
        """Go over to a state that the server can only give whole; ``entries`` follow it.

        First our own entries that it may lack become pending again: in the same log those that
        the server does not have or that are among ``entries``, in a new one those after the state
        of ours that is nearest to the snapshot (a new log begins with the file, which is some
        state of the old one). What of pending the snapshot has is confirmed. The rest goes over
        the difference as over an entry.
        """
        coming = {one["n"] for one in entries if one["client"] == self.client}
        if same_log:
            lost = (
                one.before.rev
                for one in self.recent
                if one.n and (one.n > self.server_n or one.n in coming)
            )
            back, there = min(lost, default=self.head.rev), 0
        else:
            for pending in list(self.pending):
                self._cancel(pending, "lost", LOST)
            back, there = self._nearest(snapshot)
        if back < self.head.rev:
            self._take_back(back)
        there = max(there, self._known_to_server(coming))
        state = self.confirmed
        for one in self.pending[:there]:
            state = apply(state, one.ops)
        self._save_unseen(self.pending[:there], snapshot)
        del self.pending[:there]
        self._foreign(diff(state, snapshot), self.pending)
        self.confirmed = snapshot
        self.recent.clear()

    def _save_unseen(self, sent: list[Pending], snapshot: Document) -> None:
        """Keep the cells that we typed in, if what became of it was not seen here and the snapshot
        lacks it: the cell may have been removed before, and have come back since."""
        for cell_id, typed in _typed(sent).items():
            theirs, cell = snapshot["cells"].get(cell_id), self.document["cells"].get(cell_id)
            lacking = theirs is None or any(text not in theirs["source"] for text in typed)
            if cell is not None and lacking:
                self.events.conflict(Conflict(cell_id, cell))

    def _known_to_server(self, coming: set[int]) -> int:
        """How many of the first pending changes the server has, but not among those coming."""
        count = 0
        for one in self.pending:
            if one.n > self.server_n or one.n in coming:
                break
            count += 1
        return count

    def _nearest(self, snapshot: Document) -> tuple[int, int]:
        """Which state of ours differs least from the snapshot, the newest of them: the revision
        to take back to, and how many pending changes are in it. (What was sent may have been
        committed, and saved, without our hearing of it.)"""
        measure = _Distance(snapshot)
        states = [self.confirmed]
        for one in self.pending:
            if not one.sent:
                break
            states.append(apply(states[-1], one.ops))
        there = min(range(len(states) - 1, -1, -1), key=lambda count: measure(states[count]))
        least, back, state = measure(states[there]), self.head.rev, self.confirmed
        for recent in reversed(self.recent):
            if least == (0, 0):
                break
            state = apply(state, recent.inverse)
            distance = measure(state)
            if distance < least:
                least, back, there = distance, recent.before.rev, 0
        return back, there


class _Distance:
    """How far a state is from a snapshot that began as some state of the same history: first what
    the snapshot has and the state lacks, then what it lacks, both in characters of words.

    The states before the one that it began with lack more of it; those after it have more that it
    lacks. In this order, what others took away meanwhile does not make an older state look nearer.
    Words are compared as bags, not by a diff: a text that was rewritten since would count as all
    new. Cells are measured once: the states of a history share most of them.
    """

    def __init__(self, snapshot: Document) -> None:
        self.snapshot = snapshot
        self.words = {key: _words(cell["source"]) for key, cell in _texts(snapshot).items()}
        self.measured: dict[tuple[str, int], tuple[int, int]] = {}
        self.kept: list[Any] = []  # an id() stands for an object only while that lives

    def __call__(self, document: Document) -> tuple[int, int]:
        texts = _texts(document)
        lacks = sum(1 + words.total() for key, words in self.words.items() if key not in texts)
        more = 0
        for key, cell in texts.items():
            name = (key, id(cell))
            if name not in self.measured:
                self.kept.append(cell)
                self.measured[name] = self._measure(key, cell)
            lacks += self.measured[name][0]
            more += self.measured[name][1]
        if is_notebook(document):
            common = [key for key in document["order"] if key in self.words]
            other_common = [key for key in self.snapshot["order"] if key in texts]
            more += sum(a != b for a, b in zip(common, other_common, strict=True))
            more += int(document["metadata"] != self.snapshot["metadata"])
        return lacks, more

    def _measure(self, key: str, cell: dict[str, Any]) -> tuple[int, int]:
        words = _words(cell["source"])
        if key not in self.words:
            return 0, 1 + words.total()
        other = _texts(self.snapshot)[key]
        differ = sum(cell.get(field) != other.get(field) for field in ("cell_type", "metadata"))
        return (self.words[key] - words).total(), (words - self.words[key]).total() + differ


def _texts(document: Document) -> dict[str, Any]:
    """What has a source, by id; a text file is one such thing."""
    return document["cells"] if is_notebook(document) else {"": document}


def _words(text: str) -> Counter[str]:
    """How often each word and each other character stands in a text, times its length."""
    words = Counter(_WORD.findall(text))
    for word in words:
        words[word] *= len(word)
    return words


def _ends_with_run(ops: Change) -> bool:
    return bool(ops) and ops[-1]["op"] == "run"


def only_runs(ops: Change) -> bool:
    """Whether a change only asks for runs: that is no writing."""
    return bool(ops) and ops[0]["op"] == "run"


def without_runs(ops: Change) -> Change:
    """What a change does besides asking for runs."""
    return [one for one in ops if one["op"] != "run"]


def _is_kernels(operation: Operation) -> bool:
    """Whether an operation is one that only the server may write."""
    where = segments(operation["path"])
    if operation["op"] == "edit" and where[2:] == ("outputs",):
        return not all(isinstance(part, int) for part in operation["delta"])
    return where[0] == "kernel" or where[2:3] == ("execution",)


def _removed(ops: Change) -> list[str]:
    """The cells that a change removes (even if it adds them again: what was typed is gone)."""
    return [segments(one["path"])[1] for one in ops if one["op"] == "remove" and "index" in one]


def _added(ops: Change) -> dict[str, Cell]:
    """The cells that a change adds, by their ids."""
    adds = (one for one in ops if one["op"] == "add" and "index" in one)
    return {segments(one["path"])[1]: one["value"] for one in adds}


def _replaces_a_cell(ops: Change) -> bool:
    added = {one["path"] for one in ops if one["op"] == "add"}
    return any(one["path"] in added for one in ops if one["op"] == "remove")


def _typed(changes: list[Pending]) -> dict[str, list[str]]:
    """The texts that changes insert into cells, by cell."""
    found: dict[str, list[str]] = {}
    for operation in (op for one in changes for op in one.ops):
        where = segments(operation["path"])
        if operation["op"] == "edit" and where[0] == "cells" and where[2] == "source":
            texts = [part for part in operation["delta"] if isinstance(part, str)]
            found.setdefault(where[1], []).extend(texts)
    return found


def _types_in(ops: Change, cell_id: str) -> bool:
    path = f"/cells/{cell_id}/source"
    return any(
        one["op"] == "edit"
        and one["path"] == path
        and any(isinstance(part, str) for part in one["delta"])
        for one in ops
    )


def _dying(foreign: Change, own: Change) -> list[Operation]:
    """The writes of a foreign change in cells that our own change removes, and the moves of those
    cells, as they would be just before each removal."""
    lost: list[Operation] = []
    for index, one in enumerate(own):
        if one["op"] == "remove" and "index" in one:
            cell = segments(one["path"])
            _, there = transform_changes(own[:index], foreign, later=True)
            lost += [
                other
                for other in there
                if other["op"] not in ("run", "test")
                and ("index" not in other or other["op"] == "move")
                and segments(other["path"])[:2] == cell
            ]
    return lost
