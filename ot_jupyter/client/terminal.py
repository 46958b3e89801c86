"""Outputs of runs in a terminal or a pipe, as they come, and questions answered there."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TextIO

from .describe import plain
from .document import Document
from .errors import DocumentError
from .kernel import Question
from .runs import Run, Running

_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
_LINE_BYTES = 2**20


def has_colours(stream: TextIO) -> bool:
    """Whether what is written there is seen by a person, in colours."""
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def shown(text: str, *, colours: bool) -> str:
    """A text for a terminal: nothing of it is obeyed but colours, and those if there are any."""
    parts = _COLOUR.split(text)
    found = _COLOUR.findall(text) if colours else [""] * (len(parts) - 1)
    return "".join(plain(part) + colour for part, colour in zip(parts, [*found, ""], strict=True))


def output_text(output: dict[str, Any]) -> str:
    """What a terminal shows of an output; what it can't show is named."""
    kind = output["output_type"]
    if kind == "stream":
        return str(output["text"])
    if kind == "error":
        trace = "\n".join(output["traceback"])
        return (trace or f"{output['ename']}: {output['evalue']}") + "\n"
    data = output["data"]
    rich = [mime for mime in data if mime != "text/plain"] + list(output.get("blobs", ()))
    if "text/plain" in data and not any(mime.startswith("image/") for mime in rich):
        return f"{data['text/plain']}\n"
    return f"[{', '.join(rich)}]\n" if rich else ""


class Printer:
    """Prints the outputs of one run after the other, each part once.

    A line that grows or is written anew, as progress bars are, is drawn again on a terminal; a pipe
    gets it when it stands. ``asks``: questions are answered on this terminal, so what was answered
    stands there already.
    """

    def __init__(self, stream: TextIO, *, asks: bool) -> None:
        self._stream = stream
        self._asks = asks
        self._colours = has_colours(stream)
        self._terminal = stream.isatty()
        self._printed: list[str] = []  # by output
        self._line = ""  # the last one that was printed, if it has not ended

    def show(self, outputs: list[dict[str, Any]], *, final: bool = False) -> None:
        """These are the run's outputs now; ``final``: for good."""
        texts = [
            output_text(output)
            for output in outputs
            if not (self._asks and output.get("name") == "stdin")
        ]
        del self._printed[len(texts) :]
        for index, text in enumerate(texts):
            if index == len(texts) - 1 and not final and not self._terminal:
                text = text[: text.rfind("\n") + 1]
            if index == len(self._printed):
                self._printed.append("")
                if index and text:
                    self.end_line()
            before, self._printed[index] = self._printed[index], text
            self._go_on(before, text, last=index == len(self._printed) - 1)
        if final:
            self.end_line()
            self._printed.clear()
        self._stream.flush()

    def end_line(self) -> None:
        """Begin a new line, unless one begins here."""
        if self._line:
            self._write("\n")
            self._line = ""

    def _go_on(self, before: str, text: str, *, last: bool) -> None:
        """Print what is new in a text of which this was printed before."""
        if text == before:
            return
        kept = before.rfind("\n") + 1
        if text.startswith(before):
            new = text[len(before) :]
        elif last and self._line and text.startswith(before[:kept]):
            new = text[kept:]
            self._write("\r\x1b[K")
            self._line = ""
        else:
            self.end_line()
            new = text
        self._write(shown(new, colours=self._colours))
        self._line = (self._line + new).rpartition("\n")[2]

    def _write(self, text: str) -> None:
        self._stream.write(text)


class Terminal:
    """This process's terminal, for runs of a document that it asked for: it shows their outputs,
    has their questions answered, and interrupts the kernel."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._asks = sys.stdin is not None and sys.stdin.isatty()
        self._printer = Printer(sys.stdout, asks=self._asks)
        self._shown: set[str] = set()  # cells whose runs have ended
        self._told: set[str] = set()  # questions that were put
        self._interrupts = 0
        self._interrupting: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    def interrupt(self) -> None:
        """Ctrl+C: the first one goes to the kernel, the second one to us."""
        self._interrupts += 1
        task = self._task
        if self._interrupts > 1 and task is not None:
            task.cancel()
        elif self._interrupts == 1:
            self._interrupting = asyncio.ensure_future(self._interrupt())

    async def _interrupt(self) -> None:
        try:
            await self._document.interrupt()
        except DocumentError as error:
            print(f"ot-jupyter: {error}", file=sys.stderr)

    async def follow(self, running: Running) -> list[Run]:
        """Show what runs put out, until they have ended. Raises as awaiting them, and
        ``KeyboardInterrupt``."""

        def look(ops: object, origin: str) -> None:
            self._look(running)

        end = self._document.on_change(look)
        self._task = asyncio.ensure_future(self._answer(running))
        try:
            runs = await self._first(running)
        finally:
            end()
            self._task.cancel()
        self._look(running)
        return runs

    async def _first(self, running: Running) -> list[Run]:
        """What became of the runs, unless there is a second Ctrl+C."""
        ended = asyncio.ensure_future(running)
        assert self._task is not None
        await asyncio.wait({ended, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done() and not ended.done():
            ended.cancel()
            if not self._task.cancelled():
                self._task.result()
            raise KeyboardInterrupt
        return await ended

    def _look(self, running: Running) -> None:
        """Print what is new of the runs' outputs."""
        for run in running.runs:
            if run.cell in self._shown:
                continue
            if run.ended:
                self._shown.add(run.cell)
                self._printer.show(run.outputs, final=True)
            elif run.state == "running" and run.cell in self._document.cells:
                self._printer.show(self._document.content["cells"][run.cell]["outputs"])

    async def _answer(self, running: Running) -> None:
        """Have the questions of the runs answered, one after the other."""
        document = self._document
        while True:
            await document.until(lambda one: self._new_question(running) is not None)
            question = self._new_question(running)
            assert question is not None
            self._told.add(question.id)
            if not self._asks:
                prompt = plain(question.prompt)
                message = f"ot-jupyter: cell {question.cell} asks, elsewhere: {prompt}"
                print(message, file=sys.stderr)
                continue
            self._look(running)
            self._printer.end_line()
            answering = asyncio.ensure_future(ask(question))
            gone = asyncio.ensure_future(document.until(partial(_is_answered, question)))
            await asyncio.wait({answering, gone}, return_when=asyncio.FIRST_COMPLETED)
            gone.cancel()
            try:
                if not answering.done():
                    raise DocumentError("answered", "this is not asked any more")
                await document.answer(question, answering.result())
            except DocumentError as error:
                print(f"\not-jupyter: {error.message}", file=sys.stderr)
            finally:
                answering.cancel()

    def _new_question(self, running: Running) -> Question | None:
        for run in running.runs:
            if run.state == "running" and run.cell in self._document.cells:
                question = self._document.cells[run.cell].input
                if question is not None and question.id not in self._told:
                    return question
        return None


def _is_answered(question: Question, document: Document) -> bool:
    cell = question.cell
    return cell not in document.cells or document.cells[cell].input != question


async def ask(question: Question) -> str:
    """The answer that is typed into the terminal at the standard input; an empty one at its end.
    What is typed is not shown if it is a password."""
    sys.stdout.write(shown(question.prompt, colours=False))
    sys.stdout.flush()
    file = sys.stdin.fileno()
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    with _hidden(file, question.password):
        loop.add_reader(file, ready.set)
        try:
            await ready.wait()
            line = os.read(file, _LINE_BYTES)
        finally:
            loop.remove_reader(file)
    if question.password or not line:
        sys.stdout.write("\n")
    return line.decode(errors="replace").rstrip("\r\n")


@contextmanager
def _hidden(file: int, hidden: bool) -> Iterator[None]:
    if not hidden:
        yield
        return
    before = termios.tcgetattr(file)
    without = list(before)
    without[3] &= ~termios.ECHO
    termios.tcsetattr(file, termios.TCSAFLUSH, without)
    try:
        yield
    finally:
        termios.tcsetattr(file, termios.TCSAFLUSH, before)
