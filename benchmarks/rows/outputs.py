"""Typing while a cell prints 20,000 lines, each flushed."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

from .. import workers
from ..contenders import COLLABORATION, Contender, compare, servers_only
from ..notebooks import small, write
from ..options import Options
from ..printing import END, Printing
from ..servers import TOKEN, folder, running
from ..table import OURS, Aim, Case, Figure, Row

LINES = 20_000
PEOPLE = 5
KEYS_PER_SECOND = 5.0
COLUMNS = (
    Figure("last_client_s", "last line at the last client, s", 1),
    Figure("p50_ms", "typing meanwhile, p50, ms", 1),
    Figure("p99_ms", "p99, ms", 1),
    Figure("kb_per_client", "KB per client"),
    Figure("kept_percent", "lines kept, %", 1, better=1),
    Figure("next_cell", "the next cell runs", better=0),
)


def measure(options: Options) -> Row:
    """One case. (ShareDB has no kernels.)"""
    row = Row("outputs", f"{PEOPLE} people type while a cell prints", COLUMNS)
    lines = LINES // 10 if options.quick else LINES
    case = Case(f"{lines:,} lines, each flushed")
    peers = [one for one in servers_only(options) if one.name in (OURS, COLLABORATION)]
    compare(case, peers, partial(_print, lines=lines))
    case.aims.append(Aim("typing p99", case.less("p99_ms", COLLABORATION), 1))
    row.cases.append(case)
    return row


def _print(contender: Contender, *, lines: int) -> dict[str, Any]:
    code = f"for i in range({lines}):\n    print('line', i, flush=True)\nprint({END.decode()!r})"
    content = small(PEOPLE + 1)
    content["cells"][-2]["source"] = "print(1)"
    content["cells"][-1]["source"] = code
    with folder() as root:
        name = write(root, "a.ipynb", content)
        with running(contender.make(root)) as server:
            about = Printing(
                contender.peer, server.url, TOKEN, name, people=PEOPLE, rate=KEYS_PER_SECOND
            )
            try:
                result: dict[str, Any] = workers.run(
                    "benchmarks.printing", python=contender.python(), about=asdict(about)
                )
            except RuntimeError as error:
                raise RuntimeError(f"{error}\n{server.log[-2000:]}") from None
    return {
        **{key: result[key] for key in ("last_client_s", "p50_ms", "p99_ms")},
        "kb_per_client": result["bytes_per_client"] / 1000,
        "kept_percent": 100 * result["kept"] / lines,
        "next_cell": float(result["next_cell"]),
    }
