"""Kernels that start, are interrupted, restarted, changed, killed and culled; servers that end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from tests.running import (
    OPTIONS,
    Lab,
    a_lab,
    at_rest,
    in_state,
    is_in,
    other,
    run,
    steps,
    text_of,
    until_file,
)
from tests.server_process import ServerProcess
from tests.socket_client import Follower

pytestmark = pytest.mark.timeout(180)

TALLY = "import os; print(os.getpid(), flush=True); open('tally', 'a').write('ran ')"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with a_lab(tmp_path_factory.mktemp("life")) as one:
        # As the installer of bash_kernel does, but for this server alone.
        folder = one.server.data / "kernels" / "bash"
        folder.mkdir(parents=True)
        argv = [sys.executable, "-m", "bash_kernel", "-f", "{connection_file}"]
        spec = {"argv": argv, "display_name": "Bash", "language": "bash"}
        (folder / "kernel.json").write_text(json.dumps(spec))
        yield one


async def pid_of(lab: Lab, path: str) -> int:
    """The process of a notebook's kernel, from what it printed first."""
    return int(text_of(await lab.outputs(path)).split()[0])


def is_done(follower: Follower, request: str) -> Callable[[], bool]:
    """Whether what was asked of the kernel was carried out, asked when it is called."""
    return lambda: any(
        one["path"] == "/kernel/done" and one["value"]["request"] == request
        for entry in follower.entries
        for one in entry.get("ops", ())
    )


# Starting.


async def test_a_kernel_starts_on_demand_and_all_of_jupyter_sees_it(lab: Lab) -> None:
    path = lab.write("1")
    assert (await lab.document(path))["kernel"]["state"] == "none"
    assert path not in [one["path"] for one in await lab.get("sessions")]
    async with lab.visit(path, "ada") as ada, lab.visit(path, "bob") as bob:
        for one in (ada, bob):
            await one.socket.send("kernel", doc=one.doc, action="start")
        for one in (ada, bob):
            asked = await other(one, "requested")
            await one.until(is_done(one, asked["id"]))
        assert ada.document["kernel"]["state"] == "ready"
        sessions = [one for one in await lab.get("sessions") if one["path"] == path]
        kernel = ada.document["kernel"]
        assert [one["kernel"]["id"] for one in sessions] == [kernel["id"]]
        assert kernel["name"] == "python3"
        assert kernel["id"] in [one["id"] for one in await lab.get("kernels")]


async def test_two_clients_that_run_at_once_start_one_kernel(lab: Lab) -> None:
    path = lab.write("import os; print(os.getpid())", "print(os.getpid())")
    before = {one["id"] for one in await lab.get("kernels")}
    await asyncio.gather(lab.run(path, ["c0"]), lab.run(path, ["c1"]))
    assert len({one["id"] for one in await lab.get("kernels")} - before) == 1
    cells = (await lab.document(path))["cells"]
    assert cells["c0"]["execution"]["kernel"] == cells["c1"]["execution"]["kernel"]


async def test_the_session_that_jupyterlab_made_is_used(lab: Lab) -> None:
    path = lab.write("2")
    made = await lab.rest(
        "POST", "sessions",
        {"path": path, "name": path, "type": "notebook", "kernel": {"name": "python3"}},
    )  # fmt: skip
    assert made.status == 201
    await lab.run(path)
    assert (await lab.cell(path))["execution"]["kernel"] == made.json["kernel"]["id"]


async def test_a_kernelspec_that_is_not_there(lab: Lab) -> None:
    path = lab.write("1", "2", spec="nowhere")
    ended = await lab.run(path)
    assert [one["state"] for one in ended.values()] == ["aborted", "aborted"]
    for one in ended.values():
        assert "no kernel 'nowhere'" in one["reason"]
        assert "python3" in one["reason"]
    answer = await lab.rest("POST", f"ot/kernels/{path}?wait=30", {"action": "start"})
    assert (answer.status, answer.json["code"]) == (409, "kernel_unavailable")
    assert "no kernel 'nowhere'" in answer.json["message"]
    kernel = await lab.control(path, "change", spec="python3")
    assert kernel["state"] == "ready"
    assert await lab.states(path) == ["ok", "ok"]


# What people ask of it.


async def test_interrupt_ends_what_runs_and_what_waits(lab: Lab) -> None:
    path = lab.write("import time; print('at it', flush=True); time.sleep(1000)", "2", "3")
    async with lab.visit(path, "ada") as ada:
        await ada.submit(run("c0", "c1"))
        await ada.submit(run("c2"))
        await ada.until(lambda: bool(ada.document["cells"]["c0"]["outputs"]))
        await lab.control(path, "interrupt")
        await ada.until(at_rest(ada))
        cells = ada.document["cells"]
        assert [cells[one]["execution"]["state"] for one in ("c0", "c1", "c2")] == [
            "error", "aborted", "aborted",
        ]  # fmt: skip
        assert cells["c0"]["outputs"][-1]["ename"] == "KeyboardInterrupt"
        assert "interrupted" in cells["c1"]["execution"]["reason"]
        assert await lab.states(path, ["c2"]) == ["ok"]


async def test_restart_in_the_middle_of_run_all(lab: Lab) -> None:
    sources = ["seen = [0]", f"print('begun', flush=True)\n{until_file('never')}", "print(seen)"]
    path = lab.write(*sources)
    async with lab.visit(path, "ada") as ada:
        await ada.submit(run("c0", "c1", "c2"))
        await ada.until(lambda: text_of(ada.document["cells"]["c1"]["outputs"]) == "begun\n")
        before = ada.document["kernel"]
        await lab.control(path, "restart")
        await ada.until(at_rest(ada))
        await ada.until(lambda: ada.document["kernel"]["generation"] > before["generation"])
        cells, after = ada.document["cells"], ada.document["kernel"]
        assert [cells[one]["execution"]["state"] for one in sorted(cells)] == [
            "ok", "aborted", "aborted",
        ]  # fmt: skip
        assert "restarted" in cells["c1"]["execution"]["reason"]
        assert "restarted" in cells["c2"]["execution"]["reason"]
        assert text_of(cells["c1"]["outputs"]) == "begun\n"
        assert after["id"] == before["id"]
        assert after["state"] == "ready"
        ended = await lab.run(path, ["c2"])  # nothing is known there any more
        assert (ended["c2"]["state"], ended["c2"]["execution_count"]) == ("error", 1)


async def test_restart_and_run_all(lab: Lab) -> None:
    path = lab.write("n = globals().get('n', 0) + 1", "print(n)")
    assert await lab.states(path) == ["ok", "ok"]
    async with lab.visit(path, "ada") as ada:
        await ada.socket.send("kernel", doc=ada.doc, action="restart", cells=["c0", "c1"])
        await other(ada, "requested")
        await ada.until(lambda: in_state(ada, "ok") == ["c0", "c1"])
        assert text_of(ada.document["cells"]["c1"]["outputs"]) == "1\n"
        assert ada.document["cells"]["c1"]["execution_count"] == 2
    answer = await lab.rest(
        "POST", f"ot/kernels/{path}?wait=50", {"action": "restart", "cells": "all"}
    )
    assert answer.status == 200
    assert {one["state"] for one in answer.json["cells"].values()} == {"ok"}
    assert text_of(await lab.outputs(path, "c1")) == "1\n"


async def test_shutdown_ends_the_session(lab: Lab) -> None:
    path = lab.write(TALLY, until_file("never"), "3")
    async with lab.visit(path, "ada") as ada:
        await ada.submit(run("c0", "c1", "c2"))
        await ada.until(is_in(ada, "c1", "running"))
        process = psutil.Process(await pid_of(lab, path))
        kernel = await lab.control(path, "shutdown")
        assert kernel["state"] == "none"
        assert "id" not in kernel
        await ada.until(at_rest(ada))
        for cell in ("c1", "c2"):
            held = ada.document["cells"][cell]["execution"]
            assert held["state"] == "aborted"
            assert "shut down" in held["reason"]
    assert path not in [one["path"] for one in await lab.get("sessions")]
    assert process.wait(30) is not None or not process.is_running()
    assert await lab.states(path, ["c2"]) == ["ok"]


async def test_change_to_a_kernel_of_another_language(lab: Lab) -> None:
    path = lab.write("print('python')", "echo hello from $0; echo oops >&2")
    assert await lab.states(path, ["c0"]) == ["ok"]
    kernel = await lab.control(path, "change", spec="bash")
    assert (kernel["state"], kernel["name"]) == ("ready", "bash")
    assert await lab.states(path, ["c1"]) == ["ok"]
    document = await lab.document(path)
    assert "hello from" in text_of(document["cells"]["c1"]["outputs"])
    assert document["metadata"]["kernelspec"]["name"] == "bash"
    assert text_of(document["cells"]["c0"]["outputs"]) == "python\n"


# What happens to it.


async def test_a_kernel_that_is_killed_in_the_middle_of_a_run(lab: Lab) -> None:
    path = lab.write(TALLY, f"print('begun', flush=True)\n{until_file('never')}", "print('after')")
    async with lab.visit(path, "ada") as ada:
        await ada.submit(run("c0", "c1", "c2"))
        await ada.until(lambda: text_of(ada.document["cells"]["c1"]["outputs"]) == "begun\n")
        os.kill(await pid_of(lab, path), signal.SIGKILL)
        await ada.until(at_rest(ada))
        cells = ada.document["cells"]
        assert cells["c1"]["execution"]["state"] in ("lost", "aborted")
        assert cells["c2"]["execution"]["state"] == "aborted"
        assert cells["c1"]["execution"]["reason"]
        assert cells["c2"]["execution"]["reason"]
        assert text_of(cells["c1"]["outputs"]) == "begun\n"
        assert await lab.states(path, ["c0", "c2"]) == ["ok", "ok"]


@pytest.mark.parametrize("how", ["restart", "delete"])
async def test_other_programs_restart_and_end_it(lab: Lab, how: str) -> None:
    path = lab.write(f"print('begun', flush=True)\n{until_file('never')}", "print('after')")
    async with lab.visit(path, "ada") as ada:
        await ada.submit(run("c0", "c1"))
        await ada.until(lambda: text_of(ada.document["cells"]["c0"]["outputs"]) == "begun\n")
        (session,) = [one for one in await lab.get("sessions") if one["path"] == path]
        if how == "restart":
            kernel = session["kernel"]["id"]
            answer = await lab.rest("POST", f"kernels/{kernel}/restart", {})
            assert answer.status == 200
        else:
            assert (await lab.rest("DELETE", f"sessions/{session['id']}")).status == 204
        await ada.until(at_rest(ada))
        cells = ada.document["cells"]
        assert cells["c0"]["execution"]["state"] in ("lost", "aborted")
        assert cells["c1"]["execution"]["state"] == "aborted"
        assert cells["c0"]["execution"]["reason"]
        assert await lab.states(path, ["c1"]) == ["ok"]
        generation = (await lab.cell(path, "c1"))["execution"]["generation"]
        assert generation > cells["c0"]["execution"]["generation"]


async def test_culling_leaves_no_half_state(tmp_path: Path) -> None:
    options = ("MappingKernelManager.cull_idle_timeout=2", "MappingKernelManager.cull_interval=1")
    with a_lab(tmp_path, *(f"--{one}" for one in options)) as lab:
        path = lab.write("n = globals().get('n', 0) + 1; print(n)", "import time; time.sleep(5)")
        async with lab.visit(path, "ada") as ada:
            await ada.submit(run("c0", "c1"))
            await ada.until(lambda: in_state(ada, "ok") == ["c0", "c1"])  # a busy one is spared
            await ada.until(lambda: ada.document["kernel"]["state"] == "none")
            kernel = ada.document["kernel"]
            assert "id" not in kernel
            await ada.until(at_rest(ada))
            assert await lab.get("sessions") == []
            assert (await lab.states(path, ["c0"])) == ["ok"]
            assert text_of(await lab.outputs(path)) == "1\n"


async def test_the_client_that_asked_goes_away_at_once_and_returns(lab: Lab) -> None:
    path = lab.write(f"{until_file('away')}\nprint('done')")
    async with lab.visit(path, "ada") as ada:
        await ada.send(run("c0"))
        heads = ada.known
    async with lab.visit(path, "bob") as bob:  # nobody else need be there; this one sees when
        await bob.until(is_in(bob, "c0", "running"))
    (lab.server.root / "away").touch()
    async with lab.visit(path, "ada") as ada:
        await ada.until(is_in(ada, "c0", "ok"))
        assert text_of(ada.document["cells"]["c0"]["outputs"]) == "done\n"
        assert ada.document["cells"]["c0"]["execution"]["user"] == "ada"
        assert heads[0][0] < ada.rev


async def test_a_rename_keeps_kernel_and_session(lab: Lab) -> None:
    path = lab.write("x = 5", f"{until_file('renamed')}\nprint(x)", name="before.ipynb")
    await lab.run(path, ["c0"])
    kernel = (await lab.document(path))["kernel"]["id"]
    async with lab.visit(path, "ada") as ada:
        await ada.submit(run("c1"))
        await ada.until(is_in(ada, "c1", "running"))
        moved = await lab.rest("PATCH", f"contents/{path}", {"path": "after.ipynb"})
        assert moved.status == 200
        (lab.server.root / "renamed").touch()
        await ada.until(is_in(ada, "c1", "ok"))
        assert text_of(ada.document["cells"]["c1"]["outputs"]) == "5\n"
    sessions = {one["path"]: one["kernel"]["id"] for one in await lab.get("sessions")}
    assert sessions.get("after.ipynb") == kernel
    assert path not in sessions
    assert await lab.states("after.ipynb", ["c0"]) == ["ok"]
    assert (await lab.document("after.ipynb"))["kernel"]["id"] == kernel


async def test_editors_ask_the_kernel_as_before(lab: Lab) -> None:
    path = lab.write("number_of_things = 1", *["number_of_things += 1"] * 20)
    await lab.run(path, ["c0"])
    kernel = (await lab.document(path))["kernel"]["id"]
    url = f"{lab.server.ws_url.rpartition('/ot/')[0]}/kernels/{kernel}/channels"
    request = HTTPRequest(f"{url}?session_id=x", headers=lab.server.headers)
    socket = await websocket_connect(request)
    running = asyncio.create_task(lab.states(path))

    async def ask(kind: str, **content: Any) -> Any:
        name = uuid4().hex
        header = {"msg_id": name, "msg_type": kind, "username": "", "session": "x", "version": "5"}
        await socket.write_message(json.dumps({
            "header": header, "parent_header": {}, "metadata": {}, "channel": "shell",
            "content": content, "buffers": [],
        }))  # fmt: skip
        while True:
            text = await asyncio.wait_for(socket.read_message(), 60)
            assert isinstance(text, str)
            message = json.loads(text)
            if message["parent_header"].get("msg_id") == name and message["channel"] == "shell":
                return message["content"]

    try:
        completed = await ask("complete_request", code="number_of_", cursor_pos=10)
        assert "number_of_things" in completed["matches"]
        told = await ask("inspect_request", code="number_of_things", cursor_pos=3, detail_level=0)
        assert told["found"]
        past = await ask(
            "history_request", hist_access_type="tail", n=1000, output=False, raw=True,
            session=0, start=0, stop=0, pattern="", unique=False,
        )  # fmt: skip
        assert "number_of_things = 1" in [line for *_, line in past["history"]]
        assert set(await running) == {"ok"}
    finally:
        socket.close()


# The server ends.


def began(path: str) -> str:
    """Code that writes down that it ran, prints, and goes on until a file is there."""
    return f"open('tally', 'a').write('ran ')\nprint('begun', flush=True)\n{until_file(path)}"


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_a_server_that_ends_in_the_middle_of_a_run(tmp_path: Path, how: str) -> None:
    with a_lab(tmp_path) as lab:
        path = lab.write(TALLY, began("never"), "open('tally', 'a').write('ran ')", "print('next')")
        async with lab.visit(path, "ada") as ada:
            await ada.submit(run("c0", "c1", "c2"))
            await ada.until(lambda: text_of(ada.document["cells"]["c1"]["outputs"]) == "begun\n")
            process = psutil.Process(await pid_of(lab, path))
        await asyncio.to_thread(getattr(lab.server, how))
        if how == "kill" and process.is_running():
            process.kill()  # nobody would ever find this one again
        await asyncio.to_thread(lab.server.start)
        async with lab.visit(path, "ada") as ada:
            await ada.until(at_rest(ada))
            cells = ada.document["cells"]
            assert [cells[one]["execution"]["state"] for one in ("c0", "c1", "c2")] == [
                "ok", "lost", "aborted",
            ]  # fmt: skip
            assert cells["c1"]["execution"]["reason"] == cells["c2"]["execution"]["reason"]
            assert "server" in cells["c1"]["execution"]["reason"]
            assert text_of(cells["c1"]["outputs"]) == "begun\n"
            assert await lab.states(path, ["c3"]) == ["ok"]
            await ada.until(is_in(ada, "c3", "ok"))
            assert in_state(ada, "running") == ["c3"]
        assert (tmp_path / "tally").read_text() == "ran ran "
        ran = [step for step in steps(await _entries(lab, path)) if step.state == "running"]
        assert len(ran) == len(set(ran)) == 3


async def _entries(lab: Lab, path: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = (await lab.get(f"ot/entries/{path}?since=0"))["entries"]
    return entries


# Behind a gateway.


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[ServerProcess]:
    """A plain Jupyter server that lends its kernels."""
    root = tmp_path / "gateway"
    root.mkdir()
    with ServerProcess(root, token="gate") as one:
        yield one


async def test_a_kernel_behind_a_gateway_survives_the_server(
    tmp_path: Path, gateway: ServerProcess
) -> None:
    options = [f"--GatewayClient.url={gateway.url}", "--GatewayClient.auth_token=gate"]
    root = tmp_path / "root"
    root.mkdir()
    there = Lab(gateway)
    with ServerProcess(root, extra=[*OPTIONS, *options]) as server:
        lab = Lab(server)
        go = str(tmp_path / "go")
        path = lab.write(
            "import os; print(os.getpid())",
            f"print('begun', flush=True)\n{until_file(go)}\nprint('late')",
            "print('queued')",
        )
        assert await lab.states(path, ["c0"]) == ["ok"]
        async with lab.visit(path, "ada") as ada:
            await ada.submit(run("c1", "c2"))
            await ada.until(lambda: text_of(ada.document["cells"]["c1"]["outputs"]) == "begun\n")
            kernel = ada.document["kernel"]["id"]
        await asyncio.to_thread(server.kill)
        assert kernel in [one["id"] for one in await there.get("kernels")]
        await asyncio.to_thread(server.start)
        async with lab.visit(path, "ada") as ada:
            await ada.until(is_in(ada, "c2", "aborted"))
            await ada.until(lambda: ada.document["kernel"]["state"] == "ready")
            Path(go).touch()
            await ada.until(at_rest(ada))
            cells = ada.document["cells"]
            assert cells["c1"]["execution"]["state"] in ("ok", "lost")
            assert text_of(cells["c1"]["outputs"]) == "begun\nlate\n"
            assert ada.document["kernel"]["id"] == kernel
            before = text_of(cells["c0"]["outputs"])
            assert await lab.states(path, ["c0"]) == ["ok"]
            assert text_of(await lab.outputs(path)) == before
