"""Background work that leaves most of the time to others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic


class Pace:
    """Turns for work that can wait: few at once, and each pays with a pause for the time that it
    took. So with hundreds of documents in use saves come later, and typing does not."""

    def __init__(self, *, at_once: int = 2, pause: float = 3.0) -> None:
        """After work of so many seconds, ``pause`` times as many pass before the next may begin
        in its place."""
        self._places = asyncio.Semaphore(at_once)
        self._pause = pause

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for one's turn."""
        await self._places.acquire()
        began = monotonic()
        try:
            yield
        finally:
            rest = self._pause * (monotonic() - began)
            asyncio.get_running_loop().call_later(rest, self._places.release)
