"""What the command line chooses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Options:
    """``quick``: short runs, to see that all works. ``against``: servers to be measured beside this
    project's own (None: all). ``traces``: a folder of recorded typing. ``people``, ``writers``: of
    these numbers. ``seconds``: of each part of a measurement, if not the usual."""

    quick: bool = False
    against: frozenset[str] | None = None
    traces: Path | None = None
    people: tuple[int, ...] = ()
    writers: tuple[int, ...] = ()
    seconds: float | None = None

    def wants(self, server: str) -> bool:
        return self.against is None or server in self.against

    def duration(self, normal: float, quick: float) -> float:
        """Seconds of a part of a measurement."""
        if self.seconds is not None:
            return self.seconds
        return quick if self.quick else normal
