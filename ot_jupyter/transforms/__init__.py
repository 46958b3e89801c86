"""The algebra: pure functions over plain JSON values. No I/O, no state, no asyncio."""

from .apply import apply
from .check import check_cell, check_change, check_value
from .compose import compose
from .invert import invert
from .pointer import pointer, segments
from .position import position
from .transform import transform, transform_change, transform_changes
from .values import Cell, Change, Delta, Document, Operation, Refused, is_notebook, new_cell

__all__ = [
    "Cell",
    "Change",
    "Delta",
    "Document",
    "Operation",
    "Refused",
    "apply",
    "check_cell",
    "check_change",
    "check_value",
    "compose",
    "invert",
    "is_notebook",
    "new_cell",
    "pointer",
    "position",
    "segments",
    "transform",
    "transform_change",
    "transform_changes",
]
