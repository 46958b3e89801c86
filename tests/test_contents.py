"""Jupyter's own ``/api/contents`` over real HTTP, while people are in the documents; and files that
are moved, deleted and come back, by Jupyter and by others."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from base64 import b64decode, b64encode
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nbformat
import pytest
from jupyter_server.auth import Authorizer, User
from jupyter_server.auth.identity import IdentityProvider
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager
from tornado.httpclient import AsyncHTTPClient, HTTPResponse

from ot_jupyter.api.contents import listener
from ot_jupyter.api.copies import EACH, KEPT, KEPT_BYTES, KEPT_SECONDS, Copies, Copy, chosen
from ot_jupyter.client import Connection, Document, DocumentError, connect
from ot_jupyter.sequencer.entry import Head
from ot_jupyter.sequencer.files import Files
from ot_jupyter.sequencer.memory import MemoryLog
from ot_jupyter.sequencer.sequencer import Sequencer, Settings
from ot_jupyter.transforms.notebook import notebook_document
from tests.outside import until
from tests.people import check_alike, check_marks, everybody_at_rest, group, typing
from tests.server_process import ServerProcess

pytestmark = pytest.mark.timeout(90)  # who waits here waits for ever

# Nothing is saved by itself: what is in a file was put there by what is tested.
OPTIONS = (
    "--OtJupyter.save_delay=60", "--OtJupyter.save_longest=60", "--OtJupyter.look_interval=0.2",
    "--OtJupyter.idle_seconds=1",
    "--ServerApp.identity_provider_class=tests.test_contents.ByHeader",
    "--ServerApp.authorizer_class=tests.test_contents.Rights",
    "--FileContentsManager.delete_to_trash=False",
    "--ContentsManager.pre_save_hook=tests.test_contents.interfere",
)  # fmt: skip


class ByHeader(IdentityProvider):
    """Whoever has the token may say who he is."""

    async def get_user(self, handler: Any) -> User | None:  # type: ignore[override]
        user = await super().get_user(handler)  # type: ignore[misc]
        name = handler.request.headers.get("X-User")
        return User(name) if user is not None and name else user


def interfere(model: Any, path: str, contents_manager: Any, **more: Any) -> None:
    """Others move a file in the midst of a save, if that is its name."""
    if path == "moved in a save.ipynb":
        root = Path(contents_manager.root_dir)
        (root / path).rename(root / "moved.ipynb")


class Rights(Authorizer):
    """Readers only read."""

    def is_authorized(self, handler: Any, user: User, action: str, resource: str) -> bool:
        return user.username != "reader" or action == "read"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("contents"), extra=OPTIONS) as server:
        yield server


@pytest.fixture
async def jupyter(server: ServerProcess) -> Any:
    async with connect(server.url, server.token) as connection:
        yield connection


_numbers = count()


def notebook(*sources: str) -> dict[str, Any]:
    """nbformat JSON with the cells ``c0``, ``c1``, …"""
    cells = [nbformat.v4.new_code_cell(source, id=f"c{i}") for i, source in enumerate(sources)]
    return dict(nbformat.v4.new_notebook(cells=cells))


def new(server: ServerProcess, *sources: str, folder: str = "") -> str:
    """A notebook on disk; its path."""
    path = f"{folder}/n{next(_numbers)}.ipynb".lstrip("/")
    (server.root / path).write_text(json.dumps(notebook(*sources)))
    return path


def on_disk(server: ServerProcess, path: str) -> list[str]:
    cells = nbformat.read(server.root / path, as_version=4).cells
    return [str(cell.source) for cell in cells]


def texts(content: Any) -> list[str]:
    return [cell["source"] for cell in content["cells"]]


def seen(doc: Document) -> list[str]:
    return [cell.source for cell in doc.cells]


async def ask(
    server: ServerProcess, method: str, path: str, body: Any = None, user: str = "ann", **query: Any
) -> HTTPResponse:
    """A request to ``/api/contents``."""
    arguments = "&".join(f"{name}={value}" for name, value in query.items())
    return await AsyncHTTPClient().fetch(
        f"{server.url}/api/contents/{quote(path)}?{arguments}",
        method=method,
        headers={**server.headers, "X-User": user},
        body=None if body is None else json.dumps(body),
        allow_nonstandard_methods=True,
        raise_error=False,
    )


async def get(server: ServerProcess, path: str, **more: Any) -> Any:
    answer = await ask(server, "GET", path, **more)
    assert answer.code == 200, answer.body
    return json.loads(answer.body)


async def put(server: ServerProcess, path: str, content: Any, user: str = "ann") -> Any:
    model = {"type": "notebook", "format": "json", "content": content}
    answer = await ask(server, "PUT", path, model, user)
    assert answer.code == 200, answer.body
    return json.loads(answer.body)


async def move(server: ServerProcess, old: str, new: str) -> None:
    answer = await ask(server, "PATCH", old, {"path": new})
    assert answer.code == 200, answer.body
    assert json.loads(answer.body)["path"] == new


async def entries(server: ServerProcess, path: str, since: int = 0) -> list[dict[str, Any]]:
    answer = await AsyncHTTPClient().fetch(
        f"{server.url}/api/ot/entries/{quote(path)}?since={since}&limit=100000",
        headers=server.headers,
    )
    found: list[dict[str, Any]] = json.loads(answer.body)["entries"]
    return found


async def open_paths(server: ServerProcess) -> list[str]:
    """The paths of what is open on the server."""
    answer = await AsyncHTTPClient().fetch(f"{server.url}/api/ot/documents", headers=server.headers)
    return [one["path"] for one in json.loads(answer.body)["documents"]]


async def closed(server: ServerProcess, path: str) -> None:
    """Return when the server has closed the document."""
    while True:
        if path not in await open_paths(server):
            return
        await asyncio.sleep(0.05)


async def in_step(*docs: Document) -> None:
    for doc in docs:
        await doc.acknowledged()
    newest = max(doc.rev for doc in docs)
    for doc in docs:
        await doc.until(lambda doc: doc.rev >= newest)


# Reading.


async def test_what_is_read_is_what_people_see(server: ServerProcess, jupyter: Connection) -> None:
    path = new(server, "a = 1", "# b")
    before = await get(server, path)
    doc = await jupyter.open(path)
    doc.cells[0].append("0")
    await doc.acknowledged()
    for question in ({}, {"type": "notebook"}, {"content": 1, "format": "text"}):
        model = await get(server, path, **question)
        assert texts(model["content"]) == ["a = 10", "# b"]
        model["content"]["cells"][0]["source"] = "a = 1"
        assert model == before
    assert on_disk(server, path) == ["a = 1", "# b"]


async def test_a_text_file_is_read_as_it_is_now(server: ServerProcess, jupyter: Connection) -> None:
    (server.root / "read.md").write_text("text\n")
    before = await get(server, "read.md")
    doc = await jupyter.open("read.md")
    doc.edit_text(0, insert="more ")
    await doc.acknowledged()
    assert await get(server, "read.md", type="file") == {**before, "content": "more text\n"}


async def test_other_questions_are_about_the_file(
    server: ServerProcess, jupyter: Connection
) -> None:
    path = new(server, "a")
    doc = await jupyter.open(path)
    doc.cells[0].append("b")
    await doc.acknowledged()
    raw = await get(server, path, type="file", format="base64")
    assert b64decode(raw["content"]) == (server.root / path).read_bytes()
    assert (await get(server, path, content=0))["content"] is None
    assert path in [one["path"] for one in (await get(server, ""))["content"]]
    for wrong in ({"format": "json"}, {"content": 2}, {"type": "directory"}):
        assert (await ask(server, "GET", path, **wrong)).code == 400
    assert (await ask(server, "GET", "no such file")).code == 404
    assert (await ask(server, "GET", "../a")).code == 404
    assert (await ask(server, "POST", f"{path}/trust", "")).code == 201


async def test_nobody_is_asked_what_to_do_with_a_file_that_changed(
    server: ServerProcess, jupyter: Connection
) -> None:
    """JupyterLab compares hashes before it saves, and opens a dialog if they differ."""
    path = new(server, "a", "b")
    doc = await jupyter.open(path)
    doc.cells[0].append("!")
    await doc.acknowledged()
    model = await get(server, path, hash=1)
    assert on_disk(server, path) == ["a!", "b"]
    assert model["hash"] == hashlib.sha256((server.root / path).read_bytes()).hexdigest()
    for number in range(2):
        doc.cells[0].append("?")
        await doc.flush()
        now = await get(server, path, content=0, hash=1)
        assert now["hash"] == model["hash"], "a dialog"
        model["content"]["cells"][1]["source"] = f"b{number}"
        await put(server, path, model["content"])
        assert (await get(server, path, content=0, hash=1))["hash"] == model["hash"]
    assert on_disk(server, path) == ["a!??", "b1"]
    # Who holds nothing that is known is told of the file as it is.
    found = await get(server, path, user="bob", content=0, hash=1)
    assert found["hash"] == hashlib.sha256((server.root / path).read_bytes()).hexdigest()


# Writing.


async def test_what_is_written_is_merged_with_what_came_since_it_was_read(
    server: ServerProcess, jupyter: Connection
) -> None:
    path = new(server, "a", "b", "c")
    doc = await jupyter.open(path)
    doc.cells["c0"].append(" typed")
    await doc.acknowledged()
    content = (await get(server, path))["content"]
    doc.cells["c1"].append(" typed")
    doc.insert(0, "new", id="new")
    await doc.flush()  # so the file has it, and what ann writes has not
    rev = doc.rev
    content["cells"][0]["source"] += " written"
    content["cells"].append(content["cells"].pop(1))
    answer = await ask(server, "PUT", path, {"type": "notebook", "content": content, "path": path})
    assert answer.code == 200
    assert answer.headers["Location"] == f"/api/contents/{path}"
    assert answer.headers["Last-Modified"]
    model = json.loads(answer.body)
    assert (model["path"], model["content"], model["type"]) == (path, None, "notebook")
    expected = ["new", "a typed written", "c", "b typed"]
    await doc.until(lambda doc: seen(doc) == expected)
    assert on_disk(server, path) == expected
    (entry,) = await entries(server, path, rev)
    assert entry["client"].startswith("contents:")
    assert (entry["user"], entry["n"]) == ("ann", 1)


async def test_what_was_merged_is_not_undone_by_the_next_writing(
    server: ServerProcess, jupyter: Connection
) -> None:
    """Who wrote was not told what came of it: his next text lacks what others did, too."""
    path = new(server, "a", "b")
    doc = await jupyter.open(path)
    content = (await get(server, path))["content"]
    for text in ("foo", "bar", "a"):
        doc.cells["c1"].append("!")
        await doc.acknowledged()
        content["cells"][0]["source"] = text
        await put(server, path, content)
        await doc.until(lambda doc, text=text: seen(doc)[0] == text)  # type: ignore[misc]
    assert seen(doc) == ["a", "b!!!"]
    rev = doc.rev
    await put(server, path, content)
    assert not await entries(server, path, rev), "an entry for nothing"


async def test_without_reading_first_what_is_on_disk_is_the_base(
    server: ServerProcess, jupyter: Connection
) -> None:
    path = new(server, "a", "b")
    doc = await jupyter.open(path)
    doc.cells[0].append(" typed")
    await doc.acknowledged()
    await put(server, path, notebook("a", "b written"), user="somebody")
    await doc.until(lambda doc: seen(doc) == ["a typed", "b written"])
    # Old text of one who never read this server's: taken at its word, and one entry.
    rev = doc.rev
    doc.cells[1].append(" typed")
    await doc.acknowledged()
    await put(server, path, notebook("a", "b"), user="somebody else")
    await doc.until(lambda doc: seen(doc) == ["a", "b typed"])
    assert len(await entries(server, path, rev)) == 2


async def test_two_write_what_they_made_of_the_same(
    server: ServerProcess, jupyter: Connection
) -> None:
    path = new(server, "a", "b", "c")
    doc = await jupyter.open(path)
    for users in (("ann", "bob"), ("one", "one")):  # two programs may have one token, and one name
        texts_before = seen(doc)
        models = [(await get(server, path, user=user))["content"] for user in users]
        for index, (user, content) in enumerate(zip(users, models, strict=True)):
            content["cells"][index]["source"] += user
            await put(server, path, content, user)
        expected = [texts_before[0] + users[0], texts_before[1] + users[1], "c"]
        await doc.until(lambda doc, expected=expected: seen(doc) == expected)  # type: ignore[misc]


async def test_who_goes_back_to_what_he_read_before_goes_back(
    server: ServerProcess, jupyter: Connection
) -> None:
    path = new(server, "a")
    doc = await jupyter.open(path)
    old = (await get(server, path))["content"]
    doc.cells[0].append("b")
    await doc.acknowledged()
    await get(server, path)
    await put(server, path, old)
    await doc.until(lambda doc: seen(doc) == ["a"])


async def test_the_same_written_twice_at_once_is_there_once(
    server: ServerProcess, jupyter: Connection
) -> None:
    path = new(server, "a")
    doc = await jupyter.open(path)
    content = (await get(server, path))["content"]
    content["cells"][0]["source"] = "a written"
    await asyncio.gather(*(put(server, path, content) for _ in range(5)))
    await doc.until(lambda doc: seen(doc) == ["a written"])
    assert len(await entries(server, path)) == 1


async def test_cells_without_ids_stay_who_they_are(
    server: ServerProcess, jupyter: Connection
) -> None:
    path = new(server, "first = 1", "second = 2")
    doc = await jupyter.open(path)
    content = (await get(server, path))["content"]
    doc.cells["c1"].append("  # typed")
    await doc.acknowledged()
    for cell in content["cells"]:
        del cell["id"]
    content["nbformat_minor"] = 4
    for text in ("first = 11", "first = 111"):
        content["cells"][0]["source"] = text
        await put(server, path, content)
        expected = [text, "second = 2  # typed"]
        await doc.until(lambda doc, expected=expected: seen(doc) == expected)  # type: ignore[misc]
    assert [cell.id for cell in doc.cells] == ["c0", "c1"]


@pytest.mark.parametrize(
    ("content", "pointer"),
    [
        (7, "/content"),
        ([], "/content"),
        (None, "/content"),
        ({"nbformat": 4, "nbformat_minor": 5}, "/content/cells"),
        ({**notebook("a"), "nbformat": 9}, "/content/nbformat"),
        ({**notebook("a"), "cells": [{"cell_type": "poem"}]}, "/content/cells/0/cell_type"),
        (
            {**notebook("a"), "cells": [{"cell_type": "raw", "source": 1}]},
            "/content/cells/0/source",
        ),
    ],
)
async def test_what_is_not_valid_is_refused_and_named(
    server: ServerProcess, jupyter: Connection, content: Any, pointer: str
) -> None:
    path = new(server, "a")
    doc = await jupyter.open(path)
    before = (server.root / path).read_bytes()
    answer = await ask(server, "PUT", path, {"type": "notebook", "content": content})
    assert answer.code == 400
    error = json.loads(answer.body)
    assert "not valid" in error["message"]
    assert error["pointer"] == pointer
    assert (await entries(server, path), seen(doc)) == ([], ["a"])
    assert (server.root / path).read_bytes() == before


async def test_a_text_is_written(server: ServerProcess, jupyter: Connection) -> None:
    (server.root / "write.md").write_text("one\ntwo\n")
    doc = await jupyter.open("write.md")
    await get(server, "write.md")
    doc.edit_text(0, insert="typed ")
    await doc.acknowledged()
    model = {"type": "file", "format": "text", "content": "one\ntwo written\n"}
    assert (await ask(server, "PUT", "write.md", model)).code == 200
    await doc.until(lambda doc: doc.text == "typed one\ntwo written\n")
    assert (server.root / "write.md").read_text() == doc.text
    refused = await ask(server, "PUT", "write.md", {**model, "content": ["one"]})
    assert (refused.code, json.loads(refused.body)["pointer"]) == (400, "/content")


async def test_an_upload_is_a_change_of_the_file(
    server: ServerProcess, jupyter: Connection
) -> None:
    """In pieces, or as bytes: jupyter_server writes the file, and it is merged from there."""
    (server.root / "upload.md").write_text("one\n")
    doc = await jupyter.open("upload.md")
    doc.edit_text(0, insert="typed ")
    await doc.acknowledged()
    model = {"type": "file", "format": "text"}
    for chunk, content in ((1, "one\n"), (-1, "two\n")):
        answer = await ask(
            server, "PUT", "upload.md", {**model, "chunk": chunk, "content": content}
        )
        assert answer.code == 200
    await doc.until(lambda doc: doc.text == "typed one\ntwo\n")
    await doc.flush()  # else it might be written over what the server has seen or not
    doc.edit_text(0, insert="again ")
    await doc.acknowledged()
    raw = b64encode(b"typed one\ntwo\nthree\n").decode()
    answer = await ask(
        server, "PUT", "upload.md", {"type": "file", "format": "base64", "content": raw}
    )
    assert answer.code == 200
    await doc.until(lambda doc: doc.text == "again typed one\ntwo\nthree\n")


async def test_what_was_read_is_known_though_the_document_was_closed(
    server: ServerProcess, jupyter: Connection
) -> None:
    path = new(server, "a", "b")
    doc = await jupyter.open(path)
    content = (await get(server, path, hash=1))["content"]
    doc.cells[0].append(" typed")
    await doc.acknowledged()
    await doc.close()
    await closed(server, path)
    assert on_disk(server, path) == ["a typed", "b"]
    content["cells"][1]["source"] = "b written"
    await put(server, path, content)
    assert on_disk(server, path) == ["a typed", "b written"]


async def test_a_file_that_may_not_be_written(server: ServerProcess, jupyter: Connection) -> None:
    path = new(server, "a")
    doc = await jupyter.open(path)
    (server.root / path).chmod(0o444)
    answer = await ask(server, "PUT", path, {"type": "notebook", "content": notebook("b")})
    assert answer.code == 403
    assert "read-only" in json.loads(answer.body)["message"]
    await doc.until(lambda doc: seen(doc) == ["b"])  # kept all the same
    (server.root / path).chmod(0o644)
    await put(server, path, notebook("b"))
    assert on_disk(server, path) == ["b"]


async def test_who_may_not_write(server: ServerProcess, jupyter: Connection) -> None:
    path = new(server, "a")
    doc = await jupyter.open(path)
    doc.cells[0].append("b")
    await doc.acknowledged()
    assert texts((await get(server, path, user="reader"))["content"]) == ["ab"]
    model = {"type": "notebook", "content": notebook("c")}
    for method, at, body in (
        ("PUT", path, model), ("PATCH", path, {"path": "elsewhere.ipynb"}), ("DELETE", path, None),
        ("POST", "", {"copy_from": path}), ("POST", f"{path}/checkpoints", ""),
        ("POST", f"{path}/checkpoints/checkpoint", ""),
    ):  # fmt: skip
        assert (await ask(server, method, at, body, user="reader")).code == 403, method
    assert on_disk(server, path) == ["a"], "flushed for somebody who may not write"
    stranger = await AsyncHTTPClient().fetch(f"{server.url}/api/contents/{path}", raise_error=False)
    assert stranger.code == 403


# Moving.


async def test_a_document_goes_where_its_file_goes(
    server: ServerProcess, jupyter: Connection
) -> None:
    # Farther away than it would be found at.
    (server.root / "far" / "away").mkdir(parents=True)
    path, there = new(server, "a"), "far/away/moved.ipynb"
    doc = await jupyter.open(path)
    doc.cells[0].append("b")
    await doc.acknowledged()
    rev = doc.rev
    await move(server, path, there)
    assert len(await entries(server, there)) == rev, "a new log for the new path"
    assert on_disk(server, there) == ["ab"]
    await doc.until(lambda doc: doc.path == there)
    doc.cells[0].append("c")
    await doc.flush()
    assert on_disk(server, there) == ["abc"]
    assert not (server.root / path).exists()
    assert doc.rev == rev + 1
    async with connect(server.url, server.token) as other:
        same = await other.open(there)
        assert (same.head, same.client != doc.client) == (doc.head, True)
        with pytest.raises(DocumentError, match="no such file"):
            await other.open(path)
    jupyter.reconnect("the test wants it")
    doc.cells[0].append("d")
    await doc.acknowledged()
    assert (doc.path, seen(doc)) == (there, ["abcd"])
    assert len(await entries(server, there)) == doc.rev == rev + 2


async def test_a_file_is_moved_by_way_of_a_link(server: ServerProcess, jupyter: Connection) -> None:
    (server.root / "very" / "far").mkdir(parents=True)
    (server.root / "near").mkdir()
    (server.root / "link").symlink_to(server.root / "very" / "far")
    path = new(server, "a", folder="very/far")
    doc = await jupyter.open(path)
    await move(server, path.replace("very/far", "link"), "near/x.ipynb")
    await doc.until(lambda doc: doc.path == "near/x.ipynb")
    await move(server, "near/x.ipynb", "link/y.ipynb")
    await doc.until(lambda doc: doc.path == "very/far/y.ipynb")


async def test_whoever_has_the_contents_manager_move_a_file(tmp_path: Path) -> None:
    """Another extension, say."""
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "a.ipynb").write_text(json.dumps(notebook("a")))
    manager: Any = AsyncLargeFileManager(root_dir=str(tmp_path))
    sequencer = Sequencer(MemoryLog(), Files(manager), Settings(look_interval=600.0))
    manager.event_logger.add_listener(
        schema_id=manager.event_schema_id, listener=listener(sequencer)
    )
    await sequencer.start()
    try:
        live = await sequencer.open("a.ipynb")
        await manager.rename("a.ipynb", "far/away/b.ipynb")
        await until(lambda: live.ref.path == "far/away/b.ipynb")
        await manager.save({"type": "notebook", "content": notebook("ab")}, "far/away/b.ipynb")
        await until(lambda: live.document["cells"]["c0"]["source"] == "ab")
        manager.delete_to_trash = False
        await manager.delete("far/away/b.ipynb")
        file = sequencer.open_documents[live.ref.doc].file
        await until(lambda: file.problem is not None)
    finally:
        await sequencer.close()


async def test_the_documents_of_a_folder_go_along(
    server: ServerProcess, jupyter: Connection
) -> None:
    (server.root / "folder" / "inner").mkdir(parents=True)
    paths = [
        new(server, "one", folder="folder"), new(server, "two", folder="folder/inner"),
        new(server, "three", folder="folder"),
    ]  # fmt: skip
    docs = [await jupyter.open(path) for path in paths]
    for doc in docs:
        doc.cells[0].append("!")
    await in_step(*docs)
    last = docs.pop()
    await last.close()
    await closed(server, paths[2])

    async def goes_to(folder: str) -> None:
        for doc, path in zip(docs, paths, strict=False):
            now = path.replace("folder", folder, 1)
            await doc.until(lambda doc, now=now: doc.path == now)  # type: ignore[misc]
            doc.cells[0].append("?")
            await doc.flush()
            assert on_disk(server, now) == seen(doc)

    await move(server, "folder", "other")
    await goes_to("other")
    unopened = paths[2].replace("folder", "other", 1)
    assert len(await entries(server, unopened)) == 1, "the log was left behind"
    await move(server, "other", "folder")
    await goes_to("folder")
    again = await jupyter.open(paths[2])
    assert (again.rev, seen(again)) == (1, ["three!"])
    assert [seen(doc) for doc in docs] == [["one!??"], ["two!??"]]
    assert not list(server.root.glob("**/.~*")), "something was left behind"


async def test_people_type_while_the_file_is_moved(server: ServerProcess) -> None:
    path = new(server, "a", "b", "c")
    async with group(3, [server], path, "moved") as people:
        async with typing(people, 0.02):
            for number in range(10):
                there = f"typing{number}.ipynb"
                await move(server, path, there)
                assert there in await open_paths(server), "it was answered too early"
                path = there
        await everybody_at_rest(people)
        check_marks(people, check_alike(people))
        for person in people:
            await person.doc.until(lambda doc: doc.path == path)
        await people[0].doc.flush()
        assert on_disk(server, path) == seen(people[0].doc)
    assert not [one.name for one in server.root.iterdir() if one.name.startswith((".~", "n~"))]


async def test_a_file_takes_the_place_of_one_that_was_deleted(
    server: ServerProcess, jupyter: Connection
) -> None:
    gone, path = new(server, "gone"), new(server, "here")
    people = await jupyter.open(gone)
    doc = await jupyter.open(path)
    (server.root / gone).unlink()
    people.cells[0].append(" typed")
    await people.acknowledged()
    await move(server, path, gone)
    await doc.until(lambda doc: doc.path == gone)
    doc.cells[0].append("!")
    await doc.flush()
    assert on_disk(server, gone) == ["here!"]
    await people.until(lambda doc: doc.path != gone)
    assert seen(people) == ["gone typed"]
    await people.flush()
    assert on_disk(server, people.path) == ["gone typed"]
    assert people.path.endswith(".ipynb")


async def test_a_file_takes_the_place_of_one_that_nobody_is_in(
    server: ServerProcess, jupyter: Connection
) -> None:
    gone, path = new(server, "gone"), new(server, "here")
    old = await jupyter.open(gone)
    old.cells[0].append("!")
    await old.flush()
    await old.close()
    await closed(server, gone)
    (server.root / gone).unlink()
    doc = await jupyter.open(path)
    await move(server, path, gone)
    await doc.until(lambda doc: doc.path == gone)
    assert seen(doc) == ["here"]
    assert await entries(server, gone) == []


async def test_others_move_files_nearby(server: ServerProcess, jupyter: Connection) -> None:
    """In the folder, up, down, with the folder: ``mv`` in a terminal, of open documents."""
    folder = f"near{next(_numbers)}"
    (server.root / folder / "inner").mkdir(parents=True)
    (server.root / f"{folder}a").mkdir()
    renamed, up, down = (new(server, "a", folder=folder) for _ in range(3))
    along = new(server, "a", folder=f"{folder}a")
    moves = {
        renamed: renamed.replace(".ipynb", "x.ipynb"),
        up: up.split("/")[-1],
        down: down.replace("/", "/inner/"),
        along: along.replace("a/", "b/"),
    }
    docs = {path: await jupyter.open(path) for path in moves}
    for doc in docs.values():
        doc.cells[0].append("b")
        await doc.acknowledged()
    for path in (renamed, up, down):
        shutil.move(server.root / path, server.root / moves[path])
    shutil.move(server.root / f"{folder}a", server.root / f"{folder}b")
    for path, now in moves.items():
        doc = docs[path]
        doc.cells[0].append("c")
        await doc.until(lambda doc, now=now: doc.path == now)  # type: ignore[misc]
        doc.cells[0].append("d")
        await doc.flush()
        assert on_disk(server, now) == ["abcd"]
        assert not (server.root / path).exists()
        assert doc.file_problem is None


async def test_others_move_the_file_while_people_type(tmp_path: Path) -> None:
    """It is saved all the time, so a save is what finds that the file is gone."""
    quick = ("--OtJupyter.save_delay=0", "--OtJupyter.save_longest=0.05",
             "--OtJupyter.look_interval=0.2")  # fmt: skip
    with ServerProcess(tmp_path, extra=quick) as server:
        path, there = new(server, "a"), "there.ipynb"
        async with group(2, [server], path, "mv") as people:
            doc = people[0].doc
            async with typing(people, 0.02):
                shutil.move(tmp_path / path, tmp_path / there)
                await doc.until(lambda doc: doc.path == there)
            await everybody_at_rest(people)
            check_marks(people, check_alike(people))
            await doc.flush()
            assert on_disk(server, there) == seen(doc)
        names = {one.name for one in tmp_path.iterdir()}
        assert {one for one in names if "_ot.db" not in one} == {there, ".ipynb_checkpoints"}


async def test_others_move_the_file_in_the_midst_of_a_save(
    server: ServerProcess, jupyter: Connection
) -> None:
    (server.root / new(server, "a")).rename(server.root / "moved in a save.ipynb")
    doc = await jupyter.open("moved in a save.ipynb")
    doc.cells[0].append("b")
    await doc.flush()
    assert doc.path == "moved.ipynb"
    assert on_disk(server, "moved.ipynb") == ["ab"]


async def test_two_links_to_a_file_are_one_document(
    server: ServerProcess, jupyter: Connection
) -> None:
    path, link = new(server, "a"), f"link{next(_numbers)}.ipynb"
    (server.root / "linked").mkdir(exist_ok=True)
    (server.root / "linked" / link).symlink_to(server.root / path)
    async with connect(server.url, server.token) as other:
        docs = [await jupyter.open(path), await other.open(f"linked/{link}")]
        docs[0].cells[0].append("1")
        await docs[1].until(lambda doc: "1" in seen(doc)[0])
        docs[1].cells[0].append("2")
        await docs[0].until(lambda doc: "2" in seen(doc)[0])
        assert docs[0].path == docs[1].path == path
        assert docs[0].content == docs[1].content
        model = await get(server, f"linked/{link}")
        assert (model["path"], texts(model["content"])) == (f"linked/{link}", ["a12"])
        docs[0].cells[0].append("3")
        await docs[0].acknowledged()
        model["content"]["cells"][0]["source"] = "0a12"
        await put(server, f"linked/{link}", model["content"])
        for doc in docs:
            await doc.until(lambda doc: seen(doc) == ["0a123"])
        # The link is moved; the file is where it was.
        await move(server, f"linked/{link}", link)
        docs[1].cells[0].append("4")
        await docs[1].flush()
        assert on_disk(server, path) == on_disk(server, link) == ["0a1234"]
        assert (server.root / link).is_symlink()


async def test_both_paths_on_one_connection(server: ServerProcess, jupyter: Connection) -> None:
    path, link = new(server, "a"), f"link{next(_numbers)}.ipynb"
    (server.root / link).symlink_to(server.root / path)
    doc = await jupyter.open(path)
    assert await jupyter.open(link) is doc
    assert await jupyter.open(path) is doc
    async with connect(server.url, server.token) as other:
        (await other.open(path)).cells[0].append("b")
        await doc.until(lambda doc: seen(doc) == ["ab"])
    doc.cells[0].append("c")
    await doc.flush()
    assert on_disk(server, link) == ["abc"]


# Deleting.


async def test_the_file_is_deleted(server: ServerProcess, jupyter: Connection) -> None:
    path = new(server, "a")
    doc = await jupyter.open(path)
    doc.cells[0].append("b")
    await doc.flush()
    assert (await ask(server, "DELETE", path)).code == 204
    await doc.until(lambda doc: doc.file_problem is not None)
    assert "deleted" in str(doc.file_problem)
    assert seen(doc) == ["ab"]
    doc.cells[0].append("c")
    await doc.acknowledged()
    assert not (server.root / path).exists()
    await doc.flush()
    assert on_disk(server, path) == ["abc"]
    await doc.until(lambda doc: doc.file_problem is None)
    # Deleted once more, and saved as it was.
    assert (await ask(server, "DELETE", path)).code == 204
    await doc.flush()
    assert on_disk(server, path) == ["abc"]


async def test_a_folder_is_deleted(server: ServerProcess, jupyter: Connection) -> None:
    (server.root / "doomed").mkdir()
    path = new(server, "a", folder="doomed")
    doc = await jupyter.open(path)
    shutil.rmtree(server.root / "doomed")
    await doc.until(lambda doc: doc.file_problem is not None)
    doc.cells[0].append("b")
    await doc.acknowledged()
    with pytest.raises(DocumentError, match="No such file or directory"):
        await doc.flush()
    (server.root / "doomed").mkdir()
    await doc.flush()
    assert on_disk(server, path) == ["ab"]


async def test_a_deleted_file_is_created_anew(server: ServerProcess, jupyter: Connection) -> None:
    path = new(server, "a", "b")
    doc = await jupyter.open(path)
    doc.cells[0].append(" typed")
    await doc.acknowledged()
    assert (await ask(server, "DELETE", path)).code == 204
    answer = await ask(server, "PUT", path, {"type": "notebook"})  # an empty one
    assert answer.code == 201
    await doc.until(lambda doc: "c1" not in doc.cells)
    assert seen(doc) == [" typed"], "what was typed is nobody's to delete"
    (entry,) = await entries(server, path, 1)
    assert entry["client"].startswith("file:")


async def test_a_deleted_file_is_written_by_one_who_read_it(
    server: ServerProcess, jupyter: Connection
) -> None:
    path = new(server, "a", "b")
    doc = await jupyter.open(path)
    content = (await get(server, path))["content"]
    doc.cells[0].append(" typed")
    await doc.acknowledged()
    (server.root / path).unlink()
    await doc.until(lambda doc: doc.file_problem is not None)
    content["cells"][1]["source"] = "b written"
    answer = await ask(server, "PUT", path, {"type": "notebook", "content": content})
    assert answer.code == 201
    assert on_disk(server, path) == ["a typed", "b written"]


# Copies and checkpoints.


async def test_a_copy_has_what_people_see(server: ServerProcess, jupyter: Connection) -> None:
    path = new(server, "a")
    doc = await jupyter.open(path)
    doc.cells[0].append("b")
    await doc.acknowledged()
    answer = await ask(server, "POST", "", {"copy_from": path})
    assert answer.code == 201
    copy = json.loads(answer.body)["path"]
    assert on_disk(server, copy) == ["ab"]
    other = await jupyter.open(copy)
    other.cells[0].append("c")
    await other.flush()
    assert (seen(doc), on_disk(server, path)) == (["ab"], ["ab"])


async def test_a_checkpoint_is_made_of_what_people_see_and_restored(
    server: ServerProcess, jupyter: Connection
) -> None:
    path = new(server, "a", "b")
    doc = await jupyter.open(path)
    doc.cells[0].append(" kept")
    await doc.acknowledged()
    answer = await ask(server, "POST", f"{path}/checkpoints", "")
    assert answer.code == 201
    checkpoint = json.loads(answer.body)["id"]
    doc.cells[0].append(" lost")
    doc.insert(2, "lost", id="lost")
    await doc.flush()
    rev = doc.rev
    answer = await ask(server, "POST", f"{path}/checkpoints/{checkpoint}", "")
    assert answer.code == 204
    doc.cells[1].append(" typed")
    await doc.until(lambda doc: "lost" not in doc.cells)
    assert seen(doc) == ["a kept", "b typed"]
    await doc.acknowledged()
    names = [entry["client"] for entry in await entries(server, path, rev)]
    assert sum(name.startswith("file:") for name in names) == 1
    assert len(names) == 2
    await doc.flush()
    assert on_disk(server, path) == ["a kept", "b typed"]


async def test_a_checkpoint_is_restored_while_people_type(server: ServerProcess) -> None:
    path = new(server, "a", "b")
    async with group(3, [server], path, "restore") as people:
        await ask(server, "POST", f"{path}/checkpoints", "")
        doc = people[0].doc
        doc.insert(0, "since")
        await doc.flush()
        async with typing(people, 0.02):
            await ask(server, "POST", f"{path}/checkpoints/checkpoint", "")
            await doc.until(lambda doc: not set("since") & set("".join(seen(doc))))
        await everybody_at_rest(people)
        check_marks(people, check_alike(people))
        names = [one["client"] for one in await entries(server, path)]
        assert sum(name.startswith("file:") for name in names) == 1


# What is remembered of readers.


def document(*sources: str) -> Any:
    return notebook_document(notebook(*sources))


def copy(rev: int, text: str = "") -> Copy:
    return Copy.pack(Head(rev, f"hash of {rev}"), {"source": text})


def test_copies_are_forgotten_in_time() -> None:
    now = 0.0
    copies = Copies(lambda: now)
    copies.read("ann", "d", copy(1))
    assert copies.told_hash("ann", "d", "h1") == "h1"
    assert copies.told_hash("ann", "d", "h2") == "h1"
    assert copies.told_hash("bob", "d", "h2") == "h2"
    now = KEPT_SECONDS
    copies.wrote("ann", "d", copy(1), copy(2, "text"))
    now = 2 * KEPT_SECONDS
    (held,) = copies.of("ann", "d")
    assert (held.head.rev, held.unpack()) == (2, {"source": "text"})
    assert copies.of("bob", "d") == copies.of("ann", "e") == []
    now += 1
    assert copies.of("ann", "d") == []
    assert copies.told_hash("ann", "d", "h3") == "h3"


def test_there_are_only_so_many_copies() -> None:
    copies = Copies(lambda: 0.0)
    for rev in range(2 * EACH):
        copies.read("ann", "d", copy(rev))
    assert [one.head.rev for one in copies.of("ann", "d")] == list(range(EACH, 2 * EACH))[::-1]
    for number in range(KEPT):
        copies.read("bob", str(number), copy(0))
    assert len(copies) == KEPT
    assert copies.of("ann", "d") == []


def test_copies_have_only_so_many_bytes() -> None:
    copies = Copies(lambda: 0.0)
    big = Copy(Head(0, ""), bytes(KEPT_BYTES // 4))
    for number in range(10):
        copies.read("ann", str(number), big)
        copies.wrote("ann", str(number), big, big)
    assert [number for number in range(10) if copies.of("ann", str(number))] == [6, 7, 8, 9]


def test_a_text_is_taken_for_one_made_of_the_nearest_copy() -> None:
    newest, older = document("a", "b, and much more of it"), document("a", "b")
    assert chosen([newest, older], document("x", "b, and much more of it")) == 0
    assert chosen([newest, older], document("x", "b")) == 1
    assert chosen([newest, older], document("a", "b")) == 0, "he went back to it"
    assert chosen([newest], document("y")) == 0
