"""Measure this server beside others, under the same loads on one machine in one run.

Each row is a load, each figure is followed by how many times better ot-jupyter's is. The other
servers are installed into benchmarks/.cache when they are first needed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from pathlib import Path
from time import perf_counter

from .contenders import FAILED
from .machine import machine
from .options import Options
from .table import Row, as_json, as_markdown, replace_table

ROWS = (
    "traces", "transforms", "people", "writers", "notebooks", "open", "session", "stores",
    "outputs",
)  # fmt: skip


def main() -> None:
    chosen = _parser().parse_args()
    options = Options(
        quick=chosen.quick,
        against=None if chosen.against is None else frozenset(chosen.against),
        traces=chosen.traces,
        people=tuple(chosen.people or ((20,) if chosen.quick else (20, 50, 100))),
        writers=tuple(chosen.writers or ((16,) if chosen.quick else (1, 4, 16))),
        seconds=chosen.seconds,
    )
    rows: list[Row] = []
    for name in chosen.rows or ROWS:
        begin = perf_counter()
        row = importlib.import_module(f".rows.{name}", __package__).measure(options)
        rows.append(row)
        print(as_markdown(row), flush=True)
        print(f"{name}: {perf_counter() - begin:.0f} s", file=sys.stderr)
    if chosen.json:
        chosen.json.write_text(json.dumps(as_json(rows, machine()), indent=1) + "\n")
    if chosen.markdown:
        chosen.markdown.write_text(replace_table(chosen.markdown.read_text(), rows, machine()))
    if any(FAILED in case.notes.values() for row in rows for case in row.cases):
        sys.exit("something could not be measured; why is said above")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("rows", nargs="*", type=_row, metavar="ROW", help=f"all, or some of {', '.join(ROWS)}")
    add("--quick", action="store_true", help="short runs, to see that all works")
    add(
        "--against",
        nargs="*",
        metavar="SERVER",
        help="only against these, as the table calls them; with none: ot-jupyter alone",
    )
    add("--people", nargs="+", type=int, metavar="N", help="in the row of that name")
    add("--writers", nargs="+", type=int, metavar="N", help="in the row of that name")
    add("--seconds", type=float, metavar="S", help="of each part of a measurement")
    add(
        "--traces",
        type=Path,
        default=os.environ.get("OT_TRACES"),
        metavar="FOLDER",
        help="recorded typing (default: $OT_TRACES, else some is generated); see traces.py",
    )
    add("--json", type=Path, metavar="FILE", help="write all figures there")
    add(
        "--markdown",
        type=Path,
        metavar="FILE",
        help="put the table into this file, in the place that two comments mark",
    )
    return parser  # fmt: skip


def _row(name: str) -> str:
    if name not in ROWS:
        raise argparse.ArgumentTypeError(f"there is no row {name!r}, but {', '.join(ROWS)}")
    return name


if __name__ == "__main__":
    main()
