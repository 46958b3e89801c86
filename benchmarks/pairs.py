"""What a transform costs, by kind of pair, in one process.

    python -m benchmarks.pairs SECONDS

writes JSON: microseconds per pair, the later change over the earlier one. ``peers/json1_pairs.js``
does the same with the same pairs.
"""

from __future__ import annotations

import json
import sys
from time import perf_counter
from typing import Any

from ot_jupyter.transforms import Change, new_cell, transform_change

BATCH = 200  # transforms between two looks at the clock
REPEATS = 3


def edit(cell: str, *delta: Any) -> Change:
    return [{"op": "edit", "path": f"/cells/{cell}/source", "delta": list(delta)}]


def insert(cell: str, index: int) -> Change:
    return [{"op": "add", "path": f"/cells/{cell}", "index": index, "value": new_cell("code")}]


def move(cell: str, index: int, to: int) -> Change:
    return [{"op": "move", "path": f"/cells/{cell}", "index": index, "to": to}]


def tag(cell: str, *tags: str) -> Change:
    return [{"op": "replace", "path": f"/cells/{cell}/metadata/tags", "value": list(tags)}]


PAIRS: dict[str, tuple[Change, Change]] = {  # later, earlier
    "edit, edit in one cell": (edit("a", 40, "x"), edit("a", 12, "y", -2)),
    "edit, edit in two cells": (edit("a", 40, "x"), edit("b", 12, "y", -2)),
    "insert a cell, insert a cell": (insert("m", 7), insert("n", 3)),
    "move a cell, move another": (move("a", 2, 7), move("b", 5, 1)),
    "write metadata, write the same": (tag("a", "x"), tag("a", "y", "z")),
}


def cost(later: Change, earlier: Change, seconds: float) -> float:
    """Microseconds, the best of some runs."""
    best = float("inf")
    for _ in range(REPEATS):
        count, begin, now = 0, perf_counter(), 0.0
        while now < seconds / REPEATS:
            for _ in range(BATCH):
                transform_change(later, earlier, later=True)
            count += BATCH
            now = perf_counter() - begin
        best = min(best, 1e6 * now / count)
    return best


if __name__ == "__main__":
    each = float(sys.argv[1]) / len(PAIRS)
    print(json.dumps({kind: cost(*pair, each) for kind, pair in PAIRS.items()}))
