"""The Python client: live documents for scripts, programs and agents.

    from ot_jupyter.client import connect

    async with connect("http://localhost:8888/?token=…") as connection:
        notebook = await connection.open("a.ipynb")
        notebook.cells[0].set_source("print(1)")
        await notebook.acknowledged()

Without ``async``: :mod:`ot_jupyter.client.sync`.
"""

from ..transforms import Refused
from .cells import Cell, Cells, Metadata
from .connection import Connection, connect
from .document import Changed, Document
from .errors import ConnectError, DocumentError
from .kernel import CommMessage, Kernel, Question
from .mark import Mark
from .presence import Presence
from .runs import Run, Running
from .state import Conflict, Head

__all__ = [
    "Cell",
    "Cells",
    "Changed",
    "CommMessage",
    "Conflict",
    "ConnectError",
    "Connection",
    "Document",
    "DocumentError",
    "Head",
    "Kernel",
    "Mark",
    "Metadata",
    "Presence",
    "Question",
    "Refused",
    "Run",
    "Running",
    "connect",
]
