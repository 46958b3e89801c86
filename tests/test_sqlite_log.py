"""What only the SQLite log can suffer: processes that are killed, files that vanish or are full,
damaged, locked, or of another version."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from ot_jupyter.sequencer import sqlite
from ot_jupyter.sequencer.entry import Entry, Head, Snapshot
from ot_jupyter.sequencer.log import Appended, Attempt, Loaded, LogUnavailable, Moved
from ot_jupyter.sequencer.sqlite import SCHEMA_VERSION, SqliteLog
from tests.test_log_contract import WAIT, an_entry, appended, created, loaded, run_of

WRITER = """
import asyncio, sys
from ot_jupyter.sequencer.log import Appended
from ot_jupyter.sequencer.sqlite import SqliteLog
from tests.test_log_contract import an_entry

async def write(log, doc, client, count):
    head = await log.head(doc)
    for n in range(1, count + 1):
        while True:
            entry = an_entry(head, client, n, value="x" * 500)
            outcome = await log.append(doc, head, [entry])
            if outcome == Appended():
                head = entry.head
                print(doc, *head, flush=True)
                break
            head = outcome.head

async def main(path, client, count, *docs):
    log = SqliteLog(path)
    await log.start()
    print("ready", flush=True)
    sys.stdin.readline()
    await asyncio.gather(*(write(log, doc, client, int(count)) for doc in docs))
    await log.close()

asyncio.run(main(*sys.argv[1:]))
"""


def start_writer(path: Path, client: str, count: int, *docs: str) -> subprocess.Popen[str]:
    """A process that appends ``count`` entries to each of the documents when :func:`go` says so,
    and writes a line for each that was acknowledged."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), client, str(count), *docs],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "log.db"


@pytest_asyncio.fixture
async def log(path: Path) -> AsyncIterator[SqliteLog]:
    one = SqliteLog(path)
    await one.start()
    yield one
    await one.close()


async def test_what_was_acknowledged_outlives_a_killed_process(path: Path, log: SqliteLog) -> None:
    docs = [(await created(log, f"{i}.ipynb"))[0] for i in range(5)]
    with start_writer(path, "ann", 10**6, *docs) as process:
        go(process)
        assert process.stdout is not None
        told = [process.stdout.readline().split() for _ in range(300)]
        process.kill()
        # What was still in the pipe was acknowledged too; its last line may be cut off.
        told += [line.split() for line in process.stdout if line.endswith("\n")]
    kept = {doc: await log.read(doc, 0) for doc in docs}
    for doc, rev, hash in told:
        assert kept[doc][int(rev) - 1].head == Head(int(rev), hash)
    for doc in docs:
        whole = await loaded(log, doc)
        assert whole.seen["ann"].n == whole.head.rev == len(kept[doc])
        await appended(log, doc, whole.head, run_of(whole.head, 1, first=whole.head.rev + 1))


async def test_two_processes_on_one_file(path: Path, log: SqliteLog) -> None:
    doc, _ = await created(log)
    heard = asyncio.Event()
    await log.subscribe(doc, lambda entries: heard.set())
    processes = [start_writer(path, name, 100, doc) for name in ("ann", "bob")]
    for process in processes:
        go(process)
    await asyncio.wait_for(heard.wait(), WAIT)
    told = []
    for process in processes:
        said, _ = await asyncio.to_thread(process.communicate)
        assert process.returncode == 0
        told += [int(line.split()[1]) for line in said.splitlines()]
    entries = await log.read(doc, 0)
    assert sorted(told) == [entry.rev for entry in entries] == list(range(1, 201))
    for client in ("ann", "bob"):
        assert [one.n for one in entries if one.client == client] == list(range(1, 101))


async def test_many_make_the_file_at_once(path: Path) -> None:
    logs = [SqliteLog(path) for _ in range(8)]
    await asyncio.gather(*(log.start() for log in logs))
    doc, head = await created(logs[0])
    for log in logs:
        head = await appended(log, doc, head, run_of(head, 1, first=head.rev + 1))
    await asyncio.gather(*(log.close() for log in logs))
    assert [one.name for one in path.parent.iterdir()] == ["log.db"]


def delete(what: str, path: Path) -> None:
    if what == "the folder":
        shutil.rmtree(path.parent.rename(path.parent.with_name("gone")))
    elif what == "the file":
        path.unlink()  # what is beside it stays, and is stale
    else:
        for one in sorted(path.parent.iterdir(), reverse=True):  # the file itself last
            one.unlink()


@pytest.mark.parametrize("what", ["the file", "all its files", "the folder"])
async def test_the_file_is_deleted_under_us(what: str, path: Path, log: SqliteLog) -> None:
    other = SqliteLog(path)
    await other.start()
    doc, start = await created(log)
    entries = run_of(start, 20)
    head = await appended(log, doc, start, entries)
    whole = await loaded(other, doc)
    heard = asyncio.Event()
    await log.subscribe(doc, lambda entries: heard.set())
    delete(what, path)
    await asyncio.wait_for(heard.wait(), WAIT)
    assert await log.append(doc, head, [an_entry(head, n=21)]) == Moved(None, None)
    assert await log.restore(whole)
    # Both have the same file again, and it is whole.
    assert await other.append(doc, head, []) == Appended()
    middle = await appended(other, doc, head, run_of(head, 2, first=21))
    assert await log.append(doc, head, []) == Moved(middle, await other.read(doc, 20))
    await log.close()
    await other.close()
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    again = SqliteLog(path)
    await again.start()
    assert await again.head(doc) == middle
    await again.close()


FULL = """
import asyncio, resource, sys
from ot_jupyter.sequencer.log import LogUnavailable
from ot_jupyter.sequencer.sqlite import SqliteLog
from tests.test_log_contract import an_entry, appended, created, run_of

async def main(path):
    log = SqliteLog(path)
    await log.start()
    doc, start = await created(log)
    head = await appended(log, doc, start, run_of(start, 3))
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 * 1024, most))
    large = an_entry(head, n=4, value="x" * 10**6)
    for attempt in range(3):
        try:
            await log.append(doc, head, [large])
        except LogUnavailable as error:
            print("full:", error)
        assert [one.rev for one in await log.read(doc, 0)] == [1, 2, 3]
        assert await log.head(doc) == head
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    head = await appended(log, doc, head, [large])
    await log.close()
    log = SqliteLog(path)
    await log.start()
    assert await log.head(doc) == head
    await log.close()

asyncio.run(main(sys.argv[1]))
"""


def test_no_room_is_told_and_then_it_goes_on(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)],
        capture_output=True, text=True, cwd=Path(__file__).parent.parent, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"full: {path}: ") == 3


async def refusal(path: Path, doc: str = "") -> str:
    """What is said to one who opens the file and reads."""
    log = SqliteLog(path)
    try:
        await log.start()
        await log.load(doc)
    except LogUnavailable as error:
        return str(error)
    finally:
        await log.close()
    return ""


def test_a_newer_schema_is_refused(path: Path) -> None:
    assert asyncio.run(refusal(path)) == ""
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    before = path.read_bytes()
    assert f"newer ot-jupyter (its schema is {SCHEMA_VERSION + 1}" in asyncio.run(refusal(path))
    assert path.read_bytes() == before


async def a_long_log(path: Path) -> str:
    log = SqliteLog(path)
    await log.start()
    doc, head = await created(log)
    await appended(log, doc, head, run_of(head, 1000))
    await log.close()
    return doc


@pytest.mark.parametrize("spoil", ["all", "pages", "no database"])
def test_a_damaged_file_is_told_and_kept(spoil: str, path: Path) -> None:
    doc = asyncio.run(a_long_log(path))
    data = path.read_bytes()
    spoiled = {
        "all": os.urandom(len(data)),
        "pages": data[:4096] + b"\xff" * (len(data) - 4096),
        "no database": b"this is somebody's text\n" * 100,
    }[spoil]
    path.write_bytes(spoiled)
    assert "damaged, and left as it is" in asyncio.run(refusal(path, doc))
    assert path.read_bytes() == spoiled


async def test_a_path_that_can_be_no_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path, tmp_path / "file" / "log.db"):
        log = SqliteLog(path)
        with pytest.raises(LogUnavailable, match=str(path)):
            await log.start()
        with pytest.raises(LogUnavailable, match="closed"):
            await log.head("0")


async def test_a_locked_file_is_told_and_then_it_goes_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.1)
    log = SqliteLog(path)
    await log.start()
    doc, head = await created(log)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    outcomes = await asyncio.gather(
        *(log.append(doc, head, run_of(head, 1)) for _ in range(5)), return_exceptions=True
    )
    assert all(isinstance(one, LogUnavailable) and "locked" in str(one) for one in outcomes)
    assert await log.append(doc, head, []) == Appended()  # reading needs no lock
    assert await log.read(doc, 0) == []
    holder.execute("ROLLBACK")
    holder.close()
    await appended(log, doc, head, run_of(head, 1))
    await log.close()


async def test_one_that_cannot_be_written_keeps_no_other_from_it(log: SqliteLog) -> None:
    documents = [await created(log, f"{i}.ipynb") for i in range(20)]
    broken = run_of(documents[7][1], 1) * 2  # twice the same revision
    broken[1] = an_entry(documents[7][1], n=2)
    outcomes = await asyncio.gather(
        *(
            log.append(doc, head, broken if i == 7 else run_of(head, 2))
            for i, (doc, head) in enumerate(documents)
        ),
        return_exceptions=True,
    )
    assert isinstance(outcomes.pop(7), LogUnavailable)
    assert outcomes == [Appended()] * 19
    for i, (doc, _) in enumerate(documents):
        assert len(await log.read(doc, 0)) == (0 if i == 7 else 2)


async def test_a_caller_that_goes_away_is_no_harm(log: SqliteLog) -> None:
    documents = [await created(log, f"{i}.ipynb") for i in range(10)]
    tasks = [
        asyncio.ensure_future(log.append(doc, head, run_of(head, 1))) for doc, head in documents
    ]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert outcomes[1::2] == [Appended()] * 5
    assert all(isinstance(one, asyncio.CancelledError) for one in outcomes[::2])
    await log.ping()


async def test_a_closed_log_says_so_and_may_start_again(log: SqliteLog) -> None:
    doc, head = await created(log)
    await log.close()
    await log.close()
    for call in (log.ping(), log.head(doc), log.append(doc, head, []), log.delete(doc)):
        with pytest.raises(LogUnavailable, match="closed"):
            await call
    with pytest.raises(LogUnavailable):
        await log.begin_save(doc, Attempt("1", "s", "d", 0, 1.0, b"{}"), over="")
    await log.start()
    assert await log.head(doc) == head


@pytest.mark.parametrize(("durability", "synchronous"), [("normal", 1), ("fsync", 2)])
def test_the_durability_is_what_was_asked_for(
    durability: str, synchronous: int, path: Path
) -> None:
    file = sqlite._File(path, durability)
    connection = file.connection()
    assert connection.execute("PRAGMA synchronous").fetchone() == (synchronous,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    file.close()


async def test_a_log_whose_rows_were_tampered_with(path: Path, log: SqliteLog) -> None:
    doc, start = await created(log)
    entries = run_of(start, 6)
    await appended(log, doc, start, entries)
    for rev in (3, 5):
        await log.save_snapshot(doc, Snapshot(rev, entries[rev - 1].hash, {"source": f"{rev}"}))
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE snapshot SET hash = 'f' WHERE rev = 5")
    found: Loaded = await loaded(log, doc)
    assert (found.snapshot.rev, found.entries) == (3, entries[3:])  # the other one agrees
    with connection:
        connection.execute("DELETE FROM entry WHERE rev = 4")
    connection.close()
    with pytest.raises(LogUnavailable, match=r"no snapshot of 'a\.ipynb' agrees with its log"):
        await log.load(doc)
    left: list[Entry] = await log.read(doc, 0)
    assert [entry.rev for entry in left] == [1, 2, 3, 5, 6]
