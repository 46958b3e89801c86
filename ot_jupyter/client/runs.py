"""Runs of cells, as who asked for them sees them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from ..transforms import Change, segments
from ..transforms.values import Document as Content
from .errors import DocumentError

ENDED = ("ok", "error", "aborted", "lost")
REMOVED = "its cell was removed"
NO_CODE = "its cell is no code cell any more"
FORGOTTEN = "how it ended is not in the log any more"


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one cell.

    ``state`` is ``"queued"``, ``"running"``, ``"ok"``, ``"error"``, ``"aborted"`` (it was not
    run to its end, or not at all) or ``"lost"`` (nobody knows how it ended); ``reason`` says in
    words why, where there is something to say. ``outputs`` are those at its end, as nbformat has
    them, ``rev`` is the revision that this was read from.
    """

    cell: str
    state: str = "queued"
    execution_count: int | None = None
    reason: str = ""
    outputs: list[dict[str, Any]] = field(default_factory=list, repr=False)
    rev: int = 0

    @property
    def ok(self) -> bool:
        """Whether it ended well."""
        return self.state == "ok"

    @property
    def ended(self) -> bool:
        return self.state in ENDED


class Asked:
    """The runs that one change asked for. The log tells of them; a cell may be asked to run again
    in the very entry that ends a run of it, so what counts is what was written, not what stands.

    ``n`` is the change's number, 0 until it has one; ``batch`` the name that the log has for these
    runs, empty until they are in it; ``error`` why they never will be.
    """

    def __init__(self, cells: Iterable[str]) -> None:
        self.n = 0
        self.batch = ""
        self.runs = {cell: Run(cell) for cell in cells}
        self.error: DocumentError | None = None

    @property
    def ended(self) -> bool:
        return all(run.ended for run in self.runs.values())

    def committed(self, batch: str, ops: Change, document: Content, rev: int) -> None:
        """The change is in the log, as these operations; ``document`` is the one after it."""
        self.batch = batch
        left = {segments(one["path"])[1] for one in ops if one["op"] == "run"}
        for cell in self.runs:
            if cell not in left:
                self._end(cell, "aborted", REMOVED, rev)
            elif document["cells"][cell]["cell_type"] != "code":
                self._end(cell, "aborted", NO_CODE, rev)

    def entered(self, ops: Change, document: Content, rev: int) -> None:
        """An entry after it; ``document`` is the one after that."""
        for one in ops:
            where = segments(one["path"])
            if where[0] != "cells" or where[1] not in self.runs:
                continue
            if one["op"] == "remove" and "index" in one:
                self._cell_removed(where[1], rev)
            elif one["op"] == "replace" and where[2:] == ("execution",):
                self._note(where[1], one["value"], document, rev)

    def look(self, document: Content, rev: int) -> None:
        """The document came whole: the entries that led to it are not known."""
        for cell in self.runs:
            if cell not in document["cells"]:
                self._cell_removed(cell, rev)
            elif not self._note(cell, document["cells"][cell]["execution"], document, rev):
                self._end(cell, "lost", FORGOTTEN, rev)

    def lose(self, reason: str, rev: int) -> None:
        """Nobody will hear of them any more."""
        for cell in self.runs:
            self._end(cell, "lost", reason, rev)

    def _cell_removed(self, cell: str, rev: int) -> None:
        started = self.runs[cell].state == "running"
        self._end(cell, "lost" if started else "aborted", REMOVED, rev)

    def _end(self, cell: str, state: str, reason: str, rev: int) -> None:
        if not self.runs[cell].ended:
            self.runs[cell] = Run(cell, state, None, reason, [], rev)

    def _note(self, cell: str, execution: dict[str, Any], document: Content, rev: int) -> bool:
        """Whether this ``execution`` tells of our run of the cell; if so, it is noted."""
        mine = [run for run in runs_in(execution) if run["batch"] == self.batch]
        for run in mine:
            if self.runs[cell].ended:
                continue
            new = replace(
                self.runs[cell], state=run["state"], reason=run.get("reason", ""), rev=rev
            )
            held = document["cells"].get(cell)
            if new.ended and held is not None:
                outputs = deepcopy(held["outputs"]) if "started" in run else []
                count = held["execution_count"] if "started" in run else None
                new = replace(new, outputs=outputs, execution_count=count)
            self.runs[cell] = new
        return bool(mine)


class Running:
    """Runs that were asked for: ``await`` it for what became of them, a list of :class:`Run` in the
    order in which they were asked for.

    Raises :class:`DocumentError` if they were not asked for after all: the connection broke before
    (``offline``), it is not permitted (``forbidden``), the change was refused.
    """

    def __init__(
        self, asked: Asked, finish: Callable[[Asked], Coroutine[Any, Any, list[Run]]]
    ) -> None:
        self._asked = asked
        self._finish = finish

    def __repr__(self) -> str:
        states = ", ".join(f"{run.cell}: {run.state}" for run in self.runs)
        return f"<Running {states}>"

    def __await__(self) -> Generator[Any, None, list[Run]]:
        return self._finish(self._asked).__await__()

    @property
    def runs(self) -> list[Run]:
        """What is known of them now."""
        return list(self._asked.runs.values())

    @property
    def submitted(self) -> bool:
        """Whether the change that asks for them is made: within ``change()`` it is not."""
        return bool(self._asked.n) or not self._asked.runs


def runs_in(execution: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The runs that a cell's ``execution`` tells of: the one it is about, and those that wait."""
    if "run" in execution:
        yield execution
        yield from execution.get("next", ())
