"""Replay a trace in one process, and say what a transaction costs.

    python -m benchmarks.replay ours|pycrdt TRACE LIMIT

writes JSON (limit 0: all of the trace). Both are given operations that are ready to use, and both
make, for each transaction, the bytes that would be stored and sent.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any, TypeAlias

from .traces import Patch, Text, Trace, load

Replay: TypeAlias = Callable[[], tuple[str, int]]  # its end and the bytes it made
REPEATS = 2


def ours(trace: Trace) -> Replay:
    """As the sequencer does it: apply to the document, then make the entry."""
    from ot_jupyter.sequencer.entry import Head, make_entry
    from ot_jupyter.transforms import apply

    path = "/cells/c0/source"
    changes = [
        [{"op": "edit", "path": path, "delta": _delta(patch)} for patch in transaction]
        for transaction in trace.transactions
    ]
    cell: dict[str, Any] = {
        "cell_type": "code", "source": "", "metadata": {}, "outputs": [],
        "execution_count": None, "attachments": {}, "execution": {},
    }  # fmt: skip

    def replay() -> tuple[str, int]:
        document: Any = {"cells": {"c0": cell}, "order": ["c0"], "metadata": {}}
        head, size = Head(0, "9c56cc51b374c3ba"), 0
        for n, change in enumerate(changes, 1):
            document = apply(document, change)
            entry = make_entry(
                head, client="k3v9x1", n=n, base=head.rev, user="ada",
                time="2026-11-22T16:30:00.123Z", ops=change,
            )  # fmt: skip
            head = entry.head
            size += len(entry.body)
        return document["cells"]["c0"]["source"], size

    return replay


def pycrdt(trace: Trace) -> Replay:
    """As a server on pycrdt does it: change the document, be told of the update."""
    from pycrdt import Doc, Text

    transactions = _in_bytes(trace)

    def replay() -> tuple[str, int]:
        document = Doc()
        text = document.get("source", type=Text)
        size = 0

        def updated(event: Any) -> None:
            nonlocal size
            size += len(event.update)

        subscription = document.observe(updated)
        for transaction in transactions:
            with document.transaction():
                for at, deleted, inserted in transaction:
                    if deleted:
                        del text[at : at + deleted]
                    if inserted:
                        text.insert(at, inserted)
        document.unobserve(subscription)
        return str(text), size

    return replay


def _delta(patch: Patch) -> list[Any]:
    at, deleted, inserted = patch
    parts = [at, inserted, -deleted]
    return [part for part in parts if part]


def _in_bytes(trace: Trace) -> list[list[Patch]]:
    """The transactions with positions and lengths in bytes of UTF-8, which is what pycrdt takes."""
    if trace_is_ascii(trace):
        return trace.transactions
    text, result = Text(), []
    for transaction in trace.transactions:
        patches = []
        for patch in transaction:
            at, deleted, inserted = patch
            before = len(text.value[:at].encode())
            gone = len(text.value[at : at + deleted].encode())
            patches.append(Patch(before, gone, inserted))
            text.patch(patch)
        result.append(patches)
    return result


def trace_is_ascii(trace: Trace) -> bool:
    return all(
        patch.inserted.isascii() for transaction in trace.transactions for patch in transaction
    )


def main(who: str, name: str, limit: str) -> dict[str, float]:
    """Microseconds (the best of some runs) and bytes per transaction."""
    trace = load(name, int(limit) or None)
    replay = {"ours": ours, "pycrdt": pycrdt}[who](trace)
    gc.collect()
    gc.freeze()
    best = float("inf")
    for _ in range(REPEATS):
        begin = perf_counter()
        end, size = replay()
        best = min(best, perf_counter() - begin)
        assert end == trace.end, "the replay ends elsewhere"
    count = len(trace.transactions)
    return {"transactions": count, "us": 1e6 * best / count, "bytes": size / count}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
