"""Running cells with the Python client, against real servers and kernels."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import nbformat
import pytest
from jupyter_server.auth import Authorizer, User
from jupyter_server.base.handlers import JupyterHandler

from ot_jupyter.client import (
    CommMessage,
    Connection,
    Document,
    DocumentError,
    Kernel,
    Running,
    connect,
)
from ot_jupyter.client.sync import connect as connect_sync
from tests.gate import Gate
from tests.server_process import ServerProcess

FOR_EVER = "import time\nprint('begun', flush=True)\nwhile True: time.sleep(0.1)"

ASK = """\
import getpass
name = input('Who? ')
word = getpass.getpass('Word? ')
print(name, len(word))
"""


class NoExecution(Authorizer):
    """Lets everybody read and write, and nobody run anything."""

    def is_authorized(
        self, handler: JupyterHandler, user: User, action: str, resource: str
    ) -> bool:
        return action != "execute"


class NoWriting(Authorizer):
    """Lets everybody read and run, and nobody write."""

    def is_authorized(
        self, handler: JupyterHandler, user: User, action: str, resource: str
    ) -> bool:
        return (action, resource) != ("write", "contents")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("root")) as process:
        yield process


_names = iter(range(10_000))


def new_notebook(server: ServerProcess, *sources: str) -> str:
    """A new notebook whose code cells are c0, c1, …, with a text cell at its end; its path."""
    cells = [
        nbformat.v4.new_code_cell(source, id=f"c{index}") for index, source in enumerate(sources)
    ]
    cells.append(nbformat.v4.new_markdown_cell("# End", id="end"))
    path = f"notebook{next(_names)}.ipynb"
    (server.root / path).write_text(json.dumps(nbformat.v4.new_notebook(cells=cells)))
    return path


@asynccontextmanager
async def opened(server: ServerProcess, *sources: str) -> AsyncIterator[Document]:
    """A new notebook, open; its kernel is ended."""
    path = new_notebook(server, *sources)
    async with connect(server.url, server.token) as connection:
        doc = await connection.open(path)
        yield doc
        if doc.kernel.state != "none":
            await doc.shutdown()


def texts(outputs: list[dict[str, Any]]) -> list[str]:
    return [one.get("text") or one.get("ename") or one["data"]["text/plain"] for one in outputs]


def is_running(cell: str) -> Any:
    """A condition: this cell runs, and has put something out."""

    def condition(doc: Document) -> bool:
        held = doc.cells[cell]
        return held.execution.get("state") == "running" and bool(held.outputs)

    return condition


async def test_run_follows_the_edits_before_it(server: ServerProcess) -> None:
    async with opened(server, "x = 1", "print(x)", "x + 1") as doc:
        assert doc.kernel == Kernel()
        doc.cells["c0"].set_source("x = 41")
        runs = await doc.run("c0", doc.cells["c1"])
        assert [(run.cell, run.state, run.execution_count) for run in runs] == [
            ("c0", "ok", 1), ("c1", "ok", 2),
        ]  # fmt: skip
        assert texts(runs[1].outputs) == ["41\n"]
        assert doc.cells["c1"].outputs == runs[1].outputs
        assert doc.cells["c1"].execution["state"] == "ok"
        assert doc.kernel.state == "ready"
        assert doc.kernel.name == "python3"
        (run,) = await doc.cells["c2"].run()
        assert (texts(run.outputs), run.ok) == (["42"], True)
        assert run.rev <= doc.rev


async def test_run_within_a_change_is_its_tail(server: ServerProcess) -> None:
    async with opened(server, "x = 1") as doc:
        with doc.change():
            first = doc.run("c0")
            doc.cells["c0"].set_source("x = 2")
            new = doc.append("x * 21")
            second = new.run()
            assert not second.submitted
            with pytest.raises(RuntimeError, match="after change"):
                await second
        assert doc.unsaved == 1
        assert [run.state for run in await first] == ["ok"]
        assert texts((await second)[0].outputs) == ["42"]
        asked: list[Running] = []

        def run_and_fail() -> None:
            with doc.change():
                asked.append(doc.run("c0"))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            run_and_fail()
        with pytest.raises(DocumentError, match="not made"):
            await asked[0]


async def test_run_all_stops_at_an_error(server: ServerProcess) -> None:
    async with opened(server, "print('a')", "1 / 0", "print('never')") as doc:
        runs = await doc.run()
        assert [run.state for run in runs] == ["ok", "error", "aborted"]
        assert texts(runs[1].outputs) == ["ZeroDivisionError"]
        assert "failed" in runs[2].reason
        assert runs[2].outputs == []
        assert doc.cells["c2"].outputs == []


async def test_one_cell_many_times(server: ServerProcess) -> None:
    """The next run of a cell takes its place in the entry that ends the one before."""
    async with opened(server, "n = globals().get('n', 0) + 1\nn") as doc:
        many = [doc.run("c0") for _ in range(5)]
        runs = [run for running in many for run in await running]
        assert [run.state for run in runs] == ["ok"] * 5
        assert [run.execution_count for run in runs] == [1, 2, 3, 4, 5]
        assert [texts(run.outputs) for run in runs] == [["1"], ["2"], ["3"], ["4"], ["5"]]


async def test_what_can_not_be_run(server: ServerProcess) -> None:
    async with opened(server, "1") as doc:
        with pytest.raises(KeyError):
            doc.run("nothing")
        with pytest.raises(ValueError, match="no code cell"):
            doc.run("end")
        with pytest.raises(ValueError, match="once"):
            doc.run("c0", "c0")
        doc.cells["c0"].delete()
        assert await doc.run() == []


async def test_a_cell_that_goes_while_it_waits(server: ServerProcess) -> None:
    async with opened(server, FOR_EVER, "print('never')", "print('no code')") as doc:
        first = doc.run("c0")
        await doc.until(is_running("c0"))
        waiting = doc.run("c1")
        assert (await doc.run("c2", wait=False))[0].state == "queued"
        doc.cells["c1"].delete()
        (run,) = await waiting
        assert (run.state, run.reason) == ("aborted", "its cell was removed")
        doc.cells["c0"].delete()
        assert (await first)[0].state == "lost"


async def test_interrupt_and_restart(server: ServerProcess) -> None:
    async with opened(server, FOR_EVER, "y = 1", "print(globals().get('y'))") as doc:
        await doc.run("c1")
        generation = doc.kernel.generation
        running, queued = doc.run("c0"), doc.run("c2")
        await doc.until(is_running("c0"))
        await doc.interrupt()
        assert (await running)[0].state == "error"
        assert texts((await running)[0].outputs)[-1] == "KeyboardInterrupt"
        assert (await queued)[0].state == "aborted"
        running = doc.run("c0")
        await doc.until(is_running("c0"))
        (run,) = await doc.restart(run=["c2"])
        assert texts(run.outputs) == ["None\n"]
        assert (await running)[0].state == "aborted"
        assert doc.kernel.generation > generation
        assert (await doc.shutdown()).state == "none"
        assert (await doc.start_kernel()).state == "ready"
        kernel = doc.kernel.id
        assert (await doc.change_kernel("python3")).name == "python3"
        assert doc.kernel.id != kernel
        assert texts((await doc.run("c2"))[0].outputs) == ["None\n"]


async def test_a_kernel_that_there_is_not(server: ServerProcess) -> None:
    async with opened(server, "1", "2") as doc:
        with pytest.raises(DocumentError, match="no kernel 'nothing'") as error:
            await doc.change_kernel("nothing")
        assert error.value.code == "kernel_unavailable"
        runs = await doc.run("c0", "c1")
        assert [run.state for run in runs] == ["aborted", "aborted"]
        assert "no kernel 'nothing'" in runs[0].reason


async def test_a_question_is_answered_once(server: ServerProcess) -> None:
    path = new_notebook(server, ASK)
    async with connect(server.url, server.token) as one, connect(server.url, server.token) as two:
        mine, theirs = await one.open(path), await two.open(path)
        running = mine.run("c0")
        await theirs.until(lambda doc: doc.question is not None)
        question = theirs.question
        assert question is not None
        assert (question.cell, question.prompt, question.password) == ("c0", "Who? ", False)
        await theirs.answer(question, "Ada")
        with pytest.raises(DocumentError) as error:
            await mine.answer(question, "Bob")
        assert error.value.code == "answered"
        await mine.until(lambda doc: doc.question is not None and doc.question != question)
        question = mine.cells["c0"].input
        assert question is not None
        assert question.password
        await mine.answer(question, "secret")
        (run,) = await running
        assert run.ok
        assert "Ada 6\n" in texts(run.outputs)
        assert "secret" not in json.dumps(mine.content)
        assert mine.question is None
        await mine.shutdown()


async def test_a_run_is_followed_over_a_break(server: ServerProcess) -> None:
    """Asked for, cut off, ended meanwhile: who comes back learns how."""
    path = new_notebook(server, "import time\nprint('begun', flush=True)\ntime.sleep(1)", "6 * 7")
    async with Gate(server.port) as gate, connect(gate.url, server.token) as connection:
        doc = await connection.open(path)
        running = doc.run("c0", "c1")
        await doc.until(is_running("c0"))
        gate.shut()
        async with connect(server.url, server.token) as other:
            there = await other.open(path)
            await there.until(lambda doc: doc.cells["c1"].execution.get("state") == "ok")
            assert [run.state for run in running.runs] == ["running", "queued"]
            gate.open()
            runs = await running
            assert [run.state for run in runs] == ["ok", "ok"]
            assert texts(runs[1].outputs) == ["42"]
            await there.shutdown()


async def test_runs_do_not_wait_for_a_connection(server: ServerProcess) -> None:
    path = new_notebook(server, "1")
    async with Gate(server.port) as gate, connect(gate.url, server.token) as connection:
        doc = await connection.open(path)
        gate.shut()
        doc.cells["c0"].append(" + 1")
        await asyncio.sleep(0)  # it is sent, and will not be answered
        assert doc.session.state.in_flight
        cancelled = doc.run("c0")  # it waits for that answer
        with pytest.raises(DocumentError) as error:
            await cancelled
        assert error.value.code == "offline"
        for ask in (doc.run, doc.cells["c0"].run):
            with pytest.raises(DocumentError) as error:
                ask()
            assert error.value.code == "offline"
        with pytest.raises(DocumentError, match="no connection"):
            await doc.interrupt()

        def edit_and_run() -> None:
            with doc.change():
                doc.cells["c0"].append(" + 5")
                doc.run("c0")

        with pytest.raises(DocumentError, match="no connection"):
            edit_and_run()
        gate.open()
        await doc.acknowledged()
        assert doc.cells["c0"].source == "1 + 1"
        assert doc.cells["c0"].execution == {}


async def test_the_server_is_killed_in_the_midst(server: ServerProcess) -> None:
    path = new_notebook(server, FOR_EVER, "print('never')")
    async with connect(server.url, server.token) as connection:
        doc = await connection.open(path)
        running = doc.run("c0", "c1")
        await doc.until(is_running("c0"))
        kernel = doc.kernel.id
        server.kill()
        server.start()
        first, second = await running
        assert (first.state, second.state) == ("lost", "aborted")
        assert "stopped" in first.reason
        assert texts(doc.cells["c0"].outputs) == ["begun\n"]
        doc.cells["c1"].set_source("'again'")
        assert texts((await doc.run("c1"))[0].outputs) == ["'again'"]
        assert doc.kernel.id != kernel
        await doc.shutdown()


@pytest.mark.parametrize("rights", [NoExecution, NoWriting])
async def test_rights(tmp_path_factory: pytest.TempPathFactory, rights: type[Authorizer]) -> None:
    """Running is a right of its own: who lacks it goes on editing, who only has it can run."""
    authorizer = f"--ServerApp.authorizer_class={rights.__module__}.{rights.__name__}"
    with ServerProcess(tmp_path_factory.mktemp("root"), extra=[authorizer]) as server:
        path = new_notebook(server, "6 * 7")
        async with connect(server.url, server.token) as connection:
            doc = await connection.open(path)
            if rights is NoWriting:
                assert doc.status == "read only"
                assert texts((await doc.run("c0"))[0].outputs) == ["42"]
                await doc.shutdown()
                return
            doc.cells["c0"].append("0")
            with pytest.raises(DocumentError, match="execute kernels") as error:
                await doc.run("c0")
            assert error.value.code == "forbidden"
            with pytest.raises(DocumentError, match="execute kernels"):
                await doc.start_kernel()
            doc.cells["c0"].append("0")
            await doc.acknowledged()
            assert doc.cells["c0"].source == "6 * 700"
            assert doc.cells["c0"].execution == {}


SLIDER = "import ipywidgets\nslider = ipywidgets.IntSlider(value=3)\nslider"


async def value_of_slider(messages: AsyncIterator[CommMessage], value: int) -> str:
    """Wait until a slider stands there; its comm."""
    async for message in messages:
        if message.kind == "comms_closed":
            continue
        data = message.content.get("data", {})
        if data.get("state", {}).get("value") == value:
            return message.comm_id
    raise AssertionError("the document was closed")


async def test_a_slider_moved_by_one_is_seen_by_all(server: ServerProcess) -> None:
    path = new_notebook(server, SLIDER, "slider.value")
    connections: list[Connection] = []
    try:
        docs: list[Document] = []
        for _ in range(2):
            connections.append(await connect(server.url, server.token).__aenter__())
            docs.append(await connections[-1].open(path))
        one, two = docs
        mine, theirs = one.comms(), two.comms()
        waiting = asyncio.ensure_future(value_of_slider(theirs, 3))
        asking = asyncio.ensure_future(value_of_slider(mine, 3))
        await one.run("c0")
        comm = await asking
        assert await waiting == comm
        waiting = asyncio.ensure_future(value_of_slider(theirs, 7))
        data = {"method": "update", "state": {"value": 7}, "buffer_paths": []}
        one.send_comm("comm_msg", {"comm_id": comm, "data": data})
        assert await waiting == comm
        assert texts((await one.run("c1"))[0].outputs) == ["7"]
        connections.append(await connect(server.url, server.token).__aenter__())
        late = await connections[-1].open(path)
        assert await value_of_slider(late.comms(), 7) == comm
        connections[1].reconnect("the test cuts it")
        closed = await theirs.__anext__()
        assert closed.kind == "comms_closed"
        assert await value_of_slider(theirs, 7) == comm
        await one.shutdown()
        with pytest.raises(DocumentError) as error:
            await one.answer(_no_question(), "")
        assert error.value.code == "answered"
    finally:
        for connection in connections:
            await connection.__aexit__(None, None, None)


def _no_question() -> Any:
    from ot_jupyter.client import Question

    return Question("c0", "none", "", False)


def test_the_same_without_async(server: ServerProcess) -> None:
    path = new_notebook(server, "x = 6", "x * 7")
    with connect_sync(server.url, server.token) as connection:
        doc = connection.open(path)
        assert [run.state for run in doc.run()] == ["ok", "ok"]
        (run,) = doc.cells["c1"].run()
        assert texts(run.outputs) == ["42"]
        with doc.change():
            doc.cells["c0"].set_source("x = 7")
            running = doc.run("c0", "c1")
        assert texts(running.wait(60)[1].outputs) == ["49"]
        assert doc.kernel.state == "ready"
        assert [run.ok for run in doc.restart(run=True)] == [True, True]
        assert doc.question is None
        with pytest.raises(ValueError, match="no code cell"):
            doc.cells["end"].run()
        assert doc.shutdown().state == "none"
