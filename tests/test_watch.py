"""Hearing of what happens in folders."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ot_jupyter.sequencer.watch import Watch
from tests.outside import until


async def test_what_happens_in_a_folder_is_heard_of(tmp_path: Path) -> None:
    heard: set[str] = set()
    watch = Watch(heard.update)
    await watch.follow({str(tmp_path)})

    def seen() -> bool:
        (tmp_path / "a.txt").write_text("x")  # again: it takes a moment until it is watched
        return str(tmp_path / "a.txt") in heard

    await until(seen)
    await watch.close()


async def test_whoever_waits_for_the_watch_to_end_can_be_cancelled(tmp_path: Path) -> None:
    """A server that was told to stop just then went on for ever."""
    other = tmp_path / "other"
    other.mkdir()
    watch = Watch(lambda paths: None)
    await watch.follow({str(tmp_path)})
    await asyncio.sleep(0.2)
    task = asyncio.create_task(watch.follow({str(other)}))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await watch.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}  # one that is left keeps the process


async def test_a_folder_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    watch = Watch(lambda paths: None)
    await watch.follow({str(tmp_path / "gone")})
    await asyncio.sleep(0.1)
    await watch.close()
