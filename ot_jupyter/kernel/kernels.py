"""The kernels of all documents that are open on this server, and which server has which.

A document's kernel has one owner, named in the document. A server becomes it when something is
asked of a kernel that nobody has, or whose owner is gone: with one entry, which raises the
generation and ends what the owner before it had under way. Of two servers that try, one succeeds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final, TypeAlias
from uuid import uuid4

from ..sequencer.entry import Entry
from ..sequencer.live import LiveDocument
from ..sequencer.log import LogUnavailable
from ..sequencer.pen import Submission, Verdict
from ..sequencer.runs import AUTHOR, REQUEST, batch_name, is_under_way, request_ops
from ..sequencer.sequencer import Sequencer, has_ended, host_of
from ..transforms import Refused
from .connection import Message
from .execution import Run, queued_in
from .live_kernel import LiveKernel, Request
from .register import STOPPED
from .sessions import Sessions

Hearer: TypeAlias = Callable[[dict[str, Any]], None]

logger = logging.getLogger("ot_jupyter")

LOOK_SECONDS: Final = 1.0
DEAF_SECONDS: Final = 3.0  # since this server last looked at all: it stood still, or its store did
SILENT_SECONDS: Final = 10.0  # without a word, an owner on another machine is taken to be gone


class Kernels:
    """See the module."""

    def __init__(self, sequencer: Sequencer, sessions: Sessions) -> None:
        self.sessions = sessions
        self._sequencer = sequencer
        self._server = sequencer.server
        self._owned: dict[str, LiveKernel] = {}  # by document id
        self._hearers: dict[str, dict[Hearer, None]] = {}  # of comm messages, by document id
        # By document id: the owner on another machine, and when it was last heard.
        self._heard: dict[str, tuple[str, float]] = {}
        self._round = 0.0  # when this server last looked at its kernels
        self._side: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None
        sequencer.on_open = self._opened

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def start(self) -> None:
        """Begin to look after kernels."""
        self._task = asyncio.create_task(self._tend())

    def find(self, doc: str) -> LiveKernel | None:
        """The kernel of a document, if this server has it."""
        return self._owned.get(doc)

    # What the log brings.

    def _opened(self, live: LiveDocument) -> None:
        """A document was opened here: follow it, and end what a server that is gone left over."""
        if not live.notebook:
            return
        live.watchers.append(partial(self._on_entries, live))
        live.on_heard = partial(self._on_heard, live)
        live.on_renamed = partial(self._on_renamed, live)
        self._look_at(live)

    def _on_entries(self, live: LiveDocument, entries: list[Entry]) -> None:
        for item in _asked_in(live, entries):
            kernel = self._owned.get(live.ref.doc)
            if kernel is None:
                if not self._is_free(live):
                    continue
                kernel = self._own(live)
            kernel.take(item)

    def _own(self, live: LiveDocument) -> LiveKernel:
        kernel = LiveKernel(
            live, self.sessions, self._server, self._release, partial(self._tell, live.ref.doc)
        )  # fmt: skip
        self._owned[live.ref.doc] = kernel
        return kernel

    def _release(self, kernel: LiveKernel) -> None:
        """Another server owns it."""
        self._owned.pop(kernel.live.ref.doc, None)
        self._start(kernel.close())

    def _is_free(self, live: LiveDocument) -> bool:
        """Whether the document's kernel has no owner that lives."""
        owner = live.document.get("kernel", {}).get("owner", "")
        if not owner or owner == self._server or has_ended(owner):
            return True
        if host_of(owner) == host_of(self._server):
            return False
        if self._now() - self._round > DEAF_SECONDS:
            return False  # it may be us who were not there to hear
        known, heard = self._heard.get(live.ref.doc, ("", 0.0))
        if known != owner:  # it became the owner just now: then it lives
            self._heard[live.ref.doc] = owner, self._now()
            return False
        return self._now() - heard > SILENT_SECONDS

    def _look_at(self, live: LiveDocument) -> None:
        """End what nobody will end: its owner is gone."""
        kernel = live.document.get("kernel", {})
        if not kernel or live.ref.doc in self._owned or not self._is_free(live):
            return
        left = kernel["owner"] or any(
            is_under_way(cell["execution"]) for cell in live.document["cells"].values()
        )
        if left:
            self._own(live)

    # Other servers.

    def _on_heard(self, live: LiveDocument, message: dict[str, Any]) -> None:
        """A word of another server: it lives, or it has something for the owner."""
        if "owner" in message:
            self._heard[live.ref.doc] = message["owner"], self._now()
        elif "answer" in message and (kernel := self.find(live.ref.doc)) is not None:
            answer = message["answer"]
            self._start(_quietly(kernel, answer["id"], answer["value"]))

    async def answer(self, live: LiveDocument, question: str, value: str) -> None:
        """Answer a question of the kernel, wherever it is. Raises :class:`Refused`, and
        ``LogUnavailable``."""
        kernel = self.find(live.ref.doc)
        if kernel is not None:
            await kernel.answer(question, value)
        else:
            await live.publish({"answer": {"id": question, "value": value}})

    # What is asked of the kernel itself.

    async def request(
        self, live: LiveDocument, user: str, action: str, spec: str | None, cells: Sequence[str]
    ) -> tuple[str, Verdict]:
        """Put it into the log, and runs of cells behind it. Returns the request's name; when it
        has been carried out, ``kernel.done`` of the document names it."""
        name = uuid4().hex[:16]
        ops = request_ops(name, action, user, spec, cells)
        head = live.head
        verdict = await live.commit(
            lambda answer: Submission(
                client=f"rest:{name}", n=1, base=head, ops=ops, user=user, answer=answer,
                consume=False,
            )
        )  # fmt: skip
        return name, verdict

    # Comms.

    def hear(self, doc: str, hearer: Hearer) -> Callable[[], None]:
        """Call ``hearer`` with each comm message of the document's kernel, in their order. Returns
        what ends it."""
        hearers = self._hearers.setdefault(doc, {})
        hearers[hearer] = None

        def end() -> None:
            hearers.pop(hearer, None)
            if not hearers and self._hearers.get(doc) is hearers:
                del self._hearers[doc]

        return end

    def open_comms(self, doc: str) -> list[dict[str, Any]]:
        """What is open in the document's kernel, with its state, in the order of opening."""
        kernel = self._owned.get(doc)
        states = [] if kernel is None else kernel.comms.state()
        return [{**one, "buffers": _in_base64(one["buffers"])} for one in states]

    def comm(
        self, live: LiveDocument, name: str, kind: str, content: Message, buffers: list[bytes]
    ) -> None:
        """Send a comm message to the kernel. Raises :class:`Refused`."""
        kernel = self._owned.get(live.ref.doc)
        if kernel is None:
            raise Refused("no_kernel", "the document has no kernel on this server", "/doc")
        kernel.comm(kind, content, buffers, name)

    def _tell(self, doc: str, message: Message) -> None:
        hearers = self._hearers.get(doc)
        if not hearers:
            return
        told = {
            "kind": message["header"]["msg_type"],
            "parent": message.get("parent_header", {}).get("msg_id", ""),
            "content": message["content"],
            "buffers": _in_base64(message.get("buffers", ())),
        }
        for hearer in list(hearers):
            hearer(told)

    # The life of kernels.

    async def _tend(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self._now() - self._round > DEAF_SECONDS:
                self._heard.clear()
            self._round = self._now()
            for one in list(self._sequencer.open_documents.values()):
                live = one.live
                try:
                    kernel = self._owned.get(live.ref.doc)
                    if kernel is None:
                        self._look_at(live)
                        continue
                    await live.publish({"owner": self._server})
                    await kernel.look()
                    if kernel.ended or live.pen.gone:
                        await self._let_go(kernel)
                except LogUnavailable:
                    pass  # it is told elsewhere
                except Exception:
                    logger.exception("ot_jupyter: looking after the kernel of %s", live.ref.path)

    async def _let_go(self, kernel: LiveKernel) -> None:
        """Its kernel was shut down: nothing has to be kept for it."""
        self._owned.pop(kernel.live.ref.doc, None)
        await kernel.close(STOPPED)

    def _on_renamed(self, live: LiveDocument, old: str) -> None:
        if live.ref.doc in self._owned:
            self._start(self.sessions.moved(old, live.ref.path))

    def _start(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._side.add(task)
        task.add_done_callback(self._side.discard)

    async def close(self) -> None:
        """Let go of all kernels: jupyter_server ends them."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        kernels = list(self._owned.values())
        self._owned.clear()
        await asyncio.gather(*(one.close(STOPPED) for one in kernels), return_exceptions=True)
        await self.sessions.close()


def _asked_in(live: LiveDocument, entries: list[Entry]) -> Iterator[Run | Request]:
    """What entries ask of the kernel, in their order."""
    for entry in entries:
        if entry.client.endswith(AUTHOR):
            document = live.pen.document_at(entry.rev)
            change, _ = live.pen.entries_after(entry.rev - 2)[:2]
            if document is not None:
                batch = batch_name(live.ref.epoch, change.client, change.n)
                yield from queued_in(entry, batch, document)
        for operation in entry.ops:
            if operation["op"] == "replace" and operation["path"] == REQUEST:
                value = operation["value"]
                yield Request(value["id"], value["action"], value.get("spec"))


def _in_base64(buffers: Iterable[Any]) -> list[str]:
    return [b64encode(bytes(one)).decode() for one in buffers]


async def _quietly(kernel: LiveKernel, question: str, value: str) -> None:
    """Answer for somebody on another server, who sees in the document what came of it."""
    try:
        await kernel.answer(question, value)
    except Exception as error:  # noqa: BLE001
        logger.info("ot_jupyter: an answer came too late: %s", error)
