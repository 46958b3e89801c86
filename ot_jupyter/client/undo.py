"""Undo and redo of one's own changes, whatever others do meanwhile.

A stack of inverses. The top one applies to the document as it is seen now, the next one after the
top one, and so on. Foreign changes transform the stack; one's own never do (they are on it).
"""

from __future__ import annotations

from contextlib import suppress

from ..transforms import Change, Refused, segments, transform, transform_changes
from ..transforms.check import client_cell
from ..transforms.pointer import Segments
from ..transforms.values import Operation

_NOT_UNDONE = ("outputs", "execution_count", "execution")  # the kernel's, not the author's
MAX_ITEMS = 200


class Undo:
    """The two stacks."""

    def __init__(self) -> None:
        self.undo: list[Change] = []
        self.redo: list[Change] = []

    def record(self, inverse: Change, *, of: str = "edit") -> None:
        """Remember how to take a change back that was an ``edit``, an ``undo`` or a ``redo``."""
        inverse = [_restorable(one) for one in inverse if not _is_kernels(one)]
        if not inverse:
            return
        if of == "edit":
            self.redo.clear()
        stack = self.redo if of == "undo" else self.undo
        stack.append(inverse)
        del stack[:-MAX_ITEMS]

    def foreign(self, change: Change) -> None:
        """Somebody else's change of the document as it is seen."""
        for stack in (self.undo, self.redo):
            over = change
            for index in range(len(stack) - 1, -1, -1):
                if not over:
                    break
                stack[index], over = transform_changes(stack[index], over, later=True)

    def died(self, operation: Operation) -> None:
        """Somebody else's write in a cell that one's own change, not committed yet, removed: it
        goes into the cell that undo brings back. (Not what is known of its run: that is over.)"""
        where = segments(operation["path"])
        if where[2:3] == ("execution",):
            return
        cell = where[:2]
        for stack in (self.undo, self.redo):
            _write_into_newest(stack, cell, operation)


def _write_into_newest(stack: list[Change], cell: Segments, operation: Operation) -> None:
    """Write into the newest copy of a cell that the stack would add; older copies of it, from
    earlier removals, have another text."""
    for item in reversed(stack):
        for index, one in enumerate(item):
            if one["op"] == "add" and segments(one["path"]) == cell:
                with suppress(Refused):  # the newest copy is on the other stack
                    item[index] = transform(one, operation, later=True)[0]
                return


def _is_kernels(operation: Operation) -> bool:
    where = segments(operation["path"])
    return len(where) > 2 and where[0] == "cells" and where[2] in _NOT_UNDONE


def _restorable(operation: Operation) -> Operation:
    if operation["op"] == "add":
        return {**operation, "value": client_cell(operation["value"])}
    return operation
