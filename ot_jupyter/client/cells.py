"""What a program holds of a notebook: its cells and metadata, as views.

A view keeps no content. It reads the document as it is at that moment, and what is written through
it becomes operations. What is read is a copy, so changing it changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import AbstractContextManager
from copy import deepcopy
from typing import Any, Protocol, TypeVar, overload

from ..transforms import pointer
from ..transforms.delta import canonical
from ..transforms.diff import diff_text, same
from ..transforms.values import CELL_TYPES, Change, Delta, Operation
from ..transforms.values import Document as Content
from .kernel import Question
from .mark import Mark
from .runs import Running

T = TypeVar("T")


class Owner(Protocol):
    """The document that a view is of."""

    @property
    def path(self) -> str: ...

    @property
    def content(self) -> Content: ...

    def apply(self, ops: Change, *, at: Mark | None = None) -> None: ...

    def change(self) -> AbstractContextManager[None]: ...

    def run(self, *cells: Cell | str, wait: bool = True) -> Running: ...


class Cell:
    """One cell of a document, wherever it moves. Two views of one cell are equal.

    Everything but ``id``, ``exists`` and comparisons raises :class:`KeyError` once the cell was
    removed; writing raises as ``Document.apply``.
    """

    __slots__ = ("_document", "_id")

    def __init__(self, document: Owner, cell_id: str) -> None:
        self._document = document
        self._id = cell_id

    def __repr__(self) -> str:
        if not self.exists:
            return f"<Cell {self._id!r}, removed>"
        return f"<Cell {self._id!r} {self.type} {_shortened(self.source)!r}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Cell):
            return NotImplemented
        return self._document is other._document and self._id == other._id

    def __hash__(self) -> int:
        return hash((id(self._document), self._id))

    @property
    def id(self) -> str:
        return self._id

    @property
    def exists(self) -> bool:
        """Whether the cell is in the document: others may remove it at any time."""
        return self._id in self._document.content.get("cells", {})

    @property
    def index(self) -> int:
        """Where the cell is now, from 0."""
        self._value()
        index: int = self._document.content["order"].index(self._id)
        return index

    @property
    def type(self) -> str:
        """``"code"``, ``"markdown"`` or ``"raw"``."""
        cell_type: str = self._value()["cell_type"]
        return cell_type

    @property
    def source(self) -> str:
        source: str = self._value()["source"]
        return source

    @source.setter
    def source(self, text: str) -> None:
        self.set_source(text)

    @property
    def metadata(self) -> Metadata:
        """A mapping that can be written: ``cell.metadata["tags"] = ["slow"]``."""
        self._value()
        return Metadata(self._document, ("cells", self._id, "metadata"))

    @property
    def outputs(self) -> list[dict[str, Any]]:
        """The outputs as nbformat has them."""
        return deepcopy(self._value()["outputs"])

    @property
    def execution_count(self) -> int | None:
        count: int | None = self._value()["execution_count"]
        return count

    @property
    def execution(self) -> dict[str, Any]:
        """What is known of the cell's run: ``{}`` or ``{"state": "running", …}``."""
        return deepcopy(self._value()["execution"])

    @property
    def input(self) -> Question | None:
        """What the cell asks, while it runs ``input()``; see ``Document.answer``."""
        return Question.of(self._id, self._value()["execution"])

    def run(self, *, wait: bool = True) -> Running:
        """Run the cell; see ``Document.run``."""
        return self._document.run(self, wait=wait)

    def json(self) -> dict[str, Any]:
        """The cell as it would stand in the file, large outputs as in :meth:`Document.notebook`."""
        from ..transforms.notebook import cell_json  # late: see Document.notebook

        return deepcopy(cell_json(self._id, self._value()))

    def set_source(self, text: str, *, at: Mark | None = None) -> None:
        """Make the source this text by the smallest edit, so that what others type stays.

        ``at``: the text was made from the cell as it was at that mark; what others typed since
        then is kept.
        """
        old = self.source if at is None else _source_at(at, self._id)
        self._edit(diff_text(old, text), at)

    def edit(self, offset: int, delete: int = 0, insert: str = "") -> None:
        """Delete that many code points at an offset and insert a text there."""
        self._edit(edit_delta(len(self.source), offset, delete, insert))

    def append(self, text: str) -> None:
        """Add a text at the end of the source."""
        self.edit(len(self.source), insert=text)

    def set_metadata(self, key: str | tuple[str, ...], value: Any) -> None:
        """Write a key; a tuple of keys leads inside: ``("jupyter", "source_hidden")``."""
        self.metadata.set(key, value)

    def set_type(self, cell_type: str) -> None:
        """Make it a code, markdown or raw cell. Nothing is lost by it."""
        if cell_type not in CELL_TYPES:
            raise ValueError(f"a cell type is one of {', '.join(CELL_TYPES)}, not {cell_type!r}")
        if cell_type != self.type:
            self._write("replace", "cell_type", value=cell_type)

    def clear_outputs(self) -> None:
        """Remove the outputs that are there now, and the execution count."""
        with self._document.change():
            count = len(self._value()["outputs"])
            if count:
                self._write("edit", "outputs", delta=[-count])
            if self.execution_count is not None:
                self._write("replace", "execution_count", value=None)

    def delete(self) -> None:
        """Remove the cell."""
        self._do({"op": "remove", "path": pointer("cells", self._id), "index": self.index})

    def move(self, to: int) -> None:
        """Move the cell so that its index is ``to``; a negative one counts from the end."""
        count = len(self._document.content["order"])
        index, to = self.index, checked_index(to, count)
        if index != to:
            self._do({"op": "move", "path": pointer("cells", self._id), "index": index, "to": to})

    def _value(self) -> dict[str, Any]:
        cell: dict[str, Any] | None = self._document.content.get("cells", {}).get(self._id)
        if cell is None:
            raise KeyError(f"cell {self._id!r} is not in {self._document.path!r} any more")
        return cell

    def _edit(self, delta: Delta, at: Mark | None = None) -> None:
        if delta:
            self._write("edit", "source", at, delta=delta)

    def _write(self, verb: str, field: str, at: Mark | None = None, **more: Any) -> None:
        self._do({"op": verb, "path": pointer("cells", self._id, field), **more}, at)

    def _do(self, operation: Operation, at: Mark | None = None) -> None:
        self._document.apply([operation], at=at)


class Cells(Sequence[Cell]):
    """The cells in their order: ``cells[0]``, ``cells[-1]``, ``cells[2:5]``, ``cells["id"]``."""

    __slots__ = ("_document",)

    def __init__(self, document: Owner) -> None:
        self._document = document

    def __repr__(self) -> str:
        return repr(list(self))

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Cell]:
        """The cells that there are when the iteration begins."""
        return (Cell(self._document, cell_id) for cell_id in tuple(self._order))

    def __contains__(self, cell: object) -> bool:
        """Whether a cell, or a cell of this id, is in the document."""
        if isinstance(cell, Cell):
            return cell._document is self._document and cell.exists
        return cell in self._document.content["cells"]

    @overload
    def __getitem__(self, key: int | str) -> Cell: ...
    @overload
    def __getitem__(self, key: slice) -> list[Cell]: ...
    def __getitem__(self, key: int | str | slice) -> Cell | list[Cell]:
        """A cell by index or id, or a list of cells by slice.

        Raises :class:`IndexError` and :class:`KeyError`.
        """
        if isinstance(key, str):
            if key not in self._document.content["cells"]:
                raise KeyError(f"there is no cell {key!r} in {self._document.path!r}")
            return Cell(self._document, key)
        if isinstance(key, slice):
            return [Cell(self._document, cell_id) for cell_id in self._order[key]]
        return Cell(self._document, self._order[checked_index(key, len(self))])

    @property
    def _order(self) -> list[str]:
        order: list[str] = self._document.content["order"]
        return order


class Metadata(MutableMapping[str, Any]):
    """The metadata of a notebook or a cell. Values are atomic: a list is replaced as a whole; use
    :meth:`set` with a tuple of keys to write inside of an object."""

    __slots__ = ("_document", "_where")

    def __init__(self, document: Owner, where: tuple[str, ...]) -> None:
        self._document = document
        self._where = where

    def __repr__(self) -> str:
        return repr(self._value())

    def __getitem__(self, key: str) -> Any:
        return deepcopy(self._value()[key])

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._value()))

    def __len__(self) -> int:
        return len(self._value())

    def __setitem__(self, key: str, value: Any) -> None:
        self.set(key, value)

    def __delitem__(self, key: str) -> None:
        self.remove(key)

    def set(self, key: str | tuple[str, ...], value: Any) -> None:
        """Write a key. Objects on the way of a tuple of keys are made where they are missing.

        Raises :class:`TypeError` where something else is on the way.
        """
        where, inner = self._where, self._value()
        keys = _keys(key)
        for depth, one in enumerate(keys[:-1]):
            if one not in inner:
                for missing in reversed(keys[depth + 1 :]):
                    value = {missing: value}
                keys = keys[: depth + 1]
                break
            inner = inner[one]
            if type(inner) is not dict:
                raise TypeError(f"{one!r} is no object: nothing can be written inside of it")
        if keys[-1] not in inner or not same(inner[keys[-1]], value):
            self._document.apply(
                [{"op": "replace", "path": pointer(*where, *keys), "value": value}]
            )

    def remove(self, key: str | tuple[str, ...]) -> None:
        """Remove a key. Raises :class:`KeyError` if it is not there."""
        inner: Any = self._value()
        keys = _keys(key)
        for one in keys:
            if type(inner) is not dict or one not in inner:
                raise KeyError(one)
            inner = inner[one]
        self._document.apply([{"op": "remove", "path": pointer(*self._where, *keys)}])

    def _value(self) -> dict[str, Any]:
        value: Any = self._document.content
        for key in self._where:
            if key not in value:
                raise KeyError(f"cell {self._where[1]!r} is not there any more")
            value = value[key]
        metadata: dict[str, Any] = value
        return metadata


def edit_delta(length: int, offset: int, delete: int, insert: str) -> Delta:
    """The delta of one edit in a text of that length. Raises :class:`IndexError`."""
    if offset < 0 or delete < 0 or offset + delete > length:
        raise IndexError(f"{offset} + {delete} is not within a text of {length} code points")
    return canonical([offset, insert, -delete])


def checked_index(index: int, count: int) -> int:
    """An index from 0. Raises :class:`IndexError` unless it is that of one of ``count`` cells."""
    if not -count <= index < count:
        raise IndexError(f"there is no cell {index}: there are {count}")
    return index % count


def text_change(path: str, delta: Delta) -> Change:
    """The change that is one edit, or none."""
    return [{"op": "edit", "path": path, "delta": delta}] if delta else []


def _keys(key: str | tuple[str, ...]) -> tuple[str, ...]:
    keys = (key,) if isinstance(key, str) else tuple(key)
    if not keys:
        raise KeyError("an empty tuple names nothing")
    return keys


def _source_at(mark: Mark, cell_id: str) -> str:
    cell = mark.content.get("cells", {}).get(cell_id)
    if cell is None:
        raise KeyError(f"there was no cell {cell_id!r} at this mark")
    source: str = cell["source"]
    return source


def _shortened(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "…"
