"""What the owner of a kernel writes into the log, and nobody else can write in its place."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TypeAlias

from ..sequencer.entry import Head
from ..sequencer.live import LiveDocument
from ..sequencer.pen import Accepted, Expected, Submission
from ..transforms import Change, Document, Refused
from .execution import Proposal

logger = logging.getLogger("ot_jupyter")

Make: TypeAlias = Callable[[Document], Proposal]

_AGAIN = ("unexpected", "moved", "gap", "unknown_base")  # the document has moved: look at it again


class Ousted(Exception):
    """Another server owns the kernel now."""


class Writer:
    """One server's hand in one document's log. ``generation`` is the one that it writes for: what
    is written expects that this server owns the kernel, in this generation."""

    def __init__(self, live: LiveDocument, server: str) -> None:
        self.live = live
        self.server = server
        self.generation = 0
        self._client = f"kernel:{server}"
        self._one = asyncio.Lock()  # after the other: the numbers of a client are in order

    async def commit(self, make: Make) -> bool:
        """Commit what ``make`` proposes for the document, again if the document has changed where
        it matters; False if there is nothing to do. Raises :class:`Ousted`, and
        :class:`Refused` if it can't be."""
        while True:
            async with self._one:
                self._check()
                proposal = make(self.live.document)
                if not proposal.ops:
                    return False
                expects = (*self._own(), *proposal.expects)
                if await self._submit(proposal.ops, self.live.head, expects):
                    return True

    async def put_out(self, ops: Change, base: Head) -> bool:
        """Commit operations that were made for the state ``base``, after what people do. False if
        that state is not to be had any more. Raises as :meth:`commit`."""
        async with self._one:
            self._check()
            return not ops or await self._submit(ops, base, self._own(), waits=True)

    async def take_over(self, proposal: Proposal, generation: int) -> bool:
        """Become the owner, in this generation, by what is proposed for the document as it is;
        False if it is another by now, wherever: what the owner before does on cells that are not
        known here yet matters too."""
        async with self._one:
            if not await self._submit(proposal.ops, self.live.head, proposal.expects, strict=True):
                return False
            self.generation = generation
            return True

    async def raise_generation(self, make: Make) -> None:
        """The same kernel has another process: commit what says so."""
        await self.commit(make)
        self.generation += 1

    def _check(self) -> None:
        kernel = self.live.document["kernel"]
        if (kernel["owner"], kernel["generation"]) != (self.server, self.generation):
            raise Ousted

    def _own(self) -> tuple[Expected, ...]:
        owner = ("kernel", "owner"), self.server
        generation = ("kernel", "generation"), self.generation
        return owner, generation

    async def _submit(
        self,
        ops: Change,
        base: Head,
        expects: tuple[Expected, ...],
        *,
        strict: bool = False,
        waits: bool = False,
    ) -> bool:
        number = self.live.pen.last_number(self._client) + 1
        verdict = await self.live.commit(
            lambda answer: Submission(
                client=self._client, n=number, base=base, ops=ops, user="kernel", answer=answer,
                consume=False, expects=expects, strict=strict, waits=waits,
            )
        )  # fmt: skip
        if isinstance(verdict, Accepted):
            return True
        if verdict.code == "gone":
            raise Ousted
        if verdict.code not in _AGAIN:
            path = self.live.ref.path
            logger.error("ot_jupyter: the kernel of %s can't write: %s", path, verdict.message)
            raise Refused(verdict.code, verdict.message, verdict.pointer)
        return False
