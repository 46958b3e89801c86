"""The file follows the log, and what others write into it is never lost: real servers and disk."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import nbformat
import pytest
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager

from ot_jupyter.client import connect
from ot_jupyter.sequencer.entry import Head
from ot_jupyter.sequencer.files import Files
from ot_jupyter.sequencer.log import Attempt, FileState, LogUnavailable
from ot_jupyter.sequencer.memory import MemoryLog
from ot_jupyter.sequencer.pen import ABSENT, PRESENT, Submission, Verdict
from ot_jupyter.sequencer.projection import (
    Compute,
    Image,
    Past,
    Projection,
    Staged,
    digest_of,
    expected_by,
    is_nearer,
    merge,
    project,
)
from ot_jupyter.sequencer.sequencer import Sequencer, Settings
from ot_jupyter.transforms import Document, apply, new_cell
from ot_jupyter.transforms.diff import diff
from ot_jupyter.transforms.notebook import document_notebook
from tests.outside import change, quick, read, sources, until, write
from tests.server_process import ServerProcess


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("files"), extra=quick()) as server:
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
    with ServerProcess(tmp_path, extra=(*quick(), hook)) as server:
        async with connect(server.url, server.token) as jupyter:
            doc = await jupyter.open("a.ipynb")
            doc.cells[0].append("b")
            await asyncio.wait_for(doc.until(lambda doc: len(doc.cells) == 2), 20)
            await until(lambda: sources(tmp_path / "a.ipynb") == ["ab", "outside"])


class Uncertain(MemoryLog):
    """A store that is away when an image is to be set, while ``away``."""

    away = False

    async def settle_save(self, *values: Any, **more: Any) -> bool:
        if self.away:
            raise LogUnavailable("away")
        return await super().settle_save(*values, **more)


@asynccontextmanager
async def sequencer_at(folder: Path, log: Uncertain) -> AsyncIterator[Sequencer]:
    """A sequencer that does nothing by itself."""
    settings = Settings(save_delay=600.0, save_longest=600.0, look_interval=600.0)
    sequencer = Sequencer(log, Files(AsyncLargeFileManager(root_dir=str(folder))), settings)
    await sequencer.start()
    try:
        yield sequencer
    finally:
        await sequencer.close()


async def test_a_change_is_taken_back_outside_before_it_became_the_image(tmp_path: Path) -> None:
    """It is in the log already: so must be what takes it back."""
    path, log = tmp_path / "a.ipynb", Uncertain()
    write(path, "a", "b")
    async with sequencer_at(tmp_path, log) as sequencer:
        live = await sequencer.open("a.ipynb")
        before = path.read_bytes()
        log.away = True
        change(path, lambda notebook: notebook.cells.pop())
        while "c1" in live.document["cells"]:
            with contextlib.suppress(LogUnavailable):
                await sequencer.flush(live)
        path.write_bytes(before)
        log.away = False
        await sequencer.flush(live)
        assert sources(path) == ["a", "b"]
        assert [live.document["cells"][name]["source"] for name in ("c0", "c1")] == ["a", "b"]


async def test_a_save_is_taken_back_outside_before_it_became_the_image(tmp_path: Path) -> None:
    """The server knows that it was made: what is there now is what others made of it."""
    path, log = tmp_path / "a.ipynb", Uncertain()
    write(path, "a")
    async with sequencer_at(tmp_path, log) as sequencer:
        live = await sequencer.open("a.ipynb")
        before = path.read_bytes()
        await live.commit(done(live.head, append("c0", 1, "b")))
        log.away = True
        with pytest.raises(LogUnavailable):
            await sequencer.flush(live)
        assert sources(path) == ["ab"]
        path.write_bytes(before)
        log.away = False
        await sequencer.flush(live)
        assert sources(path) == ["a"]
        assert live.document["cells"]["c0"]["source"] == "a"


async def test_ids_that_were_stripped_come_back_though_nothing_else_changed(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.ipynb"
    write(path, "a", "b")
    async with sequencer_at(tmp_path, Uncertain()) as sequencer:
        live = await sequencer.open("a.ipynb")
        change(path, lambda notebook: [cell.update(id=f"n{cell.id}") for cell in notebook.cells])
        while [cell.id for cell in nbformat.read(path, as_version=4).cells] != ["c0", "c1"]:
            await asyncio.sleep(0.05)
            await sequencer.flush(live)
        assert live.document["order"] == ["c0", "c1"]


def append(cell: str, length: int, text: str) -> dict[str, Any]:
    return {"op": "edit", "path": f"/cells/{cell}/source", "delta": [length, text]}


def removed(cell: str, index: int) -> dict[str, Any]:
    return {"op": "remove", "path": f"/cells/{cell}", "index": index}


def done(base: Head, *ops: dict[str, Any]) -> Callable[[Callable[[Verdict], None]], Submission]:
    """A person's change."""
    return lambda answer: Submission(
        client="p", n=1, base=base, ops=list(ops), user="p", answer=answer
    )


async def test_a_save_that_displaced_what_others_wrote_was_not_their_base(tmp_path: Path) -> None:
    """A server crashed when it had written over what was just written. That lacks two cells, as
    the save does, and a letter that was typed: it is older than that letter."""
    path, log = tmp_path / "a.ipynb", Uncertain()
    write(path, "a", "b", "c", "d")
    async with sequencer_at(tmp_path, log) as sequencer:
        live = await sequencer.open("a.ipynb")
        image = await log.file_state(live.ref.doc)
        await live.commit(done(live.head, append("c0", 1, "!"), removed("c2", 2), removed("c1", 1)))
        saved = project(live.document)
        attempt = Attempt(
            "crashed", "other", digest_of(saved), live.head.rev, 0.0, Image(saved).pack()
        )
        assert await log.begin_save(live.ref.doc, attempt, over=image.digest)
        change(path, lambda notebook: notebook.cells.__delitem__(slice(1, 3)))
        path.rename(path.with_name(".~a.ipynb.crashed"))
        path.write_text(json.dumps(document_notebook(saved)))
        await sequencer.flush(live)
        assert sources(path) == ["a!", "d"]


def test_text_of_a_cell_that_others_replaced_is_not_there_twice() -> None:
    """Ids were stripped, so a cell is another one. Of the old one only what was typed since stays,
    also if a third cell was removed meanwhile and brought back."""
    base = book(a="one", b="two")
    found = book(x="one, much longer than it was before", b="two")
    document = book(a="typed in front and here one typed as much behind", b="two")
    brought_back = {"op": "add", "path": "/cells/b", "index": 1, "value": base["cells"]["b"]}
    front = {"op": "edit", "path": "/cells/a/source", "delta": ["typed in front and here "]}
    ops = [front, removed("b", 1), brought_back, append("a", 27, " typed as much behind")]
    assert apply(base, ops) == document
    merged = apply(document, merge(base, found, document, Past(base, ops)))
    assert [merged["cells"][name]["source"] for name in ("a", "x")] == [
        "typed in front and here  typed as much behind",
        "one, much longer than it was before",
    ]


def test_a_change_of_the_file_expects_what_it_would_destroy() -> None:
    """Somebody types into a cell in the instant in which it is removed, or removes one in which
    others wrote: merge once more."""
    document = book(a="one", b="two", c="three")
    change = diff(document, book(a="one!", x="new", c="three"))
    assert expected_by(change, document) == (
        (("cells", "b", "source"), "two"), (("cells", "x"), ABSENT), (("cells", "a"), PRESENT),
    )  # fmt: skip


def test_what_was_staged_is_there_until_the_store_knows_that_it_was_not_put() -> None:
    """Else nobody could tell how an attempt ended whose server died between the two."""
    old, new = project(book(a="one")), book(a="two")
    image = Image(old)
    state = FileState(image.pack(), digest_of(old), 0, None)
    files = Projection(
        lambda: (Head(1, "h"), new), lambda rev: None, "s", now=lambda: 100.0, mint=lambda: "m"
    )
    asked: list[str] = []
    work, result = files.work(), cast(Any, None)
    with contextlib.suppress(StopIteration):
        while "Discard" not in asked:
            request = work.send(result)
            asked.append(type(request).__name__)
            if isinstance(request, Compute):
                result = request.function(*request.arguments)
            else:
                staged = Staged(project(new), digest_of(project(new)))
                result = {"Recall": state, "Look": (1, 1), "ReadFile": old, "Stage": staged,
                          "Begin": True, "Put": None}.get(asked[-1])  # fmt: skip
    assert [one for one in asked if one in ("Begin", "Put", "End", "Discard")] == [
        "Begin", "Put", "End", "Discard",
    ]  # fmt: skip


def book(**sources: str) -> Document:
    cells = {name: new_cell("code", source) for name, source in sources.items()}
    return {"cells": cells, "order": list(cells), "metadata": {}}


def test_what_was_made_from_what_is_told_by_what_is_new() -> None:
    """Cut into pieces, a longer way of writing it down is no more work."""

    def one(source: str) -> Image:
        return Image(book(a=source))

    image, save = one("b = 2\n"), one("a = 1\nc = 2\nb = 2\n")
    found = one("x = 0\na = 1\ny = 3\nb = 2\n").document  # made from the save
    assert is_nearer(found, save, image)
    assert not is_nearer(found, image, save)
    assert is_nearer(image.document, image, save)


def test_what_was_made_from_what_is_told_though_no_cell_is_known_again() -> None:
    """Tools moved, renamed and rewrote the cells while every server was down."""
    image = Image(book(a="import os", b="print(1)"))
    save = Image(book(a="import os", b="print(17)"))
    found = book(x="print ( 17 ) and more of them", y="from os import path as p")
    assert is_nearer(found, save, image)
    assert not is_nearer(found, image, save)


async def test_nobody_is_served_before_there_is_an_image(tmp_path: Path) -> None:
    """Else what is written outside before there is one would be taken for a save."""
    path, log = tmp_path / "a.ipynb", Uncertain()
    write(path, "a")
    log.away = True
    async with sequencer_at(tmp_path, log) as sequencer:
        with pytest.raises(LogUnavailable):
            await sequencer.open("a.ipynb")
        change(path, lambda notebook: notebook.cells[0].update(source="b"))
        log.away = False
        live = await sequencer.open("a.ipynb")
        await sequencer.flush(live)
        assert live.document["cells"]["c0"]["source"] == "b"
        assert live.head.rev == 1
