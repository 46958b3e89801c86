"""The algebra by examples: the table of transforms row by row, and everything that is refused.

The ``check_…`` functions take the algebra, so that the mutation list can run them on one with a
rule broken.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from types import ModuleType
from typing import Any, NamedTuple

import orjson
import pytest

from ot_jupyter import transforms
from ot_jupyter.transforms import Change, Delta, Document, Operation, new_cell, segments

OUTPUT = {"output_type": "stream", "name": "stdout", "text": "1"}
OTHER_OUTPUT = {"output_type": "stream", "name": "stderr", "text": "2"}

NOTEBOOK: Document = {
    "cells": {
        "a": {
            **new_cell("code", "aaa", {"k": {"m": 1}, "kk": 0}),
            "outputs": [OUTPUT, OTHER_OUTPUT],
        },
        "b": new_cell("markdown", "bbb"),
        "c": new_cell("raw", "ccc"),
    },
    "order": ["a", "b", "c"],
    "metadata": {"k": {"m": {"n": 1}}, "kk": 0},
}
TEXT: Document = {"source": "text"}


# Operations, short.


def edit(cell_id: str, *delta: Any, field: str = "source") -> Operation:
    return {"op": "edit", "path": f"/cells/{cell_id}/{field}", "delta": list(delta)}


def grow(*delta: Any) -> Operation:
    """An edit of the text of the first output."""
    return edit("a", {"text": list(delta)}, field="outputs")


def text_of(output: dict[str, Any], text: str) -> dict[str, Any]:
    return {**output, "text": text}


def write(path: str, value: Any) -> Operation:
    return {"op": "replace", "path": path, "value": value}


def unset(path: str) -> Operation:
    return {"op": "remove", "path": path}


def add(cell_id: str, index: int, source: str = "new") -> Operation:
    value = new_cell("code", source)
    return {"op": "add", "path": f"/cells/{cell_id}", "index": index, "value": value}


def take(cell_id: str, index: int) -> Operation:
    return {"op": "remove", "path": f"/cells/{cell_id}", "index": index}


def move(cell_id: str, index: int, to: int) -> Operation:
    return {"op": "move", "path": f"/cells/{cell_id}", "index": index, "to": to}


def run(cell_id: str) -> Operation:
    return {"op": "run", "path": f"/cells/{cell_id}"}


# The table.

ABSENT = object()


class Row(NamedTuple):
    name: str
    earlier: Operation
    later: Operation
    earlier_over: Change
    later_over: Change
    result: dict[str, Any]  # what is where in the end, by pointer


def same(name: str, earlier: Operation, later: Operation, result: dict[str, Any]) -> Row:
    """A row where neither changes the other."""
    return Row(name, earlier, later, [earlier], [later], result)


A, B = "/cells/a/metadata", "/metadata"

ROWS = [
    # Different cells, disjoint paths.
    same("edits in two cells", edit("a", "x"), edit("b", "y"),
         {"/cells/a/source": "xaaa", "/cells/b/source": "ybbb"}),
    same("source and outputs", edit("a", "x"), edit("a", -1, field="outputs"),
         {"/cells/a/source": "xaaa", "/cells/a/outputs": [OTHER_OUTPUT]}),
    same("two keys", write(A + "/k", 1), write(A + "/kk", 2), {A: {"k": 1, "kk": 2}}),
    same("a key and one that starts like it", unset(A + "/k"), write(A + "/kk", 2),
         {A: {"kk": 2}}),
    same("a key and one that it starts like", write(A + "/kk", 2), unset(A + "/k"),
         {A: {"kk": 2}}),
    same("the notebook's and a cell's", write(A + "/k", 1), write(B + "/k", 2),
         {A + "/k": 1, B + "/k": 2}),
    same("keys that are escapes", write(A + "/~01", 1), write(A + "/~001", 2),
         {A: {"k": {"m": 1}, "kk": 0, "~1": 1, "~01": 2}}),
    same("a key with a slash is no way", write(A + "/k~1m", 1), unset(A + "/k/m"),
         {A: {"k": {}, "kk": 0, "k/m": 1}}),
    same("edit and move", edit("a", "x"), move("a", 0, 2),
         {"/cells/a/source": "xaaa", "/order": ["b", "c", "a"]}),
    same("move and edit", move("a", 0, 2), edit("a", "x"),
         {"/cells/a/source": "xaaa", "/order": ["b", "c", "a"]}),
    same("edit and run", edit("a", "x"), run("a"), {"/cells/a/source": "xaaa"}),
    same("run and run", run("a"), run("a"), {"/order": ["a", "b", "c"]}),
    same("run and move", run("a"), move("a", 0, 1), {"/order": ["b", "a", "c"]}),
    # Edit and edit.
    Row("insert tie: the later goes left", edit("a", 1, "E"), edit("a", 1, "L"),
        [edit("a", 2, "E")], [edit("a", 1, "L")], {"/cells/a/source": "aLEaa"}),
    Row("insert before an insert", edit("a", 1, "E"), edit("a", 2, "L"),
        [edit("a", 1, "E")], [edit("a", 3, "L")], {"/cells/a/source": "aEaLa"}),
    Row("insert into what is deleted", edit("a", 1, "E"), edit("a", -3),
        [edit("a", "E")], [edit("a", -1, 1, -2)], {"/cells/a/source": "E"}),
    Row("delete around what is inserted", edit("a", -3), edit("a", 1, "L"),
        [edit("a", -1, 1, -2)], [edit("a", "L")], {"/cells/a/source": "L"}),
    Row("deletes that overlap", edit("b", -2), edit("b", 1, -2),
        [edit("b", -1)], [edit("b", -1)], {"/cells/b/source": ""}),
    Row("the same delete", edit("b", 1, -1), edit("b", 1, -1),
        [], [], {"/cells/b/source": "bb"}),
    Row("two replace the same", edit("a", "E", -3), edit("a", "L", -3),
        [edit("a", 1, "E")], [edit("a", "L")], {"/cells/a/source": "LE"}),
    Row("a code point is one, also beyond the BMP", edit("a", "\U0001f600"), edit("a", 1, "L"),
        [edit("a", "\U0001f600")], [edit("a", 2, "L")], {"/cells/a/source": "\U0001f600aLaa"}),
    Row("outputs: the later goes left", edit("a", 2, [OUTPUT], field="outputs"),
        edit("a", 2, [OTHER_OUTPUT], field="outputs"),
        [edit("a", 3, [OUTPUT], field="outputs")],
        [edit("a", 2, [OTHER_OUTPUT], field="outputs")],
        {"/cells/a/outputs": [OUTPUT, OTHER_OUTPUT, OTHER_OUTPUT, OUTPUT]}),
    Row("an item's text: the later goes left", grow(1, "E"), grow(1, "L"),
        [grow(2, "E")], [grow(1, "L")],
        {"/cells/a/outputs": [text_of(OUTPUT, "1LE"), OTHER_OUTPUT]}),
    Row("the same delete in an item's text", grow(-1), grow(-1),
        [], [], {"/cells/a/outputs": [text_of(OUTPUT, ""), OTHER_OUTPUT]}),
    Row("an item's text that is cleared", grow(1, "E"), edit("a", -2, field="outputs"),
        [], [edit("a", -2, field="outputs")], {"/cells/a/outputs": []}),
    Row("a text in a cleared item", edit("a", -1, field="outputs"), grow(1, "L"),
        [edit("a", -1, field="outputs")], [], {"/cells/a/outputs": [OTHER_OUTPUT]}),
    Row("an item's text behind a new item", grow(1, "E"),
        edit("a", [OTHER_OUTPUT], field="outputs"),
        [edit("a", 1, {"text": [1, "E"]}, field="outputs")],
        [edit("a", [OTHER_OUTPUT], field="outputs")],
        {"/cells/a/outputs": [OTHER_OUTPUT, text_of(OUTPUT, "1E"), OTHER_OUTPUT]}),
    same("texts of two items", grow(1, "E"),
         edit("a", 1, {"text": [-1]}, field="outputs"),
         {"/cells/a/outputs": [text_of(OUTPUT, "1E"), text_of(OTHER_OUTPUT, "")]}),
    # One register.
    Row("replace and replace: the later", write(A + "/k", 1), write(A + "/k", 2),
        [], [write(A + "/k", 2)], {A + "/k": 2}),
    Row("two create one key: the later", write(A + "/new", 1), write(A + "/new", 2),
        [], [write(A + "/new", 2)], {A + "/new": 2}),
    Row("arrays are atomic", write(A + "/k", [1]), write(A + "/k", [2]),
        [], [write(A + "/k", [2])], {A + "/k": [2]}),
    Row("replace and remove: the later", write(A + "/k", 1), unset(A + "/k"),
        [], [unset(A + "/k")], {A + "/k": ABSENT}),
    Row("remove and replace: the later", unset(A + "/k"), write(A + "/k", 1),
        [], [write(A + "/k", 1)], {A + "/k": 1}),
    Row("remove and remove", unset(A + "/k"), unset(A + "/k"), [], [], {A + "/k": ABSENT}),
    Row("the cell type", write("/cells/a/cell_type", "raw"), write("/cells/a/cell_type", "code"),
        [], [write("/cells/a/cell_type", "code")], {"/cells/a/cell_type": "code"}),
    # An ancestor and what is inside, the ancestor's write earlier.
    Row("inside what was replaced", write(A, {"k": {}, "z": 0}), write(A + "/k/m", 2),
        [write(A, {"k": {"m": 2}, "z": 0})], [write(A + "/k/m", 2)],
        {A: {"k": {"m": 2}, "z": 0}}),
    Row("a new key in what was replaced", write(A, {}), write(A + "/new", 2),
        [write(A, {"new": 2})], [write(A + "/new", 2)], {A: {"new": 2}}),
    Row("no way in what was replaced", write(A, {"k": 5}), write(A + "/k/m", 2),
        [write(A, {"k": 5})], [], {A: {"k": 5}}),
    Row("an array is no way", write(B + "/k", [{"n": 1}]), write(B + "/k/m", 2),
        [write(B + "/k", [{"n": 1}])], [], {B + "/k": [{"n": 1}]}),
    Row("removal inside what was replaced, the key exists",
        write(B, {"k": {"m": 5}}), unset(B + "/k/m"),
        [write(B, {"k": {}})], [unset(B + "/k/m")], {B: {"k": {}}}),
    Row("removal inside what was replaced, no such key", write(B, {"k": {}}), unset(B + "/k/m"),
        [write(B, {"k": {}})], [], {B: {"k": {}}}),
    # An ancestor and what is inside, the ancestor's write later.
    Row("replace of what was written in", write(A + "/k/m", 2), write(A, {"k": {}}),
        [], [write(A, {"k": {}})], {A: {"k": {}}}),
    Row("replace of what was removed from", unset(A + "/k/m"), write(A + "/k", {"m": 3}),
        [], [write(A + "/k", {"m": 3})], {A + "/k": {"m": 3}}),
    # Container removed, write inside.
    Row("container removed, write inside", unset(B + "/k"), write(B + "/k/m/n", 2),
        [unset(B + "/k")], [], {B: {"kk": 0}}),
    Row("write inside, container removed", write(B + "/k/m/n", 2), unset(B + "/k"),
        [], [unset(B + "/k")], {B: {"kk": 0}}),
    Row("container removed, removal inside", unset(B + "/k"), unset(B + "/k/m"),
        [unset(B + "/k")], [], {B: {"kk": 0}}),
    Row("removal inside, container removed", unset(B + "/k/m"), unset(B + "/k"),
        [], [unset(B + "/k")], {B: {"kk": 0}}),
    # Add and add.
    Row("two adds at one gap: the later above", add("x", 1), add("y", 1),
        [add("x", 2)], [add("y", 1)], {"/order": ["a", "y", "x", "b", "c"]}),
    Row("an add above an add", add("x", 1), add("y", 2),
        [add("x", 1)], [add("y", 3)], {"/order": ["a", "x", "b", "y", "c"]}),
    Row("an add below an add", add("x", 2), add("y", 1),
        [add("x", 3)], [add("y", 1)], {"/order": ["a", "y", "b", "x", "c"]}),
    Row("both add one id: the earlier cell stands", add("s", 0, "E"), add("s", 3, "L"),
        [take("s", 3), add("s", 0, "E")], [],
        {"/order": ["s", "a", "b", "c"], "/cells/s/source": "E"}),
    Row("both add one cell at one place", add("s", 1), add("s", 1),
        [take("s", 1), add("s", 1)], [], {"/order": ["a", "s", "b", "c"]}),
    # Add, remove, move of different cells.
    Row("add and remove above", add("x", 3), take("a", 0),
        [add("x", 2)], [take("a", 0)], {"/order": ["b", "c", "x"]}),
    Row("remove and add above", take("c", 2), add("x", 0),
        [take("c", 3)], [add("x", 0)], {"/order": ["x", "a", "b"]}),
    Row("remove and add at its gap", take("b", 1), add("x", 1),
        [take("b", 2)], [add("x", 1)], {"/order": ["a", "x", "c"]}),
    Row("remove and remove", take("a", 0), take("c", 2),
        [take("a", 0)], [take("c", 1)], {"/order": ["b"]}),
    Row("add and move across it", add("x", 1), move("a", 0, 2),
        [add("x", 0)], [move("a", 0, 3)], {"/order": ["x", "b", "c", "a"]}),
    Row("an add to where a cell goes: the later above", add("x", 3), move("a", 0, 2),
        [add("x", 3)], [move("a", 0, 2)], {"/order": ["b", "c", "a", "x"]}),
    Row("a move to where a cell comes: the later above", move("a", 0, 2), add("x", 3),
        [move("a", 0, 3)], [add("x", 2)], {"/order": ["b", "c", "x", "a"]}),
    Row("remove and move across it", take("b", 1), move("c", 2, 0),
        [take("b", 2)], [move("c", 1, 0)], {"/order": ["c", "a"]}),
    Row("move and remove across it", move("a", 0, 2), take("b", 1),
        [move("a", 0, 1)], [take("b", 0)], {"/order": ["c", "a"]}),
    Row("a move that a removal makes none", move("a", 0, 1), take("b", 1),
        [], [take("b", 0)], {"/order": ["a", "c"]}),
    Row("two moves to one gap: the later above", move("a", 0, 2), move("b", 1, 2),
        [move("a", 0, 2)], [move("b", 0, 1)], {"/order": ["c", "b", "a"]}),
    Row("two moves past each other", move("a", 0, 2), move("c", 2, 0),
        [move("a", 1, 2)], [move("c", 1, 0)], {"/order": ["c", "b", "a"]}),
    Row("two exchange the same neighbours", move("a", 0, 1), move("b", 1, 0),
        [], [], {"/order": ["b", "a", "c"]}),
    # One cell.
    Row("both remove it", take("b", 1), take("b", 1), [], [], {"/order": ["a", "c"]}),
    Row("remove and move it", take("b", 1), move("b", 1, 2),
        [take("b", 2)], [], {"/order": ["a", "c"]}),
    Row("move and remove it", move("b", 1, 0), take("b", 1),
        [], [take("b", 0)], {"/order": ["a", "c"]}),
    Row("both move it: the later", move("a", 0, 1), move("a", 0, 2),
        [], [move("a", 1, 2)], {"/order": ["b", "c", "a"]}),
    Row("both move it to one place", move("a", 0, 2), move("a", 0, 2),
        [], [], {"/order": ["b", "c", "a"]}),
    # Remove a cell, anything inside it.
    Row("removed and edited", take("a", 0), edit("a", "x"),
        [take("a", 0)], [], {"/cells/a": ABSENT}),
    Row("edited and removed", edit("a", "x"), take("a", 0),
        [], [take("a", 0)], {"/cells/a": ABSENT}),
    Row("removed and its register written", take("a", 0), write(A + "/k", 1),
        [take("a", 0)], [], {"/cells/a": ABSENT}),
    Row("its register removed and removed", unset(A + "/k"), take("a", 0),
        [], [take("a", 0)], {"/cells/a": ABSENT}),
    Row("removed and run", take("a", 0), run("a"), [take("a", 0)], [], {"/cells/a": ABSENT}),
    Row("run and removed", run("a"), take("a", 0), [], [take("a", 0)], {"/cells/a": ABSENT}),
    same("another is removed", take("b", 1), edit("a", "x"),
         {"/order": ["a", "c"], "/cells/a/source": "xaaa"}),
]  # fmt: skip


def found(document: Document, path: str) -> Any:
    value: Any = document
    for key in segments(path):
        if key not in value:
            return ABSENT
        value = value[key]
    return value


def check_row(algebra: ModuleType, row: Row) -> None:
    document = deepcopy(NOTEBOOK)
    earlier, later = deepcopy([row.earlier]), deepcopy([row.later])
    for change in (earlier, later):
        algebra.check_change(change, notebook=True, from_client=False)
    assert algebra.transform(earlier[0], later[0], later=False) == row.earlier_over
    assert algebra.transform(later[0], earlier[0], later=True) == row.later_over
    both = algebra.transform_changes(earlier, later, later=False)
    assert both == (row.earlier_over, row.later_over)
    one_way = algebra.apply(algebra.apply(document, earlier), both[1])
    other_way = algebra.apply(algebra.apply(document, later), both[0])
    assert one_way == other_way
    for path, value in row.result.items():
        assert found(one_way, path) == value, path
    given = (document, earlier, later)
    assert given == (NOTEBOOK, [row.earlier], [row.later]), "it writes into its arguments"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_row(row: Row) -> None:
    check_row(transforms, row)


# Undo: an inverse meets what died in the pending change that it takes back.


class Undo(NamedTuple):
    name: str
    foreign: Operation
    inverse: Operation  # of the removal of cell a at 0, over the foreign operation


def restored(index: int = 0, **fields: Any) -> Operation:
    cell = {**NOTEBOOK["cells"]["a"], **fields}
    return {"op": "add", "path": "/cells/a", "index": index, "value": cell}


UNDOS = [
    Undo("an edit", edit("a", 3, "x"), restored(source="aaax")),
    Undo("outputs", edit("a", 1, -1, field="outputs"), restored(outputs=[OUTPUT])),
    Undo("an output's text", grow(1, "x"), restored(outputs=[text_of(OUTPUT, "1x"), OTHER_OUTPUT])),
    Undo("a register", write(A + "/k/m", 2), restored(metadata={"k": {"m": 2}, "kk": 0})),
    Undo("a fixed field", write("/cells/a/cell_type", "raw"), restored(cell_type="raw")),
    Undo("a key that goes", unset(A + "/kk"), restored(metadata={"k": {"m": 1}})),
    Undo("a move", move("a", 0, 2), restored(2)),
    Undo("a run", run("a"), restored()),
    Undo("another cell's edit", edit("b", "x"), restored()),
    Undo("another cell is added above", add("x", 0), restored(0)),
    Undo("another cell is removed", take("c", 1), restored()),
]


@pytest.mark.parametrize("undo", UNDOS, ids=lambda undo: undo.name)
def test_undo(undo: Undo) -> None:
    check_undo(transforms, undo)


def check_undo(algebra: ModuleType, undo: Undo) -> None:
    document = deepcopy(NOTEBOOK)
    (inverse,) = algebra.invert(document, [take("a", 0)])
    assert inverse == restored()
    assert algebra.transform(inverse, undo.foreign, later=True) == [undo.inverse]
    assert (document, inverse) == (NOTEBOOK, restored()), "it writes into its arguments"


# Refused for its form.


class Refusal(NamedTuple):
    name: str
    change: Any
    code: str
    pointer: str
    notebook: bool = True
    from_client: bool = True


def deep(levels: int, core: Any = 0) -> Any:
    """Objects and arrays in turn, so many levels; an object outside."""
    value = core
    for level in range(levels, 0, -1):
        value = {"k": value} if level % 2 else [value]
    return value


def with_value(operation: Operation, **fields: Any) -> Operation:
    return {**operation, "value": {**operation["value"], **fields}}


def without(operation: Operation, field: str) -> Operation:
    return {key: value for key, value in operation.items() if key != field}


def one(name: str, operation: Any, code: str, pointer: str, **options: Any) -> Refusal:
    return Refusal(name, [operation], code, "/0" + pointer, **options)


def bad_delta(name: str, delta: Any, code: str, pointer: str = "") -> Refusal:
    return one("delta: " + name, {**edit("a"), "delta": delta}, code, "/delta" + pointer)


def bad_item_edit(name: str, part: Any, code: str, pointer: str = "") -> Refusal:
    change = edit("a", part, field="outputs")
    return one("edit of an item: " + name, change, code, "/delta/0" + pointer, from_client=False)


def bad_value(name: str, value: Any, code: str, pointer: str = "") -> Refusal:
    return one("value: " + name, write(A + "/k", value), code, "/value" + pointer)


HALF = "\ud800"

REFUSALS = [
    # A change, an operation.
    Refusal("no list", {"op": "run", "path": "/cells/a"}, "wrong_type", ""),
    Refusal("the second one", [edit("a", "x"), edit("a")], "no_effect", "/1/delta"),
    one("no object", "run", "wrong_type", ""),
    one("no verb", {"path": "/cells/a"}, "unknown_operation", "/op"),
    one("another verb", {"op": "copy", "path": "/cells/a"}, "unknown_operation", "/op"),
    one("a verb that is no string", {"op": ["run"], "path": "/cells/a"}, "unknown_operation",
        "/op"),
    one("no path", {"op": "run"}, "wrong_type", "/path"),
    one("a path that is no string", {"op": "run", "path": ["cells", "a"]}, "wrong_type", "/path"),
    one("JSON Patch's test", {"op": "test", "path": A, "value": {}}, "unknown_operation", "/op"),
    # Pointers.
    one("~2", write(A + "/~2", 1), "bad_pointer", "/path"),
    one("~ at the end", write(A + "/k~", 1), "bad_pointer", "/path"),
    one("no slash", write("metadata", {}), "bad_pointer", "/path"),
    one("half a surrogate pair", write(A + "/" + HALF, 1), "bad_text", "/path"),
    # Places that are not written.
    one("the root", write("", {}), "not_writable", "/path"),
    one("/cells", write("/cells", {}), "not_writable", "/path"),
    one("/order", write("/order", []), "not_writable", "/path"),
    one("into /order", write("/order/0", "b"), "not_writable", "/path"),
    one("add to /order", {"op": "add", "path": "/order/0", "index": 0, "value": "b"},
        "not_writable", "/path"),
    one("remove of the root", unset(""), "not_writable", "/path"),
    one("remove of /cells", unset("/cells"), "not_writable", "/path"),
    one("remove of /order", unset("/order"), "not_writable", "/path"),
    one("a whole cell", write("/cells/a", new_cell()), "not_writable", "/path"),
    one("edit of a cell", {"op": "edit", "path": "/cells/a", "delta": ["x"]}, "not_writable",
        "/path"),
    one("another field of the document", write("/nbformat", 4), "not_found", "/path"),
    one("another field of a cell", write("/cells/a/id", "b"), "not_found", "/path"),
    one("the text of a notebook", {"op": "edit", "path": "/source", "delta": ["x"]}, "not_found",
        "/path"),
    one("replace of a source", write("/cells/a/source", "x"), "not_writable", "/op"),
    one("replace of outputs", write("/cells/a/outputs", []), "not_writable", "/op"),
    one("remove of a source", unset("/cells/a/source"), "not_writable", "/op"),
    one("remove of outputs", unset("/cells/a/outputs"), "not_writable", "/op"),
    one("inside a source", write("/cells/a/source/0", "x"), "not_found", "/path"),
    one("inside an output", write("/cells/a/outputs/0/text", "x"), "not_found", "/path"),
    one("edit inside an output", edit("a", "x", field="outputs/0/text"), "not_found", "/path"),
    one("edit of a register", edit("a", "x", field="metadata"), "not_writable", "/op"),
    one("edit of a key", edit("a", "x", field="metadata/k"), "not_writable", "/op"),
    *(one(f"remove of {field}", unset(f"/cells/a/{field}"), "not_writable", "/path")
      for field in ("cell_type", "metadata", "execution_count", "attachments")),
    one("remove of the metadata", unset("/metadata"), "not_writable", "/path"),
    one("inside a cell type", write("/cells/a/cell_type/k", 1), "not_found", "/path"),
    one("inside a count", write("/cells/a/execution_count/k", 1), "not_found", "/path"),
    one("add of a key", {"op": "add", "path": A + "/k", "index": 0, "value": 1}, "not_writable",
        "/path"),
    one("move of a key", {"op": "move", "path": A + "/k", "index": 0, "to": 1},
        "not_writable", "/path"),
    one("run of no cell", {"op": "run", "path": "/metadata"}, "not_writable", "/path"),
    # Trust is each reader's own.
    one("trusted", write(A + "/trusted", True), "not_writable", "/path"),
    one("inside trusted", write(A + "/trusted/k", True), "not_writable", "/path"),
    one("remove of trusted", unset(A + "/trusted"), "not_writable", "/path"),
    one("the notebook's trusted", write("/metadata/trusted", True), "not_writable", "/path"),
    one("metadata with trusted", write(A, {"trusted": True}), "not_writable", "/value/trusted"),
    one("an added cell with trusted", with_value(add("x", 0), metadata={"trusted": True}),
        "not_writable", "/value/metadata/trusted"),
    # Wrong types of fixed fields.
    one("cell type", write("/cells/a/cell_type", "html"), "wrong_type", "/value"),
    one("cell type, no string", write("/cells/a/cell_type", ["code"]), "wrong_type", "/value"),
    one("metadata", write(A, []), "wrong_type", "/value"),
    one("the notebook's metadata", write("/metadata", None), "wrong_type", "/value"),
    one("attachments", write("/cells/a/attachments", []), "wrong_type", "/value"),
    one("count", write("/cells/a/execution_count", "1"), "wrong_type", "/value"),
    one("count, a bool", write("/cells/a/execution_count", True), "wrong_type", "/value"),
    one("count, a float", write("/cells/a/execution_count", 1.0), "wrong_type", "/value"),
    one("count, negative", write("/cells/a/execution_count", -1), "wrong_type", "/value"),
    # Fields of operations.
    *(one(f"remove of a key with {field}", {**unset(A + "/k"), field: 0}, "unknown_field",
          "/" + field) for field in ("index", "to", "delta", "value")),
    *(one(f"replace with {field}", {**write(A + "/k", 1), field: 0}, "unknown_field", "/" + field)
      for field in ("index", "to", "delta")),
    *(one(f"edit with {field}", {**edit("a", "x"), field: 0}, "unknown_field", "/" + field)
      for field in ("index", "to", "value")),
    *(one(f"add with {field}", {**add("x", 0), field: 0}, "unknown_field", "/" + field)
      for field in ("to", "delta")),
    *(one(f"remove of a cell with {field}", {**take("a", 0), field: 0}, "unknown_field",
          "/" + field) for field in ("to", "delta", "value")),
    *(one(f"move with {field}", {**move("a", 0, 1), field: 0}, "unknown_field", "/" + field)
      for field in ("delta", "value")),
    *(one(f"run with {field}", {**run("a"), field: 0}, "unknown_field", "/" + field)
      for field in ("index", "to", "delta", "value")),
    one("from", {**move("a", 0, 1), "from": "/cells/0"}, "unknown_field", "/from"),
    one("a field that must be escaped", {**run("a"), "a/b": 0}, "unknown_field", "/a~1b"),
    one("a field that is no text", {**run("a"), HALF: 0}, "bad_text", ""),
    *(one(f"{operation['op']} without {field}", without(operation, field), "missing_field",
          "/" + field)
      for operation in (edit("a", "x"), write(A, {}), add("x", 0), take("a", 0), move("a", 0, 1))
      for field in operation if field not in ("op", "path")),
    *(one(f"{operation['op']} with {field} {index!r}", {**operation, field: index}, "wrong_type",
          "/" + field)
      for operation in (add("x", 0), take("a", 0), move("a", 0, 1))
      for field in ("index", "to") if field in operation
      for index in (-1, 1.0, True, "1", None)),
    one("a move to its own place", move("a", 1, 1), "no_effect", "/to"),
    # Cells.
    *(one(f"id {cell_id!r}", add(cell_id, 0), "bad_id", "/path")
      for cell_id in ("", "a b", "\u00e9", "a" * 65, "a~1b", "a.b", "a\n")),
    one("no cell", {**add("x", 0), "value": None}, "wrong_type", "/value"),
    *(one(f"a cell without {field}", {**add("x", 0), "value": without(new_cell(), field)},
          "missing_field", "/value/" + field) for field in new_cell()),
    one("a cell with an id", with_value(add("x", 0), id="x"), "unknown_field", "/value/id"),
    one("a cell with another id", with_value(add("x", 0), id="y"), "unknown_field", "/value/id"),
    one("an unknown field of a cell", with_value(add("x", 0), **{"a/b": 1}), "unknown_field",
        "/value/a~1b"),
    one("a field of a cell that is no text", with_value(add("x", 0), **{HALF: 1}), "bad_text",
        "/value"),
    *(one(f"a cell with {field} {value!r}", with_value(add("x", 0), **{field: value}),
          "wrong_type", "/value/" + field)
      for field, value in (
          ("cell_type", "html"), ("cell_type", None), ("source", ["x"]), ("source", None),
          ("metadata", []), ("outputs", {}), ("outputs", ["x"]), ("execution_count", "1"),
          ("execution_count", True), ("attachments", None), ("execution", []))),
    one("a bad text in a cell", with_value(add("x", 0), source=HALF), "bad_text",
        "/value/source"),
    one("a bad text in its metadata", with_value(add("x", 0), metadata={"k": ["", HALF]}),
        "bad_text", "/value/metadata/k/1"),
    # Deltas.
    bad_delta("no list", "x", "wrong_type"),
    bad_delta("empty", [], "no_effect"),
    bad_delta("a bool", [True, "x"], "wrong_type", "/0"),
    bad_delta("a bool for a delete", ["x", False], "wrong_type", "/1"),
    bad_delta("a float", [1.0, "x"], "wrong_type", "/0"),
    bad_delta("null", [None], "wrong_type", "/0"),
    bad_delta("items in a text", [["x"]], "wrong_type", "/0"),
    bad_delta("0", [0, "x"], "not_canonical", "/0"),
    bad_delta("an empty insert", [""], "not_canonical", "/0"),
    bad_delta("a retain at the end", ["x", 1], "not_canonical", "/1"),
    bad_delta("only a retain", [1], "not_canonical", "/0"),
    bad_delta("adjacent retains", [1, 1, "x"], "not_canonical", "/1"),
    bad_delta("adjacent deletes", [-1, -1], "not_canonical", "/1"),
    bad_delta("adjacent inserts", ["x", "y"], "not_canonical", "/1"),
    bad_delta("delete before insert", [-1, "x"], "not_canonical", "/1"),
    bad_delta("no such length", [2**53 + 1, "x"], "out_of_range", "/0"),
    bad_delta("no such length to delete", [1, -(2**53) - 1], "out_of_range", "/1"),
    bad_delta("half a surrogate pair", [1, "x" + HALF], "bad_text", "/1"),
    one("delta of outputs: a text", edit("a", "x", field="outputs"), "wrong_type", "/delta/0",
        from_client=False),
    one("delta of outputs: empty", edit("a", [], field="outputs"), "not_canonical", "/delta/0",
        from_client=False),
    one("delta of outputs: no objects", edit("a", 1, ["x"], field="outputs"), "wrong_type",
        "/delta/1", from_client=False),
    one("delta of outputs: a bad value", edit("a", 1, [{}, {"k": 2**60}], field="outputs"),
        "bad_number", "/delta/1/1/k", from_client=False),
    one("the edit of an item in a text", edit("a", {"text": ["x"]}), "wrong_type", "/delta/0"),
    bad_item_edit("no text", {}, "wrong_type"),
    bad_item_edit("another field", {"name": ["x"]}, "wrong_type"),
    bad_item_edit("one field more", {"text": ["x"], "name": "n"}, "wrong_type"),
    bad_item_edit("no delta", {"text": "x"}, "wrong_type", "/text"),
    bad_item_edit("no effect", {"text": []}, "no_effect", "/text"),
    bad_item_edit("a retain at the end", {"text": ["x", 1]}, "not_canonical", "/text/1"),
    bad_item_edit("items", {"text": [["x"]]}, "wrong_type", "/text/0"),
    bad_item_edit("the edit of an item", {"text": [{"text": ["x"]}]}, "wrong_type", "/text/0"),
    bad_item_edit("half a surrogate pair", {"text": [1, HALF]}, "bad_text", "/text/1"),
    bad_item_edit("no such length", {"text": [2**60, "x"]}, "bad_number", "/text/0"),
    one("delta of outputs: a retain behind an edit", edit("a", {"text": ["x"]}, 1, field="outputs"),
        "not_canonical", "/delta/1", from_client=False),
    # Values.
    bad_value("NaN", float("nan"), "bad_number"),
    bad_value("infinity", [float("inf")], "bad_number", "/0"),
    bad_value("minus infinity", {"a/b": float("-inf")}, "bad_number", "/a~1b"),
    bad_value("2**53 + 1", 2**53 + 1, "bad_number"),
    bad_value("-2**53 - 1", {"k": [0, -(2**53) - 1]}, "bad_number", "/k/1"),
    bad_value("half a surrogate pair", "x" + HALF, "bad_text"),
    bad_value("the other half", ["\udc00"], "bad_text", "/0"),
    bad_value("halves in the wrong order", "\udc00\ud800", "bad_text"),
    bad_value("two halves are no pair", "\ud83d\ude00", "bad_text"),
    bad_value("half a surrogate pair in a key", {"k": {HALF: 1}}, "bad_text", "/k"),
    bad_value("a key that is no string", {1: 1}, "wrong_type"),
    bad_value("bytes", b"x", "wrong_type"),
    bad_value("a tuple", [(1,)], "wrong_type", "/0"),
    bad_value("a set", {"k": {1}}, "wrong_type", "/k"),
    bad_value("10,000 deep", deep(10_000), "too_deep"),
    one("a cell's metadata 100 deep", write(A, deep(100)), "too_deep", "/value"),
    one("99 deep in a cell's metadata", write(A + "/k", deep(99)), "too_deep", "/value"),
    one("100 deep in the metadata", write("/metadata/k", deep(101)), "too_deep", "/value"),
    one("a cell 101 deep", with_value(add("x", 0), metadata=deep(100)), "too_deep", "/value"),
    one("outputs 101 deep", edit("a", [deep(99)], field="outputs"), "too_deep", "/delta/0",
        from_client=False),
    one("a path into the 101st object", write(A + "/k" * 100, 1), "too_deep", "/path"),
    # What only the server writes.
    one("new outputs", edit("a", [OUTPUT], field="outputs"), "forbidden", "/delta/0"),
    one("new outputs behind", edit("a", 1, [OUTPUT], -1, field="outputs"), "forbidden",
        "/delta/1"),
    one("an edit of an output", grow(1, "x"), "forbidden", "/delta/0"),
    one("a delete in an output", grow(-1), "forbidden", "/delta/0"),
    one("execution", write("/cells/a/execution", {}), "forbidden", "/path"),
    one("inside execution", write("/cells/a/execution/state", "ok"), "forbidden", "/path"),
    one("remove inside execution", unset("/cells/a/execution/state"), "forbidden", "/path"),
    one("an added cell that runs", with_value(add("x", 0), execution={"state": "ok"}),
        "forbidden", "/value/execution"),
    one("remove of execution", unset("/cells/a/execution"), "not_writable", "/path",
        from_client=False),
    # Runs stand at the end.
    Refusal("run before an edit", [run("a"), edit("a", "x")], "not_canonical", "/1/op"),
    Refusal("runs around an edit", [run("a"), edit("a", "x"), run("a")], "not_canonical", "/1/op"),
    # Text files.
    *(one(f"{name} of a text file", operation, code, pointer, notebook=False)
      for name, operation, code, pointer in (
          ("the root", write("", {}), "not_writable", "/path"),
          ("replace", write("/source", "x"), "not_writable", "/op"),
          ("remove", unset("/source"), "not_writable", "/op"),
          ("inside the text", write("/source/0", "x"), "not_found", "/path"),
          ("metadata", write("/metadata/k", 1), "not_found", "/path"),
          ("a cell's source", edit("a", "x"), "not_found", "/path"),
          ("add", add("x", 0), "not_writable", "/path"),
          ("run", run("a"), "not_writable", "/path"),
          ("remove of a cell", take("a", 0), "unknown_field", "/index"),
          ("items", {"op": "edit", "path": "/source", "delta": [["x"]]}, "wrong_type",
           "/delta/0"))),
]  # fmt: skip


def check_refusal(algebra: ModuleType, refusal: Refusal) -> None:
    before = repr(refusal.change) if refusal.code != "too_deep" else ""
    with pytest.raises(algebra.Refused) as caught:
        algebra.check_change(
            refusal.change, notebook=refusal.notebook, from_client=refusal.from_client
        )
    assert (caught.value.code, caught.value.pointer) == (refusal.code, refusal.pointer)
    orjson.dumps([caught.value.code, caught.value.message, caught.value.pointer])  # can be sent
    assert before == (repr(refusal.change) if before else "")


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.name)
def test_refused(refusal: Refusal) -> None:
    check_refusal(transforms, refusal)


# What is just within.

ACCEPTED: list[tuple[str, Change]] = [
    ("nothing", []),
    ("every verb", [edit("a", "x"), write(A + "/k", 1), unset(A + "/k"), add("x", 0),
                    take("x", 0), move("a", 0, 1), run("a"), run("b")]),
    ("great integers", [write(A + "/k", [2**53, -(2**53)])]),
    ("any text", [edit("a", "\U0001f600\u0301\0\uffff")]),
    ("keys as they come", [write(A + "/" + key, {"": 1, "__proto__": 2, "trusted": 3})
                           for key in ("", "__proto__", "constructor", "a~1b", "m~0n", "~001")]),
    ("the longest id", [add("a-_Z9" * 12 + "four", 0)]),
    ("an added cell brings outputs", [with_value(add("x", 0), outputs=[OUTPUT])]),
    ("outputs are cleared", [edit("a", -2, field="outputs")]),
    ("no count", [write("/cells/a/execution_count", None)]),
    ("a cell 100 deep", [with_value(add("x", 0), metadata=deep(99))]),
    ("a cell's metadata 99 deep", [write(A, deep(99))]),
    ("98 deep in a cell's metadata", [write(A + "/k", deep(98))]),
    ("100 deep in the metadata", [write("/metadata/k", deep(100))]),
    ("the 100th object", [write(A + "/k" * 98, {}), write(A + "/k" * 99, 1)]),
]  # fmt: skip


def check_accepted(algebra: ModuleType) -> None:
    for _, change in ACCEPTED:
        algebra.check_change(change, notebook=True, from_client=True)
    by_server = [
        edit("a", [OUTPUT], field="outputs"),
        edit("a", {"text": [1, "x"]}, {"text": [-1]}, [OUTPUT], field="outputs"),
        edit("a", -1, {"text": [1, "x"]}, field="outputs"),
        write("/cells/a/execution", {"state": "ok"}),
        unset("/cells/a/execution/state"),
        with_value(add("x", 0), execution={"state": "ok"}),
    ]
    algebra.check_change(by_server, notebook=True, from_client=False)
    source = {"op": "edit", "path": "/source", "delta": ["x"]}
    algebra.check_change([source], notebook=False, from_client=True)


@pytest.mark.parametrize("change", [pytest.param(c, id=name) for name, c in ACCEPTED])
def test_accepted(change: Change) -> None:
    transforms.check_change(change, notebook=True, from_client=True)


def test_accepted_from_the_server() -> None:
    check_accepted(transforms)


VALUES = [True, None, 0, -1.5, 1e300, "", "\U0001f600", [], {}, [[{}]], {"": None}, deep(100)]


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_values(value: Any) -> None:
    transforms.check_value(value)


@pytest.mark.parametrize(
    ("value", "code", "pointer"),
    [
        (deep(101), "too_deep", ""),
        (deep(10_000), "too_deep", ""),
        (float("nan"), "bad_number", ""),
        ({"~": [float("inf")]}, "bad_number", "/~0/0"),
        (2**53 + 1, "bad_number", ""),
        (HALF, "bad_text", ""),
        ({"k": {HALF: 1}}, "bad_text", "/k"),
        (object(), "wrong_type", ""),
    ],
)
def test_no_values(value: Any, code: str, pointer: str) -> None:
    with pytest.raises(transforms.Refused) as caught:
        transforms.check_value(value)
    assert (caught.value.code, caught.value.pointer) == (code, pointer)


def test_a_legal_cell_can_always_be_added_again() -> None:
    """The inverse of a removal is itself legal, however deep the writes into the cell were."""
    document = NOTEBOOK
    for change in (
        [write(A, deep(99))],
        [write("/cells/a/attachments" + "/k" * levels, {}) for levels in range(1, 99)],
        [write("/cells/a/attachments" + "/k" * 99, 1)],
    ):
        transforms.check_change(change, notebook=True, from_client=True)
        document = transforms.apply(document, change)
    inverse = transforms.invert(document, [take("a", 0)])
    transforms.check_change(inverse, notebook=True, from_client=True)


def test_a_write_into_a_deep_value_stays_legal() -> None:
    deepest = write(A + "/k/m", deep(97))
    wider = write(A, {"k": {}})
    for change in ([deepest], [wider]):
        transforms.check_change(change, notebook=True, from_client=True)
    merged = transforms.transform(wider, deepest, later=False)
    assert merged == [write(A, {"k": {"m": deep(97)}})]
    transforms.check_change(merged, notebook=True, from_client=True)


# Refused because it does not fit the document.


def at_second(name: str, operation: Operation, code: str, pointer: str) -> Refusal:
    return Refusal(name, [edit("b", "x"), operation], code, "/1" + pointer)


MISFITS = [
    at_second("edit of no cell", edit("x", "x"), "not_found", "/path"),
    at_second("write into no cell", write("/cells/x/metadata/k", 1), "not_found", "/path"),
    at_second("run of no cell", run("x"), "not_found", "/path"),
    at_second("remove of no cell", take("x", 0), "not_found", "/path"),
    at_second("move of no cell", move("x", 0, 1), "not_found", "/path"),
    at_second("an id that exists", add("a", 0), "exists", "/path"),
    at_second("add beyond the end", add("x", 4), "out_of_range", "/index"),
    at_second("remove at another's index", take("a", 1), "wrong_index", "/index"),
    at_second("remove beyond the end", take("a", 3), "wrong_index", "/index"),
    at_second("move from another's index", move("a", 2, 0), "wrong_index", "/index"),
    at_second("move beyond the end", move("a", 0, 3), "out_of_range", "/to"),
    at_second("edit beyond the end", edit("a", 4, "x"), "out_of_range", "/delta"),
    at_second("delete beyond the end", edit("a", 1, -3), "out_of_range", "/delta"),
    at_second("outputs beyond the end", edit("a", -3, field="outputs"), "out_of_range", "/delta"),
    at_second(
        "an edit of no output",
        edit("a", 2, {"text": ["x"]}, field="outputs"),
        "out_of_range",
        "/delta",
    ),
    at_second(
        "an edit beyond an output's end",
        edit("a", -1, {"text": [2, "x"]}, field="outputs"),
        "out_of_range",
        "/delta/1/text",
    ),
    at_second(
        "an edit of an output without text",
        edit("b", [OUTPUT], {"text": ["x"]}, field="outputs"),
        "not_found",
        "/delta/1/text",
    ),
    at_second("a missing parent", write(A + "/z/k", 1), "not_found", "/path"),
    at_second("through a number", write(A + "/kk/k", 1), "not_found", "/path"),
    at_second("through null", write(A + "/null/k", 1), "not_found", "/path"),
    at_second("through an array", write(A + "/array/0", 1), "not_found", "/path"),
    at_second("inside an item of an array", write(A + "/array/0/k", 1), "not_found", "/path"),
    at_second("through a string", write(A + "/string/0", 1), "not_found", "/path"),
    at_second("remove of no key", unset(A + "/z"), "not_found", "/path"),
    at_second("remove at a missing parent", unset(A + "/z/k"), "not_found", "/path"),
]


def check_misfit(algebra: ModuleType, refusal: Refusal) -> None:
    keys: dict[str, Any] = {"null": None, "array": [{}], "string": "s"}
    document = deepcopy(NOTEBOOK)
    document["cells"]["a"]["metadata"].update(keys)
    document["cells"]["b"]["outputs"].append({"output_type": "display_data", "data": {}})
    before = deepcopy(document)
    algebra.check_change(refusal.change, notebook=True, from_client=False)
    with pytest.raises(algebra.Refused) as caught:
        algebra.apply(document, refusal.change)
    assert (caught.value.code, caught.value.pointer) == (refusal.code, refusal.pointer)
    assert document == before


@pytest.mark.parametrize("refusal", MISFITS, ids=lambda refusal: refusal.name)
def test_does_not_fit(refusal: Refusal) -> None:
    check_misfit(transforms, refusal)


def test_does_not_fit_a_text_file() -> None:
    change = [{"op": "edit", "path": "/source", "delta": [5, "x"]}]
    with pytest.raises(transforms.Refused) as caught:
        transforms.apply(TEXT, change)
    assert (caught.value.code, caught.value.pointer) == ("out_of_range", "/0/delta")


# Batches, and what is decided only there.


def check_batches(algebra: ModuleType) -> None:
    """A list of examples that a rule about batches decides; each is a list pair and the result."""
    for earlier, later, order in (
        ([add("x", 0), move("x", 0, 2)], [take("a", 0)], ["b", "x", "c"]),
        ([take("a", 0), add("a", 2)], [move("a", 0, 2)], ["b", "c", "a"]),
        ([take("a", 0)], [edit("a", "x"), move("a", 0, 1), run("a")], ["b", "c"]),
        ([add("s", 0), move("a", 1, 3)], [add("s", 3), take("s", 3)], ["s", "b", "c", "a"]),
    ):
        over_later, over_earlier = algebra.transform_changes(earlier, later, later=False)
        one_way = algebra.apply(algebra.apply(NOTEBOOK, earlier), over_earlier)
        assert one_way == algebra.apply(algebra.apply(NOTEBOOK, later), over_later)
        assert one_way["order"] == order


def test_batches() -> None:
    check_batches(transforms)


# Compose, invert, position by examples.


def composed(algebra: ModuleType, *operations: Operation) -> Change:
    """The change that comes of composing operation after operation."""
    change: Change = []
    for operation in operations:
        change = algebra.compose(change, [operation])
    return change


def check_compose(algebra: ModuleType) -> None:
    for operations, expected in (
        # Typing becomes one edit, whatever else was done meanwhile.
        ([edit("a", "x"), edit("a", 1, "y")], [edit("a", "xy")]),
        ([edit("a", "x"), edit("b", "z"), edit("a", 1, "y")], [edit("b", "z"), edit("a", "xy")]),
        ([edit("a", "x"), edit("a", -1)], []),
        ([edit("a", "xy"), edit("a", 1, -1)], [edit("a", "x")]),
        ([edit("a", 1, "x"), edit("a", "y")], [edit("a", "y", 1, "x")]),
        ([grow(1, "x"), grow(2, "y")], [grow(1, "xy")]),
        ([grow(1, "x"), grow(1, -1)], []),
        ([grow(1, "x"), edit("a", -1, field="outputs")], [edit("a", -1, field="outputs")]),
        (
            [edit("a", [OUTPUT], field="outputs"), grow(1, "x")],
            [edit("a", [text_of(OUTPUT, "1x")], field="outputs")],
        ),
        ([write(A + "/k", 1), write(A + "/k", 2)], [write(A + "/k", 2)]),
        ([write(A + "/k", {}), write(A + "/k/m", 2)], [write(A + "/k", {"m": 2})]),
        ([write(A + "/k/m", 2), write(A + "/k", {})], None),
        ([write(A + "/new", 1), unset(A + "/new")], None),
        ([unset(A + "/k"), write(A + "/k", 1)], [write(A + "/k", 1)]),
        ([add("x", 0, "s"), edit("x", 1, "t")], [add("x", 0, "st")]),
        ([add("x", 0), take("x", 0)], None),
        ([move("a", 0, 1), move("a", 1, 2)], None),
        ([edit("a", "x"), move("a", 0, 1), edit("a", 1, "y")], None),
        ([edit("a", "x"), take("a", 0), add("a", 0, "s"), edit("a", 1, "t")], None),
        ([edit("a", "x"), run("a")], [edit("a", "x"), run("a")]),
    ):
        change = composed(algebra, *operations)
        if expected is not None:
            assert sorted(map(repr, change)) == sorted(map(repr, expected))
        assert algebra.apply(NOTEBOOK, change) == algebra.apply(NOTEBOOK, operations)


def test_compose() -> None:
    check_compose(transforms)


def check_invert(algebra: ModuleType) -> None:
    for operation, inverse in (
        (edit("a", 1, "xy", -1), [edit("a", 1, "a", -2)]),
        (edit("a", -1, field="outputs"), [edit("a", [OUTPUT], field="outputs")]),
        (grow("x", -1), [grow("1", -1)]),
        (write(A + "/k", 1), [write(A + "/k", {"m": 1})]),
        (write(A + "/new", 1), [unset(A + "/new")]),
        (unset(A + "/k/m"), [write(A + "/k/m", 1)]),
        (add("x", 2), [take("x", 2)]),
        (take("b", 1), [{"op": "add", "path": "/cells/b", "index": 1,
                         "value": NOTEBOOK["cells"]["b"]}]),
        (move("a", 0, 2), [move("a", 2, 0)]),
        (run("a"), []),
    ):  # fmt: skip
        assert algebra.invert(NOTEBOOK, [operation]) == inverse
    change = [add("x", 0), edit("x", -1), move("x", 0, 3), take("a", 0), write("/metadata", {})]
    after = algebra.apply(NOTEBOOK, change)
    assert algebra.apply(after, algebra.invert(NOTEBOOK, change)) == NOTEBOOK


def test_invert() -> None:
    check_invert(transforms)


def check_position(algebra: ModuleType) -> None:
    path = "/cells/a/source"

    def caret(offset: int, *change: Operation) -> Any:
        return algebra.position(path, offset, list(change))

    def after(offset: int, delta: Delta) -> Any:
        return caret(offset, edit("a", *delta))

    assert [after(offset, ["xy"]) for offset in range(3)] == [0, 3, 4]
    assert [after(offset, [1, "x", -1]) for offset in range(4)] == [0, 1, 2, 3]
    assert [after(offset, [-2]) for offset in range(4)] == [0, 0, 0, 1]
    assert caret(2, edit("b", "xy")) == 2
    assert caret(2, edit("a", -1, field="outputs")) == 2
    assert caret(2, edit("a", "x"), edit("a", "y")) == 4
    assert caret(2, move("a", 0, 1), take("b", 0), add("x", 0)) == 2
    assert caret(2, take("a", 0)) is None
    assert caret(2, edit("a", "x"), take("a", 0), add("b", 0)) is None
    assert caret(2, take("a", 0), add("a", 0, "aa")) == 2
    assert caret(2, take("a", 0), add("a", 0, "a")) == 1
    assert caret(2, take("a", 0), add("a", 0, "aaa"), edit("a", "x")) == 3
    assert algebra.position("/source", 1, [{"op": "edit", "path": "/source", "delta": ["x"]}]) == 2


def test_position() -> None:
    check_position(transforms)


# All of it, for the mutation list.


def checks() -> Iterator[Any]:
    """Functions of an algebra; one raises where a rule is broken."""
    for row in ROWS:
        yield lambda algebra, row=row: check_row(algebra, row)
    for undo in UNDOS:
        yield lambda algebra, undo=undo: check_undo(algebra, undo)
    for refusal in REFUSALS:
        yield lambda algebra, refusal=refusal: check_refusal(algebra, refusal)
    for misfit in MISFITS:
        yield lambda algebra, misfit=misfit: check_misfit(algebra, misfit)
    yield from (check_accepted, check_batches, check_compose, check_invert, check_position)
