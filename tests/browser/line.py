"""The line between one browser and the server, which can be cut."""

from __future__ import annotations

import asyncio
from threading import Thread

from tests.gate import Gate

END_SECONDS = 5.0  # for what is on the line to notice that it is cut


class Line:
    """A :class:`Gate` for tests that are no coroutines. ``url`` is its end of the browser."""

    def __init__(self, port: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._gate = Gate(port)
        asyncio.run_coroutine_threadsafe(self._gate.__aenter__(), self._loop).result()
        self.url = self._gate.url

    def cut(self) -> None:
        """Break every connection at once, and let none through."""
        self._loop.call_soon_threadsafe(self._gate.shut)

    def mend(self) -> None:
        """Let connections through again."""
        self._loop.call_soon_threadsafe(self._gate.open)

    def close(self) -> None:
        """Cut it for good."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        await self._gate.__aexit__(None, None, None)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left:
            _, late = await asyncio.wait(left, timeout=END_SECONDS)
            for task in late:
                task.cancel()
