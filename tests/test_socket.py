"""The WebSocket, against real servers: the protocol as it is meant to be used."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from tornado.httpclient import AsyncHTTPClient

from tests.redis_server import RedisServer
from tests.server_process import ServerProcess
from tests.socket_client import Follower, SocketClient, type_in

_names = count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("root")) as process:
        yield process
        process.stop()
        assert "Traceback" not in process.log, process.log


def write_notebook(root: Path, *sources: str) -> str:
    """A notebook with cells a, b, …; its path."""
    cells = [
        {"cell_type": "raw", "id": id, "metadata": {}, "source": source}
        for source, id in zip(sources, "abcdefgh", strict=False)
    ]
    notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    path = f"n{next(_names)}.ipynb"
    (root / path).write_text(json.dumps(notebook))
    return path


def on_disk(server: ServerProcess, path: str) -> list[str]:
    """The sources that the file holds."""
    notebook = json.loads((server.root / path).read_text())
    return ["".join(cell["source"]) for cell in notebook["cells"]]


async def test_open_answers_with_the_document_and_who_i_am(server: ServerProcess) -> None:
    path = write_notebook(server.root, "x = 1", "y")
    async with SocketClient(server) as socket:
        a = await socket.open(path, "ann")
        assert a.opened["kind"] == "notebook"
        assert (a.opened["rev"], a.opened["n"], a.opened["write"]) == (0, 0, True)
        assert a.opened["presence"] == []
        assert a.opened["user"]["username"]
        assert a.document["order"] == ["a", "b"]
        assert a.source("a") == "x = 1"


async def test_open_a_text_file(server: ServerProcess) -> None:
    (server.root / "text.py").write_text("print()\n")
    async with SocketClient(server) as socket:
        a = await socket.open("text.py", "ann", kind="text")
        assert a.opened["kind"] == "text"
        assert a.document == {"source": "print()\n"}
        await a.submit([{"op": "edit", "path": "/source", "delta": [6, "1"]}])
        await socket.ask("save", "saved", doc=a.doc)
        assert (server.root / "text.py").read_text() == "print(1)\n"


async def test_paths_have_one_spelling(server: ServerProcess) -> None:
    path = write_notebook(server.root, "")
    async with SocketClient(server) as one, SocketClient(server) as other:
        a = await one.open(path, "ann")
        b = await other.open(f"/./{path}", "bob")
        assert a.doc == b.doc
        assert b.path == path


async def test_open_as_the_wrong_kind(server: ServerProcess) -> None:
    path = write_notebook(server.root, "")
    async with SocketClient(server) as socket:
        error = await socket.refused("open", "wrong_kind", path=path, client="ann", kind="text")
        assert (error["path"], error["of"], error["pointer"]) == (path, "open", "/kind")


async def test_a_change_is_acknowledged_and_told_to_others(server: ServerProcess) -> None:
    path = write_notebook(server.root, "x")
    async with SocketClient(server) as one, SocketClient(server) as other:
        a, b = await one.open(path, "ann"), await other.open(path, "bob")
        own = await a.submit(type_in("a", 1, " = 1"))
        assert own.keys() == {"rev", "n", "hash"}
        await b.until_rev(1)
        (told,) = b.entries
        assert (told["client"], told["n"], told["base"]) == ("ann", 1, 0)
        assert told["user"] == a.opened["user"]["username"]
        assert told["time"].endswith("Z")
        assert (told["rev"], told["hash"]) == (own["rev"], own["hash"])
        assert a.document == b.document
        assert b.source("a") == "x = 1"


async def test_changes_made_at_once_meet(server: ServerProcess) -> None:
    path = write_notebook(server.root, "-")
    async with SocketClient(server) as one, SocketClient(server) as other:
        a, b = await one.open(path, "ann"), await other.open(path, "bob")
        await a.submit(type_in("a", 0, "A"))
        # Bob has not read a word of it: his change is of revision 0.
        rev, hash = b.head
        await other.send("submit", doc=b.doc, n=1, base=rev, hash=hash, ops=type_in("a", 1, "B"))
        await a.until_rev(2)
        assert a.source("a") == "A-B"
        async with SocketClient(server) as third:
            assert (await third.open(path, "cy")).document == a.document


async def test_a_resend_is_a_repeat(server: ServerProcess) -> None:
    path = write_notebook(server.root, "")
    async with SocketClient(server) as socket:
        a = await socket.open(path, "ann")
        entry = await a.submit(type_in("a", 0, "once"))
        again = {"doc": a.doc, "n": 1, "base": 0, "hash": a.heads[0][1]}
        answer = await socket.ask("submit", "repeated", **again, ops=type_in("a", 0, "once"))
        assert answer == {
            "type": "repeated", "doc": a.doc, "n": 1, "rev": entry["rev"], "hash": entry["hash"],
        }  # fmt: skip
        assert (await socket.open(path, "ann")).source("a") == "once"


async def test_numbers_go_up_by_one_unless_some_are_skipped(server: ServerProcess) -> None:
    path = write_notebook(server.root, "")
    async with SocketClient(server) as socket:
        a = await socket.open(path, "ann")
        a.n = 1
        error = await a.refuse(type_in("a", 0, "x"))
        assert (error["code"], error["pointer"], error["n"]) == ("gap", "/n", 2)
        assert "taken" not in error
        entry = await a.submit(type_in("a", 0, "x"), skip=True)
        assert (entry["n"], entry["rev"]) == (2, 1)


async def test_resume_from_a_known_state(server: ServerProcess) -> None:
    path = write_notebook(server.root, "")
    async with SocketClient(server) as one, SocketClient(server) as other:
        a, b = await one.open(path, "ann"), await other.open(path, "bob")
        await b.submit(type_in("a", 0, "1"))
        await a.until_rev(1)
        one.connection.close()
        await b.submit(type_in("a", 1, "2"))
        await b.submit(type_in("a", 2, "3"))
        async with SocketClient(server) as again:
            known = [[99, "nobody's"], *a.known]
            opened = await again.ask(
                "open", "opened", path=path, client="ann", epoch=a.epoch, known=known
            )
            assert "document" not in opened
            assert (opened["since"], len(opened["entries"])) == (1, 2)
            assert a.resume(opened).document == b.document


async def test_resume_shows_what_of_mine_arrived(server: ServerProcess) -> None:
    path = write_notebook(server.root, "")
    async with SocketClient(server) as one, SocketClient(server) as other:
        a, b = await one.open(path, "ann"), await other.open(path, "bob")
        await a.send(type_in("a", 0, "sent"))
        await b.until_rev(1)
        one.connection.close()  # and no acknowledgement was read
        async with SocketClient(server) as again:
            opened = await again.ask(
                "open", "opened", path=path, client="ann", epoch=a.epoch, known=a.known
            )
            (entry,) = opened["entries"]
            assert opened["n"] == 1
            assert (entry["client"], entry["n"]) == ("ann", 1)
            assert entry["ops"] == type_in("a", 0, "sent")


@pytest.mark.parametrize("wrong", ["hash", "epoch"])
async def test_resume_from_an_unknown_state(server: ServerProcess, wrong: str) -> None:
    path = write_notebook(server.root, "")
    async with SocketClient(server) as one, SocketClient(server) as other:
        a, b = await one.open(path, "ann"), await other.open(path, "bob")
        await a.submit(type_in("a", 0, "text"))
        await b.until_rev(1)
        epoch = "another" if wrong == "epoch" else a.epoch
        known = a.known if wrong == "epoch" else [[1, "0" * 16]]
        async with SocketClient(server) as again:
            back = await again.open(path, "ann", epoch=epoch, known=known)
            assert back.document == b.document
            assert (back.head, back.epoch) == (b.head, b.epoch)


async def test_resume_from_a_state_that_is_only_in_the_log(
    tmp_path: Path,
) -> None:
    path = write_notebook(tmp_path, "")
    with ServerProcess(tmp_path, extra=["--OtJupyter.window_entries=3"]) as server:
        async with SocketClient(server) as one, SocketClient(server) as other:
            a, b = await one.open(path, "ann"), await other.open(path, "bob")
            await a.submit(type_in("a", 0, "0"))
            one.connection.close()
            for _ in range(10):
                await b.submit(type_in("a", 0, "x"))
            async with SocketClient(server) as again:
                opened = await again.ask(
                    "open", "opened", path=path, client="ann", epoch=a.epoch, known=a.known
                )
                assert opened["since"] == 1
                assert a.resume(opened).document == b.document


async def test_many_documents_on_one_socket(server: ServerProcess) -> None:
    paths = [write_notebook(server.root, str(i)) for i in range(5)]
    async with SocketClient(server) as socket, SocketClient(server) as other:
        for path in paths:  # all at once
            await socket.send("open", path=path, client="ann")
        opened = [await socket.expect("opened") for _ in paths]
        assert {one["path"] for one in opened} == set(paths)
        followers = {one["doc"]: Follower(socket, "ann", one) for one in opened}
        for bob in [await other.open(path, "bob") for path in paths]:
            await bob.send(type_in("a", 0, "!"))
        while any(one.rev == 0 for one in followers.values()):
            message = await socket.receive()
            assert message is not None
            if message["type"] == "entries":
                followers[message["doc"]].take(message)
        assert {one.source("a") for one in followers.values()} == {f"!{i}" for i in range(5)}


async def test_a_client_id_is_followed_on_one_socket(server: ServerProcess) -> None:
    path = write_notebook(server.root, "")
    async with SocketClient(server) as old, SocketClient(server) as new:
        a = await old.open(path, "ann")
        b = await new.open(path, "ann")
        error = await old.expect("error")
        assert (error["code"], error["doc"]) == ("superseded", a.doc)
        await old.refused("submit", "not_open", doc=a.doc, n=1, base=0, hash=a.head[1], ops=[])
        await b.submit(type_in("a", 0, "mine"))


async def test_open_again_on_the_same_socket(server: ServerProcess) -> None:
    path = write_notebook(server.root, "")
    async with SocketClient(server) as socket:
        a = await socket.open(path, "ann")
        opened = await socket.ask(
            "open", "opened", path=path, client="ann", epoch=a.epoch, known=a.known
        )
        await a.resume(opened).submit(type_in("a", 0, "x"))  # and nobody was superseded


async def test_close_ends_the_stream(server: ServerProcess) -> None:
    path = write_notebook(server.root, "")
    async with SocketClient(server) as one, SocketClient(server) as other:
        a, b = await one.open(path, "ann"), await other.open(path, "bob")
        await one.send("presence", doc=a.doc, presence={"rev": 0, "cell": "a"})
        assert (await other.expect("presence"))["presence"] == {"cell": "a"}
        await one.send("close", doc=a.doc)
        gone = await other.expect("presence")
        assert (gone["client"], gone["presence"]) == ("ann", None)
        await b.submit(type_in("a", 0, "x"))
        await one.refused("save", "not_open", doc=a.doc)  # the next that came, no entries before


async def test_presence(server: ServerProcess) -> None:
    path = write_notebook(server.root, "text")
    async with SocketClient(server) as one, SocketClient(server) as other:
        a, b = await one.open(path, "ann"), await other.open(path, "bob")
        at = {"cell": "a", "anchor": 1, "head": 3}
        await one.send("presence", doc=a.doc, presence={"rev": 0, **at})
        told = await other.expect("presence")
        assert told == {
            "type": "presence", "doc": a.doc, "client": "ann", "user": a.opened["user"],
            "rev": 0, "presence": at,
        }  # fmt: skip
        async with SocketClient(server) as third:
            c = await third.open(path, "cy")
            assert [one["client"] for one in c.opened["presence"]] == ["ann"]
        # With a change it speaks of the state after it.
        entry = await a.submit(type_in("a", 0, "x"), presence={"cell": "a", "anchor": 1})
        await b.until(lambda: any(one["type"] == "presence" for one in b.others))
        assert b.others[-1]["rev"] == entry["rev"]
        assert b.others[-1]["presence"] == {"cell": "a", "anchor": 1}
        one.connection.close()
        gone = await other.expect("presence")
        assert (gone["client"], gone["presence"]) == ("ann", None)


async def test_save_writes_the_file(server: ServerProcess) -> None:
    path = write_notebook(server.root, "x")
    async with SocketClient(server) as socket:
        a = await socket.open(path, "ann")
        await a.submit(type_in("a", 1, " = 1"))
        assert await socket.ask("save", "saved", doc=a.doc) == {
            "type": "saved", "doc": a.doc, "rev": 1,
        }  # fmt: skip
        assert on_disk(server, path) == ["x = 1"]


async def test_not_saved(server: ServerProcess) -> None:
    path = write_notebook(server.root, "x")
    async with SocketClient(server) as socket:
        a = await socket.open(path, "ann")
        broken = (server.root / path).read_text()[:-20]
        (server.root / path).write_text(broken)
        error = await socket.refused("save", "not_saved", doc=a.doc)
        assert (error["of"], error["doc"]) == ("save", a.doc)
        file = await socket.expect("file")
        assert error["message"] == file["problem"]
        assert (server.root / path).read_text() == broken


async def test_stop_saves_and_a_client_goes_on_after_the_restart(tmp_path: Path) -> None:
    path = write_notebook(tmp_path, "x")
    with ServerProcess(tmp_path) as server:
        async with SocketClient(server) as socket:
            a = await socket.open(path, "ann")
            await a.submit(type_in("a", 1, "y"))
            await asyncio.to_thread(server.stop)
            assert await socket.receive() is None
            assert socket.connection.close_code == 1001
        assert on_disk(server, path) == ["xy"]
        assert " ot_jupyter: stopped" in server.log
        server.start()
        async with SocketClient(server) as again:
            opened = await again.ask(
                "open", "opened", path=path, client="ann", epoch=a.epoch, known=a.known
            )
            assert (opened["since"], opened["entries"], opened["n"]) == (1, [], 1)
            back = a.resume(opened)
            back.socket = again
            await back.submit(type_in("a", 2, "z"))
            # What was acknowledged is there after a crash, too.
            server.kill()
        server.start()
        async with SocketClient(server) as third:
            b = await third.open(path, "bob")
            assert (b.source("a"), b.rev) == ("xyz", 2)
            await third.ask("save", "saved", doc=b.doc)
        assert on_disk(server, path) == ["xyz"]


async def test_a_store_that_comes_later_and_goes_away(tmp_path: Path) -> None:
    path = write_notebook(tmp_path, "")
    redis = RedisServer()
    try:
        limit = "--OtJupyter.queued_submissions=3"
        with ServerProcess(tmp_path, store=redis.url, extra=[limit]) as server:
            health = await AsyncHTTPClient().fetch(
                f"{server.url}/api/ot/health", headers=server.headers, raise_error=False
            )
            assert (health.code, json.loads(health.body)["code"]) == (503, "store_unavailable")
            async with SocketClient(server) as socket:
                # The server is there without its store; who opens waits for it, up to a limit.
                await socket.send("open", path=path, client="ann")
                await asyncio.to_thread(redis.start)
                a = Follower(socket, "ann", await socket.expect("opened"))
                await a.submit(type_in("a", 0, "1"))
                redis.kill()
                await a.send(type_in("a", 1, "2"))
                status = await socket.expect("status")
                assert (status["committing"], status["doc"]) == (False, a.doc)
                assert status["reason"]
                # Changes wait for the store, but not without a limit.
                rev, hash = a.head
                for n in (3, 4, 5):
                    a.sent[n] = []
                    await socket.send("submit", doc=a.doc, n=n, base=rev, hash=hash, ops=[])
                error = await socket.expect("error")
                assert (error["code"], error["n"], "taken" in error) == ("busy", 5, False)
                await asyncio.to_thread(redis.start)
                await a.until_rev(4)
                assert a.source("a") == "12"
                assert [entry["n"] for entry in a.entries] == [1, 2, 3, 4]
                await a.until(lambda: any(one.get("committing") for one in a.others))
    finally:
        redis.remove()


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--OtJupyter.depth=0", "'depth' trait of an OtJupyter instance should not be less than 1"),
        ("--OtJupyter.store=mysql://user:word@host", "OtJupyter.store: the log's URL is none of"),
    ],
)
def test_a_bad_setting_ends_the_server(tmp_path: Path, option: str, words: str) -> None:
    with pytest.raises(RuntimeError, match="the server ended with 1") as ended:
        ServerProcess(tmp_path, extra=[option]).start()
    assert words in str(ended.value)
    assert "word@" not in str(ended.value)
