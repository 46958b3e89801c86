"""A document and a change make the next document."""

from __future__ import annotations

from typing import Any

from .delta import apply_delta
from .pointer import segments
from .values import Cell, Change, Document, Operation, Refused


def apply(document: Document, change: Change) -> Document:
    """The document after the change. The arguments stay as they are; what did not change is
    shared between the two.

    The operations must be well-formed (``check_change``). Raises :class:`Refused`, with the
    pointer into the change, where one does not fit the document: a cell or key that is not there,
    an id that is, an index that holds another cell, an offset beyond the end.
    """
    draft = _Draft(document)
    for index, operation in enumerate(change):
        try:
            draft.apply(operation)
        except Refused as refused:
            raise refused.within(f"/{index}") from None
    return draft.document


class _Draft:
    """Copy on write: each container on the way to a change is copied once per change."""

    __slots__ = ("cells", "document", "fields")

    def __init__(self, document: Document) -> None:
        self.document = document
        self.fields: set[str] = set()  # that are ours; "" is the document itself
        self.cells: set[str] = set()  # that are ours

    def _own_document(self) -> Document:
        if not self.fields:
            self.document = dict(self.document)
            self.fields.add("")
        return self.document

    def _own(self, field: str) -> Any:
        """The document's list or object of that name."""
        document = self._own_document()
        if field not in self.fields:
            document[field] = document[field].copy()
            self.fields.add(field)
        return document[field]

    def _own_cell(self, cell_id: str) -> Cell:
        cells = self.document.get("cells")
        if cells is None or cell_id not in cells:
            raise Refused("not_found", f"there is no cell {cell_id!r}", "/path")
        if cell_id not in self.cells:
            cells = self._own("cells")
            cells[cell_id] = dict(cells[cell_id])
            self.cells.add(cell_id)
        cell: Cell = cells[cell_id]
        return cell

    def apply(self, operation: Operation) -> None:
        verb = operation["op"]
        where = segments(operation["path"])
        if verb == "run":
            if where[1] not in self.document["cells"]:
                raise Refused("not_found", f"there is no cell {where[1]!r}", "/path")
        elif "index" in operation:
            self._apply_to_order(operation, where[1])
        elif where[0] == "cells":
            self._write(self._own_cell(where[1]), where[2:], operation)
        else:
            if where[0] not in self.document and where != ("kernel",):
                raise Refused("not_found", "the document has no such field", "/path")
            self._write(self._own_document(), where, operation)

    def _apply_to_order(self, operation: Operation, cell_id: str) -> None:
        verb = operation["op"]
        index = operation["index"]
        present = self.document["order"]
        if verb == "add":
            if cell_id in self.document["cells"]:
                raise Refused("exists", f"there is a cell {cell_id!r} already", "/path")
            if index > len(present):
                raise Refused("out_of_range", f"there are {len(present)} cells", "/index")
            self._own("order").insert(index, cell_id)
            self._own("cells")[cell_id] = operation["value"]
            return
        if cell_id not in self.document["cells"]:
            raise Refused("not_found", f"there is no cell {cell_id!r}", "/path")
        if index >= len(present) or present[index] != cell_id:
            raise Refused("wrong_index", f"cell {cell_id!r} is not at {index}", "/index")
        order = self._own("order")
        if verb == "remove":
            del order[index]
            del self._own("cells")[cell_id]
            self.cells.discard(cell_id)
            return
        if operation["to"] >= len(order):
            raise Refused("out_of_range", f"there are {len(order)} cells", "/to")
        order.insert(operation["to"], order.pop(index))

    def _write(self, container: dict[str, Any], where: tuple[str, ...], op: Operation) -> None:
        """Carry out a write in a container that is already ours."""
        for key in where[:-1]:
            inner = container.get(key)
            if type(inner) is not dict:
                raise Refused("not_found", f"{key!r} on the way is no object", "/path")
            container[key] = inner = dict(inner)
            container = inner
        key = where[-1]
        verb = op["op"]
        if verb == "replace":
            container[key] = op["value"]
        elif key not in container:
            raise Refused("not_found", f"there is no {key!r}", "/path")
        elif verb == "remove":
            del container[key]
        else:
            try:
                container[key] = apply_delta(container[key], op["delta"])
            except Refused as refused:
                raise refused.within("/delta") from None
