"""JSON Patch (RFC 6902) in and out.

A patch addresses a notebook as nbformat JSON, by index (``/cells/3/source``) or, our extension, by
id (``/cells/@ID/source``); a text file is ``{"source": "text"}`` to it. :func:`resolve_patch` makes
a patch into a change, with ids in place of indexes; :func:`project_entry` is the way back.

How a patch is resolved: it is carried out on a *view*, the JSON that its author sees, exactly as
the RFC says. Each write to the view is followed in the document by the operation that says the
same. Where there is none (the whole list is replaced, a required field is gone for a moment) the
document stays behind, *unsettled*, until the view can be read as a notebook again: at the next
``test``, or at the end, where a diff catches up. A patch whose end is no notebook is refused.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from .apply import apply
from .check import check_field, check_operation, check_value
from .delta import apply_delta, canonical
from .diff import adopt_ids, diff, diff_list, same
from .notebook import NBFORMAT, NBFORMAT_MINOR, cell_json, document_notebook, json_cell
from .pointer import Segments, pointer, segments
from .values import (
    CELL_ID,
    CELL_TYPES,
    MAX_DEPTH,
    Cell,
    Change,
    Delta,
    Document,
    Json,
    Operation,
    Refused,
    is_notebook,
    new_cell,
)

# A place in the view: the keys of objects, the indexes of arrays.
Keys = tuple[str | int, ...]

_INDEX: Final = re.compile("0|[1-9][0-9]{0,15}")
_MAX_SEGMENTS: Final = 2 * MAX_DEPTH
# What a patch may make of little, in characters: by copies of copies, by arrays that are written
# again and again. Some seconds of work.
_MAX_WORK: Final = 2**25
_NODE: Final = 32  # what a value costs besides its text
_CELL: Final = 256  # what it costs to look at a cell
_OUTPUT: Final = 512  # what it costs to look at an output

_GONE: Final[Any] = object()  # the value of what is removed

_MEMBERS: Final = {
    "add": ("path", "value"),
    "remove": ("path",),
    "replace": ("path", "value"),
    "move": ("path", "from"),
    "copy": ("path", "from"),
    "test": ("path", "value"),
}
_ALWAYS: Final = ("cell_type", "metadata", "source")
_OF_CODE: Final = ("execution_count", "outputs")
_FIELDS: Final = ("id", *_ALWAYS, *_OF_CODE, "attachments")
_NOTEBOOK: Final = ("cells", "metadata", "nbformat", "nbformat_minor")


def random_id() -> str:
    """An id for a new cell: 8 hex digits."""
    return secrets.token_hex(4)


# In


def resolve_patch(document: Document, patch: Json, mint: Callable[[], str] = random_id) -> Change:
    """The change that does to the document what the patch does to its JSON.

    Without its ``test`` operations the change is valid (``check_change``), made for ``document``.
    Each ``test`` keeps its place; its path names cells as ``/cells/@ID``, and it is not evaluated
    here: see :func:`test_holds`. ``mint`` makes the ids of cells that come without one.

    Raises :class:`Refused` with a pointer into the patch: ``bad_patch``, ``bad_pointer``,
    ``not_found``, ``out_of_range``, ``not_writable``, ``wrong_type``, ``exists``, ``bad_id``,
    ``missing_field``, ``unknown_field``, ``too_large``, and what :func:`check_value` raises. Where
    it is only the end that is no notebook, the pointer is that of the operation since which.
    """
    if type(patch) is not list:
        raise Refused("bad_patch", "a JSON Patch is a list of operations")
    draft = _Draft(document, mint)
    for index, operation in enumerate(patch):
        try:
            draft.take(operation, f"/{index}")
        except Refused as refused:
            raise refused.within(f"/{index}") from None
    draft.finish()
    return draft.change


class _Untouched(NamedTuple):
    """Stands in the view for a cell that the patch has not looked at yet."""

    id: str


class _Draft:
    """The view, the document that follows it, and the change so far.

    While nothing is unsettled, ``view["cells"]`` has the cells of ``document["order"]``, in that
    order. The view is copied on write: it shares values with the patch and the document.
    """

    __slots__ = ("at", "change", "document", "mint", "retyped", "unsettled", "view", "work")

    def __init__(self, document: Document, mint: Callable[[], str]) -> None:
        self.document = document
        self.mint = mint
        self.change: Change = []
        self.unsettled: Refused | None = None
        self.retyped: set[str] = set()  # cells whose type was written
        self.work = 0
        self.at = ""  # the member of the patch that is being carried out
        self.view: Json = dict(document)
        if is_notebook(document):
            shell = document_notebook({**document, "cells": {}, "order": []})
            self.view = {**shell, "cells": [_Untouched(cell) for cell in document["order"]]}

    # One operation of the patch

    def take(self, operation: Json, at: str) -> None:
        """Carry out an operation of the patch; ``at`` is its pointer."""
        if type(operation) is not dict:
            raise Refused("bad_patch", "an operation is an object")
        verb = operation.get("op")
        members = _MEMBERS.get(verb) if type(verb) is str else None
        if members is None:
            raise Refused("bad_patch", f"'op' is one of {', '.join(_MEMBERS)}", "/op")
        for member in members:
            if member not in operation:
                raise Refused("bad_patch", f"{verb!r} has {member!r}", pointer(member))
        where = _segments(operation, "path")
        value = operation.get("value")
        if "value" in members:
            try:
                check_value(value, len(where) - 2)  # counted from a cell, as everywhere
            except Refused as refused:
                raise refused.within("/value") from None
        self.at = at + ("/value" if "value" in members else "/path")
        if verb == "test":
            self._test(where, value)
        elif verb == "add":
            self._put(self._locate(where, "/path", new=True), value, insert=True)
        elif verb == "replace":
            self._put(self._locate(where, "/path"), value)
        elif verb == "remove":
            if not where:
                raise Refused("not_writable", "a document can't be removed from itself", "/path")
            self._put(self._locate(where, "/path"), _GONE)
        else:
            origin = self._locate(_segments(operation, "from"), "/from")
            if verb == "move":
                self._move(origin, where)
            else:
                self._copy(origin, where)

    def _test(self, where: Segments, value: Json) -> None:
        if self.unsettled:
            self._try_to_settle()
        if len(where) > 1 and where[0] == "cells" and not where[1].startswith("@"):
            index = self._locate(where[:2], "/path")[1]
            cell_id = _id_of(self.view["cells"][index])
            if type(cell_id) is not str:
                raise Refused("not_found", "there is no cell", "/path")
            where = ("cells", "@" + cell_id, *where[2:])
        self.change.append({"op": "test", "path": pointer(*where), "value": value})

    def _move(self, origin: Keys, where: Segments) -> None:
        target = self._bound(where)
        if target == tuple(map(str, origin)):
            return
        if target[: len(origin)] == tuple(map(str, origin)):
            raise Refused("bad_patch", "nothing can be moved into itself", "/path")
        value = self._value(origin)
        self.view = _written(self.view, origin, _GONE)
        # The RFC counts in what is left without the value.
        keys = self._locate(where, "/path", new=True)
        if self.unsettled is None and _is_cell(origin) and _is_cell(keys):
            self.view = _written(self.view, keys, value, insert=True)
            if origin != keys:
                path = pointer("cells", self.document["order"][origin[1]])
                self._emit([{"op": "move", "path": path, "index": origin[1], "to": keys[1]}])
            return
        self._follow(origin, _GONE)
        self._put(keys, value, insert=True)

    def _copy(self, origin: Keys, where: Segments) -> None:
        value = self._value(origin)
        self._spend(_weight(value, _MAX_WORK - self.work))
        keys = self._locate(where, "/path", new=True)
        if _is_cell(keys) and type(value) is dict:
            value = {key: item for key, item in value.items() if key != "id"}  # gets a new one
        self._put(keys, value, insert=True)

    # The view

    def _locate(self, where: Segments, member: str, *, new: bool = False) -> Keys:
        """The place of a path in the view; of a ``new`` value's the parent must be there."""
        value: Json = self.view
        keys: list[str | int] = []
        for depth, part in enumerate(where):
            is_new = new and depth == len(where) - 1
            if depth:
                value = self._child(value, keys)
            if type(value) is dict:
                if part not in value and not is_new:
                    raise Refused("not_found", f"there is no {part!r}", member)
                keys.append(part)
            elif type(value) is list:
                if depth == 1 and keys[0] == "cells" and part.startswith("@"):
                    keys.append(self._index_of(part[1:], member))
                else:
                    keys.append(_index(part, len(value), is_new, member))
            else:
                raise Refused("not_found", f"{part!r} is in no object or array", member)
        return tuple(keys)

    def _child(self, container: Json, keys: list[str | int]) -> Json:
        """What the last of the keys leads to from the container, a cell as JSON."""
        value = container[keys[-1]]
        if type(value) is _Untouched:
            value = container[keys[-1]] = cell_json(value.id, self.document["cells"][value.id])
        return value

    def _index_of(self, cell_id: str, member: str) -> int:
        for index, item in enumerate(self.view["cells"]):
            if _id_of(item) == cell_id:
                return index
        raise Refused("not_found", f"there is no cell {cell_id!r}", member)

    def _bound(self, where: Segments) -> Segments:
        """The path with a cell's index in place of its id."""
        if len(where) > 1 and where[0] == "cells" and where[1].startswith("@"):
            return tuple(map(str, self._locate(where[:2], "/path"))) + where[2:]
        return where

    def _value(self, keys: Keys) -> Json:
        if len(keys) < 2 and type(self.view) is dict and type(self.view.get("cells")) is list:
            cells = self.view["cells"]
            for index in range(len(cells)):
                self._child(cells, [index])
        value = self.view
        for depth in range(len(keys)):
            value = self._child(value, list(keys[: depth + 1]))
        return value

    def _put(self, keys: Keys, value: Json, *, insert: bool = False) -> None:
        """Write to the view, and follow it in the document."""
        if len(keys) > 2 and keys[0] == "cells" and keys[2] == "id":
            if len(keys) == 3 and value == self._value(keys[:2]).get("id", _GONE):
                return
            raise Refused("not_writable", "a cell keeps its id: remove it and add another", "/path")
        value = _completed(keys, value)
        self.view = _written(self.view, keys, value, insert)
        self._follow(keys, value, insert)

    # The document

    def _follow(self, keys: Keys, value: Json, insert: bool = False) -> None:
        """Bring the document to what was just written to the view, if it can be said."""
        if self.unsettled is None:
            try:
                if len(keys) < 2 and is_notebook(self.document):
                    self._settle()
                else:
                    self._translate(keys, value, insert)
            except Refused as refused:
                if refused.code == "too_large":
                    raise
                place = pointer(*keys)
                known = self.at.endswith("/value") and refused.pointer.startswith(place)
                detail = refused.pointer[len(place) :] if known else ""
                self.unsettled = Refused(refused.code, refused.message, self.at + detail)
        elif len(keys) < 2:
            self._try_to_settle()

    def _translate(self, keys: Keys, value: Json, insert: bool) -> None:
        """The operations that say what was just written to the view."""
        if not is_notebook(self.document):
            target = _text_document(self.view)
            self._emit(diff(self.document, target))
        elif keys[0] == "metadata":
            self._write_register(
                ("metadata",), self.document["metadata"], self.view["metadata"], keys[1:]
            )
        elif _is_cell(keys):
            if value is _GONE:
                self._remove_cell(keys[1])
            elif insert:
                self._add_cell(keys[1], value)
            else:
                self._replace_cell(keys[1], value)
        else:
            self._write_field(int(keys[1]), str(keys[2]), keys[3:])

    def _remove_cell(self, index: Any) -> None:
        path = pointer("cells", self.document["order"][index])
        self._emit([{"op": "remove", "path": path, "index": index}])

    def _add_cell(self, index: Any, value: Json) -> None:
        place = pointer("cells", index)
        try:
            cell_id = self._new_id(value, self.document["cells"])
            cell = _read_cell(value)
        except Refused as refused:
            raise refused.within(place) from None
        path = pointer("cells", cell_id)
        self._emit([{"op": "add", "path": path, "index": index, "value": cell}])
        self.view["cells"][index] = {**value, "id": cell_id}

    def _replace_cell(self, index: Any, value: Json) -> None:
        """Another id: another cell. The same id: only what differs is written."""
        cell_id = self.document["order"][index]
        if type(value) is dict and value.get("id", cell_id) != cell_id:
            try:
                new_id = self._new_id(value, self.document["cells"])
                cell = _read_cell(value)
            except Refused as refused:
                raise refused.within(pointer("cells", index)) from None
            self._emit(
                [
                    {"op": "remove", "path": pointer("cells", cell_id), "index": index},
                    {"op": "add", "path": pointer("cells", new_id), "index": index, "value": cell},
                ]
            )
            return
        old = self.document["cells"][cell_id]
        try:
            cell = self._read_known(cell_id, value)
        except Refused as refused:
            raise refused.within(pointer("cells", index)) from None
        self._emit(_diff_cell(cell_id, old, cell))
        self.view["cells"][index] = {**value, "id": cell_id}

    def _write_field(self, index: int, field: str, inner: Keys) -> None:
        cell_id = self.document["order"][index]
        cell = self.document["cells"][cell_id]
        view = self.view["cells"][index]
        place = pointer("cells", index, field)
        if field not in _FIELDS:
            raise Refused("unknown_field", f"a cell has no {field!r}", place)
        if field not in view and (
            field in _ALWAYS or (field in _OF_CODE and view.get("cell_type") == "code")
        ):
            raise Refused("missing_field", f"a cell has {field!r}", place)
        if field not in view and field != "attachments":
            return  # what a cell of another type still holds does not show
        value = view.get(field, {})
        if inner and field in ("metadata", "attachments"):
            self._write_register(("cells", cell_id, field), cell[field], value, inner)
            return
        if field == "outputs":
            self._spend(_OUTPUT * len(cell["outputs"]))
        try:
            target = _merged(cell, {field: value})
        except Refused as refused:
            raise refused.within(pointer("cells", index)) from None
        if field == "cell_type":
            self.retyped.add(cell_id)
        self._emit(_diff_cell(cell_id, cell, target))

    def _write_register(
        self, at: Segments, held: dict[str, Json], shown: dict[str, Json], keys: Keys
    ) -> None:
        """Write the key that was written in the view, or the array around it: to the document
        an array is one value."""
        while len(keys) > 1:
            below = shown[str(keys[0])]
            if type(below) is not dict:
                self._spend(_weight(below, _MAX_WORK - self.work))
                break
            at, held, shown, keys = (*at, str(keys[0])), held[str(keys[0])], below, keys[1:]
        key = str(keys[0])
        path = pointer(*at, key)
        if key not in shown:
            if key in held:
                self._emit([{"op": "remove", "path": path}])
        elif key not in held or not same(held[key], shown[key]):
            self._emit([{"op": "replace", "path": path, "value": shown[key]}])

    def _emit(self, change: Change) -> None:
        """Carry out operations, all or none."""
        try:
            for operation in change:
                notebook = is_notebook(self.document)
                check_operation(operation, notebook=notebook, from_client=False)
        except Refused as refused:
            raise Refused(refused.code, refused.message) from None
        self.document = apply(self.document, change)
        self.change += change

    def _new_id(self, value: Json, taken: Any) -> str:
        """The id of a cell that is added."""
        if type(value) is not dict:
            raise Refused("wrong_type", "a cell is an object")
        if "id" not in value:
            while (cell_id := self.mint()) in taken:
                pass
            return cell_id
        given = value["id"]
        if type(given) is not str or not CELL_ID.fullmatch(given):
            raise Refused("bad_id", f"a cell id matches {CELL_ID.pattern}", "/id")
        if given in taken:
            raise Refused("exists", f"there is a cell {given!r} already", "/id")
        return given

    def _read_known(self, cell_id: str, value: Json) -> Cell:
        """The cell of the document as the view has it now."""
        old = self.document["cells"][cell_id]
        retyped = cell_id in self.retyped
        return _read_cell(value, old, retyped=retyped)

    # Catching up

    def finish(self) -> None:
        """Settle what is unsettled; raise :class:`Refused` if the view can't be a document."""
        if self.unsettled:
            try:
                self._settle()
            except Refused as refused:
                place = f" ({refused.pointer} in the result)" if refused.pointer else ""
                raise Refused(
                    refused.code, refused.message + place, self.unsettled.pointer
                ) from None
        for cell_id in sorted(self.retyped):
            self._uncover(cell_id)

    def _uncover(self, cell_id: str) -> None:
        """A type shows what another did not: if the author has seen to all fields of the new
        type, the cell has what he says, else also what it had."""
        if cell_id not in self.document["cells"]:
            return
        value = self.view["cells"][self._index_of(cell_id, "")]
        if type(value) is dict and _is_complete(value):
            cell = self._read_known(cell_id, value)
            self._emit(_diff_cell(cell_id, self.document["cells"][cell_id], cell))

    def _try_to_settle(self) -> None:
        try:
            self._settle()
        except Refused as refused:
            if refused.code == "too_large":
                raise

    def _settle(self) -> None:
        """Make the document what the view is. Refusals point into the view."""
        if not is_notebook(self.document):
            self._emit(diff(self.document, _text_document(self.view)))
            self.unsettled = None
            return
        items = _cells(self.view)
        self._spend(_CELL * len(items))
        order = self._order(items)
        cells: dict[str, Cell] = {}
        for index, (cell_id, item) in enumerate(zip(order, items, strict=True)):
            try:
                if type(item) is _Untouched:
                    cells[cell_id] = self.document["cells"][cell_id]
                elif cell_id in self.document["cells"]:
                    cells[cell_id] = self._read_known(cell_id, item)
                else:
                    cells[cell_id] = _read_cell(item)
            except Refused as refused:
                raise refused.within(pointer("cells", index)) from None
        held = self.document["metadata"]
        shown = document_notebook({"cells": {}, "order": [], "metadata": held})["metadata"]
        metadata = {**_hidden(held, shown), **self.view["metadata"]}
        self._emit(diff(self.document, {"cells": cells, "order": order, "metadata": metadata}))
        items = [
            item if type(item) is _Untouched else {**item, "id": cell_id}
            for cell_id, item in zip(order, items, strict=True)
        ]
        self.view = {**self.view, "cells": items}
        self.unsettled = None

    def _order(self, items: list[Json]) -> list[str]:
        """The ids of the view's cells; those that have none are recognised or get a new one."""
        known = self.document["cells"]
        taken = {cell_id for item in items if type(cell_id := _id_of(item)) is str}
        renewed = any(cell_id not in known for cell_id in taken)
        order: dict[str, None] = {}
        used = {*taken, *known}
        for index, item in enumerate(items):
            try:
                if type(item) is _Untouched:
                    if item.id in order:
                        raise Refused("exists", f"there is a cell {item.id!r} already", "/id")
                    cell_id = item.id
                elif type(item) is dict and "id" in item:
                    cell_id = self._new_id(item, order)
                else:
                    cell_id = self._new_id(item, used)
                    used.add(cell_id)
            except Refused as refused:
                raise refused.within(pointer("cells", index)) from None
            order[cell_id] = None
        if renewed or len(order) == len(taken):
            return list(order)
        cells = {
            cell_id: known[cell_id] if cell_id in known else _rough_cell(item)
            for cell_id, item in zip(order, items, strict=True)
        }
        rough = {"cells": cells, "order": list(order), "metadata": {}}
        adopted: list[str] = adopt_ids(self.document, rough)["order"]
        return adopted

    def _spend(self, work: int) -> None:
        self.work += work
        if self.work > _MAX_WORK:
            raise Refused("too_large", "the patch makes too much of too little")


def _segments(operation: Operation, member: str) -> Segments:
    path = operation[member]
    if type(path) is not str:
        raise Refused("bad_pointer", f"{member!r} is a JSON Pointer", pointer(member))
    try:
        check_value(path)
        where = segments(path)
    except Refused as refused:
        raise Refused(refused.code, refused.message, pointer(member)) from None
    if len(where) > _MAX_SEGMENTS:
        raise Refused("not_found", "nothing is nested that deep", pointer(member))
    return where


def _index(part: str, length: int, new: bool, member: str) -> int:
    """The index of an element of an array, or of the gap for a ``new`` one."""
    if part == "-":
        index = length
    elif _INDEX.fullmatch(part):
        index = int(part)
    else:
        raise Refused("bad_pointer", f"{part!r} is no index of an array", member)
    if index > length or (index == length and not new):
        raise Refused("out_of_range", f"the array has {length} elements", member)
    return index


def _is_cell(keys: Keys) -> bool:
    return len(keys) == 2 and keys[0] == "cells" and type(keys[1]) is int


def _id_of(item: Json) -> Json:
    if type(item) is _Untouched:
        return item.id
    return item.get("id") if type(item) is dict else None


def _written(container: Json, keys: Keys, value: Json, insert: bool = False) -> Json:
    """A copy of the container with the value written to a place that was located in it."""
    if not keys:
        return value
    key = keys[0]
    copy: Any = container.copy()
    if len(keys) > 1:
        copy[key] = _written(container[key], keys[1:], value, insert)
    elif value is _GONE:
        del copy[key]
    elif insert and type(copy) is list:
        copy.insert(int(key), value)
    else:
        copy[key] = value
    return copy


def _completed(keys: Keys, value: Json) -> Json:
    """What is written to a place; cells may come without the fields that can be empty."""
    if len(keys) == 2 and keys[0] == "cells" and type(value) is dict:
        cell_type = value.get("cell_type")
        if cell_type in CELL_TYPES:
            empty = cell_json("", new_cell(cell_type))
            del empty["id"]
            return {**empty, **value}
    elif keys == ("cells",) and type(value) is list:
        return [_completed(("cells", 0), item) for item in value]
    elif not keys and type(value) is dict and "cells" in value:
        return {**value, "cells": _completed(("cells",), value["cells"])}
    return value


def _weight(value: Json, limit: int) -> int:
    """About how many characters the value has; the count ends beyond the limit."""
    weight = 0
    stack = [value]
    while stack and weight <= limit:
        item = stack.pop()
        weight += _NODE
        if type(item) is str:
            weight += len(item)
        elif type(item) is list:
            stack += item
        elif type(item) is dict:
            weight += sum(map(len, item))
            stack += item.values()
    return weight


# Reading the view


def _text_document(view: Json) -> Document:
    if type(view) is not dict:
        raise Refused("wrong_type", "a text file is an object with its source")
    for key in view:
        if key != "source":
            raise Refused("unknown_field", f"a text file has no {key!r}", pointer(key))
    if "source" not in view:
        raise Refused("missing_field", "a text file has 'source'", "/source")
    if type(view["source"]) is not str:
        raise Refused("wrong_type", "a source is one string", "/source")
    return view


def _cells(view: Json) -> list[Json]:
    """The cells of a view that is a notebook but for what they are."""
    if type(view) is not dict:
        raise Refused("wrong_type", "a notebook is an object")
    for key in view:
        if key not in _NOTEBOOK:
            raise Refused("unknown_field", f"a notebook has no {key!r}", pointer(key))
    for key in _NOTEBOOK:
        if key not in view:
            raise Refused("missing_field", f"a notebook has {key!r}", pointer(key))
    for key, number in (("nbformat", NBFORMAT), ("nbformat_minor", NBFORMAT_MINOR)):
        if not same(view[key], number):
            raise Refused("not_writable", f"{key!r} is {number}", pointer(key))
    if type(view["metadata"]) is not dict:
        raise Refused("wrong_type", "'metadata' is an object", "/metadata")
    if type(view["cells"]) is not list:
        raise Refused("wrong_type", "'cells' is an array", "/cells")
    return view["cells"]


def _read_cell(value: Json, old: Cell | None = None, *, retyped: bool = False) -> Cell:
    """The complete cell; of the ``old`` one stays what did not and does not show."""
    if type(value) is not dict:
        raise Refused("wrong_type", "a cell is an object")
    for field in value:
        if field not in _FIELDS:
            raise Refused("unknown_field", f"a cell has no {field!r}", pointer(field))
    required = list(_ALWAYS)
    if value.get("cell_type") == "code" and not retyped and old and old["cell_type"] == "code":
        required += _OF_CODE
    for field in required:
        if field not in value:
            raise Refused("missing_field", f"a cell has {field!r}", pointer(field))
    given = {field: item for field, item in value.items() if field != "id"}
    if old is None:
        return _merged(new_cell(), given)
    return _merged(old, {"attachments": {}, **given})


def _rough_cell(value: Json) -> Cell:
    """The cell, for telling which one it is: what is wrong with it is told later."""
    try:
        return _read_cell(value)
    except Refused:
        return new_cell()


def _merged(old: Cell, given: dict[str, Json]) -> Cell:
    """The cell with some of its JSON fields written. What ``old`` holds stays where it does not
    show, not even in a cell of the given type: the author could not have kept it."""
    new = {field: _read_field(field, value) for field, value in given.items()}
    if "outputs" in new:
        new["outputs"] = apply_delta(old["outputs"], _outputs_delta(old["outputs"], new["outputs"]))
    bare = new_cell({**old, **new}["cell_type"])
    for field in ("metadata", "attachments"):
        if field in new:
            shown = cell_json("", {**bare, field: old[field]}).get(field, {})
            new[field] = {**_hidden(old[field], shown), **new[field]}
    return {**old, **new}


def _hidden(held: dict[str, Json], shown: dict[str, Json]) -> dict[str, Json]:
    return {key: value for key, value in held.items() if key not in shown}


def _read_field(field: str, value: Json) -> Json:
    """A field of a cell as a document has it. Nothing but the form of texts is changed."""
    if field == "source":
        value = _joined(value)
    check_field(field, value)
    return value


def _joined(value: Json) -> Json:
    """The text of a list of lines; anything else as it is."""
    if type(value) is list and all(type(line) is str for line in value):
        return "".join(value)
    return value


def _outputs_delta(held: list[Json], new: list[Json]) -> Delta:
    """The edit that makes a code cell show ``new`` outputs. Outputs that do not show, and what
    does not show of others, stay unless what is around them goes."""
    shown = [_shown_outputs([output]) for output in held]
    places = [index for index, one in enumerate(shown) if one]
    starts = [*places, len(held)]
    delta: Delta = []
    done = at = 0  # in what is held, in what shows
    for part in diff_list([one for [one] in filter(None, shown)], new):
        if isinstance(part, int) and part > 0:
            at += part
            continue
        delta.append(starts[at] - done)
        done = starts[at]
        if isinstance(part, int):
            at -= part
            stop = places[at - 1] + 1
            delta.append(done - stop)
            done = stop
        else:
            delta.append(json_cell({"cell_type": "code", "outputs": part})[1]["outputs"])
    return canonical(delta)


def _shown_outputs(outputs: list[Json]) -> list[Json]:
    """The outputs of a code cell that reach the file, as they do."""
    shown: list[Json] = cell_json("", {**new_cell(), "outputs": outputs})["outputs"]
    return shown


def _is_complete(value: dict[str, Json]) -> bool:
    """Whether this is all that a cell of its type has, and no more."""
    if value.get("cell_type") == "code":
        return value.keys() == {"id", *_ALWAYS, *_OF_CODE}
    return value.keys() - {"attachments"} == {"id", *_ALWAYS}


def _diff_cell(cell_id: str, old: Cell, new: Cell) -> Change:
    def alone(cell: Cell) -> Document:
        return {"cells": {cell_id: cell}, "order": [cell_id], "metadata": {}}

    return diff(alone(old), alone(new))


# Tests


def test_holds(document: Document, operation: Operation) -> bool:
    """Whether a ``test`` operation of :func:`resolve_patch` holds for the document.

    A cell or value that is not there makes it fail. Values are compared as RFC 6902 says: numbers
    by value (``1`` is ``1.0``, not ``true``), objects without order. A cell's source may be given
    as a list of lines.
    """
    try:
        where = segments(operation["path"])
        found = _shown(document, where)
        value = operation["value"]
        if is_notebook(document):
            value = _joined_sources(where, value)
        return _equal(found, value)
    except (Refused, LookupError):
        return False


def _shown(document: Document, where: Segments) -> Json:
    """What a path leads to in the document's JSON; projects no more than it needs. Raises
    :class:`Refused` or :class:`LookupError` if there is nothing."""
    if not is_notebook(document):
        return _walk(document, where)
    if len(where) > 1 and where[0] == "cells":
        if where[1].startswith("@"):
            cell_id = where[1][1:]
        else:
            order = document["order"]
            cell_id = order[_index(where[1], len(order), False, "")]
        cell = document["cells"][cell_id]
        if len(where) > 2 and where[2] != "outputs":
            cell = {**cell, "outputs": []}
        return _walk(cell_json(cell_id, cell), where[2:])
    if where and where[0] != "cells":
        document = {"cells": {}, "order": [], "metadata": document["metadata"]}
    return _walk(document_notebook(document), where)


def _walk(value: Json, where: Segments) -> Json:
    for part in where:
        if type(value) is dict:
            value = value[part]
        elif type(value) is list:
            value = value[_index(part, len(value), False, "")]
        else:
            raise Refused("not_found", f"{part!r} is in no object or array")
    return value


def _joined_sources(where: Segments, value: Json) -> Json:
    """The value with the lines of cells' sources joined; ``where`` it is in a notebook."""
    if not where and type(value) is dict and "cells" in value:
        return {**value, "cells": _joined_sources(("cells",), value["cells"])}
    if where == ("cells",) and type(value) is list:
        return [_joined_sources(("cells", ""), cell) for cell in value]
    if where[:1] == ("cells",):
        if len(where) == 2 and type(value) is dict and "source" in value:
            return {**value, "source": _joined_sources((*where, "source"), value["source"])}
        if where[2:] == ("source",):
            return _joined(value)
    return value


def _equal(a: Json, b: Json) -> bool:
    stack = [(a, b)]
    while stack:
        a, b = stack.pop()
        if type(a) is dict and type(b) is dict:
            if a.keys() != b.keys():
                return False
            stack.extend((value, b[key]) for key, value in a.items())
        elif type(a) is list and type(b) is list:
            if len(a) != len(b):
                return False
            stack.extend(zip(a, b, strict=True))
        elif (type(a) is bool) is not (type(b) is bool) or a != b:
            return False
    return True


# Out


def project_entry(before: Document, change: Change) -> list[dict[str, Any]]:
    """The change as RFC 6902: the patch that makes the JSON of ``before`` into that of the
    document after the change.

    What does not show in the file (``execution``, ``kernel``, outputs of a markdown cell, ``run``)
    gives nothing. The patch shares values with its arguments. Raises as ``apply``.
    """
    patch: list[dict[str, Any]] = []
    for operation in change:
        after = apply(before, [operation])
        patch += _project(before, after, operation)
        before = after
    return patch


def _project(before: Document, after: Document, operation: Operation) -> list[dict[str, Any]]:
    verb = operation["op"]
    where = segments(operation["path"])
    if verb == "run" or where[0] == "kernel":
        return []
    if "index" in operation:
        path = pointer("cells", operation["index"])
        if verb == "add":
            value = cell_json(where[1], operation["value"])
            return [{"op": "add", "path": path, "value": value}]
        if verb == "remove":
            return [{"op": "remove", "path": path}]
        return [{"op": "move", "from": path, "path": pointer("cells", operation["to"])}]
    if not is_notebook(before):
        return _differences("", before, after, 0)
    if where[0] == "metadata":
        old, new = (
            document_notebook({"cells": {}, "order": [], "metadata": document["metadata"]})
            for document in (before, after)
        )
        return _differences("", old, new, len(where) - 1)
    cell_id, field = where[1], where[2]
    place = pointer("cells", before["order"].index(cell_id))
    if field == "outputs":
        cell = before["cells"][cell_id]
        if cell["cell_type"] != "code":
            return []
        return _project_outputs(place + "/outputs", cell["outputs"], operation["delta"])
    old, new = (_only(cell_id, document["cells"][cell_id], field) for document in (before, after))
    return _differences(place, old, new, len(where) - 3)


def _only(cell_id: str, cell: Cell, field: str) -> dict[str, Any]:
    """The cell's JSON, without what a write to the field can't change."""
    if field != "cell_type":
        cell = {**new_cell(cell["cell_type"]), field: cell[field]}
    return cell_json(cell_id, cell)


def _differences(
    place: str, old: dict[str, Json], new: dict[str, Json], depth: int
) -> list[dict[str, Any]]:
    """The patch that makes one object into another, which differs that deep inside."""
    patch: list[dict[str, Any]] = []
    for key in old:
        if key not in new:
            patch.append({"op": "remove", "path": place + pointer(key)})
    for key, value in new.items():
        path = place + pointer(key)
        if key not in old:
            patch.append({"op": "add", "path": path, "value": value})
        elif depth and type(value) is dict and type(old[key]) is dict:
            patch += _differences(path, old[key], value, depth - 1)
        elif not same(old[key], value):
            patch.append({"op": "replace", "path": path, "value": value})
    return patch


def _project_outputs(place: str, held: list[Json], delta: Delta) -> list[dict[str, Any]]:
    """The patch of an edit of a code cell's outputs: items are replaced, then added or removed;
    of an item that is edited, its text is replaced."""
    if delta == [-len(held)]:
        return [{"op": "replace", "path": place, "value": []}] if _shown_outputs(held) else []
    patch: list[dict[str, Any]] = []
    done = at = 0  # in what is held, in what shows
    new: list[Json] = []
    for part, following in zip(delta, [*delta[1:], None], strict=True):
        if isinstance(part, int) and part > 0:
            at += len(_shown_outputs(held[done : done + part]))
            done += part
            continue
        if type(part) is dict:
            items = held[done : done + 1]
            edited = apply_delta(items, [part])
            for was, value in zip(_shown_outputs(items), _shown_outputs(edited), strict=True):
                patch += _differences(place + pointer(at), was, value, 0)
                at += 1
            done += 1
            continue
        old: list[Json] = []
        if isinstance(part, int):
            old = _shown_outputs(held[done : done - part])
            done -= part
        else:
            new = _shown_outputs(part)
            if isinstance(following, int) and following < 0:
                continue
        common = min(len(old), len(new))
        for was, value in zip(old, new, strict=False):
            if not same(was, value):
                patch.append({"op": "replace", "path": place + pointer(at), "value": value})
            at += 1
        for value in new[common:]:
            patch.append({"op": "add", "path": place + pointer(at), "value": value})
            at += 1
        patch += [{"op": "remove", "path": place + pointer(at)} for _ in old[common:]]
        new = []
    return patch
