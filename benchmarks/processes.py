"""What processes cost: processor time and memory."""

from __future__ import annotations

from collections.abc import Sequence

import psutil


class Costs:
    """Processor time and memory of some processes together, those they started included."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._roots = [psutil.Process(pid) for pid in pids]

    def cpu(self) -> float:
        """Seconds of processor time since their starts."""
        times = [one.cpu_times() for one in self._all()]
        return float(sum(one.user + one.system for one in times))

    def memory(self) -> int:
        """Bytes of resident memory."""
        return sum(one.memory_info().rss for one in self._all())

    def _all(self) -> list[psutil.Process]:
        return [one for root in self._roots for one in (root, *root.children(recursive=True))]
