"""This server on each of its stores, under two of the loads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from .. import servers
from ..contenders import compare_all, ours, play
from ..notebooks import small, write
from ..options import Options
from ..servers import Server, folder, running
from ..table import Case, Figure, Row

NORMAL = "SQLite, NORMAL"
COLUMNS = (
    Figure("edits_per_s", "edits/s", better=1),
    Figure("cpu_s_per_1000", "CPU s per 1,000 edits, store included", 3),
    Figure("p50_ms", "p50, ms", 1),
    Figure("p99_ms", "p99, ms", 1),
    Figure("letters_per_message", "entries per frame", 1, better=0),
    Figure("undelivered", "not delivered", better=0),
)


class Store(NamedTuple):
    """A store, as options of the server; ``redis``: one that writes at once, or every second."""

    options: tuple[str, ...] = ()
    redis: bool = False
    always: bool = False


STORES = {
    NORMAL: Store(),
    "SQLite, FULL": Store(("--OtJupyter.durability=fsync",)),
    "Redis, appendfsync everysec": Store(redis=True),
    "Redis, appendfsync always": Store(redis=True, always=True),
    "memory": Store(("--OtJupyter.store=memory:",)),
}


def measure(options: Options) -> Row:
    """16 writers with one letter in flight each, and 50 people."""
    row = Row("stores", "The stores", COLUMNS, ours=NORMAL)
    loads: dict[str, dict[str, Any]] = {
        "16 writers, one letter in flight each": {"clients": 16, "window": 1},
        "50 people, 2 keys/s each": {"clients": 50, "rate": 2.0},
    }
    for title, load in list(loads.items())[: 1 if options.quick else None]:
        case = Case(title)
        load |= {"seconds": options.duration(5, 2), "warm_up": options.duration(1, 0.5)}
        compare_all(case, {name: partial(_on, store, load) for name, store in STORES.items()})
        row.cases.append(case)
    return row


def _on(store: Store, load: dict[str, Any]) -> dict[str, Any]:
    with folder() as root, _redis(store) as redis:
        name = write(root, "a.ipynb", small(load["clients"]))
        address = [f"--OtJupyter.store=redis://127.0.0.1:{one.port}" for one in redis]
        contender = ours(*store.options, *address)
        with running(contender.make(root)) as server:
            return play(contender, server, [name], also=redis, **load)


@contextmanager
def _redis(store: Store) -> Iterator[list[Server]]:
    """Its server, if it has one."""
    if not store.redis:
        yield []
        return
    with folder() as root, running(servers.redis(root, always=store.always)) as server:
        yield [server]
