"""A state to come back to."""

from __future__ import annotations

from ..transforms import Change, transform_changes
from ..transforms.values import Document as Content


class Mark:
    """A state of the document to which changes can be made later: see ``Document.mark``."""

    def __init__(self, content: Content) -> None:
        self.content = content
        self._since: list[Change] = []

    def happened(self, ops: Change) -> None:
        """The document was changed."""
        self._since.append(ops)

    def now(self, ops: Change) -> Change:
        """A change made for this state, as it is for the present one."""
        for change in self._since:
            ops, _ = transform_changes(ops, change, later=True)
        return ops
