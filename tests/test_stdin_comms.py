"""Questions that kernels ask, and widgets that several people move."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from hashlib import sha256
from typing import Any
from uuid import uuid4

import pytest

from tests.running import Lab, a_lab, is_in, other, run, text_of
from tests.socket_client import Follower, Message

pytestmark = pytest.mark.timeout(120)

SLIDER = """\
import ipywidgets
slider = ipywidgets.IntSlider(value=3, max=10)
slider"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with a_lab(tmp_path_factory.mktemp("stdin")) as one:
        yield one


def question(follower: Follower, cell: str = "c0") -> Any:
    """What the cell asks, or None."""
    return follower.document["cells"][cell]["execution"].get("input")


async def answers(follower: Follower, asked: str, value: str) -> Message:
    """Answer on the socket: what comes back, for good or bad."""
    await follower.socket.send("input", doc=follower.doc, id=asked, value=value)
    while True:
        message = await follower.socket.receive()
        assert message is not None
        if message["type"] in ("answered", "error"):
            return message
        if message["type"] == "entries":
            follower.take(message)


async def test_of_two_people_who_answer_one_is_heard(lab: Lab) -> None:
    path = lab.write("print('before')\nname = input('Your name?')\nprint('Hello', name)")
    async with lab.visit(path, "ada") as ada, lab.visit(path, "bob") as bob:
        await ada.submit(run("c0"))
        for one in (ada, bob):
            await one.until(lambda one=one: question(one) is not None)
        asked = question(ada)
        assert asked == question(bob)
        assert (asked["prompt"], asked["password"]) == ("Your name?", False)
        assert text_of(ada.document["cells"]["c0"]["outputs"]) == "before\n"
        told = await asyncio.gather(
            answers(ada, asked["id"], "Ada"), answers(bob, asked["id"], "Bob")
        )
        (heard,) = [one for one in told if one["type"] == "answered"]
        (late,) = [one for one in told if one["type"] == "error"]
        assert heard["id"] == asked["id"]
        assert late["code"] == "answered"
        who = "Ada" if told[0] is heard else "Bob"
        await ada.until(is_in(ada, "c0", "ok"))
        cell = ada.document["cells"]["c0"]
        assert "input" not in cell["execution"]
        assert text_of(cell["outputs"]) == f"before\nHello {who}\n"
        answer = await lab.rest("POST", f"ot/inputs/{path}", {"id": asked["id"], "value": "x"})
        assert (answer.status, answer.json["code"]) == (409, "answered")


async def test_a_program_answers(lab: Lab) -> None:
    path = lab.write("a = input('one')\nb = input()\nprint(a + b)")
    asking = await lab.rest("POST", f"ot/runs/{path}?wait=30", {"cells": "all"}, key="asking")
    for text in ("1", "2"):
        while "input" not in asking.json["cells"]["c0"]:
            asking = await lab.rest(
                "POST", f"ot/runs/{path}?wait=30", {"cells": "all"}, key="asking"
            )
        assert asking.status == 202
        asked = asking.json["cells"]["c0"]["input"]["id"]
        body = {"id": asked, "value": text}
        assert (await lab.rest("POST", f"ot/inputs/{path}", body)).status == 200
        asking = await lab.rest("POST", f"ot/runs/{path}?wait=1", {"cells": "all"}, key="asking")
        assert asking.json["cells"]["c0"].get("input", {}).get("id") != asked
    while asking.status == 202:
        asking = await lab.rest("POST", f"ot/runs/{path}?wait=30", {"cells": "all"}, key="asking")
    assert asking.json["cells"]["c0"]["state"] == "ok"
    assert text_of(await lab.outputs(path)) == "12\n"


async def test_a_password_is_in_no_log(lab: Lab) -> None:
    secret = f"open-{uuid4().hex}"
    code = "import getpass, hashlib\nit = getpass.getpass('Password:')\n"
    path = lab.write(code + "print(hashlib.sha256(it.encode()).hexdigest())")
    async with lab.visit(path, "ada") as ada:
        await ada.submit(run("c0"))
        await ada.until(lambda: question(ada) is not None)
        asked = question(ada)
        assert (asked["prompt"], asked["password"]) == ("Password:", True)
        assert (await answers(ada, asked["id"], secret))["type"] == "answered"
        await ada.until(is_in(ada, "c0", "ok"))
    assert sha256(secret.encode()).hexdigest() in text_of(await lab.outputs(path))
    await lab.saved(path)
    entries = await lab.rest("GET", f"ot/entries/{path}?since=0")
    assert secret not in str(entries)
    files = [one for one in lab.server.root.rglob("*") if one.is_file()]
    assert any(one.name.startswith(".jupyter_ot.db") for one in files)
    assert [one for one in files if secret.encode() in one.read_bytes()] == []
    assert secret not in lab.server.log


async def test_interrupt_while_it_asks(lab: Lab) -> None:
    path = lab.write("input('ever?')", "print('next')")
    async with lab.visit(path, "ada") as ada:
        await ada.submit(run("c0"))
        await ada.until(lambda: question(ada) is not None)
        asked = question(ada)
        await lab.control(path, "interrupt")
        await ada.until(is_in(ada, "c0", "error"))
        assert question(ada) is None
        assert ada.document["cells"]["c0"]["outputs"][-1]["ename"] == "KeyboardInterrupt"
        assert (await answers(ada, asked["id"], "x"))["code"] == "answered"
        assert await lab.states(path, ["c1"]) == ["ok"]


async def test_a_cell_that_is_removed_while_it_asks_holds_nobody_up(lab: Lab) -> None:
    path = lab.write("input('gone?')", "print('next')")
    async with lab.visit(path, "ada") as ada:
        await ada.submit(run("c0"))
        await ada.until(lambda: question(ada) is not None)
        await ada.submit([{"op": "remove", "path": "/cells/c0", "index": 0}])
        await lab.control(path, "interrupt")  # nobody can answer any more
        assert await lab.states(path, ["c1"]) == ["ok"]


# Widgets.


class Widgets:
    """The comms of a notebook's kernel, as one client hears of them."""

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self.open: list[Message] = []
        self.messages: list[Message] = []

    async def listen(self) -> Widgets:
        await self.follower.socket.send("comms", doc=self.follower.doc, on=True)
        self.open = (await other(self.follower, "comms"))["open"]
        return self

    async def next(self) -> Message:
        """The next message."""
        message = await other(self.follower, "comm")
        self.messages.append(message)
        return message

    async def slider(self) -> str:
        """The comm of the first slider that is opened from now on."""
        while True:
            message = await self.next()
            state = message["content"].get("data", {}).get("state", {})
            if message["kind"] == "comm_open" and state.get("_model_name") == "IntSliderModel":
                return str(message["content"]["comm_id"])

    async def value(self, comm: str) -> Any:
        """The next value of the slider that its kernel tells, and how."""
        while True:
            message = await self.next()
            content = message["content"]
            data = content.get("data", {})
            if content.get("comm_id") == comm and "value" in data.get("state", {}):
                return data["method"], data["state"]["value"]

    async def move(self, comm: str, value: int) -> None:
        data = {"method": "update", "state": {"value": value}, "buffer_paths": []}
        await self.follower.socket.send(
            "comm", doc=self.follower.doc, id=uuid4().hex, kind="comm_msg",
            content={"comm_id": comm, "data": data},
        )  # fmt: skip


async def test_a_slider_that_several_people_move(lab: Lab) -> None:
    path = lab.write(SLIDER, "print(slider.value)", "slider.value = 8")
    async with lab.visit(path, "ada") as ada, lab.visit(path, "bob") as bob:
        first, second = await Widgets(ada).listen(), await Widgets(bob).listen()
        assert first.open == second.open == []
        await ada.submit(run("c0"))
        comm = await first.slider()
        assert await second.slider() == comm
        await ada.until(is_in(ada, "c0", "ok"))
        (shown,) = ada.document["cells"]["c0"]["outputs"]
        view = shown["data"]["application/vnd.jupyter.widget-view+json"]
        assert view["model_id"] == comm

        await first.move(comm, 7)
        assert await second.value(comm) == ("echo_update", 7)
        assert await first.value(comm) == ("echo_update", 7)
        assert await lab.states(path, ["c1"]) == ["ok"]
        assert text_of(await lab.outputs(path, "c1")) == "7\n"

        assert await lab.states(path, ["c2"]) == ["ok"]  # and from Python
        for one in (first, second):
            assert await one.value(comm) == ("update", 8)

        async with lab.visit(path, "eve") as eve:
            third = await Widgets(eve).listen()
            opened = {one["comm_id"]: one for one in third.open}
            assert opened[comm]["target_name"] == "jupyter.widget"
            assert opened[comm]["data"]["state"]["value"] == 8
            assert opened[comm]["data"]["state"]["max"] == 10
            layout = opened[comm]["data"]["state"]["layout"].removeprefix("IPY_MODEL_")
            assert layout in opened
            order = [one["comm_id"] for one in third.open]
            assert order.index(layout) < order.index(comm)
            await third.move(comm, 2)
            for one in (first, second, third):
                assert await one.value(comm) == ("echo_update", 2)
        kinds = [[one["kind"] for one in widgets.messages] for widgets in (first, second)]
        assert kinds[0] == kinds[1]  # in one order for all


async def test_no_comm_is_open_after_a_restart(lab: Lab) -> None:
    path = lab.write(SLIDER)
    async with lab.visit(path, "ada") as ada:
        first = await Widgets(ada).listen()
        await ada.submit(run("c0"))
        await ada.until(is_in(ada, "c0", "ok"))
        assert (await Widgets(ada).listen()).open != []
        await lab.control(path, "restart")
        while (await first.next())["kind"] != "comms_closed":
            pass
        assert (await Widgets(ada).listen()).open == []


async def test_a_reader_sees_widgets_and_moves_none(lab: Lab) -> None:
    path = lab.write(SLIDER)
    assert await lab.states(path) == ["ok"]
    async with lab.visit(path, "reader") as reader:
        widgets = await Widgets(reader).listen()
        (slider,) = [
            one for one in widgets.open
            if one["data"]["state"].get("_model_name") == "IntSliderModel"
        ]  # fmt: skip
        await widgets.move(slider["comm_id"], 9)
        assert (await other(reader, "error"))["code"] == "forbidden"


async def test_an_output_widget_shows_what_it_captures(lab: Lab) -> None:
    path = lab.write(
        "import ipywidgets\nout = ipywidgets.Output()\nout",
        "with out:\n    print(1)\n    print(2)\nprint('outside')",
        "print([one['text'] for one in out.outputs])",
    )
    done = await lab.rest("POST", f"ot/runs/{path}?wait=50", {"cells": "all"})
    assert {one["state"] for one in done.json["cells"].values()} == {"ok"}
    cells = (await lab.rest("GET", f"ot/documents/{path}")).json["cells"]
    assert text_of(cells[1]["outputs"]) == "outside\n"
    assert text_of(cells[2]["outputs"]) == "['1\\n2\\n']\n"


async def test_a_kernel_writes_what_it_was_asked_to(lab: Lab) -> None:
    path = lab.write(
        "open('loaded.py', 'w').write('print(5)'); None",
        "%load loaded.py",
        "get_ipython().set_next_input('below')",
    )
    done = await lab.rest("POST", f"ot/runs/{path}?wait=50", {"cells": "all"})
    assert {one["state"] for one in done.json["cells"].values()} == {"ok"}
    async with lab.visit(path, "ada") as ada:

        def sources() -> list[str]:
            document = ada.document
            return [document["cells"][name]["source"] for name in document["order"]]

        await ada.until(lambda: len(sources()) == 4)
        assert sources()[1:] == [
            "# %load loaded.py\nprint(5)",
            "get_ipython().set_next_input('below')",
            "below",
        ]
