"""What every store must do with large outputs: one suite, run on all of them."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from pathlib import Path

import pytest
import pytest_asyncio

from ot_jupyter.sequencer import blobs
from ot_jupyter.sequencer.blobs import PIECE_BYTES, in_full, read_contents
from ot_jupyter.sequencer.log import Log, LogUnavailable
from ot_jupyter.sequencer.sqlite import SqliteLog
from ot_jupyter.transforms import new_cell
from ot_jupyter.transforms.blobs import attach, blob_hash, detach_document
from tests.test_log_contract import RedisStore, SqliteStore, Store, created, log, store

__all__ = ["log", "store"]  # fixtures

BIG = os.urandom(2 * PIECE_BYTES + 12345)
SMALL = b"a small one"
EMPTY = b""


def named(*contents: bytes) -> dict[str, bytes]:
    return {blob_hash(content): content for content in contents}


@pytest_asyncio.fixture
async def doc(log: Log) -> str:
    doc, _ = await created(log)
    return doc


async def test_what_was_put_is_read(log: Log, doc: str) -> None:
    contents = named(BIG, SMALL, EMPTY)
    await log.put_blobs(doc, contents)
    await log.put_blobs(doc, contents)
    for name, content in contents.items():
        assert await log.blob_size(doc, name) == len(content)
    assert await read_contents(log, doc, contents.keys()) == contents
    assert await log.blob_size(doc, "0" * 32) is None
    assert await log.read_blob(doc, "0" * 32, 0, 10) == b""
    assert await log.blob_size("another", blob_hash(SMALL)) is None
    assert await read_contents(log, doc, {"0" * 32, blob_hash(SMALL)}) == named(SMALL)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (0, 1),
        (5, 5),
        (9, 3),
        (0, PIECE_BYTES),
        (PIECE_BYTES - 1, PIECE_BYTES + 1),
        (PIECE_BYTES, 2 * PIECE_BYTES),
        (7, len(BIG) - 7),
        (2 * PIECE_BYTES, len(BIG) + 100),
        (len(BIG), len(BIG) + 1),
    ],
)
async def test_ranges(log: Log, doc: str, start: int, end: int) -> None:
    await log.put_blobs(doc, named(BIG))
    assert await log.read_blob(doc, blob_hash(BIG), start, end) == BIG[start:end]


async def test_blobs_come_before_their_document(log: Log) -> None:
    await log.put_blobs("d1", named(SMALL))
    assert await read_contents(log, "d1", named(SMALL)) == named(SMALL)
    await log.delete("d1")
    assert await log.blob_size("d1", blob_hash(SMALL)) is None


async def test_all_servers_read_them(store: Store, log: Log, doc: str) -> None:
    await log.put_blobs(doc, named(BIG))
    await log.append_spool(doc, "one", SMALL)
    other = await store.open()
    await log.close()
    assert await read_contents(other, doc, named(BIG)) == named(BIG)
    assert await other.seal_spool(doc, "one") == (blob_hash(SMALL), len(SMALL))


async def test_two_put_the_same_at_once(store: Store, log: Log, doc: str) -> None:
    other = await store.open()
    await asyncio.gather(
        *(one.put_blobs(doc, named(BIG, SMALL)) for one in (log, other, log, other))
    )
    assert await read_contents(log, doc, named(BIG, SMALL)) == named(BIG, SMALL)


async def test_what_nobody_refers_to_is_forgotten(log: Log, doc: str) -> None:
    other, _ = await created(log, "b.ipynb")
    await log.put_blobs(doc, named(BIG, SMALL, EMPTY))
    await log.put_blobs(other, named(BIG))
    await log.keep_blobs(doc, set(), 3600)
    assert await read_contents(log, doc, named(BIG, SMALL)) == named(BIG, SMALL)
    await log.keep_blobs(doc, {blob_hash(SMALL), "0" * 32}, 0)
    assert await read_contents(log, doc, named(BIG, SMALL, EMPTY)) == named(SMALL)
    assert await read_contents(log, other, named(BIG)) == named(BIG)
    await log.put_blobs(doc, named(BIG))
    assert await read_contents(log, doc, named(BIG)) == named(BIG)


async def test_what_is_put_again_is_new(
    log: Log, doc: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await log.put_blobs(doc, named(BIG, SMALL))
    later = blobs.time() + 1000
    monkeypatch.setattr(blobs, "time", lambda: later)
    await log.put_blobs(doc, named(BIG))
    await log.keep_blobs(doc, set(), 600)
    assert await read_contents(log, doc, named(BIG, SMALL)) == named(BIG)


async def test_a_deleted_document_has_no_blobs(log: Log, doc: str) -> None:
    other, _ = await created(log, "b.ipynb")
    for one in (doc, other):
        await log.put_blobs(one, named(BIG, SMALL))
        await log.append_spool(one, "s", SMALL)
    await log.delete(doc)
    assert await log.blob_size(doc, blob_hash(BIG)) is None
    assert await log.spools(doc) == []
    assert await read_contents(log, other, named(BIG)) == named(BIG)
    assert await log.spools(other) == ["s"]


async def test_a_renamed_document_keeps_them(log: Log, doc: str) -> None:
    await log.put_blobs(doc, named(SMALL))
    assert await log.rename(doc, "b.ipynb")
    assert await read_contents(log, doc, named(SMALL)) == named(SMALL)


@pytest.mark.parametrize("sizes", [[0], [1], [10] * 30, [700_000] * 5, [3 * PIECE_BYTES + 1, 5, 0]])
async def test_a_spool_becomes_a_blob(log: Log, doc: str, sizes: list[int]) -> None:
    parts = [os.urandom(size) for size in sizes]
    for part in parts:
        await log.append_spool(doc, "cell 1/stdout", part)
        await log.append_spool(doc, "other", b"x")
    assert await log.spools(doc) == ["cell 1/stdout", "other"]
    content = b"".join(parts)
    assert await log.seal_spool(doc, "cell 1/stdout") == (blob_hash(content), len(content))
    assert await log.spools(doc) == ["other"]
    assert await read_contents(log, doc, named(content)) == named(content)
    with pytest.raises(KeyError):
        await log.seal_spool(doc, "cell 1/stdout")
    await log.append_spool(doc, "cell 1/stdout", SMALL)
    assert await log.seal_spool(doc, "cell 1/stdout") == (blob_hash(SMALL), len(SMALL))


async def test_a_spool_whose_text_is_a_blob_already(log: Log, doc: str) -> None:
    await log.put_blobs(doc, named(BIG))
    await log.append_spool(doc, "s", BIG)
    assert await log.seal_spool(doc, "s") == (blob_hash(BIG), len(BIG))
    assert await read_contents(log, doc, named(BIG)) == named(BIG)


async def test_spools_are_forgotten_after_a_day(
    log: Log, doc: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await log.append_spool(doc, "old", SMALL)
    await log.append_spool(doc, "older, but used", SMALL)
    later = blobs.time() + blobs.SPOOL_SECONDS
    monkeypatch.setattr(blobs, "time", lambda: later)
    await log.append_spool(doc, "older, but used", SMALL)
    monkeypatch.setattr(blobs, "time", lambda: later + 10)
    await log.keep_blobs(doc, set(), 0)
    assert await log.spools(doc) == ["older, but used"]
    assert await log.seal_spool(doc, "older, but used") == (blob_hash(2 * SMALL), 2 * len(SMALL))


async def test_a_document_in_full(log: Log, doc: str) -> None:
    output = {"output_type": "stream", "name": "stdout", "text": "line\n" * 20_000}
    cell = {**new_cell(), "outputs": [output]}
    document = {"cells": {"a": cell}, "order": ["a"], "metadata": {}}
    small, contents = detach_document(document)
    assert await in_full(log, doc, document) is document
    lost = attach(small["cells"]["a"]["outputs"][0], {})
    assert (await in_full(log, doc, small))["cells"]["a"]["outputs"] == [lost]
    await log.put_blobs(doc, contents)
    assert await in_full(log, doc, small) == document


async def test_a_put_that_was_broken_off_does_not_count(log: Log, doc: str) -> None:
    """As after a crash: some pieces are there."""
    assert isinstance(log, blobs.PieceStore)
    name = blob_hash(BIG)
    assert await log._begin_blobs(doc, [name], blobs.time()) == set()
    await log._put_piece(doc, name, 0, BIG[:PIECE_BYTES])
    assert await log.blob_size(doc, name) is None
    assert await log.read_blob(doc, name, 0, 10) == b""
    await log.put_blobs(doc, named(BIG))
    assert await read_contents(log, doc, named(BIG)) == named(BIG)


async def test_a_store_that_was_lost(store: Store, log: Log, doc: str) -> None:
    await log.put_blobs(doc, named(BIG))
    if not isinstance(store, (SqliteStore, RedisStore)):
        return
    store.lose()
    assert await log.blob_size(doc, blob_hash(BIG)) is None
    await log.put_blobs(doc, named(BIG))
    assert await read_contents(log, doc, named(BIG)) == named(BIG)


async def test_a_closed_store_says_so(log: Log, doc: str, store: Store) -> None:
    if not isinstance(store, SqliteStore):
        return
    await log.close()
    for call in (
        log.put_blobs(doc, named(SMALL)), log.blob_size(doc, blob_hash(SMALL)),
        log.append_spool(doc, "s", SMALL), log.spools(doc), log.keep_blobs(doc, set(), 0),
    ):  # fmt: skip
        with pytest.raises(LogUnavailable):
            await call


async def test_blobs_of_documents_that_were_never_made(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db")
    await log.start()
    doc, _ = await created(log)
    await log.put_blobs("never", named(SMALL))
    await log.keep_blobs(doc, set(), 0)
    assert await log.blob_size("never", blob_hash(SMALL)) is None
    await log.close()


async def test_nothing_of_what_is_forgotten_stays(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db")
    await log.start()
    doc, _ = await created(log)
    other, _ = await created(log, "b.ipynb")
    await log.put_blobs(doc, named(BIG))
    await log.put_blobs(other, named(BIG))
    for _ in range(10):
        await log.append_spool(doc, "s", BIG[:500_000])
    await log.seal_spool(doc, "s")
    await log.keep_blobs(doc, set(), 0)
    await log.delete(other)
    connection = sqlite3.connect(log.path)
    assert connection.execute("SELECT count(*) FROM piece").fetchone() == (0,)
    connection.close()
    await log.close()


async def test_a_file_of_the_version_before(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db")
    await log.start()
    doc, head = await created(log)
    await log.close()
    connection = sqlite3.connect(log.path)
    for table in ("large", "piece"):
        connection.execute(f"DROP TABLE {table}")
    connection.execute("PRAGMA user_version = 1")
    connection.close()
    await log.start()
    assert await log.head(doc) == head
    await log.put_blobs(doc, named(BIG))
    assert await read_contents(log, doc, named(BIG)) == named(BIG)
    await log.close()
