"""Programs that write into one notebook as fast as they can, each in a cell of its own.

*Flat out*: a program that does not wait, but for this: 32 of its letters may be unacknowledged. In
protocols with one change in flight 16 are, and the next 16 are composed behind them; with Yjs each
is an update of its own. *One letter in flight each*: the next is typed when the last is
acknowledged.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ..contenders import (
    COLLABORATION,
    JOINING,
    RELAY,
    SHAREDB,
    Contender,
    compare,
    everybody,
    play,
)
from ..notebooks import small, write
from ..options import Options
from ..servers import folder, running
from ..table import Aim, Case, Figure, Row

FLAT_OUT, ONE_LETTER = 32, 1
MANY = 100  # writers, with one letter in flight each: what so many people can have at the most
COLUMNS = (
    Figure("edits_per_s", "edits/s", better=1),
    Figure("cpu_s_per_1000", "CPU s per 1,000 edits", 3),
    Figure("p50_ms", "p50, ms", 1),
    Figure("p99_ms", "p99, ms", 1),
    Figure("deliveries_per_s", "deliveries/s", better=0),
    Figure("cpu_percent", "server CPU, %", better=0),
    Figure("load_cpu_percent", "load CPU, %", better=0),
    Figure("undelivered", "not delivered", better=0),
)


def measure(options: Options) -> Row:
    """1, 4 and 16 writers, flat out and with one letter in flight each."""
    row = Row("writers", "Writers in one notebook, as fast as they can", COLUMNS)
    loads = [(FLAT_OUT, writers) for writers in options.writers]
    loads += [(ONE_LETTER, writers) for writers in options.writers]
    if 16 in options.writers and not options.quick:
        loads.append((ONE_LETTER, MANY))
    for window, writers in loads:
        case = Case(_title(window, writers))
        contenders = everybody(options)
        compare(
            case, contenders, partial(write_on, writers=writers, window=window, options=options)
        )
        case.aims += _aims(case, writers)
        row.cases.append(case)
    return row


def _title(window: int, writers: int) -> str:
    who = f"{writers} writers" if writers > 1 else "1 writer"
    return f"{who}, flat out" if window == FLAT_OUT else f"{who}, one letter in flight each"


def _aims(case: Case, writers: int) -> list[Aim]:
    aims = [
        Aim("edits/s against ShareDB", case.more("edits_per_s", SHAREDB), 1),
        Aim("p99 against ShareDB", case.less("p99_ms", SHAREDB), 1),
        Aim("CPU per edit against ShareDB", case.less("cpu_s_per_1000", SHAREDB), 1),
    ]
    if writers >= 16:
        aims += [
            Aim(
                "edits/s against jupyter-collaboration", case.more("edits_per_s", COLLABORATION), 10
            ),
            Aim("p99 against jupyter-collaboration", case.less("p99_ms", COLLABORATION), 10),
            Aim("edits/s against the relay", case.more("edits_per_s", RELAY), 1),
            Aim("edits/s against the joining relay", case.more("edits_per_s", JOINING), 0.6),
        ]
    return aims


def write_on(
    contender: Contender, *, writers: int, window: int, options: Options
) -> dict[str, Any]:
    """One server, one notebook."""
    with folder() as root:
        name = write(root, "a.ipynb", small(writers))
        with running(contender.make(root)) as server:
            return play(
                contender, server, [name], clients=writers, window=window,
                seconds=options.duration(3, 1.5), warm_up=options.duration(1.5, 0.5),
            )  # fmt: skip
