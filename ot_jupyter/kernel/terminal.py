r"""A growing text with ``\r`` and backspace, as JupyterLab shows it.

The rules are those of ``processText`` in JupyterLab's output area: text overwrites what stands at
the cursor, ``\r`` goes to the start of the line, a backspace takes the character before the
cursor (and, unlike a terminal, the one under it), ``\n`` goes to the end of the text wherever the
cursor is. So a finished line never changes again. ANSI sequences are text like any other.
"""

from __future__ import annotations

import re
from typing import Final

LINE_LIMIT: Final = 64 * 1024  # code points; a longer line counts as finished

_CONTROLS: Final = re.compile("([\r\b])")


class Terminal:
    """One text, written piece by piece. What a piece costs depends on the piece alone.

    ``fresh`` is where the first code point stands that has changed since :meth:`mark`, counted
    from the start of the whole text.
    """

    __slots__ = ("_after", "_before", "_finished", "_start", "fresh")

    def __init__(self) -> None:
        # The unfinished line is a gap buffer, so that neither overwriting nor erasing moves
        # what is behind the cursor: what is before it, and what is after it, backwards.
        self._before: list[str] = []
        self._after: list[str] = []
        self._start = 0  # of the line, in the whole text
        self._finished: list[str] = []
        self.fresh = 0

    @property
    def line(self) -> str:
        """The unfinished line as it stands."""
        return "".join(self._before) + "".join(reversed(self._after))

    @property
    def start(self) -> int:
        """How many code points are finished."""
        return self._start

    def write(self, text: str) -> None:
        if "\r" not in text and "\b" not in text:  # nearly always, and far faster to see
            self._put(text)
            return
        for piece in _CONTROLS.split(text.replace("\r\n", "\n")):
            if piece == "\r":
                self._after.extend(reversed(self._before))
                self._before.clear()
            elif piece == "\b":
                self._erase()
            elif piece:
                self._put(piece)

    def take(self) -> str:
        """The text that was finished since the last call; it is handed out once."""
        text = "".join(self._finished)
        self._finished.clear()
        return text

    def finish(self) -> None:
        """Count the line as finished, as it stands."""
        self._finish(self.line)

    def mark(self) -> None:
        """All that stands now has been seen."""
        self.fresh = self._start + len(self._before) + len(self._after)

    def _put(self, text: str) -> None:
        first, newline, rest = text.partition("\n")
        self._overwrite(first)
        if newline:
            self._finish(self.line + "\n")
            middle, newline, last = rest.rpartition("\n")
            if newline:
                self._finish(middle + "\n")
            self._overwrite(last)

    def _overwrite(self, text: str) -> None:
        if not text:
            return
        self.fresh = min(self.fresh, self._start + len(self._before))
        del self._after[-len(text) :]
        if len(self._before) + len(text) + len(self._after) > LINE_LIMIT:
            self._finish("".join(self._before) + text + "".join(reversed(self._after)))
        else:
            self._before.extend(text)

    def _erase(self) -> None:
        if self._before:
            self._before.pop()
            if self._after:
                self._after.pop()
            self.fresh = min(self.fresh, self._start + len(self._before))

    def _finish(self, text: str) -> None:
        if text:
            self._finished.append(text)
            self._start += len(text)
        self._before.clear()
        self._after.clear()
