"""The life of a run, as it stands in its cell's ``execution``. Pure functions.

    queued ──> running ──> ok | error
       └──> aborted  └──> aborted (restarted) | lost (nobody knows how it ended)

How it gets there first is in ``ot_jupyter.sequencer.runs``. What is written here is *proposed* for
a document: operations, and what they expect to find, so nothing is written over that was not seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Any, Final, NamedTuple

from ..sequencer.entry import Entry
from ..sequencer.pen import Expected
from ..sequencer.runs import UNDER_WAY, execution_path, is_under_way
from ..transforms import Change, Document, new_cell, pointer, segments
from ..transforms.diff import diff_text
from .messages import well_formed

ENDED: Final = ("ok", "error", "aborted", "lost")
RAISES: Final = "raises-exception"  # a cell with this tag is meant to fail


class Run(NamedTuple):
    """A run that was asked for. ``code`` and ``raises`` (it may fail, and the batch goes on) are
    those of the revision at which it was."""

    name: str
    cell: str
    batch: str
    code: str
    raises: bool


def runs_in(value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The runs that an ``execution`` holds: the one that it is about, then those that wait."""
    if "run" in value:
        yield value
        yield from value.get("next", ())


def executions_in(entry: Entry) -> Iterator[tuple[str, dict[str, Any]]]:
    """The cells whose whole ``execution`` the entry wrote, and what it wrote."""
    for operation in entry.ops:
        where = segments(operation["path"])
        if operation["op"] == "replace" and where[2:] == ("execution",):
            yield where[1], operation["value"]


def queued_in(entry: Entry, batch: str, document: Document) -> Iterator[Run]:
    """The runs of a batch that an entry of the log's own queued, the one right after the change
    that asked for them; ``document`` is the one at its revision."""
    for name, value in executions_in(entry):
        cell = document["cells"][name]
        tags = cell["metadata"].get("tags")
        raises = type(tags) is list and RAISES in tags
        for run in runs_in(value):
            if run["batch"] == batch:  # others were there before
                yield Run(run["run"], name, run["batch"], cell["source"], raises)


def find_run(document: Document, run: Run) -> dict[str, Any] | None:
    """The cell's ``execution``, if the cell is there and the run is queued or running in it."""
    cell = document["cells"].get(run.cell)
    if cell is None:
        return None
    execution: dict[str, Any] = cell["execution"]
    names = [one["run"] for one in runs_in(execution) if one["state"] in UNDER_WAY]
    return execution if run.name in names else None


class Proposal(NamedTuple):
    """Operations for a document, if it has these values at these places. None: nothing to do."""

    ops: Change
    expects: tuple[Expected, ...] = ()


NOTHING: Final = Proposal([])


def expect(document: Document, cell: str) -> Expected:
    """That a cell's ``execution`` is what it is in this document."""
    return ("cells", cell, "execution"), document["cells"][cell]["execution"]


def claim(document: Document, run: Run, kernel: str, generation: int, time: str) -> Change:
    """The run is the kernel's: outputs and count of the one before go."""
    cell = document["cells"][run.cell]
    value = {
        **cell["execution"],
        "state": "running",
        "started": time,
        "kernel": kernel,
        "generation": generation,
    }
    ops: Change = []
    if cell["outputs"]:
        path = pointer("cells", run.cell, "outputs")
        ops.append({"op": "edit", "path": path, "delta": [-len(cell["outputs"])]})
    if cell["execution_count"] is not None:
        path = pointer("cells", run.cell, "execution_count")
        ops.append({"op": "replace", "path": path, "value": None})
    ops.append({"op": "replace", "path": execution_path(run.cell), "value": value})
    return ops


def end(document: Document, cell: str, run: str, **said: Any) -> Change:
    """The run has ended: ``state``, ``ended``, perhaps ``reason``. What waits comes next.

    The log gets the end of this run even if another stands in the cell after it: whoever waits for
    it reads it there.
    """
    held = document["cells"][cell]["execution"]
    first, *rest = runs_in(held)
    ended = next(one for one in (first, *rest) if one["run"] == run)
    clean = {key: value for key, value in ended.items() if key not in ("next", "input")}
    written = [{**clean, **said}]
    left = [one for one in (first, *rest) if one is not ended]
    if left:
        head = {key: value for key, value in left[0].items() if key != "next"}
        written.append({**head, "next": left[1:]} if left[1:] else head)
    path = execution_path(cell)
    return [{"op": "replace", "path": path, "value": value} for value in written]


def abandon(document: Document, queued: Set[str], running: str, time: str, reason: str) -> Proposal:
    """The end of all that was queued (aborted) or running (lost), but for what is to stay queued,
    and the one that is to go on running: the kernel that the others were for is gone."""
    expects: list[Expected] = []
    ops: Change = []
    for cell in document["order"]:
        execution = document["cells"][cell]["execution"]
        if not is_under_way(execution):
            continue
        ended = [
            one
            for one in runs_in(execution)
            if one["run"] != running and (one["state"] == "running" or one["run"] not in queued)
        ]
        if ended:
            expects.append(expect(document, cell))
        state = document
        for one in ended:
            last = "lost" if one["state"] == "running" else "aborted"
            written = end(state, cell, one["run"], state=last, ended=time, reason=reason)
            ops += written
            held = {**state["cells"][cell], "execution": written[-1]["value"]}
            state = {**state, "cells": {**state["cells"], cell: held}}
    return Proposal(ops, tuple(expects))


def running_in(document: Document) -> Run | None:
    """The run that a kernel has, as the document says."""
    for cell in document["order"]:
        held = document["cells"][cell]["execution"]
        if held.get("state") == "running":
            return Run(held["run"], cell, held["batch"], "", False)
    return None


def next_input(run: Run, payload: dict[str, Any], document: Document) -> Proposal:
    """The text in the place of the run's source, or in a new cell below."""
    cell = document["cells"].get(run.cell)
    if cell is None:
        return NOTHING
    text = well_formed(payload["text"])
    if payload.get("replace"):
        path = pointer("cells", run.cell, "source")
        delta = diff_text(cell["source"], text)
        return Proposal([{"op": "edit", "path": path, "delta": delta}] if delta else [])
    name = f"{run.name}-next"
    if name in document["cells"]:
        return NOTHING
    index = document["order"].index(run.cell) + 1
    value = new_cell("code", text)
    add = {"op": "add", "path": pointer("cells", name), "index": index, "value": value}
    return Proposal([add])
