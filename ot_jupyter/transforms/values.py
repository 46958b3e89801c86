"""The words that every module of the algebra shares: types, cell fields, refusals.

A *document* is plain JSON (dict, list, str, int, float, bool, None):

- a notebook: ``{"cells": {id: cell}, "order": [id, …], "metadata": {…}}``, and in the log also
  ``"kernel": {…}``: which kernel it has, on which server (which writes it),
- a text file: ``{"source": "text"}``.

A *cell* always has every field of :data:`CELL_FIELDS`; which of them reach an ``.ipynb`` is the
writer's business. A *change* is a list of operations, applied as one.
"""

from __future__ import annotations

import re
from typing import Any, Final, TypeAlias

Json: TypeAlias = Any
Document: TypeAlias = dict[str, Any]
Cell: TypeAlias = dict[str, Any]
Operation: TypeAlias = dict[str, Any]
Change: TypeAlias = list[Operation]
Delta: TypeAlias = list[Any]

CELL_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
CELL_TYPES: Final = ("code", "markdown", "raw")
CELL_FIELDS: Final = (
    "cell_type",
    "source",
    "metadata",
    "outputs",
    "execution_count",
    "attachments",
    "execution",
)
MAX_INTEGER: Final = 2**53  # what every JSON reader keeps exactly
MAX_PATH: Final = 4096  # characters; decoded paths are remembered, so their size is bounded
MAX_DEPTH: Final = 100  # nesting of a value; orjson itself stops at 254


class Refused(Exception):
    """An operation that is not carried out, with the reason for a program and for a person.

    ``code`` is one word for programs, ``message`` one sentence for people, and ``pointer`` the
    JSON Pointer of the field that is wrong, relative to the value that was checked (a change:
    ``/3/path`` is the path of its fourth operation).
    """

    def __init__(self, code: str, message: str, pointer: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.pointer = pointer

    def within(self, prefix: str) -> Refused:
        """The same refusal, its pointer seen from an enclosing value."""
        return Refused(self.code, self.message, prefix + self.pointer)

    def __str__(self) -> str:
        return f"{self.code} at {self.pointer or '/'}: {self.message}"


def is_notebook(document: Document) -> bool:
    """Whether the document is a notebook (else it is a text file)."""
    return "cells" in document


def new_cell(
    cell_type: str = "code", source: str = "", metadata: dict[str, Any] | None = None
) -> Cell:
    """A complete cell: every field present, nothing run."""
    return {
        "cell_type": cell_type,
        "source": source,
        "metadata": {} if metadata is None else metadata,
        "outputs": [],
        "execution_count": None,
        "attachments": {},
        "execution": {},
    }
