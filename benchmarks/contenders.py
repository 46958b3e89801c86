"""Who is measured, and how a load is played to one of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from . import install, servers, workers
from .install import Missing
from .load import Load
from .options import Options
from .servers import TOKEN, Server
from .table import OURS, Case

COLLABORATION = "jupyter-collaboration"
SHAREDB = "ShareDB"
RELAY = "relay"
FAILED = "failed"
JOINING = "relay, joining"


@dataclass(frozen=True, slots=True)
class Contender:
    """A server and what speaks to it. ``peer`` is a module in ``peers/``, ``python`` the Python
    that the load generator needs for it. ``keeps``: what it has outlives it."""

    name: str
    peer: str
    make: Callable[[Path], Server]
    python: Callable[[], str] = lambda: sys.executable
    keeps: bool = True


def ours(*options: str, name: str = OURS) -> Contender:
    """This project's server, with more options of its command line."""
    return Contender(name, "ours", lambda root: servers.ours(root, *options))


def relays() -> list[Contender]:
    """The bare relay in both ways."""
    return [
        Contender(RELAY, "relay", servers.relay),
        Contender(JOINING, "relay", lambda root: servers.relay(root, "--join")),
    ]


def others() -> list[Contender]:
    """The other servers, as far as they can be had here."""
    return [
        Contender(
            COLLABORATION, "yjs", servers.collaboration, lambda: str(install.collaboration())
        ),
        Contender(SHAREDB, "sharedb", servers.sharedb, keeps=False),
    ]


def servers_only(options: Options) -> list[Contender]:
    """Those that hold documents, this project's first."""
    return [ours(), *(one for one in others() if options.wants(one.name))]


def everybody(options: Options) -> list[Contender]:
    """All: the bare relays too."""
    return servers_only(options) + [one for one in relays() if options.wants(one.name)]


def play(
    contender: Contender, server: Server, paths: list[str], also: Sequence[Server] = (), **load: Any
) -> dict[str, Any]:
    """Play a load; the fields of its ``Result``. ``also``: more processes whose costs count."""
    pids = [one.pid for one in (server, *also)]
    what = Load(contender.peer, server.url, TOKEN, pids, paths, **load)
    try:
        result: dict[str, Any] = workers.run(
            "benchmarks.load", python=contender.python(), about=asdict(what)
        )
    except RuntimeError as error:
        raise RuntimeError(f"{contender.name}: {error}\n{server.log[-2000:]}") from None
    return result


def compare(
    case: Case, contenders: Sequence[Contender], one: Callable[[Contender], dict[str, Any]]
) -> None:
    """Measure them one after the other, into the case."""
    compare_all(case, {contender.name: partial(one, contender) for contender in contenders})


def compare_all(case: Case, work: Mapping[str, Callable[[], dict[str, Any]]]) -> None:
    """Do the work of each; a failure is a note in the table, not the end."""
    for name, measure in work.items():
        try:
            case.figures[name] = measure()
        except Missing as error:
            case.notes[name] = str(error)
        except (RuntimeError, OSError) as error:
            case.notes[name] = FAILED
            print(error, file=sys.stderr)
