"""What a kernel puts out, on its way into the log: many times a second, large things beside it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, TypeVar

from ..sequencer.log import LogUnavailable
from ..transforms import Document, pointer
from .connection import Message
from .execution import NOTHING, Proposal, runs_in
from .outputs import Outputs
from .writer import Writer

logger = logging.getLogger("ot_jupyter")

STORE_SECONDS: Final = 0.5  # between two attempts to reach a store that is away
HEAD_BYTES: Final = 4096  # of a spool, by which its output is known

T = TypeVar("T")


class Display:
    """The outputs of one kernel, from its messages to entries. ``run`` is to be a task."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._outputs = Outputs()
        self._dirty = asyncio.Event()
        self._one = asyncio.Lock()

    def begin(self, run: str, cell: str, outputs: list[dict[str, Any]]) -> None:
        """What comes of the run is the cell's, which shows these outputs."""
        self._outputs.begin(run, cell, outputs)

    def take(self, message: Message) -> None:
        """Take a message of the kernel."""
        self._outputs.take(message)
        if self._outputs.dirty:
            self._dirty.set()

    async def end(self, run: str) -> None:
        """The run has ended: all of its output is in the log when this returns."""
        self._outputs.end(run)
        await self.flush()

    async def restart(self) -> None:
        """The kernel has another process: nothing of the old one is updated any more."""
        await self.flush()
        self._outputs = Outputs()

    async def run(self) -> None:
        """Commit what comes, with pauses that leave time to join it."""
        while True:
            await self._dirty.wait()
            await asyncio.sleep(self._outputs.pause())
            async with self._one:
                self._dirty.clear()
                await self._flush()
            if self._outputs.dirty:  # what comes meanwhile waits for the next time
                self._dirty.set()

    async def flush(self) -> None:
        """Commit all that came so far."""
        async with self._one:
            self._dirty.clear()
            await self._flush()
            while self._outputs.dirty:
                await self._flush()

    async def _flush(self) -> None:
        outputs, live = self._outputs, self._writer.live
        log, doc = live.log, live.ref.doc
        # In one go, without a pause: what is stored and what refers to it.
        head, ops = live.head, outputs.changes(live.document)
        blobs, spooled, sealed = (
            outputs.take_blobs(), outputs.take_spooled(), outputs.take_sealed()
        )  # fmt: skip
        if blobs:
            await _patiently(partial(log.put_blobs, doc, blobs))
        for name, data in spooled:
            await _patiently(partial(log.append_spool, doc, name, data))
        for name in sealed:
            outputs.sealed(name, *await _patiently(partial(log.seal_spool, doc, name)))
        if not await self._writer.put_out(ops, head):
            logger.warning("ot_jupyter: outputs of %s came too late", live.ref.path)

    async def seal_leftovers(self) -> None:
        """What an earlier owner had begun to keep of long streams is theirs for ever."""
        live = self._writer.live
        log, doc = live.log, live.ref.doc
        for name in await _patiently(partial(log.spools, doc)):
            hash, size = await _patiently(partial(log.seal_spool, doc, name))
            start = await _patiently(partial(log.read_blob, doc, hash, 0, HEAD_BYTES))
            blob = {"hash": hash, "size": size, "type": "text/plain"}
            run = name.rpartition(".")[0]
            await self._writer.commit(partial(_with_blob, run, start, blob))


def _with_blob(run: str, start: bytes, blob: dict[str, Any], document: Document) -> Proposal:
    """Refer to a blob from the excerpt of it that the run's cell shows."""
    head = start.decode(errors="ignore")
    for cell_id in document["order"]:
        cell = document["cells"][cell_id]
        if run not in (one["run"] for one in runs_in(cell["execution"])):
            continue
        for index, output in enumerate(cell["outputs"]):
            if "blobs" not in output and output.get("text", "").startswith(head):
                delta = [[{**output, "blobs": {"text": blob}}], -1]
                path = pointer("cells", cell_id, "outputs")
                edit = {"op": "edit", "path": path, "delta": [index, *delta] if index else delta}
                return Proposal([edit])
    return NOTHING


async def _patiently(attempt: Callable[[], Awaitable[T]]) -> T:
    """Do it, as soon as the store can be reached."""
    while True:
        try:
            return await attempt()
        except LogUnavailable as error:
            logger.warning("ot_jupyter: outputs wait for the store: %s", error)
            await asyncio.sleep(STORE_SECONDS)
