r"""Streams with ``\r`` and backspace, held against JupyterLab's own rules."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tqdm import tqdm

from ot_jupyter.kernel.terminal import LINE_LIMIT, Terminal


def jupyterlab(pieces: list[str]) -> str:
    """``processText`` of JupyterLab 4.5 (packages/outputarea/src/model.ts), line by line."""
    text, index = "", 0
    for new in pieces:
        last = 0
        while True:
            found = re.compile("[\n\b\r]").search(new, last)
            prefix = new[last : found.start() if found else len(new)]
            text = text[:index] + prefix + text[index + len(prefix) :]
            index += len(prefix)
            if found is None:
                break
            last = found.end()
            if found[0] == "\b":
                if index > 0 and text[index - 1] != "\n":
                    text = text[: index - 1] + text[index + 1 :]
                    index -= 1
            elif found[0] == "\r":
                index = text.rfind("\n", 0, index) + 1
            else:
                text += "\n"
                index = len(text)
    return text


def shown(pieces: list[str]) -> str:
    terminal = Terminal()
    finished = []
    for piece in pieces:
        terminal.write(piece)
        finished.append(terminal.take())
    return "".join(finished) + terminal.line


texts = st.text(st.sampled_from("ab\u00e9\U0001f600\r\b\n"), max_size=12)


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["plain"], "plain"),
        (["one\ntwo"], "one\ntwo"),
        (["one\r\ntwo\r\n"], "one\ntwo\n"),
        (["one\r", "\ntwo"], "one\ntwo"),
        (["Jupyter\rj"], "jupyter"),
        (["long line\rshort"], "shortline"),
        (["abc\b\bX"], "aX"),
        (["a\n\b\bb"], "a\nb"),
        (["abcd\rX\b"], "cd"),  # JupyterLab takes the character under the cursor, too
        (["abc\rX\nnext"], "Xbc\nnext"),
        (["\x1b[31mred\x1b[0m\r\x1b[32m"], "\x1b[32mred\x1b[0m"),
    ],
)
def test_shows_a_stream_as_jupyterlab_does(pieces: list[str], text: str) -> None:
    assert jupyterlab(pieces) == text
    assert shown(pieces) == text


@given(st.lists(texts, max_size=8))
def test_any_text_in_any_pieces_is_shown_as_in_jupyterlab(pieces: list[str]) -> None:
    assert shown(pieces) == jupyterlab(pieces)
    assert shown(["".join(pieces)]) == jupyterlab(pieces)


@given(st.lists(texts, max_size=5), st.lists(texts, max_size=5))
def test_what_stands_before_fresh_has_not_changed(before: list[str], after: list[str]) -> None:
    terminal = Terminal()
    for piece in before:
        terminal.write(piece)
    terminal.mark()
    for piece in after:
        terminal.write(piece)
    old, new = jupyterlab(before), jupyterlab(before + after)
    assert new[: terminal.fresh] == old[: terminal.fresh]
    assert terminal.fresh <= min(len(old), len(new))


def test_what_follows_the_seen_text_begins_at_fresh() -> None:
    terminal = Terminal()
    terminal.write("one\ntw")
    terminal.mark()
    terminal.write("o\nthree")
    assert (terminal.take() + terminal.line)[terminal.fresh :] == "o\nthree"


def test_a_progress_bar_is_one_line() -> None:
    class Pieces(io.StringIO):
        def __init__(self) -> None:
            super().__init__()
            self.pieces: list[str] = []

        def write(self, text: str) -> int:
            self.pieces.append(text)
            return super().write(text)

    file = Pieces()
    for _ in tqdm(range(50), file=file, mininterval=0, ncols=60):
        pass
    assert len(file.pieces) > 50
    assert shown(file.pieces) == jupyterlab(file.pieces)
    assert shown(file.pieces).count("\n") == 1
    assert shown(file.pieces).startswith("100%|")


def test_a_line_without_an_end_counts_as_finished() -> None:
    terminal = Terminal()
    terminal.write("x" * LINE_LIMIT)
    assert terminal.take() == ""
    terminal.write("y")
    assert terminal.line == ""
    terminal.write("\r\bz")
    assert terminal.take() + terminal.line == "x" * LINE_LIMIT + "yz"


def test_a_carriage_return_before_a_long_text_overwrites_the_line() -> None:
    terminal = Terminal()
    terminal.write("abc\r" + "x" * (LINE_LIMIT + 1))
    assert terminal.take() + terminal.line == "x" * (LINE_LIMIT + 1)
