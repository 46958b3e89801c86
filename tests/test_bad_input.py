"""Whatever a client sends: it is told what is wrong, its socket stays open, nobody else notices,
and document and file stay as they are. Over real sockets, against a real server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from jupyter_server.auth import Authorizer
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClosedError, websocket_connect

from ot_jupyter.api.socket import RIGHTS_SECONDS
from ot_jupyter.transforms import new_cell
from tests.server_process import ServerProcess
from tests.socket_client import Follower, SocketClient, type_in

_names = count()
RIGHTS = "rights.txt"


class ByFile(Authorizer):
    """Allows what a file in the root folder says at this moment."""

    def is_authorized(self, handler: Any, user: Any, action: str, resource: str) -> bool:
        rights = Path(handler.contents_manager.root_dir, RIGHTS)
        return not rights.exists() or action in rights.read_text().split()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    extra = ["--ServerApp.authorizer_class=tests.test_bad_input.ByFile"]
    with ServerProcess(tmp_path_factory.mktemp("root"), extra=extra) as process:
        yield process
        process.stop()
        assert "Traceback" not in process.log, process.log


@pytest.fixture(autouse=True)
def all_rights(server: ServerProcess) -> Iterator[None]:
    yield
    (server.root / RIGHTS).unlink(missing_ok=True)


@dataclass
class Scene:
    """A document that one client, who means no good, and another one follow."""

    server: ServerProcess
    one: SocketClient
    bad: Follower
    other: Follower
    file: bytes

    async def refused(self, ops: Any, **fields: Any) -> tuple[str, str]:
        """Submit what is refused; code and pointer of the error. Its number is taken."""
        error = await self.bad.refuse(ops, **fields)
        assert error["doc"] == self.bad.doc
        assert error["n"] == self.bad.n
        assert error["taken"] is True
        assert error["message"]
        return error["code"], error["pointer"]

    async def rejected(self, ops: Any, **fields: Any) -> tuple[str, str]:
        """The same for what is to be sent again: its number is not taken."""
        error = await self.bad.refuse(ops, **fields)
        assert "taken" not in error
        return error["code"], error["pointer"]

    async def complained(self, text: str | bytes, binary: bool = False) -> tuple[str, str]:
        """Send what is no message; code and pointer of the error."""
        await self.one.send_text(text, binary)
        error = await self.one.expect("error")
        return error["code"], error["pointer"]

    async def unharmed(self) -> None:
        """Check that nothing happened, and that both can go on."""
        bad, other = self.bad, self.other
        async with SocketClient(self.server) as fresh:
            seen = await fresh.open(bad.path, "fresh")
            assert seen.document == self.before
            await fresh.ask("save", "saved", doc=seen.doc)
        assert (self.server.root / bad.path).read_bytes() == self.file
        await other.until_rev(seen.rev)
        entry = await other.submit(type_in("a", 0, "still here "))
        await bad.until_rev(entry["rev"])
        assert bad.document == other.document
        await bad.submit(type_in("a", 0, "me too, "))
        await other.until_rev(bad.rev)
        assert other.source("a").startswith("me too, still here ")
        assert not other.others

    def __post_init__(self) -> None:
        self.before = self.bad.document


def write_notebook(root: Path) -> str:
    cells = [
        {
            "cell_type": "code", "id": "a", "metadata": {"tags": ["x"]}, "source": "print(1)",
            "execution_count": 1, "outputs": [
                {"output_type": "stream", "name": "stdout", "text": "1\n"}
            ],
        },
        {"cell_type": "markdown", "id": "b", "metadata": {}, "source": "x🎉y"},
    ]  # fmt: skip
    notebook = {"cells": cells, "metadata": {"deep": {"er": 1}}, "nbformat": 4, "nbformat_minor": 5}
    path = f"n{next(_names)}.ipynb"
    (root / path).write_text(json.dumps(notebook))
    return path


@pytest.fixture
async def scene(server: ServerProcess) -> AsyncIterator[Scene]:
    """Two clients of a document; in the end all must be as if nothing had happened."""
    path = write_notebook(server.root)
    async with SocketClient(server) as one, SocketClient(server) as two:
        bad, other = await one.open(path, "bad"), await two.open(path, "other")
        scene = Scene(server, one, bad, other, (server.root / path).read_bytes())
        yield scene
        await scene.unharmed()


# What is no message.


@pytest.mark.parametrize(
    "text", ["", "{", "nonsense", '{"type":"close","doc":"d"}}', "{'type':'close'}"]
)
async def test_malformed_json(scene: Scene, text: str) -> None:
    assert await scene.complained(text) == ("not_json", "")


async def test_nan(scene: Scene) -> None:
    ops = '[{"op":"replace","path":"/metadata/x","value":NaN}]'
    text = f'{{"type":"submit","doc":"{scene.bad.doc}","n":1,"base":0,"hash":"","ops":{ops}}}'
    assert await scene.complained(text) == ("not_json", "")


@pytest.mark.parametrize("half", [r"\ud83c", r"\udf89", r"\udf89\ud83c", r"x\ud83cx"])
async def test_lone_surrogates(scene: Scene, half: str) -> None:
    ops = f'[{{"op":"edit","path":"/cells/a/source","delta":["{half}"]}}]'
    text = f'{{"type":"submit","doc":"{scene.bad.doc}","n":1,"base":0,"hash":"","ops":{ops}}}'
    assert await scene.complained(text) == ("not_json", "")


@pytest.mark.parametrize(
    "text", ["[" * 10_000 + "]" * 10_000, '{"a":' * 10_000 + "{" + "}" * 10_001]
)
async def test_ten_thousand_deep_json(scene: Scene, text: str) -> None:
    assert await scene.complained(text) == ("too_deep", "")


async def test_deep_values(scene: Scene) -> None:
    for depth in (101, 500, 900):
        value: Any = 1
        for _ in range(depth):
            value = {"a": value}
        code, _ = await scene.refused([{"op": "replace", "path": "/metadata/x", "value": value}])
        assert code == "too_deep"


async def test_binary_frames(scene: Scene) -> None:
    assert await scene.complained(b'{"type":"save","doc":"d"}', binary=True) == ("not_text", "")
    assert await scene.complained(b"\x00\xff", binary=True) == ("not_text", "")


@pytest.mark.parametrize("text", ["[]", "null", "1", '"open"', "true"])
async def test_no_object(scene: Scene, text: str) -> None:
    assert await scene.complained(text) == ("wrong_type", "")


@pytest.mark.parametrize("type", ["nonsense", "entries", "", None, 1, ["open"]])
async def test_unknown_type(scene: Scene, type: Any) -> None:
    text = json.dumps({"type": type, "doc": scene.bad.doc})
    assert await scene.complained(text) == ("unknown_message", "/type")


async def test_unknown_and_missing_fields(scene: Scene) -> None:
    doc = scene.bad.doc
    text = json.dumps({"type": "close", "doc": doc, "force": True})
    assert await scene.complained(text) == ("unknown_field", "/force")
    assert await scene.complained('{"type":"close"}') == ("missing_field", "/doc")
    error = await scene.one.refused("submit", "missing_field", doc=doc, n=1, base=0, ops=[])
    assert (error["pointer"], error["n"], error["doc"]) == ("/hash", 1, doc)
    assert "taken" not in error


async def test_a_document_that_is_not_open(scene: Scene) -> None:
    fields = {"n": 1, "base": 0, "hash": "", "ops": []}
    error = await scene.one.refused("submit", "not_open", doc="nobody", **fields)
    assert (error["n"], error["pointer"]) == (1, "/doc")
    await scene.one.refused("save", "not_open", doc="nobody")
    await scene.one.refused("presence", "not_open", doc="nobody", presence=None)
    await scene.one.send("close", doc="nobody")  # it isn't open: so be it


@pytest.mark.parametrize(
    ("presence", "code"),
    [
        ("here", "wrong_type"),
        ({"rev": "1"}, "wrong_type"),
        ({"rev": -1}, "out_of_range"),
        ({"text": "x" * 5000}, "too_large"),
        ({"a": [[[[[1]]]]]}, "too_deep"),
        ({"a": 2**60}, "bad_number"),
    ],
)
async def test_bad_presence(scene: Scene, presence: Any, code: str) -> None:
    error = await scene.one.refused("presence", code, doc=scene.bad.doc, presence=presence)
    assert error["pointer"].startswith("/presence")


# Bases, numbers, sizes.


async def test_a_base_in_the_future(scene: Scene) -> None:
    assert await scene.rejected(type_in("a", 0, "x"), base=1000) == ("unknown_base", "/base")
    assert await scene.rejected(type_in("a", 0, "x"), base=2**53) == ("unknown_base", "/base")


async def test_a_wrong_hash(scene: Scene) -> None:
    assert await scene.rejected(type_in("a", 0, "x"), hash="0" * 16) == ("unknown_base", "/base")


async def test_a_number_that_is_not_next(scene: Scene) -> None:
    scene.bad.n = 6
    assert await scene.rejected(type_in("a", 0, "x")) == ("gap", "/n")
    scene.bad.n = 5000
    assert await scene.rejected(type_in("a", 0, "x"), skip=True) == ("gap", "/n")
    scene.bad.n = 0


async def test_a_hundred_thousand_operations(scene: Scene) -> None:
    ops = type_in("a", 0, "x") * 100_000
    assert await scene.refused(ops) == ("too_many_operations", "/ops")


async def test_a_frame_of_200_megabytes(server: ServerProcess, scene: Scene) -> None:
    async with SocketClient(server) as huge:
        await huge.open(scene.bad.path, "huge")
        with contextlib.suppress(WebSocketClosedError):  # it is not read to its end
            await huge.send_text("x" * 200_000_000)
        assert await huge.receive() is None
        assert huge.connection.close_code == 1009


async def test_a_frame_of_200_megabytes_in_pieces(server: ServerProcess, scene: Scene) -> None:
    """The limit holds for the whole message."""
    async with SocketClient(server) as huge:
        protocol: Any = huge.connection.protocol
        with contextlib.suppress(StreamClosedError):
            for opcode in (1, *[0] * 199):  # a text, and what continues it; none is the last
                await protocol._write_frame(False, opcode, b"x" * 1_000_000)
        assert await huge.receive() is None
        assert huge.connection.close_code == 1009


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that forgets soon."""
    extra = [
        f"--OtJupyter.{name}=4" for name in ("window_entries", "snapshot_entries", "log_entries")
    ]
    with ServerProcess(tmp_path_factory.mktemp("short"), extra=extra) as process:
        yield process


async def test_a_base_older_than_the_window(short: ServerProcess) -> None:
    path = write_notebook(short.root)
    async with SocketClient(short) as one, SocketClient(short) as two:
        bad, other = await one.open(path, "bad"), await two.open(path, "other")
        url = f"{short.url}/api/ot/entries/{path}?since=0"
        while True:
            await other.submit(type_in("a", 0, "x"))
            answer = await AsyncHTTPClient().fetch(url, headers=short.headers, raise_error=False)
            if answer.code == 410:  # the log was trimmed
                break
        rev, hash = bad.head
        await one.send("submit", doc=bad.doc, n=1, base=rev, hash=hash, ops=type_in("a", 0, "y"))
        await bad.until(lambda: bad.rev == other.rev)
        error = await one.expect("error")
        assert (error["code"], error["n"], "taken" in error) == ("unknown_base", 1, False)
        assert bad.document == other.document
        await bad.submit(type_in("a", 0, "z"))
        await other.until_rev(bad.rev)
        assert bad.document == other.document


async def test_a_wrong_epoch(scene: Scene) -> None:
    """Who comes with another log's epoch gets what this one has."""
    bad = scene.bad
    async with SocketClient(scene.server) as socket:
        await socket.refused("open", "wrong_type", path=bad.path, client="x", epoch=7)
        for epoch in ("another", "e" * 64, "' OR 1=1 --"):
            back = await socket.open(bad.path, "x", epoch=epoch, known=bad.known)
            assert (back.document, back.epoch) == (scene.before, bad.epoch)


# Operations.

CELL = new_cell("code", "new")
REFUSED: dict[str, tuple[Any, str, str]] = {
    "no operation": ([1], "wrong_type", "/ops/0"),
    "no verb": ([{"path": "/metadata/x"}], "unknown_operation", "/ops/0/op"),
    "a verb of JSON Patch that is none here": (
        [{"op": "copy", "from": "/metadata/x", "path": "/metadata/y"}],
        "unknown_operation", "/ops/0/op",
    ),
    "a test": (
        [{"op": "test", "path": "/metadata", "value": {}}], "unknown_operation", "/ops/0/op",
    ),
    "a run before the end": (
        [{"op": "run", "path": "/cells/a"}, *type_in("a", 0, "x")], "not_canonical", "/ops/1/op",
    ),
    "write what is the server's": (
        [{"op": "replace", "path": "/kernel", "value": {}}], "forbidden", "/ops/0/path",
    ),
    "write the root": ([{"op": "replace", "path": "", "value": {}}], "not_writable", "/ops/0/path"),
    "write the cells": (
        [{"op": "replace", "path": "/cells", "value": {}}], "not_writable", "/ops/0/path",
    ),
    "write the order": (
        [{"op": "replace", "path": "/order", "value": []}], "not_writable", "/ops/0/path",
    ),
    "write a part of the order": (
        [{"op": "replace", "path": "/order/0", "value": "b"}], "not_writable", "/ops/0/path",
    ),
    "write a whole cell": (
        [{"op": "replace", "path": "/cells/a", "value": CELL}], "not_writable", "/ops/0/path",
    ),
    "replace a source": (
        [{"op": "replace", "path": "/cells/a/source", "value": "x"}], "not_writable", "/ops/0/op",
    ),
    "remove outputs": (
        [{"op": "remove", "path": "/cells/a/outputs"}], "not_writable", "/ops/0/op",
    ),
    "a path into a source": (
        [{"op": "replace", "path": "/cells/a/source/0", "value": "x"}], "not_found", "/ops/0/path",
    ),
    "edit what is no sequence": (
        [{"op": "edit", "path": "/cells/a/metadata", "delta": ["x"]}], "not_writable", "/ops/0/op",
    ),
    "remove a required field": (
        [{"op": "remove", "path": "/cells/a/metadata"}], "not_writable", "/ops/0/path",
    ),
    "an unknown field": (
        [{"op": "replace", "path": "/cells/a/colour", "value": 1}], "not_found", "/ops/0/path",
    ),
    "an unknown part of the document": (
        [{"op": "replace", "path": "/nbformat", "value": 1}], "not_found", "/ops/0/path",
    ),
    "a wrong type": (
        [{"op": "replace", "path": "/cells/a/metadata", "value": []}],
        "wrong_type", "/ops/0/value",
    ),
    "a wrong cell type": (
        [{"op": "replace", "path": "/cells/a/cell_type", "value": "heading"}],
        "wrong_type", "/ops/0/value",
    ),
    "a negative execution count": (
        [{"op": "replace", "path": "/cells/a/execution_count", "value": -1}],
        "wrong_type", "/ops/0/value",
    ),
    "a path through what is no object": (
        [{"op": "replace", "path": "/metadata/deep/er/x", "value": 1}], "not_found", "/ops/0/path",
    ),
    "a path through a list": (
        [{"op": "replace", "path": "/cells/a/metadata/tags/0", "value": 1}],
        "not_found", "/ops/0/path",
    ),
    "a missing parent": (
        [{"op": "replace", "path": "/metadata/no/where", "value": 1}], "not_found", "/ops/0/path",
    ),
    "a missing key": (
        [{"op": "remove", "path": "/metadata/nothing"}], "not_found", "/ops/0/path",
    ),
    "trust": (
        [{"op": "replace", "path": "/cells/a/metadata/trusted", "value": True}],
        "not_writable", "/ops/0/path",
    ),
    "a cell that never existed": (type_in("zzz", 0, "x"), "not_found", "/ops/0/path"),
    "remove a cell that never existed": (
        [{"op": "remove", "path": "/cells/zzz", "index": 0}], "not_found", "/ops/0/path",
    ),
    "an index where there is none": (
        [{"op": "replace", "path": "/metadata/x", "value": 1, "index": 0}],
        "unknown_field", "/ops/0/index",
    ),
    "a to where there is none": (
        [{"op": "remove", "path": "/cells/a", "index": 0, "to": 1}],
        "unknown_field", "/ops/0/to",
    ),
    "a delta where there is none": (
        [{"op": "replace", "path": "/metadata/x", "value": 1, "delta": ["x"]}],
        "unknown_field", "/ops/0/delta",
    ),
    "a value where there is none": (
        [{"op": "remove", "path": "/metadata/deep", "value": 1}], "unknown_field", "/ops/0/value",
    ),
    "a wrong index": (
        [{"op": "remove", "path": "/cells/a", "index": 1}], "wrong_index", "/ops/0/index",
    ),
    "a negative index": (
        [{"op": "move", "path": "/cells/a", "index": -1, "to": 0}],
        "wrong_type", "/ops/0/index",
    ),
    "an index beyond the end": (
        [{"op": "add", "path": "/cells/new", "index": 3, "value": CELL}],
        "out_of_range", "/ops/0/index",
    ),
    "a move beyond the end": (
        [{"op": "move", "path": "/cells/a", "index": 0, "to": 2}], "out_of_range", "/ops/0/to",
    ),
    "a move to its own place": (
        [{"op": "move", "path": "/cells/a", "index": 0, "to": 0}], "no_effect", "/ops/0/to",
    ),
    "a bad escape": (
        [{"op": "replace", "path": "/metadata/~2", "value": 1}], "bad_pointer", "/ops/0/path",
    ),
    "a tilde at the end": (
        [{"op": "replace", "path": "/metadata/~", "value": 1}], "bad_pointer", "/ops/0/path",
    ),
    "no slash": (
        [{"op": "replace", "path": "metadata/x", "value": 1}], "bad_pointer", "/ops/0/path",
    ),
    "an id that exists": (
        [{"op": "add", "path": "/cells/a", "index": 0, "value": CELL}], "exists", "/ops/0/path",
    ),
    "an id that differs from the value's": (
        [{"op": "add", "path": "/cells/new", "index": 0, "value": {**CELL, "id": "other"}}],
        "unknown_field", "/ops/0/value/id",
    ),
    "an id that is none": (
        [{"op": "add", "path": "/cells/a b", "index": 0, "value": CELL}], "bad_id", "/ops/0/path",
    ),
    "a cell that lacks a field": (
        [{"op": "add", "path": "/cells/new", "index": 0, "value": {"source": ""}}],
        "missing_field", "/ops/0/value/cell_type",
    ),
    "outputs of a client": (
        [{"op": "edit", "path": "/cells/a/outputs", "delta": [[{"output_type": "stream"}]]}],
        "forbidden", "/ops/0/delta/0",
    ),
    "an output's text of a client": (
        [{"op": "edit", "path": "/cells/a/outputs", "delta": [{"text": ["x"]}]}],
        "forbidden", "/ops/0/delta/0",
    ),
    "execution of a client": (
        [{"op": "replace", "path": "/cells/a/execution", "value": {}}], "forbidden", "/ops/0/path",
    ),
    "execution in a new cell": (
        [{"op": "add", "path": "/cells/new", "index": 0,
          "value": {**CELL, "execution": {"state": "running"}}}],
        "forbidden", "/ops/0/value/execution",
    ),
    "the second is wrong": (
        [*type_in("a", 0, "x"), {"op": "remove", "path": "/cells/zzz", "index": 0}],
        "not_found", "/ops/1/path",
    ),
    "an integer beyond 2**53": (
        [{"op": "replace", "path": "/metadata/x", "value": 2**53 + 1}],
        "bad_number", "/ops/0/value",
    ),
}  # fmt: skip
DELTAS: dict[str, tuple[Any, str, str]] = {
    "empty": ([], "no_effect", ""),
    "no list": ("x", "wrong_type", ""),
    "an empty insert": ([""], "not_canonical", "/0"),
    "zero": ([0, "x"], "not_canonical", "/0"),
    "two retains": ([1, 1, "x"], "not_canonical", "/1"),
    "two inserts": (["x", "y"], "not_canonical", "/1"),
    "two deletes": ([-1, -1], "not_canonical", "/1"),
    "delete before insert": ([-1, "x"], "not_canonical", "/1"),
    "a retain at the end": (["x", 1], "not_canonical", "/1"),
    "a bool": ([True, "x"], "wrong_type", "/0"),
    "a float": ([1.0, "x"], "wrong_type", "/0"),
    "null": ([None], "wrong_type", "/0"),
    "a list in a text": ([["x"]], "wrong_type", "/0"),
    "beyond the end": ([9, "x"], "out_of_range", ""),
    "delete beyond the end": ([7, -2], "out_of_range", ""),
    "far beyond the end": ([2**53, "x"], "out_of_range", ""),
    "further than any text": ([2**60, "x"], "out_of_range", "/0"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_refused_operations(scene: Scene, name: str) -> None:
    ops, code, pointer = REFUSED[name]
    assert await scene.refused(ops) == (code, pointer)


@pytest.mark.parametrize("name", DELTAS)
async def test_refused_deltas(scene: Scene, name: str) -> None:
    delta, code, pointer = DELTAS[name]
    edit = {"op": "edit", "path": "/cells/a/source", "delta": delta}
    assert await scene.refused([edit]) == (code, f"/ops/0/delta{pointer}")


async def test_offsets_count_code_points(scene: Scene) -> None:
    """Three of them are in the text, four UTF-16 units, six bytes."""
    assert (await scene.refused(type_in("b", 4, "x")))[0] == "out_of_range"


async def test_a_refused_change_is_refused_once(scene: Scene) -> None:
    """Its number is taken: a late duplicate of it is a repeat, whatever is in it."""
    await scene.refused([{"op": "replace", "path": "", "value": {}}])
    rev, hash = scene.bad.head
    fields = {"doc": scene.bad.doc, "n": scene.bad.n, "base": rev, "hash": hash}
    answer = await scene.one.ask("submit", "repeated", **fields, ops=type_in("a", 0, "x"))
    assert (answer["rev"], answer["hash"]) == (rev, hash)


# Paths.


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("", "bad_path"),
        ("/", "bad_path"),
        (".", "bad_path"),
        ("..", "bad_path"),
        ("../outside.ipynb", "bad_path"),
        ("folder/../../outside.ipynb", "bad_path"),
        ("folder/../inside.ipynb", "bad_path"),
        ("a\0b.ipynb", "bad_path"),
        ("/etc/hostname", "not_found"),  # it is looked for in the root
        ("%2e%2e/outside.ipynb", "not_found"),  # a path in JSON is as it is
        ("..%2foutside.ipynb", "not_found"),
        ("%2e%2e%2foutside.ipynb", "not_found"),
        ("..\\outside.ipynb", "not_found"),
        ("missing.ipynb", "not_found"),
        ("missing/missing.ipynb", "not_found"),
        (".hidden.ipynb", "not_found"),
        (".hidden/n.ipynb", "not_found"),
        (".jupyter_ot.db", "not_found"),
        ("folder", "is_directory"),
        ("folder.ipynb", "is_directory"),
        ("binary.dat", "not_text"),
        ("x" * 300 + ".ipynb", None),
        ("x" * 5000, "out_of_range"),
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_paths(scene: Scene, path: str, code: str | None) -> None:
    root = scene.server.root
    for folder in ("folder", "folder.ipynb", ".hidden"):
        (root / folder).mkdir(exist_ok=True)
    for file in (root.parent / "outside.ipynb", root / ".hidden.ipynb", root / ".hidden/n.ipynb"):
        file.write_bytes(scene.file)
    binary = bytes(range(256))
    (root / "binary.dat").write_bytes(binary)
    await scene.one.send("open", path=path, client="bad")
    error = await scene.one.expect("error")
    assert error["pointer"] == "/path"
    assert error["of"] == "open"
    assert code is None or error["code"] == code, error
    assert (root.parent / "outside.ipynb").read_bytes() == scene.file
    assert (root / "binary.dat").read_bytes() == binary


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"cells": 1, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
        b'{"cells": [{}], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
        b'{"nbformat": 2, "worksheets": []}',
        b'{"nbformat": 99, "nbformat_minor": 0, "cells": [], "metadata": {}}',
        b'{"a": "b"}',
        b'\xff\xfe{"cells": []}',
        b"PK\x03\x04 a zip",
        b"[" * 10_000,
    ],
    ids=lambda content: repr(content[:20]),
)
async def test_files_that_are_no_notebook(scene: Scene, content: bytes) -> None:
    file = scene.server.root / f"broken{next(_names)}.ipynb"
    file.write_bytes(content)
    before = os.stat(file)
    await scene.one.send("open", path=file.name, client="bad")
    error = await scene.one.expect("error")
    assert error["code"] not in ("internal", "store_unavailable"), error
    assert error["message"]
    after = os.stat(file)
    assert file.read_bytes() == content
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)


# Who may.


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("", {}),
        ("?token=", {}),
        ("?token=wrong", {}),
        ("", {"Authorization": "token wrong"}),
        ("", {"Cookie": "username=somebody"}),
    ],
)
async def test_no_token(scene: Scene, query: str, headers: dict[str, str]) -> None:
    url = f"ws://127.0.0.1:{scene.server.port}/api/ot/socket{query}"
    with pytest.raises(HTTPClientError) as refused:
        await websocket_connect(HTTPRequest(url, headers=headers))
    assert refused.value.code == 403


async def test_a_token_in_the_header(scene: Scene) -> None:
    url = f"ws://127.0.0.1:{scene.server.port}/api/ot/socket"
    connection = await websocket_connect(HTTPRequest(url, headers=scene.server.headers))
    connection.close()


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:1", "null"])
async def test_a_foreign_origin(scene: Scene, origin: str) -> None:
    """A page of another origin has the user's cookie, not the token (which stands for itself)."""
    server = scene.server
    answer = await AsyncHTTPClient().fetch(f"{server.url}/api/ot/health", headers=server.headers)
    cookie = "; ".join(one.split(";")[0] for one in answer.headers.get_list("Set-Cookie"))
    url = f"ws://127.0.0.1:{server.port}/api/ot/socket"
    with pytest.raises(HTTPClientError) as refused:
        await websocket_connect(HTTPRequest(url, headers={"Cookie": cookie, "Origin": origin}))
    assert refused.value.code == 403
    own = await websocket_connect(
        HTTPRequest(url, headers={"Cookie": cookie, "Origin": server.url})
    )
    own.close()


async def test_who_may_only_read_follows_and_writes_nothing(server: ServerProcess) -> None:
    path = write_notebook(server.root)
    before, rights = (server.root / path).read_bytes(), server.root / RIGHTS
    async with SocketClient(server) as one, SocketClient(server) as two:
        writer = await two.open(path, "writer")
        assert writer.opened["write"] is True
        rights.write_text("read")
        reader = await one.open(path, "reader")
        assert reader.opened["write"] is False
        error = await reader.refuse(type_in("a", 0, "x"))
        assert (error["code"], error["n"], "taken" in error) == ("forbidden", 1, False)
        await one.refused("save", "forbidden", doc=reader.doc)
        # Who could write at first can't any more: rights are asked for every message.
        assert (await writer.refuse(type_in("a", 0, "x")))["code"] == "forbidden"
        # But where he is, a reader may show.
        await one.send("presence", doc=reader.doc, presence={"rev": 0})
        assert (await two.expect("presence"))["client"] == "reader"
        assert (server.root / path).read_bytes() == before
        rights.unlink()
        await writer.submit(type_in("a", 0, "x"))
        rights.write_text("read")
        await reader.until_rev(1)
        assert reader.document == writer.document


async def test_who_may_not_read_any_more_is_told_nothing_more(server: ServerProcess) -> None:
    path = write_notebook(server.root)
    file, rights = server.root / path, server.root / RIGHTS
    async with SocketClient(server) as socket:
        reader = await socket.open(path, "reader")
        rights.write_text("")
        await asyncio.sleep(RIGHTS_SECONDS)  # for so long he is told what comes
        file.write_text(file.read_text().replace("print", "secret"))  # it becomes an entry
        error = await socket.expect("error")
        assert (error["code"], error["doc"]) == ("forbidden", reader.doc)
        await socket.refused("open", "forbidden", path=path, client="reader")
        with pytest.raises(HTTPClientError) as refused:
            await websocket_connect(server.ws_url)
        assert refused.value.code == 403
        rights.unlink()
        again = await socket.open(path, "reader", epoch=reader.epoch, known=reader.known)
        assert reader.resume(again.opened).source("a") == "secret(1)"
