"""What must never happen, tried with real server processes, real sockets and real clients."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import nbformat
import pytest

from ot_jupyter.client import connect
from ot_jupyter.transforms.notebook import read_notebook
from tests.gate import Gate
from tests.people import Person, check_alike, check_marks, everybody_at_rest, new_mark
from tests.redis_server import RedisServer
from tests.server_process import ServerProcess

QUICK_SAVES = ("--OtJupyter.save_delay=0.2", "--OtJupyter.save_longest=1")


def write_notebook(path: Path, sources: list[str]) -> None:
    """A notebook of format 4.5 with the cells ``c0``, ``c1``, …"""
    cells = [nbformat.v4.new_code_cell(source, id=f"c{i}") for i, source in enumerate(sources)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


async def people_at(count: int, servers: list[ServerProcess], path: str, seed: str) -> list[Person]:
    people = [Person(f"p{index}", seed, servers, path) for index in range(count)]
    for person in people:
        await person.arrive()
    return people


async def all_leave(people: list[Person]) -> None:
    for person in people:
        await person.leave()


async def act_for(people: list[Person], seconds: float, *, cuts: float = 0.0) -> None:
    """Everybody does something every tenth of a second or so."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds

    async def live(person: Person) -> None:
        while loop.time() < end:
            person.act()
            if person.rng.random() < cuts:
                person.cut()
            await asyncio.sleep(person.rng.uniform(0.05, 0.2))

    await asyncio.gather(*(live(person) for person in people))


async def file_equals(path: Path, content: Any, seconds: float = 30.0) -> None:
    """Wait until the file is the document."""
    end = asyncio.get_running_loop().time() + seconds
    while True:
        found = read_notebook(path.read_bytes())
        if found["order"] == content["order"] and all(
            found["cells"][key]["source"] == cell["source"]
            for key, cell in content["cells"].items()
        ):
            return
        assert asyncio.get_running_loop().time() < end, "the file does not follow"
        await asyncio.sleep(0.1)


async def test_ten_clients_two_servers_thirty_seconds(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    write_notebook(tmp_path / "a.ipynb", ["x = 1", "y = 2", "z = 3"])
    with (
        ServerProcess(tmp_path, redis_server.url, extra=QUICK_SAVES) as one,
        ServerProcess(tmp_path, redis_server.url, extra=QUICK_SAVES) as two,
    ):
        people = await people_at(10, [one, two], "a.ipynb", "ten")
        await act_for(people, 30.0, cuts=0.02)
        await everybody_at_rest(people)
        check_marks(people, check_alike(people))
        await file_equals(tmp_path / "a.ipynb", people[0].doc.content)
        await check_log(one, "a.ipynb")
        await all_leave(people)


async def check_log(server: ServerProcess, path: str) -> None:
    """Each author's entries are numbered in order, each number once."""
    from tornado.httpclient import AsyncHTTPClient

    url = f"{server.url}/api/ot/entries/{path}?since=0&limit=100000"
    answer = await AsyncHTTPClient().fetch(url, headers=server.headers)
    last: dict[str, int] = {}
    for entry in json.loads(answer.body)["entries"]:
        if ":" not in entry["client"]:
            assert entry["n"] == last.get(entry["client"], 0) + 1, entry
            last[entry["client"]] = entry["n"]
    assert last


async def test_kill_9_twenty_times_in_full_traffic(tmp_path: Path) -> None:
    path = tmp_path / "a.ipynb"
    write_notebook(path, ["x = 1", "y = 2"])
    rng = random.Random("kill")
    server = ServerProcess(tmp_path, extra=QUICK_SAVES).start()
    try:
        people = await people_at(4, [server], "a.ipynb", "kill")
        for _ in range(20):
            await act_for(people, rng.uniform(0.1, 1.0))
            await asyncio.to_thread(server.kill)
            await act_for(people, 0.2)  # offline
            await asyncio.to_thread(server.start)
        await act_for(people, 0.5)
        await everybody_at_rest(people, 90.0)
        notebook = check_alike(people)
        check_marks(people, notebook)
        await file_equals(path, people[0].doc.content)
        content = people[0].doc.content
        await all_leave(people)
        server.stop()
        server.start()  # and once more from the log alone
        async with connect(server.url, server.token) as connection:
            assert (await connection.open("a.ipynb")).content == content
    finally:
        server.stop()


@pytest.mark.parametrize("how", ["while it runs", "while it is killed"])
async def test_the_store_is_deleted_while_clients_are_connected(tmp_path: Path, how: str) -> None:
    path = tmp_path / "a.ipynb"
    write_notebook(path, ["x = 1", "y = 2"])
    store = tmp_path / ".jupyter_ot.db"
    server = ServerProcess(
        tmp_path, extra=("--OtJupyter.save_delay=60", "--OtJupyter.save_longest=60")
    ).start()
    try:
        people = await people_at(3, [server], "a.ipynb", f"deleted {how}")
        for person in people:
            for _ in range(10):
                person.type(person.rng.choice(["c0", "c1"]))
        await everybody_at_rest(people)
        if how == "while it is killed":
            await asyncio.to_thread(server.kill)
        for file in tmp_path.glob(".jupyter_ot.db*"):
            file.unlink()
        for person in people:
            person.type("c0")
        if how == "while it is killed":
            await asyncio.to_thread(server.start)
        await everybody_at_rest(people)
        for person in people:
            person.type("c1")
        await everybody_at_rest(people)
        check_marks(people, check_alike(people))
        assert store.exists()
        await all_leave(people)
        server.stop()
        server.start()
        async with connect(server.url, server.token) as connection:
            assert (await connection.open("a.ipynb")).content == people[0].doc.content
    finally:
        server.stop()


# Scenario 4: two clients that have not seen each other's change, in a real server.


def _move_first(doc: Any) -> None:
    doc.cells["c0"].move(2)


def _move_first_elsewhere(doc: Any) -> None:
    doc.cells["c0"].move(1)


def _type_into_first(doc: Any) -> None:
    doc.cells["c0"].append("!")


def _make_first_markdown(doc: Any) -> None:
    doc.cells["c0"].set_type("markdown")


def _remove_first(doc: Any) -> None:
    doc.cells["c0"].delete()


@pytest.mark.parametrize(
    ("earlier", "later", "expected"),
    [
        (_move_first, _move_first_elsewhere, ["b", "a", "c"]),
        (_move_first, _type_into_first, ["b", "c", "a!"]),
        (_type_into_first, _move_first, ["b", "c", "a!"]),
        (_make_first_markdown, _type_into_first, ["a!", "b", "c"]),
        (_type_into_first, _make_first_markdown, ["a!", "b", "c"]),
        (_remove_first, _type_into_first, ["b", "c"]),
        (_type_into_first, _remove_first, ["b", "c"]),
        (_remove_first, _move_first, ["b", "c"]),
        (_move_first, _remove_first, ["b", "c"]),
        (_remove_first, _remove_first, ["b", "c"]),
    ],
)
async def test_two_changes_that_have_not_seen_each_other(
    shared_server: ServerProcess, earlier: Any, later: Any, expected: list[str]
) -> None:
    name = f"{earlier.__name__}{later.__name__}.ipynb"
    write_notebook(shared_server.root / name, ["a", "b", "c"])
    async with (
        connect(shared_server.url, shared_server.token) as one,
        connect(shared_server.url, shared_server.token) as two,
    ):
        first, second = await one.open(name), await two.open(name)
        # Both act in one step of this loop, so neither has seen the other; the first is sent first.
        earlier(first)
        await asyncio.sleep(0)
        later(second)
        await first.acknowledged()
        await second.acknowledged()
        newest = max(first.rev, second.rev)
        await first.until(lambda doc: doc.rev >= newest)
        await second.until(lambda doc: doc.rev >= newest)
        assert [cell.source for cell in first.cells] == expected
        assert first.content == second.content
        if earlier is _remove_first and later is _type_into_first:
            assert [copy.cell["source"] for copy in second.conflicts] == ["a!"]
        if _make_first_markdown in (earlier, later):
            assert first.cells["c0"].type == "markdown"
        if _remove_first in (earlier, later):
            (first if earlier is _remove_first else second).undo()
            await first.acknowledged()
            await second.acknowledged()
            await first.until(lambda doc: len(doc.cells) == 3)
            await second.until(lambda doc: len(doc.cells) == 3)
            assert first.content == second.content
            assert sorted(cell.source.strip("!") for cell in first.cells) == ["a", "b", "c"]


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with ServerProcess(tmp_path_factory.mktemp("shared"), extra=QUICK_SAVES) as server:
        yield server


async def test_a_notebook_of_format_4_2_without_ids(tmp_path: Path) -> None:
    path = tmp_path / "old.ipynb"
    cells = [
        {"cell_type": "code", "metadata": {}, "source": [f"a = {i}\n", "b"], "outputs": [],
         "execution_count": None}
        for i in range(5)
    ]  # fmt: skip
    old = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 2}
    path.write_text(json.dumps(old))
    server = ServerProcess(tmp_path, extra=QUICK_SAVES).start()
    try:
        for word in ("first", "second"):
            async with connect(server.url, server.token) as connection:
                doc = await connection.open("old.ipynb")
                assert len(doc.cells) == 5
                doc.cells[1].append(f" {word}")
                await doc.acknowledged()
                await doc.flush()
            await asyncio.to_thread(server.stop)
            await asyncio.to_thread(server.start)
        async with connect(server.url, server.token) as connection:
            doc = await connection.open("old.ipynb")
            assert [cell.source for cell in doc.cells][1] == "a = 1\nb first second"
            assert len(doc.cells) == 5
    finally:
        server.stop()
    saved = nbformat.read(path, as_version=4)
    nbformat.validate(saved)
    assert saved.nbformat_minor == 5
    assert len({cell.id for cell in saved.cells}) == len(saved.cells) == 5


HARD_TEXTS = {
    "emoji": "a👩‍👩‍👧‍👦b🎉",
    "combining": "e\u0301 n\u0303 \u1e69\u0323",
    "crlf": "one\r\ntwo\rthree\n",
    "nul": "a\0b",
    "right_to_left": "שלום \u202eabc\u202c عربي",
    "long_line": "x" * 1_000_000,
}


@pytest.mark.parametrize("name", HARD_TEXTS)
async def test_hard_texts(shared_server: ServerProcess, name: str) -> None:
    text = HARD_TEXTS[name]
    file = f"{name}.ipynb"
    write_notebook(shared_server.root / file, ["start"])
    async with (
        connect(shared_server.url, shared_server.token) as one,
        connect(shared_server.url, shared_server.token) as two,
    ):
        first, second = await one.open(file), await two.open(file)
        first.cells["c0"].append(text)
        second.cells["c0"].edit(0, insert=text)
        await first.acknowledged()
        await second.acknowledged()
        whole = text + "start" + text
        await first.until(lambda doc: doc.cells["c0"].source == whole)
        await second.until(lambda doc: doc.cells["c0"].source == whole)
        first.cells["c0"].edit(len(whole) - 1, delete=1)
        await first.acknowledged()
        await first.flush()
    saved = read_notebook((shared_server.root / file).read_bytes())
    assert saved["cells"]["c0"]["source"] == whole[:-1]


async def test_proto_as_an_id(shared_server: ServerProcess) -> None:
    write_notebook(shared_server.root / "proto.ipynb", ["a"])
    async with connect(shared_server.url, shared_server.token) as connection:
        doc = await connection.open("proto.ipynb")
        doc.append("evil", id="__proto__")
        doc.cells["__proto__"].set_metadata("constructor", {"": 1, "a/b": {"m~n": 2}})
        doc.cells["__proto__"].set_metadata(("constructor", "a/b", "~01"), 3)
        await doc.acknowledged()
        await doc.flush()
    saved = nbformat.read(shared_server.root / "proto.ipynb", as_version=4)
    assert [cell.id for cell in saved.cells] == ["c0", "__proto__"]
    assert saved.cells[1].metadata["constructor"] == {"": 1, "a/b": {"m~n": 2, "~01": 3}}


async def test_a_cell_of_20_mb_and_2000_cells(shared_server: ServerProcess) -> None:
    write_notebook(shared_server.root / "big.ipynb", [str(i) for i in range(2000)])
    big = "0123456789abcde\n" * (20 * 2**20 // 16)
    async with (
        connect(shared_server.url, shared_server.token) as one,
        connect(shared_server.url, shared_server.token) as two,
    ):
        first, second = await one.open("big.ipynb"), await two.open("big.ipynb")
        assert len(second.cells) == 2000
        first.cells["c7"].set_source(big)
        second.cells["c1999"].move(0)
        await first.acknowledged()
        await second.acknowledged()
        await second.until(lambda doc: len(doc.cells["c7"].source) == len(big))
        second.cells["c7"].append("end")
        await second.acknowledged()
        await first.until(lambda doc: doc.cells["c7"].source.endswith("end"))
        assert first.content == second.content
        assert first.cells[0].id == "c1999"


async def test_a_client_away_while_5000_entries_pass(tmp_path: Path) -> None:
    write_notebook(tmp_path / "a.ipynb", ["start"])
    extra = (
        "--OtJupyter.log_entries=1000",
        "--OtJupyter.snapshot_entries=200",
        "--OtJupyter.window_entries=500",
    )
    with ServerProcess(tmp_path, extra=extra) as server:
        async with (
            Gate(server.port) as gate,
            connect(server.url, server.token) as one,
            connect(gate.url, server.token) as two,
        ):
            doc, away = await one.open("a.ipynb"), await two.open("a.ipynb")
            gate.shut()
            marks = "".join(new_mark() for _ in range(5))
            for mark in marks:
                away.cells["c0"].append(mark)
            for number in range(5000):
                doc.cells["c0"].append("." if number % 70 else "\n")
                await doc.acknowledged()
            gate.open()
            await away.acknowledged()
            newest = away.rev
            await doc.until(lambda doc: doc.rev >= newest)
            assert doc.content == away.content
            source = doc.cells["c0"].source
            assert [source.count(mark) for mark in marks] == [1] * 5
            assert source.count(".") + source.count("\n") == 5000
            assert not away.conflicts
