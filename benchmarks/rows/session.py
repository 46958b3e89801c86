"""A long session: 100,000 keystrokes of one person into one cell, each a change of its own."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from ..contenders import COLLABORATION, Contender, compare, play, servers_only
from ..notebooks import notebook, write
from ..options import Options
from ..servers import folder
from ..table import OURS, Aim, Case, Figure, Row
from .open import once

KEYSTROKES = 100_000
LIMIT_SECONDS = 150.0  # then a server is cut off: memory and disk are extrapolated
COLLABORATION_SECONDS = 45.0  # it gets slower and slower, and would not get there
COLUMNS = (
    Figure("keystrokes", "keystrokes done", better=0),
    Figure("edits_per_s", "per second", better=1),
    Figure("memory_mb", "memory, MB more", 1),
    Figure("disk_mb", "on disk, MB", 1, better=0),
    Figure("file_ms", "open from the file alone, ms", 1, better=0),
    Figure("history_ms", "open with the history, ms", 1),
)


def measure(options: Options) -> Row:
    """One case."""
    row = Row("session", "A long session in one cell", COLUMNS)
    count = 4_000 if options.quick else KEYSTROKES
    case = Case(f"{count:,} keystrokes")
    compare(case, servers_only(options), partial(_session, count=count, options=options))
    if OURS in case.figures:
        figures = case.figures[OURS]
        slower = figures["history_ms"] / figures["file_ms"]
        case.aims += [
            Aim("more memory", figures["memory_mb"], 5, at_most=True, unit=" MB"),
            Aim("on disk", figures["disk_mb"], 10, at_most=True, unit=" MB"),
            Aim("opening with a history, against without", slower, 1.5, at_most=True),
        ]
    row.cases.append(case)
    return row


def _session(contender: Contender, *, count: int, options: Options) -> dict[str, Any]:
    """The server starts again before the document is opened at the end, where it keeps anything,
    three times; *from the file alone* is a second file of the same size, which no store knows."""
    slow = contender.name == COLLABORATION
    limit = options.duration(COLLABORATION_SECONDS if slow else LIMIT_SECONDS, 10.0)
    window = 32 if slow else 1  # its updates are never joined, so none need wait for another
    with folder() as root:
        name = write(root, "a.ipynb", notebook(1, 0, 0))
        like = notebook(1, 0, 0)
        server = contender.make(root)
        try:
            server.start()
            before = _size(root)
            result = play(
                contender, server, [name], clients=1, window=window, letters=count,
                seconds=limit, warm_up=0.0,
            )  # fmt: skip
            disk = _size(root) - before
            done = result["edits"]
            like["cells"][0]["source"] = "x" * done
            times: list[tuple[float, float]] = []
            for again in range(3):
                other = write(root, f"b{again}.ipynb", like)
                warm = write(root, f"c{again}.ipynb", notebook(1))
                if contender.keeps:
                    server.stop()
                    server.start()
                once(contender, server, warm)
                order = (name, other) if again % 2 else (other, name)
                took = {one: 1000 * once(contender, server, one)["open_s"] for one in order}
                times.append((took[name], took[other]))
            history, file = (median(column) for column in zip(*times, strict=True))
        finally:
            server.remove()
    _, opened, end = result["memory_mb"]
    scale = count / done
    return {
        "keystrokes": done, "edits_per_s": result["edits_per_s"],
        "memory_mb": (end - opened) * scale, "disk_mb": disk * scale,
        "file_ms": file, "history_ms": history,
    }  # fmt: skip


def _size(root: Path) -> float:
    """MB of what a server keeps beside the notebooks."""
    files = [file for file in root.rglob("*") if file.is_file() and file.suffix != ".ipynb"]
    return sum(file.stat().st_size for file in files) / 1e6
