"""The Python client against real servers, each in a process of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_server.auth import Authorizer, User
from jupyter_server.base.handlers import JupyterHandler

from ot_jupyter.client import (
    Cell,
    Changed,
    ConnectError,
    Connection,
    Document,
    DocumentError,
    Refused,
    connect,
)
from ot_jupyter.client.address import read_address
from ot_jupyter.client.presence import Others, Presence
from ot_jupyter.client.state import ClientDocument
from tests.server_process import ServerProcess, free_port

STREAM = {"output_type": "stream", "name": "stdout", "text": "1\n"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    limits = ["--OtJupyter.change_operations=50", "--OtJupyter.message_bytes=1000000"]
    with ServerProcess(tmp_path_factory.mktemp("root"), extra=limits) as process:
        yield process


class ReadersOnly(Authorizer):
    """Lets everybody read, and nobody write."""

    def is_authorized(
        self, handler: JupyterHandler, user: User, action: str, resource: str
    ) -> bool:
        return action == "read"


_names = iter(range(10_000))


def new_notebook(server: ServerProcess, *sources: str) -> str:
    """A new notebook on the server's disk whose cells are c0, c1, …; its path."""
    cells = [
        nbformat.v4.new_code_cell(source, id=f"c{index}") for index, source in enumerate(sources)
    ]
    path = f"notebook{next(_names)}.ipynb"
    (server.root / path).write_text(json.dumps(nbformat.v4.new_notebook(cells=cells)))
    return path


def on_disk(server: ServerProcess, path: str) -> Any:
    return json.loads((server.root / path).read_text())


def sources(document: Document) -> list[str]:
    return [cell.source for cell in document.cells]


async def same(*documents: Document) -> None:
    """Return when all is acknowledged and everybody has seen it."""
    for document in documents:
        await document.acknowledged()
    rev = max(document.rev for document in documents)
    for document in documents:
        await document.until(lambda one: one.rev >= rev)
    for document in documents[1:]:
        assert document.content == documents[0].content


def two(server: ServerProcess) -> tuple[Connection, Connection]:
    return connect(server.url, server.token), connect(server.url, server.token)


# Connecting.


@pytest.mark.parametrize(
    ("url", "token", "expected"),
    [
        ("http://localhost:8888", None, ("http://localhost:8888/", "env")),
        ("http://localhost:8888/?token=abc", None, ("http://localhost:8888/", "abc")),
        ("http://localhost:8888/lab?token=abc", "x", ("http://localhost:8888/", "x")),
        ("http://127.0.0.1:1/user/me/", "", ("http://127.0.0.1:1/user/me/", "")),
        ("https://h.org/user/lab/tree", None, ("https://h.org/user/lab/", "env")),
    ],
)
def test_reads_addresses_as_jupyter_prints_them(
    url: str, token: str | None, expected: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_TOKEN", "env")
    address = read_address(url, token)
    assert (address.url, address.token) == expected
    assert address.socket == "ws" + expected[0][4:] + "api/ot/socket"
    assert "abc" not in repr(address)


@pytest.mark.parametrize("url", ["localhost:8888", "ftp://x/", "http://", ""])
def test_refuses_what_is_no_server(url: str) -> None:
    with pytest.raises(ValueError, match="looks like"):
        connect(url)


async def test_says_why_it_cannot_connect(server: ServerProcess) -> None:
    with pytest.raises(ConnectError) as unreachable:
        await connect(f"http://127.0.0.1:{free_port()}").start()
    assert unreachable.value.code == "unreachable"
    with pytest.raises(ConnectError) as forbidden:
        await connect(server.url, "wrong").start()
    assert forbidden.value.code == "forbidden"
    with pytest.raises(ConnectError) as missing:
        await connect(server.url + "/elsewhere/", server.token).start()
    assert missing.value.code == "no_ot"


async def test_must_be_started(server: ServerProcess) -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await connect(server.url, server.token).open("a.ipynb")


async def test_says_why_a_document_cannot_be_opened(server: ServerProcess) -> None:
    (server.root / "broken.ipynb").write_text("{")
    (server.root / "folder").mkdir(exist_ok=True)
    (server.root / "list.ipynb").write_text("[]")
    async with connect(server.url, server.token) as connection:
        for path, code in [
            ("nothing.ipynb", "not_found"),
            ("broken.ipynb", "not_json"),
            ("list.ipynb", "not_a_notebook"),
            ("folder", "is_directory"),
            ("../up.ipynb", "bad_path"),
        ]:
            with pytest.raises(DocumentError) as error:
                await connection.open(path)
            assert error.value.code == code
            assert error.value.message
        assert connection.documents == []
        path = new_notebook(server, "1")
        with pytest.raises(DocumentError) as error:
            await connection.open(path, kind="text")
        assert error.value.code == "wrong_kind"
        document = await connection.open(path, kind="notebook")
        with pytest.raises(DocumentError) as error:
            await connection.open(path, kind="text")
        assert (error.value.code, error.value.pointer) == ("wrong_kind", "/kind")
        assert document.status == "live"


async def test_one_path_is_one_document(server: ServerProcess) -> None:
    path = new_notebook(server, "1")
    async with connect(server.url, server.token) as connection:
        documents = await asyncio.gather(
            *(connection.open(name) for name in (path, "/" + path, "./" + path))
        )
        assert len({id(document) for document in documents}) == 1
        await documents[0].close()
        again = await connection.open(path)
        assert again is not documents[0]
        assert sources(again) == ["1"]


# Cells.


async def test_reads_cells_in_every_way(server: ServerProcess) -> None:
    path = new_notebook(server, "a", "b", "c")
    async with connect(server.url, server.token) as connection:
        document = await connection.open(path)
        cells = document.cells
        assert len(cells) == 3
        assert [cell.id for cell in cells] == ["c0", "c1", "c2"]
        assert cells[1] == cells["c1"] == cells[-2]
        assert cells[1:] == [cells["c1"], cells["c2"]]
        assert cells.index(cells["c2"]) == cells["c2"].index == 2
        assert "c1" in cells
        assert cells[1] in cells
        assert "nowhere" not in cells
        assert len({cells[0], cells["c0"]}) == 1
        first = cells[0]
        assert (first.type, first.source, first.outputs) == ("code", "a", [])
        assert first.execution_count is None
        assert dict(first.metadata) == {}
        assert first.json()["id"] == "c0"
        with pytest.raises(IndexError, match="there are 3"):
            cells[3]
        with pytest.raises(KeyError, match="no cell 'x'"):
            cells["x"]
        with pytest.raises(TypeError, match="is a notebook"):
            document.text  # noqa: B018
        nbformat.validate(document.notebook())


async def test_writes_cells_in_every_way(server: ServerProcess) -> None:
    path = new_notebook(server, "alpha", "beta")
    here, there = two(server)
    async with here, there:
        mine, theirs = await here.open(path), await there.open(path)
        cell = mine.cells[0]
        cell.set_source("alpha 2")
        cell.append("!")
        cell.edit(0, 1, "A")
        cell.source += "?"
        cell.metadata["tags"] = ["x"]
        cell.set_metadata(("jupyter", "source_hidden"), True)
        cell.set_metadata(("jupyter", "outputs_hidden"), False)
        new = mine.insert(1, "# Title", "markdown", id="title")
        last = mine.append("last")
        new.move(-1)
        mine.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
        mine.cells["c1"].set_type("raw")
        await same(mine, theirs)
        assert [cell.id for cell in theirs.cells] == ["c0", "c1", last.id, "title"]
        assert sources(theirs) == ["Alpha 2!?", "beta", "last", "# Title"]
        assert theirs.cells[0].metadata == {
            "tags": ["x"],
            "jupyter": {"source_hidden": True, "outputs_hidden": False},
        }
        assert theirs.cells["c1"].type == "raw"
        assert theirs.metadata["kernelspec"]["name"] == "python3"
        del theirs.cells[0].metadata["tags"]
        theirs.cells[0].metadata.remove(("jupyter", "source_hidden"))
        theirs.cells["title"].delete()
        await same(mine, theirs)
        assert dict(cell.metadata) == {"jupyter": {"outputs_hidden": False}}
        assert not new.exists
        with pytest.raises(KeyError, match="'title' is not in"):
            new.source  # noqa: B018
        assert "removed" in repr(new)


async def test_says_what_is_wrong_with_a_write(server: ServerProcess) -> None:
    path = new_notebook(server, "alpha")
    async with connect(server.url, server.token) as connection:
        document = await connection.open(path)
        before = document.content
        cell = document.cells[0]
        with pytest.raises(IndexError, match="code points"):
            cell.edit(3, 3)
        with pytest.raises(IndexError, match="there are 1"):
            cell.move(1)
        with pytest.raises(IndexError, match="inserted at 2"):
            document.insert(2)
        with pytest.raises(ValueError, match="not 'sql'"):
            cell.set_type("sql")
        with pytest.raises(ValueError, match="not 'sql'"):
            document.append("", "sql")
        with pytest.raises(Refused, match="exists"):
            document.append("", id="c0")
        with pytest.raises(Refused, match="bad_id"):
            document.append("", id="not an id")
        with pytest.raises(Refused, match="bad_text"):
            cell.append("\ud800")
        with pytest.raises(Refused, match="not_writable"):
            cell.metadata["trusted"] = True
        with pytest.raises(Refused, match="wrong_type"):
            cell.metadata["x"] = {1, 2}
        with pytest.raises(KeyError):
            del cell.metadata["nothing"]
        cell.metadata["n"] = 1
        with pytest.raises(TypeError, match="no object"):
            cell.set_metadata(("n", "inside"), 1)
        del cell.metadata["n"]
        assert document.content == before


async def test_what_is_read_or_given_is_a_copy(server: ServerProcess) -> None:
    path = new_notebook(server, "alpha")
    async with connect(server.url, server.token) as connection:
        document = await connection.open(path)
        cell = document.cells[0]
        tags = ["x"]
        cell.metadata["tags"] = tags
        tags.append("y")
        cell.metadata["tags"].append("z")
        document.notebook()["cells"][0]["metadata"]["tags"].append("z")
        assert cell.metadata["tags"] == ["x"]
        await document.acknowledged()


async def test_outputs_are_read_and_cleared(server: ServerProcess) -> None:
    path = new_notebook(server)
    cell = nbformat.v4.new_code_cell("1", id="c0", execution_count=4, outputs=[STREAM])
    (server.root / path).write_text(json.dumps(nbformat.v4.new_notebook(cells=[cell])))
    async with connect(server.url, server.token) as connection:
        document = await connection.open(path)
        first = document.cells[0]
        assert first.outputs == [STREAM]
        assert first.execution_count == 4
        first.outputs.clear()
        assert first.outputs == [STREAM]
        first.clear_outputs()
        first.clear_outputs()
        assert (first.outputs, first.execution_count) == ([], None)
        assert document.unsaved == 1
        await document.flush()
        assert on_disk(server, path)["cells"][0]["outputs"] == []


async def test_text_files(server: ServerProcess) -> None:
    (server.root / "notes.md").write_text("one\ntwo\n")
    here, there = two(server)
    async with here, there:
        mine, theirs = await here.open("notes.md"), await there.open("notes.md")
        assert (mine.kind, mine.text) == ("text", "one\ntwo\n")
        mine.set_text("one\nTWO\n")
        theirs.edit_text(0, insert="zero\n")
        await same(mine, theirs)
        assert mine.text == "zero\none\nTWO\n"
        await mine.flush()
        assert (server.root / "notes.md").read_text() == mine.text
        with pytest.raises(TypeError, match="is a text file"):
            mine.cells  # noqa: B018
        with pytest.raises(TypeError, match="is a text file"):
            mine.notebook()
        with pytest.raises(IndexError):
            mine.edit_text(100)


# Changes.


async def test_people_who_type_at_once_keep_everything(server: ServerProcess) -> None:
    path = new_notebook(server, "start\n", "other")
    here, there = two(server)
    async with here, there:
        mine, theirs = await here.open(path), await there.open(path)
        for number in range(40):
            mine.cells["c0"].append(f"A{number} ")
            theirs.cells["c0"].edit(0, insert=f"B{number} ")
            if number % 7 == 0:
                theirs.cells["c1"].move(number % 2)
            await asyncio.sleep(0)
        await same(mine, theirs)
        text = mine.cells["c0"].source
        assert text.endswith("".join(f"A{number} " for number in range(40)))
        assert text.startswith("".join(f"B{number} " for number in reversed(range(40))))


async def test_what_is_done_in_one_go_travels_as_one(server: ServerProcess) -> None:
    path = new_notebook(server, "")
    async with connect(server.url, server.token) as connection:
        document = await connection.open(path)
        for letter in "hello":
            document.cells[0].append(letter)
        assert document.unsaved == 1
        await document.acknowledged()
        assert (document.rev, document.unsaved) == (1, 0)


async def test_a_change_is_atomic_and_one_step_of_undo(server: ServerProcess) -> None:
    path = new_notebook(server, "alpha")
    async with connect(server.url, server.token) as connection:
        document = await connection.open(path)
        heard: list[Any] = []
        document.on_change(lambda ops, origin: heard.append((ops, origin)))
        with document.change():
            document.cells[0].append("1")
            with document.change():
                new = document.append("x")
            new.append("y")
            assert sources(document) == ["alpha1", "xy"]
            assert heard == []
            with pytest.raises(RuntimeError, match=r"change\(\)"):
                document.undo()
        assert len(heard) == 1
        assert document.undo()
        assert sources(document) == ["alpha"]
        assert document.redo()
        assert sources(document) == ["alpha1", "xy"]
        assert not document.redo()


async def test_a_change_that_fails_did_not_happen(server: ServerProcess) -> None:
    path = new_notebook(server, "alpha")
    async with connect(server.url, server.token) as connection:
        document = await connection.open(path)

        def fail() -> None:
            with document.change():
                document.cells[0].append("1")
                document.append("2")
                document.cells[7].append("3")

        with pytest.raises(IndexError):
            fail()
        assert sources(document) == ["alpha"]
        assert document.unsaved == 0
        assert not document.undo()


async def test_others_may_come_between_while_a_change_is_put_together(
    server: ServerProcess,
) -> None:
    path = new_notebook(server, "alpha", "beta")
    here, there = two(server)
    async with here, there:
        mine, theirs = await here.open(path), await there.open(path)
        with mine.change():
            mine.cells["c0"].append("1")
            theirs.cells["c0"].edit(0, insert=">")
            theirs.cells["c1"].delete()
            await theirs.acknowledged()
            await mine.until(lambda one: one.rev == theirs.rev)
            assert sources(mine) == [">alpha1"]
            mine.cells["c0"].append("2")
        await same(mine, theirs)
        assert sources(theirs) == [">alpha12"]
        mine.undo()
        await same(mine, theirs)
        assert sources(theirs) == [">alpha"]


async def test_a_mark_lets_one_write_to_what_one_has_read(server: ServerProcess) -> None:
    path = new_notebook(server, "one two three", "beta")
    here, there = two(server)
    async with here, there:
        mine, theirs = await here.open(path), await there.open(path)
        mark = mine.mark()
        text = mine.cells["c0"].source
        theirs.cells["c0"].edit(0, insert=">> ")
        theirs.insert(0, "new")
        await theirs.acknowledged()
        await mine.until(lambda one: one.rev == theirs.rev)
        mine.cells["c0"].append("!")
        mine.cells["c0"].set_source(text.replace("two", "2"), at=mark)
        mine.apply([{"op": "remove", "path": "/cells/c1", "index": 1}], at=mark)
        await same(mine, theirs)
        assert sources(theirs) == ["new", ">> one 2 three!"]
        theirs.cells["c0"].delete()
        await same(theirs)
        await mine.until(lambda one: one.rev == theirs.rev)
        mine.apply([{"op": "edit", "path": "/cells/c0/source", "delta": ["x"]}], at=mark)
        assert mine.unsaved == 0  # its cell is gone


async def test_undo_leaves_what_others_did(server: ServerProcess) -> None:
    path = new_notebook(server, "alpha", "beta")
    here, there = two(server)
    async with here, there:
        mine, theirs = await here.open(path), await there.open(path)
        mine.cells["c0"].append(" mine")
        await same(mine, theirs)
        theirs.cells["c0"].append(" theirs")
        theirs.cells["c1"].delete()
        await same(mine, theirs)
        assert mine.undo()
        assert theirs.undo()
        await same(mine, theirs)
        assert sources(mine) == ["alpha theirs", "beta"]


async def test_raw_operations(server: ServerProcess) -> None:
    path = new_notebook(server, "alpha", "beta")
    async with connect(server.url, server.token) as connection:
        document = await connection.open(path)
        document.apply(
            [
                {"op": "edit", "path": "/cells/c0/source", "delta": [5, "!"]},
                {"op": "move", "path": "/cells/c0", "index": 0, "to": 1},
            ]
        )
        document.apply([])
        await document.acknowledged()
        assert sources(document) == ["beta", "alpha!"]
        with pytest.raises(Refused) as refused:
            document.apply([{"op": "edit", "path": "/cells/c0/source", "delta": [99, "!"]}])
        assert refused.value.pointer == "/0/delta"
        with pytest.raises(Refused, match="forbidden"):
            document.apply([{"op": "edit", "path": "/cells/c0/outputs", "delta": [[STREAM]]}])


async def test_what_only_the_server_refuses_is_taken_back_and_told(server: ServerProcess) -> None:
    path = new_notebook(server, "alpha")
    async with connect(server.url, server.token) as connection:
        document = await connection.open(path)
        document.apply([{"op": "edit", "path": "/cells/c0/source", "delta": [5, "!"]}])
        await document.acknowledged()
        many = [
            {"op": "replace", "path": f"/metadata/k{number}", "value": number}
            for number in range(51)
        ]
        document.apply(many)
        with pytest.raises(DocumentError) as error:
            await document.acknowledged()
        assert error.value.code == "too_many_operations"
        await document.until(lambda one: one.unsaved == 0)
        assert dict(document.metadata) == {}
        assert [one.code for one in document.refused] == ["too_many_operations"]
        document.cells[0].append("?")
        await document.acknowledged()
        assert sources(document) == ["alpha!?"]


# Files and other programs.


async def test_flush_writes_the_file(server: ServerProcess) -> None:
    path = new_notebook(server, "alpha")
    async with connect(server.url, server.token) as connection:
        document = await connection.open(path)
        document.cells[0].append("!")
        await document.flush()
        assert on_disk(server, path)["cells"][0]["source"] == ["alpha!"]
        assert nbformat.read(server.root / path, 4) == nbformat.from_dict(document.notebook())


async def test_hears_of_what_other_programs_do_to_the_file(server: ServerProcess) -> None:
    path = new_notebook(server, "alpha")
    async with connect(server.url, server.token) as connection:
        document = await connection.open(path)
        notebook = on_disk(server, path)
        notebook["cells"][0]["source"] = "beta"
        (server.root / path).write_text(json.dumps(notebook))
        await document.until(lambda one: sources(one) == ["beta"])


async def test_a_big_notebook(server: ServerProcess) -> None:
    """More than what tornado lets through unless it is told to."""
    path = new_notebook(server, "x" * 11_000_000)
    async with connect(server.url, server.token) as connection:
        document = await connection.open(path)
        assert len(document.cells[0].source) == 11_000_000


async def test_a_change_too_big_for_the_server_ends_its_document_only(
    server: ServerProcess,
) -> None:
    small, big = new_notebook(server, "small"), new_notebook(server, "big")
    connection = connect(server.url, server.token)
    await connection.start()
    try:
        mine, other = await connection.open(big), await connection.open(small)
        mine.append("y" * 1_100_000)
        with pytest.raises(DocumentError) as error:
            await mine.acknowledged()
        assert error.value.code == "too_large"
        assert (mine.status, mine.unsaved) == ("unavailable", 1)
        assert len(mine.cells[1].source) == 1_100_000
        with pytest.raises(DocumentError, match="too_large"):
            mine.append("more")
        other.cells[0].append("!")
        await other.acknowledged()
    finally:
        with pytest.raises(DocumentError, match="too_large"):
            await connection.close()


async def test_a_document_that_may_only_be_read(tmp_path: Path) -> None:
    rights = "--ServerApp.authorizer_class=tests.test_client.ReadersOnly"
    with ServerProcess(tmp_path, extra=[rights]) as server:
        path = new_notebook(server, "alpha")
        async with connect(server.url, server.token) as connection:
            document = await connection.open(path)
            assert document.status == "read only"
            assert sources(document) == ["alpha"]
            with pytest.raises(DocumentError, match="may only be read"):
                document.cells[0].append("!")
            with pytest.raises(DocumentError, match="may only be read"):
                document.undo()
            with pytest.raises(DocumentError) as error:
                await document.flush()
            assert error.value.code == "forbidden"
            document.set_presence("c0", 1)
            assert sources(document) == ["alpha"]


async def test_many_documents_on_one_connection(server: ServerProcess) -> None:
    paths = [new_notebook(server, f"{number}") for number in range(12)]
    async with connect(server.url, server.token) as connection:
        documents = await asyncio.gather(*(connection.open(path) for path in paths))
        for document in documents:
            document.cells[0].append("!")
        await asyncio.gather(*(document.acknowledged() for document in documents))
        assert [sources(document) for document in documents] == [[f"{n}!"] for n in range(12)]
        with pytest.raises(DocumentError):
            await connection.open("nothing.ipynb")
        assert all(document.status == "live" for document in documents)


# Events.


async def test_tells_of_changes(server: ServerProcess) -> None:
    path = new_notebook(server, "alpha")
    here, there = two(server)
    async with here, there:
        mine, theirs = await here.open(path), await there.open(path)
        heard: list[tuple[Any, str]] = []
        end = mine.on_change(lambda ops, origin: heard.append((ops, origin)))
        mine.on_change(lambda ops, origin: 1 / 0)  # its own fault
        stream = mine.changes()
        next_one = asyncio.ensure_future(stream.__anext__())
        await asyncio.sleep(0)
        theirs.cells[0].append("!")
        await theirs.acknowledged()
        typed = [{"op": "edit", "path": "/cells/c0/source", "delta": [5, "!"]}]
        assert await next_one == Changed(typed, "remote")
        mine.cells[0].append("?")
        changed = await stream.__anext__()
        assert changed.origin == "local"
        assert [origin for _, origin in heard] == ["remote", "local"]
        end()
        end()
        mine.cells[0].append("?")
        assert len(heard) == 2
        await mine.close()
        assert [one.origin async for one in stream] == ["local"]
        assert [one async for one in mine.changes()] == []


async def test_until_raises_what_the_condition_raises(server: ServerProcess) -> None:
    path = new_notebook(server, "alpha")
    async with connect(server.url, server.token) as connection:
        document = await connection.open(path)
        with pytest.raises(ValueError, match="substring"):
            await document.until(lambda one: one.cells[0].source.index("!") > 100)
        later = asyncio.ensure_future(document.until(lambda one: not one.cells[0]))
        await asyncio.sleep(0)
        document.cells[0].delete()
        with pytest.raises(IndexError):
            await later
        forever = asyncio.ensure_future(document.until(lambda one: False))
        await asyncio.sleep(0)
        await document.close()
        with pytest.raises(DocumentError, match="closed"):
            await forever


async def test_a_closed_document_says_so(server: ServerProcess) -> None:
    path = new_notebook(server, "alpha")
    async with connect(server.url, server.token) as connection:
        document = await connection.open(path)
        document.cells[0].append("!")
        await document.close()
        await document.close()
        assert document.status == "closed"
        assert sources(document) == ["alpha!"]  # what we have can be read
        with pytest.raises(DocumentError, match="closed"):
            document.cells[0].append("?")
        with pytest.raises(DocumentError, match="closed"):
            await document.flush()
        again = await connection.open(path)
        assert sources(again) == ["alpha!"]


async def test_leaving_waits_for_what_is_on_its_way(server: ServerProcess) -> None:
    path = new_notebook(server, "alpha")
    async with connect(server.url, server.token) as connection:
        (await connection.open(path)).cells[0].append("!")

    async def fail() -> None:
        async with connect(server.url, server.token) as connection:
            document = await connection.open(path)
            document.cells[0].append("!")
            document.cells[7].append("!")

    with pytest.raises(IndexError):
        await fail()

    async with connect(server.url, server.token) as connection:
        assert sources(await connection.open(path)) == ["alpha!!"]


# Presence.


async def test_presence_is_told_and_moves_with_the_text(server: ServerProcess) -> None:
    path = new_notebook(server, "alpha", "beta")
    here, there = two(server)
    async with here, there:
        mine, theirs = await here.open(path), await there.open(path)
        theirs.set_presence(theirs.cells["c0"], 2, 4, colour="red")
        await mine.until(lambda one: theirs.client in one.presence)
        seen = mine.presence[theirs.client]
        assert (seen.cell, seen.anchor, seen.head, seen.more) == ("c0", 2, 4, {"colour": "red"})
        assert seen.name
        assert theirs.client not in theirs.presence
        mine.cells["c0"].edit(0, insert=">> ")
        assert mine.presence[theirs.client].anchor == 5
        await same(mine, theirs)
        # Said again by one who typed too: it speaks of the state after that.
        theirs.cells["c0"].edit(0, insert="##")
        theirs.set_presence("c0", 8, 8)
        await mine.until(lambda one: one.presence[theirs.client].head == 8)
        assert mine.cells["c0"].source == "##>> alpha"
        mine.cells["c0"].delete()
        assert mine.presence[theirs.client].cell is None
        with pytest.raises(KeyError):
            theirs.set_presence("nowhere", 1)
        theirs.clear_presence()
        await mine.until(lambda one: not one.presence)


async def test_presence_ends_with_the_connection(server: ServerProcess) -> None:
    path = new_notebook(server, "alpha")
    here, there = two(server)
    async with here:
        mine = await here.open(path)
        async with there:
            theirs = await there.open(path)
            theirs.set_presence("c0", 1)
            await mine.until(lambda one: bool(one.presence))
        await mine.until(lambda one: not one.presence)


async def test_who_comes_later_sees_who_is_here(server: ServerProcess) -> None:
    path = new_notebook(server, "alpha")
    here, there = two(server)
    async with here, there:
        mine, watcher = await here.open(path), await there.open(path)
        mine.set_presence("c0", 3)
        await watcher.until(lambda one: bool(one.presence))
        async with connect(server.url, server.token) as third:
            late = await third.open(path)
            assert late.presence[mine.client].anchor == 3


def test_presence_of_a_revision_ahead_waits() -> None:
    state = ClientDocument("a.txt", "me")
    state.document = state.confirmed = {"source": "abc"}
    others = Others()
    word = {"client": "you", "user": {"name": "You"}, "rev": 1, "presence": {"head": 4, "x": []}}
    others.hear(word, state, now=0.0)
    assert others.here == {}
    state.head = state.head._replace(rev=1)
    state.document = {"source": "abcd"}
    others.reached(state)
    assert others.here == {"you": Presence("you", {"name": "You"}, None, None, 4, {"x": []})}
    others.expire(now=89.0)
    assert others.here
    others.expire(now=91.0)
    assert others.here == {}


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"cell": 5, "anchor": "x", "head": -1},
        {"cell": "gone", "anchor": 1, "head": 10**9},
        {"cell": None, "anchor": True, "head": 1.5},
    ],
)
def test_presence_of_others_may_be_anything(value: dict[str, Any]) -> None:
    state = ClientDocument("a.ipynb", "me")
    state.document = {"cells": {}, "order": [], "metadata": {}}
    others = Others()
    others.hear({"client": "you", "user": None, "rev": 0, "presence": value}, state, now=0.0)
    assert others.here == {"you": Presence("you", {})}
    assert others.here["you"].name == "you"
    others.hear({"client": "me", "rev": 0, "presence": value}, state, now=0.0)
    assert list(others.here) == ["you"]


def test_cells_compare_by_document_and_id() -> None:
    one, other = object(), object()
    assert Cell(one, "a") == Cell(one, "a")  # type: ignore[arg-type]
    assert Cell(one, "a") != Cell(other, "a")  # type: ignore[arg-type]
    assert Cell(one, "a") != "a"  # type: ignore[arg-type]
