"""The client without ``async``, against a real server."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from ot_jupyter.client import ConnectError, DocumentError, Refused
from ot_jupyter.client.sync import connect
from tests.server_process import ServerProcess, free_port


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("root")) as process:
        yield process


@pytest.fixture
def path(server: ServerProcess, request: pytest.FixtureRequest) -> str:
    cells = [nbformat.v4.new_code_cell(text, id=text) for text in ("alpha", "beta")]
    name = f"{request.node.name}.ipynb"
    notebook = nbformat.v4.new_notebook(cells=cells)
    (server.root / name).write_text(json.dumps(notebook))
    return name


def sources(document: Any) -> list[str]:
    return [cell.source for cell in document.cells]


def test_reads_and_writes(server: ServerProcess, path: str) -> None:
    with connect(server.url, server.token) as connection:
        document = connection.open(path)
        cell = document.cells[0]
        cell.set_source("alpha 1")
        cell.source += "!"
        document.cells["beta"].metadata["tags"] = ["x"]
        new = document.append("gamma")
        new.move(0)
        document.wait()
        assert document.unsaved == 0
        assert sources(document) == ["gamma", "alpha 1!", "beta"]
        assert len(document.cells) == 3
        assert [cell.id for cell in document.cells[1:]] == ["alpha", "beta"]
        assert document.cells[-1] == document.cells["beta"]
        assert cell in document.cells
        assert "nowhere" not in document.cells
        assert dict(document.cells["beta"].metadata) == {"tags": ["x"]}
        del document.cells["beta"].metadata["tags"]
        assert not document.cells["beta"].metadata
        assert repr(document).startswith("<Document")
        assert {"cells", "wait", "open"} & set(dir(document)) == {"cells", "wait"}
        assert document.status == "live"
        document.flush()
        nbformat.validate(nbformat.read(server.root / path, 4))
        assert connection.documents == [document]
    assert document.status == "closed"


def test_two_see_each_other(server: ServerProcess, path: str) -> None:
    with connect(server.url, server.token) as here, connect(server.url, server.token) as there:
        mine, theirs = here.open(path), there.open(path)
        heard: list[tuple[str, str]] = []
        end = mine.on_change(lambda ops, origin: heard.append((origin, mine.cells[0].source)))
        stream = mine.changes()
        theirs.cells[0].append("!")
        theirs.set_presence(theirs.cells[0], 1, 2)
        mine.until(lambda document: document.cells[0].source == "alpha!")
        mine.until(lambda document: document.presence)
        assert mine.presence[theirs.client].head == 2
        assert heard == [("remote", "alpha!")]
        end()
        mine.cells[0].append("?")
        assert heard == [("remote", "alpha!")]
        mine.close()
        assert [changed.origin for changed in stream] == []  # it was not begun before


def test_changes_one_by_one(server: ServerProcess, path: str) -> None:
    with connect(server.url, server.token) as connection:
        document = connection.open(path)
        origins: list[str] = []
        began = threading.Event()

        def read() -> None:
            for changed in document.changes():
                origins.append(changed.origin)
                began.set()

        reader = threading.Thread(target=read)
        reader.start()
        while not began.is_set():  # until it listens it hears nothing
            document.cells[0].append("!")
            began.wait(0.01)
        document.close()
        reader.join()
        assert set(origins) == {"local"}


def test_a_change_is_atomic(server: ServerProcess, path: str) -> None:
    with connect(server.url, server.token) as connection:
        document = connection.open(path)
        with document.change():
            document.cells[0].append("1")
            document.append("x").append("y")
        assert sources(document) == ["alpha1", "beta", "xy"]

        def fail() -> None:
            with document.change():
                document.cells[0].append("2")
                document.cells[9].append("2")

        with pytest.raises(IndexError):
            fail()
        assert sources(document) == ["alpha1", "beta", "xy"]
        assert document.undo() is True
        assert sources(document) == ["alpha", "beta"]


def test_marks(server: ServerProcess, path: str) -> None:
    with connect(server.url, server.token) as connection:
        document = connection.open(path)
        mark = document.mark()
        document.cells[0].edit(0, insert=">")
        document.cells[0].set_source("alpha!", at=mark)
        assert sources(document)[0] == ">alpha!"


def test_raises_what_the_client_raises(server: ServerProcess, path: str) -> None:
    with pytest.raises(ConnectError):
        connect(f"http://127.0.0.1:{free_port()}", "").start()
    with pytest.raises(ValueError, match="looks like"):
        connect("nonsense")
    with connect(server.url, server.token) as connection:
        with pytest.raises(DocumentError, match="not_found"):
            connection.open("nothing.ipynb")
        document = connection.open(path)
        with pytest.raises(KeyError, match="nowhere"):
            document.cells["nowhere"]
        with pytest.raises(Refused):
            document.append(id="alpha")
        with pytest.raises(AttributeError, match="nonsense"):
            document.nonsense  # noqa: B018
        with pytest.raises(AttributeError):
            document.cells[0].sauce = "x"
        with pytest.raises(ZeroDivisionError):
            document.until(lambda one: 1 / 0)


def test_waits_no_longer_than_asked(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("one\n")
    server = ServerProcess(tmp_path)
    with server, connect(server.url, server.token) as connection:
        document = connection.open("a.md")
        server.kill()
        document.until(lambda one: one.status == "offline")
        document.edit_text(4, insert="two\n")
        with pytest.raises(TimeoutError, match="not done within"):
            document.wait(0.01)
        assert document.text == "one\ntwo\n"
        server.start()
        document.wait()
        assert document.unsaved == 0


async def test_works_where_a_loop_runs_already(server: ServerProcess, path: str) -> None:
    assert asyncio.get_running_loop().is_running()
    with connect(server.url, server.token) as connection:
        document = connection.open(path)
        document.cells[0].append("!")
        document.wait()
        assert document.cells[0].source == "alpha!"


def test_a_callback_must_not_wait(server: ServerProcess, path: str) -> None:
    with connect(server.url, server.token) as connection:
        document = connection.open(path)
        errors: list[str] = []

        def callback(ops: Any, origin: str) -> None:
            try:
                document.wait()
            except RuntimeError as error:
                errors.append(str(error))

        document.on_change(callback)
        document.cells[0].append("!")
        assert errors == ["a callback must not wait: it would wait for itself"]


def test_threads_share_a_document(server: ServerProcess, path: str) -> None:
    with connect(server.url, server.token) as connection:
        document = connection.open(path)

        def type_letters(letter: str) -> None:
            for _ in range(30):
                document.cells[0].append(letter)

        threads = [threading.Thread(target=type_letters, args=(letter,)) for letter in "xyz"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        document.wait()
        assert sorted(document.cells[0].source) == sorted("alpha" + 30 * "xyz")
