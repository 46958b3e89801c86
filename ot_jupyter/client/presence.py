"""Who else is here and where, in the document as it is seen. Decisions only: no socket, no clock.

A presence is told for a revision. It is brought to what we see now by the entries since then and
what we have pending, and from then on by each change; one of a revision that we have not reached
yet waits until we are there.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from ..transforms import Change, is_notebook, pointer, position
from .state import ClientDocument

SECONDS = 90.0  # without a word, somebody is taken to be gone
REPEAT_SECONDS = 25.0  # so often one says again that one is here
PAUSE_SECONDS = 0.1  # between two words of ours


@dataclass(frozen=True, slots=True)
class Presence:
    """Somebody who has the document open.

    ``cell`` is the id of the cell they are in (None: none, or a text file), ``anchor`` and
    ``head`` the ends of their selection in code points, in the document as it is now; ``more``
    is whatever else their client tells.
    """

    client: str
    user: dict[str, Any]
    cell: str | None = None
    anchor: int | None = None
    head: int | None = None
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What to call them."""
        for key in ("display_name", "name", "username"):
            if self.user.get(key):
                return str(self.user[key])
        return self.client

    def after(self, change: Change) -> Presence:
        """The same after a change of the document."""
        if self.cell is not None and _loses(change, self.cell):
            return replace(self, cell=None, anchor=None, head=None)
        return replace(
            self, anchor=self._moved(self.anchor, change), head=self._moved(self.head, change)
        )

    def _moved(self, offset: int | None, change: Change) -> int | None:
        return None if offset is None else position(self._path, offset, change)

    @property
    def _path(self) -> str:
        return "/source" if self.cell is None else pointer("cells", self.cell, "source")

    def within(self, document: dict[str, Any]) -> Presence:
        """The same with carets that are in the document."""
        holder = document
        if is_notebook(document):
            if self.cell is None or self.cell not in document["cells"]:
                return replace(self, cell=None, anchor=None, head=None)
            holder = document["cells"][self.cell]
        length = len(holder["source"])
        return replace(self, anchor=_at_most(self.anchor, length), head=_at_most(self.head, length))

    def wire(self) -> dict[str, Any]:
        """What of it is sent."""
        carets = {"cell": self.cell, "anchor": self.anchor, "head": self.head}
        return {**self.more, **{key: value for key, value in carets.items() if value is not None}}


class Others:
    """The presence of everybody else."""

    def __init__(self) -> None:
        self.here: dict[str, Presence] = {}
        self.seen: dict[str, float] = {}
        self._ahead: dict[str, dict[str, Any]] = {}

    def hear(self, message: dict[str, Any], state: ClientDocument, now: float) -> None:
        """Take a word about one client: ``{"client", "user", "rev", "presence"}``."""
        client = message["client"]
        if client == state.client:
            return
        self._ahead.pop(client, None)
        if message["presence"] is None:
            self.here.pop(client, None)
            self.seen.pop(client, None)
            return
        self.seen[client] = now
        if message["rev"] > state.head.rev:
            self._ahead[client] = message
        else:
            self.here[client] = _seen_now(message, state)

    def begin(self, messages: list[dict[str, Any]], state: ClientDocument, now: float) -> None:
        """Everybody who is here, told when the document is opened (again)."""
        for mapping in (self.here, self.seen, self._ahead):
            mapping.clear()
        for message in messages:
            self.hear(message, state, now)

    def moved(self, change: Change) -> None:
        """The document that we see was changed."""
        for client, one in self.here.items():
            self.here[client] = one.after(change)

    def reached(self, state: ClientDocument) -> None:
        """We may be at the revisions that some spoke of."""
        for client, message in list(self._ahead.items()):
            if message["rev"] <= state.head.rev:
                del self._ahead[client]
                self.here[client] = _seen_now(message, state)

    def expire(self, now: float) -> None:
        """Forget who has not been heard of for long."""
        for client, seen in list(self.seen.items()):
            if now - seen > SECONDS:
                del self.seen[client]
                self.here.pop(client, None)
                self._ahead.pop(client, None)


def _seen_now(message: dict[str, Any], state: ClientDocument) -> Presence:
    """The presence of a revision of ours, in the document that we see."""
    value = dict(message["presence"])
    cell = value.pop("cell", None)
    presence = Presence(
        message["client"],
        message.get("user") or {},
        cell if isinstance(cell, str) else None,
        _offset(value.pop("anchor", None)),
        _offset(value.pop("head", None)),
        value,
    )
    for recent in state.recent:
        if recent.before.rev >= message["rev"]:
            presence = presence.after(recent.ops)
    for one in state.pending:
        presence = presence.after(one.ops)
    return presence.within(state.document)


def _offset(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _at_most(offset: int | None, length: int) -> int | None:
    return None if offset is None else min(offset, length)


def _loses(change: Change, cell_id: str) -> bool:
    """Whether the change removes a cell (and does not add it again)."""
    path = pointer("cells", cell_id)
    lost = False
    for one in change:
        if one["path"] == path and one["op"] in ("add", "remove"):
            lost = one["op"] == "remove"
    return lost
