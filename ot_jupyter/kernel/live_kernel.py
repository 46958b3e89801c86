"""One document's kernel, on the server that owns it: what was asked for in the log is run, in the
order of the log, and what comes of it goes into the log.

Three things happen side by side. ``_work`` takes runs and requests one after the other; ``_show``
commits, many times a second, what the kernel has put out; ``_heard`` notes each message. All of
them write through ``_commit``, which adds to each change the test that this server is still the
owner: a server that was taken for dead and is not can't write any more.

A run is claimed in the log before the kernel gets it, and is sent only when the claim is there. So
it runs at most once, whatever fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

import zmq.asyncio

from ..sequencer.live import LiveDocument, utc_now
from ..sequencer.log import LogUnavailable
from ..sequencer.pen import Accepted, Submission
from ..sequencer.runs import execution_path
from ..transforms import Document, Refused, pointer
from ..transforms.pointer import Segments
from ..transforms.values import Change, Json
from . import execution
from .connection import Connection, KernelNotReady, Message
from .execution import NOTHING, Proposal, Run
from .outputs import Outputs
from .sessions import KernelUnavailable, Sessions
from .widgets import Comms

logger = logging.getLogger("ot_jupyter")

STORE_SECONDS: Final = 0.5  # between two attempts to reach a store that is away
PASSWORD: Final = "········"

DIED: Final = "the kernel died"
RESTARTED: Final = "the kernel was restarted"
SHUT_DOWN: Final = "the kernel was shut down"
INTERRUPTED: Final = "the kernel was interrupted"
STOPPED: Final = "the server that ran the kernel was stopped"
FAILED_BEFORE: Final = "a run before it, asked for together with it, failed"

T = TypeVar("T")
Make = Callable[[Document], Proposal]


class Request(NamedTuple):
    """What somebody asked of the kernel itself, at its place in the log."""

    name: str
    action: str  # "start", "interrupt", "restart", "shutdown", "change"
    spec: str | None = None  # the kernelspec to change to


class Ousted(Exception):
    """Another server owns the kernel now."""


class _Current:
    """The run that the kernel has."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.ended: asyncio.Future[tuple[str, str]] = asyncio.get_running_loop().create_future()
        self.count: int | None = None
        self.state: str | None = None  # as the kernel's reply says
        self.idle = False
        self.failed = False  # an error was put out
        self.probe = ""  # the question to a kernel that was found at it: its reply goes elsewhere

    def end(self, state: str, reason: str = "") -> None:
        if not self.ended.done():
            self.ended.set_result((state, reason))

    def look(self) -> None:
        """It has ended when the reply has come and all output before it."""
        if self.idle and self.state is not None:
            self.end(self.state)

    def probed(self) -> None:
        """The kernel has nothing to do any more. How it ended is known if that was heard."""
        if self.idle:
            self.end("error" if self.failed else "ok")
        else:
            self.end("lost", STOPPED)


class LiveKernel:
    """See the module. ``released`` is called when it ends by itself: another server has the
    kernel; ``tell`` with each comm message."""

    def __init__(
        self,
        live: LiveDocument,
        sessions: Sessions,
        context: zmq.asyncio.Context,
        server: str,
        released: Callable[[LiveKernel], None],
        tell: Callable[[Message], None],
    ) -> None:
        self.live = live
        self.comms = Comms()
        self._tell = tell
        self._sessions = sessions
        self._context = context
        self._server = server
        self._client = f"kernel:{server}"
        self._released = released
        self._inbox: deque[Run | Request] = deque()
        self._aborted: dict[str, str] = {}  # queued runs that are not to be run, and why
        self._news = asyncio.Event()
        self._committing = asyncio.Lock()
        self._flushing = asyncio.Lock()
        self._outputs = Outputs()
        self._dirty = asyncio.Event()
        self._current: _Current | None = None
        self._starting = True  # something is done for which there need be no kernel yet
        self._connection: Connection | None = None
        self._process = ""  # the name that the kernel's process gives itself in its messages
        self._id = ""
        self._generation = 0
        self._questions: dict[str, str] = {}  # that the kernel waits for -> their cell
        self._side: set[asyncio.Task[None]] = set()
        self._task = asyncio.create_task(self._guarded(self._work))
        self._showing = asyncio.create_task(self._guarded(self._show))
        live.held = True

    @property
    def kernel_id(self) -> str:
        """The kernel's id, ``""`` while there is none."""
        return self._id if self._connection is not None else ""

    @property
    def ended(self) -> bool:
        """Whether there is nothing to look after any more."""
        return self._connection is None and not self.busy and not self._starting

    @property
    def busy(self) -> bool:
        """Whether something runs or waits."""
        return self._current is not None or bool(self._inbox) or bool(self._side)

    # What the log brings.

    def take(self, item: Run | Request) -> None:
        """Take up what was asked for; in the order of the log."""
        if isinstance(item, Request) and item.action != "start":
            reason = {
                "restart": RESTARTED, "interrupt": INTERRUPTED,
            }.get(item.action, SHUT_DOWN)  # fmt: skip
            self._abort_queued(reason)
            if self._current is not None and item.action != "interrupt":
                self._current.end("aborted", reason)
            elif item.action == "interrupt":  # now, not when what runs has ended
                self._start(self._interrupt(item))
                return
        self._inbox.append(item)
        self._news.set()

    def _abort_queued(self, reason: str, batch: str | None = None) -> None:
        """Have what is queued (of a batch) not run."""
        for one in self._inbox:
            if isinstance(one, Run) and batch in (None, one.batch):
                self._aborted.setdefault(one.name, reason)

    # One after the other.

    async def _work(self) -> None:
        await self._take_over()
        while True:
            while not self._inbox:
                self._starting = False
                self._news.clear()
                await self._news.wait()
            self._starting = True
            item = self._inbox.popleft()
            if isinstance(item, Run):
                await self._run(item)
                self._aborted.pop(item.name, None)
            else:
                await self._carry_out(item)

    async def _take_over(self) -> None:
        """Become the owner; what an earlier one left unfinished ends, unless its kernel lives."""
        while True:
            before = self.live.document["kernel"]
            if before["owner"] == self._server:
                self._generation = before["generation"]
                return
            lives = bool(before.get("id")) and await self._sessions.find(
                self.live.ref.path, before["id"]
            )
            document = self.live.document
            if document["kernel"] != before:
                continue
            keep = {one.name for one in self._inbox if isinstance(one, Run)}
            running = _running(document) if lives else None
            if running is not None:
                keep.add(running.name)
            left = execution.abandon(document, keep, utc_now(), STOPPED)
            generation = before["generation"] + 1
            kernel = {**before, "owner": self._server, "generation": generation}
            if not lives:
                kernel = {**_without_process(kernel), "state": "none"}
            write = {"op": "replace", "path": "/kernel", "value": kernel}
            expects = ((("kernel",), before), *left.expects)
            if await self._submit(Proposal([write, *left.ops], expects)):
                self._generation = generation
                break
            if self.live.document["kernel"]["owner"] not in (before["owner"], self._server):
                raise Ousted
        if lives:
            await self._adopt(running)

    async def _adopt(self, running: Run | None) -> None:
        """Go on with a kernel that outlived the server it was started by."""
        try:
            await self._connect(self.live.document["kernel"]["id"])
        except KernelUnavailable as error:
            await self._lose(str(error))
        if running is None:
            return
        if self._connection is None:
            await self._settle(running, "lost", STOPPED)
            return
        self._outputs.begin(running.name, running.cell)
        current = self._current = _Current(running)
        current.probe = self._connection.ask()
        state, reason = await current.ended
        await self._finish(running, state, reason)

    async def _run(self, run: Run) -> None:
        reason = self._aborted.get(run.name)
        if reason is None:
            try:
                await self._ensure()
            except KernelUnavailable as error:
                reason = str(error)
                self._abort_queued(reason, run.batch)
        reason = self._aborted.get(run.name, reason)
        if reason is not None or self._connection is None:
            await self._settle(run, "aborted", reason or DIED)
            return
        if not await self._commit(lambda document: self._claim(document, run)):
            return  # its cell is gone
        if not run.code.strip():
            await self._settle(run, "ok")
            return
        self._outputs.begin(run.name, run.cell)
        self._current = current = _Current(run)
        if self._connection is None:  # it died while the claim was on its way
            current.end("lost", DIED)
        else:
            self._connection.run(run.name, run.code)
        state, reason = await current.ended
        if state == "error" and not run.raises:
            self._abort_queued(FAILED_BEFORE, run.batch)
        await self._finish(run, state, reason)

    def _claim(self, document: Document, run: Run) -> Proposal:
        held = execution.find_run(document, run)
        if held is None or (held["run"], held["state"]) != (run.name, "queued"):
            return NOTHING
        ops = execution.claim(document, run, self._id, self._generation, utc_now())
        return Proposal(ops, (execution.expect(document, run.cell),))

    async def _finish(self, run: Run, state: str, reason: str) -> None:
        """Show all of its output, then say that it has ended."""
        count = self._current.count if self._current is not None else None
        self._outputs.end(run.name)
        await self._flush()
        await self._settle(run, state, reason, count)
        self._current = None

    async def _settle(
        self, run: Run, state: str, reason: str = "", count: int | None = None
    ) -> None:
        said = {"state": state, "ended": utc_now(), **({"reason": reason} if reason else {})}

        def make(document: Document) -> Proposal:
            if execution.find_run(document, run) is None:
                return NOTHING
            ops = execution.end(document, run.cell, run.name, **said)
            if count is not None:
                path = pointer("cells", run.cell, "execution_count")
                ops.append({"op": "replace", "path": path, "value": count})
            return Proposal(ops, (execution.expect(document, run.cell),))

        await self._commit(make)

    # The kernel's life.

    async def _ensure(self) -> None:
        """Have a kernel. Raises :class:`KernelUnavailable`."""
        if self._connection is not None:
            return
        spec = self.live.document["metadata"].get("kernelspec", {}).get("name")
        await self._note(state="starting")
        try:
            kernel = await self._sessions.start(self.live.ref.path, spec)
            await self._connect(kernel)
        except KernelUnavailable as error:
            await self._lose(str(error))
            raise

    async def _connect(self, kernel: str) -> None:
        manager = self._sessions.manager(kernel)
        if manager is None:
            raise KernelUnavailable("the kernel ended while it started")
        connection = Connection(manager, self._context, self._heard)
        self._process = ""
        try:
            await connection.open()
        except KernelNotReady as error:
            await connection.close()
            raise KernelUnavailable(str(error)) from None
        self._id, self._connection = kernel, connection
        await self._note(
            state="ready", id=kernel, name=manager.kernel_name, generation=self._generation + 1
        )

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
        self._forget()
        if self._current is not None:
            self._outputs.end(self._current.run.name)
        await self._flush()
        self._outputs = Outputs()

    def _forget(self) -> None:
        """What was open in the kernel's process is no more."""
        self._questions.clear()
        self.comms.clear()
        self._tell({"header": {"msg_type": "comms_closed"}, "content": {}})

    async def _lose(self, reason: str) -> None:
        """There is no kernel (any more)."""
        await self._disconnect()
        self._id = ""

        def make(document: Document) -> Proposal:
            kernel = {**_without_process(document["kernel"]), "state": "none", "reason": reason}
            write = {"op": "replace", "path": "/kernel", "value": kernel}
            return Proposal([write], ((("kernel",), document["kernel"]),))

        await self._commit(make)

    async def _note(self, **fields: Any) -> None:
        """Write into the document's ``kernel``."""

        def make(document: Document) -> Proposal:
            kernel = {**document["kernel"], **fields}
            kernel.pop("reason", None)
            write = {"op": "replace", "path": "/kernel", "value": kernel}
            return Proposal([write], ((("kernel",), document["kernel"]),))

        await self._commit(make)
        self._generation = fields.get("generation", self._generation)

    async def _carry_out(self, request: Request) -> None:
        error = ""
        try:
            if request.action == "start":
                await self._ensure()
            elif request.action == "restart":
                await self._restart()
            else:
                await self._shut_down(request)
        except KernelUnavailable as problem:
            error = str(problem)
        await self._answer_request(request, error)

    async def _restart(self) -> None:
        kernel = self.kernel_id
        if not kernel or not await self._sessions.is_alive(kernel):
            await self._disconnect()
            await self._ensure()
            return
        await self._note(state="restarting")
        await self._disconnect()
        try:
            await self._sessions.restart(kernel)
            await self._connect(kernel)
        except KernelUnavailable as error:
            await self._lose(str(error))
            raise

    async def _shut_down(self, request: Request) -> None:
        await self._disconnect()
        await self._sessions.shut_down(self.live.ref.path)
        await self._lose(SHUT_DOWN)
        if request.action == "change":
            await self._commit(lambda document: Proposal(_with_spec(document, request.spec or "")))
            await self._ensure()

    async def _interrupt(self, request: Request) -> None:
        error = ""
        if self._connection is None:
            error = "there is no kernel"
        else:
            try:
                await self._sessions.interrupt(self._id)
            except Exception as problem:  # noqa: BLE001 - whoever asked is told
                error = f"the kernel can't be interrupted: {problem}"
        await self._answer_request(request, error)

    async def _answer_request(self, request: Request, error: str) -> None:
        done = {"request": request.name, **({"error": error} if error else {})}
        write = {"op": "replace", "path": "/kernel/done", "value": done}
        await self._commit(lambda document: Proposal([write]))

    async def look(self) -> None:
        """Notice a kernel that is gone. Called now and then."""
        if self._connection is None or await self._sessions.is_alive(self._id):
            return
        known = self._sessions.manager(self._id) is not None
        reason = DIED if known else SHUT_DOWN
        logger.info("ot_jupyter: the kernel of %s is gone: %s", self.live.ref.path, reason)
        self._abort_queued(reason)
        if self._current is not None:
            self._current.end("lost", reason)
        await self._lose(reason)

    # What the kernel says.

    def _heard(self, channel: str, message: Message) -> None:
        kind = message["header"]["msg_type"]
        parent = message["parent_header"].get("msg_id")
        current = self._current
        mine = current is not None and parent == current.run.name
        if channel == "iopub":
            if kind == "status":
                self._heard_status(message, mine)
            elif kind == "execute_input":
                if mine and current is not None:
                    current.count = message["content"].get("execution_count")
            elif kind in ("comm_open", "comm_msg", "comm_close"):
                self.comms.take(message)
                self._tell(message)
            else:
                if mine and current is not None and kind == "error":
                    current.failed = True
                self._outputs.take(message)
                if self._outputs.dirty:
                    self._dirty.set()
        elif channel == "shell" and current is not None:
            if mine and kind == "execute_reply":
                self._outputs.take(message)
                content = message["content"]
                current.count = content.get("execution_count", current.count)
                current.state = content.get("status", "error")
                current.look()
            elif parent == current.probe:
                current.probed()
        elif channel == "stdin" and kind == "input_request" and current is not None:
            self._start(self._ask(current.run, message))

    def _heard_status(self, message: Message, mine: bool) -> None:
        process = message["header"].get("session", "")
        if self._process and process != self._process:
            self._start(self._heard_restart())
        self._process = process
        idle = message["content"].get("execution_state") == "idle"
        if mine and idle and self._current is not None:
            self._current.idle = True
            self._current.look()

    async def _heard_restart(self) -> None:
        """Somebody else restarted the kernel, or it died and was started again."""
        self._abort_queued(RESTARTED)
        if self._current is not None:
            self._current.end("aborted", RESTARTED)
        self._forget()
        await self._note(state="ready", generation=self._generation + 1)

    async def _ask(self, run: Run, message: Message) -> None:
        """Put a question of the kernel into the cell."""
        content = message["content"]
        name = message["header"]["msg_id"]
        question = {
            "id": name,
            "prompt": str(content.get("prompt", "")),
            "password": content.get("password") is True,
        }
        await self._flush()  # what was printed before it

        def make(document: Document) -> Proposal:
            held = execution.find_run(document, run)
            if held is None or held["run"] != run.name:
                return NOTHING
            path = execution_path(run.cell) + "/input"
            write = {"op": "replace", "path": path, "value": question}
            return Proposal([write], (execution.expect(document, run.cell),))

        self._questions[name] = run.cell
        if not await self._commit(make):  # the cell is gone: nobody can answer any more
            self._questions.pop(name, None)
            if self._connection is not None:
                await self._sessions.interrupt(self._id)

    async def answer(self, question: str, value: str) -> None:
        """Answer a question of the kernel. Raises :class:`Refused` if it is not asked any more."""
        cell = self._questions.pop(question, None)
        gone = Refused("answered", "this question was answered, or is not asked any more", "/id")
        if cell is None:
            raise gone
        asked: dict[str, Any] = {}

        def make(document: Document) -> Proposal:
            held = document["cells"].get(cell, {}).get("execution", {})
            if held.get("input", {}).get("id") != question:
                return NOTHING
            asked.update(held["input"], run=held["run"])
            path = execution_path(cell) + "/input"
            expects = (execution.expect(document, cell),)
            return Proposal([{"op": "remove", "path": path}], expects)

        if not await self._commit(make) or self._connection is None:
            raise gone
        self._connection.answer(value)
        shown = PASSWORD if asked["password"] else value
        text = f"{asked['prompt']} {shown}\n"
        self._outputs.take(_stream(asked["run"], "stdin", text))
        self._dirty.set()

    def comm(self, kind: str, content: Message, buffers: list[bytes], name: str) -> None:
        """Send a client's comm message to the kernel. Raises :class:`Refused` if there is none."""
        if self._connection is None:
            raise Refused("no_kernel", "the document has no kernel now", "/doc")
        self._connection.comm(kind, content, buffers, name)
        header = {"msg_type": kind, "msg_id": name}
        self.comms.sent(
            {"header": header, "parent_header": {}, "metadata": {}, "content": content,
             "buffers": buffers}
        )  # fmt: skip

    # What is put out.

    async def _show(self) -> None:
        while True:
            await self._dirty.wait()
            await asyncio.sleep(self._outputs.pause())
            self._dirty.clear()
            await self._flush()

    async def _flush(self) -> None:
        """Commit what the kernel has put out so far."""
        async with self._flushing:
            outputs, log, doc = self._outputs, self.live.log, self.live.ref.doc
            while outputs.dirty:
                if blobs := outputs.take_blobs():
                    await _patiently(partial(log.put_blobs, doc, blobs))
                for name, data in outputs.take_spooled():
                    await _patiently(partial(log.append_spool, doc, name, data))
                for name in outputs.take_sealed():
                    hash, size = await _patiently(partial(log.seal_spool, doc, name))
                    outputs.sealed(name, hash, size)
                shown = partial(_shown, outputs)
                if not await self._commit(shown, waits=True):
                    return

    # Into the log.

    async def _commit(self, make: Make, *, waits: bool = False) -> bool:
        """Commit what ``make`` makes of the document, again if what it expects has changed; False
        if it makes nothing. Raises :class:`Ousted`."""
        while True:
            async with self._committing:
                kernel = self.live.document["kernel"]
                if (kernel["owner"], kernel["generation"]) != (self._server, self._generation):
                    raise Ousted
                proposal = make(self.live.document)
                if not proposal.ops:
                    return False
                expects = (*self._own_kernel(), *proposal.expects)
                if await self._submit(Proposal(proposal.ops, expects), waits=waits):
                    return True

    def _own_kernel(self) -> Iterator[tuple[Segments, Json]]:
        """That this server is the owner, and its kernel the one that it thinks."""
        yield ("kernel", "owner"), self._server
        yield ("kernel", "generation"), self._generation

    async def _submit(self, proposal: Proposal, *, waits: bool = False) -> bool:
        """Submit what was proposed for the document as it is now. False: it is another by now."""
        live = self.live
        number = live.pen.last_number(self._client) + 1
        head = live.head
        verdict = await live.commit(
            lambda answer: Submission(
                client=self._client, n=number, base=head, ops=proposal.ops, user="kernel",
                answer=answer, consume=False, expects=proposal.expects, waits=waits,
            )
        )  # fmt: skip
        if isinstance(verdict, Accepted):
            return True
        if verdict.code == "gone":
            raise Ousted
        if verdict.code not in ("unexpected", "gap", "unknown_base"):
            logger.error(
                "ot_jupyter: the kernel of %s can't write: %s", live.ref.path, verdict.message
            )
            raise Refused(verdict.code, verdict.message, verdict.pointer)
        return False

    # Side by side.

    def _start(self, work: Awaitable[None]) -> None:
        async def guarded() -> None:
            await work

        task = asyncio.ensure_future(self._guarded(guarded))
        self._side.add(task)
        task.add_done_callback(self._side.discard)

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
                return
            except Ousted:
                logger.info("ot_jupyter: another server has the kernel of %s", self.live.ref.path)
                self._released(self)
                return
            except asyncio.CancelledError:
                raise
            except Exception:
                logger.exception("ot_jupyter: the kernel of %s", self.live.ref.path)
                await self._recover()
                if work not in (self._work, self._show):
                    return

    async def _recover(self) -> None:
        """After a bug: nobody waits for ever for what was running."""
        current, self._current = self._current, None
        if current is not None:
            with contextlib.suppress(Exception):
                await self._settle(current.run, "lost", "the server failed")
        await asyncio.sleep(STORE_SECONDS)

    async def close(self, reason: str | None = None) -> None:
        """Let go of the kernel. ``reason``: what is queued or running ends so; None: another
        server says how."""
        tasks = [self._task, self._showing, *self._side]
        for task in tasks:
            if task is not asyncio.current_task():
                task.cancel()
        await asyncio.gather(
            *(one for one in tasks if one is not asyncio.current_task()), return_exceptions=True
        )
        if reason is not None and self.live.stalled is None:
            self._current = None
            with contextlib.suppress(Ousted, Refused, LogUnavailable):
                await self._commit(lambda document: self._parting(document, reason))
        await self._disconnect()
        self.live.held = False

    def _parting(self, document: Document, reason: str) -> Proposal:
        left = execution.abandon(document, set(), utc_now(), reason)
        kernel = {**_without_process(document["kernel"]), "state": "none", "owner": ""}
        write = {"op": "replace", "path": "/kernel", "value": kernel}
        return Proposal([*left.ops, write], (*left.expects, (("kernel",), document["kernel"])))


def _shown(outputs: Outputs, document: Document) -> Proposal:
    """All that was put out and is not in the document yet."""
    return Proposal(outputs.changes(document))


async def _patiently(attempt: Callable[[], Awaitable[T]]) -> T:
    """Do it, as soon as the store can be reached."""
    while True:
        try:
            return await attempt()
        except LogUnavailable as error:
            logger.warning("ot_jupyter: outputs wait for the store: %s", error)
            await asyncio.sleep(STORE_SECONDS)


def _running(document: Document) -> Run | None:
    """The run that a kernel has, as the document says."""
    for cell in document["order"]:
        held = document["cells"][cell]["execution"]
        if held.get("state") == "running":
            return Run(held["run"], cell, held["batch"], "", False)
    return None


def _without_process(kernel: dict[str, Any]) -> dict[str, Any]:
    """What is left of ``kernel`` when its process is gone."""
    return {key: value for key, value in kernel.items() if key not in ("id", "reason")}


def _with_spec(document: Document, spec: str) -> Change:
    """Have the notebook ask for another kernelspec; what it says of the language is not true any
    more."""
    named = {"name": spec, "display_name": spec}
    ops: Change = [{"op": "replace", "path": "/metadata/kernelspec", "value": named}]
    if "language_info" in document["metadata"]:
        ops.append({"op": "remove", "path": "/metadata/language_info"})
    return ops


def _stream(run: str, name: str, text: str) -> Message:
    """A message that puts out a text as if the kernel had sent it."""
    return {
        "header": {"msg_type": "stream"},
        "parent_header": {"msg_id": run},
        "metadata": {},
        "content": {"name": name, "text": text},
    }
