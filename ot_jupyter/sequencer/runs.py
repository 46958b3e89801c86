"""How runs stand in a document: what the log itself writes when one is asked for. Pure functions.

A run is asked for by the operation ``run`` at the end of a change. In the same step in which that
change goes into the log, an entry of the log's own follows it: it puts the run into the cell's
``execution``, so that what was asked for and what everyone sees are never apart:

    {"state": "queued", "run": "…", "batch": "…", "user": "ada", "asked": "2026-…Z"}

While a run of a cell is queued or running, further ones of it wait in ``next``, by their order.
The rest of a run's life (``running``, ``ok``, ``error``, ``aborted``, ``lost``) is written by the
server that has the kernel (``ot_jupyter.kernel``).
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final

from ..transforms import Change, Document, pointer, segments

NO_KERNEL: Final = {"state": "none", "generation": 0, "owner": ""}  # a new document's ``kernel``
UNDER_WAY: Final = ("queued", "running")
REQUEST: Final = "/kernel/request"  # where it is written what somebody asks of the kernel itself
AUTHOR: Final = ":run"  # at the end of the client's name, in entries that queue its runs


def execution_path(cell: str) -> str:
    """Where a cell's ``execution`` is."""
    return pointer("cells", cell, "execution")


def is_under_way(execution: dict[str, Any]) -> bool:
    """Whether a run of the cell is queued or running."""
    return execution.get("state") in UNDER_WAY


def batch_name(epoch: str, client: str, n: int) -> str:
    """The name of what one change asked to run, the same on every server and at every attempt."""
    return f"{epoch}:{client}:{n}"


def queue_runs(document: Document, ops: Change, batch: str, user: str, time: str) -> Change:
    """What queues the runs that a change asked for; ``document`` is the one after the change.

    Cells that are no code cells are left out.
    """
    queued: dict[str, dict[str, Any]] = {}
    for index, operation in enumerate(one for one in ops if one["op"] == "run"):
        cell = segments(operation["path"])[1]
        if document["cells"][cell]["cell_type"] != "code":
            continue
        name = blake2b(f"{batch}:{index}".encode(), digest_size=12).hexdigest()
        run: dict[str, Any] = {
            "state": "queued", "run": name, "batch": batch, "user": user, "asked": time,
        }  # fmt: skip
        before = queued.get(cell) or document["cells"][cell]["execution"]
        if is_under_way(before):
            run = {**before, "next": [*before.get("next", ()), run]}
        queued[cell] = run
    return [
        {"op": "replace", "path": execution_path(cell), "value": value}
        for cell, value in queued.items()
    ]


def request_ops(
    name: str, action: str, user: str, spec: str | None, cells: Sequence[str]
) -> Change:
    """What asks something of the kernel itself, then runs of cells, as one change."""
    value = {"id": name, "action": action, "user": user}
    if spec is not None:
        value["spec"] = spec
    runs = [{"op": "run", "path": pointer("cells", cell)} for cell in cells]
    return [{"op": "replace", "path": REQUEST, "value": value}, *runs]
