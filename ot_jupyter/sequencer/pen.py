"""The pen: what writes one document's log. Decisions only, no I/O, no clock.

A submission waits in the queue. :meth:`Pen.work` makes one attempt after another: take what
waits, drop repeats, transform each over what its author had not seen, check and evaluate it on a
draft, ask the log to append all of it in one step. Only when the log says yes does anything
become true: state, verdicts, broadcast. If the log says that it moved, the draft and every verdict
in it are thrown away, and the next attempt starts from the originals.

``work`` is a generator: it yields requests to the log and is sent their results. The server runs
it over a real log, the simulation in ``tests/fuzz`` over one that loses, delays and forks.

The log may also be *behind* the pen (it lost its tail: the pen appends it again, the same bytes),
on *another branch* (a fail-over: the pen carries its own branch's entries over to the other), or
*gone* (the pen puts it back).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

import orjson

from ..transforms import (
    Change,
    Document,
    Operation,
    Refused,
    apply,
    transform_change,
    transform_changes,
)
from ..transforms.invert import invert
from ..transforms.jsonpatch import test_holds
from ..transforms.pointer import Segments, pointer
from ..transforms.values import Json
from .entry import NOTHING_SEEN, Entry, Head, Seen, Snapshot, advance, chain, fold_seen, judge
from .entry import make_entry as _make_entry
from .log import Appended, DocumentRef, Loaded, Moved, NotAppended, Outcome
from .runs import AUTHOR, batch_name, queue_runs

ABSENT: Final = object()  # expected where nothing may be
PRESENT: Final = object()  # expected where anything may be, but not nothing
Expected: TypeAlias = tuple[Segments, Json]  # a place in the document, and what is there


@dataclass(frozen=True, slots=True)
class Accepted:
    """The submission is in the log, durable, at ``head.rev``."""

    head: Head
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Rejected:
    """The submission is not carried out. ``taken``: its number was used up by an entry without
    operations, so that a late duplicate is a repeat."""

    code: str
    message: str
    pointer: str = ""
    taken: bool = False


Verdict = Accepted | Rejected


class Submission(NamedTuple):
    """A change on its way into the log. ``ops`` have passed ``check_change``; they may hold
    ``test`` operations (from REST), which are evaluated at their place and not logged.

    ``consume``: if it is refused, its number is taken all the same (see :class:`Rejected`).
    ``strict``: it is rejected (``moved``) unless its base is the head when its turn comes.
    ``expects``: values that the document must have at places (JSON Pointers, by their parts; or
    ``ABSENT``, or ``PRESENT``) when its turn comes, else it is rejected (``unexpected``).
    ``waits``: it lets those that don't go first: what people type, before what kernels put out.
    ``answer`` is called once, on the event loop, when the verdict stands.
    """

    client: str
    n: int
    base: Head  # the state that its author saw
    ops: Change
    user: str
    answer: Callable[[Verdict], None]
    skip: bool = False
    digest: str = ""
    consume: bool = True
    strict: bool = False
    expects: tuple[Expected, ...] = ()
    waits: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """What one document may cost. Counts, bytes and seconds."""

    window_entries: int = 1000  # kept in memory, for late submissions, resumes and repair
    window_bytes: int = 8 * 2**20
    batch: int = 256  # submissions in one append
    transform_steps: int = 500_000  # operations times entries, for one submission
    document_bytes: int = 512 * 2**20


STRETCHES = 4  # of a full window


# Requests to the log.


class Append(NamedTuple):
    """``Log.append``; with no entries it only compares the heads. Result: an ``Outcome``."""

    head: Head
    entries: list[Entry]


class Read(NamedTuple):
    """``Log.read``. Result: entries."""

    since: int


class Load(NamedTuple):
    """``Log.load``. Result: ``Loaded`` or None."""


class Restore(NamedTuple):
    """``Log.restore``. Result: bool."""

    loaded: Loaded


Request = Append | Read | Load | Restore
Work = Generator[Request, Any, None]


@dataclass(slots=True)
class _Draft:
    """What an attempt would make true."""

    document: Document
    head: Head
    time: str
    entries: list[Entry] = field(default_factory=list)
    seen: dict[str, Seen] = field(default_factory=dict)
    verdicts: list[tuple[Submission, Verdict]] = field(default_factory=list)


class Carried(NamedTuple):
    """An entry of a lost branch on its way into the log again, with its author's names."""

    entry: Entry
    ops: Change


class Resumed(NamedTuple):
    """How a client gets current: it has, or goes back to, the state at ``since`` and applies
    ``entries``. Where it has none that we know, ``document`` is that state."""

    since: int
    entries: list[Entry]
    document: Document | None


class Pen:
    """One document's authority in one process. See the module."""

    def __init__(
        self,
        loaded: Loaded,
        limits: Limits,
        *,
        now: Callable[[], str],
        on_entries: Callable[[list[Entry]], None],
        on_branch: Callable[[], None],
    ) -> None:
        """``now`` gives UTC in ISO 8601. ``on_entries`` hears of entries that became true here,
        ``on_branch`` that clients hold a branch that is no more: they must resume."""
        self.limits = limits
        self.now = now
        self.on_entries = on_entries
        self.on_branch = on_branch
        self.queue: list[Submission] = []
        self.arrived: list[Entry] = []
        self.carried: list[Carried] = []
        self.uncertain = False  # an append may or may not have happened: look before the next
        self.asked = False  # somebody wants to be sure that we are in step with the log
        self.gone = False  # the document is not in the store any more, under another id perhaps
        self.retries = 0
        self.steps = 0  # transforms made, for the metrics
        self._adopt(loaded)

    def _adopt(self, loaded: Loaded) -> None:
        """Take the log's word for everything."""
        self.ref: DocumentRef = loaded.ref
        self.floor = loaded.floor  # of the log
        self.window = list(loaded.entries)
        self.window_floor: Head = loaded.snapshot.head
        # States inside the window, the oldest first, to reach later ones from. They share what
        # they have in common.
        self.anchors = [loaded.snapshot]
        self.window_bytes = sum(len(entry.body) for entry in self.window)
        self.seen = dict(loaded.seen)
        self.head: Head = loaded.head
        document = loaded.snapshot.document
        for entry in self.window:
            document = apply(document, entry.ops)
        self.document: Document = document
        self._since_anchor = self.window_bytes  # bytes of entries after the newest anchor
        self._size = 0  # bytes of the document's JSON at the most; 0: to be measured

    # What others ask.

    def submit(self, submission: Submission) -> None:
        """Put a submission into the queue."""
        self.queue.append(submission)

    def ask(self) -> None:
        """Have ``work`` compare the own head with the log's."""
        self.asked = True

    def arrive(self, entries: list[Entry]) -> None:
        """Note entries that the log told of; ``work`` takes them up."""
        self.arrived += entries

    @property
    def idle(self) -> bool:
        """Whether ``work`` has nothing to do."""
        return not (self.queue or self.arrived or self.carried or self.uncertain or self.asked)

    def entries_after(self, rev: int) -> list[Entry]:
        """The entries after a revision of the window."""
        return self.window[rev - self.window_floor.rev :]

    def hash_at(self, rev: int) -> str | None:
        """The hash of a revision in the window."""
        if rev == self.window_floor.rev:
            return self.window_floor.hash
        index = rev - self.window_floor.rev - 1
        return self.window[index].hash if 0 <= index < len(self.window) else None

    @property
    def anchor(self) -> Snapshot:
        """The oldest state whose document is known."""
        return self.anchors[0]

    def document_at(self, rev: int) -> Document | None:
        """The document at a revision that can be reached from an anchor."""
        if rev == self.head.rev:
            return self.document
        if not self.anchor.rev <= rev < self.head.rev:
            return None
        anchor = next(one for one in reversed(self.anchors) if one.rev <= rev)
        document = anchor.document
        for entry in self.entries_after(anchor.rev)[: rev - anchor.rev]:
            document = apply(document, entry.ops)
        return document

    def changes_since(self, rev: int) -> tuple[Document, Change] | None:
        """The document at a revision and the operations since, if both are at hand."""
        document = self.document_at(rev)
        if document is None:
            return None
        return document, [op for entry in self.entries_after(rev) for op in entry.ops]

    def resume(self, epoch: str, known: list[Head]) -> Resumed:
        """How a client gets current that knows these states of that epoch, the newest first.

        One that comes with states we do not know gets the oldest document that we have and all
        entries since: it can tell its own entries among them, and the older the state, the surer
        it finds among its own the one that this log began with.
        """
        if epoch == self.ref.epoch:
            for head in known:
                if self.hash_at(head.rev) == head.hash:
                    return Resumed(head.rev, self.entries_after(head.rev), None)
        if not epoch:
            return Resumed(self.head.rev, [], self.document)
        anchor = self.anchor
        return Resumed(anchor.rev, self.entries_after(anchor.rev), anchor.document)

    def last_number(self, client: str) -> int:
        """The highest number of the client that is in the log."""
        return self.seen.get(client, NOTHING_SEEN).n

    def trim_window(self) -> None:
        """Keep the window near its bounds: it loses whole stretches, up to an anchor, so that no
        document has to be made for its new beginning."""
        limits = self.limits
        if (
            self.head.rev - self.anchors[-1].rev >= limits.window_entries // STRETCHES
            or self._since_anchor >= limits.window_bytes // STRETCHES
        ):
            self.anchors.append(Snapshot(self.head.rev, self.head.hash, self.document))
            self._since_anchor = 0
        for anchor in self.anchors:
            drop = anchor.rev - self.window_floor.rev
            enough = len(self.window) - drop >= limits.window_entries
            if not enough and self.window_bytes <= limits.window_bytes:
                return
            if drop:
                self.window_bytes -= sum(len(entry.body) for entry in self.window[:drop])
                self.window_floor = anchor.head
                self.anchors = [one for one in self.anchors if one.rev >= anchor.rev]
                del self.window[:drop]

    # What the pen does.

    def work(self) -> Work:
        """Take up what arrived, and commit what waits: one batch of it. Call it again while the
        pen is not idle. Ends early if a request raises (the log can't be reached): nothing is
        lost."""
        if self.uncertain or self.asked:
            self.uncertain, self.asked = True, False
            yield from self.look()
            self.uncertain = False
        yield from self._take_up_arrived()
        self.queue.sort(key=_turn)
        while not self.gone and (self.queue or self.carried):
            if self.carried:
                yield from self._append_carried()
                continue
            batch = self.queue[: self.limits.batch]
            yield from self._reach_bases(batch)
            draft = self._draft(batch)
            if draft.entries:
                self.uncertain = True  # until the log has answered
                outcome: Outcome = yield Append(self.head, draft.entries)
                self.uncertain = False
                if not isinstance(outcome, Appended):
                    self.retries += 1
                    yield from self._catch_up(outcome)
                    continue
            del self.queue[: len(batch)]
            self._commit(draft.entries, draft.document, draft.verdicts)
            break
        if self.gone:
            for submission in self.queue:
                submission.answer(Rejected("gone", "the document was replaced; open it again"))
            self.queue.clear()

    def look(self) -> Work:
        """Compare the own head with the log's, and get in step with it."""
        outcome: Outcome = yield Append(self.head, [])
        if not isinstance(outcome, Appended):
            yield from self._catch_up(outcome)

    def widen(self) -> Work:
        """Get the part of the log's window that is not in memory."""
        if self.floor < self.window_floor.rev:
            entries: list[Entry] = yield Read(self.floor)
            older = [entry for entry in entries if entry.rev <= self.window_floor.rev]
            # The entries end where the window begins, or the log was trimmed or moved meanwhile.
            if older and older[-1].head == self.window_floor:
                self.window[:0] = older[1:]
                self.window_bytes += sum(len(entry.body) for entry in older[1:])
                self.window_floor = older[0].head

    def _reach_bases(self, batch: list[Submission]) -> Work:
        if any(one.base.rev > self.head.rev for one in batch):
            yield from self.look()
        if any(self.floor <= one.base.rev < self.window_floor.rev for one in batch):
            yield from self.widen()

    def _take_up_arrived(self) -> Work:
        arrived, self.arrived = self.arrived, []
        for entry in arrived:
            if entry.rev <= self.head.rev:
                # Our own echo, or old news; or another branch, which looks the same from here.
                mine = self.hash_at(entry.rev)
                if mine is not None and mine != entry.hash:
                    yield from self.look()
            elif entry.rev == self.head.rev + 1 and self._follows(entry):
                self._commit([entry], apply(self.document, entry.ops))
            else:
                yield from self.look()

    def _follows(self, entry: Entry) -> bool:
        return chain(self.head.hash, entry.body) == entry.hash

    def _commit(
        self,
        entries: list[Entry],
        document: Document,
        verdicts: Iterable[tuple[Submission, Verdict]] = (),
    ) -> None:
        """Make entries true that the log has, and say so: first to who asked, then to all."""
        if entries:
            self.document = document
            self.head = entries[-1].head
            self.window += entries
            size = sum(len(entry.body) for entry in entries)
            self.window_bytes += size
            self._since_anchor += size
            if self._size:
                self._size += size
            fold_seen(self.seen, entries)
        for submission, verdict in verdicts:
            submission.answer(verdict)
        if entries:
            self.on_entries(entries)

    # An attempt.

    def _draft(self, batch: list[Submission]) -> _Draft:
        draft = _Draft(self.document, self.head, self.now())
        for submission in batch:
            draft.verdicts.append((submission, self._draft_one(draft, submission)))
        return draft

    def _draft_one(self, draft: _Draft, submission: Submission) -> Verdict:
        client = submission.client
        seen = draft.seen.get(client) or self.seen.get(client, NOTHING_SEEN)
        judgement = judge(seen, submission.n, submission.skip)
        if judgement == "repeat":
            if submission.digest != seen.digest:
                return Rejected("key_reused", "this Idempotency-Key came with another body before")
            return Accepted(self._head_of(draft, seen, submission), repeated=True)
        if judgement == "gap":
            return Rejected("gap", f"the last number of this client is {seen.n}", "/n")
        if submission.strict and submission.base != draft.head:
            return Rejected("moved", f"the document is at revision {draft.head.rev} now", "/base")
        for place, value in submission.expects:
            if not _is_at(draft.document, place, value):
                return Rejected("unexpected", f"{pointer(*place)} is another now", "/expects")
        if self.hash_at(submission.base.rev) != submission.base.hash:
            return Rejected(
                "unknown_base",
                f"the state {submission.base.etag} is not in the window from revision "
                f"{self.window_floor.rev} to {self.head.rev}: open the document again",
                "/base",
            )
        try:
            self._check_size(submission.ops)
            document, ops = self._evaluate(draft, submission)
        except Refused as refused:
            rejected = Rejected(
                refused.code, refused.message, "/ops" + refused.pointer, submission.consume
            )
            if submission.consume:
                self._add(draft, submission, [], draft.document)
            return rejected
        self._add(draft, submission, ops, document)
        accepted = Accepted(draft.head)
        if ops and ops[-1]["op"] == "run":
            self._queue_runs(draft, submission, ops)
        return accepted

    def _queue_runs(self, draft: _Draft, submission: Submission, ops: Change) -> None:
        """Let the runs that a change asked for follow it in the log, in the same append."""
        batch = batch_name(self.ref.epoch, submission.client, submission.n)
        queued = queue_runs(draft.document, ops, batch, submission.user, draft.time)
        if queued:
            client = submission.client + AUTHOR
            seen = draft.seen.get(client) or self.seen.get(client, NOTHING_SEEN)
            author = submission._replace(
                client=client, n=seen.n + 1, base=draft.head, skip=False, digest=""
            )
            self._add(draft, author, queued, apply(draft.document, queued))

    def _check_size(self, ops: Change) -> None:
        """Raise :class:`Refused` for a change that adds to a document which is too large.

        An entry adds no more than its own bytes, so the document is measured only when the sum of
        them says that it may be too large.
        """
        limit = self.limits.document_bytes
        if not self._size or self._size > limit:
            self._size = len(orjson.dumps(self.document))
        if self._size > limit and not all(map(_only_removes, ops)):
            raise Refused("too_large", f"the document has more than {limit} bytes")

    def _head_of(self, draft: _Draft, seen: Seen, submission: Submission) -> Head:
        """The state that a repeated submission made. If its entry left the window the hash is
        empty, and if it was not the client's last the revision is 0."""
        name = (submission.client, submission.n)
        for entry in (*reversed(draft.entries), *reversed(self.window)):
            if (entry.client, entry.n) == name:
                return entry.head
        return Head(seen.rev if submission.n == seen.n else 0, "")

    def _add(self, draft: _Draft, submission: Submission, ops: Change, document: Document) -> None:
        entry = _make_entry(
            draft.head, client=submission.client, n=submission.n, base=submission.base.rev,
            user=submission.user, time=draft.time, ops=ops,
            skip=submission.skip, digest=submission.digest,
        )  # fmt: skip
        seen = draft.seen.get(entry.client) or self.seen.get(entry.client, NOTHING_SEEN)
        draft.seen[entry.client] = advance(seen, entry)
        draft.entries.append(entry)
        draft.head = entry.head
        draft.document = document

    def _evaluate(self, draft: _Draft, submission: Submission) -> tuple[Document, Change]:
        """The document after the submission, and its operations as they go into the log."""
        ops = submission.ops
        missed = self.entries_after(submission.base.rev)
        if len(ops) * (len(missed) + len(draft.entries)) > self.limits.transform_steps:
            raise Refused(
                "too_far_behind",
                f"{len(ops)} operations over {len(missed)} entries: catch up, then submit",
            )
        for entry in (*missed, *draft.entries):
            if not ops:
                break
            ops = transform_change(ops, entry.ops, later=True)
            self.steps += 1
        if any(operation["op"] == "test" for operation in submission.ops):
            return _apply_with_tests(draft.document, ops, submission.ops)
        return apply(draft.document, ops), ops

    # When the log is not where the pen is.

    def _catch_up(self, outcome: Outcome) -> Work:
        """Get in step after the log said that it is not at our head."""
        while isinstance(outcome, Moved):
            if outcome.tail is not None:
                self._absorb(outcome.tail)
                return
            if outcome.head is None:
                if (yield Restore(self._whole())):
                    return
                yield from self._rejoin()
                return
            if outcome.head.rev < self.head.rev and (
                self.hash_at(outcome.head.rev) == outcome.head.hash
            ):
                # It lost its tail, and we have it: the same bytes again. The first one wins.
                again: Outcome = yield Append(outcome.head, self.entries_after(outcome.head.rev))
                if not isinstance(again, NotAppended):
                    # Done, or another server was first; where are we now?
                    outcome = yield Append(self.head, [])
                    continue
            break
        if not isinstance(outcome, Appended):
            yield from self._rejoin()

    def _absorb(self, tail: list[Entry]) -> None:
        document = self.document
        for entry in tail:
            document = apply(document, entry.ops)
        if self.carried:
            self.carried = carry_over(None, self.carried, tail)
        self._commit(tail, document)

    def _whole(self) -> Loaded:
        """All that the pen knows, for a store that lost it."""
        snapshot = Snapshot(self.head.rev, self.head.hash, self.document)
        return Loaded(self.ref, snapshot, list(self.window), self.window_floor.rev, self.seen)

    def _rejoin(self) -> Work:
        """The log is another branch: adopt it, and carry over what only ours has."""
        loaded: Loaded | None = yield Load()
        if loaded is None or loaded.ref.epoch != self.ref.epoch:
            self.gone = True
            return
        since = max(loaded.floor, min(self.window_floor.rev, loaded.snapshot.rev))
        entries: list[Entry] = yield Read(since)
        entries = [entry for entry in entries if entry.rev <= loaded.head.rev]
        theirs = [loaded.snapshot.head, *(entry.head for entry in entries)]
        common = max(
            (head.rev for head in theirs if self.hash_at(head.rev) == head.hash), default=None
        )
        losing = self.carried
        if common is not None:
            own = [Carried(entry, entry.ops) for entry in self.entries_after(common)]
            winners = [entry for entry in entries if entry.rev > common]
            losing = carry_over(self.document_at(common), own + self.carried, winners)
        self._adopt(loaded)
        self.carried = losing
        self.on_branch()

    def _append_carried(self) -> Work:
        entries: list[Entry] = []
        document, head = self.document, self.head
        seen = dict(self.seen)
        for entry, ops in self.carried:
            if judge(seen.get(entry.client, NOTHING_SEEN), entry.n, True) == "repeat":
                continue
            try:
                document = apply(document, ops)
            except Refused:  # can't be, if the rules hold; then its place stays empty
                ops = []
            again = _make_entry(
                head, client=entry.client, n=entry.n, base=head.rev, user=entry.user,
                time=entry.time, ops=ops, skip=True, digest=entry.digest,
            )  # fmt: skip
            fold_seen(seen, [again])
            entries.append(again)
            head = again.head
        self.uncertain = True
        outcome: Outcome = yield Append(self.head, entries)
        self.uncertain = False
        if isinstance(outcome, Appended):
            self.carried = []
            self._commit(entries, document)
        else:
            yield from self._catch_up(outcome)


def carry_over(
    common: Document | None, losing: list[Carried], winners: list[Entry]
) -> list[Carried]:
    """What a lost branch has and the winning one lacks, to be appended after the winners.

    Both branches start at ``common`` (None: not known any more). ``losing`` is sequential; so is
    the result. Entries of the losing branch that the winners have too, by ``(client, n)``, are
    dropped, and what followed them follows the winners' form of them.
    """
    for winner in winners:
        index = next(
            (
                i
                for i, one in enumerate(losing)
                if (one.entry.client, one.entry.n) == (winner.client, winner.n)
            ),
            None,
        )
        before = losing if index is None else losing[:index]
        moved, theirs = _all_over(before, winner.ops)
        if index is not None:
            rest = losing[index + 1 :]
            twin = losing[index].ops
            if theirs != twin and common is not None:
                # The winner is not what it was here: take ours back, put theirs in its place.
                state = common
                for one in before:
                    state = apply(state, one.ops)
                rest, _ = _all_over(rest, invert(state, twin) + theirs)
            moved += rest
        losing = moved
        if common is not None:
            common = apply(common, winner.ops)
    return losing


def _all_over(changes: list[Carried], other: Change) -> tuple[list[Carried], Change]:
    """Sequential changes over one, and that one over all of them. They are the later ones."""
    result = []
    for entry, ops in changes:
        over, other = transform_changes(ops, other, later=True)
        result.append(Carried(entry, over))
    return result, other


def _is_at(document: Document, place: Segments, value: Json) -> bool:
    found: Json = document
    for key in place:
        if type(found) is not dict or key not in found:
            return value is ABSENT
        found = found[key]
    return value is PRESENT or bool(found == value)


def _turn(submission: Submission) -> int:
    """Who goes first: what is only good for this very head, then the others as they came."""
    return 0 if submission.strict else 2 if submission.waits else 1


def _only_removes(operation: Operation) -> bool:
    if operation["op"] == "edit":
        return all(isinstance(part, int) for part in operation["delta"])
    return operation["op"] in ("remove", "move", "test")


def _apply_with_tests(
    document: Document, ops: Change, submitted: Change
) -> tuple[Document, Change]:
    """Apply, evaluating each ``test`` at its place; a failed one is refused by its index."""
    tests = [index for index, one in enumerate(submitted) if one["op"] == "test"]
    clean: Change = []
    for operation in ops:
        if operation["op"] != "test":
            document = apply(document, [operation])
            clean.append(operation)
            continue
        index = tests.pop(0)
        if not test_holds(document, operation):
            raise Refused("test_failed", "the value is another now", f"/{index}/value")
    return document, clean
