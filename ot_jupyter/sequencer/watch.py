"""Hearing at once that something happened in the folders of open documents.

Where the system tells of such things, that is; a network file system mostly doesn't. So nothing
relies on it: files are looked at regularly all the same.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from watchfiles import awatch

logger = logging.getLogger("ot_jupyter")

GATHER_MILLISECONDS = 50  # events that come together are told together


class Watch:
    """Watches folders, without those in them."""

    def __init__(self, changed: Callable[[set[str]], None]) -> None:
        """``changed`` is called on the event loop with the paths that something happened to."""
        self._changed = changed
        self._folders: frozenset[str] = frozenset()
        self._task: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()

    async def follow(self, folders: Iterable[str]) -> None:
        """Watch these folders, and no others any more."""
        wanted = frozenset(folders)
        if wanted != self._folders:
            await self.close()
            self._folders = wanted
            if wanted:
                self._stop = asyncio.Event()
                self._task = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """Watch nothing any more."""
        self._folders = frozenset()
        self._stop.set()
        if self._task is not None:
            # Whoever is cancelled while he waits here is cancelled, and the next waits again: a
            # task that the loop ends before leaves a thread which no process ends with.
            await asyncio.wait({self._task})
            self._task = None

    async def _watch(self) -> None:
        try:
            async for changes in awatch(
                *self._folders, recursive=False, watch_filter=None, step=GATHER_MILLISECONDS // 2,
                debounce=GATHER_MILLISECONDS, stop_event=self._stop, rust_timeout=500,
            ):  # fmt: skip
                self._changed({path for _, path in changes})
        except (OSError, RuntimeError) as error:
            # A folder that is gone, or no more watches to be had: looking regularly must do.
            logger.info("ot_jupyter: no events of %s: %s", sorted(self._folders), error)
