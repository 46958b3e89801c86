"""The algebra: pure functions over plain JSON values. No I/O, no state, no asyncio."""

from .values import Cell, Change, Delta, Document, Operation, Refused, is_notebook, new_cell

__all__ = [
    "Cell",
    "Change",
    "Delta",
    "Document",
    "Operation",
    "Refused",
    "is_notebook",
    "new_cell",
]
