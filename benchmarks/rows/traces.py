"""Typing of one person, without a server: apply it, and make the bytes to keep and send."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

from .. import install, workers
from ..contenders import compare_all
from ..options import Options
from ..table import OURS, Aim, Case, Figure, Row
from ..traces import names, title

PYCRDT = "pycrdt"
COLUMNS = (
    Figure("us", "µs per transaction", 1),
    Figure("bytes", "bytes per transaction", better=0),
    Figure("transactions", "transactions", better=0),
)


def measure(options: Options) -> Row:
    """Each trace on the sequencer's own functions and on pycrdt with an update observer."""
    row = Row("traces", "Replaying typing: apply and encode", COLUMNS)
    limit = 5_000 if options.quick else 0
    for name in names(options.traces):
        case = Case(title(name))
        replays = {OURS: partial(_replay, "ours", name, limit)}
        if options.wants(PYCRDT):
            replays[PYCRDT] = partial(_replay, PYCRDT, name, limit)
        compare_all(case, replays)
        case.aims.append(Aim("against pycrdt", case.less("us", PYCRDT), 5))
        row.cases.append(case)
    return row


def _replay(who: str, name: str, limit: int) -> Any:
    python = str(install.collaboration()) if who == PYCRDT else sys.executable
    return workers.run("benchmarks.replay", who, name, str(limit), python=python)
