"""What keeps one document in step with the server, whatever happens to the line between them.

The decisions are those of :class:`ClientDocument`. Here is what it knows nothing of: when to send,
how long to wait for an answer, what to try again and when, whom to tell.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Any, Protocol
from uuid import uuid4

from ..transforms import Change
from .errors import DocumentError
from .kernel import CommMessage, comms_in
from .presence import PAUSE_SECONDS, REPEAT_SECONDS, Others, Presence
from .state import ClientDocument, Conflict, Events

logger = logging.getLogger("ot_jupyter.client")

RETRY_SECONDS = (0.1, 15.0)  # first and longest pause before the same thing is tried again
LATER = ("busy", "store_unavailable", "file_unavailable", "no_image")  # no fault of the asker
FINAL = ("forbidden", "superseded", "too_large")  # asking again would not help
MOST_RETRIES = 6  # of one change that is refused for a reason that does not pass by itself
MOST_STRIKES = 4  # times that the patience for one answer is doubled
ASKED = {"kernel": "requested", "input": "answered"}  # what is asked of the kernel -> the answer


def pause(attempt: int) -> float:
    """Seconds before attempt ``attempt`` (from 0): twice as long each time, and never in step
    with others who lost the same server."""
    first, longest = RETRY_SECONDS
    return min(longest, first * 2.0 ** min(attempt, 30)) * random.uniform(0.5, 1.0)


class Link(Protocol):
    """What a session needs of the connection."""

    patience: float

    @property
    def online(self) -> bool: ...
    def send(self, message: dict[str, Any]) -> None: ...
    def reconnect(self, reason: str) -> None: ...


class Session:
    """See the module. ``changed`` is called with each change of the document and whose it is,
    ``happened`` after everything that may concern somebody who waits."""

    def __init__(
        self,
        link: Link,
        path: str,
        kind: str | None,
        changed: Callable[[Change, str], None],
        happened: Callable[[], None],
    ) -> None:
        self.link = link
        self.asked = path  # by the last `open`: its answer is recognised by that
        self.state = ClientDocument(
            path,
            f"py-{uuid4().hex[:16]}",
            Events(change=self._on_change, conflict=self._on_conflict, refused=self._on_refused),
            kind=kind,
        )
        self.others = Others()
        self.conflicts: list[Conflict] = []
        self.refused: dict[int, DocumentError] = {}  # by number
        self.problem: DocumentError | None = None
        self.file_problem: str | None = None
        self.committing = True  # the server's store is there
        self.opening = False  # an `open` is not answered yet
        self.stopped = False  # for good: what is not acknowledged stays so
        self._changed = changed
        self._happened = happened
        self._loop = asyncio.get_running_loop()
        self._distrusted = False  # the document is to be fetched whole
        self._pumping = False  # in a moment
        self._attempts = 0  # in a row, without success
        self._hold: asyncio.TimerHandle | None = None  # nothing is sent until it is over
        self._awaited: tuple[str, int] | None = None
        self._impatient: asyncio.TimerHandle | None = None
        self._strikes = 0  # times in a row that no answer came
        self._saves: list[asyncio.Future[None]] = []
        self._save_sent = False
        self._asking = asyncio.Lock()  # one question about the kernel at a time
        self._asked: asyncio.Future[dict[str, Any]] | None = None
        self._hearers: dict[asyncio.Queue[CommMessage | None], bool] = {}  # were told something
        self._own: Presence | None = None
        self._own_told = True
        self._own_next = 0.0  # not to be told before
        self._own_timer: asyncio.TimerHandle | None = None

    @property
    def live(self) -> bool:
        """Whether the server follows what we do, and we what it does."""
        return self.state.live and self.link.online

    def close(self) -> None:
        """Say good-bye; nothing is sent from then on."""
        if self.live:
            self.link.send({"type": "close", "doc": self.state.doc})
        self.stopped = True
        error = DocumentError("closed", f"{self.state.path!r} is closed")
        self._answer_saves(error)
        self._answer(error)
        for queue in self._hearers:
            queue.put_nowait(None)
        for timer in (self._hold, self._impatient, self._own_timer):
            if timer is not None:
                timer.cancel()

    def fail(self, error: DocumentError) -> None:
        """There is no way to go on. What is not acknowledged stays here, unsaved."""
        self.problem = error
        self.stopped = True
        self.state.live = self.state.must_open = self.opening = False
        self._answer_saves(error)
        self._answer(error)
        self._watch()
        self._happened()

    # What the connection tells.

    def connected(self) -> None:
        """There is a connection: go on."""
        self._pump()

    def take_place(self) -> None:
        """Another session of this connection had our place in the document's stream."""
        self.receive({"type": "resync"})

    def disconnected(self) -> None:
        """The connection is gone."""
        self.opening = self._save_sent = False
        self.committing = True
        self._answer(DocumentError("offline", "the connection broke before the answer came"))
        if not self.stopped:
            self.state.disconnected()
        self._watch()
        self._happened()

    def receive(self, message: dict[str, Any]) -> None:
        """Take a message of the server about this document."""
        if self.stopped:
            return
        try:
            self._take(message)
        except Exception:
            # What the server says does not fit what we have. Never go on from there by guessing.
            logger.exception("ot_jupyter: %s is out of step with the server", self.state.path)
            self._distrusted = True
            self.state.disconnected()
            why = "it is out of step with the server, and is fetched whole again"
            self._unavailable(DocumentError("out_of_step", why))
        self.attend()

    def _take(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "error":
            self._on_error(message)
        elif kind == "presence":
            if self.state.live:
                self.others.hear(message, self.state, self._loop.time())
        elif kind == "status":
            self.committing = message["committing"]
        elif kind == "file":
            self.file_problem = message["problem"]
        elif kind == "saved":
            self._answer_saves(None)
        elif kind in ASKED.values():
            self._answer(message)
        elif kind in ("comm", "comms"):
            self._tell_comms(message)
        elif kind == "closed":
            self.state.disconnected()
            self._unavailable(DocumentError("closed", str(message.get("reason", ""))))
        elif kind == "opened":
            self._on_opened(message)
        else:
            rev = self.state.head.rev
            self.state.receive(message)
            if self.state.head.rev != rev:
                self._attempts = self._strikes = 0
                self.others.reached(self.state)

    def _on_opened(self, message: dict[str, Any]) -> None:
        self.opening = False
        self.committing = True
        self.state.receive(message)
        self._distrusted = False
        self.problem = None
        self.others.begin(message.get("presence", []), self.state, self._loop.time())
        self._own_told = self._own is None
        if self._hearers:
            self._hear(on=True)

    def _on_error(self, message: dict[str, Any]) -> None:
        error = _error_of(message)
        of = message.get("of")
        if error.code == "superseded" or (error.code == "forbidden" and of is None):
            self.fail(error)
        elif of == "save":
            self._answer_saves(error)
        elif of == "open":
            self._on_not_opened(message, error)
        elif of in ASKED:
            self._answer(error)
        elif "n" in message:
            self.state.receive(message)
            if self.state.must_open:  # its number is not taken: it is to be sent again
                self._attempts += 1
                hopeless = error.code in FINAL or self._attempts > MOST_RETRIES
                if hopeless and error.code not in LATER:
                    self.fail(error)
                elif self._attempts > 1 or error.code in LATER:
                    self._later()
        else:
            logger.warning("ot_jupyter: %s: %s", self.state.path, error)

    def _on_not_opened(self, message: dict[str, Any], error: DocumentError) -> None:
        self.opening = False
        if message.get("path", self.asked) != self.state.path:
            self.state.must_open = True  # it was renamed while we asked
        elif error.code == "forbidden":
            self.fail(error)
        else:
            self.state.disconnected()
            self._unavailable(error)

    def _unavailable(self, error: DocumentError) -> None:
        """The document can't be had now: ask again, more and more seldom."""
        self.problem = error
        self._attempts += 1
        if error.code not in LATER:
            self._answer_saves(error)
        self._later()

    # What the state machine tells.

    def _on_change(self, ops: Change, origin: str) -> None:
        self.others.moved(ops)
        if self._own is not None:
            self._own = self._own.after(ops)
        self._changed(ops, origin)

    def _on_conflict(self, conflict: Conflict) -> None:
        logger.warning(
            "ot_jupyter: cell %s of %s was removed while it was edited here; see conflicts",
            conflict.id,
            self.state.path,
        )
        self.conflicts.append(conflict)

    def _on_refused(self, message: dict[str, Any]) -> None:
        if message.get("taken"):
            error = _error_of(message)
            logger.warning("ot_jupyter: a change of %s was refused: %s", self.state.path, error)
            self.refused[message["n"]] = error

    # What goes out.

    def attend(self) -> None:
        """Something happened: send what there is to send, tell those who wait."""
        self.pump_soon()
        self._watch()
        self._happened()

    def pump_soon(self) -> None:
        """Send in a moment: what is done in one go travels in one message."""
        if not self._pumping:
            self._pumping = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pumping = False
        if self.stopped or self._hold is not None or not self.link.online:
            return
        while (message := self.state.outgoing()) is not None:
            if message["type"] == "open":
                self.opening = True
                self.asked = message["path"]
                if self._distrusted and "known" in message:
                    message["known"] = []
            elif len(self.state.pending) == 1 and not self._own_told and self._own is not None:
                # It speaks of the state after this change, which is the one that we see.
                message["presence"] = self._own.wire()
                self._told()
            self.link.send(message)
        if self.state.live:
            self._send_presence()
            if self._saves and not self._save_sent:
                self._save_sent = True
                self.link.send({"type": "save", "doc": self.state.doc})
        self._watch()

    def _later(self) -> None:
        """Send nothing for a while."""
        if self._hold is None and not self.stopped:
            self._hold = self._loop.call_later(pause(self._attempts), self._resume)

    def _resume(self) -> None:
        self._hold = None
        self._pump()

    # What must be answered in time.

    def _watch(self) -> None:
        """Time what the server has to answer: an `open`, and the change in flight."""
        awaited: tuple[str, int] | None = None
        if self.opening:
            awaited = ("open", 0)
        elif self.state.in_flight and self.committing and not self.stopped:
            awaited = ("submit", self.state.pending[0].n)
        if awaited == self._awaited:
            return
        self._awaited = awaited
        if self._impatient is not None:
            self._impatient.cancel()
            self._impatient = None
        if awaited is not None:
            # On a slow line a big message takes its time; the second time it gets more.
            seconds = self.link.patience * 2 ** min(self._strikes, MOST_STRIKES)
            self._impatient = self._loop.call_later(seconds, self._lose_patience)

    def _lose_patience(self) -> None:
        self._impatient = self._awaited = None
        self._strikes += 1
        self.link.reconnect(f"no answer about {self.state.path}")

    # The file.

    async def save(self) -> None:
        """Return when the file is written. Raises :class:`DocumentError`."""
        saved: asyncio.Future[None] = self._loop.create_future()
        self._saves.append(saved)
        self._save_sent = False
        self.pump_soon()
        await saved

    def _answer_saves(self, error: DocumentError | None) -> None:
        saves, self._saves = self._saves, []
        self._save_sent = False
        for saved in saves:
            if saved.done():
                continue
            if error is None:
                saved.set_result(None)
            else:
                saved.set_exception(error)

    # The kernel.

    async def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Ask something of the kernel, and return the server's answer.

        Raises :class:`DocumentError`: what the server says, or ``offline``; if that comes after it
        was asked, nobody knows whether it was done.
        """
        async with self._asking:
            self.check_live()
            self._asked = self._loop.create_future()
            self.link.send({"type": kind, "doc": self.state.doc, **fields})
            try:
                return await self._asked
            finally:
                self._asked = None

    def check_live(self) -> None:
        """Raise :class:`DocumentError` unless the server hears us now."""
        if self.problem is not None:
            raise self.problem
        if not self.live:
            raise DocumentError("offline", "there is no connection: the kernel can't be asked now")

    def _answer(self, answer: dict[str, Any] | DocumentError) -> None:
        if self._asked is None or self._asked.done():
            return
        if isinstance(answer, DocumentError):
            self._asked.set_exception(answer)
        else:
            self._asked.set_result(answer)

    def hear_comms(self, queue: asyncio.Queue[CommMessage | None]) -> Callable[[], None]:
        """Put the kernel's comm messages into the queue, beginning with what is open. Returns
        what ends it."""
        self._hearers[queue] = False
        if self.live:
            self._hear(on=True)

        def end() -> None:
            del self._hearers[queue]
            if not self._hearers and self.live:
                self._hear(on=False)

        return end

    def _hear(self, *, on: bool) -> None:
        self.link.send({"type": "comms", "doc": self.state.doc, "on": on})

    def _tell_comms(self, message: dict[str, Any]) -> None:
        for queue, told in self._hearers.items():
            for one in comms_in(message, again=told):
                queue.put_nowait(one)
            self._hearers[queue] = True

    # Where we are.

    def set_presence(self, presence: Presence | None) -> None:
        """Tell the others where we are; None: nowhere."""
        if presence is not None or self._own is not None:
            self._own, self._own_told = presence, False
            self.pump_soon()

    def here(self) -> dict[str, Presence]:
        """The others, by client."""
        self.others.expire(self._loop.time())
        return dict(self.others.here)

    def _send_presence(self) -> None:
        """Tell where we are, unless it was told just now; with changes on their way its offsets
        are of no revision yet: then it goes with them or after them."""
        if self._own_told or self.state.pending:
            return
        now = self._loop.time()
        if now < self._own_next:
            self._time_presence(self._own_next - now)
            return
        presence = None
        if self._own is not None:
            presence = {**self._own.wire(), "rev": self.state.head.rev}
        self.link.send({"type": "presence", "doc": self.state.doc, "presence": presence})
        self._told()

    def _told(self) -> None:
        self._own_told = True
        self._own_next = self._loop.time() + PAUSE_SECONDS
        if self._own is not None:
            self._time_presence(REPEAT_SECONDS)

    def _time_presence(self, seconds: float) -> None:
        if self._own_timer is not None:
            self._own_timer.cancel()
        self._own_timer = self._loop.call_later(seconds, self._tell_again)

    def _tell_again(self) -> None:
        self._own_timer = None
        self._own_told = False
        self._pump()


def _error_of(message: dict[str, Any]) -> DocumentError:
    return DocumentError(message["code"], message["message"], message.get("pointer") or "")
