"""Who reads a whole document through ``/api/contents`` and writes a whole one back did not mean to
undo what others did between. So what he holds is remembered for a while, and what he writes is
compared with that.
"""

from __future__ import annotations

from asyncio import Lock
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from weakref import WeakValueDictionary

import orjson

from ..sequencer.entry import Head
from ..sequencer.projection import project
from ..transforms import Change, Document, apply, transform_changes
from ..transforms.diff import adopt_ids, diff

KEPT_SECONDS = 1800.0  # after it was used last
KEPT = 10_000  # users and documents
EACH = 8  # copies of one document that one user may hold: tabs, or programs with one token


@dataclass(frozen=True, slots=True)
class Copy:
    """What somebody holds: the state ``head`` with ``differs`` applied, which is what he never saw
    of the document since he wrote to it."""

    head: Head
    differs: Change = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Base:
    """A copy with its contents: ``state`` is the document at ``head``, ``held`` the copy."""

    head: Head
    state: Document
    held: Document

    @staticmethod
    def of(copy: Copy, state: Document) -> Base:
        return Base(copy.head, state, project(apply(state, copy.differs)))


@dataclass(slots=True)
class _Held:
    copies: list[Copy] = field(default_factory=list)  # the newest first
    hash: str | None = None  # of the file, as he was told
    used: float = 0.0


class Copies:
    """The copies that users hold, by their names and the documents' ids."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._held: OrderedDict[tuple[str, str], _Held] = OrderedDict()  # used last: at the end
        self._locks: WeakValueDictionary[tuple[str, str], Lock] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._held)

    def of(self, user: str, doc: str) -> list[Copy]:
        """What he may hold of the document, the newest first."""
        self._forget()
        held = self._held.get((user, doc))
        return [] if held is None else list(held.copies)

    def read(self, user: str, doc: str, copy: Copy) -> None:
        """He was given a copy."""
        self._put(user, doc, copy)

    def wrote(self, user: str, doc: str, over: Copy | None, copy: Copy) -> None:
        """He holds ``copy`` in the place of ``over``."""
        held = self._held.get((user, doc))
        if held is not None and over in held.copies:
            held.copies.remove(over)
        self._put(user, doc, copy)

    def told_hash(self, user: str, doc: str, hash: str | None) -> str | None:
        """The hash that he is told: that of the file when he first read the document, as long as
        what he holds is known. JupyterLab compares it before it saves, and asks the user what to
        do if it differs; but whatever the file holds by now, what he writes will be merged."""
        held = self._held.get((user, doc))
        if held is None:
            return hash
        held.hash = held.hash or hash
        return held.hash

    def lock(self, user: str, doc: str) -> Lock:
        """Held while something that he wrote is entered."""
        return self._locks.setdefault((user, doc), Lock())

    def _put(self, user: str, doc: str, copy: Copy) -> None:
        held = self._held.setdefault((user, doc), _Held())
        held.copies = [copy, *held.copies][:EACH]
        held.used = self._now()
        self._held.move_to_end((user, doc))
        self._forget()

    def _forget(self) -> None:
        while self._held:
            key, oldest = next(iter(self._held.items()))
            if len(self._held) <= KEPT and self._now() - oldest.used <= KEPT_SECONDS:
                return
            del self._held[key]


def chosen(bases: Sequence[Base], found: Document) -> int:
    """The index of the base that ``found`` was most likely made from: the nearest. Of the bases,
    the newest first. Who writes exactly what an older one is went back to it, from the newest."""
    if len(bases) < 2:
        return 0
    sizes = []
    for index, base in enumerate(bases):
        change = diff(base.held, adopt_ids(base.held, found))
        if change or index == 0:
            sizes.append((len(orjson.dumps(change)), index))
    return min(sizes)[1]


def change_of(base: Base, found: Document) -> tuple[Change, Document]:
    """What was changed by who held ``base`` and wrote ``found``, as a change of ``base.state``;
    and what he wrote, with the ids that cells have in the document."""
    found = adopt_ids(base.held, found)
    theirs = diff(base.held, found)
    if not theirs:
        return [], found
    change, _ = transform_changes(theirs, diff(base.held, base.state), later=True)
    return change, found
