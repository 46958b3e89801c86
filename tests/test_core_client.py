"""The TypeScript client, in processes of node, with real servers and beside the Python client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ot_jupyter.client import connect
from tests.core_client import Page, PageError, build_core, pages
from tests.running import OPTIONS
from tests.server_process import ServerProcess
from tests.test_client_offline import new_notebook, offline, proxied, sources, sources_of, start

SOURCES = "page.session.document.order.map(id => page.session.document.cells[id].source)"
AT_REST = "await page.session.acknowledged();"


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_core(tmp_path_factory.mktemp("core"))


@pytest.fixture(scope="module")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("root"), extra=OPTIONS) as process:
        yield process


@pytest.fixture
def server(one_server: ServerProcess) -> ServerProcess:
    """A server that runs, and that the test may kill."""
    if one_server.process is None:
        one_server.start()
    return one_server


def socket_url(url: str, server: ServerProcess, user: str = "") -> str:
    address = url.rstrip("/").replace("http", "ws", 1)
    return f"{address}/api/ot/socket?token={server.token}&user={user}"


async def open_in(
    page: Page, server: ServerProcess, path: str, url: str = "", user: str = "", **options: Any
) -> None:
    address = socket_url(url or server.url, server, user)
    await page.do(
        f"page.connection = connect({json.dumps(address)}, {json.dumps(options)});"
        f"page.session = page.connection.open({json.dumps(path)});"
        "await page.session.ready;"
    )


async def reach(page: Page, rev: int) -> None:
    await page.do(f"await until(page.session, () => page.session.rev >= {rev})")


def typing(cell: str, text: str) -> str:
    return f"await type(page.session, {json.dumps(cell)}, {json.dumps(text)}); {AT_REST}"


async def test_three_type_in_one_cell_at_once(server: ServerProcess, core: Path) -> None:
    path = new_notebook(server, "é🙂|", "other")
    texts = ["ab🙂cd👩‍👩‍👧 " * 5, "EFé🚀GH " * 6]
    async with pages(core, 2) as both, connect(server.url, server.token) as connection:
        document = await connection.open(path)
        for page in both:
            await open_in(page, server, path)

        async def type_too() -> None:
            for number in range(40):
                document.cells["c0"].edit(0, insert=f"{number}😀 ")
                await asyncio.sleep(0.002)
            await document.acknowledged()

        await asyncio.gather(
            type_too(),
            *(page.do(typing("c0", text)) for page, text in zip(both, texts, strict=True)),
        )
        seen = await sources_of(server, path)
        rev = int(await both[0].do("return page.session.rev"))
        await document.until(lambda one: one.rev >= rev)
        for page in both:
            await reach(page, document.rev)
            assert await page.do(f"return {SOURCES}") == seen
        assert sources(document) == seen
        assert seen[0].startswith(
            "".join(f"{number}😀 " for number in reversed(range(40))) + "é🙂|"
        )
        rest = seen[0].split("|")[1]
        assert sorted(rest) == sorted("".join(texts))
        # Undo takes back what is one's own, whatever the others did.
        await both[0].do(f"while (page.session.undo('c0')); {AT_REST}")
        left = (await sources_of(server, path))[0]
        assert left.split("|")[1] == texts[1]


async def test_the_server_is_killed_under_two_who_type(server: ServerProcess, core: Path) -> None:
    path = new_notebook(server, "", "")
    text = "a🙂b" * 40
    async with pages(core, 2) as both:
        for page in both:
            await open_in(page, server, path)
        for life in range(2):
            tasks = [
                asyncio.create_task(page.do(typing(f"c{index}", f"{life}{text}")))
                for index, page in enumerate(both)
            ]
            await reach(both[0], life * 20 + 5)
            server.kill()
            await start(server)
            await asyncio.gather(*tasks)
        expected = "".join(f"{life}{text}" for life in range(2))
        assert await sources_of(server, path) == [expected, expected]


async def test_a_line_that_is_cut_again_and_again(server: ServerProcess, core: Path) -> None:
    path = new_notebook(server, "|")
    text = "".join(f"{number}🙂 " for number in range(60))
    async with (
        proxied(server) as proxy,
        pages(core) as (page,),
        connect(server.url, server.token) as near,
    ):
        await open_in(page, server, path, proxy.url)
        theirs = await near.open(path)
        task = asyncio.create_task(page.do(typing("c0", text)))
        for number in range(8):
            theirs.cells[0].edit(0, insert=f"t{number} ")
            await asyncio.sleep(0.1)
            proxy.cut()
        await task
        await theirs.acknowledged()
        await theirs.until(lambda one: one.cells[0].source.endswith("59🙂 "))
        begin = "".join(f"t{number} " for number in reversed(range(8)))
        assert await sources_of(server, path) == [f"{begin}|{text}"]


@pytest.mark.parametrize("way", ["up", "down"])
async def test_a_line_that_is_dead_without_a_word_is_noticed(
    server: ServerProcess, core: Path, way: str
) -> None:
    path = new_notebook(server, "alpha")
    async with proxied(server) as proxy, pages(core) as (page,):
        await open_in(page, server, path, proxy.url, patience=1000)
        setattr(proxy, way, False)
        await page.do("type(page.session, 'c0', '!')")
        await page.do("await until(page.session, () => page.session.status !== 'saving')")
        setattr(proxy, way, True)
        await page.do(AT_REST)
        assert proxy.connections >= 2
        assert await sources_of(server, path) == ["alpha!"]


async def test_what_is_typed_offline_survives_the_page(
    server: ServerProcess, core: Path, tmp_path: Path
) -> None:
    path = new_notebook(server, "alpha")
    store = str(tmp_path / "store")
    async with pages(core, 3) as (first, second, third):
        await open_in(first, server, path, store=store)
        await first.do(typing("c0", " one"))
        client = await first.do("return page.session.client")
        server.kill()
        await first.do("await until(page.session, () => page.session.status === 'offline')")
        await first.do("await type(page.session, 'c0', ' two🙂')")
        with pytest.raises(PageError) as error:
            await first.do("page.session.run(['c0'])")
        assert error.value.code == "offline"
        await asyncio.sleep(0.2)  # the last words are on their way to the disk
        await first.kill()
        # Loaded again, still offline: the document is there, with what was typed.
        await open_in(second, server, path, store=store)
        assert await second.do(f"return {SOURCES}") == ["alpha one two🙂"]
        assert await second.do("return page.session.client") == client
        assert await second.do("return page.session.status") == "offline"
        await second.do("await type(page.session, 'c0', ' three')")
        # Another tab is somebody else.
        await third.do(
            f"page.connection = connect('{socket_url(server.url, server)}', {{store: '{store}'}});"
            f"page.session = page.connection.open('{path}');"
        )
        await start(server)
        await second.do(AT_REST)
        await third.do("await page.session.ready")
        assert await third.do("return page.session.client") != client
        assert await sources_of(server, path) == ["alpha one two🙂 three"]


async def test_what_arrived_while_the_page_went_is_not_doubled(
    server: ServerProcess, core: Path, tmp_path: Path
) -> None:
    """The change is in the log, the page never hears of it, and the next one sends it again."""
    path = new_notebook(server, "alpha")
    store = str(tmp_path / "store")
    async with (
        proxied(server) as proxy,
        pages(core, 2) as (first, second),
        connect(server.url, server.token) as near,
    ):
        theirs = await near.open(path)
        await open_in(first, server, path, proxy.url, store=store)
        proxy.down = False
        await first.do("type(page.session, 'c0', '!')")
        await theirs.until(lambda one: sources(one) == ["alpha!"])
        await first.kill()
        theirs.cells[0].edit(0, insert=">")
        await theirs.acknowledged()
        await open_in(second, server, path, store=store)
        await second.do(AT_REST)
        await second.do(typing("c0", "?"))
        assert await sources_of(server, path) == [">alpha!?"]


async def test_cells_are_run(server: ServerProcess, core: Path) -> None:
    path = new_notebook(server, "x = 41", "print(input('Who? ')); x + 1", "1 / 0", "3")
    async with pages(core, 2) as (page, other):
        await open_in(page, server, path)
        await open_in(other, server, path)
        await page.do(
            "page.running = page.session.run(['c0', 'c1', 'c2', 'c3']);"
            "page.input = () => page.session.document.cells.c1.execution.input;"
            "await until(page.session, page.input)"
        )
        await other.do(
            "page.input = () => page.session.document.cells.c1.execution.input;"
            "await until(page.session, page.input);"
            "await page.session.answer(page.input().id, 'Ada 🙂')"
        )
        runs = await page.do("return page.running.done")
        assert [run["state"] for run in runs] == ["ok", "ok", "error", "aborted"]
        assert "Ada 🙂\n" in "".join(one.get("text", "") for one in runs[1]["outputs"])
        assert runs[1]["outputs"][-1]["data"]["text/plain"] == "42"
        kernel = await page.do("return page.session.kernel('restart')")
        assert kernel["state"] == "ready"
        (run,) = await page.do("return page.session.run(['c0']).done")
        assert (run["state"], run["executionCount"]) == ("ok", 1)
        with pytest.raises(PageError) as error:
            await page.do("await page.session.answer('nothing', '')")
        assert error.value.code == "answered"
        await page.do("await page.session.kernel('shutdown')")


async def test_comms_reach_every_page(server: ServerProcess, core: Path) -> None:
    code = (
        "from comm import create_comm\n"
        "one = create_comm(target_name='t', data={'a': 1}, buffers=[b'\\x00\\xff'])\n"
        "one.on_msg(lambda message: one.send({'got': message['content']['data']}))"
    )
    path = new_notebook(server, code)
    hear = "page.heard = []; page.session.hearComms(message => page.heard.push(message))"
    async with pages(core, 2) as (page, late):
        await open_in(page, server, path)
        await page.do(hear)
        (run,) = await page.do("return page.session.run(['c0']).done")
        assert run["state"] == "ok"
        await open_in(late, server, path)
        await late.do(hear)
        heard = "const until_heard = async () => { while (!page.heard.some(one => %s)) {"
        heard += " await new Promise(resolve => setTimeout(resolve, 5)); } }; await until_heard();"
        for one in (page, late):
            await one.do(heard % "one.kind === 'comm_open'")
        opened = "const open = page.heard.find(one => one.kind === 'comm_open');"
        assert await page.do(
            opened + "return [open.content.data, [...open.buffers[0]], open.content.target_name]"
        ) == [{"a": 1}, [0, 255], "t"]
        sent = await late.do(
            opened + "const content = {comm_id: open.content.comm_id, data: {b: 2}};"
            "return page.session.sendComm('comm_msg', content)"
        )
        for one in (page, late):
            await one.do(heard % "one.content.data?.got?.b === 2")
        parent = "return page.heard.find(one => one.content.data?.got).parent"
        assert await page.do(parent) == sent
        await page.do("await page.session.kernel('shutdown')")
        await late.do(heard % "one.kind === 'comms_closed'")


async def test_a_server_that_is_there_answers_a_probe(server: ServerProcess, core: Path) -> None:
    path = new_notebook(server, "alpha")
    async with proxied(server) as proxy, pages(core) as (page,):
        await open_in(page, server, path, proxy.url, patience=1000)
        await page.do("page.connection.probe(); await new Promise(go => setTimeout(go, 1200))")
        assert proxy.connections == 1
        proxy.down = False
        await page.do(
            "page.connection.probe(); await until(page.session, () => !page.session.live)"
        )
        proxy.down = True
        await page.do("await until(page.session, () => page.session.status === 'live')")


async def test_presence_is_seen_both_ways(server: ServerProcess, core: Path) -> None:
    path = new_notebook(server, "al🙂pha")
    async with pages(core) as (page,), connect(server.url, server.token) as connection:
        document = await connection.open(path)
        await open_in(page, server, path)
        document.set_presence("c0", 4)
        await page.do(
            "page.other = () => [...page.session.others.values()][0];"
            "await until(page.session, () => page.other()?.anchor === 4);"
            "page.session.setPresence({cell: 'c0', anchor: 3, head: 5, colour: 'red'})"
        )
        client = await page.do("return page.session.client")
        await document.until(lambda one: client in one.presence)
        document.cells[0].edit(0, insert="🙂")
        await page.do("await until(page.session, () => page.other().anchor === 5)")
        told = document.presence[client]
        assert (told.cell, told.anchor, told.head) == ("c0", 4, 6)
        assert told.more == {"colour": "red"}
        await page.do("page.session.dispose()")
        await document.until(lambda one: client not in one.presence)


async def test_who_may_only_read_follows(server: ServerProcess, core: Path) -> None:
    path = new_notebook(server, "alpha")
    async with pages(core) as (page,), connect(server.url, server.token) as connection:
        document = await connection.open(path)
        await open_in(page, server, path, user="reader")
        assert await page.do("return [page.session.status, page.session.readOnly]") == [
            "read only",
            True,
        ]
        with pytest.raises(PageError) as error:
            await page.do(typing("c0", "!"))
        assert error.value.code == "forbidden"
        document.cells[0].append("!")
        await page.do("await until(page.session, () => page.session.rev === 1)")
        assert await page.do(f"return {SOURCES}") == ["alpha!"]
        with pytest.raises(PageError) as error:
            await page.do("await page.session.run(['c0']).done")
        assert error.value.code == "forbidden"


async def test_what_can_not_be_opened_is_told(server: ServerProcess, core: Path) -> None:
    path = new_notebook(server, "alpha")
    async with pages(core) as (page,):
        with pytest.raises(PageError) as error:
            await open_in(page, server, "nowhere.ipynb")
        assert error.value.code == "not_found"
        assert await page.do("return page.session.status") == "failed"
        await page.do("page.session.dispose()")
        await page.do(
            f"page.one = page.connection.open('{path}'); page.two = page.connection.open('{path}');"
            "await page.one.ready; page.one.dispose()"
        )
        assert await page.do("return [page.one === page.two, page.two.status]") == [True, "live"]
        await page.do("page.two.dispose(); await until(page.two, () => page.two.closed)")


async def test_a_document_is_saved(server: ServerProcess, core: Path) -> None:
    path = new_notebook(server, "alpha")
    async with pages(core) as (page,), connect(server.url, server.token) as connection:
        document = await connection.open(path)
        await open_in(page, server, path)
        await page.do("type(page.session, 'c0', '!'); await page.session.save()")
        cells = json.loads((server.root / path).read_text())["cells"]
        assert "".join(cells[0]["source"]) == "alpha!"
        server.stop()
        await offline(document)
        await page.do("await until(page.session, () => page.session.status === 'offline')")
        await start(server)
        await page.do("await until(page.session, () => page.session.status === 'live')")
