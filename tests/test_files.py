"""The file follows the log, and what others write into it is never lost: real servers and disk."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import nbformat
import pytest

from ot_jupyter.client import Document, connect
from tests.redis_server import RedisServer
from tests.server_process import ServerProcess

QUICK = (
    "--OtJupyter.save_delay=0.1", "--OtJupyter.save_longest=0.5", "--OtJupyter.look_interval=0.2",
)  # fmt: skip


def write(path: Path, *sources: str) -> None:
    cells = [nbformat.v4.new_code_cell(source, id=f"c{i}") for i, source in enumerate(sources)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


def sources(path: Path) -> list[str]:
    return [cell.source for cell in nbformat.read(path, as_version=4).cells]


def read(server: ServerProcess, url: str) -> str:
    with urlopen(Request(url, headers=server.headers)) as answer:
        return str(answer.read().decode())


def change(path: Path, edit: Callable[[Any], None]) -> None:
    """What a program does that reads the file, edits it and writes it back."""
    notebook = nbformat.read(path, as_version=4)
    edit(notebook)
    temporary = path.with_suffix(".tmp")
    nbformat.write(notebook, temporary)
    os.replace(temporary, path)


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < end, "it does not come to be"
        await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("files"), extra=QUICK) as server:
        yield server


async def test_the_file_follows_by_itself(server: ServerProcess) -> None:
    path = server.root / "follows.ipynb"
    write(path, "a")
    async with connect(server.url, server.token) as jupyter:
        doc = await jupyter.open(path.name)
        doc.cells[0].append("b")
        await until(lambda: sources(path) == ["ab"])


async def test_typing_without_a_pause_is_saved_too(server: ServerProcess) -> None:
    path = server.root / "typing.ipynb"
    write(path, "")
    async with connect(server.url, server.token) as jupyter:
        doc = await jupyter.open(path.name)
        for _ in range(60):
            doc.cells[0].append("x")
            await asyncio.sleep(0.03)  # never as long as the pause that a save waits for
            if sources(path)[0]:
                return
        pytest.fail("not saved in two seconds of typing")


async def test_nothing_is_written_if_nothing_changed(server: ServerProcess) -> None:
    path = server.root / "same.ipynb"
    write(path, "a")
    before = path.stat()
    async with connect(server.url, server.token) as jupyter:
        doc = await jupyter.open(path.name)
        doc.cells[0].append("b")
        doc.undo()
        await doc.acknowledged()
        await doc.flush()
    assert path.stat().st_mtime_ns == before.st_mtime_ns


async def test_what_others_write_and_what_people_type_both_survive(server: ServerProcess) -> None:
    path = server.root / "both.ipynb"
    write(path, "a = 1", "b = 2", "c = 3")
    async with connect(server.url, server.token) as jupyter:
        doc = await jupyter.open(path.name)
        doc.cells["c0"].append("  # typed")
        doc.cells["c1"].append("  # typed")

        def outside(notebook: Any) -> None:
            notebook.cells[1].source = "b = 22"
            notebook.cells.append(nbformat.v4.new_code_cell("d = 4", id="new"))
            notebook.cells.insert(0, notebook.cells.pop(2))

        change(path, outside)
        await doc.until(lambda doc: len(doc.cells) == 4)
        expected = ["c = 3", "a = 1  # typed", "b = 22  # typed", "d = 4"]
        await doc.until(lambda doc: [cell.source for cell in doc.cells] == expected)
        await until(lambda: sources(path) == expected)


async def test_an_outside_change_is_one_entry_that_is_named(server: ServerProcess) -> None:
    path = server.root / "named.ipynb"
    write(path, "a = 1", "b = 2")
    async with connect(server.url, server.token) as jupyter:
        doc = await jupyter.open(path.name)
        change(path, lambda notebook: notebook.cells.clear())
        await doc.until(lambda doc: not doc.cells)
        assert doc.rev == 1
    url = f"{server.url}/api/ot/entries/{path.name}?since=0"
    entry = json.loads(await asyncio.to_thread(read, server, url))["entries"][0]
    assert entry["client"].startswith("file:")
    assert entry["user"] == "file"


async def test_a_stripped_notebook_keeps_its_cells(server: ServerProcess) -> None:
    """A tool that drops all ids: nobody's typing dies, no cell is doubled."""
    path = server.root / "stripped.ipynb"
    write(path, "first = 1", "second = 2")
    async with connect(server.url, server.token) as jupyter:
        doc = await jupyter.open(path.name)
        doc.cells["c1"].append("  # typed")
        await doc.acknowledged()
        notebook = json.loads(path.read_text())
        for cell in notebook["cells"]:
            del cell["id"]
        notebook["nbformat_minor"] = 4
        notebook["cells"][0]["source"] = "first = 11"
        path.write_text(json.dumps(notebook))
        await doc.until(lambda doc: doc.cells[0].source == "first = 11")
        assert [cell.id for cell in doc.cells] == ["c0", "c1"]
        assert doc.cells[1].source == "second = 2  # typed"


@pytest.mark.parametrize("content", ["{half", "", '{"cells": 7}', "<<<<<<< HEAD\n"])
async def test_a_broken_file_is_left_alone(server: ServerProcess, content: str) -> None:
    path = server.root / f"broken{len(content)}.ipynb"
    write(path, "a")
    async with connect(server.url, server.token) as jupyter:
        doc = await jupyter.open(path.name)
        path.write_text(content)
        doc.cells[0].append("b")
        await doc.acknowledged()
        await doc.until(lambda doc: doc.file_problem is not None)
        await asyncio.sleep(0.7)  # longer than the longest wait for a save
        assert path.read_text() == content
        write(path, "aa")
        await doc.until(lambda doc: doc.cells[0].source in ("aab", "aba"))
        await doc.until(lambda doc: doc.file_problem is None)


async def test_a_deleted_file_is_not_made_again(server: ServerProcess) -> None:
    path = server.root / "deleted.ipynb"
    write(path, "a")
    async with connect(server.url, server.token) as jupyter:
        doc = await jupyter.open(path.name)
        path.unlink()
        doc.cells[0].append("b")
        await doc.acknowledged()
        await doc.until(lambda doc: doc.file_problem is not None)
        await asyncio.sleep(0.7)
        assert not path.exists()
        write(path, "a")
        await until(lambda: sources(path) == ["ab"])


async def test_mode_and_link_stay(server: ServerProcess) -> None:
    real, link = server.root / "real.ipynb", server.root / "link.ipynb"
    write(real, "a")
    real.chmod(0o640)
    link.symlink_to(real)
    async with connect(server.url, server.token) as jupyter:
        doc = await jupyter.open(link.name)
        doc.cells[0].append("b")
        await doc.acknowledged()
        await doc.flush()
    assert link.is_symlink()
    assert sources(real) == ["ab"]
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert not [one for one in server.root.iterdir() if one.name.startswith(".~")]


READER = """
import json, sys, time
path, end = sys.argv[1], time.monotonic() + 4
while time.monotonic() < end:
    json.load(open(path))
"""


async def test_nobody_reads_half_a_file(server: ServerProcess) -> None:
    path = server.root / "half.ipynb"
    write(path, *["x" * 2000] * 200)
    reader = await asyncio.create_subprocess_exec(sys.executable, "-c", READER, str(path))
    async with connect(server.url, server.token) as jupyter:
        doc = await jupyter.open(path.name)
        while reader.returncode is None:
            doc.cells[0].append("y")
            await doc.flush()
    assert reader.returncode == 0


async def test_an_outside_change_while_the_server_was_down(tmp_path: Path) -> None:
    path = tmp_path / "a.ipynb"
    write(path, "a", "b")
    with ServerProcess(
        tmp_path, extra=("--OtJupyter.save_delay=30", "--OtJupyter.save_longest=30")
    ) as server:
        async with connect(server.url, server.token) as jupyter:
            doc = await jupyter.open(path.name)
            doc.cells[0].append(" typed")  # in the log, not in the file
            await doc.acknowledged()
            await asyncio.to_thread(server.kill)
            change(path, lambda notebook: notebook.cells[1].update(source="b outside"))
            await asyncio.to_thread(server.start)
            await doc.until(lambda doc: doc.cells[1].source == "b outside")
            assert doc.cells[0].source == "a typed"
            await doc.flush()
    assert sources(path) == ["a typed", "b outside"]


async def test_shutdown_saves_and_a_document_goes_on_after_it_was_closed(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("text\n")
    extra = (
        "--OtJupyter.save_delay=30",
        "--OtJupyter.save_longest=30",
        "--OtJupyter.idle_seconds=1",
    )
    with ServerProcess(tmp_path, extra=extra) as server:
        async with connect(server.url, server.token) as jupyter:
            doc = await jupyter.open("a.md")
            doc.edit_text(0, insert="one ")
            await doc.acknowledged()
            await doc.close()
            await until(lambda: path.read_text() == "one text\n")  # closed, so saved
            doc = await jupyter.open("a.md")
            assert doc.rev == 1
            doc.edit_text(0, insert="two ")
            await doc.acknowledged()
            await asyncio.to_thread(server.stop)
            assert path.read_text() == "two one text\n"
            await asyncio.to_thread(server.start)
            await doc.acknowledged()
            assert doc.rev == 2


async def test_two_servers_on_one_sqlite_file(tmp_path: Path) -> None:
    """Not meant to be, but it happens: both follow the log and the file."""
    write(tmp_path / "a.ipynb", "a")
    await _two_servers(tmp_path, None)


async def test_two_servers_on_one_redis(tmp_path: Path, redis_server: RedisServer) -> None:
    write(tmp_path / "a.ipynb", "a")
    await _two_servers(tmp_path, redis_server.url, presence=True)


async def _two_servers(root: Path, store: str | None, presence: bool = False) -> None:
    with (
        ServerProcess(root, store, extra=QUICK) as first,
        ServerProcess(root, store, extra=QUICK) as second,
    ):
        async with (
            connect(first.url, first.token) as ann,
            connect(second.url, second.token) as bob,
        ):
            docs = [await ann.open("a.ipynb"), await bob.open("a.ipynb")]
            for number in range(40):
                for doc in docs:
                    doc.cells[0].append("ab"[docs.index(doc)])
                await asyncio.sleep(0.05)
                if number == 20:
                    change(
                        root / "a.ipynb",
                        lambda notebook: notebook.cells.append(
                            nbformat.v4.new_code_cell("outside", id="o")
                        ),
                    )
            for doc in docs:
                await doc.acknowledged()
            newest = max(doc.rev for doc in docs)

            def settled(doc: Document) -> bool:
                return doc.rev >= newest and len(doc.cells) == 2

            for doc in docs:
                await asyncio.wait_for(doc.until(settled), 30)
            assert docs[0].cells[0].source.count("a") == 41
            assert docs[0].cells[0].source.count("b") == 40
            await until(lambda: sources(root / "a.ipynb") == [one.source for one in docs[0].cells])
            await until(lambda: docs[0].content == docs[1].content)
            if presence:
                docs[0].set_presence(cell="c0", anchor=1, head=1)
                await docs[1].until(lambda doc: bool(doc.presence))


async def test_what_operators_watch(server: ServerProcess) -> None:
    write(server.root / "watched.ipynb", "a")
    async with connect(server.url, server.token) as jupyter:
        doc = await jupyter.open("watched.ipynb")
        doc.cells[0].append("b")
        await doc.acknowledged()

        url = f"{server.url}/metrics"
        await until(lambda: "ot_jupyter_clients 1.0" in read(server, url))
        text = read(server, url)
    for name in ("open_documents", "entries_total", "transforms_total", "append_seconds_count",
                 "retries_total", "queue_bytes"):  # fmt: skip
        assert f"ot_jupyter_{name} " in text, name


def meddle(model: Any, path: str, contents_manager: Any, **more: Any) -> None:
    """A pre-save hook: somebody writes the file between our last look and our save, once."""
    file = Path(contents_manager.root_dir) / path
    done = file.with_suffix(".done")
    if not done.exists():
        done.touch()
        cell = nbformat.v4.new_code_cell("outside", id="o")
        change(file, lambda notebook: notebook.cells.append(cell))


async def test_what_a_save_displaces_is_merged(tmp_path: Path) -> None:
    write(tmp_path / "a.ipynb", "a")
    hook = "--ContentsManager.pre_save_hook=tests.test_files.meddle"
    with ServerProcess(tmp_path, extra=(*QUICK, hook)) as server:
        async with connect(server.url, server.token) as jupyter:
            doc = await jupyter.open("a.ipynb")
            doc.cells[0].append("b")
            await asyncio.wait_for(doc.until(lambda doc: len(doc.cells) == 2), 20)
            await until(lambda: sources(tmp_path / "a.ipynb") == ["ab", "outside"])
