"""What it costs to transform a change over another, by kind."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from .. import install, workers
from ..install import Missing
from ..options import Options
from ..table import OURS, Case, Figure, Row

JSON1 = "ot-json1"
COLUMNS = (Figure("us", "µs per pair", 2),)


def measure(options: Options) -> Row:
    """Beside the type that ShareDB uses, in Node."""
    row = Row("transforms", "Transforming a change over another", COLUMNS)
    seconds = options.duration(5, 1)
    costs: dict[str, Any] = {OURS: workers.run("benchmarks.pairs", str(seconds))}
    why = "not asked for"
    if options.wants(JSON1):
        try:
            costs[JSON1] = _json1(seconds)
        except Missing as error:
            why = str(error)
    for kind in costs[OURS]:
        case = Case(kind, {name: {"us": cost[kind]} for name, cost in costs.items()})
        if JSON1 not in costs:
            case.notes[JSON1] = why
        row.cases.append(case)
    return row


def _json1(seconds: float) -> Any:
    node, modules = install.sharedb()
    script = Path(install.__file__).parent / "peers" / "json1_pairs.js"
    done = subprocess.run(
        [node, str(script), str(modules), str(seconds)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)
