"""What goes wrong for a user of the client."""

from __future__ import annotations


class DocumentError(Exception):
    """Why a document can't be opened, changed or saved.

    ``code`` is one word for programs (``not_found``, ``not_a_notebook``, ``forbidden``,
    ``superseded``, …), ``message`` one sentence for people, ``pointer`` the JSON Pointer of the
    field that is wrong in what was sent, or ``""``.
    """

    def __init__(self, code: str, message: str, pointer: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.pointer = pointer

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class ConnectError(ConnectionError):
    """The server can't be reached, or does not let us in.

    ``code`` is one word: ``unreachable``, ``forbidden`` (no or a wrong token), ``no_ot`` (a server
    without this extension).
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
