"""``ot-jupyter run`` and ``ot-jupyter kernel``, as a user types them: in a pipe, and in a terminal
(a pseudo-terminal of the system), against a real server with real kernels."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import nbformat
import pytest

from ot_jupyter.client.sync import connect
from ot_jupyter.client.terminal import Printer, output_text, shown
from tests.server_process import ServerProcess
from tests.test_cli import COMMAND, environment, run

FOR_EVER = "import time\nprint('begun', flush=True)\nwhile True: time.sleep(0.1)"

ASK = """\
import getpass
name = input('Who? ')
word = getpass.getpass('Word? ')
print(name, len(word))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("root")) as process:
        yield process


_names = iter(range(10_000))


def new_notebook(server: ServerProcess, *sources: str) -> str:
    cells = [
        nbformat.v4.new_code_cell(source, id=f"c{index}") for index, source in enumerate(sources)
    ]
    cells.append(nbformat.v4.new_markdown_cell("# End", id="end"))
    path = f"notebook{next(_names)}.ipynb"
    (server.root / path).write_text(json.dumps(nbformat.v4.new_notebook(cells=cells)))
    return path


@pytest.fixture
def path(server: ServerProcess) -> Iterator[str]:
    """A notebook whose kernel is ended afterwards."""
    name = new_notebook(server, "print('a')\n1 + 1", "1 / 0", "print('never')")
    yield name
    run(server, "kernel", name, "shutdown")


class InTerminal:
    """The command in a terminal of its own. What it prints is heard with :meth:`until`."""

    def __init__(self, server: ServerProcess, *arguments: str) -> None:
        self.text = ""
        child, self.file = pty.fork()
        if child == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.execve(COMMAND, [COMMAND, *arguments], {**environment(server), "TERM": "xterm"})
        self.child = child

    def until(self, text: str) -> str:
        """All that was printed, when this has been, for the first time since the last call."""
        begin = len(self.text)
        while text not in self.text[begin:]:
            part = os.read(self.file, 65536).decode()
            assert part, self.text
            self.text += part
        return self.text

    def type(self, text: str) -> None:
        os.write(self.file, text.encode())

    def end(self) -> int:
        """Its exit code; what it still prints is heard."""
        try:
            while part := os.read(self.file, 65536):
                self.text += part.decode()
        except OSError:  # Linux says so that the other side is closed
            pass
        _, status = os.waitpid(self.child, 0)
        os.close(self.file)
        return os.waitstatus_to_exitcode(status)


def test_run_prints_what_comes_of_it(server: ServerProcess, path: str) -> None:
    result = run(server, "run", path, "c0")
    assert (result.returncode, result.stdout, result.stderr) == (0, "a\n2\n", "")
    result = run(server, "run", path, "--all")
    assert result.returncode == 1
    before, _, trace = result.stdout.partition("2\n")
    assert before == "a\n"
    assert "ZeroDivisionError: division by zero" in trace
    assert "\x1b" not in trace
    assert "never" not in result.stdout.replace("print('never')", "")
    lines = result.stderr.splitlines()
    assert lines[0] == "ot-jupyter: cell c1: error"
    assert lines[1].startswith("ot-jupyter: cell c2: aborted: ")


def test_run_and_do_not_wait(server: ServerProcess, path: str) -> None:
    result = run(server, "run", path, "0", "--no-wait")
    assert (result.returncode, result.stderr) == (0, "")
    assert re.fullmatch(r"\d+-[0-9a-f]{16}\n", result.stdout)
    with connect(server.url, server.token) as connection:
        doc = connection.open(path)
        doc.until(lambda one: one.cells["c0"].execution.get("state") == "ok")


def test_wrong_use_of_run_and_kernel(server: ServerProcess, path: str) -> None:
    for arguments in (
        ["run", path], ["run", path, "c0", "--all"], ["kernel", path], ["kernel", path, "fly"],
        ["kernel", path, "change"], ["kernel", path, "start", "bash"],
        ["kernel", path, "start", "--run-all"],
    ):  # fmt: skip
        result = run(server, *arguments)
        assert result.returncode == 2, arguments
        assert "usage:" in result.stderr
    (server.root / "text.md").write_text("# Text\n")
    for arguments, why in (
        (["run", path, "end"], "no code cell"), (["run", path, "c0", "0"], "twice"),
        (["run", path, "nothing"], "no cell 'nothing'"), (["run", "text.md", "--all"], "text file"),
        (["run", "no.ipynb", "--all"], "not_found"), (["kernel", "text.md", "start"], "text file"),
        (["kernel", path, "change", "nothing"], "no kernel 'nothing'"),
    ):  # fmt: skip
        result = run(server, *arguments)
        assert (result.returncode, result.stdout) == (1, ""), arguments
        assert why in result.stderr
        assert result.stderr.count("\n") == 1


def test_the_kernels_life(server: ServerProcess, path: str) -> None:
    def done(*arguments: str) -> str:
        result = run(server, "kernel", path, *arguments)
        assert (result.returncode, result.stderr) == (0, "")
        return result.stdout

    assert done("start") == "ready python3\n"
    assert done("interrupt") == "ready python3\n"
    assert done("change", "python3") == "ready python3\n"
    assert done("restart") == "ready python3\n"
    result = run(server, "kernel", path, "restart", "--run-all")
    assert result.returncode == 1
    assert result.stdout.startswith("a\n2\n")
    assert done("shutdown").startswith("none")


def test_in_a_terminal_questions_are_answered(server: ServerProcess) -> None:
    path = new_notebook(server, ASK)
    terminal = InTerminal(server, "run", path, "c0")
    terminal.until("Who? ")
    terminal.type("Ada\n")
    terminal.until("Word? ")
    terminal.type("secret\n")
    assert terminal.end() == 0
    assert "Ada 6" in terminal.text
    assert "secret" not in terminal.text
    assert terminal.text.count("Who? ") == 1
    run(server, "kernel", path, "shutdown")


def test_in_a_pipe_questions_are_told(server: ServerProcess) -> None:
    path = new_notebook(server, "print('hello', input('Who? '))")
    process = subprocess.Popen(
        [COMMAND, "run", path, "c0"], env=environment(server), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
    )  # fmt: skip
    assert process.stderr is not None
    assert process.stderr.readline() == "ot-jupyter: cell c0 asks, elsewhere: Who? \n"
    with connect(server.url, server.token) as connection:
        doc = connection.open(path)
        doc.answer(doc.question, "Ada")
        out, errors = process.communicate()
        assert (process.returncode, out, errors) == (0, "Who?  Ada\nhello Ada\n", "")
        doc.shutdown()


def test_ctrl_c_interrupts_the_kernel(server: ServerProcess) -> None:
    path = new_notebook(server, FOR_EVER)
    terminal = InTerminal(server, "run", path, "--all")
    terminal.until("begun")
    terminal.type("\x03")
    assert terminal.end() == 1
    assert "KeyboardInterrupt" in terminal.text
    assert "\x1b[" in terminal.text  # the traceback's colours
    run(server, "kernel", path, "shutdown")


def test_a_second_ctrl_c_leaves_the_kernel_alone(server: ServerProcess) -> None:
    deaf = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    path = new_notebook(server, deaf + FOR_EVER)
    process = subprocess.Popen(
        [COMMAND, "run", path, "--all"], env=environment(server), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    with connect(server.url, server.token) as connection:
        doc = connection.open(path)
        doc.until(lambda one: "done" in one.content["kernel"])
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
        assert (process.returncode, errors) == (130, "")
        assert doc.cells["c0"].execution["state"] == "running"
        doc.shutdown()


def test_the_log_reads_well(server: ServerProcess, path: str) -> None:
    run(server, "run", path, "c0")
    run(server, "kernel", path, "restart")
    lines = run(server, "log", path).stdout.splitlines()
    told = [re.split(r"\s{2,}", line, maxsplit=3)[-1] for line in lines]
    for words in (
        "asked to run cell c0", "cell c0 is queued", "the kernel is ready (python3)",
        "cell c0 is running", "cell c0 put out 2 items", "cell c0 is ok, cell c0 is run 1",
        "restarted the kernel", "the kernel is restarting", "did what was asked of the kernel",
    ):  # fmt: skip
        assert any(words in line for line in told), told


# Printing, without a server.


class Screen(StringIO):
    """A terminal that remembers."""

    def isatty(self) -> bool:
        return True


def stream(text: str, name: str = "stdout") -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": text}


def printed(screen: StringIO, *states: list[dict[str, Any]], asks: bool = False) -> str:
    """What is printed of a run whose outputs are these, one after the other."""
    printer = Printer(screen, asks=asks)
    for state in states:
        printer.show(state)
    printer.show(states[-1], final=True)
    return screen.getvalue()


def test_a_stream_is_printed_once() -> None:
    states = ([], [stream("a")], [stream("ab\nc")], [stream("ab\ncd\n")])
    assert printed(StringIO(), *states) == "ab\ncd\n"
    assert printed(Screen(), *states) == "ab\ncd\n"


def test_a_progress_bar_is_one_line() -> None:
    states = ([stream("go\n 1%")], [stream("go\n 50%")], [stream("go\n100%")])
    assert printed(StringIO(), *states) == "go\n100%\n"
    assert printed(Screen(), *states) == "go\n 1%\r\x1b[K 50%\r\x1b[K100%\n"


def test_an_animation_is_printed_frame_by_frame() -> None:
    states = ([stream("one\n")], [stream("two\n")])
    assert printed(StringIO(), *states) == "one\ntwo\n"


def test_outputs_begin_lines_of_their_own() -> None:
    result = {"output_type": "execute_result", "data": {"text/plain": "42"}, "metadata": {}}
    assert printed(StringIO(), [stream("a")], [stream("a"), result]) == "a\n42\n"
    asked = [stream("Who? Ada\n", "stdin"), stream("hi\n")]
    assert printed(StringIO(), asked) == "Who? Ada\nhi\n"
    assert printed(StringIO(), asked, asks=True) == "hi\n"


def test_what_a_terminal_can_not_show_is_named() -> None:
    def display(**data: str) -> dict[str, Any]:
        data = {key.replace("_", "/"): value for key, value in data.items()}
        return {"output_type": "display_data", "data": data, "metadata": {}}

    assert output_text(display(image_png="…", text_plain="<Figure>")) == "[image/png]\n"
    assert output_text(display(text_html="<b>1</b>", text_plain="1")) == "1\n"
    assert output_text(display(text_html="<b>1</b>")) == "[text/html]\n"
    assert output_text(display()) == ""
    error = {"output_type": "error", "ename": "E", "evalue": "why", "traceback": []}
    assert output_text(error) == "E: why\n"


def test_a_terminal_obeys_nothing_but_colours() -> None:
    text = "\x1b[31mred\x1b[0m \x1b[2J\x07 \x1b]0;title\x07"
    assert shown(text, colours=False) == r"red \x1b[2J\x07 \x1b]0;title\x07"
    assert shown(text, colours=True) == "\x1b[31mred\x1b[0m " + r"\x1b[2J\x07 \x1b]0;title\x07"


def test_help_teaches(tmp_path: Path) -> None:
    for command in ("run", "kernel"):
        result = run(None, command, "--help", cwd=tmp_path)
        assert "examples:" in result.stdout
