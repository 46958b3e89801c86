"""The documentation is true: its examples run, its messages are those of the server, its table is
the one that is tested, its links lead somewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from tornado.websocket import websocket_connect

from ot_jupyter.api.limits import ApiLimits
from ot_jupyter.api.messages import parse_message, read_message
from tests.server_process import ServerProcess

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text()


def blocks(text: str, info: str) -> list[str]:
    """The fenced blocks with that info string."""
    return re.findall(rf"^```{re.escape(info)}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("message", blocks(PROTOCOL, "json client"))
def test_a_client_may_say_this(message: str) -> None:
    assert parse_message(read_message(message), ApiLimits()) is not None


def documented() -> dict[str, dict[str, Any]]:
    """What the server says, by type; of several examples, all their fields."""
    found: dict[str, dict[str, Any]] = {}
    for block in blocks(PROTOCOL, "json server"):
        message = json.loads(block)
        found.setdefault(message["type"], {}).update(message)
    return found


async def test_the_server_says_what_is_documented(tmp_path: Path) -> None:
    """A session through all messages that can be brought about at will: the real fields are the
    documented ones, no more and no less."""
    cell = nbformat.v4.new_code_cell("x = 1", id="one")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "a.ipynb")
    said: dict[str, list[dict[str, Any]]] = {}
    with ServerProcess(tmp_path) as server:
        one, two = await websocket_connect(server.ws_url), await websocket_connect(server.ws_url)

        async def hear(socket: Any, kind: str) -> dict[str, Any]:
            while True:
                message = json.loads(await socket.read_message())
                said.setdefault(message["type"], []).append(message)
                if message["type"] == kind:
                    return message

        async def say(socket: Any, **message: Any) -> None:
            await socket.write_message(json.dumps(message))

        await say(one, type="open", path="a.ipynb", client="a")
        opened = await hear(one, "opened")
        doc = opened["doc"]
        await say(two, type="open", path="a.ipynb", client="b")
        await hear(two, "opened")
        await say(one, type="ping")
        await hear(one, "pong")
        edit = [{"op": "edit", "path": "/cells/one/source", "delta": ["y"]}]
        submission = {"type": "submit", "doc": doc, "n": 1, "base": 0, "hash": opened["hash"]}
        await say(one, **submission, ops=edit)
        acknowledged = await hear(one, "entries")
        full = await hear(two, "entries")
        assert set(acknowledged["entries"][0]) == {"rev", "n", "hash"}
        await say(one, **submission, ops=edit)
        await hear(one, "repeated")
        head = full["entries"][0]
        lost = [{"op": "edit", "path": "/cells/two/source", "delta": ["y"]}]
        await say(one, type="submit", doc=doc, n=2, base=head["rev"], hash=head["hash"], ops=lost)
        assert (await hear(one, "error"))["taken"]
        await say(one, type="presence", doc=doc, presence={"rev": 1, "cell": "one", "anchor": 1})
        await hear(two, "presence")
        await say(one, type="save", doc=doc)
        await hear(one, "saved")
        await say(one, type="comms", doc=doc, on=True)
        await hear(one, "comms")
        widget = "import comm; comm.create_comm(target_name='t', data={})\ninput('?')\n"
        await say(one, type="open", path="a.ipynb", client="c")
        now = await hear(one, "opened")
        run = [
            {"op": "edit", "path": "/cells/one/source", "delta": [widget, -len("x = 1y")]},
            {"op": "run", "path": "/cells/one"},
        ]
        state = {"base": now["rev"], "hash": now["hash"]}
        await say(one, type="submit", doc=doc, n=1, **state, ops=run)
        await hear(one, "comm")
        question = ""
        while not question:
            for entry in (await hear(two, "entries"))["entries"]:
                for operation in entry["ops"]:
                    if operation["path"] == "/cells/one/execution/input":
                        question = operation["value"]["id"]
        await say(two, type="input", doc=doc, id=question, value="!")
        await hear(two, "answered")
        await say(two, type="kernel", doc=doc, action="shutdown")
        await hear(two, "requested")
        one.close()
        two.close()
    pages = documented()
    assert set(said) <= set(pages)
    for kind, messages in said.items():
        fields = set().union(*(set(message) for message in messages))
        assert fields == set(pages[kind]), kind
    assert set(head) == set(pages["entries"]["entries"][0])
    assert set(opened["user"]) == set(pages["opened"]["user"])


def test_every_python_example_of_the_algebra_runs() -> None:
    examples = blocks((ROOT / "docs" / "algebra.md").read_text(), "python")
    assert examples
    for example in examples:
        exec(compile(example, "algebra.md", "exec"), {})


def live_examples() -> list[Any]:
    """The Python examples that talk to a server: they stand after the same beginning."""
    return [
        pytest.param(page, example, id=f"{page.name}-{index}")
        for page in PAGES
        for index, example in enumerate(blocks(page.read_text(), "python"))
        if "localhost:8888" in example
    ]


@pytest.mark.parametrize(("page", "example"), live_examples())
def test_a_python_example_runs(tmp_path: Path, page: Path, example: str) -> None:
    cell = nbformat.v4.new_code_cell("x = 1", id="one")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "hello.ipynb")
    (tmp_path / "notes.md").write_text("# Notes\n")
    with ServerProcess(tmp_path, token="token") as server:
        source = example.replace("http://localhost:8888", server.url)
        exec(compile(source, page.name, "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_files_exist(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", text):
        assert (page.parent / target).exists(), target
    for name in re.findall(r"`((?:ot_jupyter|tests|docs|benchmarks)/[\w./-]+)`", text):
        assert (ROOT / name).exists(), name


def test_the_settings_that_are_named_exist() -> None:
    from ot_jupyter.extension import OtJupyter

    names = set(OtJupyter.class_trait_names(config=True))
    for page in PAGES:
        for name in re.findall(r"OtJupyter\.(\w+)", page.read_text()):
            assert name in names, f"{page.name}: {name}"
