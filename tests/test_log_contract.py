"""What every store of logs must do: one suite, run on all of them."""

from __future__ import annotations

import asyncio
import copy
import os
import random
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from ot_jupyter.sequencer.entry import (
    MAX_SKIP,
    Entry,
    Head,
    Seen,
    Snapshot,
    fold_seen,
    initial_hash,
    make_entry,
)
from ot_jupyter.sequencer.log import (
    Appended,
    Attempt,
    DocumentRef,
    FileState,
    Loaded,
    Log,
    LogUnavailable,
    Moved,
    NotAppended,
)
from ot_jupyter.sequencer.memory import MemoryCore, MemoryLog
from ot_jupyter.sequencer.redis import RedisLog
from ot_jupyter.sequencer.sqlite import SqliteLog
from ot_jupyter.sequencer.stores import open_log
from ot_jupyter.transforms import new_cell
from tests.redis_server import RedisServer

TIME = "2030-01-01T00:00:00.000+00:00"
WAIT = 20  # seconds, for what must come


class Store(ABC):
    """A store under test, and how to do to it what happens to stores."""

    def __init__(self) -> None:
        self.logs: list[Log] = []

    async def open(self) -> Log:
        """One more server's log on the store."""
        log = self.make()
        await log.start()
        self.logs.append(log)
        return log

    async def close(self) -> None:
        for log in self.logs:
            await log.close()

    @abstractmethod
    def make(self) -> Log: ...

    @abstractmethod
    def save(self) -> Any:
        """The store as it is."""

    @abstractmethod
    def set_back(self, saved: Any) -> None:
        """Make the store what it was, behind everybody's back."""

    @abstractmethod
    def lose(self) -> None:
        """Empty the store, behind everybody's back."""


class MemoryStore(Store):
    def __init__(self) -> None:
        super().__init__()
        self.core = MemoryCore()

    def make(self) -> Log:
        return MemoryLog(self.core)

    def save(self) -> Any:
        return copy.deepcopy(self.core)

    def set_back(self, saved: Any) -> None:
        self.core.documents = copy.deepcopy(saved).documents

    def lose(self) -> None:
        self.core.documents.clear()


class SqliteStore(Store):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = folder / "log.db"
        self.copies = 0

    def make(self) -> Log:
        return SqliteLog(self.path)

    def save(self) -> Any:
        self.copies += 1
        saved = self.path.with_name(f"copy-{self.copies}.db")
        connection = sqlite3.connect(self.path)
        connection.execute("VACUUM INTO ?", (str(saved),))
        connection.close()
        return saved

    def set_back(self, saved: Any) -> None:
        # The files beside the database stay, and are not those of the one that comes.
        os.replace(saved, self.path)

    def lose(self) -> None:
        self.path.unlink()


class RedisStore(Store):
    def __init__(self, server: RedisServer) -> None:
        super().__init__()
        self.url = server.url
        self.namespace = uuid4().hex[:6]
        self.client = server.client()
        self.client.flushall()

    def make(self) -> Log:
        return RedisLog(self.url, self.namespace)

    async def close(self) -> None:
        await super().close()
        self.client.close()

    def save(self) -> Any:
        return {key: self.client.dump(key) for key in self.client.scan_iter()}

    def set_back(self, saved: Any) -> None:
        self.lose()
        for key, value in saved.items():
            self.client.restore(key, 0, value)

    def lose(self) -> None:
        self.client.flushall()


def make_store(kind: str, request: pytest.FixtureRequest) -> Store:
    if kind == "memory":
        return MemoryStore()
    if kind == "sqlite":
        return SqliteStore(request.getfixturevalue("tmp_path"))
    return RedisStore(request.getfixturevalue(kind))


KINDS = ["memory", "sqlite", "redis_server", "redis_cluster"]


@pytest_asyncio.fixture(params=KINDS)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    one = make_store(request.param, request)
    yield one
    await one.close()


@pytest_asyncio.fixture
async def log(store: Store) -> Log:
    return await store.open()


DOCUMENT: dict[str, Any] = {"cells": {}, "order": [], "metadata": {}}


def new_document(path: str = "a.ipynb", doc: str = "") -> tuple[DocumentRef, Snapshot]:
    ref = DocumentRef(doc or uuid4().hex[:16], path, "notebook", uuid4().hex[:12])
    return ref, Snapshot(0, initial_hash(ref.epoch, DOCUMENT), DOCUMENT)


async def created(log: Log, path: str = "a.ipynb") -> tuple[str, Head]:
    ref, initial = new_document(path)
    assert await log.create(ref, initial) == ref
    return ref.doc, initial.head


def an_entry(
    head: Head,
    client: str = "ann",
    n: int = 1,
    *,
    base: int | None = None,
    value: Any = None,
    skip: bool = False,
    digest: str = "",
    time: str = TIME,
) -> Entry:
    ops = [{"op": "replace", "path": "/metadata/x", "value": value}]
    return make_entry(
        head, client=client, n=n, base=head.rev if base is None else base, user="Ann",
        time=time, ops=ops, skip=skip, digest=digest,
    )  # fmt: skip


def run_of(head: Head, count: int, client: str = "ann", first: int = 1) -> list[Entry]:
    """Entries of one client in a row."""
    entries: list[Entry] = []
    for n in range(first, first + count):
        entries.append(an_entry(entries[-1].head if entries else head, client, n, value=n))
    return entries


async def appended(log: Log, doc: str, head: Head, entries: Sequence[Entry]) -> Head:
    assert await log.append(doc, head, entries) == Appended()
    return entries[-1].head


async def loaded(log: Log, doc: str) -> Loaded:
    found = await log.load(doc)
    assert found is not None
    return found


# Names.


async def test_a_new_store_is_empty(log: Log) -> None:
    await log.ping()
    assert await log.find("a.ipynb") is None
    assert await log.get("0") is None
    assert await log.load("0") is None
    assert await log.head("0") is None
    assert await log.read("0", 0) == []
    assert await log.history("0") == []
    assert await log.file_state("0") == FileState()
    assert not await log.rename("0", "b.ipynb")
    await log.delete("0")
    await log.trim("0", 5, keep_history=True, seen_before=TIME)
    await log.save_snapshot("0", Snapshot(0, "00", DOCUMENT))
    assert await log.head("0") is None


async def test_of_servers_that_create_at_once_one_wins(store: Store) -> None:
    logs = [await store.open() for _ in range(4)]
    mine = [new_document() for _ in logs]
    standing = await asyncio.gather(
        *(log.create(*one) for log, one in zip(logs, mine, strict=True))
    )
    assert len(set(standing)) == 1
    assert standing[0] in [ref for ref, _ in mine]
    for log in logs:
        assert await log.find("a.ipynb") == standing[0]
        for ref, initial in mine:
            found = await log.load(ref.doc)
            if ref != standing[0]:
                assert found is None
            else:
                assert found == Loaded(ref, initial, [], 0, {})


async def test_create_finds_what_is_there(log: Log) -> None:
    doc, _ = await created(log)
    ref, initial = new_document()
    assert (await log.create(ref, initial)).doc == doc
    assert await log.get(ref.doc) is None
    assert await log.get(doc) == await log.find("a.ipynb")


async def test_rename_and_delete(log: Log) -> None:
    doc, head = await created(log)
    other, _ = await created(log, "b.ipynb")
    assert await log.rename(doc, "a.ipynb")
    assert not await log.rename(doc, "b.ipynb")
    assert await log.rename(doc, "c/\0 \N{GRINNING FACE}.ipynb")
    assert await log.find("a.ipynb") is None
    found = await log.find("c/\0 \N{GRINNING FACE}.ipynb")
    assert found is not None
    assert found == await log.get(doc)
    assert found == (await loaded(log, doc)).ref
    assert found.doc == doc
    assert await log.rename(other, "a.ipynb")

    await appended(log, doc, head, run_of(head, 3))
    assert await log.begin_save(doc, Attempt("1", "s", "d", 0, 1.5, b"{}"), over="")
    await log.delete(doc)
    assert await log.find(found.path) is None
    assert await log.get(doc) is None
    assert await log.load(doc) is None
    assert await log.append(doc, head, []) == Moved(None, None)
    assert await log.file_state(doc) == FileState()
    assert await log.rename(other, found.path)
    ref = await log.find(found.path)
    assert ref is not None
    assert ref.doc == other


async def test_of_two_renames_to_one_path_one_wins(store: Store) -> None:
    logs = [await store.open() for _ in range(2)]
    docs = [(await created(log, f"{i}.ipynb"))[0] for i, log in enumerate(logs)]
    done = await asyncio.gather(
        *(log.rename(doc, "same") for log, doc in zip(logs, docs, strict=True))
    )
    assert sorted(done) == [False, True]
    winner, loser = done.index(True), done.index(False)
    ref = await logs[0].find("same")
    assert ref is not None
    assert ref.doc == docs[winner]
    ref = await logs[0].find(f"{loser}.ipynb")
    assert ref is not None
    assert ref.doc == docs[loser]
    assert await logs[0].find(f"{winner}.ipynb") is None


# The log.


async def test_append_and_load(log: Log) -> None:
    doc, start = await created(log)
    assert await log.append(doc, start, []) == Appended()
    one = run_of(start, 2)
    middle = await appended(log, doc, start, one)
    two = run_of(middle, 3, "bob")
    head = await appended(log, doc, middle, two)
    assert await log.head(doc) == head == Head(5, two[-1].hash)
    found = await loaded(log, doc)
    assert found.entries == one + two
    assert [entry.body for entry in found.entries] == [entry.body for entry in one + two]
    assert found.head == head
    assert found.snapshot == Snapshot(0, start.hash, DOCUMENT)
    assert found.floor == 0
    assert found.seen == {"ann": Seen(2, 2, time=TIME), "bob": Seen(3, 5, time=TIME)}
    assert await log.read(doc, 0) == one + two
    assert await log.read(doc, 1, 2) == [one[1], two[0]]
    assert await log.read(doc, 1, 0) == []
    assert await log.read(doc, 5) == []
    assert await log.read(doc, 99) == []


async def test_a_writer_behind_gets_the_tail(log: Log) -> None:
    doc, start = await created(log)
    entries = run_of(start, 3)
    head = await appended(log, doc, start, entries)
    late = an_entry(start, "bob")
    assert await log.append(doc, start, [late]) == Moved(head, entries)
    assert await log.append(doc, entries[1].head, []) == Moved(head, entries[2:])
    assert await log.append(doc, head, []) == Appended()
    assert await log.read(doc, 0) == entries


async def test_a_head_that_is_not_in_the_log(log: Log) -> None:
    doc, start = await created(log)
    entries = run_of(start, 3)
    head = await appended(log, doc, start, entries)
    elsewhere = [
        Head(0, "f" * 16),  # another initial state
        Head(2, "f" * 16),  # another branch
        Head(3, "f" * 16),
        Head(4, head.hash),  # further than the log
        Head(9, "f" * 16),
    ]
    for writer in elsewhere:
        for mine in ([], [an_entry(writer, "bob")]):
            assert await log.append(doc, writer, mine) == Moved(head, None)
    assert await log.read(doc, 0) == entries


async def test_writers_that_race_are_put_into_one_order(store: Store) -> None:
    logs = [await store.open() for _ in range(2)]
    doc, start = await created(logs[0])
    told: list[int] = []

    async def write(log: Log, client: str) -> None:
        head = start
        for n in range(1, 9):
            while True:
                entry = an_entry(head, client, n)
                outcome = await log.append(doc, head, [entry])
                if outcome == Appended():
                    head = entry.head
                    told.append(entry.rev)
                    break
                assert isinstance(outcome, Moved)
                assert outcome.head is not None
                assert outcome.tail
                head = outcome.head

    await asyncio.gather(*(write(logs[i % 2], f"client-{i}") for i in range(8)))
    entries = await logs[0].read(doc, 0)
    assert [entry.rev for entry in entries] == list(range(1, 65))
    assert sorted(told) == list(range(1, 65))
    for i in range(8):
        assert [one.n for one in entries if one.client == f"client-{i}"] == list(range(1, 9))
    head = start
    for entry in entries:
        assert an_entry(head, entry.client, entry.n) == entry
        head = entry.head
    for log in logs:
        assert (await loaded(log, doc)).seen == folded({}, entries)


def folded(seen: dict[str, Seen], entries: Sequence[Entry]) -> dict[str, Seen]:
    fold_seen(seen, entries)
    return seen


async def test_many_appends_at_once_are_one_another_s_business_not(log: Log) -> None:
    documents = [await created(log, f"{i}.ipynb") for i in range(30)]
    mine = [run_of(head, 3, f"client-{doc}") for doc, head in documents]
    wrong = Head(7, "f" * 16)
    outcomes = await asyncio.gather(
        *(
            log.append(doc, wrong if i % 3 == 1 else head, entries if i % 3 else entries[1:])
            for i, ((doc, head), entries) in enumerate(zip(documents, mine, strict=True))
        )
    )
    for i, ((doc, head), entries) in enumerate(zip(documents, mine, strict=True)):
        expected = [NotAppended(0, "gap"), Moved(head, None), Appended()][i % 3]
        assert outcomes[i] == expected
        assert await log.read(doc, 0) == (entries if i % 3 == 2 else [])


async def test_two_documents_never_mix(log: Log) -> None:
    one, start = await created(log)
    two, other_start = await created(log, "b.ipynb")
    first, second = run_of(start, 2), run_of(other_start, 3)
    await appended(log, one, start, first)
    await appended(log, two, other_start, second)
    assert await log.append(one, second[0].head, []) == Moved(first[-1].head, None)
    assert await log.read(one, 0) == first
    assert await log.read(two, 0) == second
    assert (await loaded(log, one)).seen["ann"].n == 2
    await log.delete(one)
    assert (await loaded(log, two)).entries == second


async def test_a_thousand_entries_are_one_append(log: Log) -> None:
    doc, start = await created(log)
    entries = run_of(start, 1000)
    head = await appended(log, doc, start, entries)
    assert (await loaded(log, doc)).entries == entries
    refused = [*run_of(head, 999, first=1001), an_entry(Head(1999, "0" * 16), "ann", 5)]
    assert await log.append(doc, head, refused) == NotAppended(999, "repeat")
    assert await log.head(doc) == head


async def test_an_entry_may_be_large(log: Log) -> None:
    doc, start = await created(log)
    large = an_entry(start, value="\N{PILE OF POO}" * (5 * 2**18))
    assert len(large.body) > 5 * 2**20
    head = await appended(log, doc, start, [large])
    assert (await loaded(log, doc)).entries == [large]
    assert await log.append(doc, start, []) == Moved(head, [large])


STRANGE = [
    "", "\0", "a\0b", "\N{GRINNING FACE}", "\u2028\r\n\t", "'\"\\/", "{}", "\ufeff", "\x7f\x1f",
    "é", "e\u0301", "null", "%s", "?", ":", "-1", "ann'; DROP TABLE entry; --",
]  # fmt: skip


async def test_strings_come_back_as_they_were(log: Log) -> None:
    for index, strange in enumerate(STRANGE):
        doc, head = await created(log, f"{index} {strange}")
        mine = make_entry(
            head, client=strange, n=2, base=0, user=strange, time=strange, digest=strange,
            ops=[{"op": "replace", "path": "/metadata/x", "value": {strange: strange}}], skip=True,
        )  # fmt: skip
        await appended(log, doc, head, [mine])
        found = await loaded(log, doc)
        assert found.ref.path == f"{index} {strange}"
        assert found.entries == [mine]
        assert found.seen == {strange: Seen(2, 1, (1,), strange, strange)}
        # A filled hole leaves the rest of what is seen as it was.
        filling = make_entry(mine.head, client=strange, n=1, base=0, user=strange, time="t", ops=[])
        await appended(log, doc, mine.head, [filling])
        assert (await loaded(log, doc)).seen == {strange: Seen(2, 1, (), strange, strange)}
        document = {"source": strange, strange: [strange]}
        await log.save_snapshot(doc, Snapshot(2, filling.hash, document))
        assert (await loaded(log, doc)).snapshot.document == document
        await log.trim(doc, 2, keep_history=True, seen_before="")
        thin = {"client": strange, "user": strange}
        assert await log.history(doc) == [
            {"rev": 2, **thin, "time": "t"}, {"rev": 1, **thin, "time": strange},
        ]  # fmt: skip


# Numbers.


async def test_repeats_and_gaps_are_refused(log: Log) -> None:
    doc, start = await created(log)
    head = await appended(log, doc, start, run_of(start, 3))
    for n, why in ((0, "repeat"), (1, "repeat"), (3, "repeat"), (5, "gap"), (2**53 - 1, "gap")):
        assert await log.append(doc, head, [an_entry(head, n=n)]) == NotAppended(0, why)
    assert await log.append(doc, head, [an_entry(head, "bob", 2)]) == NotAppended(0, "gap")
    # The check sees what stands before it in the same append, and nothing of that is written.
    bob = run_of(head, 2, "bob")
    twice = an_entry(bob[-1].head, "bob", 2)
    assert await log.append(doc, head, [*bob, twice]) == NotAppended(2, "repeat")
    assert await log.head(doc) == head
    assert "bob" not in (await loaded(log, doc)).seen
    await appended(log, doc, head, bob)


async def test_numbers_are_left_out_on_purpose_and_filled_once(log: Log) -> None:
    doc, head = await created(log)
    for n, outcome in ((MAX_SKIP + 1, NotAppended(0, "gap")), (4, Appended())):
        assert await log.append(doc, head, [an_entry(head, n=n, skip=True)]) == outcome
    found = await loaded(log, doc)
    assert found.seen == {"ann": Seen(4, 1, (1, 2, 3), time=TIME)}
    head = await appended(log, doc, found.head, [an_entry(found.head, n=2, time="later")])
    seen = {"ann": Seen(4, 1, (1, 3), time=TIME)}
    assert (await loaded(log, doc)).seen == seen
    assert await log.append(doc, head, [an_entry(head, n=2)]) == NotAppended(0, "repeat")
    one = an_entry(head, n=1)
    three = an_entry(one.head, n=3)
    again = an_entry(three.head, n=1)
    assert await log.append(doc, head, [one, three, again]) == NotAppended(2, "repeat")
    head = await appended(log, doc, head, [one, three, an_entry(three.head, n=5)])
    far = an_entry(head, n=5 + MAX_SKIP, skip=True)
    await appended(log, doc, head, [far])
    found = await loaded(log, doc)
    assert found.seen["ann"].holes == tuple(range(6, 5 + MAX_SKIP))
    assert found.seen == folded({}, found.entries)


async def test_a_digest_is_kept(log: Log) -> None:
    doc, head = await created(log)
    await appended(log, doc, head, [an_entry(head, "key:1", digest="abc")])
    assert (await loaded(log, doc)).seen == {"key:1": Seen(1, 1, (), "abc", TIME)}


async def test_large_numbers_stay_exact(log: Log) -> None:
    ref, _ = new_document()
    top = 2**53 - 10
    state = Head(top, "a" * 16)
    whole = Loaded(ref, Snapshot(*state, DOCUMENT), [], top, {"ann": Seen(top, top, (top - 1,))})
    assert await log.restore(whole)
    mine = an_entry(state, n=top + 3, skip=True)
    head = await appended(log, ref.doc, state, [mine])
    found = await loaded(log, ref.doc)
    assert found.head == head == (top + 1, mine.hash)
    assert found.seen == {"ann": Seen(top + 3, top + 1, (top - 1, top + 1, top + 2), "", TIME)}


# Snapshots, floor, history.


async def test_two_snapshots_are_kept(log: Log) -> None:
    doc, start = await created(log)
    entries = run_of(start, 6)
    await appended(log, doc, start, entries)
    for rev in (2, 4, 6, 3):  # the last is older than both that are kept
        document = {**DOCUMENT, "metadata": {"at": rev}}
        await log.save_snapshot(doc, Snapshot(rev, entries[rev - 1].hash, document))
    found = await loaded(log, doc)
    assert found.snapshot == Snapshot(6, entries[5].hash, {**DOCUMENT, "metadata": {"at": 6}})
    assert found.entries == []
    assert found.head == entries[5].head
    # Only snapshots at or above the floor let it rise, and 2 and 3 are no more.
    await log.trim(doc, 6, keep_history=False, seen_before="")
    assert (await loaded(log, doc)).floor == 6


async def test_a_snapshot_may_be_large(log: Log) -> None:
    doc, start = await created(log)
    head = await appended(log, doc, start, run_of(start, 1))
    names = [f"{i}" for i in range(300)]
    cells = {name: new_cell(source=f"{name} \N{PILE OF POO}\n\u2028" * 2000) for name in names}
    cells["huge"] = new_cell(source="x\n" * 10**6)
    large = {"cells": cells, "order": [*reversed(names), "huge"], "metadata": {"a": [1]}}
    for document in (large, {"source": "x" * 10**7}, DOCUMENT, large):
        await log.save_snapshot(doc, Snapshot(*head, document))
        assert (await loaded(log, doc)).snapshot == Snapshot(*head, document)
    ref, initial = new_document("large")
    await log.create(ref, replace(initial, document=large))
    assert (await loaded(log, ref.doc)).snapshot.document == large


async def test_a_snapshot_of_another_branch_is_not_kept(log: Log) -> None:
    doc, start = await created(log)
    entries = run_of(start, 3)
    await appended(log, doc, start, entries)
    wrong = {**DOCUMENT, "metadata": {"wrong": True}}
    for rev, hash in ((2, entries[0].hash), (3, "f" * 16), (4, entries[2].hash), (0, "f" * 16)):
        await log.save_snapshot(doc, Snapshot(rev, hash, wrong))
    assert (await loaded(log, doc)).snapshot == Snapshot(0, start.hash, DOCUMENT)


async def test_the_floor(log: Log) -> None:
    doc, start = await created(log)
    entries = run_of(start, 6)
    head = await appended(log, doc, start, entries)
    await log.save_snapshot(doc, Snapshot(3, entries[2].hash, DOCUMENT))
    await log.trim(doc, 4, keep_history=False, seen_before=TIME)  # no snapshot at or above
    assert (await loaded(log, doc)).floor == 0
    await log.save_snapshot(doc, Snapshot(5, entries[4].hash, DOCUMENT))
    await log.trim(doc, 4, keep_history=False, seen_before=TIME)
    found = await loaded(log, doc)
    assert found.floor == 4
    assert found.snapshot.rev == 5
    assert found.entries == entries[5:]
    assert found.seen == folded({}, entries)
    assert await log.read(doc, 0) == entries[4:]
    assert await log.history(doc) == []
    low, edge = an_entry(head, "bob", base=3), an_entry(head, "bob", base=4)
    assert await log.append(doc, head, [low]) == NotAppended(0, "floor")
    assert await log.append(doc, head, [an_entry(head, "ann", 9, base=3)]) == NotAppended(
        0, "floor"
    )
    # The floor is the last state from which there is a way to the head.
    assert await log.append(doc, entries[3].head, []) == Moved(head, entries[4:])
    assert await log.append(doc, entries[2].head, []) == Moved(head, None)
    assert await log.append(doc, Head(4, "f" * 16), []) == Moved(head, None)
    await appended(log, doc, head, [edge])
    await log.trim(doc, 2, keep_history=False, seen_before="")  # it never sinks
    assert (await loaded(log, doc)).floor == 4


async def test_the_whole_log_may_be_trimmed(log: Log) -> None:
    doc, start = await created(log)
    entries = run_of(start, 4)
    head = await appended(log, doc, start, entries)
    await log.save_snapshot(doc, Snapshot(*head, DOCUMENT))
    await log.trim(doc, 4, keep_history=True, seen_before="")
    assert await log.head(doc) == head
    found = await loaded(log, doc)
    assert (found.entries, found.floor, found.head) == ([], 4, head)
    assert await log.append(doc, entries[2].head, []) == Moved(head, None)
    more = run_of(head, 2, first=5)
    await appended(log, doc, head, more)
    assert await log.append(doc, head, []) == Moved(more[-1].head, more)
    assert (await loaded(log, doc)).entries == more


async def test_history_is_thinned(log: Log) -> None:
    doc, start = await created(log)
    entries = run_of(start, 2500)
    head = await appended(log, doc, start, entries)
    await log.save_snapshot(doc, Snapshot(*head, DOCUMENT))
    await log.trim(doc, 2100, keep_history=True, seen_before="")
    thin = [
        {"rev": one.rev, "client": "ann", "user": "Ann", "time": TIME}
        for one in reversed(entries[:2100])
    ]
    assert await log.history(doc, 5000) == thin
    assert await log.history(doc) == thin[:1000]
    assert await log.history(doc, 0) == []
    await log.trim(doc, 2200, keep_history=False, seen_before="")
    await log.trim(doc, 2201, keep_history=True, seen_before="")
    history = await log.history(doc, 2)
    assert [one["rev"] for one in history] == [2201, 2100]


async def test_one_off_clients_are_forgotten(log: Log) -> None:
    doc, head = await created(log)
    for client, time in (("key:1", "2029"), ("key:2", "2031"), ("ann", "2029"), ("a:b:c", "2029")):
        head = await appended(log, doc, head, [an_entry(head, client, time=time)])
    await log.trim(doc, 1, keep_history=True, seen_before="2030")  # nothing: no snapshot
    assert len((await loaded(log, doc)).seen) == 4
    await log.save_snapshot(doc, Snapshot(*head, DOCUMENT))
    await log.trim(doc, 1, keep_history=True, seen_before="2030")
    assert (await loaded(log, doc)).seen.keys() == {"key:2", "ann"}
    # And may come again.
    await appended(log, doc, head, [an_entry(head, "key:1")])


# What happens to stores.


async def test_a_lost_tail_is_appended_again(store: Store) -> None:
    log = await store.open()
    doc, start = await created(log)
    kept = run_of(start, 3)
    middle = await appended(log, doc, start, kept)
    saved = store.save()
    tail = [*run_of(middle, 2, first=4), an_entry(Head(5, ""), "bob")]
    tail[2] = an_entry(tail[1].head, "bob", 3, skip=True)
    head = await appended(log, doc, middle, tail)
    store.set_back(saved)
    assert await log.append(doc, head, []) == Moved(middle, None)
    assert await log.append(doc, head, [an_entry(head, "cy")]) == Moved(middle, None)
    assert (await loaded(log, doc)).seen == folded({}, kept)
    other = await store.open()
    assert await other.append(doc, middle, tail) == Appended()
    assert await log.append(doc, head, []) == Appended()
    found = await loaded(log, doc)
    assert found.entries == kept + tail
    assert found.seen == folded({}, kept + tail)


async def test_a_fork(store: Store) -> None:
    log = await store.open()
    doc, start = await created(log)
    middle = await appended(log, doc, start, run_of(start, 3))
    saved = store.save()
    head = await appended(log, doc, middle, run_of(middle, 3, first=4))
    store.set_back(saved)
    winner = await appended(log, doc, middle, run_of(middle, 4, "bob"))
    assert await log.append(doc, head, [an_entry(head, n=7)]) == Moved(winner, None)
    assert await log.append(doc, middle, []) == Moved(winner, await log.read(doc, 3))


async def test_a_store_that_is_gone_is_put_back(store: Store) -> None:
    log = await store.open()
    doc, start = await created(log)
    entries = run_of(start, 9)
    head = await appended(log, doc, start, entries)
    store.lose()
    assert await log.append(doc, head, []) == Moved(None, None)
    assert await log.append(doc, head, [an_entry(head, n=10)]) == Moved(None, None)
    with pytest.raises(LogUnavailable):
        await log.begin_save(doc, Attempt("1", "s", "d", 0, 1.0, b"{}"), over="")
    with pytest.raises(LogUnavailable):
        await log.settle_save(doc, b"{}", "d", 0, over="")
    await log.end_save(doc, "1")
    # What a pen knows: the state at its head, and a window that begins before it.
    ref = DocumentRef(doc, "a.ipynb", "notebook", "epoch")
    seen = {**folded({}, entries), "key:1": Seen(7, 1, (3, 5), "abc", "2029")}
    whole = Loaded(ref, Snapshot(*head, {"source": "x"}), entries[4:], 4, seen)
    other = await store.open()
    assert sorted(await asyncio.gather(log.restore(whole), other.restore(whole))) == [False, True]
    assert not await log.restore(whole)
    elsewhere = replace(whole, ref=replace(ref, doc="0" * 16))
    assert not await log.restore(elsewhere)
    assert await log.get("0" * 16) is None
    assert await log.find("a.ipynb") == ref
    found = await loaded(other, doc)
    assert found == replace(whole, entries=[])
    assert await log.read(doc, 0) == entries[4:]
    assert await log.append(doc, entries[4].head, []) == Moved(head, entries[5:])
    low = an_entry(head, "bob", base=3)
    assert await log.append(doc, head, [low]) == NotAppended(0, "floor")
    await appended(log, doc, head, [an_entry(head, n=10)])
    # The same, without entries: its head is the snapshot's.
    store.lose()
    assert await log.restore(replace(whole, entries=[], floor=9))
    assert await log.append(doc, head, []) == Appended()
    assert (await loaded(log, doc)).floor == 9


async def test_data_outlive_those_who_opened_them(store: Store) -> None:
    log = await store.open()
    doc, start = await created(log)
    entries = run_of(start, 5)
    await appended(log, doc, start, entries)
    await log.save_snapshot(doc, Snapshot(3, entries[2].hash, {"source": "x"}))
    await log.trim(doc, 2, keep_history=True, seen_before="")
    assert await log.settle_save(doc, b"{}", "d", 3, over="")
    before = await loaded(log, doc)
    await log.close()
    again = await store.open()
    assert await loaded(again, doc) == before
    assert before.entries == entries[3:]
    assert len(await again.history(doc)) == 2
    assert await again.file_state(doc) == FileState(b"{}", "d", 3)


async def test_close_commits_what_waits(store: Store) -> None:
    log = await store.open()
    documents = [await created(log, f"{i}.ipynb") for i in range(20)]
    waiting = [
        asyncio.ensure_future(log.append(doc, head, run_of(head, 5))) for doc, head in documents
    ]
    await asyncio.sleep(0)  # so that they are under way
    if isinstance(log, RedisLog):  # its appends are on their way to another process
        assert await asyncio.gather(*waiting) == [Appended()] * 20
    await log.close()
    assert await asyncio.gather(*waiting) == [Appended()] * 20
    again = await store.open()
    for doc, _ in documents:
        assert len(await again.read(doc, 0)) == 5


# The file.


async def test_the_state_of_the_file(log: Log) -> None:
    doc, _ = await created(log)
    other, _ = await created(log, "b.ipynb")
    assert await log.file_state(doc) == FileState()
    first, second = (
        Attempt(f"{i}", "server", "digest", i, 1e9 + i + 1 / 3, b"\0{%d}" % i) for i in range(2)
    )
    image = b'{"a":"\xc3\xa9"}'
    assert not await log.begin_save(doc, first, over="another")
    assert await log.begin_save(doc, first, over="")
    assert not await log.begin_save(doc, second, over="")  # one save at a time
    assert await log.file_state(doc) == FileState(attempt=first)
    assert not await log.settle_save(doc, image, "one", 4, over="")
    assert not await log.settle_save(doc, image, "one", 4, over="", attempt=second.id)
    assert not await log.settle_save(doc, image, "one", 4, over="another", attempt=first.id)
    assert await log.settle_save(doc, image, "one", 4, over="", attempt=first.id)
    assert await log.file_state(doc) == FileState(image, "one", 4)
    assert not await log.settle_save(doc, b"{}", "two", 5, over="one", attempt=first.id)
    assert not await log.begin_save(doc, second, over="")
    assert await log.begin_save(doc, second, over="one")
    await log.end_save(doc, first.id)
    assert await log.file_state(doc) == FileState(image, "one", 4, second)
    await log.end_save(doc, second.id)
    assert await log.begin_save(doc, first, over="one")
    assert await log.settle_save(doc, None, "digest", 0, over="one", attempt=first.id)
    assert await log.file_state(doc) == FileState(b"\0{0}", "digest", 0)
    assert await log.settle_save(doc, b"{}", "two", 2**53 - 1, over="digest")
    assert await log.file_state(doc) == FileState(b"{}", "two", 2**53 - 1)
    assert await log.file_state(other) == FileState()


async def test_the_documents_of_a_folder(log: Log) -> None:
    paths = ["a/x.ipynb", "a/b/y.txt", "ab/z.ipynb", "a", "A/x.ipynb", "a*[]?\\/q.txt", "ä/ö.txt"]
    for path in paths:
        await created(log, path)

    async def under(folder: str) -> set[str]:
        return {ref.path for ref in await log.documents(folder)}

    assert await under("a") == {"a/x.ipynb", "a/b/y.txt"}
    assert await under("a/b") == {"a/b/y.txt"}
    assert await under("a*[]?\\") == {"a*[]?\\/q.txt"}
    assert await under("ä") == {"ä/ö.txt"}
    assert await under("x") == set()
    (ref,) = await log.documents("ab")
    assert ref == await log.find("ab/z.ipynb")
    await log.rename(ref.doc, "c/z.ipynb")
    assert await under("ab") == set()
    assert await under("c") == {"c/z.ipynb"}
    await log.delete(ref.doc)
    assert await under("c") == set()


# Poke.


async def test_a_listener_hears_of_others_appends(store: Store) -> None:
    log, other = await store.open(), await store.open()
    doc, head = await created(log)
    heard: asyncio.Queue[list[Entry] | None] = asyncio.Queue()
    await log.subscribe(doc, heard.put_nowait)
    for count in (1, 3):
        mine = run_of(head, count, f"client-{count}")
        head = await appended(other, doc, head, mine)
        while True:
            entries = await asyncio.wait_for(heard.get(), WAIT)
            if entries is None:
                assert await log.head(doc) == head
            if entries in (None, mine):
                break
    await log.unsubscribe(doc)
    await log.unsubscribe(doc)


async def test_a_listener_hears_of_what_is_too_large_to_be_told(store: Store) -> None:
    log, other = await store.open(), await store.open()
    doc, head = await created(log)
    heard: asyncio.Queue[list[Entry] | None] = asyncio.Queue()
    await log.subscribe(doc, heard.put_nowait)
    large = an_entry(head, value="x" * 3_000_000)
    await appended(other, doc, head, [large])
    assert await asyncio.wait_for(heard.get(), WAIT) in (None, [large])


async def test_a_listener_hears_of_its_own_document_only(store: Store) -> None:
    log, other = await store.open(), await store.open()
    one, head = await created(log)
    two, other_head = await created(log, "b.ipynb")
    heard: asyncio.Queue[tuple[str, list[Entry] | None]] = asyncio.Queue()
    await log.subscribe(one, lambda entries: heard.put_nowait((one, entries)))
    await log.subscribe(two, lambda entries: heard.put_nowait((two, entries)))
    mine = {one: run_of(head, 2), two: run_of(other_head, 3)}
    await appended(other, one, head, mine[one])
    await appended(other, two, other_head, mine[two])
    told: set[str] = set()
    while told != {one, two}:
        doc, entries = await asyncio.wait_for(heard.get(), WAIT)
        assert entries in (None, mine[doc])
        told.add(doc)


async def test_what_is_published_is_heard_by_others(store: Store) -> None:
    log, other = await store.open(), await store.open()
    doc, _ = await created(log)
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    await log.subscribe(doc, lambda entries: None, heard.put_nowait)
    message = b'{"a":"\xf0\x9f\x92\xa9\\n"}\nentries\n'
    await other.publish(doc, message)
    if not isinstance(log, SqliteLog):  # which has no means for it
        assert await asyncio.wait_for(heard.get(), WAIT) == message


# The stores against their model.


class Walk:
    """Random operations, each done to a model and to a store; both must give the same."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.model = MemoryLog()
        self.paths = ["a", "b", "c"]
        self.known: list[DocumentRef] = []
        self.heads: list[Head] = [Head(0, "f" * 16)]

    def step(self) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        """The name of a method and its arguments."""
        rng = self.rng
        kinds = (
            ["append"] * 12
            + ["save_snapshot"] * 2
            + ["trim", "begin_save", "settle_save", "end_save"]
        )
        kinds += ["rename", "delete", "create", "restore"] if rng.random() < 0.3 else []
        kind = "create" if not self.known else rng.choice(kinds)
        doc = rng.choice(self.known).doc if self.known else ""
        head = self.model.core.head(doc) or rng.choice(self.heads)
        if kind == "create":
            ref, initial = new_document(rng.choice(self.paths))
            self.known = [*self.known[-3:], ref]
            return kind, (ref, initial), {}
        if kind == "append":
            at = head if rng.random() < 0.8 else rng.choice(self.heads)
            return kind, (doc, at, self.entries(doc, at)), {}
        if kind == "save_snapshot":
            at = rng.choice([head, *self.heads])
            return kind, (doc, Snapshot(*at, {"source": str(at)})), {}
        if kind == "trim":
            floor = max(0, head.rev - rng.randrange(8))
            options = {"keep_history": rng.random() < 0.5, "seen_before": f"{rng.randrange(9)}"}
            return kind, (doc, floor), options
        if kind == "restore":
            whole = self.model.core.load(doc)
            if whole is None:
                ref, initial = new_document(rng.choice(self.paths), doc)
                whole = Loaded(ref, initial, run_of(initial.head, 3), 0, {"ann": Seen(3, 3)})
            return kind, (replace(whole, ref=replace(whole.ref, path=rng.choice(self.paths))),), {}
        if kind == "rename":
            return kind, (doc, rng.choice(self.paths)), {}
        if kind == "begin_save":
            over = rng.choice([self.model.core.file_state(doc).digest, "another"])
            attempt = Attempt(
                f"{rng.randrange(5)}-{rng.random()}", "s", "d", 1, 1.0, rng.randbytes(3)
            )
            return kind, (doc, attempt), {"over": over}
        if kind in ("settle_save", "end_save"):
            file = self.model.core.file_state(doc)
            pending = rng.choice([file.attempt.id if file.attempt else "", "another"])
            if kind == "end_save":
                return kind, (doc, pending), {}
            over = rng.choice([file.digest, file.digest, "another"])
            options = {"over": over, "attempt": pending}
            image = rng.choice([b"{}", None]) if file.attempt else b"{}"
            return kind, (doc, image, f"{rng.random()}", head.rev), options
        return kind, (doc,), {}

    def entries(self, doc: str, head: Head) -> list[Entry]:
        rng = self.rng
        entries: list[Entry] = []
        whole = self.model.core.load(doc)
        seen = dict(whole.seen) if whole else {}
        for _ in range(rng.randrange(4)):
            client = rng.choice(["ann", "bob", "key:1", "key:2"])
            n = seen.get(client, Seen(0, 0)).n + rng.choice([1, 1, 1, 1, 1, 0, -1, 2, 3])
            entry = an_entry(
                entries[-1].head if entries else head, client, n,
                base=max(0, head.rev - rng.choice([0, 0, 0, 1, 5])),
                value=rng.random(), skip=rng.random() < 0.5, time=f"{rng.randrange(9)}",
            )  # fmt: skip
            entries.append(entry)
            fold_seen(seen, [entry])
        self.heads = [*self.heads[-20:], *(entry.head for entry in entries)]
        return entries

    async def views(self, log: Log) -> list[Any]:
        """All that can be read."""
        seen: list[Any] = [await log.find(path) for path in self.paths]
        for ref in self.known:
            doc = ref.doc
            seen += [
                await log.get(doc), await log.head(doc), await log.load(doc),
                await log.read(doc, self.rng.randrange(3), self.rng.choice([None, 2])),
                await log.history(doc), await log.file_state(doc),
            ]  # fmt: skip
        return seen


async def outcome_of(log: Log, kind: str, values: tuple[Any, ...], options: Any) -> Any:
    try:
        return await getattr(log, kind)(*values, **options)
    except LogUnavailable:
        return LogUnavailable


@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize("seed", range(2))
async def test_random_operations_do_what_the_model_does(
    kind: str, seed: int, request: pytest.FixtureRequest
) -> None:
    store = make_store(kind, request)
    logs = [await store.open() for _ in range(2)]
    walk = Walk(random.Random(seed))
    tally: set[str] = set()
    for number in range(200):
        name, values, options = walk.step()
        expected = await outcome_of(walk.model, name, values, options)
        found = await outcome_of(walk.rng.choice(logs), name, values, options)
        assert found == expected, (number, name, values)
        tally.add(f"{name} {type(expected).__name__}")
        if number % 10 == 9:
            state = walk.rng.getstate()
            before = await walk.views(walk.model)
            walk.rng.setstate(state)
            assert await walk.views(logs[0]) == before, (number, name, values)
    assert {"append Appended", "append Moved", "append NotAppended", "create DocumentRef"} <= tally
    await store.close()


def test_a_copy_of_the_core_goes_its_own_way() -> None:
    core = MemoryCore()
    ref, initial = new_document()
    core.create(ref, initial)
    entries = run_of(initial.head, 4)
    core.append(ref.doc, initial.head, entries[:2])
    twin = copy.deepcopy(core)
    core.append(ref.doc, entries[1].head, entries[2:])
    core.begin_save(ref.doc, Attempt("1", "s", "d", 0, 1.0, b"{}"), over="")
    core.rename(ref.doc, "elsewhere")
    assert twin.head(ref.doc) == entries[1].head
    assert twin.file_state(ref.doc) == FileState()
    assert twin.get(ref.doc) == ref
    found = twin.load(ref.doc)
    assert found is not None
    assert found.seen == folded({}, entries[:2])
    assert core.head(ref.doc) == entries[3].head


# Their names.


def test_a_url_names_a_store(tmp_path: Path) -> None:
    def opened(url: str) -> Log:
        return open_log(url, durability="normal", namespace="x", root=tmp_path)

    assert isinstance(opened("memory:"), MemoryLog)
    relative, absolute = opened("sqlite:///a/b c.db"), opened("sqlite:////var/log.db")
    assert isinstance(relative, SqliteLog)
    assert isinstance(absolute, SqliteLog)
    assert relative.path == tmp_path / "a" / "b c.db"
    assert absolute.path == Path("/var/log.db")
    for scheme in ("redis", "rediss", "redis+cluster", "rediss+cluster"):
        assert isinstance(opened(f"{scheme}://:secret@host:6380"), RedisLog)


@pytest.mark.parametrize(
    "url",
    ["", "memory", "sqlite:", "sqlite://x.db", "sqlite:///", "postgres://:secret@host", "redis:",
     "redis://", "redis+cluster://host:1/3", "redis://host:port", "REDIS://host"],
)  # fmt: skip
def test_another_url_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message varies
        open_log(url, durability="normal", namespace="x", root=tmp_path)
    assert "secret" not in str(caught.value)


def test_another_durability_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'normal' or 'fsync'"):
        open_log("sqlite:///a.db", durability="none", namespace="x", root=tmp_path)
