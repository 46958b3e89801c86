"""The WebSocket: many documents on one connection.

What a client says is taken in order, and rights are asked for every message. What it is told is
written as long as the connection takes it. While a write is pending nothing is buffered but short
answers: entries stay in the document's window, and what came meanwhile is cut out of it as one
frame when there is room (see ``stream.py``). So a slow reader costs no more than the frame that he
has not taken.

This is the hot path: with a hundred readers of one letter, whatever is done here is done a hundred
times for it. So there is no task and no future where nothing has to be waited for, and the rights
of who only listens are asked once in a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from time import monotonic
from typing import Any, Final, TypeVar, cast

import orjson
from jupyter_server.auth.decorator import ws_authenticated
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from jupyter_server.utils import ensure_async
from tornado.iostream import IOStream, StreamClosedError
from tornado.web import HTTPError
from tornado.websocket import (
    WebSocketClosedError,
    WebSocketHandler,
    WebSocketProtocol,
    WebSocketProtocol13,
)

from ..kernel.kernels import Kernels
from ..sequencer.live import LiveDocument
from ..sequencer.log import LogUnavailable
from ..sequencer.pen import Rejected, Submission, Verdict
from ..sequencer.sequencer import Sequencer
from ..sequencer.stream import Subscription
from ..transforms import Refused
from .limits import ApiLimits
from .messages import (
    Answer,
    Close,
    Comm,
    Comms,
    Control,
    Message,
    Open,
    Ping,
    Save,
    SetPresence,
    Submit,
    about,
    check_ops,
    parse_message,
    read_message,
)
from .paths import visible_path

logger = logging.getLogger("ot_jupyter")

OPEN_SECONDS: Final = 10.0  # that an open waits for the store
RETRY_SECONDS: Final = 0.25  # between two attempts in that time
LINGER_SECONDS: Final = 5.0
READ_BYTES: Final = 2**16  # at most at once
UNSENT_ANSWERS: Final = 100  # with more of them, nothing more is read from the client
RIGHTS_SECONDS: Final = 1.0  # so long somebody who was allowed to read is told what comes
USER_FIELDS: Final = ("username", "name", "display_name", "initials", "avatar_url", "color")

T = TypeVar("T")


class Protocol(WebSocketProtocol13):
    """tornado's protocol, with two differences.

    It takes from the network whatever is there, not the four parts of a frame one by one: that
    would be four reads, and as a rule two changes of what the loop listens for, for each letter.

    After it has refused a message as too large, it takes from the network what is still on its
    way, for some seconds. Were the connection closed at once, its reset would often reach the
    sender before he has read the reason (1009), and he would come back and send it again.
    """

    _reason_sent = False
    _lingering: asyncio.Task[None] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unread = bytearray()

    async def _read_bytes(self, n: int) -> bytes:
        while len(self._unread) < n:
            self._unread += await self.stream.read_bytes(READ_BYTES, partial=True)
        data = bytes(memoryview(self._unread)[:n])
        del self._unread[:n]
        self._wire_bytes_in += n
        return data

    def close(self, code: int | None = None, reason: str | None = None) -> None:
        self._reason_sent = self._reason_sent or code == 1009
        super().close(code, reason)

    def _abort(self) -> None:
        if not self._reason_sent:
            super()._abort()
        elif self._lingering is None:
            self.client_terminated = True  # nothing that comes now is a message
            self._lingering = asyncio.ensure_future(self._linger())

    async def _linger(self) -> None:
        with contextlib.suppress(StreamClosedError, asyncio.TimeoutError):
            await asyncio.wait_for(self._drain(), LINGER_SECONDS)
        super()._abort()

    async def _drain(self) -> None:
        while True:
            await self.stream.read_bytes(READ_BYTES, partial=True)


class OtSocket(WebSocketMixin, WebSocketHandler, JupyterHandler):
    """``/api/ot/socket``: the connection, and who is at its other end."""

    auth_resource = "contents"

    def initialize(self) -> None:
        self.session: Session | None = None

    @property
    def max_message_size(self) -> int:
        """Bytes. Tornado closes a socket that sends more, with code 1009."""
        return cast(ApiLimits, self.settings["ot_jupyter_limits"]).message_bytes

    def get_websocket_protocol(self) -> WebSocketProtocol | None:
        plain = super().get_websocket_protocol()
        if isinstance(plain, WebSocketProtocol13):
            return Protocol(self, False, plain.params)
        return plain

    def set_default_headers(self) -> None:
        """None: they are for pages."""

    def get_compression_options(self) -> dict[str, Any] | None:
        return cast("dict[str, Any] | None", self.settings.get("websocket_compression_options"))

    @ws_authenticated
    async def get(self, *args: Any, **kwargs: Any) -> None:
        """Let in who may read."""
        if not await ensure_async(self.may("read")):
            raise HTTPError(403)
        await super().get(*args, **kwargs)

    def open(self, *args: str, **kwargs: str) -> None:
        super().open(*args, **kwargs)
        self.set_nodelay(True)
        self._compresses = self.get_compression_options() is not None
        self.session = Session(self)
        self.settings["ot_jupyter_sockets"].add(self)

    def on_message(self, message: str | bytes) -> Awaitable[None] | None:
        """Take one message; the next is not read before what is returned is done."""
        assert self.session is not None
        return self.session.receive(message)

    def on_close(self) -> None:
        self.settings["ot_jupyter_sockets"].discard(self)
        if self.session is not None:  # else the connection broke before it was a socket
            self.session.end()

    def may(self, action: str, resource: str = "contents") -> bool | Awaitable[bool]:
        """Whether the user may ``"read"`` or ``"write"`` contents, or ``"execute"`` kernels, at
        this moment. Some authorizers know at once, others have to be waited for."""
        return self.authorizer.is_authorized(self, self.current_user, action, resource)

    def send(self, messages: Sequence[bytes]) -> asyncio.Future[Any] | None:
        """Send texts. None: the connection took all of it; else nothing more should be written
        before the future is done. Raises ``WebSocketClosedError``, and so may the future.

        tornado's ``write_message`` makes a frame, two futures and a task each time. Here what
        waits goes to the network as it is, in one piece, unless frames have to be compressed.
        """
        protocol = self.ws_connection
        if protocol is None or protocol.is_closing():
            raise WebSocketClosedError
        if self._compresses:
            return asyncio.gather(*map(self.write_message, messages))
        stream = cast(IOStream, protocol.stream)
        data = memoryview(b"".join(map(text_frame, messages)))
        sent = 0
        if not stream.writing():
            # It is full, or broken; then it breaks again below, for tornado to see.
            with contextlib.suppress(OSError):
                sent = stream.write_to_fd(data)
            if sent == len(data):
                return None
        try:
            return stream.write(data[sent:])
        except StreamClosedError:
            raise WebSocketClosedError from None

    def public_user(self) -> dict[str, Any]:
        """What others are told of the user."""
        model = self.identity_provider.identity_model(self.current_user)
        return {field: model.get(field) for field in USER_FIELDS}


def text_frame(text: bytes) -> bytes:
    """A text as one WebSocket frame of a server (RFC 6455, 5.2)."""
    if len(text) < 2**16:
        return _short_frame(text)
    return b"\x81\x7f" + len(text).to_bytes(8, "big") + text


@lru_cache(maxsize=8)  # for the many who are sent the same, one after the other
def _short_frame(text: bytes) -> bytes:
    size = len(text)
    if size < 126:
        return b"\x81" + size.to_bytes(1, "big") + text
    return b"\x81\x7e" + size.to_bytes(2, "big") + text


@dataclass(frozen=True, slots=True)
class Following:
    """A document that a session follows."""

    live: LiveDocument
    subscription: Subscription


class Session:
    """What one socket has under way."""

    def __init__(self, socket: OtSocket) -> None:
        self._socket = socket
        self._sequencer: Sequencer = socket.settings["ot_jupyter"]
        self._limits: ApiLimits = socket.settings["ot_jupyter_limits"]
        self._kernels: Kernels = socket.settings["ot_jupyter_kernels"]
        self._user = socket.public_user()
        self._following: dict[str, Following] = {}  # by document id
        self._hearing: dict[str, Callable[[], None]] = {}  # documents whose comms are told
        self._answers: list[bytes] = []  # unsent
        self._no_answers = asyncio.Event()  # is unsent
        self._no_answers.set()
        self._poked: dict[str, None] = {}  # documents whose streams have something, in order
        self._resting = True  # nothing is being written, nor about to be
        self._may_read_until = 0.0  # then it is asked again
        self._loop = asyncio.get_running_loop()
        self._joining = asyncio.Lock()  # of all whole documents, one waits to be written
        self._opening = 0
        self._queued: list[int] = []  # the sizes of submissions without a verdict
        self._credit = float(self._limits.messages_per_second)
        self._paced = monotonic()
        self._tasks: set[asyncio.Task[None]] = set()

    def end(self) -> None:
        """The socket is closed."""
        for task in list(self._tasks):
            task.cancel()
        for doc in list(self._following):
            self._leave(doc)
        self._no_answers.set()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # What the client is told.

    def _say(self, message: bytes) -> None:
        self._answers.append(message)
        self._no_answers.clear()
        self._wake()

    def _tell(self, type: str, **fields: Any) -> None:
        self._say(orjson.dumps({"type": type, **fields}))

    def _complain(self, why: Refused | Rejected, of: dict[str, Any], **more: Any) -> None:
        """Tell why a message is not carried out. The socket stays open."""
        self._tell("error", code=why.code, message=why.message, pointer=why.pointer, **of, **more)

    def _explain(self, error: Exception, of: dict[str, Any]) -> None:
        """Tell of whatever went wrong with a message."""
        if not isinstance(error, Refused):
            logger.error("ot_jupyter: a message failed, %s", of, exc_info=error)
            error = Refused("internal", "the server failed")
        self._complain(error, of)

    def _poke(self, doc: str) -> None:
        self._poked[doc] = None
        self._wake()

    def _wake(self) -> None:
        """Write soon: what else comes until then goes along."""
        if self._resting:
            self._resting = False
            self._loop.call_soon(self._write)

    def _write(self, written: asyncio.Future[Any] | None = None) -> None:
        """Write until nothing waits, or the connection takes no more; then go on when it does."""
        try:
            if written is not None:
                written.result()
            while self._answers or self._poked:
                # Answers first: perhaps one is an "opened", from which its stream goes on.
                if self._answers:
                    messages, self._answers = self._answers, []
                elif monotonic() < self._may_read_until:
                    self._no_answers.set()
                    messages = self._take(next(iter(self._poked)))
                else:
                    self._no_answers.set()
                    self._start(self._ask())
                    return
                pending = self._socket.send(messages) if messages else None
                if pending is not None:
                    pending.add_done_callback(self._write)
                    return
            self._no_answers.set()
            self._resting = True
        except (WebSocketClosedError, StreamClosedError):
            self._no_answers.set()  # whoever waits for it goes on, and finds the socket closed
        except Exception as error:  # noqa: BLE001 - the client comes back and resumes
            self._fail(error)

    async def _ask(self) -> None:
        """Ask whether the user may still read, and go on writing."""
        try:
            self._note_rights(await ensure_async(self._socket.may("read")))
        except Exception as error:  # noqa: BLE001 - the client comes back and resumes
            self._fail(error)
        else:
            self._write()

    def _note_rights(self, may_read: bool) -> None:
        if may_read:
            self._may_read_until = monotonic() + RIGHTS_SECONDS
        else:
            self._leave_all()

    def _fail(self, error: Exception) -> None:
        logger.error("ot_jupyter: writing to a socket failed", exc_info=error)
        self._socket.close(1011, "the server failed")

    def _take(self, doc: str) -> list[bytes]:
        """What a document's stream has for us now."""
        del self._poked[doc]
        following = self._following.get(doc)
        if following is None:
            return []
        messages = following.subscription.take()
        if following.subscription.lost is not None:
            del self._following[doc]
        return messages

    def _leave(self, doc: str) -> None:
        following = self._following.pop(doc, None)
        hearing = self._hearing.pop(doc, None)
        if hearing is not None:
            hearing()
        if following is not None:
            following.live.unsubscribe(following.subscription)

    def _leave_all(self) -> None:
        """The user may not read any more."""
        self._may_read_until = 0.0
        self._poked.clear()
        refused = Refused("forbidden", "you may not read contents any more")
        for doc in list(self._following):
            self._leave(doc)
            self._complain(refused, {"doc": doc})

    # What the client says.

    def receive(self, text: str | bytes) -> Awaitable[None] | None:
        """Carry out a message, or begin to. The next one has to wait for what is returned."""
        pause = self._pause()
        if pause or len(self._answers) >= UNSENT_ANSWERS:
            return self._receive_later(text, pause)
        return self._receive(text)

    def _pause(self) -> float:
        """Seconds to wait, so that nothing is read faster than the operator allows: a client
        that floods waits, and no other."""
        rate = self._limits.messages_per_second
        now = monotonic()
        self._credit = min(rate, self._credit + (now - self._paced) * rate) - 1
        self._paced = now
        return max(0.0, -self._credit / rate)

    async def _receive_later(self, text: str | bytes, pause: float) -> None:
        if len(self._answers) >= UNSENT_ANSWERS:
            await self._no_answers.wait()
        await asyncio.sleep(pause)
        if (rest := self._receive(text)) is not None:
            await rest

    def _receive(self, text: str | bytes) -> Awaitable[None] | None:
        value: dict[str, Any] = {}
        try:
            if not isinstance(text, str):
                raise Refused("not_text", "messages are texts, not binary")
            value = read_message(text)
            message = parse_message(value, self._limits)
            rights = [self._socket.may(*needed) for needed in _needed(message)]
            if not all(isinstance(one, bool) for one in rights):
                return self._carry_out_later(message, rights, value, len(text))
            self._carry_out(message, cast("list[bool]", rights), value, len(text))
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told
            self._explain(error, about(value))
        return None

    async def _carry_out_later(
        self,
        message: Message,
        rights: list[bool | Awaitable[bool]],
        value: dict[str, Any],
        size: int,
    ) -> None:
        try:
            self._carry_out(message, [await ensure_async(one) for one in rights], value, size)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told
            self._explain(error, about(value))

    def _carry_out(
        self, message: Message, rights: list[bool], value: dict[str, Any], size: int
    ) -> None:
        """``value`` is what the message was read from, ``rights`` whether the user has each that
        it needs."""
        if isinstance(message, Close):
            self._leave(message.doc)
            return
        if isinstance(message, Ping):
            self._tell("pong")
            return
        self._note_rights(rights[0])
        if not rights[0]:
            raise Refused("forbidden", "you may not read contents")
        if isinstance(message, Open):
            self._check_room(message)
            self._opening += 1
            self._start(self._open(message, about(value)))
            return
        for (action, resource), right in zip(_needed(message), rights, strict=True):
            if not right:
                raise Refused("forbidden", f"you may not {action} {resource}")
        following = self._following.get(message.doc)
        if following is None or following.live.closed:
            raise Refused("not_open", "open the document on this socket first", "/doc")
        if isinstance(message, Submit):
            self._submit(message, following, size)
        elif isinstance(message, Save):
            self._check_room(message)
            self._start(self._save(following.live, about(value)))
        elif isinstance(message, (Control, Answer)):
            self._check_room(message)
            self._start(self._tell_kernel(following.live, message, about(value)))
        elif isinstance(message, Comms):
            self._hear_comms(message)
        elif isinstance(message, Comm):
            self._kernels.comm(
                following.live, message.id, message.kind, message.content, message.buffers
            )
        else:
            client = following.subscription.client
            following.live.set_presence(client, self._user, message.presence)

    def _check_room(self, message: Open | Save | Control | Answer) -> None:
        """Raise :class:`Refused` if this socket has enough under way."""
        limit = self._limits.open_documents
        if isinstance(message, Open) and len(self._following) + self._opening >= limit:
            raise Refused("too_many_documents", f"a socket follows at most {limit} documents")
        if len(self._tasks) > limit:
            raise Refused("busy", "wait for answers before you ask for more")

    # Opening.

    async def _open(self, message: Open, of: dict[str, Any]) -> None:
        try:
            await self._follow(message)
        except LogUnavailable as error:
            self._complain(Refused("store_unavailable", str(error)), of)
        except OSError as error:
            self._complain(Refused("unreadable", error.strerror or str(error), "/path"), of)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told
            self._explain(error, of)
        finally:
            self._opening -= 1

    async def _follow(self, message: Open) -> None:
        path = await visible_path(self._socket.contents_manager, message.path)
        write = await ensure_async(self._socket.may("write"))
        while True:
            live = await self._reach(path, message)
            async with self._joining:
                await self._no_answers.wait()
                # From here on nothing is awaited: answer and place in the stream are one cut.
                if live.closed or live.pen.gone:
                    continue
                self._join(live, message, write)
                return

    def _join(self, live: LiveDocument, message: Open, write: bool) -> None:
        doc = live.ref.doc
        others = [
            one.public(client) for client, one in live.presence.items() if client != message.client
        ]
        opened, subscription = live.join(
            message.client, message.epoch, message.known, partial(self._poke, doc),
            asked=message.path, user=self._user, write=write, presence=others,
        )  # fmt: skip
        before = self._following.get(doc)
        self._following[doc] = Following(live, subscription)
        if before is not None:
            before.live.unsubscribe(before.subscription)
        self._say(opened)

    async def _reach(self, path: str, message: Open) -> LiveDocument:
        """The document, in step with the log. Waits some seconds for a store that is away, then
        raises ``LogUnavailable``."""
        end = monotonic() + OPEN_SECONDS
        while True:
            try:
                return await _within(end - monotonic(), self._look(path, message))
            except LogUnavailable:
                if monotonic() + RETRY_SECONDS >= end:
                    raise
            await asyncio.sleep(RETRY_SECONDS)

    async def _look(self, path: str, message: Open) -> LiveDocument:
        live = await self._sequencer.open(path, message.kind)
        await live.in_step()
        if message.epoch == live.ref.epoch:
            for rev, hash in message.known:
                if live.pen.hash_at(rev) == hash:
                    break
                await live.reach(rev)  # if it is still in the log, though not in memory
        return live

    # The kernel.

    async def _tell_kernel(
        self, live: LiveDocument, message: Control | Answer, of: dict[str, Any]
    ) -> None:
        try:
            if isinstance(message, Answer):
                await self._kernels.answer(live, message.id, message.value)
                self._tell("answered", doc=message.doc, id=message.id)
                return
            _, action, spec, cells = message
            user = self._user["username"]
            name, verdict = await self._kernels.request(live, user, action, spec, cells)
            if isinstance(verdict, Rejected):
                self._complain(verdict, of)
            else:
                self._tell("requested", doc=message.doc, id=name, rev=verdict.head.rev)
        except LogUnavailable as error:
            self._complain(Refused("store_unavailable", str(error)), of)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told
            self._explain(error, of)

    def _hear_comms(self, message: Comms) -> None:
        """Have the kernel's comm messages told, beginning with what is open."""
        doc = message.doc
        before = self._hearing.pop(doc, None)
        if before is not None:
            before()
        if message.on:
            self._tell("comms", doc=doc, open=self._kernels.open_comms(doc))
            self._hearing[doc] = self._kernels.hear(doc, partial(self._tell_comm, doc))

    def _tell_comm(self, doc: str, message: dict[str, Any]) -> None:
        self._tell("comm", doc=doc, **message)

    # Submitting.

    def _submit(self, message: Submit, following: Following, size: int) -> None:
        limits, queued = self._limits, self._queued
        if len(queued) >= limits.queued_submissions or (
            queued and sum(queued) + size > limits.message_bytes
        ):
            raise Refused("busy", "too many changes of this socket wait for the store")
        refused: Refused | None = None
        ops = message.ops
        try:
            check_ops(ops, notebook=following.live.notebook, limits=limits)
        except Refused as error:
            # Its number is taken all the same: a late duplicate of it must be a repeat.
            refused, ops = error, []
        queued.append(size)
        following.live.submit(
            Submission(
                client=following.subscription.client, n=message.n, base=message.base, ops=ops,
                user=self._user["username"], skip=message.skip,
                answer=partial(self._answer, message, following, refused, size),
            )
        )  # fmt: skip

    def _answer(
        self,
        message: Submit,
        following: Following,
        refused: Refused | None,
        size: int,
        verdict: Verdict,
    ) -> None:
        """The verdict stands. The acknowledgement is the entry itself, in the stream."""
        self._queued.remove(size)
        of = {"of": "submit", "doc": message.doc, "n": message.n}
        if isinstance(verdict, Rejected):
            self._complain(verdict, of, **({"taken": True} if verdict.taken else {}))
            return
        rev, hash = verdict.head
        if verdict.repeated:
            self._tell("repeated", doc=message.doc, n=message.n, rev=rev, hash=hash)
            return
        if refused is not None:
            self._complain(refused, of, taken=True)
            return
        following.subscription.own.add(rev)
        if message.presence is not None and self._following.get(message.doc) is following:
            presence = {**message.presence, "rev": rev}
            following.live.set_presence(following.subscription.client, self._user, presence)

    async def _save(self, live: LiveDocument, of: dict[str, Any]) -> None:
        rev = live.head.rev
        try:
            await self._sequencer.flush(live, make=True)
            problem = self._sequencer.open_documents[live.ref.doc].file.problem
        except (LogUnavailable, OSError, Refused) as error:
            problem = str(error)
        except KeyError:
            problem = "the document was closed"
        except Exception:
            logger.exception("ot_jupyter: saving failed, path=%r", live.ref.path)
            problem = "the server failed"
        if problem is None:
            self._tell("saved", doc=live.ref.doc, rev=rev)
        else:
            self._complain(Refused("not_saved", problem), of)


_READ: Final = ("read", "contents")
_WRITE: Final = ("write", "contents")
_EXECUTE: Final = ("execute", "kernels")


def _needed(message: Message) -> tuple[tuple[str, str], ...]:
    """The rights that a message needs: to do what, and with what."""
    if isinstance(message, (Close, Ping)):
        return ()
    if isinstance(message, (Open, SetPresence, Comms)):
        return (_READ,)
    if isinstance(message, (Control, Answer, Comm)):
        return (_READ, _EXECUTE)
    if isinstance(message, Submit) and message.ops:
        runs = _is_run(message.ops[-1])
        writes = not _is_run(message.ops[0])
        return (_READ, *((_WRITE,) if writes else ()), *((_EXECUTE,) if runs else ()))
    return (_READ, _WRITE)


def _is_run(operation: Any) -> bool:
    return isinstance(operation, dict) and operation.get("op") == "run"


_going_on: set[asyncio.Task[Any]] = set()  # the loop itself does not hold tasks


async def _within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """The result of the work. If it takes longer, it goes on, for whoever asks again, and
    ``LogUnavailable`` is raised."""
    task = asyncio.ensure_future(work)
    _going_on.add(task)
    task.add_done_callback(_forget)
    done, _ = await asyncio.wait({task}, timeout=seconds)
    if not done:
        raise LogUnavailable("the document is not open yet; try again")
    return task.result()


def _forget(task: asyncio.Task[Any]) -> None:
    _going_on.discard(task)
    if not task.cancelled():
        task.exception()  # it may be that nobody waits for it any more


def close_sockets(sockets: Iterable[OtSocket]) -> None:
    """The server ends: have the clients go elsewhere."""
    for socket in list(sockets):
        socket.close(1001, "the server ends")
