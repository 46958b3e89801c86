"""The Python client when the line is cut, the server dies, or the store is lost.

Whatever happens: what was typed is there in the end, once, and nobody did anything for it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Any

import nbformat
import pytest
from tornado.websocket import websocket_connect

from ot_jupyter.client import ConnectError, Document, DocumentError, connect
from tests.fuzz.strategies import CLIENT, random_change
from tests.server_process import ServerProcess


class Proxy:
    """A TCP proxy on the way to a server, which can be bad.

    ``up`` and ``down``: whether it hands on what clients send, and what the server answers; what
    it does not hand on is gone. ``open``: whether it takes connections.
    """

    def __init__(self, port: int) -> None:
        self.server_port = port
        self.up = self.down = self.open = True
        self.swallowed = asyncio.Event()  # something of the server's was
        self.connections = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.sleep(0)

    def cut(self) -> None:
        """Cut every connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        if not self.open:
            writer.transport.abort()
            return
        try:
            server = await asyncio.open_connection("127.0.0.1", self.server_port)
        except OSError:
            writer.transport.abort()
            return
        self._writers.add(server[1])
        await asyncio.gather(
            self._pump(reader, server[1], "up"), self._pump(server[0], writer, "down")
        )

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if getattr(self, way):
                    writer.write(data)
                elif way == "down":
                    self.swallowed.set()
        writer.transport.abort()


@asynccontextmanager
async def proxied(server: ServerProcess) -> AsyncIterator[Proxy]:
    proxy = Proxy(server.port)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()


@pytest.fixture(scope="module")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("root")) as process:
        yield process


@pytest.fixture
def server(one_server: ServerProcess) -> ServerProcess:
    """A server that runs, and that the test may kill."""
    if one_server.process is None:
        one_server.start()
    return one_server


_names = iter(range(10_000))


def new_notebook(server: ServerProcess, *sources: str) -> str:
    cells = [
        nbformat.v4.new_code_cell(source, id=f"c{index}") for index, source in enumerate(sources)
    ]
    path = f"notebook{next(_names)}.ipynb"
    (server.root / path).write_text(json.dumps(nbformat.v4.new_notebook(cells=cells)))
    return path


def sources(document: Document) -> list[str]:
    return [cell.source for cell in document.cells]


def sources_on_disk(server: ServerProcess, path: str) -> list[str]:
    return [
        "".join(cell["source"]) for cell in json.loads((server.root / path).read_text())["cells"]
    ]


async def sources_of(server: ServerProcess, path: str) -> list[str]:
    """What somebody sees who comes now."""
    async with connect(server.url, server.token) as connection:
        return sources(await connection.open(path))


async def offline(document: Document) -> None:
    await document.until(lambda one: one.status == "offline")


async def live(document: Document) -> None:
    await document.until(lambda one: one.status == "live")


async def start(server: ServerProcess) -> None:
    await asyncio.to_thread(server.start)


def lose_store(server: ServerProcess) -> None:
    for file in server.root.glob(".jupyter_ot.db*"):
        file.unlink()


# The server dies.


async def test_what_is_typed_while_the_server_is_dead_arrives_once(server: ServerProcess) -> None:
    path = new_notebook(server, "", "other")
    async with connect(server.url, server.token) as connection:
        document = await connection.open(path)
        cell = document.cells["c0"]
        for life in range(2):
            for number in range(15):
                cell.append(f"{life}a{number} ")
                await asyncio.sleep(0)
            server.kill()  # with some of it acknowledged, perhaps, some on its way, some waiting
            for number in range(15):
                cell.append(f"{life}b{number} ")
            await offline(document)
            assert document.unsaved
            document.cells["c1"].move(0)
            document.undo()
            await start(server)
            await document.acknowledged()
            assert document.status == "live"
        expected = "".join(
            f"{life}{part}{number} " for life in range(2) for part in "ab" for number in range(15)
        )
        assert await sources_of(server, path) == sources(document) == [expected, "other"]
        await document.flush()
        assert sources_on_disk(server, path) == [expected, "other"]


async def test_a_server_that_ends_in_order_is_followed_by_the_next(server: ServerProcess) -> None:
    path = new_notebook(server, "alpha")
    async with connect(server.url, server.token) as connection:
        document = await connection.open(path)
        document.set_presence("c0", 2)
        document.cells[0].append("!")
        await document.acknowledged()
        server.stop()
        await offline(document)
        document.cells[0].append("?")
        await start(server)
        await document.acknowledged()
        async with connect(server.url, server.token) as other:
            watcher = await other.open(path)
            await watcher.until(lambda one: document.client in one.presence)
            assert watcher.presence[document.client].anchor == 2
            assert sources(watcher) == ["alpha!?"]


@pytest.mark.parametrize("flushed", [True, False], ids=["saved", "not saved"])
async def test_a_lost_store_is_made_good_from_the_file_and_us(
    server: ServerProcess, flushed: bool
) -> None:
    """The log is gone, and the file holds some state of it, an old one perhaps."""
    path = new_notebook(server, "alpha", "beta")
    async with connect(server.url, server.token) as connection:
        document = await connection.open(path)
        document.cells["c0"].append(" acknowledged")
        document.append("new", id="new")
        await document.acknowledged()
        if flushed:
            await document.flush()
        server.kill()
        lose_store(server)
        await offline(document)
        document.cells["c0"].append(" offline")
        document.cells["c1"].move(2)
        await start(server)
        await document.acknowledged()
        assert sources(document) == ["alpha acknowledged offline", "new", "beta"]
        assert await sources_of(server, path) == sources(document)
        assert document.conflicts == []


async def test_a_file_that_is_gone_is_waited_for(server: ServerProcess) -> None:
    path = new_notebook(server, "alpha")
    async with connect(server.url, server.token) as connection:
        document = await connection.open(path)
        server.kill()
        lose_store(server)
        file = server.root / path
        content = file.read_text()
        file.unlink()
        await offline(document)
        document.cells[0].append("!")
        await start(server)
        with pytest.raises(DocumentError) as error:
            await document.acknowledged()
        assert error.value.code == "not_found"
        assert document.status == "unavailable"
        assert sources(document) == ["alpha!"]
        document.cells[0].append("?")  # it is still ours
        file.write_text(content)
        await live(document)
        await document.acknowledged()
        assert await sources_of(server, path) == ["alpha!?"]


async def test_a_change_that_never_arrives_is_told_at_the_end(server: ServerProcess) -> None:
    path = new_notebook(server, "alpha")
    connection = connect(server.url, server.token)
    await connection.start()
    document = await connection.open(path)
    server.kill()
    await offline(document)
    document.cells[0].append("!")
    with pytest.raises(DocumentError) as error:
        await connection.close(patience=0.01)
    assert error.value.code == "unsaved"
    assert "1 changes" in error.value.message
    with pytest.raises(ConnectError):
        await connect(server.url, server.token).start()


# The line is cut.


async def test_both_go_on_while_the_line_is_cut(server: ServerProcess) -> None:
    path = new_notebook(server, "one two three", "beta", "gamma")
    async with (
        proxied(server) as proxy,
        connect(proxy.url, server.token) as far,
        connect(server.url, server.token) as near,
    ):
        mine, theirs = await far.open(path), await near.open(path)
        proxy.open = False
        proxy.cut()
        await offline(mine)
        mine.cells["c0"].set_source("one 2 three")
        mine.cells["c2"].move(0)
        theirs.cells["c0"].set_source("one two three four")
        theirs.cells["c2"].append("!")
        theirs.cells["c1"].delete()
        await theirs.acknowledged()
        proxy.open = True
        far.reconnect()
        await mine.acknowledged()
        await theirs.until(lambda one: one.rev == mine.rev)
        assert sources(mine) == sources(theirs) == ["gamma!", "one 2 three four"]
        assert mine.undo()
        await mine.acknowledged()
        assert sources(mine) == ["one 2 three four", "gamma!"]


async def test_a_removed_cell_leaves_a_copy_of_what_was_typed_in_it(server: ServerProcess) -> None:
    path = new_notebook(server, "alpha", "beta")
    async with (
        proxied(server) as proxy,
        connect(proxy.url, server.token) as far,
        connect(server.url, server.token) as near,
    ):
        mine, theirs = await far.open(path), await near.open(path)
        proxy.open = False
        proxy.cut()
        await offline(mine)
        mine.cells["c0"].append(" and more")
        theirs.cells["c0"].delete()
        await theirs.acknowledged()
        proxy.open = True
        await mine.acknowledged()
        assert sources(mine) == ["beta"]
        assert [one.id for one in mine.conflicts] == ["c0"]
        assert mine.conflicts[0].cell["source"] == "alpha and more"


async def test_a_lost_acknowledgement_doubles_nothing(server: ServerProcess) -> None:
    """The change arrives, the answer does not: it is sent again, and the server knows it."""
    path = new_notebook(server, "alpha")
    async with (
        proxied(server) as proxy,
        connect(proxy.url, server.token) as far,
        connect(server.url, server.token) as near,
    ):
        mine, theirs = await far.open(path), await near.open(path)
        proxy.down = False
        mine.cells[0].append("!")
        await theirs.until(lambda one: sources(one) == ["alpha!"])
        await proxy.swallowed.wait()
        mine.cells[0].append("?")
        proxy.down = True
        proxy.cut()
        await mine.acknowledged()
        await theirs.until(lambda one: one.rev == mine.rev)
        assert sources(mine) == sources(theirs) == ["alpha!?"]
        assert mine.rev == 2


@pytest.mark.parametrize("way", ["up", "down"])
async def test_a_line_that_is_dead_without_a_word_is_noticed(
    server: ServerProcess, way: str
) -> None:
    """Nothing is cut, nothing arrives: the acknowledgement does not come in time."""
    path = new_notebook(server, "alpha")
    async with (
        proxied(server) as proxy,
        connect(proxy.url, server.token, patience=1.0) as far,
    ):
        mine = await far.open(path)
        setattr(proxy, way, False)
        mine.cells[0].append("!")
        await offline(mine)
        setattr(proxy, way, True)
        await mine.acknowledged()
        assert proxy.connections >= 2
        assert await sources_of(server, path) == ["alpha!"]


async def test_a_line_that_is_cut_again_and_again(server: ServerProcess) -> None:
    path = new_notebook(server, "| ")
    async with (
        proxied(server) as proxy,
        connect(proxy.url, server.token) as far,
        connect(server.url, server.token) as near,
    ):
        mine, theirs = await far.open(path), await near.open(path)
        for number in range(60):
            mine.cells[0].append(f"m{number} ")
            theirs.cells[0].edit(0, insert=f"t{number} ")
            if number % 6 == 5:
                proxy.cut()
                await offline(mine)
                far.reconnect()
            elif number % 6 == 2:
                await theirs.acknowledged()
            else:
                await asyncio.sleep(0)
        await mine.acknowledged()
        await theirs.acknowledged()
        rev = max(mine.rev, theirs.rev)
        for document in (mine, theirs):
            await document.until(lambda one: one.rev == rev)
        text = sources(mine)[0]
        assert text == sources(theirs)[0]
        assert text.split() == [
            *(f"t{number}" for number in reversed(range(60))),
            "|",
            *(f"m{number}" for number in range(60)),
        ]


async def test_a_mark_and_an_open_change_outlive_a_cut(server: ServerProcess) -> None:
    path = new_notebook(server, "alpha")
    async with (
        proxied(server) as proxy,
        connect(proxy.url, server.token) as far,
        connect(server.url, server.token) as near,
    ):
        mine, theirs = await far.open(path), await near.open(path)
        mark = mine.mark()
        with mine.change():
            mine.cells[0].append("!")
            proxy.cut()
            await offline(mine)
            theirs.cells[0].edit(0, insert=">")
            await theirs.acknowledged()
            await mine.until(lambda one: one.rev == theirs.rev)
        mine.cells[0].set_source("al-pha", at=mark)
        await mine.acknowledged()
        assert sources(mine) == [">al-pha!"]


async def test_a_save_that_was_cut_off_is_asked_for_again(server: ServerProcess) -> None:
    path = new_notebook(server, "alpha")
    async with (
        proxied(server) as proxy,
        connect(proxy.url, server.token) as far,
    ):
        mine = await far.open(path)
        mine.cells[0].append("!")
        await mine.acknowledged()
        proxy.up = False
        saving = asyncio.ensure_future(mine.flush())
        await asyncio.sleep(0)
        proxy.cut()
        proxy.up = True
        await saving
        assert sources_on_disk(server, path) == ["alpha!"]


async def test_many_documents_come_back_together(server: ServerProcess) -> None:
    paths = [new_notebook(server, f"{number}") for number in range(8)]
    async with (
        proxied(server) as proxy,
        connect(proxy.url, server.token) as far,
    ):
        documents = [await far.open(path) for path in paths]
        proxy.cut()
        for document in documents:
            await offline(document)
            document.cells[0].append("!")
        for document in documents:
            await document.acknowledged()
        assert [sources(document) for document in documents] == [[f"{n}!"] for n in range(8)]


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_all_see_the_same(server: ServerProcess, seed: int) -> None:
    """Three people, random changes of everything, undo and redo, lines that are cut or lose."""
    chance = Random(seed)
    path = new_notebook(server, "alpha", "beta", "gamma")
    async with (
        proxied(server) as one_proxy,
        proxied(server) as other_proxy,
        connect(one_proxy.url, server.token, patience=1.0) as one,
        connect(other_proxy.url, server.token, patience=1.0) as other,
        connect(server.url, server.token) as near,
    ):
        documents = [await connection.open(path) for connection in (one, other, near)]
        for number in range(80):
            document = documents[chance.randrange(3)]
            action = chance.randrange(12)
            if action == 0:
                document.undo()
            elif action == 1:
                document.redo()
            elif action == 2:
                await document.acknowledged()
            elif action == 3:
                proxy = (one_proxy, other_proxy)[chance.randrange(2)]
                proxy.down = False
                await asyncio.sleep(0)
                proxy.down = True
                proxy.cut()
            else:
                ids = [f"n{number}"]
                size = 1 + chance.randrange(3)
                document.apply(random_change(chance, document.content, size, ids, CLIENT))
                await asyncio.sleep(0)
        for document in documents:
            await document.acknowledged()
        rev = max(document.rev for document in documents)
        for document in documents:
            await document.until(lambda one: one.rev == rev)
            assert document.content == documents[0].content
            assert document.refused == []
        await documents[0].flush()
        nbformat.validate(nbformat.read(server.root / path, 4))


# Who we are.


async def test_a_client_whose_name_is_taken_stops(server: ServerProcess) -> None:
    path = new_notebook(server, "alpha")
    async with connect(server.url, server.token) as connection:
        document = await connection.open(path)
        other = await websocket_connect(server.ws_url)
        message: dict[str, Any] = {"type": "open", "path": path, "client": document.client}
        await other.write_message(json.dumps(message))
        await document.until(lambda one: one.status == "superseded")
        with pytest.raises(DocumentError) as error:
            document.cells[0].append("!")
        assert error.value.code == "superseded"
        assert sources(document) == ["alpha"]
        other.close()
