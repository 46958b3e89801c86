"""What kernels put out, as JupyterLab would show it, and what floods of it do to others."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from ot_jupyter.client import Document, connect
from tests.running import Lab, a_lab, is_in, run, text_of, until_file

pytestmark = pytest.mark.timeout(180)

MIB = 2**20
GROWTH_MIB = 500  # for 100 MB of prints: what came and the store has not taken yet is held
ESC = "\x1b"


# Files are written when a test asks for it: that takes memory of its own.
BY_HAND = ("--OtJupyter.save_delay=3600", "--OtJupyter.save_longest=3600")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with a_lab(tmp_path_factory.mktemp("outputs"), *BY_HAND) as one:
        yield one


async def put_out(lab: Lab, *sources: str) -> list[list[dict[str, Any]]]:
    """The outputs of cells that are run, in a notebook of their own."""
    path = lab.write(*sources)
    await lab.run(path)
    cells = (await lab.document(path))["cells"]
    shown = [cells[f"c{index}"]["outputs"] for index in range(len(sources))]
    await lab.control(path, "shutdown")
    return shown


def displayed(outputs: list[dict[str, Any]]) -> list[str]:
    """The plain text of each."""
    return [one["data"]["text/plain"] for one in outputs]


# Streams.


async def test_200_prints_are_one_output(lab: Lab) -> None:
    ((output,),) = await put_out(lab, "for i in range(200): print(i, flush=True)")
    text = "".join(f"{i}\n" for i in range(200))
    assert output == {"output_type": "stream", "name": "stdout", "text": text}


async def test_10_000_prints_are_one_stream_and_errors_another(lab: Lab) -> None:
    code = """\
import sys
for i in range(10_000): print(i)
sys.stdout.flush()
print('bad', file=sys.stderr, flush=True)
print('good')"""
    ((first, second, third),) = await put_out(lab, code)
    assert first["text"] == "".join(f"{i}\n" for i in range(10_000))
    assert (second["name"], second["text"]) == ("stderr", "bad\n")
    assert (third["name"], third["text"]) == ("stdout", "good\n")


async def test_a_progress_bar_is_one_line(lab: Lab) -> None:
    code = "import tqdm, time\nfor _ in tqdm.tqdm(range(200)): time.sleep(0.002)"
    ((output,),) = await put_out(lab, code)
    assert output["name"] == "stderr"
    assert output["text"].count("\n") == 1
    assert output["text"].startswith("100%|")
    assert "200/200" in output["text"]


async def test_a_thread_that_prints_after_its_cell_has_ended(lab: Lab) -> None:
    thread = f"""\
import threading
def work():
    {until_file("thread").replace(chr(10), chr(10) + "    ")}
    print('late', flush=True)
threading.Thread(target=work).start()
print('early')"""
    path = lab.write(thread)
    async with lab.visit(path, "ada") as ada:
        await ada.submit(run("c0"))
        await ada.until(is_in(ada, "c0", "ok"))
        assert text_of(ada.document["cells"]["c0"]["outputs"]) == "early\n"
        (lab.server.root / "thread").touch()
        await ada.until(lambda: "late" in text_of(ada.document["cells"]["c0"]["outputs"]))
        cell = ada.document["cells"]["c0"]
        assert text_of(cell["outputs"]) == "early\nlate\n"
        assert cell["execution"]["state"] == "ok"


# Displays.


async def test_50_updates_of_one_display_are_one_output(lab: Lab) -> None:
    code = """\
from IPython.display import display
handle = display('begun', display_id=True)
for i in range(50): handle.update(f'step {i}')"""
    first, second = await put_out(lab, code, "handle.update('from the next cell')")
    assert displayed(first) == ["'from the next cell'"]
    assert second == []


async def test_an_animation_leaves_its_last_picture(lab: Lab) -> None:
    code = """\
from IPython.display import clear_output, display
import time
for i in range(30):
    clear_output(wait=True)
    print('frame', i)
    display(i)
    time.sleep(0.01)"""
    path = lab.write(code)
    async with lab.visit(path, "ada") as ada:
        await ada.submit(run("c0"))
        while not is_in(ada, "c0", "ok")():
            await ada.step()
            assert len(ada.document["cells"]["c0"]["outputs"]) <= 2
        printed, shown = ada.document["cells"]["c0"]["outputs"]
    assert printed["text"] == "frame 29\n"
    assert displayed([shown]) == ["29"]


async def test_clear_output_without_wait_clears_at_once(lab: Lab) -> None:
    code = f"""\
from IPython.display import clear_output
print('gone', flush=True)
clear_output()
{until_file("cleared")}
print('stays')"""
    path = lab.write(code)
    async with lab.visit(path, "ada") as ada:
        await ada.submit(run("c0"))
        await ada.until(is_in(ada, "c0", "running"))
        outputs: list[Any] = []
        while is_in(ada, "c0", "running")():
            (lab.server.root / "cleared").touch()
            await ada.step()
            outputs = ada.document["cells"]["c0"]["outputs"]
        assert text_of(outputs) == "stays\n"


async def test_a_traceback_with_its_colours(lab: Lab) -> None:
    ((output,),) = await put_out(lab, "def f(): return 1 / 0\nf()")
    assert (output["output_type"], output["ename"]) == ("error", "ZeroDivisionError")
    assert output["evalue"] == "division by zero"
    assert any(f"{ESC}[" in line for line in output["traceback"])


async def test_a_figure_and_a_table(lab: Lab) -> None:
    figure = "%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 3, 2]); plt.show()"
    table = "import pandas\npandas.DataFrame({'a': [1, 2], 'ä': ['x', '🎉']})"
    (picture,), (frame,) = await put_out(lab, figure, table)
    assert picture["output_type"] == "display_data"
    assert picture["data"]["image/png"].startswith("iVBOR")
    assert picture["data"]["text/plain"].startswith("<Figure size")
    assert frame["output_type"] == "execute_result"
    assert "<td>🎉</td>" in frame["data"]["text/html"]
    assert frame["execution_count"] == 2


async def test_the_pager_is_shown_in_the_cell(lab: Lab) -> None:
    ((output,),) = await put_out(lab, "len?")
    assert output["output_type"] == "display_data"
    assert "Return the number of items" in output["data"]["text/plain"]


async def test_what_no_json_holds(lab: Lab) -> None:
    # As a kernel in another language may do it: numbers and texts as they are.
    packer = """\
import json
get_ipython().kernel.session.pack = lambda it: json.dumps(it, default=str).encode()"""
    code = r"""
print('🎉 é', flush=True)
display({'application/json': [float('nan'), float('-inf'), 2**70, {'x': 1}]}, raw=True)
display({'text/plain': 'half \ud83d of a pair'}, raw=True)
print('half \udc00 too')"""
    path = lab.write(packer, code, "print('goes on')")
    await lab.run(path)
    cells = (await lab.document(path))["cells"]
    first, second, third, fourth = cells["c1"]["outputs"]
    assert first["text"] == "🎉 é\n"
    assert second["data"]["application/json"] == [None, None, float(2**70), {"x": 1}]
    assert third["data"]["text/plain"] == "half \ufffd of a pair"
    assert fourth["text"] == "half \ufffd too\n"
    assert text_of(cells["c2"]["outputs"]) == "goes on\n"
    assert (await lab.saved(path))["cells"][2]["outputs"][0]["text"] == ["goes on\n"]


# Floods, while others type.


class Typist:
    """Somebody who types into a cell for as long as something else goes on."""

    def __init__(self, document: Document, cell: str) -> None:
        self.document = document
        self.cell = cell
        self.typed = 0

    async def type(self, until: asyncio.Event) -> None:
        """Each letter is acknowledged before the next is typed."""
        while not until.is_set():
            self.document.cells[self.cell].edit(0, insert="x")
            await self.document.acknowledged()
            self.typed += 1
            await asyncio.sleep(0.02)

    @property
    def outputs(self) -> list[dict[str, Any]]:
        """Those of the cell that runs, as this client has them."""
        shown: list[dict[str, Any]] = self.document.content["cells"]["c0"]["outputs"]
        return shown


def rss(pid: int) -> float:
    """MiB that a process has in memory."""
    return float(psutil.Process(pid).memory_info().rss) / MIB


async def flood(lab: Lab, code: str, typists: int = 1) -> tuple[str, list[Typist], float]:
    """Run a cell while others type and watch: the notebook, they, and MiB by which the server grew
    until the cell had ended."""
    path = lab.write(code, *["" for _ in range(typists)], "print('next')")
    over = asyncio.Event()
    before = most = rss(lab.server.pid)

    async def measure() -> None:
        nonlocal most
        while not over.is_set():
            most = max(most, rss(lab.server.pid))
            await asyncio.sleep(0.1)

    async def runs() -> None:
        ended = await lab.run(path, ["c0", f"c{typists + 1}"])
        assert {one["state"] for one in ended.values()} == {"ok"}, ended
        over.set()

    async with contextlib.AsyncExitStack() as stack:
        people = []
        for index in range(typists):  # clients that resume when they can't keep up
            connection = await stack.enter_async_context(connect(lab.server.url, lab.server.token))
            people.append(Typist(await connection.open(path), f"c{index + 1}"))
        await asyncio.gather(runs(), measure(), *(one.type(over) for one in people))
        rev = max(one.document.rev for one in people)
        for one in people:
            await one.document.until(lambda document: document.rev >= rev)
    assert all(one.typed > 0 for one in people)
    return path, people, most - before


async def test_20_000_lines_each_flushed_while_five_people_type(lab: Lab) -> None:
    # With pauses: a kernel throws away what nobody has read of more than 1,000 messages, and on a
    # busy machine nobody may have had a turn to read them.
    code = """\
import time
for i in range(20_000):
    print(f'line {i:05}', flush=True)
    if i % 100 == 0:
        time.sleep(0.02)"""
    path, people, _ = await flood(lab, code, typists=5)
    notebook = await lab.saved(path)
    text = "".join("".join(one["text"]) for one in notebook["cells"][0]["outputs"])
    assert text == "".join(f"line {i:05}\n" for i in range(20_000))
    assert [one["outputs"][0]["text"] for one in notebook["cells"][6:]] == [["next\n"]]
    for index, one in enumerate(people):
        assert "".join(notebook["cells"][index + 1]["source"]) == "x" * one.typed
        assert one.outputs == people[0].outputs


async def test_100_mb_of_prints_neither_stop_typing_nor_fill_memory(lab: Lab) -> None:
    code = "line = 'x' * 99\nfor i in range(10_000): print('\\n'.join([line] * 100))"
    path, (typist,), growth = await flood(lab, code)
    assert growth < GROWTH_MIB
    (shown,) = typist.outputs
    assert len(shown["text"]) < 2**16
    assert shown["blobs"]["text"]["size"] == 100_000_000
    notebook = await lab.saved(path)
    (output,) = notebook["cells"][0]["outputs"]
    assert output["text"] == ["x" * 99 + "\n"] * 1_000_000
    assert (await lab.outputs(path))[0] == shown  # that it was saved in full changed nothing


async def test_10_mb_a_second_for_some_seconds(lab: Lab) -> None:
    code = """\
import time
begun = time.monotonic()
for i in range(300):
    print(f'{i:03} ' + 'y' * 99_995, flush=True)
    time.sleep(max(0, begun + i / 100 - time.monotonic()))"""
    path, _, growth = await flood(lab, code)
    assert growth < GROWTH_MIB
    notebook = await lab.saved(path)
    text = "".join("".join(one["text"]) for one in notebook["cells"][0]["outputs"])
    assert [line[:3] for line in text.splitlines()] == [f"{i:03}" for i in range(300)]
    assert len(text) == 300 * 100_000


async def test_an_image_of_5_mb_is_not_in_the_log(lab: Lab) -> None:
    code = """\
from IPython.display import Image, display
import os
display(Image(data=b'\\x89PNG' + os.urandom(5_000_000), format='png', width=10))"""
    path = lab.write(code)
    await lab.run(path)
    (shown,) = await lab.outputs(path)
    reference = shown["blobs"]["image/png"]
    assert "image/png" not in shown["data"]
    assert reference["type"] == "image/png"
    entries = await lab.get(f"ot/entries/{path}?since=0")
    assert len(json.dumps(entries)) < 100_000
    (saved,) = (await lab.saved(path))["cells"][0]["outputs"]
    image = saved["data"]["image/png"]
    assert len("".join(image)) == reference["size"] > 6_000_000
