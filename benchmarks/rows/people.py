"""People in one notebook, each typing two keys a second in a cell of his own."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..contenders import COLLABORATION, SHAREDB, Contender, compare, everybody, play
from ..notebooks import small, write
from ..options import Options
from ..servers import folder, running
from ..table import Aim, Case, Figure, Row

KEYS_PER_SECOND = 2.0
COLUMNS = (
    Figure("p50_ms", "p50, ms", 1),
    Figure("p99_ms", "p99, ms", 1),
    Figure("cpu_s_per_1000", "CPU s per 1,000 edits", 3),
    Figure("edits_per_s", "edits/s", better=0),
    Figure("deliveries_per_s", "deliveries/s", better=0),
    Figure("cpu_percent", "server CPU, %", better=0),
    Figure("load_cpu_percent", "load CPU, %", better=0),
    Figure("undelivered", "not delivered", better=0),
)


def measure(options: Options) -> Row:
    """20, 50 and 100 people."""
    row = Row("people", "People in one notebook, 2 keys/s each", COLUMNS)
    for people in options.people:
        case = Case(f"{people} people")
        compare(case, everybody(options), partial(together, people=people, options=options))
        if people == 100:
            case.aims.append(
                Aim("p99 against jupyter-collaboration", case.less("p99_ms", COLLABORATION), 10)
            )
        case.aims += [
            Aim("p99 against ShareDB", case.less("p99_ms", SHAREDB), 1),
            Aim("CPU per edit against ShareDB", case.less("cpu_s_per_1000", SHAREDB), 1),
        ]
        row.cases.append(case)
    return row


def together(contender: Contender, *, people: int, options: Options) -> dict[str, Any]:
    """One server, one notebook."""
    with folder() as root:
        name = write(root, "a.ipynb", small(people))
        with running(contender.make(root)) as server:
            return play(
                contender, server, [name], clients=people, rate=KEYS_PER_SECOND,
                seconds=options.duration(8, 3), warm_up=options.duration(2, 1),
            )  # fmt: skip
