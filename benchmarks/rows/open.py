"""Opening large notebooks: from the first request to a document in the client's hands."""

from __future__ import annotations

from functools import partial
from statistics import median
from typing import Any

from ..contenders import Contender, compare, play, servers_only
from ..notebooks import notebook, write
from ..options import Options
from ..servers import Server, folder, running
from ..table import Case, Figure, Row

LIKE = 3  # notebooks of one size, each opened twice; one in a quick run
COLUMNS = (
    Figure("cold_ms", "cold, ms"),
    Figure("warm_ms", "warm, ms"),
    Figure("memory_mb", "server memory after that, MB"),
    Figure("received_mb", "received per client, MB", 1, better=0),
)


def measure(options: Options) -> Row:
    """1,000 cells, and 50 MB of outputs."""
    row = Row("open", "Opening a notebook", COLUMNS)
    sizes = {
        "1,000 cells, 3.3 MB": notebook(1000, source_bytes=1500, output_bytes=1500),
        "100 cells, 50 MB of outputs": notebook(100, source_bytes=300, output_bytes=500_000),
    }
    like = 1 if options.quick else LIKE
    for title, content in sizes.items():
        case = Case(title)
        compare(case, servers_only(options), partial(_open, content=content, like=like))
        row.cases.append(case)
    return row


def _open(contender: Contender, *, content: dict[str, Any], like: int) -> dict[str, Any]:
    """*Cold*: nobody has opened it since the server started, and no store knows it. *Warm*: it is
    open. Medians over notebooks of this size, which all stay open."""
    with folder() as root:
        names = [write(root, f"n{index}.ipynb", content) for index in range(like)]
        first = write(root, "first.ipynb", notebook(1))
        with running(contender.make(root)) as server:
            once(contender, server, first)  # what a server does only once is not meant
            runs = [[once(contender, server, name) for _ in range(2)] for name in names]
    return {
        "cold_ms": median(1000 * cold["open_s"] for cold, _ in runs),
        "warm_ms": median(1000 * warm["open_s"] for _, warm in runs),
        "memory_mb": runs[-1][-1]["memory_mb"][1],
        "received_mb": runs[-1][-1]["received_mb"],
    }


def once(contender: Contender, server: Server, name: str) -> dict[str, Any]:
    """Open a document and leave."""
    return play(contender, server, [name], clients=1, seconds=0.0, warm_up=0.0)
