"""Who reads a whole document through ``/api/contents`` and writes a whole one back did not mean to
undo what others did between. So what he holds is remembered for a while, and what he writes is
compared with that.
"""

from __future__ import annotations

import zlib
from asyncio import Lock
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import cast
from weakref import WeakValueDictionary

import orjson

from ..sequencer.entry import Head
from ..transforms import Document
from ..transforms.diff import adopt_ids, diff

KEPT_SECONDS = 1800.0  # after it was used last
KEPT = 10_000  # users and documents
KEPT_BYTES = 128 * 2**20
EACH = 8  # copies of one document that one user may hold: tabs, or programs with one token


@dataclass(frozen=True, slots=True)
class Copy:
    """What somebody holds of a document, since it was in the state ``head``. Who wrote to it holds
    what he wrote, and not what others had done by then."""

    head: Head
    data: bytes = field(repr=False)

    @staticmethod
    def pack(head: Head, document: Document) -> Copy:
        """A copy of what a file shows of a document."""
        return Copy(head, zlib.compress(orjson.dumps(document), 1))

    def unpack(self) -> Document:
        return cast(Document, orjson.loads(zlib.decompress(self.data)))


@dataclass(slots=True)
class _Held:
    copies: list[Copy] = field(default_factory=list)  # the newest first
    hash: str | None = None  # of the file, as he was told
    used: float = 0.0

    @property
    def size(self) -> int:
        return sum(len(copy.data) for copy in self.copies)


class Copies:
    """The copies that users hold, by their names and the documents' ids."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._held: OrderedDict[tuple[str, str], _Held] = OrderedDict()  # used last: at the end
        self._size = 0
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
        self._change(user, doc, None, copy)

    def wrote(self, user: str, doc: str, over: Copy | None, copy: Copy) -> None:
        """He holds ``copy`` in the place of ``over``."""
        self._change(user, doc, over, copy)

    def told_hash(self, user: str, doc: str, hash: str | None) -> str | None:
        """The hash that he is told: that of the file when he first asked for it, as long as what
        he holds is known. JupyterLab compares it before it saves, and asks the user what to do if
        it differs; but whatever the file holds by now, what he writes will be merged."""
        held = self._held.get((user, doc))
        if held is None:
            return hash
        held.hash = held.hash or hash
        return held.hash

    def lock(self, user: str, doc: str) -> Lock:
        """Held while something that he wrote is entered."""
        return self._locks.setdefault((user, doc), Lock())

    def _change(self, user: str, doc: str, over: Copy | None, copy: Copy) -> None:
        held = self._held.setdefault((user, doc), _Held())
        self._size -= held.size
        if over in held.copies:
            held.copies.remove(over)
        held.copies = [copy, *held.copies][:EACH]
        self._size += held.size
        held.used = self._now()
        self._held.move_to_end((user, doc))
        self._forget()

    def _forget(self) -> None:
        while self._held:
            key, oldest = next(iter(self._held.items()))
            within = len(self._held) <= KEPT and self._size <= KEPT_BYTES
            if within and self._now() - oldest.used <= KEPT_SECONDS:
                return
            self._size -= oldest.size
            del self._held[key]


def chosen(held: Sequence[Document], found: Document) -> int:
    """The index of the copy that ``found`` was most likely made from: the nearest. Of the copies,
    the newest first. Who writes exactly what an older one is went back to it, from the newest."""
    sizes = []
    for index, one in enumerate(held[: None if len(held) > 1 else 0]):
        change = diff(one, adopt_ids(one, found))
        if change or index == 0:
            sizes.append((len(orjson.dumps(change)), index))
    return min(sizes, default=(0, 0))[1]
