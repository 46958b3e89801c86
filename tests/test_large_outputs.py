"""Large outputs with real servers: the document refers to them, the file has them, and who shows
them gets them by their hashes."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPMessage
from pathlib import Path
from typing import Any

import nbformat
import pytest
import pytest_asyncio

from ot_jupyter.api.blobs import harmless, read_range
from ot_jupyter.client import Connection, Document, connect
from ot_jupyter.sequencer import live as live_module
from ot_jupyter.sequencer.blobs import read_contents
from ot_jupyter.sequencer.entry import Snapshot, initial_hash
from ot_jupyter.sequencer.live import Keeping, LiveDocument
from ot_jupyter.sequencer.log import DocumentRef
from ot_jupyter.sequencer.memory import MemoryLog
from ot_jupyter.sequencer.pen import Accepted, Limits, Submission
from ot_jupyter.transforms import new_cell
from ot_jupyter.transforms.blobs import blob_hash, detach
from tests.outside import change, edited, file_entries, quick, stat_of, until
from tests.redis_server import RedisServer
from tests.server_process import ServerProcess

IMAGE = base64.b64encode(random.Random(1).randbytes(3_900_000)).decode()
OTHER_IMAGE = base64.b64encode(random.Random(2).randbytes(2_000_000)).decode()
LINES = "".join(f"line {number} of é\n" for number in range(180_000))


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    root = tmp_path_factory.mktemp("large")
    store = None
    if request.param == "redis":
        redis: RedisServer = request.getfixturevalue("redis_server")
        store = redis.url
    with ServerProcess(root, store, extra=quick()) as server:
        yield server


@pytest_asyncio.fixture
async def jupyter(server: ServerProcess) -> Any:
    async with connect(server.url, server.token) as one:
        yield one


def large_notebook(path: Path) -> Path:
    """A notebook as programs write it, with 5 MB of an image and 3 MB of prints."""
    v4: Any = nbformat.v4
    picture = v4.new_output("display_data", data={"image/png": IMAGE, "text/plain": "<Figure>"})
    printed = v4.new_output("stream", name="stdout", text=LINES)
    cells = [
        v4.new_code_cell("draw()", id="c0", outputs=[picture]),
        v4.new_code_cell("print()", id="c1", outputs=[printed]),
        v4.new_code_cell("x", id="c2"),
    ]
    nbformat.write(v4.new_notebook(cells=cells), path)
    return path


def outputs_in(path: Path) -> list[Any]:
    return [cell.outputs for cell in nbformat.read(path, as_version=4).cells]


def ask(
    server: ServerProcess,
    path: str,
    method: str = "GET",
    body: str | None = None,
    **headers: str,
) -> tuple[int, HTTPMessage, bytes]:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, {**server.headers, **named})
    answer = connection.getresponse()
    found = answer.status, answer.headers, answer.read()
    connection.close()
    return found


async def asked(server: ServerProcess, path: str, *args: Any, **headers: str) -> Any:
    return await asyncio.to_thread(ask, server, path, *args, **headers)


async def id_of(server: ServerProcess, doc: Document) -> str:
    _, _, body = await asked(server, f"/api/ot/presence/{doc.path}")
    return str(json.loads(body)["doc"])


async def test_a_notebook_with_large_outputs(server: ServerProcess, jupyter: Connection) -> None:
    path = large_notebook(server.root / "large.ipynb")
    before, stat = path.read_bytes(), stat_of(path)
    doc = await jupyter.open(path.name)
    assert len(json.dumps(doc.content)) < 100_000
    image, printed = doc.cells[0].outputs[0], doc.cells[1].outputs[0]
    assert image["data"] == {"text/plain": "<Figure>"}
    assert image["blobs"]["image/png"] == {
        "hash": blob_hash(IMAGE.encode()), "size": len(IMAGE), "type": "image/png",
    }  # fmt: skip
    assert printed["blobs"]["text"]["size"] == len(LINES.encode())
    assert printed["text"].startswith("line 0 of é\n")
    assert printed["text"].endswith("line 179999 of é\n")
    await doc.flush()
    assert stat_of(path) == stat, "it was written though nothing changed"

    doc.cells["c2"].append("y")
    await doc.flush()
    assert path.read_bytes() == before.replace(b'"x"', b'"xy"')
    status, headers, body = await asked(server, f"/api/ot/documents/{path.name}")
    assert (status, headers["ETag"]) == (200, f'"{doc.rev}-{doc.head.hash}"')
    assert json.loads(body)["cells"][0]["outputs"][0]["data"]["image/png"] == IMAGE
    _, _, body = await asked(server, f"/api/ot/documents/{path.name}?rev=0")
    old = json.loads(body)
    assert (old["cells"][1]["outputs"][0]["text"], old["cells"][2]["source"]) == (LINES, "x")
    _, _, body = await asked(server, f"/api/contents/{path.name}")
    cells = json.loads(body)["content"]["cells"]
    assert cells[0]["outputs"][0]["data"]["image/png"] == IMAGE
    assert [*cells[0]["outputs"][0]] == ["data", "metadata", "output_type"]


async def test_after_a_restart(server: ServerProcess) -> None:
    path = large_notebook(server.root / "again.ipynb")
    async with connect(server.url, server.token) as jupyter:
        doc = await jupyter.open(path.name)
        doc.cells["c2"].append("y")
        await doc.flush()
        name = await id_of(server, doc)
    await asyncio.to_thread(server.stop)
    saved, stat = path.read_bytes(), stat_of(path)
    await asyncio.to_thread(server.start)
    async with connect(server.url, server.token) as jupyter:
        doc = await jupyter.open(path.name)
        assert await id_of(server, doc) == name
        assert "blobs" in doc.cells[0].outputs[0]
        await doc.flush()
        assert stat_of(path) == stat
        doc.cells["c2"].append("z")
        await doc.flush()
        assert path.read_bytes() == saved.replace(b'"xy"', b'"xyz"')


async def test_ranges_and_what_may_be_kept(server: ServerProcess, jupyter: Connection) -> None:
    doc = await jupyter.open(large_notebook(server.root / "ranges.ipynb").name)
    reference = doc.cells[1].outputs[0]["blobs"]["text"]
    address, content = (
        f"/api/ot/blobs/{await id_of(server, doc)}/{reference['hash']}",
        LINES.encode(),
    )
    size, etag = len(content), f'"{reference["hash"]}"'
    status, headers, body = await asked(server, address + "?type=text/plain")
    assert (status, body == content) == (200, True)
    assert headers["Content-Length"] == str(size)
    assert headers["Content-Type"] == "text/plain; charset=UTF-8"
    assert headers["Cache-Control"] == "private, max-age=31536000, immutable"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"] == "sandbox"
    assert (headers["ETag"], headers["Accept-Ranges"]) == (etag, "bytes")
    for range_, start, end in [
        ("bytes=0-0", 0, 1),
        ("bytes=1048570-1048590", 1048570, 1048591),
        (f"bytes={size - 5}-", size - 5, size),
        ("bytes=-7", size - 7, size),
        ("bytes=10-99999999", 10, size),
    ]:
        status, headers, body = await asked(server, address, Range=range_)
        assert (status, body == content[start:end]) == (206, True)
        assert headers["Content-Range"] == f"bytes {start}-{end - 1}/{size}"
    for other in ("bytes=0-1,5-6", "bytes=5-1", "lines=1-2", "bytes=-", "bytes=a-b"):
        status, _, body = await asked(server, address, Range=other)
        assert (status, len(body)) == (200, size)
    status, headers, body = await asked(server, address, Range=f"bytes={size}-")
    assert (status, headers["Content-Range"]) == (416, f"bytes */{size}")
    assert json.loads(body)["code"] == "out_of_range"
    status, _, _ = await asked(server, address, Range="bytes=0-0", If_Range='"another"')
    assert status == 200
    status, headers, body = await asked(server, address, If_None_Match=etag)
    assert (status, headers["ETag"], body) == (304, etag, b"")
    status, headers, body = await asked(server, address, "HEAD")
    assert (status, headers["Content-Length"], body) == (200, str(size), b"")


async def test_what_is_no_blob(server: ServerProcess, jupyter: Connection) -> None:
    doc = await jupyter.open(large_notebook(server.root / "none.ipynb").name)
    name = doc.cells[0].outputs[0]["blobs"]["image/png"]["hash"]
    document = await id_of(server, doc)
    for address in (
        f"{document}/{'0' * 32}",
        f"{'0' * 16}/{name}",
        f"{document}/x",
        f"%7Bx%7D/{name}",
    ):
        status, _, body = await asked(server, f"/api/ot/blobs/{address}")
        assert (status, json.loads(body)["code"]) == (404, "not_found")
    status, _, _ = await asked(server, f"/api/ot/blobs/{document}/{name}", Authorization="token no")
    assert status == 403


async def test_programs_rewrite_the_file(server: ServerProcess, jupyter: Connection) -> None:
    """While people type; once a large output is another afterwards, once there is one less."""
    path = large_notebook(server.root / "outside.ipynb")
    doc = await jupyter.open(path.name)

    def rewrite(notebook: Any) -> None:
        notebook.cells[1].source = "print(1)"
        notebook.cells[0].outputs[0]["data"]["image/png"] = OTHER_IMAGE

    new = server.root / "new"
    new.write_bytes(edited(path, rewrite))
    doc.cells["c2"].append("  # typed")
    new.rename(path)
    await doc.until(lambda doc: doc.cells["c1"].source == "print(1)")
    reference = doc.cells[0].outputs[0]["blobs"]["image/png"]
    assert reference["hash"] == blob_hash(OTHER_IMAGE.encode())
    await doc.flush()
    assert [cell.source for cell in doc.cells] == ["draw()", "print(1)", "x  # typed"]
    picture, printed, _ = outputs_in(path)
    assert picture[0].data["image/png"] == OTHER_IMAGE
    assert printed[0].text == LINES

    change(path, lambda notebook: notebook.cells[1].update(outputs=[]))
    await doc.until(lambda doc: not doc.cells["c1"].outputs)
    doc.cells["c1"].append("!")
    await doc.flush()
    assert outputs_in(path) == [picture, [], []]
    assert len(json.dumps(await file_entries(server, doc))) < 100_000


async def test_what_jupyters_own_clients_save(server: ServerProcess, jupyter: Connection) -> None:
    path = large_notebook(server.root / "contents.ipynb")
    doc = await jupyter.open(path.name)
    _, _, body = await asked(server, f"/api/contents/{path.name}")
    notebook = json.loads(body)["content"]
    doc.cells["c0"].append("  # typed")
    await doc.acknowledged()
    notebook["cells"][2]["source"] = "x = 1"
    notebook["cells"][2]["outputs"] = [
        {"output_type": "stream", "name": "stderr", "text": "e" * 100_000}
    ]
    model = json.dumps({"type": "notebook", "content": notebook})
    status, _, _ = await asked(server, f"/api/contents/{path.name}", "PUT", model)
    assert status == 200
    await doc.until(lambda doc: doc.cells["c2"].source == "x = 1")
    assert doc.cells["c2"].outputs[0]["blobs"]["text"]["size"] == 100_000
    assert len(json.dumps(doc.content)) < 120_000
    picture, printed, saved = outputs_in(path)
    assert (picture[0].data["image/png"], printed[0].text) == (IMAGE, LINES)
    assert saved[0].text == "e" * 100_000
    assert [cell.source for cell in doc.cells] == ["draw()  # typed", "print()", "x = 1"]


async def test_references_in_a_file_are_nothing(server: ServerProcess, jupyter: Connection) -> None:
    """Only who has a content can tell its name: else a file could show what another has."""
    path = large_notebook(server.root / "forged.ipynb")
    doc = await jupyter.open(path.name)
    blobs = doc.cells[1].outputs[0]["blobs"]

    def forge(notebook: Any) -> None:
        notebook.cells[2].outputs = [
            {"output_type": "stream", "name": "stdout", "text": "small", "blobs": blobs}
        ]

    change(path, forge)
    await doc.until(lambda doc: bool(doc.cells["c2"].outputs))
    assert doc.cells["c2"].outputs == [{"output_type": "stream", "name": "stdout", "text": "small"}]


async def test_a_patch_copies_a_cell_with_its_references(
    server: ServerProcess, jupyter: Connection
) -> None:
    path = large_notebook(server.root / "patched.ipynb")
    doc = await jupyter.open(path.name)
    patch = json.dumps([{"op": "copy", "from": "/cells/0", "path": "/cells/-"}])
    status, _, body = await asked(
        server, f"/api/ot/documents/{path.name}", "PATCH", patch,
        Content_Type="application/json-patch+json",
    )  # fmt: skip
    assert status == 200, body
    await doc.until(lambda doc: len(doc.cells) == 4)
    assert doc.cells[3].outputs == doc.cells[0].outputs
    await doc.flush()
    assert outputs_in(path)[3][0].data["image/png"] == IMAGE


async def test_a_patch_writes_back_a_cell_as_it_was_read(
    server: ServerProcess, jupyter: Connection
) -> None:
    """It holds the outputs in full; only what differs is entered."""
    path = large_notebook(server.root / "written-back.ipynb")
    doc = await jupyter.open(path.name)
    address = f"/api/ot/documents/{path.name}"
    _, _, body = await asked(server, address)
    cell = json.loads(body)["cells"][0]
    new = {**cell, "id": "new", "outputs": [{**cell["outputs"][0], "data": {"a/b": "c" * 90_000}}]}
    patch = [
        {"op": "test", "path": "/cells/0/outputs", "value": cell["outputs"]},
        {"op": "replace", "path": "/cells/0", "value": {**cell, "source": "draw(1)"}},
        {"op": "add", "path": "/cells/-", "value": new},
    ]
    status, _, body = await asked(
        server, address, "PATCH", json.dumps(patch), Content_Type="application/json-patch+json"
    )
    assert status == 200, body
    await doc.until(lambda doc: len(doc.cells) == 4)
    _, _, body = await asked(server, f"/api/ot/entries/{path.name}?since=0")
    (entry,) = json.loads(body)["entries"]
    assert len(body) < 2000
    assert entry["ops"][0] == {"op": "edit", "path": "/cells/c0/source", "delta": [5, "1"]}
    await doc.flush()
    picture, *_, added = outputs_in(path)
    assert picture[0].data["image/png"] == IMAGE
    assert added[0].data["a/b"] == "c" * 90_000


async def test_the_store_is_lost(tmp_path: Path) -> None:
    """The file has the outputs still: a save must not write excerpts over them."""
    with ServerProcess(tmp_path, extra=quick()) as server:
        path = large_notebook(tmp_path / "lost.ipynb")
        before = path.read_bytes()
        async with connect(server.url, server.token) as jupyter:
            doc: Document = await jupyter.open(path.name)
            await doc.flush()
            (tmp_path / ".jupyter_ot.db").unlink()
            doc.cells["c2"].append("y")
            await doc.acknowledged()
            await until(lambda: path.read_bytes() != before)
            assert path.read_bytes() == before.replace(b'"x"', b'"xy"')
            _, _, body = await asked(server, f"/api/ot/documents/{path.name}")
            assert json.loads(body)["cells"][1]["outputs"][0]["text"] == LINES


async def test_two_servers(tmp_path: Path, redis_server: RedisServer) -> None:
    """One opens and edits, the other saves and serves what both refer to."""
    path = large_notebook(tmp_path / "two.ipynb")
    with (
        ServerProcess(tmp_path, redis_server.url, extra=quick()) as one,
        ServerProcess(tmp_path, redis_server.url, extra=quick()) as two,
    ):
        async with connect(one.url, one.token) as here, connect(two.url, two.token) as there:
            first, second = await asyncio.gather(here.open(path.name), there.open(path.name))
            document = await id_of(one, first)
            assert document == await id_of(two, second)
            change(path, lambda book: book.cells[2].update(outputs=book.cells[0].outputs))
            await second.until(lambda doc: bool(doc.cells["c2"].outputs))
            first.cells["c2"].append("y")
            await first.acknowledged()
            await second.until(lambda doc: doc.cells["c2"].source == "xy")
            await second.flush()
            assert outputs_in(path)[2][0].data["image/png"] == IMAGE
            name = blob_hash(IMAGE.encode())
            for server in (one, two):
                _, _, body = await asked(server, f"/api/ot/blobs/{document}/{name}")
                assert body == IMAGE.encode()


# In parts.


@pytest.mark.parametrize(
    ("said", "answered"),
    [
        ("image/png", "image/png"),
        ("IMAGE/PNG", "image/png"),
        ("video/mp4", "video/mp4"),
        ("application/json", "application/json"),
        ("application/vnd.plotly.v1+json", "application/vnd.plotly.v1+json"),
        ("text/plain", "text/plain; charset=UTF-8"),
        ("text/html", "text/plain; charset=UTF-8"),
        ("image/svg+xml", "text/plain; charset=UTF-8"),
        ("application/javascript", "text/plain; charset=UTF-8"),
        ("text/javascript", "text/plain; charset=UTF-8"),
        ("application/xhtml+xml", "text/plain; charset=UTF-8"),
        ("image/png\r\nX: y", "text/plain; charset=UTF-8"),
        ("image/png; x=text/html", "text/plain; charset=UTF-8"),
        ("", "text/plain; charset=UTF-8"),
    ],
)
def test_types_that_a_browser_would_run_are_text(said: str, answered: str) -> None:
    assert harmless(said) == answered


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("", None), ("bytes=-", None), ("bytes=0-1,2-3", None), ("bytes=3-1", None),
        ("bytes=0-", (0, 10)), ("bytes=3-5", (3, 6)), ("bytes=-3", (7, 10)), ("bytes=-0", (10, 10)),
        ("bytes=-99", (0, 10)), ("bytes=10-", (10, 10)), ("bytes=99-100", (99, 10)),
    ],
)  # fmt: skip
def test_ranges_are_read(header: str, found: Any) -> None:
    assert read_range(header, 10) == found


async def test_what_the_window_refers_to_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blobs of the document, of entries in the window, and of the states before them."""
    monkeypatch.setattr(live_module, "BLOB_SECONDS", 0)
    log = MemoryLog()
    texts = [os.urandom(40_000).hex() for _ in range(4)]
    outputs, names = [], []
    for text in texts:
        output, contents = detach({"output_type": "stream", "name": "stdout", "text": text})
        await log.put_blobs("d", contents)
        outputs.append(output)
        names += contents
    cell = {**new_cell(), "outputs": [outputs[0]]}
    document = {"cells": {"a": cell}, "order": ["a"], "metadata": {}}
    ref = DocumentRef("d", "a.ipynb", "notebook", "e")
    await log.create(ref, Snapshot(0, initial_hash("e", document), document))
    live = await LiveDocument.open(log, ref, Limits(window_entries=8), Keeping())

    async def commit(n: int, ops: list[dict[str, Any]]) -> None:
        verdict = await live.commit(
            lambda answer: Submission(
                client="kernel", n=n, base=live.head, ops=ops, user="", answer=answer
            )
        )
        assert isinstance(verdict, Accepted)

    async def kept() -> list[bool]:
        await live.sum_up()
        found = await read_contents(log, "d", names)
        return [name in found for name in names]

    edit = {"op": "edit", "path": "/cells/a/outputs"}
    await commit(1, [{**edit, "delta": [[outputs[1]], -1]}])
    await commit(2, [{**edit, "delta": [[outputs[2]], -1]}])
    assert await kept() == [True, True, True, False]
    for n in range(3, 40):
        await commit(n, [{"op": "replace", "path": "/metadata/x", "value": n}])
    assert await kept() == [False, False, True, False]
    await live.close()
