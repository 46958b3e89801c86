"""What only the Redis log can suffer: connections that break, a server that is away, full, slow or
read-only, and a process that ends between two steps."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from uuid import uuid4

import pytest
import pytest_asyncio

from ot_jupyter.sequencer import redis as redis_log
from ot_jupyter.sequencer.entry import Entry
from ot_jupyter.sequencer.log import (
    Appended,
    DocumentRef,
    Loaded,
    LogUnavailable,
    Moved,
    NotAppended,
)
from ot_jupyter.sequencer.redis import RedisLog
from tests.redis_server import RedisServer
from tests.test_log_contract import WAIT, an_entry, appended, created, loaded, new_document, run_of

Heard = asyncio.Queue[list[Entry] | None]


@pytest_asyncio.fixture
async def log(redis_server: RedisServer) -> AsyncIterator[RedisLog]:
    one = RedisLog(redis_server.url, uuid4().hex[:6])
    await one.start()
    yield one
    await one.close()


async def until(heard: Heard, wanted: list[Entry] | None) -> None:
    while await asyncio.wait_for(heard.get(), WAIT) != wanted:
        pass


async def until_it_works(log: RedisLog) -> None:
    async def attempt() -> None:
        while True:
            try:
                return await log.ping()
            except LogUnavailable:
                await asyncio.sleep(0.02)

    await asyncio.wait_for(attempt(), WAIT)


# Listening.


async def test_a_lost_pubsub_connection_heals_and_pokes(
    log: RedisLog, redis_server: RedisServer
) -> None:
    documents = [await created(log, f"{i}.ipynb") for i in range(3)]
    heard: dict[str, Heard] = {doc: asyncio.Queue() for doc, _ in documents}
    for doc, _ in documents:
        await log.subscribe(doc, heard[doc].put_nowait)
    await log.unsubscribe(documents[2][0])
    with redis_server.client() as client:
        for round in range(3):
            assert client.execute_command("CLIENT", "KILL", "TYPE", "pubsub") >= 1
            for index, (doc, head) in enumerate(documents[:2]):
                await until(heard[doc], None)
                entries = run_of(head, 2, first=2 * round + 1)
                documents[index] = doc, await appended(log, doc, head, entries)
                await until(heard[doc], entries)
    assert heard[documents[2][0]].empty()


async def test_append_and_publish_are_one_step(log: RedisLog, redis_server: RedisServer) -> None:
    doc, head = await created(log)
    with redis_server.client() as client, client.pubsub() as pubsub:
        pubsub.subscribe(log._channel(doc))
        assert pubsub.get_message(timeout=WAIT)["type"] == "subscribe"
        at = head
        for n in range(1, 6):
            good, gap = an_entry(at, n=n), an_entry(at, "bob", 7)
            assert await log.append(doc, at, [gap]) == NotAppended(0, "gap")
            assert await log.append(doc, at, []) == Appended()
            at = await appended(log, doc, at, [good])
            assert isinstance(await log.append(doc, head, [good]), Moved)
            # The one that got through is what comes next, and by then it can be read.
            message = pubsub.get_message(timeout=WAIT)
            assert message["data"] == b"entries\n%s\n%s" % (good.hash.encode(), good.body)
        assert pubsub.get_message() is None


async def test_a_strange_message_is_no_harm(log: RedisLog, redis_server: RedisServer) -> None:
    doc, head = await created(log)
    heard: Heard = asyncio.Queue()
    await log.subscribe(doc, heard.put_nowait)
    with redis_server.client() as client:
        client.publish(log._channel(doc), b"entries\nnonsense")
    await until(heard, None)
    entries = run_of(head, 1)
    await appended(log, doc, head, entries)
    await until(heard, entries)


async def test_an_error_in_a_listener_is_no_harm(log: RedisLog) -> None:
    doc, head = await created(log)
    heard: Heard = asyncio.Queue()
    failed: list[str] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda loop, context: failed.append(str(context["exception"]))
    )

    def listen(entries: list[Entry] | None) -> None:
        heard.put_nowait(entries)
        raise ValueError("a bug")

    await log.subscribe(doc, listen)
    for n in (1, 2):
        entries = run_of(head, 1, first=n)
        head = await appended(log, doc, head, entries)
        await until(heard, entries)
    assert set(failed) == {"a bug"}


# A server that is away.


@pytest.mark.parametrize("cluster", [False, True])
@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_a_server_goes_and_comes_back(cluster: bool, how: str) -> None:
    server = RedisServer(cluster=cluster)
    await asyncio.to_thread(server.start)
    log = RedisLog(server.url, "x")
    try:
        await log.start()
        doc, start = await created(log)
        head = await appended(log, doc, start, run_of(start, 5))
        heard: Heard = asyncio.Queue()
        await log.subscribe(doc, heard.put_nowait)
        await asyncio.to_thread(getattr(server, how))
        for _ in range(3):
            with pytest.raises(LogUnavailable):
                await asyncio.wait_for(log.append(doc, head, run_of(head, 1, first=6)), WAIT)
            with pytest.raises(LogUnavailable):
                await asyncio.wait_for(log.find("a.ipynb"), WAIT)
        await asyncio.to_thread(server.start)
        await until_it_works(log)
        await until(heard, None)
        whole = await loaded(log, doc)
        assert whole.head == head
        assert whole.seen["ann"].n == 5
        more = run_of(head, 2, first=6)
        await appended(log, doc, head, more)
        await until(heard, more)
    finally:
        await log.close()
        server.remove()


@contextmanager
def asleep(server: RedisServer) -> Iterator[None]:
    assert server._process is not None
    os.kill(server._process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server._process.pid, signal.SIGCONT)


async def test_an_append_that_times_out_may_have_happened(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_log, "OPERATION_SECONDS", 0.3)
    log = RedisLog(redis_server.url, uuid4().hex[:6])
    await log.start()
    doc, head = await created(log)
    mine = run_of(head, 1)
    with asleep(redis_server):
        with pytest.raises(LogUnavailable):
            await asyncio.wait_for(log.append(doc, head, mine), WAIT)
        with pytest.raises(LogUnavailable):
            await asyncio.wait_for(log.subscribe(doc, lambda entries: None), WAIT)
    await until_it_works(log)
    # The server had read it before it fell asleep, or rather when it woke: once, and whole.
    assert await log.append(doc, head, []) == Moved(mine[0].head, mine)
    await log.close()


async def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    server = RedisServer()
    for scheme in ("redis", "redis+cluster", "rediss"):
        log = RedisLog(f"{scheme}://:secret@127.0.0.1:{server.port}", "x")
        with pytest.raises(LogUnavailable) as caught:
            await asyncio.wait_for(log.start(), WAIT)
        assert "secret" not in str(caught.value)
    server.remove()


# A server that can't write.


@pytest.mark.parametrize(
    ("make_it_so", "undo", "why"),
    [
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0"), "memory"),
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE"), "read only"),
    ],
)
async def test_a_server_that_takes_no_writes(
    make_it_so: tuple[str, ...],
    undo: tuple[str, ...],
    why: str,
    log: RedisLog,
    redis_server: RedisServer,
) -> None:
    doc, start = await created(log)
    head = await appended(log, doc, start, run_of(start, 3))
    with redis_server.client() as client:
        client.execute_command(*make_it_so)
        try:
            with pytest.raises(LogUnavailable, match=why):
                await log.append(doc, head, run_of(head, 3, "bob"))
            assert len(await log.read(doc, 0)) == 3
            assert (await loaded(log, doc)).seen.keys() == {"ann"}
            assert await log.append(doc, head, []) == Appended()
        finally:
            client.execute_command(*undo)
    await appended(log, doc, head, run_of(head, 3, "bob"))


async def test_scripts_may_be_forgotten(log: RedisLog, redis_server: RedisServer) -> None:
    doc, head = await created(log)
    for n in range(1, 4):
        with redis_server.client() as client:
            client.script_flush()
        head = await appended(log, doc, head, [an_entry(head, n=n)])
    assert (await loaded(log, doc)).head == head


async def test_a_password_is_needed_and_not_told(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.config_set("requirepass", "secret")
        try:
            right = RedisLog(redis_server.url.replace("//", "//:secret@"), uuid4().hex)
            await right.start()
            doc, head = await created(right)
            await right.subscribe(doc, lambda entries: None)
            await appended(right, doc, head, run_of(head, 1))
            await right.close()
            wrong = RedisLog(redis_server.url.replace("//", "//:falsch@"), "x")
            with pytest.raises(LogUnavailable) as caught:
                await wrong.start()
            assert "falsch" not in str(caught.value)
        finally:
            client.config_set("requirepass", "")


@pytest.mark.parametrize("kind", ["redis_server", "redis_cluster"])
async def test_more_may_ask_at_once_than_there_are_connections(
    kind: str, request: pytest.FixtureRequest
) -> None:
    log = RedisLog(request.getfixturevalue(kind).url, uuid4().hex)
    await log.start()
    doc, head = await created(log)
    assert await asyncio.gather(*(log.head(doc) for _ in range(400))) == [head] * 400
    await log.close()


async def test_namespaces_are_apart(redis_server: RedisServer) -> None:
    logs = [RedisLog(redis_server.url, uuid4().hex) for _ in range(2)]
    for log in logs:
        await log.start()
    refs = [new_document() for _ in logs]
    for log, (ref, initial) in zip(logs, refs, strict=True):
        assert await log.create(ref, initial) == ref
    assert await logs[0].get(refs[1][0].doc) is None
    assert await logs[1].find("a.ipynb") == refs[1][0]
    for log in logs:
        await log.close()


async def test_all_keys_of_a_document_lie_in_one_slot(
    log: RedisLog, redis_server: RedisServer
) -> None:
    doc, _ = await created(log)
    keys = [log._key(doc, name) for name in redis_log._KEYS]
    with redis_server.client() as client:
        slots = {client.execute_command("CLUSTER", "KEYSLOT", key) for key in keys}
        assert len(slots) == 1
        await log.delete(doc)
        assert not client.exists(*keys)


# A process that ends between two steps. What it leaves is written here by hand.


async def test_a_path_key_without_its_document_is_taken_over(
    log: RedisLog, redis_server: RedisServer
) -> None:
    with redis_server.client() as client:
        client.hset(log._paths, "a.ipynb", f"{'0' * 16}?claim")
    assert await log.find("a.ipynb") is None
    doc, _ = await created(log)
    ref = await log.find("a.ipynb")
    assert ref is not None
    assert ref.doc == doc


async def test_a_document_without_its_path_key(log: RedisLog, redis_server: RedisServer) -> None:
    ref, initial = new_document()
    with redis_server.client() as client:
        # Created by one who did not get to the path; asked for again, or by another.
        await log.create(ref, initial)
        client.hdel(log._paths, "a.ipynb")
        assert await log.find("a.ipynb") is None
        assert await log.create(ref, initial) == ref
        assert await log.find("a.ipynb") == ref
        # Restored by one who did not get to the path.
        client.hdel(log._paths, "a.ipynb")
        assert not await log.restore(await loaded(log, ref.doc))
        assert await log.find("a.ipynb") == ref
        client.hdel(log._paths, "a.ipynb")
        other, start = await created(log)
        assert not await log.restore(await loaded(log, ref.doc))
        found = await log.find("a.ipynb")
        assert found is not None
        assert (found.doc, start.rev) == (other, 0)


@pytest.mark.parametrize("steps", [1, 2, 3])
async def test_a_rename_that_was_not_finished(
    steps: int, log: RedisLog, redis_server: RedisServer
) -> None:
    doc, _ = await created(log, "old")
    with redis_server.client() as client:
        client.hset(log._paths, "new", f"{doc}?claim")
        if steps >= 2:
            client.hset(log._key(doc, "meta"), "path", "new")
        if steps >= 3:
            client.hset(log._paths, "new", f"{doc}?again")
    here, free = ("old", "new") if steps == 1 else ("new", "old")
    ref = await log.find(here)
    assert ref is not None
    assert ref.doc == doc
    assert await log.find(free) is None
    other, _ = await created(log, free)
    assert not await log.rename(doc, free)
    assert await log.rename(other, "third")
    assert await log.rename(doc, free)
    assert await log.find(here) is None
    ref = await log.find(free)
    assert ref is not None
    assert ref.doc == doc


async def test_old_path_keys_are_removed(log: RedisLog, redis_server: RedisServer) -> None:
    doc, _ = await created(log, "old")
    with redis_server.client() as client:
        assert await log.rename(doc, "new")
        assert client.hkeys(log._paths) == [b"new"]
        await log.delete(doc)
        assert client.hkeys(log._paths) == []


async def test_one_document_is_renamed_by_two_at_once(log: RedisLog) -> None:
    doc, _ = await created(log, "old")
    for paths in (("a", "b"), ("c", "c"), ("d", "c")):
        assert any(await asyncio.gather(*(log.rename(doc, path) for path in paths)))
        ref = await log.get(doc)
        assert ref is not None
        assert ref.path in paths
        for path in ("old", "a", "b", "c", "d"):
            assert await log.find(path) == (ref if path == ref.path else None)


# Two servers, one of which is stopped before each of its commands in turn while the other does
# all that it wants to.


class Names:
    """Two documents ``one`` and ``two`` at the paths of that name, a lost one, and what can be
    done to them. ``x`` is the path that everybody wants."""

    def __init__(self, one: str, two: str) -> None:
        self.one, self.two = one, two
        ref, initial = new_document("x")
        self.lost = Loaded(ref, initial, [], 0, {})
        self.made: list[str] = [one, two, ref.doc]

    async def do(self, what: str, log: RedisLog) -> object:
        if what == "restore":
            return await log.restore(self.lost)
        kind, *values = what.split()
        if kind == "create":
            ref, initial = new_document(values[0])
            self.made.append(ref.doc)
            return await log.create(ref, initial)
        doc = self.one if values[0] == "one" else self.two
        return await (log.rename(doc, values[1]) if kind == "rename" else log.delete(doc))


def stop_before(log: RedisLog, command: int) -> tuple[asyncio.Event, asyncio.Event]:
    """Have the log stop before its n-th command from now: sets the first event, and goes on when
    the second is set."""
    stopped, go_on = asyncio.Event(), asyncio.Event()
    execute = log._connections.execute
    count = 0

    async def stopping(keys: Sequence[str], *values: object) -> object:
        nonlocal count
        count += 1
        if count == command:
            stopped.set()
            await go_on.wait()
        return await execute(keys, *values)

    log._connections.execute = stopping  # type: ignore[method-assign]
    return stopped, go_on


RIVALS = [
    "rename one x", "rename one y", "rename two x", "rename two one", "rename one one",
    "create x", "create one", "delete one", "restore",
]  # fmt: skip


@pytest.mark.parametrize("stale", [False, True])
@pytest.mark.parametrize("rival", RIVALS)
@pytest.mark.parametrize("what", ["rename one x", "create x", "delete one", "restore"])
async def test_names_stay_whole_however_two_servers_meet(
    what: str, rival: str, stale: bool, redis_server: RedisServer
) -> None:
    command, ended = 0, False
    while not ended:
        command += 1
        namespace = uuid4().hex
        log, other = (RedisLog(redis_server.url, namespace) for _ in range(2))
        names = Names((await created(log, "one"))[0], (await created(log, "two"))[0])
        if stale:  # somebody did not finish renaming one, or lost the document
            left = names.lost.ref.doc if "restore" in (what, rival) else names.one
            with redis_server.client() as client:
                client.hset(log._paths, "x", f"{left}?")
        stopped, go_on = stop_before(log, command)
        doing = asyncio.ensure_future(names.do(what, log))
        waiting = asyncio.ensure_future(stopped.wait())
        await asyncio.wait({doing, waiting}, return_when=asyncio.FIRST_COMPLETED)
        ended = not stopped.is_set()  # it has no such command
        waiting.cancel()
        theirs = await names.do(rival, other)
        go_on.set()
        ours = await asyncio.wait_for(doing, WAIT)

        standing = [ref for doc in names.made if (ref := await other.get(doc)) is not None]
        assert len({ref.path for ref in standing}) == len(standing)
        for ref in standing:  # whoever has a path is found by it
            assert await other.find(ref.path) == ref, command
        told = [done for done in (ours, theirs) if isinstance(done, DocumentRef)]
        paths = {ref.doc: ref.path for ref in standing}
        if what != "delete one":  # which may well delete what was found before
            assert all(ref.doc in paths for ref in told)
        if what == rival == "rename one x":
            assert ours is theirs is True
        elif what.startswith("rename") and rival.split()[1:2] != ["one"]:
            assert (paths[names.one] == "x") == ours  # what it says is what happened
        await log.close()
        await other.close()
