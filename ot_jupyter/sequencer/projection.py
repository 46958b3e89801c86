"""The file of a document: a projection of the log, and one more author. Decisions only, no I/O.

The store keeps the *image*, what was last seen on disk. It is the base for merging: what differs
between image and state was typed, what differs between image and file was written by others, and
both survive. A save is told to the store before it is made (an *attempt*), so that after a crash,
or from another server, our own save is not taken for somebody else's; only one is pending at a
time, and whoever finds one whose server does not go on resolves it first.

:meth:`Projection.work` is a generator, as the pen's: it yields requests to disk, store and log
and is sent their results. The server runs it over a real disk, the simulation in ``tests/fuzz``
over one where servers stall and crash between any two steps and others write whenever they like.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, NamedTuple, TypeVar

import orjson

from ..transforms import (
    Cell,
    Change,
    Document,
    Operation,
    Refused,
    is_notebook,
    segments,
    transform_changes,
)
from ..transforms.diff import adopt_ids, diff, diff_text
from ..transforms.notebook import document_notebook, notebook_document
from .entry import Head
from .log import Attempt, FileState, LogUnavailable
from .pen import ABSENT, PRESENT, Expected

LOOKS = 100  # at a file that changes while it is read
BUSY_SECONDS = 10.0  # so long another server's save is waited for
LATE_SECONDS = 5.0  # a save that was begun before then is given up by its own server
GONE_SECONDS = 2.0  # so long a vanished file may be on its way back
HALF_SECONDS = 2.0  # so long a file that looks half written may be written on
STILL_SECONDS = 0.1  # so long any foreign file must have been left alone
AGAIN_SECONDS = 0.05  # until the next look, where another server is at work

GONE = "the file was moved or deleted; the document goes on without it"

Stat = tuple[Any, ...]  # what changes when the file changes
T = TypeVar("T")


def project(document: Document) -> Document:
    """What of the document reaches its file."""
    if is_notebook(document):
        return notebook_document(document_notebook(document))
    return document


def digest_of(projection: Document) -> str:
    """A name for a file's content, whatever its bytes look like."""
    return blake2b(
        orjson.dumps(projection, option=orjson.OPT_SORT_KEYS), digest_size=16
    ).hexdigest()


@dataclass(frozen=True, slots=True)
class Image:
    """What was last seen on disk, with the document's ids of cells. ``aliases``: the ids that
    the file has instead, where others have stripped or renewed them, and the document's."""

    document: Document
    aliases: dict[str, str] = field(default_factory=dict)

    def pack(self) -> bytes:
        return orjson.dumps([self.document, self.aliases])

    @staticmethod
    def unpack(data: bytes) -> Image:
        return Image(*orjson.loads(data))


def as_image(found: Document, base: Image) -> Image:
    """What was found on disk, with the ids that its cells have in the image before."""
    same = adopt_ids(base.document, _renamed(found, base.aliases))
    if not is_notebook(found):
        return Image(same)
    pairs = zip(found["order"], same["order"], strict=True)
    return Image(same, {theirs: ours for theirs, ours in pairs if theirs != ours})


def _packed(found: Document, base: Image) -> tuple[Image, bytes]:
    image = as_image(found, base)
    return image, image.pack()


def is_nearer(found: Document, one: Image, other: Image) -> bool:
    """Whether ``found`` was rather made from ``one`` than from ``other``: whether less of it had to
    be made up."""
    pieces = _pieces(found)

    def distance(base: Image) -> tuple[int, int, int]:
        change = diff(base.document, as_image(found, base).document)
        # Pieces tell where cells are not known again, moved, renamed and edited as they are.
        strange = (pieces - _pieces(base.document)).total()
        return sum(map(_size_of_new, change)), strange, len(orjson.dumps(change))

    return distance(one) < distance(other)


def _pieces(document: Document) -> Counter[str]:
    """All that is typed in a document, in pieces of one and of three code points."""
    holders = document["cells"].values() if is_notebook(document) else [document]
    found = Counter[str]()
    for text in (holder["source"] for holder in holders):
        found.update(text)
        found.update(text[at : at + 3] for at in range(len(text) - 2))
    return found


def _size_of_new(op: Operation) -> int:
    """Bytes that an operation brings: what it takes away is no work."""
    if op["op"] == "edit":
        return sum(len(part.encode()) for part in op["delta"] if isinstance(part, str))
    return len(orjson.dumps(op["value"])) if "value" in op else 0


def _renamed(document: Document, names: dict[str, str]) -> Document:
    """The document with other ids of cells, where those are free."""
    if not names:
        return document
    new = {
        name: names[name] if name in names and names[name] not in document["cells"] else name
        for name in document["order"]
    }
    cells = {new[name]: cell for name, cell in document["cells"].items()}
    return {**document, "cells": cells, "order": [new[name] for name in document["order"]]}


def spare(base: Document, found: Document, document: Document) -> tuple[Document, Document]:
    """``base`` and ``found`` such that no cell takes along text that was written into it on the
    other side, by somebody who can't have known.

    A cell that others removed from the file while people typed in it stays, with what they typed.
    A cell that people removed while others wrote in it comes back as others left it. A cell that
    both brought back has both texts, what is equal in them once.
    """
    before, theirs, ours = base["cells"], found["cells"], document["cells"]
    for name in [one for one in base["order"] if one in ours and one not in theirs]:
        if _adds(before[name], ours[name]):
            emptied = {**before[name], "source": "", "outputs": []}
            found = _with_cell(found, name, emptied, base["order"])
    for name in [one for one in base["order"] if one in theirs and one not in ours]:
        if _adds(before[name], theirs[name]):
            base = _without_cell(base, name)
    for name in [one for one in document["order"] if one in theirs and one not in before]:
        common = {**ours[name], "source": _common(ours[name]["source"], theirs[name]["source"])}
        base = _with_cell(base, name, common, document["order"])
    return base, found


def _adds(before: Cell, after: Cell) -> bool:
    return any(isinstance(part, str) for part in diff_text(before["source"], after["source"]))


def _common(old: str, new: str) -> str:
    """What is equal in two texts."""
    kept, at = "", 0
    for part in diff_text(old, new):
        if isinstance(part, int):
            kept += old[at : at + part] if part > 0 else ""
            at += abs(part)
    return kept + old[at:]


def _without_cell(document: Document, name: str) -> Document:
    cells = {one: cell for one, cell in document["cells"].items() if one != name}
    return {**document, "cells": cells, "order": [one for one in document["order"] if one != name]}


def _with_cell(document: Document, name: str, cell: Cell, order: list[str]) -> Document:
    """The document with one cell more, behind those that it follows in ``order``."""
    before = order[: order.index(name)]
    mine = list(document["order"])
    at = max((mine.index(one) + 1 for one in before if one in document["cells"]), default=0)
    mine.insert(at, name)
    return {**document, "cells": {**document["cells"], name: cell}, "order": mine}


def _removed(ops: Change) -> set[str]:
    return {segments(op["path"])[1] for op in ops if op["op"] == "remove" and "index" in op}


class Past(NamedTuple):
    """A state that the document had, and all that was done to it since."""

    document: Document
    ops: Change


def merge(base: Document, found: Document, document: Document, past: Past | None) -> Change:
    """What a file's new content changes of a document that has changed too since its base.
    ``past`` is the document when ``base`` was on disk: what was typed since is known exactly then,
    and has not to be guessed by comparing texts."""
    origin = base
    if is_notebook(document):
        base, found = spare(base, found, document)
    theirs = diff(base, found)
    if not theirs:
        return []
    ours = diff(base, document)
    if past is not None:
        exact = diff(origin, past.document) + past.ops
        removed = _removed(exact)
        # Not where a cell was removed that is here or there: what others wrote in it would die
        # for that, though it was brought back.
        if removed & (document.get("cells", {}).keys() | found.get("cells", {}).keys()):
            kept = base["cells"].keys() & document["cells"].keys() & origin["cells"].keys()
            ours = _with_ops_of(kept - removed, exact, ours)
        elif base is origin:
            ours = exact
    change, _ = transform_changes(theirs, ours, later=True)
    return change


def expected_by(change: Change, document: Document) -> tuple[Expected, ...]:
    """What must still be so when a merged change is committed. Text that is typed meanwhile into a
    cell that it removes, a cell that is brought back with the id of one that it adds, and what it
    writes into a cell that is removed would be lost to the rules of the algebra; merged once more,
    all are spared."""
    expects: list[Expected] = []
    for op in change:
        cell = segments(op["path"])
        if op["op"] == "add":
            expects.append((cell, ABSENT))
        elif op["op"] == "remove" and "index" in op and cell[1] in document["cells"]:
            expects.append(((*cell, "source"), document["cells"][cell[1]]["source"]))
        elif op["op"] == "edit" and cell[0] == "cells":
            expects.append((cell[:2], PRESENT))
    return tuple(expects)


def _with_ops_of(cells: set[str], exact: Change, ours: Change) -> Change:
    """``ours``, with what is done inside these cells as it is in ``exact``."""

    def inside(op: Operation) -> bool:
        names = segments(op["path"])
        return names[0] == "cells" and len(names) > 2 and names[1] in cells

    return [op for op in ours if not inside(op)] + [op for op in exact if inside(op)]


# Requests. Each may raise ``OSError`` (the disk) or ``LogUnavailable`` (the store).


class Look(NamedTuple):
    """Result: the file's ``Stat``; None: there is no file."""


class ReadFile(NamedTuple):
    """Result: the document in the file. Raises :class:`Refused`."""


class Follow(NamedTuple):
    """The file is gone: was it moved? Result: whether it is known now where it is."""


class Recall(NamedTuple):
    """``Log.file_state``. Result: ``FileState``."""


class Begin(NamedTuple):
    """``Log.begin_save``. Result: bool."""

    attempt: Attempt
    over: str


class Settle(NamedTuple):
    """``Log.settle_save``. Result: bool."""

    image: bytes | None
    digest: str
    rev: int
    over: str
    attempt: str


class End(NamedTuple):
    """``Log.end_save``."""

    attempt: str


class Stage(NamedTuple):
    """Write what is to be saved into a file beside, named after the attempt. Result: ``Staged``."""

    attempt: str
    projection: Document


class Staged(NamedTuple):
    """What will be read back (hooks may change it), and its digest."""

    document: Document
    digest: str


class Put(NamedTuple):
    """Exchange the staged file with the document's file, if that is the one that was ``seen``
    (None: there was none). Result: ``Written``; None, and nothing done, if it is another one;
    ``Lost`` if somebody has resolved the attempt, or has replaced what was written already: how
    it ended is found out by looking."""

    attempt: str
    seen: Stat | None


class Written(NamedTuple):
    """The file is exchanged. ``stat``: its own; None where only reading back tells."""

    stat: Stat | None


class Lost(NamedTuple):
    """What was staged is gone."""


class Resolve(NamedTuple):
    """Take from a server that does not go on what it staged: from now on it can't exchange it.
    If it did, and displaced what is neither ``image`` (a digest) nor its own, put that back.
    Result: whether its save was made, so that what is in the file now was made from it; None: that
    can't be told."""

    attempt: Attempt
    image: str


class Discard(NamedTuple):
    """Remove what was staged."""

    attempt: str


class Enter(NamedTuple):
    """Commit a change of the file, made for the state ``base``; of the same name at most once.
    Result: the head that it led to; None if the document is not as ``expects`` says by then."""

    name: str
    base: Head
    ops: Change
    expects: tuple[Expected, ...]


class Entered(NamedTuple):
    """Get the document in step with the log. Result: the revision that the change of that name
    has there; None: it was not entered."""

    name: str


class CatchUp(NamedTuple):
    """Get the document in step with the log."""


class Compute(NamedTuple):
    """Call a pure function that may take long. Result: its result."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]


Request = (
    Look | ReadFile | Follow | Recall | Begin | Settle | End | Stage | Put | Resolve | Discard
    | Enter | Entered | CatchUp | Compute
)  # fmt: skip
Work = Generator[Request, Any, T]


class Projection:
    """Keeps one document and its file in step, on one server. See the module."""

    def __init__(
        self,
        state: Callable[[], tuple[Head, Document]],
        past: Callable[[int], Past | None],
        server: str,
        *,
        now: Callable[[], float],
        mint: Callable[[], str],
        ended: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """``state`` gives the document as it is at this moment, ``past`` as it was at a revision
        (None if that is not at hand), ``now`` seconds since 1970; ``mint`` names attempts,
        ``server`` this process; ``ended`` tells whether another one certainly runs no more."""
        self.state = state
        self.past = past
        self.server = server
        self.now = now
        self.mint = mint
        self.ended = ended
        self.problem: str | None = None  # why the file can't follow now
        self.again: float | None = None  # seconds after which to work again, come what may
        self.saved: Head | None = None  # the newest state that is in the file
        self.image: Image | None = None
        self.digest = ""
        self.image_rev = 0
        self.known: Stat | None = None  # of the file that holds the image
        self._projected = ""  # digest of the state that the file holds, as it was before hooks
        self._seen: tuple[object, float] = (None, 0.0)  # what was strange, and since when
        self._outcome: dict[str, bool] = {}  # whether a save was made, where we know

    def forget(self) -> None:
        """Look at the file's content the next time, whatever its stat says."""
        self.known = None

    def work(self, *, make: bool = False) -> Work[None]:
        """Take up what others wrote, then save what the log has. ``make``: a file that is gone is
        made again. Call it once more after ``again`` seconds, and when something changes."""
        self.again = None
        if self.image is None:
            yield from self._start()
        for _ in range(LOOKS):
            ready = yield from self._take_up()
            missing = make and self.problem == GONE
            if not ready and not missing:
                return
            if (yield from self._save(None if missing else self.known)):
                self.problem = None
                return
            if self.again is not None:
                return
            self.forget()
        raise OSError("the file is written by others all the time")

    def _start(self) -> Work[None]:
        """Take up the image, before anybody can type. Where the store has none, the document was
        just made from the file (revision 0), or it was lost and put back without its image and
        this server is new to it: then the file is taken for our last save, as nothing tells what
        others may have written to it."""
        state: FileState = yield Recall()
        if state.image is None:
            head, document = self.state()
            if head.rev:
                document = yield ReadFile()
            document = yield Compute(project, (document,))
            digest: str = yield Compute(digest_of, (document,))
            image: bytes = yield Compute(Image(document).pack, ())
            yield Settle(image, digest, head.rev, "", state.attempt.id if state.attempt else "")
            state = yield Recall()
        yield from self._take(state)

    # What others wrote.

    def _take_up(self) -> Work[bool]:
        """Whether the file is ours to write, all that others wrote being in the log."""
        resolved = ""
        for _ in range(LOOKS):
            stat: Stat | None = yield Look()
            if stat is None:
                if not self._lasts("gone", GONE_SECONDS):
                    return False
                if (yield Follow()):
                    continue
                self.problem, self.known = GONE, None
                return False
            if self._seen[0] == "gone":
                self._seen = (None, 0.0)
            if stat == self.known:
                return True
            try:
                found: Document = yield ReadFile()
            except Refused as refused:
                if refused.code != "not_found" and not self._is_broken(stat, refused):
                    return False
                continue
            digest: str = yield Compute(digest_of, (found,))
            state: FileState = yield Recall()
            if (yield Look()) != stat:
                continue  # what the store says may be of a later file than the one we read
            yield from self._take(state)
            pending = state.attempt
            if pending is not None and pending.id != resolved:
                if self._goes_on(pending):
                    self.again = AGAIN_SECONDS
                    return False
                made: bool | None = yield Resolve(pending, state.digest)
                if made is not None:
                    self._outcome = {pending.id: made}
                resolved = pending.id
                continue
            if not (yield from self._recognise(found, digest, stat, state)):
                if self.again is not None:
                    return False
                continue  # another server was first
            self.known = stat
            self.problem = None
            return True
        raise OSError("the file is written by others all the time")

    def _lasts(self, strange: object, seconds: float) -> bool:
        """Whether something strange has been so for so long, and was seen at least twice."""
        if self._seen[0] != strange:
            self._seen = (strange, self.now())
        left = self._seen[1] + seconds - self.now()
        if left > 0:
            self.again = left
        return left <= 0

    def _is_broken(self, stat: Stat, why: Refused) -> bool:
        """Note that what is on disk can't be read: never is it merged or saved over."""
        if self._lasts(stat, HALF_SECONDS):
            self.problem = f"what is on disk can't be read, and is left alone: {why}"
        return False

    def _goes_on(self, attempt: Attempt) -> bool:
        """Whether another server is making that save at this moment. One of our own was left
        behind by an error: only one is made at a time."""
        recent = self.now() - attempt.time < BUSY_SECONDS
        return attempt.server != self.server and recent and not self.ended(attempt.server)

    def _take(self, state: FileState) -> Work[None]:
        if state.image is not None and state.digest != self.digest:
            self.image = yield Compute(Image.unpack, (state.image,))
            self.digest, self.image_rev = state.digest, state.rev

    def _recognise(self, found: Document, digest: str, stat: Stat, state: FileState) -> Work[bool]:
        """Take up what was found on disk, be it ours or theirs. False: not now."""
        pending = state.attempt
        same = digest == self.digest
        # What was found may be the image again, put back over a change that is in the log by now,
        # or over a save that we know was made.
        made = pending is not None and (pending.entry or self._outcome.get(pending.id))
        if pending is not None and pending.digest != digest and (made or not same):
            yield from self._conclude(found, pending, state)
            return False
        if same and self.image is not None:
            if pending is None and state.image is not None:
                return True
            return (yield from self._settle(self.image, digest, self.image_rev, state))
        if pending is not None and not pending.entry:
            return (yield from self._promote(pending, pending.rev, state))
        if not self._lasts((stat, digest), self._patience(found)):
            return False
        return (yield from self._absorb(found, digest, state))

    def _conclude(self, found: Document, pending: Attempt, state: FileState) -> Work[None]:
        """Find out how an attempt ended whose content is not in the file any more: only if it was
        carried out can ``found`` have been made from it."""
        if pending.entry:
            rev: int | None = yield Entered(pending.entry)
        else:
            assert self.image is not None
            written = self._outcome.get(pending.id)
            if written is None:  # only what was found tells
                content: Image = yield Compute(Image.unpack, (pending.content,))
                written = yield Compute(is_nearer, (found, content, self.image))
            rev = pending.rev if written else None
        if rev is None:
            yield End(pending.id)
        else:
            yield from self._promote(pending, rev, state)

    def _patience(self, found: Document) -> float:
        """Seconds that a foreign content must stay as it is, before it is believed in. A text
        that is empty, or ends in the midst of the one before, may be half of one."""
        if self.image is None or is_notebook(found):
            return STILL_SECONDS
        half = str(self.image.document["source"]).startswith(found["source"])
        return HALF_SECONDS if half else STILL_SECONDS

    def _absorb(self, found: Document, digest: str, state: FileState) -> Work[bool]:
        """Enter what others wrote as one change, with the image as its base. It is an attempt,
        too: who finds it unfinished knows by the log whether the change is entered."""
        assert self.image is not None
        # The name says which change of the file this is: two servers that see it, or one that
        # sees it again after a crash, enter it once.
        name = f"file:{self.image_rev}-{self.digest[:8]}-{digest}"
        attempt = state.attempt
        if attempt is None:
            image: Image = yield Compute(as_image, (found, self.image))
            content: bytes = yield Compute(image.pack, ())
            attempt = Attempt(
                self.mint(), self.server, digest, self.image_rev, self.now(), content, name
            )
            if not (yield Begin(attempt, state.digest)):
                return False
            state = replace(state, attempt=attempt)
        else:
            image = yield Compute(Image.unpack, (attempt.content,))
        rev: int | None = yield Entered(name)
        if rev is None:
            base, document = self.state()
            past = self.past(self.image_rev)
            change: Change = yield Compute(
                merge, (self.image.document, image.document, document, past)
            )
            rev = base.rev
            if change:
                head: Head | None = yield Enter(name, base, change, expected_by(change, document))
                if head is None:
                    return False
                rev = head.rev
        return (yield from self._promote(attempt, rev, state))

    def _promote(self, attempt: Attempt, rev: int, state: FileState) -> Work[bool]:
        """Make what was attempted the image. False: another server was first."""
        image: Image = yield Compute(Image.unpack, (attempt.content,))
        return (yield from self._set(image, None, attempt.digest, rev, state))

    def _settle(self, image: Image, digest: str, rev: int, state: FileState) -> Work[bool]:
        """Set the image over that of ``state``. False: another server was first."""
        packed: bytes = yield Compute(image.pack, ())
        return (yield from self._set(image, packed, digest, rev, state))

    def _set(
        self, image: Image, packed: bytes | None, digest: str, rev: int, state: FileState
    ) -> Work[bool]:
        attempt = state.attempt.id if state.attempt else ""
        if not (yield Settle(packed, digest, rev, state.digest, attempt)):
            return False
        self.image, self.digest, self.image_rev = image, digest, rev
        self._projected = ""
        self.saved = None  # the file may lack ids, though the state is the same
        return True

    # What people typed.

    def _save(self, seen: Stat | None) -> Work[bool]:
        """Have the file hold the state, if it is the one that was seen. False: look again."""
        if self.state()[0].rev < self.image_rev:
            yield CatchUp()  # what is in the file must never get older
        head, document = self.state()
        if head != self.saved:
            projection: Document = yield Compute(project, (document,))
            digest: str = yield Compute(digest_of, (projection,))
            if seen is None or digest not in (self.digest, self._projected):
                if not (yield from self._write(head, projection, seen)):
                    return False
                self._projected = digest
            self.saved = head
        return True

    def _write(self, head: Head, projection: Document, seen: Stat | None) -> Work[bool]:
        name = self.mint()
        self._outcome = {name: False}
        try:
            staged: Staged = yield Stage(name, projection)
            if seen is not None and staged.digest == self.digest:
                yield Discard(name)
                return True
            image: Image
            content: bytes
            image, content = yield Compute(_packed, (staged.document, Image(projection)))
            attempt = Attempt(name, self.server, staged.digest, head.rev, self.now(), content)
            begun: bool = yield Begin(attempt, self.digest)
            if not begun or self.now() - attempt.time > LATE_SECONDS:
                written: Written | Lost | None = None
            else:
                self._outcome = {}
                written = yield Put(name, seen)
                if not isinstance(written, Lost):
                    self._outcome = {name: written is not None}
            if isinstance(written, Lost):
                return False
            if written is None:
                # In this order: while the store knows the attempt, what was staged is the proof
                # that the save was not made.
                if begun:
                    yield End(name)
                yield Discard(name)
                return False
        except (OSError, LogUnavailable):
            yield Discard(name)
            yield End(name)
            raise
        return (yield from self._confirm(attempt, image, written))

    def _confirm(self, attempt: Attempt, image: Image, written: Written) -> Work[bool]:
        """Make what was written the image: as it is read back, where only that tells."""
        state = FileState(None, self.digest, 0, attempt)
        digest, packed = attempt.digest, None
        stat: Stat | None = yield Look()
        if written.stat is None:
            found: Document = yield ReadFile()
            digest = yield Compute(digest_of, (found,))
            image, packed = yield Compute(_packed, (found, image))
        if not (yield from self._set(image, packed, digest, attempt.rev, state)):
            return False
        if written.stat not in (None, stat):
            return False  # somebody wrote since, over ours
        self.known = stat
        return True
