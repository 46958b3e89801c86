"""Many notebooks on one server, two people in each, each typing a key a second."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..contenders import COLLABORATION, SHAREDB, Contender, compare, everybody, play
from ..notebooks import small, write
from ..options import Options
from ..servers import folder, running
from ..table import Aim, Case, Figure, Row

COLUMNS = (
    Figure("p50_ms", "p50, ms", 1),
    Figure("p99_ms", "p99, ms", 1),
    Figure("cpu_s_per_1000", "CPU s per 1,000 edits", 3),
    Figure("edits_per_s", "edits/s", better=0),
    Figure("deliveries_per_s", "deliveries/s", better=0),
    Figure("cpu_percent", "server CPU, %", better=0),
    Figure("open_s", "open all, s", 1),
    Figure("idle_cpu_percent", "idle CPU, %", 1, better=0),
    Figure("mb_per_notebook", "MB per notebook", 2),
    Figure("undelivered", "not delivered", better=0),
)


def measure(options: Options) -> Row:
    """200 notebooks."""
    row = Row("notebooks", "Notebooks with 2 people each, 1 key/s each", COLUMNS)
    count = 50 if options.quick else 200
    case = Case(f"{count} notebooks")
    compare(case, everybody(options), partial(_apart, count=count, options=options))
    case.aims += [
        Aim("p99 against jupyter-collaboration", case.less("p99_ms", COLLABORATION), 10),
        Aim("p99 against ShareDB", case.less("p99_ms", SHAREDB), 1),
        Aim("CPU per edit against ShareDB", case.less("cpu_s_per_1000", SHAREDB), 1),
    ]
    row.cases.append(case)
    return row


def _apart(contender: Contender, *, count: int, options: Options) -> dict[str, Any]:
    with folder() as root:
        names = [write(root, f"n{index}.ipynb", small(2)) for index in range(count)]
        with running(contender.make(root)) as server:
            result = play(
                contender, server, names, clients=2, rate=1.0,
                seconds=options.duration(8, 3), warm_up=options.duration(2, 1),
                idle=options.duration(4, 1),
            )  # fmt: skip
    before, opened, _ = result["memory_mb"]
    return result | {"mb_per_notebook": (opened - before) / count}
