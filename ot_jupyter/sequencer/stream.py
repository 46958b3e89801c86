"""Who follows a document, and what each of them is sent. Decisions only: no socket, no clock.

A subscription holds no queue. It is a place in the one ordered stream; what waits behind it is
cut out of the pen's window when its socket has room, joined into one message. A slow reader costs
nothing but that, and one that is too far behind loses his place and resumes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

from .entry import Entry, Head
from .pen import Pen

SLOW_BYTES = 16 * 2**20  # behind by that much, a subscription is lost and resumes


class Subscription:
    """One client's place in one document's stream.

    ``poke`` is called (on the event loop) when there is something to send: then, or when there is
    room, the owner calls :meth:`take`.
    """

    def __init__(self, stream: Stream, client: str, cursor: Head, poke: Callable[[], None]) -> None:
        self.stream = stream
        self.client = client
        self.cursor = cursor
        self.poke = poke
        # Revisions that submissions on this very connection made. Only these may be reduced to
        # an acknowledgement: a number that was committed from an earlier copy of the submission
        # may be in the log in another form, which the client must see.
        self.own: set[int] = set()
        self.messages: dict[tuple[str, str], bytes] = {}  # waiting, the newest of each kind
        self.lost: str | None = None  # why this place is not in the stream any more

    def take(self) -> list[bytes]:
        """The messages that wait; all entries since the cursor are one."""
        frame = self.stream.frame(self) if self.lost is None else None
        messages = list(self.messages.values())
        self.messages.clear()
        return messages if frame is None else [frame, *messages]

    def say(self, kind: str, about: str, message: bytes) -> None:
        """Put a message into the stream; a later one of the same kind and subject replaces it."""
        self.messages[kind, about] = message
        self.poke()

    def lose(self, reason: str) -> None:
        """Take this place out of the stream and tell its client to resume."""
        self.lost = reason
        self.stream.subscriptions.pop(self, None)
        self.say("resync", "", self.stream.message("resync", reason=reason))


class _Cut(NamedTuple):
    """A part of the stream: its entries, those as clients get them, and all in one message."""

    entries: list[Entry]
    wires: list[bytes]
    message: bytes


class Stream:
    """One document's stream and its subscriptions."""

    def __init__(self, pen: Pen) -> None:
        self.pen = pen
        self.subscriptions: dict[Subscription, None] = {}  # in the order they came
        self._cuts: dict[Head, _Cut] = {}  # up to the head, by what they come after

    def join(
        self,
        client: str,
        epoch: str,
        known: list[Head],
        poke: Callable[[], None],
        **more: Any,
    ) -> tuple[bytes, Subscription]:
        """The answer to ``open`` and the place in the stream right after it: one consistent cut.

        ``epoch`` and ``known`` are what the client says of itself (``""`` and ``[]`` the first
        time); ``more`` goes into the answer as it is.
        """
        pen = self.pen
        resumed = pen.resume(epoch, known)
        fields = {
            "path": pen.ref.path, "doc": pen.ref.doc, "kind": pen.ref.kind,
            "epoch": pen.ref.epoch, "rev": pen.head.rev, "hash": pen.head.hash,
            "n": pen.last_number(client), **more,
        }  # fmt: skip
        if resumed.document is not None:
            fields["document"] = resumed.document
        fields["since"] = resumed.since
        fields["entries"] = [orjson.Fragment(entry.wire()) for entry in resumed.entries]
        return self.message("opened", **fields), self.subscribe(client, pen.head, poke)

    def subscribe(self, client: str, cursor: Head, poke: Callable[[], None]) -> Subscription:
        """A place in the stream after ``cursor``. Another place of the same client ends."""
        for one in list(self.subscriptions):
            if one.client == client:
                one.lost = "superseded"
                self.subscriptions.pop(one, None)
                one.say(
                    "error",
                    "",
                    self.message(
                        "error", code="superseded", pointer="/client",
                        message="this client id is in use on another connection",
                    ),
                )  # fmt: skip
        subscription = Subscription(self, client, cursor, poke)
        self.subscriptions[subscription] = None
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Give up a place in the stream."""
        self.subscriptions.pop(subscription, None)

    def advance(self) -> None:
        """There are new entries."""
        self._cuts.clear()
        for one in list(self.subscriptions):
            one.poke()

    def branch(self) -> None:
        """What the subscriptions were sent is on a branch that is no more."""
        self._cuts.clear()
        for one in list(self.subscriptions):
            one.lose("branch")

    def frame(self, subscription: Subscription) -> bytes | None:
        """The entries after the subscription's cursor as one message, and move the cursor."""
        cursor, head = subscription.cursor, self.pen.head
        if cursor == head:
            return None
        cut = self._cuts.get(cursor) or self._cut(cursor)
        if cut is None:
            subscription.lose("behind")
            return None
        subscription.cursor = head
        if not subscription.own:
            return cut.message
        wires = list(cut.wires)
        for rev in subscription.own:
            wires[rev - cursor.rev - 1] = _acknowledgement(cut.entries[rev - cursor.rev - 1])
        subscription.own.clear()
        return self._join(cursor, wires)

    def _cut(self, after: Head) -> _Cut | None:
        """What comes after a state; None: it can't be followed from there any more. Most
        subscriptions stand at the same place: it is made once for all of them."""
        if self.pen.hash_at(after.rev) != after.hash:
            return None
        entries = self.pen.entries_after(after.rev)
        if len(entries) > 1 and sum(len(entry.body) for entry in entries) > SLOW_BYTES:
            return None
        wires = [entry.wire() for entry in entries]
        cut = self._cuts[after] = _Cut(entries, wires, self._join(after, wires))
        return cut

    def _join(self, before: Head, entries: list[bytes]) -> bytes:
        ref = self.pen.ref
        return (
            b'{"type":"entries","doc":"%s","epoch":"%s","from":%d,"prev":"%s","entries":[%s]}'
            % (
                ref.doc.encode(),
                ref.epoch.encode(),
                before.rev + 1,
                before.hash.encode(),
                b",".join(entries),
            )
        )

    def message(self, type: str, /, **fields: Any) -> bytes:
        """A message about this document."""
        return orjson.dumps({"type": type, "doc": self.pen.ref.doc, **fields})


def _acknowledgement(entry: Entry) -> bytes:
    """An entry as its author's connection gets it."""
    return b'{"rev":%d,"n":%d,"hash":"%s"}' % (entry.rev, entry.n, entry.hash.encode())
