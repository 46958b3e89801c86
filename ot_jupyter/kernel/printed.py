"""One stream output: what was printed, as far as it is shown, and the rest on its way out."""

from __future__ import annotations

from typing import Any

from ..transforms.blobs import HEAD, OUTPUT_LIMIT, TAIL, excerpt
from .messages import Output
from .terminal import Terminal


class Printed:
    """The text of one stream output.

    Up to the limit it is shown in full. Beyond it, only head and tail are; what is finished is
    handed out in pieces and goes to the spool of that ``name``, so that memory stays bounded.
    """

    __slots__ = (
        "_head",
        "_held",
        "_held_at",
        "_size",
        "_tail",
        "_terminal",
        "blob",
        "handed_out",
        "handed_over",
        "large",
        "name",
        "stream",
    )

    def __init__(self, stream: str, name: str, text: str = "") -> None:
        self.stream = stream
        self.name = name
        self.large = False  # beyond the limit: a head, a tail, and a spool
        self.handed_out = False  # whether the spool exists
        self.handed_over = False  # whether it is being sealed
        self.blob: dict[str, Any] | None = None  # the reference to the sealed spool
        self._terminal = Terminal()
        self._held: list[str] = []  # what is finished and was not handed out
        self._held_at = 0  # where it begins in the whole text, in code points
        self._size = 0  # bytes of what is finished
        self._head = ""  # of what is finished
        self._tail = ""
        self.write(text)

    def write(self, text: str) -> None:
        self._terminal.write(text)
        self._absorb()
        if self._size > OUTPUT_LIMIT:
            self.large = True

    def measure(self) -> bool:
        """Whether it is beyond the limit, the unfinished line included."""
        self.large = self.large or self._size + len(self._terminal.line.encode()) > OUTPUT_LIMIT
        return self.large

    def value(self) -> Output:
        """The output as it is shown now."""
        line = self._terminal.line
        value: Output = {"output_type": "stream", "name": self.stream}
        if self.measure():
            value["text"] = self._excerpt(line, self._size + len(line.encode()))
        else:
            self._held = ["".join(self._held)]
            value["text"] = self._held[0] + line
        if self.blob is not None:
            value["blobs"] = {"text": self.blob}
        return value

    def mark(self) -> None:
        """What stands here now has been shown."""
        self._terminal.mark()

    def since(self) -> str | None:
        """What was printed after what has been shown; None if that was handed out already."""
        at = self._terminal.fresh - self._held_at
        if at < 0:
            return None
        return ("".join(self._held) + self._terminal.line)[at:]

    def close(self) -> None:
        """Nothing will be printed here any more."""
        if self.measure():
            self._terminal.finish()
            self._absorb()

    def hand_out(self) -> bytes:
        """The next piece for the spool."""
        text = "".join(self._held)
        self._held.clear()
        self._held_at += len(text)
        self.handed_out = self.handed_out or bool(text)
        return text.encode()

    @property
    def holds(self) -> bool:
        """Whether there is a piece for the spool."""
        return self.large and any(self._held)

    def _absorb(self) -> None:
        """Take over what the terminal has finished."""
        text = self._terminal.take()
        if not text:
            return
        self._held.append(text)
        self._size += len(text) if text.isascii() else len(text.encode())
        room = HEAD - len(self._head)
        self._head += text[:room]
        self._tail = (self._tail + text[room:])[-TAIL:]

    def _excerpt(self, line: str, size: int) -> str:
        room = HEAD - len(self._head)
        return excerpt(self._head + line[:room], (self._tail + line[room:])[-TAIL:], size)
