"""Taking entries of the log back over REST: a real server, real requests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from ot_jupyter.client import connect
from ot_jupyter.client.cli import main
from tests.outside import change, quick, until, write
from tests.server_process import ServerProcess


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("reverts"), extra=quick()) as server:
        yield server


async def ask(
    server: ServerProcess, path: str, body: Any, key: str | None = None
) -> tuple[int, dict[str, Any]]:
    headers = {**server.headers, "Content-Type": "application/json"}
    if key is not None:
        headers["Idempotency-Key"] = key
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    url = f"{server.url}/api/ot/reverts/{path}"

    def call() -> tuple[int, dict[str, Any]]:
        try:
            with urlopen(Request(url, headers=headers, data=data, method="POST")) as answer:
                return answer.status, json.loads(answer.read())
        except HTTPError as error:
            return error.code, json.loads(error.read())

    return await asyncio.to_thread(call)


async def test_an_outside_change_is_taken_back_and_what_came_after_stays(
    server: ServerProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    path = server.root / "outside.ipynb"
    write(path, "a = 1", "b = 2", "c = 3")
    async with connect(server.url, server.token) as jupyter:
        doc = await jupyter.open(path.name)

        def outside(notebook: Any) -> None:
            notebook.cells[0].source = "ruined"
            del notebook.cells[2]

        change(path, outside)
        await doc.until(lambda doc: len(doc.cells) == 2)
        rev = doc.rev
        doc.cells["c1"].append("  # typed since")
        await doc.acknowledged()
        arguments = ["revert", path.name, str(rev), "--url", server.url, "--token", server.token]
        await asyncio.to_thread(main, arguments)
        assert capsys.readouterr().out.startswith(f"{rev + 2}-")
        expected = ["a = 1", "b = 2  # typed since", "c = 3"]
        await doc.until(lambda doc: [cell.source for cell in doc.cells] == expected)


async def test_a_key_takes_back_once(server: ServerProcess) -> None:
    path = server.root / "once.txt"
    path.write_text("one\n")
    async with connect(server.url, server.token) as jupyter:
        doc = await jupyter.open(path.name)
        doc.edit_text(4, insert="two\n")
        await doc.acknowledged()
        first = await ask(server, path.name, {"rev": 1}, "take-back")
        assert first[0] == 200
        assert await ask(server, path.name, {"rev": 1}, "take-back") == first
        await doc.until(lambda doc: doc.text == "one\n")
        status, body = await ask(server, path.name, {"rev": 2}, "take-back")
        assert (status, body["code"]) == (422, "key_reused")
        # The taking back is an entry too.
        status, body = await ask(server, path.name, {"rev": 2})
        assert (status, body["rev"]) == (200, 3)
        await doc.until(lambda doc: doc.text == "one\ntwo\n")


@pytest.mark.parametrize(
    ("body", "status", "code", "pointer"),
    [
        ({"rev": 7}, 404, "unknown_revision", "/rev"),
        ({"rev": 0}, 400, "bad_argument", "/rev"),
        ({"rev": True}, 400, "bad_argument", "/rev"),
        ({"rev": 1, "more": 2}, 400, "bad_argument", "/rev"),
        ([1], 400, "bad_argument", "/rev"),
        (b"{", 400, "bad_argument", "/body"),
    ],
)
async def test_what_can_not_be_taken_back(
    server: ServerProcess, body: Any, status: int, code: str, pointer: str
) -> None:
    (server.root / "bad.txt").write_text("x")
    found, error = await ask(server, "bad.txt", body)
    assert (found, error["code"], error["pointer"]) == (status, code, pointer)


async def test_the_file_follows(server: ServerProcess) -> None:
    path = server.root / "follows.txt"
    path.write_text("one")
    async with connect(server.url, server.token) as jupyter:
        doc = await jupyter.open(path.name)
        doc.edit_text(3, insert=" two")
        await until(lambda: path.read_text() == "one two")
        assert (await ask(server, path.name, {"rev": 1}))[0] == 200
        await until(lambda: path.read_text() == "one")
