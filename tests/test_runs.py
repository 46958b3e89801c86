"""Runs: their order, that each happens once, which code they run, and who may ask for them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.running import (
    Answer,
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
from tests.socket_client import type_in

pytestmark = pytest.mark.timeout(120)

COUNTING = "ran = globals().get('ran', 0) + 1; print(ran)"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with a_lab(tmp_path_factory.mktemp("runs")) as one:
        yield one


def let_go(lab: Lab, name: str) -> None:
    """Have the cell go on that waits for this file."""
    (lab.server.root / name).touch()


def named(answer: Answer) -> dict[str, str]:
    """The runs that an answer tells of, by cell."""
    return {cell: one["run"] for cell, one in answer.json["cells"].items()}


# The order.


async def test_run_all_of_50_cells_from_two_clients_at_once(lab: Lab) -> None:
    cells = [f"c{index}" for index in range(50)]
    sources = [f"seen = globals().get('seen', []) + [{index}]" for index in range(50)]
    path = lab.write(*sources, "print(seen)")
    async with lab.visit(path, "ada") as ada, lab.visit(path, "bob") as bob:
        await asyncio.gather(ada.send(run(*cells)), bob.send(run(*cells)))
        for one in (ada, bob):
            await one.until(lambda one=one: len(in_state(one, "ok")) == 100)
            asked = [step for step in steps(one.entries) if step.state == "queued"]
            ran = [step for step in steps(one.entries) if step.state == "running"]
            assert [step[:2] for step in ran] == [step[:2] for step in asked]
            assert [step.cell for step in ran] == cells * 2
        await lab.run(path, ["c50"])
        await asyncio.gather(*(one.until(is_in(one, "c50", "ok")) for one in (ada, bob)))
        assert ada.heads[-1] == bob.heads[-1]
        shown = text_of(ada.document["cells"]["c50"]["outputs"])
        assert shown == f"{[*range(50), *range(50)]}\n"
        counts = [ada.document["cells"][cell]["execution_count"] for cell in cells]
        assert counts == list(range(51, 101))  # of the second time


async def test_a_cell_asked_for_twice_while_it_waits_runs_twice(lab: Lab) -> None:
    path = lab.write(until_file("twice"), COUNTING)
    async with lab.visit(path, "ada") as ada, lab.visit(path, "bob") as bob:
        await ada.submit(run("c0", "c1"))
        await bob.until(is_in(bob, "c1", "queued"))
        await bob.submit(run("c1"))
        await bob.until(lambda: "next" in bob.document["cells"]["c1"]["execution"])
        held = bob.document["cells"]["c1"]["execution"]
        assert [held["user"], *(one["user"] for one in held["next"])] == ["ada", "bob"]
        let_go(lab, "twice")
        await ada.until(lambda: in_state(ada, "ok") == ["c0", "c1", "c1"])
        await ada.until(at_rest(ada))
        assert "next" not in ada.document["cells"]["c1"]["execution"]
        assert text_of(ada.document["cells"]["c1"]["outputs"]) == "2\n"


async def test_a_request_that_is_sent_again_runs_once(lab: Lab) -> None:
    path = lab.write(COUNTING)
    async with lab.visit(path, "ada") as ada:
        first = await ada.submit(run("c0"))
    async with lab.visit(path, "ada") as ada:  # it never heard of its entry
        message = {"n": first["n"], "base": 0, "hash": first["hash"], "ops": run("c0")}
        await ada.socket.send("submit", doc=ada.doc, **message)
        assert (await other(ada, "repeated"))["rev"] == first["rev"]
        await ada.until(is_in(ada, "c0", "ok"))
    asked = [
        lab.rest("POST", f"ot/runs/{path}?wait=30", {"cells": ["c0"]}, key="the-same")
        for _ in range(3)
    ]
    answers = await asyncio.gather(*asked)
    assert {answer.status for answer in answers} == {200}
    assert len({named(answer)["c0"] for answer in answers}) == 1
    another = await lab.rest("POST", f"ot/runs/{path}", {"cells": "all", "x": 1}, key="the-same")
    assert another.status == 400
    another = await lab.rest("POST", f"ot/runs/{path}", {"cells": "all"}, key="the-same")
    assert (another.status, another.json["code"]) == (422, "key_reused")
    assert text_of(await lab.outputs(path)) == "2\n"


# The code.


async def test_the_code_is_that_of_the_revision_at_which_it_was_asked_for(lab: Lab) -> None:
    path = lab.write(until_file("code"), "print('old')", "print('moved')", "print('removed')")
    async with lab.visit(path, "ada") as ada, lab.visit(path, "bob") as bob:
        await ada.submit([*type_in("c1", 10, "er"), *run("c0", "c1", "c2", "c3")])
        asked = asyncio.create_task(lab.rest("POST", f"ot/runs/{path}?wait=50", {"cells": ["c3"]}))
        await bob.until(lambda: "next" in bob.document["cells"]["c3"]["execution"])
        await bob.submit(type_in("c1", 0, "print('new'); "))
        await bob.submit([{"op": "move", "path": "/cells/c2", "index": 2, "to": 0}])
        await bob.submit([{"op": "remove", "path": "/cells/c3", "index": 3}])
        let_go(lab, "code")
        await ada.until(lambda: {"c0", "c1", "c2"} <= set(in_state(ada, "ok")))
        cells = ada.document["cells"]
        assert text_of(cells["c1"]["outputs"]) == "older\n"
        assert text_of(cells["c2"]["outputs"]) == "moved\n"
        assert "c3" not in in_state(ada, "running")
        answer = await asked
        assert answer.status == 200
        assert answer.json["cells"]["c3"]["state"] == "aborted"
        assert "removed" in answer.json["cells"]["c3"]["reason"]


async def test_a_cell_that_is_removed_while_it_runs_and_comes_back_is_at_rest(lab: Lab) -> None:
    path = lab.write(until_file("back"), COUNTING, "print('after')")
    async with lab.visit(path, "ada") as ada:
        asked = asyncio.create_task(lab.run(path, ["c0", "c1"]))
        await ada.until(is_in(ada, "c0", "running"))
        await ada.until(is_in(ada, "c1", "queued"))
        removed = [
            await ada.submit([{"op": "remove", "path": f"/cells/{cell}", "index": 0}])
            for cell in ("c0", "c1")
        ]
        for entry in reversed(removed):
            answer = await lab.rest("POST", f"ot/reverts/{path}", {"rev": entry["rev"]})
            assert answer.status == 200, answer
        let_go(lab, "back")
        assert {one["state"] for one in (await asked).values()} == {"aborted"}
        assert await lab.states(path, ["c2"]) == ["ok"]
        await ada.until(is_in(ada, "c2", "ok"))
        assert ada.document["cells"]["c0"]["execution"] == {}
        assert ada.document["cells"]["c1"]["execution"] == {}
        assert "c1" not in in_state(ada, "running")
        assert await lab.states(path, ["c1"]) == ["ok"]
        assert text_of(await lab.outputs(path, "c1")) == "1\n"


async def test_cells_with_nothing_in_them(lab: Lab) -> None:
    cells: list[Any] = [" \n", "# only a comment", {"cell_type": "markdown", "source": "1 + 1"}]
    path = lab.write({"source": cells[0], "outputs": [
        {"output_type": "stream", "name": "stdout", "text": "of before"}
    ]}, *cells[1:])  # fmt: skip
    assert await lab.states(path) == ["ok", "ok"]
    document = await lab.document(path)
    assert document["cells"]["c0"]["execution_count"] is None
    assert document["cells"]["c0"]["outputs"] == []
    assert document["cells"]["c1"]["execution_count"] == 1
    assert document["cells"]["c1"]["outputs"] == []
    refused = await lab.rest("POST", f"ot/runs/{path}", {"cells": ["c1", "c2"]})
    assert (refused.status, refused.json["code"]) == (400, "not_code")
    assert refused.json["pointer"] == "/cells/1"
    unknown = await lab.rest("POST", f"ot/runs/{path}", {"cells": ["nowhere"]})
    assert (unknown.status, unknown.json["code"]) == (400, "not_found")
    async with lab.visit(path, "ada") as ada:
        await ada.submit(run("c2", "c1"))  # one with shift and return: only the code runs
        await ada.until(lambda: in_state(ada, "ok") == ["c1"])
        assert "state" not in ada.document["cells"]["c2"]["execution"]


# What an error stops.


async def test_an_error_stops_what_was_asked_for_together_with_it(lab: Lab) -> None:
    path = lab.write(until_file("error"), "1 / 0", "print('after')", "print('of another')")
    async with lab.visit(path, "ada") as ada, lab.visit(path, "bob") as bob:
        await ada.submit(run("c0", "c1", "c2"))
        await bob.until(is_in(bob, "c2", "queued"))
        await bob.submit(run("c3", "c2"))
        let_go(lab, "error")
        await bob.until(lambda: len(in_state(bob, "ok")) == 3)
        ended = [(one.cell, one.state) for one in steps(bob.entries)]
        ended = [(cell, state) for cell, state in ended if state not in ("queued", "running")]
        assert ended == [
            ("c0", "ok"), ("c1", "error"), ("c2", "aborted"), ("c3", "ok"), ("c2", "ok"),
        ]  # fmt: skip
        assert [one["ename"] for one in bob.document["cells"]["c1"]["outputs"]] == [
            "ZeroDivisionError"
        ]


async def test_a_cell_that_is_meant_to_fail_stops_nothing(lab: Lab) -> None:
    tagged = {"source": "1 / 0", "metadata": {"tags": ["raises-exception"]}}
    path = lab.write(tagged, "print('after')", "import sys; sys.exit('over')", "never")
    ended = await lab.run(path)
    assert [one["state"] for one in ended.values()] == ["error", "ok", "error", "aborted"]
    assert "failed" in ended["c3"]["reason"]
    assert [one["execution_count"] for one in ended.values()] == [1, 2, 3, None]


# What stands in the cell.


async def test_who_asked_and_when_and_where_it_ran(lab: Lab) -> None:
    path = lab.write("1", "1 / 0")
    await lab.run(path, user="grace")
    document = await lab.document(path)
    (session,) = [one for one in await lab.get("sessions") if one["path"] == path]
    held = [document["cells"][cell]["execution"] for cell in ("c0", "c1")]
    for one, state in zip(held, ("ok", "error"), strict=True):
        assert (one["state"], one["user"]) == (state, "grace")
        assert one["kernel"] == session["kernel"]["id"] == document["kernel"]["id"]
        assert one["generation"] == document["kernel"]["generation"]
        assert one["asked"] <= one["started"] <= one["ended"]
    assert held[0]["batch"] == held[1]["batch"]
    assert held[0]["run"] != held[1]["run"]
    assert [document["cells"][one]["execution_count"] for one in ("c0", "c1")] == [1, 2]
    told = await lab.get(f"ot/kernels/{path}")
    assert told == {"kernel": document["kernel"], "runs": {}}


async def test_what_waits_is_told(lab: Lab) -> None:
    path = lab.write(until_file("told"), "2")
    answer = await lab.rest("POST", f"ot/runs/{path}", {"cells": "all"})
    assert answer.status == 202
    assert {one["state"] for one in answer.json["cells"].values()} == {"queued"}
    async with lab.visit(path, "ada") as ada:
        await ada.until(is_in(ada, "c0", "running"))
        told = (await lab.get(f"ot/kernels/{path}"))["runs"]
        assert {cell: one["state"] for cell, one in told.items()} == {
            "c0": "running", "c1": "queued",
        }  # fmt: skip
        let_go(lab, "told")
        await ada.until(at_rest(ada))


# Edits of outputs.


async def test_clearing_is_an_edit_also_while_the_cell_runs(lab: Lab) -> None:
    path = lab.write(f"print('first', flush=True)\n{until_file('clear')}\nprint('last')")
    async with lab.visit(path, "ada") as ada, lab.visit(path, "bob") as bob:
        outputs = lambda: bob.document["cells"]["c0"]["outputs"]  # noqa: E731
        await ada.submit(run("c0"))
        await bob.until(lambda: bool(outputs()))
        clear = {"op": "edit", "path": "/cells/c0/outputs", "delta": [-1]}
        await bob.submit([clear])
        assert outputs() == []
        let_go(lab, "clear")
        await bob.until(is_in(bob, "c0", "ok"))
        assert text_of(outputs()) == "last\n"
        cleared = await bob.submit([clear])
        back = await lab.rest("POST", f"ot/reverts/{path}", {"rev": cleared["rev"]})
        assert (back.status, back.json["code"]) == (422, "forbidden")
        assert await lab.outputs(path) == []


async def test_undo_neither_brings_outputs_back_nor_takes_them_away(lab: Lab) -> None:
    path = lab.write("print('old')")
    assert await lab.states(path) == ["ok"]
    async with lab.visit(path, "ada") as ada:
        typed = await ada.submit(type_in("c0", 7, "very "))
        asked = await ada.submit(run("c0"))
        await ada.until(lambda: text_of(ada.document["cells"]["c0"]["outputs"]) == "very old\n")
        await ada.until(at_rest(ada))
        for entry in (typed, asked):
            await lab.rest("POST", f"ot/reverts/{path}", {"rev": entry["rev"]})
        queued, claimed = (
            next(
                entry["rev"] for entry in ada.entries
                if any(one["op"] == "replace" and one["path"] == "/cells/c0/execution"
                       and one["value"]["state"] == state for one in entry.get("ops", ()))
            )
            for state in ("queued", "running")
        )  # fmt: skip
        for rev in (queued, claimed):
            answer = await lab.rest("POST", f"ot/reverts/{path}", {"rev": rev})
            assert (answer.status, answer.json["code"]) == (422, "forbidden")
        cell = await lab.cell(path)
        assert cell["source"] == "print('old')"
        assert text_of(cell["outputs"]) == "very old\n"
        assert cell["execution"] == ada.document["cells"]["c0"]["execution"]


# What nobody but the kernel may write, and who may do what.

FORGED = {"output_type": "stream", "name": "stdout", "text": "forged"}


async def test_nobody_writes_what_is_the_kernels(lab: Lab) -> None:
    path = lab.write(f"print('true', flush=True)\n{until_file('forge')}")
    async with lab.visit(path, "ada") as ada:
        await ada.submit(run("c0"))
        await ada.until(lambda: bool(ada.document["cells"]["c0"]["outputs"]))
        state = {**ada.document["cells"]["c0"]["execution"], "state": "ok"}
        cell = {**ada.document["cells"]["c0"], "execution": state}
        for change in (
            [{"op": "replace", "path": "/cells/c0/execution", "value": state}],
            [{"op": "replace", "path": "/cells/c0/execution/state", "value": "ok"}],
            [{"op": "remove", "path": "/cells/c0/execution/run"}],
            [{"op": "replace", "path": "/kernel/owner", "value": "me"}],
            [{"op": "replace", "path": "/kernel/request", "value": {}}],
            [{"op": "edit", "path": "/cells/c0/outputs", "delta": [[FORGED]]}],
            [{"op": "replace", "path": "/cells/c0/outputs", "value": [FORGED]}],
            [{"op": "replace", "path": "/cells/c0/outputs/0/text", "value": "forged"}],
            [{"op": "add", "path": "/cells/forged", "value": cell, "index": 0}],
        ):
            error = await refused(ada, change)
            assert error["code"] in ("forbidden", "not_writable", "not_found", "wrong_type"), error
        forged = {"json": True, "kind": "application/json-patch+json"}
        for at, value in (
            ("/cells/0/outputs/-", FORGED), ("/cells/0/outputs/0/text", "forged"),
            ("/cells/0/execution", state), ("/kernel", {"owner": "me"}),
        ):  # fmt: skip
            patch = [{"op": "add", "path": at, "value": value}]
            answer = await lab.rest("PATCH", f"ot/documents/{path}", patch, kind=forged["kind"])
            assert 400 <= answer.status < 500, (at, answer)
        file = await lab.get(f"contents/{path}")
        file["content"]["cells"][0] |= {"execution": state, "source": "# a save by hand"}
        file["content"] |= {"kernel": {"owner": "me"}}
        await lab.rest("PUT", f"contents/{path}", file)
        let_go(lab, "forge")
        await ada.until(at_rest(ada))
        document = await lab.document(path)
        assert text_of(document["cells"]["c0"]["outputs"]) == "true\n"
        assert document["cells"]["c0"]["execution"]["run"] == state["run"]
        assert document["kernel"]["owner"] != "me"


async def refused(follower: Any, change: Any) -> Any:
    """The error that a change gets."""
    n = await follower.send(change)
    error = await other(follower, "error")
    assert error["of"] == "submit"
    if error.get("taken"):
        await follower.until(lambda: any(one["n"] == n for one in follower.entries))
    else:
        follower.n -= 1
    return error


async def test_who_may_only_read_sees_outputs_live_and_runs_nothing(lab: Lab) -> None:
    path = lab.write(f"print('seen', flush=True)\n{until_file('read')}")
    async with lab.visit(path, "reader") as reader, lab.visit(path, "ada") as ada:
        await ada.submit(run("c0"))
        await reader.until(lambda: text_of(reader.document["cells"]["c0"]["outputs"]) == "seen\n")
        assert is_in(reader, "c0", "running")()
        assert (await refused(reader, run("c0")))["code"] == "forbidden"
        for message in (
            {"type": "kernel", "action": "interrupt"},
            {"type": "input", "id": "x", "value": "y"},
            {"type": "comm", "id": "x", "kind": "comm_msg", "content": {"comm_id": "x"}},
        ):
            await reader.socket.send(**message, doc=reader.doc)
            assert (await other(reader, "error"))["code"] == "forbidden"
        for where, body in (
            ("runs", {"cells": ["c0"]}),
            ("kernels", {"action": "shutdown"}),
            ("inputs", {"id": "x", "value": "y"}),
        ):
            answer = await lab.rest("POST", f"ot/{where}/{path}", body, user="reader")
            assert answer.status == 403, answer
        assert (await lab.get(f"ot/kernels/{path}", user="reader"))["kernel"]["state"] == "ready"
        let_go(lab, "read")
        await reader.until(is_in(reader, "c0", "ok"))


async def test_who_may_write_and_not_run(lab: Lab) -> None:
    path = lab.write("print('run')")
    async with lab.visit(path, "writer") as writer:
        await writer.submit(type_in("c0", 0, "# "))
        assert (await refused(writer, run("c0")))["code"] == "forbidden"
        both = [*type_in("c0", 0, "# "), *run("c0")]
        assert (await refused(writer, both))["code"] == "forbidden"
        assert writer.source("c0") == "# print('run')"
    answer = await lab.rest("POST", f"ot/runs/{path}", {"cells": "all"}, user="writer")
    assert answer.status == 403
    document = await lab.document(path)
    assert document["cells"]["c0"]["execution"] == {}
    assert document["kernel"]["state"] == "none"


async def test_who_may_run_and_not_write(lab: Lab) -> None:
    path = lab.write("print('run')")
    ended = await lab.run(path, user="runner")
    assert ended["c0"]["state"] == "ok"
    async with lab.visit(path, "runner") as runner:
        assert (await refused(runner, type_in("c0", 0, "# ")))["code"] == "forbidden"
        both = [*type_in("c0", 0, "# "), *run("c0")]
        assert (await refused(runner, both))["code"] == "forbidden"
        await runner.submit(run("c0"))
        await runner.until(lambda: runner.document["cells"]["c0"]["execution_count"] == 2)
        assert runner.document["cells"]["c0"]["execution"]["user"] == "runner"
        assert runner.source("c0") == "print('run')"
