"""One document's kernel, on the server that owns it: what was asked for in the log is run, in the
order of the log, and what comes of it goes into the log.

``_work`` takes runs and requests one after the other; ``_heard`` notes each message of the kernel;
the display (see ``display.py``) commits what it puts out, beside both. Whatever is written goes
through the writer (see ``writer.py``), so a server that was taken for dead and is not can't write
any more.

A run is claimed in the log before the kernel gets it, and is sent only when the claim is there. So
it runs at most once, whatever fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, NamedTuple
from uuid import uuid4

from ..sequencer.live import LiveDocument, utc_now
from ..sequencer.log import LogUnavailable
from ..sequencer.runs import execution_path
from ..transforms import Document, Refused, pointer
from . import execution
from .connection import INFO, Connection, Message
from .display import Display
from .execution import NOTHING, Proposal, Run, next_input, running_in
from .register import (
    STOPPED,
    given_up,
    noted,
    parting,
    with_metadata,
    with_spec,
    without_process,
    write_kernel,
)
from .sessions import KernelUnavailable, Sessions
from .widgets import Comms
from .writer import Make, Ousted, Writer

logger = logging.getLogger("ot_jupyter")

ASK_SECONDS: Final = 0.1  # that what was printed before a question may take: on another socket
RECOVER_SECONDS: Final = 0.5
SILENT_SECONDS: Final = 5.0  # so long nothing is heard of a run before the kernel is asked
BEGIN_SECONDS: Final = 5.0  # that an interrupt waits for the kernel to begin with the run
PASSWORD: Final = "········"

DIED: Final = "the kernel died"
RESTARTED: Final = "the kernel was restarted"
SHUT_DOWN: Final = "the kernel was shut down"
INTERRUPTED: Final = "the kernel was interrupted"
NO_REPLY: Final = "the kernel did not say how it ended"
FAILED_BEFORE: Final = "a run before it, asked for together with it, failed"
_REASONS: Final = {"restart": RESTARTED, "interrupt": INTERRUPTED}


class Request(NamedTuple):
    """What somebody asked of the kernel itself, at its place in the log."""

    name: str
    action: str  # "start", "interrupt", "restart", "shutdown", "change"
    spec: str | None = None  # the kernelspec to change to


class _Current:
    """The run that the kernel has."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.ended: asyncio.Future[tuple[str, str]] = asyncio.get_running_loop().create_future()
        self.begun = asyncio.Event()  # or ended: an interrupt before that would meet nothing
        self.count: int | None = None
        self.state: str | None = None  # as the kernel's reply says
        self.idle = False
        self.failed = False  # an error was put out
        # What the kernel is asked behind the run, and whether the answer has come on both channels:
        # then nothing more comes of the run.
        self.probe = ""
        self.found = False  # at it, by a server that did not ask for it: the reply goes elsewhere
        self.answered = self.drained = False
        self.heard = (
            asyncio.get_running_loop().time()
        )  # when the kernel last said something of the run

    def end(self, state: str, reason: str = "") -> None:
        self.begun.set()
        if not self.ended.done():
            self.ended.set_result((state, reason))

    def drain(self) -> None:
        """Nothing more comes."""
        self.drained = True
        self.look()

    def look(self) -> None:
        """It has ended when the reply has come and all output before it, or the answer to a later
        question: replies can get lost, and go to another server if that asked for the run."""
        if self.idle and self.state is not None:
            self.end(self.state)
        elif self.answered and self.drained:
            known = "ok" if self.found and self.idle else "lost"
            state = self.state or ("error" if self.failed else known)
            self.end(state, NO_REPLY if state == "lost" else "")


class LiveKernel:
    """See the module. ``released`` is called when another server has the kernel; ``tell`` with
    each comm message."""

    def __init__(
        self,
        live: LiveDocument,
        sessions: Sessions,
        server: str,
        released: Callable[[LiveKernel], None],
        tell: Callable[[Message], None],
    ) -> None:
        self.live = live
        self.comms = Comms()
        self._sessions = sessions
        self._released = released
        self._tell = tell
        self._writer = Writer(live, server)
        self._display = Display(self._writer)
        self._inbox: deque[Run | Request] = deque()
        self._aborted: dict[str, str] = {}  # queued runs that are not to be run, and why
        self._news = asyncio.Event()
        self._at_work = True  # at something for which there need be no kernel yet
        self._current: _Current | None = None
        self._connection: Connection | None = None
        self._id = ""  # of the kernel that there is a connection to
        self._process = ""  # the name that its process gives itself in its messages
        self._questions: dict[str, str] = {}  # that the kernel waits for -> their cell
        self._side: set[asyncio.Task[None]] = set()
        self._tasks = [
            asyncio.create_task(self._guarded(self._work)),
            asyncio.create_task(self._guarded(self._display.run)),
        ]
        live.held = True

    @property
    def ended(self) -> bool:
        """Whether there is no kernel, and nothing is asked of one."""
        return self._connection is None and not (self._at_work or self._inbox or self._side)

    # What the log brings.

    def take(self, item: Run | Request) -> None:
        """Take up what was asked for; in the order of the log."""
        if isinstance(item, Request) and item.action != "start":
            reason = _REASONS.get(item.action, SHUT_DOWN)
            self._abort_queued(reason)
            if item.action == "interrupt" and self._id:  # now, not when what runs has ended
                self._start(self._interrupt(item))
                return
            if item.action != "interrupt" and self._current is not None:
                self._current.end("aborted", reason)
        self._inbox.append(item)
        self._news.set()

    def _abort_queued(self, reason: str, batch: str | None = None) -> None:
        """Have what is queued (of a batch) not run."""
        for one in self._inbox:
            if isinstance(one, Run) and batch in (None, one.batch):
                self._aborted.setdefault(one.name, reason)

    # One after the other.

    async def _work(self) -> None:
        if self._writer.generation == 0:
            await self._take_over()
        while True:
            while not self._inbox:
                self._at_work = False
                self._news.clear()
                await self._news.wait()
            self._at_work = True
            item = self._inbox.popleft()
            if isinstance(item, Run):
                await self._run(item)
                self._aborted.pop(item.name, None)
            else:
                await self._carry_out(item)

    async def _take_over(self) -> None:
        """Become the owner; what an earlier one left unfinished ends, unless its kernel lives."""
        first = self.live.document["kernel"]
        while True:
            before = self.live.document["kernel"]
            if before["owner"] not in (first["owner"], self._writer.server):
                raise Ousted
            path, kernel = self.live.ref.path, before.get("id")
            lives = kernel is not None and await self._sessions.find(path, kernel)
            document = self.live.document
            if document["kernel"] != before:
                continue
            running = running_in(document) if lives else None
            names = {one.name for one in self._inbox}
            going_on = "" if running is None else running.name
            left = execution.abandon(document, names, going_on, utc_now(), STOPPED)
            generation = before["generation"] + 1
            after = {**given_up(before, names), "owner": self._writer.server}
            after["generation"] = generation
            if not lives:
                after = {**without_process(after), "state": "none"}
            expects = ((("kernel",), before), *left.expects)
            proposal = Proposal([write_kernel(after), *left.ops], expects)
            if await self._writer.take_over(proposal, generation):
                break
        await self._display.seal_leftovers()
        if kernel is not None and lives:
            await self._adopt(kernel, running)

    async def _adopt(self, kernel: str, running: Run | None) -> None:
        """Go on with a kernel that outlived the server that started it."""
        if running is not None:
            self._display.begin(
                running.name, running.cell, self.live.document["cells"][running.cell]["outputs"]
            )
            self._current = _Current(running)
        try:
            await self._connect(kernel)
        except KernelUnavailable as error:
            await self._lose(str(error))
        current = self._current
        if running is None or current is None:
            return
        if self._connection is None:
            current.end("lost", STOPPED)
        else:
            # It answers when it has nothing else to do: then the run has ended.
            current.probe, current.found = self._connection.ask(), True
        await self._finish(running, *await current.ended)

    async def _run(self, run: Run) -> None:
        if run.name not in self._aborted:
            try:
                await self._ensure()
            except KernelUnavailable as error:
                self._aborted[run.name] = str(error)
                self._abort_queued(str(error), run.batch)
        if self._connection is None:
            self._aborted.setdefault(run.name, DIED)
        if run.name in self._aborted:
            await self._settle(run, "aborted", self._aborted[run.name])
            return
        if not await self._writer.commit(partial(self._claim, run)):
            return  # its cell is gone
        if not run.code.strip():
            await self._settle(run, "ok")
            return
        self._display.begin(run.name, run.cell, [])
        self._current = current = _Current(run)
        if run.name in self._aborted:  # while the claim was on its way
            current.end("aborted", self._aborted[run.name])
        elif self._connection is None:
            current.end("lost", DIED)
        else:
            self._connection.run(run.name, run.code)
        state, reason = await current.ended
        if state == "error" and not run.raises:
            self._abort_queued(FAILED_BEFORE, run.batch)
        await self._finish(run, state, reason)

    def _claim(self, run: Run, document: Document) -> Proposal:
        held = execution.find_run(document, run)
        if held is None or (held["run"], held["state"]) != (run.name, "queued"):
            return NOTHING
        ops = execution.claim(document, run, self._id, self._writer.generation, utc_now())
        return Proposal(ops, (execution.expect(document, run.cell),))

    async def _finish(self, run: Run, state: str, reason: str) -> None:
        """Show all of its output, then say that it has ended."""
        count = self._current.count if self._current is not None else None
        await self._display.end(run.name)
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

        await self._writer.commit(make)

    # The kernel's life.

    async def _ensure(self) -> None:
        """Have a kernel. Raises :class:`KernelUnavailable`."""
        if self._connection is not None:
            return
        spec = self.live.document["metadata"].get("kernelspec", {}).get("name")
        await self._writer.commit(partial(noted, {"state": "starting"}))
        try:
            kernel = await self._sessions.start(self.live.ref.path, spec)
            await self._connect(kernel)
        except KernelUnavailable as error:
            await self._lose(str(error))
            raise

    async def _connect(self, kernel: str) -> None:
        self._process = ""
        connection = await self._sessions.connect(kernel, self._heard)
        self._id, self._connection = kernel, connection
        await self._new_process(id=kernel, name=connection.name)
        spec = await self._sessions.describe(connection.name)
        await self._writer.commit(partial(with_metadata, "kernelspec", spec))

    async def _new_process(self, **fields: str) -> None:
        generation = self._writer.generation + 1
        fields |= {"state": "ready"}
        await self._writer.raise_generation(partial(noted, {**fields, "generation": generation}))

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        self._id = ""
        if connection is not None:
            await connection.close()
        self._forget()
        if self._current is not None:
            await self._display.end(self._current.run.name)
        await self._display.restart()

    def _forget(self) -> None:
        """What was open in the kernel's process is no more."""
        self._questions.clear()
        self.comms.clear()
        self._tell({"header": {"msg_type": "comms_closed"}, "content": {}})

    async def _lose(self, reason: str) -> None:
        """There is no kernel (any more)."""
        await self._disconnect()

        def make(document: Document) -> Proposal:
            kernel = {**without_process(document["kernel"]), "state": "none", "reason": reason}
            return Proposal([write_kernel(kernel)], ((("kernel",), document["kernel"]),))

        await self._writer.commit(make)

    async def look(self) -> None:
        """Notice a kernel that is gone. To be called now and then."""
        self._probe()
        kernel = self._id
        if not kernel or await self._sessions.is_alive(kernel) or kernel != self._id:
            return
        reason = DIED if self._sessions.knows(kernel) else SHUT_DOWN
        logger.info("ot_jupyter: the kernel of %s is gone: %s", self.live.ref.path, reason)
        self._abort_queued(reason)
        if self._current is not None:
            self._current.end("lost", reason)
        await self._lose(reason)

    def _probe(self) -> None:
        """Ask a kernel that is silent about its run for something else: when it answers, the run
        has ended, whatever was not heard of it."""
        current = self._current
        if current is None or self._connection is None or current.probe:
            return
        if asyncio.get_running_loop().time() - current.heard > SILENT_SECONDS:
            current.probe = self._connection.ask()

    # What is asked of the kernel itself.

    async def _carry_out(self, request: Request) -> None:
        error = ""
        try:
            if request.action == "start":
                await self._ensure()
            elif request.action == "restart":
                await self._restart()
            elif request.action == "interrupt":
                raise KernelUnavailable("there is no kernel")
            else:
                await self._shut_down(request)
        except KernelUnavailable as problem:
            error = str(problem)
        await self._answer_request(request, error)

    async def _restart(self) -> None:
        kernel = self._id
        if not kernel or not await self._sessions.is_alive(kernel):
            await self._disconnect()
            await self._ensure()
            return
        await self._writer.commit(partial(noted, {"state": "restarting"}))
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
            await self._writer.commit(partial(with_spec, request.spec or ""))
            await self._ensure()

    async def _interrupt(self, request: Request) -> None:
        error = ""
        if self._current is not None and not self._current.probe:
            with contextlib.suppress(asyncio.TimeoutError):  # not all kernels say that they begin
                await asyncio.wait_for(self._current.begun.wait(), BEGIN_SECONDS)
        try:
            await self._sessions.interrupt(self._id)
        except Exception as problem:  # noqa: BLE001 - whoever asked is told
            error = f"the kernel can't be interrupted: {problem}"
        await self._answer_request(request, error)

    async def _answer_request(self, request: Request, error: str) -> None:
        done = {"request": request.name, **({"error": error} if error else {})}
        write = {"op": "replace", "path": "/kernel/done", "value": done}
        await self._writer.commit(lambda document: Proposal([write]))

    # What the kernel says.

    def _heard(self, channel: str, message: Message) -> None:
        kind = message["header"]["msg_type"]
        parent = message["parent_header"].get("msg_id")
        current = self._current
        mine = current is not None and parent == current.run.name
        if mine and current is not None:
            current.heard = asyncio.get_running_loop().time()
        if channel == "iopub":
            self._heard_of(kind, message, current if mine else None)
        elif channel == "shell" and current is not None:
            if mine and kind == "execute_reply":
                self._display.take(message)
                self._take_next_input(current.run, message["content"])
                current.count = message["content"].get("execution_count", current.count)
                current.state = _state_of(message["content"])
                current.look()
            elif parent == current.probe:
                current.answered = True
                current.look()
                if current.found:  # what it said when nobody listened may be lost, its end too
                    asyncio.get_running_loop().call_later(SILENT_SECONDS, current.drain)
        elif channel == INFO and kind == "kernel_info_reply":
            language = message["content"].get("language_info")
            self._start(self._write(partial(with_metadata, "language_info", language)))
        elif channel == "stdin" and kind == "input_request" and current is not None and mine:
            self._start(self._ask(current.run, message))

    def _heard_of(self, kind: str, message: Message, current: _Current | None) -> None:
        """A message to all; ``current`` is the run that it is about."""
        content = message["content"]
        if kind == "status":
            self._note_process(message["header"].get("session", ""))
            if content.get("execution_state") == "idle":
                self._heard_idle(current, message["parent_header"].get("msg_id"))
        elif kind in ("comm_open", "comm_msg", "comm_close"):
            self.comms.take(message)
            self._tell(message)
        elif current is not None and kind == "execute_input":
            current.count = content.get("execution_count", current.count)
            current.begun.set()
        else:
            if current is not None and kind == "error":
                current.failed = True
            captured = self.comms.captured(message)
            if captured is None:
                self._display.take(message)
            elif self._connection is not None:
                self.comm("comm_msg", captured, [], uuid4().hex)

    def _heard_idle(self, current: _Current | None, parent: str | None) -> None:
        """The kernel has nothing more to say of what it was asked."""
        if current is not None:
            current.idle = True
            current.look()
        elif self._current is not None and parent == self._current.probe:
            self._current.drain()

    def _take_next_input(self, run: Run, reply: Message) -> None:
        """Write what the kernel wants to be written: ``%load`` its cell, ``%recall`` the next."""
        for payload in reply.get("payload") or ():
            if payload.get("source") == "set_next_input" and type(payload.get("text")) is str:
                self._start(self._write(partial(next_input, run, payload)))

    async def _write(self, make: Make) -> None:
        await self._writer.commit(make)

    def _note_process(self, process: str) -> None:
        """Whose message it is tells of restarts that others made."""
        if self._process and process != self._process:
            self._start(self._heard_restart())
        self._process = process

    async def _heard_restart(self) -> None:
        """Somebody else restarted the kernel, or it died and was started again."""
        self._abort_queued(RESTARTED)
        if self._current is not None:
            self._current.end("aborted", RESTARTED)
        self._forget()
        await self._new_process()

    # What the kernel asks.

    async def _ask(self, run: Run, message: Message) -> None:
        """Put a question of the kernel into the cell."""
        content = message["content"]
        name = message["header"]["msg_id"]
        password = content.get("password") is True
        question = {"id": name, "prompt": str(content.get("prompt", "")), "password": password}
        self._questions[name] = run.cell
        await asyncio.sleep(ASK_SECONDS)
        await self._display.flush()  # what was printed before it

        def make(document: Document) -> Proposal:
            held = execution.find_run(document, run)
            if held is None or held["run"] != run.name:
                return NOTHING
            path = execution_path(run.cell) + "/input"
            write = {"op": "replace", "path": path, "value": question}
            return Proposal([write], (execution.expect(document, run.cell),))

        if not await self._writer.commit(make):  # the cell is gone: nobody can answer any more
            self._questions.pop(name, None)
            if self._id:
                await self._sessions.interrupt(self._id)

    async def answer(self, question: str, value: str) -> None:
        """Answer a question of the kernel. Raises :class:`Refused` if it is not asked any more."""
        cell = self._questions.pop(question, None)
        asked: dict[str, Any] = {}

        def make(document: Document) -> Proposal:
            held = document["cells"].get(cell, {}).get("execution", {})
            if held.get("input", {}).get("id") != question:
                return NOTHING
            asked.update(held["input"], run=held["run"])
            remove = {"op": "remove", "path": execution_path(str(cell)) + "/input"}
            return Proposal([remove], (execution.expect(document, str(cell)),))

        if cell is None or not await self._writer.commit(make) or self._connection is None:
            message = "this question was answered, or is not asked any more"
            raise Refused("answered", message, "/id")
        self._connection.answer(value)
        shown = PASSWORD if asked["password"] else value
        self._display.take(_stream(asked["run"], "stdin", f"{asked['prompt']} {shown}\n"))

    def comm(self, kind: str, content: Message, buffers: list[bytes], name: str) -> None:
        """Send a client's comm message to the kernel. Raises :class:`Refused` if there is none."""
        if self._connection is None:
            raise Refused("no_kernel", "the document has no kernel now", "/doc")
        self._connection.comm(kind, content, buffers, name)
        self.comms.sent(
            {
                "header": {"msg_type": kind, "msg_id": name},
                "parent_header": {},
                "metadata": {},
                "content": content,
                "buffers": buffers,
            }
        )

    # Side by side.

    def _start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(self._guarded(lambda: work, again=False))
        self._side.add(task)
        task.add_done_callback(self._side.discard)

    async def _guarded(self, work: Callable[[], Awaitable[None]], *, again: bool = True) -> None:
        while True:
            try:
                await work()
                return
            except Ousted:
                logger.info("ot_jupyter: another server has the kernel of %s", self.live.ref.path)
                self._released(self)
                return
            except Exception:
                # A bug must not take the kernel with it.
                logger.exception("ot_jupyter: the kernel of %s", self.live.ref.path)
                if not again:
                    return
                await asyncio.sleep(RECOVER_SECONDS)
                current, self._current = self._current, None
                if current is not None and work == self._work:
                    with contextlib.suppress(Exception):
                        await self._settle(current.run, "lost", "the server failed")

    async def close(self, reason: str | None = None) -> None:
        """Let go of the kernel. ``reason``: what is queued or running ends so; None: another
        server says how."""
        tasks = [*self._tasks, *self._side]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(Ousted, Refused, LogUnavailable):
            if reason is not None and self.live.stalled is None:
                await self._disconnect()
                await self._writer.commit(partial(parting, reason))
        if self._connection is not None:
            await self._connection.close()
        self.live.held = False


def _state_of(reply: Message) -> str:
    state = reply.get("status")
    return state if state in ("ok", "aborted") else "error"


def _stream(run: str, name: str, text: str) -> Message:
    """A message that puts out a text as if the kernel had sent it."""
    return {
        "header": {"msg_type": "stream"},
        "parent_header": {"msg_id": run},
        "metadata": {},
        "content": {"name": name, "text": text},
    }
