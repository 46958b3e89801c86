"""JSON Patch in and out, against the ``jsonpatch`` library as the oracle."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import count
from random import Random, SystemRandom
from time import monotonic
from typing import Any

import jsonpatch
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ot_jupyter.transforms import (
    Change,
    Document,
    Refused,
    apply,
    check_change,
    is_notebook,
    new_cell,
    pointer,
    segments,
    transform_change,
)
from ot_jupyter.transforms.diff import same
from ot_jupyter.transforms.jsonpatch import project_entry, resolve_patch
from ot_jupyter.transforms.jsonpatch import test_holds as holds
from ot_jupyter.transforms.notebook import document_notebook, notebook_document

from .strategies import (
    CLIENT,
    KEYS,
    MIXED,
    Chance,
    Drawn,
    pick,
    random_cell,
    random_change,
    random_delta,
    random_document,
    random_object,
    random_output,
    random_text,
    random_value,
    seldom,
    with_edits,
)

Patch = list[dict[str, Any]]


def json_of(document: Document) -> Any:
    return document_notebook(document) if is_notebook(document) else document


def without_tests(change: Change) -> Change:
    return [operation for operation in change if operation["op"] != "test"]


# What a document may hold and a file may not.


def spoiled(chance: Chance, document: Document) -> Document:
    """The document with some registers that nbformat forbids, and outputs as kernels send them."""
    document = copy.deepcopy(document)
    for cell in document.get("cells", {}).values():
        if seldom(chance, 3):
            key = pick(chance, ("collapsed", "tags", "jupyter", "name"))
            cell["metadata"][key] = pick(chance, ("x", 5, {"a": 1}, True, ["t"], {}))
        for output in [*cell["outputs"]]:
            kind = chance.randrange(4)
            if kind == 1:
                output["transient"] = {"display_id": "d"}
            elif kind == 2:
                output["output_type"] = "unknown"
            elif kind == 3:
                cell["outputs"].append({"output_type": "stream", "name": "stdout", "text": 5})
        if seldom(chance, 4):
            cell["attachments"]["bad"] = pick(chance, ("x", {"image/png": 5}, {}))
    if is_notebook(document) and seldom(chance, 4):
        document["metadata"]["kernelspec"] = pick(chance, (5, {}, {"name": "p"}))
    return document


def random_notebook(chance: Chance) -> Document:
    document = random_document(chance)
    return spoiled(chance, document) if seldom(chance, 2) else document


# Patches.


def random_patch(chance: Chance, notebook: Any, size: int) -> tuple[Patch, Any]:
    """A patch that the oracle takes, with what the oracle makes of it."""
    patch: Patch = []
    for _ in range(size):
        steps = random_steps(chance, notebook, len(patch))
        try:
            notebook = jsonpatch.apply_patch(notebook, steps)
        except jsonpatch.JsonPatchException:
            continue
        except jsonpatch.JsonPointerException:
            continue
        patch += steps
    return patch, notebook


def random_steps(chance: Chance, notebook: Any, salt: int) -> Patch:
    """One operation, or a few that belong together. Not each is valid."""
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        value = {"source": random_text(chance, 5)}
        return pick(
            chance,
            (
                [{"op": "replace", "path": "/source", "value": random_text(chance, 8)}],
                [{"op": "add", "path": "", "value": value}],
                [{"op": "move", "from": "/source", "path": "/x"},
                 {"op": "move", "from": "/x", "path": "/source"}],
                [{"op": "copy", "from": "/source", "path": "/source"}],
            ),
        )  # fmt: skip
    cells = notebook["cells"]
    count = len(cells)
    makers: list[Callable[[], Patch]] = [
        lambda: _register(chance, ["metadata"], notebook.get("metadata")),
        lambda: [{"op": "add", "path": _gap(chance, count), "value": _new(chance, f"n{salt}")}],
        lambda: [{"op": "replace", "path": "/cells", "value": _shuffled(chance, cells, salt)}],
        lambda: [
            {
                "op": pick(chance, ("add", "replace")),
                "path": "",
                "value": {**notebook, "cells": _shuffled(chance, cells, salt)},
            }
        ],
        lambda: [
            {"op": "move", "from": "/cells", "path": "/metadata/cells"},
            *(_register(chance, ["metadata"], notebook.get("metadata"))),
            {"op": "move", "from": "/metadata/cells", "path": "/cells"},
        ],
        lambda: [{"op": "add", "path": "/nbformat", "value": 4}],
    ]
    if count:
        index = chance.randrange(count)
        where = pointer("cells", index)
        cell = cells[index]
        makers += [
            lambda: _source(chance, where),
            lambda: _source(chance, where),
            lambda: _register(chance, ["cells", index, "metadata"], cell.get("metadata")),
            lambda: _register(chance, ["cells", index, "attachments"], cell.get("attachments")),
            lambda: [{"op": "remove", "path": where}],
            lambda: [{"op": "move", "from": where, "path": _gap(chance, count)}],
            lambda: [{"op": "move", "from": where, "path": _gap(chance, count)}],
            lambda: _swapped(chance, cells, index),
            lambda: [{"op": "replace", "path": where, "value": _changed(chance, cell)}],
            lambda: [{"op": "replace", "path": where, "value": _new(chance, f"n{salt}")}],
            lambda: _outputs(chance, where + "/outputs", cell.get("outputs") or []),
            lambda: _retyped(chance, where, cell),
            lambda: _retyped(chance, where, cell),
            lambda: [{"op": "add", "path": where + "/execution_count", "value": 3}],
            lambda: _there_and_back(chance, where),
            lambda: [{"op": "test", "path": where + "/source", "value": cell.get("source")}],
        ]
    return pick(chance, makers)()


def _gap(chance: Chance, count: int) -> str:
    gap = chance.randrange(count + 2)
    return "/cells/-" if gap == count + 1 else f"/cells/{gap}"


def _new(chance: Chance, cell_id: str) -> dict[str, Any]:
    cell = random_cell(chance)
    document = {"cells": {cell_id: cell}, "order": [cell_id], "metadata": {}}
    value: dict[str, Any] = document_notebook(document)["cells"][0]
    if seldom(chance, 3):
        value["source"] = value["source"].splitlines(keepends=True)
    return value


def _changed(chance: Chance, cell: dict[str, Any]) -> dict[str, Any]:
    """Another cell with the same id, or the cell with another source."""
    if seldom(chance, 2):
        return {**cell, "source": random_text(chance, 6)}
    return _new(chance, cell.get("id", "none"))


def _shuffled(chance: Chance, cells: list[Any], salt: int) -> list[Any]:
    cells = [*cells]
    for number in range(chance.randrange(4)):
        kind = chance.randrange(4)
        if kind == 0 or not cells:
            cells.insert(chance.randrange(len(cells) + 1), _new(chance, f"w{salt}-{number}"))
        elif kind == 1:
            cells.append(cells.pop(chance.randrange(len(cells))))
        elif kind == 2:
            del cells[chance.randrange(len(cells))]
        else:
            index = chance.randrange(len(cells))
            cells[index] = _changed(chance, cells[index])
    return cells


def _swapped(chance: Chance, cells: list[Any], index: int) -> Patch:
    other = chance.randrange(len(cells))
    return [
        {"op": "replace", "path": pointer("cells", index), "value": cells[other]},
        {"op": "replace", "path": pointer("cells", other), "value": cells[index]},
    ]


def _source(chance: Chance, where: str) -> Patch:
    text: Any = random_text(chance, 8)
    if seldom(chance, 3):
        text = text.splitlines(keepends=True)
    return [{"op": pick(chance, ("replace", "add")), "path": where + "/source", "value": text}]


def _places(value: Any, where: list[Any]) -> list[list[Any]]:
    """All places inside a value."""
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    found = []
    for key, item in items:
        found += [[*where, key], *_places(item, [*where, key])]
    return found


def _register(chance: Chance, where: list[Any], value: Any) -> Patch:
    """Something in an object, at any depth, also in arrays."""
    if not isinstance(value, dict):
        return [{"op": "add", "path": pointer(*where), "value": random_object(chance)}]
    places = [where, *_places(value, where)]
    place = pointer(*pick(chance, places))
    inside = place + pointer(pick(chance, (*KEYS, 0, 1, "-", "tags", "collapsed", "jupyter")))
    attachment = where[-1] == "attachments"
    written = {"image/png": random_text(chance, 2)} if attachment else random_value(chance)
    verb = chance.randrange(6)
    if verb == 0:
        whole = {"i.png": written} if attachment else random_object(chance)
        return [{"op": "replace", "path": pointer(*where), "value": whole}]
    if verb == 1:
        return [{"op": "add", "path": inside, "value": written}]
    if verb == 2:
        return [{"op": "replace", "path": place, "value": written}]
    if verb == 3:
        return [{"op": "remove", "path": place}]
    origin = pointer(*pick(chance, places))
    return [{"op": pick(chance, ("move", "copy")), "from": origin, "path": inside}]


def _outputs(chance: Chance, where: str, outputs: list[Any]) -> Patch:
    place = where + pointer(chance.randrange(len(outputs) + 1))
    return pick(
        chance,
        (
            [{"op": "remove", "path": place}],
            [{"op": "add", "path": place, "value": random_output(chance)}],
            [{"op": "replace", "path": place, "value": random_output(chance)}],
            [{"op": "replace", "path": where, "value": []}],
            [{"op": "move", "from": where + "/0", "path": place}],
            [{"op": "add", "path": place + "/metadata/k", "value": 1}],
        ),
    )


def _retyped(chance: Chance, where: str, cell: dict[str, Any]) -> Patch:
    """A cell of another type, its fields in any order."""
    new_type = pick(chance, ("code", "markdown", "raw"))
    patch = [{"op": "replace", "path": where + "/cell_type", "value": new_type}]
    if new_type == "code":
        empty: list[tuple[str, Any]] = [("outputs", []), ("execution_count", None)]
        patch += [{"op": "add", "path": f"{where}/{key}", "value": value} for key, value in empty]
        if "attachments" in cell:
            patch.append({"op": "remove", "path": where + "/attachments"})
    else:
        gone = [key for key in ("outputs", "execution_count") if key in cell]
        patch += [{"op": "remove", "path": f"{where}/{key}"} for key in gone]
    patch.append(patch.pop(chance.randrange(len(patch))))
    return patch


def _there_and_back(chance: Chance, where: str) -> Patch:
    """A field that is elsewhere for a while."""
    field = pick(chance, ("source", "metadata", "outputs", "cell_type", "execution_count"))
    path = f"{where}/{field}"
    return [
        {"op": "move", "from": path, "path": "/metadata/held"},
        {"op": "copy", "from": "/metadata/held", "path": path},
        {"op": "remove", "path": "/metadata/held"},
    ]


# What can be represented.


def represented(result: Any) -> Any:
    """The notebook as a document shows it, if nothing but the form of sources would change."""
    if not isinstance(result, dict):
        return None
    if "source" in result:
        text = result.keys() == {"source"} and isinstance(result["source"], str)
        return result if text else None
    result = copy.deepcopy(result)
    try:
        for cell in result["cells"]:
            if isinstance(cell["source"], list):
                cell["source"] = "".join(cell["source"])
        return result if document_notebook(notebook_document(result)) == result else None
    except (Refused, LookupError, TypeError):
        return None


# In.


def assert_resolved(document: Document, patch: Patch, result: Any) -> None:
    before, patch_before = copy.deepcopy(document), copy.deepcopy(patch)
    expected = represented(result)
    try:
        change = resolve_patch(document, patch)
    except Refused:
        if expected is not None:
            raise
        return
    finally:
        assert same(document, before)
        assert same(patch, patch_before)
    clean = without_tests(change)
    check_change(clean, notebook=is_notebook(document), from_client=False)
    after = document
    for operation in change:
        if operation["op"] == "test":
            continue
        then = apply(after, [operation])
        assert not same(then, after), ("no effect", operation)
        after = then
    if expected is not None:
        assert json_of(after) == expected, (patch, change)


def a_patch_does_to_the_document_what_it_does_to_its_json(chance: Chance) -> None:
    document = random_notebook(chance)
    patch, result = random_patch(chance, json_of(document), 1 + chance.randrange(5))
    assert_resolved(document, patch, result)


def a_patch_that_the_library_makes(chance: Chance) -> None:
    document = random_notebook(chance)
    order = document.get("order", [])
    other = spoiled(chance, random_document(chance))
    if is_notebook(document) != is_notebook(other):
        return
    if order:  # the library writes to ids where the cells are others
        cells = {cell_id: random_cell(chance) for cell_id in order}
        other = {**other, "cells": cells, "order": order}
    elif is_notebook(document):
        other = {**other, "cells": {}, "order": []}
    result = json_of(other)
    patch = list(jsonpatch.make_patch(json_of(document), result))
    change = resolve_patch(document, patch)
    assert json_of(apply(document, change)) == result, patch


def a_resolved_patch_can_be_transformed_over_what_others_did(chance: Chance) -> None:
    document = random_notebook(chance)
    patch, _ = random_patch(chance, json_of(document), 1 + chance.randrange(4))
    try:
        ours = resolve_patch(document, patch)
    except Refused:
        return
    state = document
    for _ in range(1 + chance.randrange(2)):
        theirs = random_change(chance, state, 1 + chance.randrange(3), ("x", "y"), CLIENT)
        state = apply(state, theirs)
        ours = transform_change(ours, theirs, later=True)
    tests = [operation for operation in patch if operation["op"] == "test"]
    assert [operation["value"] for operation in ours if operation["op"] == "test"] == [
        test["value"] for test in tests
    ]
    for operation in ours:
        if operation["op"] == "test":
            holds(state, operation)
        else:
            state = apply(state, [operation])


# Tests in patches.


def a_test_holds_where_it_does_for_the_library(chance: Chance) -> None:
    document = random_notebook(chance)
    notebook = json_of(document)
    places = [[], *_places(notebook, [])]
    where = pick(chance, places)
    value: Any = notebook
    for key in pick(chance, (where, where, pick(chance, places))):
        value = value[key]
    if isinstance(value, int) and seldom(chance, 2):
        value = float(value)
    test = {"op": "test", "path": pointer(*where), "value": value}
    try:
        jsonpatch.apply_patch(notebook, [test])
        expected = True
    except jsonpatch.JsonPatchTestFailed:
        expected = False
    if isinstance(value, list) and where[2:] == ["source"]:
        return
    [bound] = resolve_patch(document, [test])
    assert holds(document, bound) == expected


# Out.


def a_change_reads_as_a_patch_that_does_the_same(chance: Chance) -> None:
    document = random_notebook(chance)
    change = random_change(chance, document, 1 + chance.randrange(5), ("x", "y"), MIXED)
    before = copy.deepcopy(document)
    patch = project_entry(document, change)
    assert same(document, before)
    after = json_of(apply(document, change))
    result = jsonpatch.apply_patch(json_of(document), patch)
    assert same(result, after), (change, patch)
    # And back in: the patch says all that shows.
    again = resolve_patch(document, patch)
    assert same(json_of(apply(document, again)), after), (change, patch, again)


def outputs_go_both_ways(chance: Chance) -> None:
    """Edits of outputs, of which some do not show."""

    def output() -> Any:
        return [pick(chance, ({"output_type": "u"}, random_output(chance), random_output(chance)))]

    outputs = [one for _ in range(chance.randrange(6)) for one in output()]
    document = {
        "cells": {"a": {**new_cell(), "outputs": outputs}},
        "order": ["a"],
        "metadata": {},
    }
    delta = random_delta(chance, len(outputs), output)
    if chance.randrange(2):
        delta = with_edits(chance, delta, outputs)
    change = [{"op": "edit", "path": "/cells/a/outputs", "delta": delta}]
    after = apply(document, change)
    patch = project_entry(document, change)
    assert same(jsonpatch.apply_patch(json_of(document), patch), json_of(after))
    assert same(json_of(apply(document, resolve_patch(document, patch))), json_of(after))


def who_types_in_a_replaced_source_loses_nothing(chance: Chance) -> None:
    document = random_document(chance)
    if not document.get("order"):
        return
    cell_id = pick(chance, document["order"])
    path = pointer("cells", cell_id, "source")
    text = document["cells"][cell_id]["source"]
    patch = [
        {"op": "replace", "path": f"/cells/@{cell_id}/source", "value": random_text(chance, 9)}
    ]
    ours = resolve_patch(document, patch)
    marks = iter("①②③④⑤⑥")
    typed = [{"op": "edit", "path": path, "delta": random_insert(chance, len(text), marks)}]
    after = apply(apply(document, typed), transform_change(ours, typed, later=True))
    source = after["cells"][cell_id]["source"]
    assert [mark for mark in source if mark in "①②③④⑤⑥"] == [
        part for part in typed[0]["delta"] if isinstance(part, str)
    ]
    assert "".join(letter for letter in source if letter not in "①②③④⑤⑥") == patch[0]["value"]


def random_insert(chance: Chance, length: int, marks: Any) -> list[Any]:
    """A delta that inserts marks and deletes nothing."""
    delta: list[Any] = [next(marks)]
    if gap := chance.randrange(length + 1):
        delta += [gap, next(marks)]
    return delta


def nonsense_is_refused(chance: Chance) -> None:
    """Whatever comes is refused, or is a change that fits."""
    document = random_notebook(chance)
    patch = [random_nonsense(chance) for _ in range(1 + chance.randrange(6))]
    try:
        change = resolve_patch(document, patch)
    except Refused as refused:
        pointed: Any = patch
        for key in segments(refused.pointer):
            if isinstance(pointed, dict) and key not in pointed:
                break  # a missing member is named
            pointed = pointed[int(key) if isinstance(pointed, list) else key]
        return
    check_change(without_tests(change), notebook=is_notebook(document), from_client=False)
    for operation in change:
        if operation["op"] == "test":
            holds(document, operation)
        else:
            document = apply(document, [operation])
    project_entry(document, [])


def random_nonsense(chance: Chance) -> Any:
    parts = (
        "cells", "cells", "metadata", "0", "1", "-", "@a", "@b", "id", "source", "outputs", "k",
        "cell_type", "attachments", "execution_count", "nbformat", "x", "", "00", "@", "execution",
    )  # fmt: skip
    values = (
        None, True, 5, "code", "markdown", "a", "n", [], {}, [5], {"a": []}, float("inf"),
        {"cells": []}, {"cell_type": "code"}, {"cell_type": "raw", "id": "a"}, [{"id": "b"}],
        {"cells": [{"cell_type": "raw"}], "metadata": {}, "nbformat": 4, "nbformat_minor": 5},
    )  # fmt: skip

    def place() -> str:
        return pointer(*(pick(chance, parts) for _ in range(chance.randrange(5))))

    return {
        "op": pick(chance, ("add", "remove", "replace", "move", "copy", "test")),
        "path": place(),
        "from": place(),
        "value": pick(chance, values),
    }


# All of it.

PROPERTIES: list[Callable[[Chance], None]] = [
    a_patch_does_to_the_document_what_it_does_to_its_json,
    a_patch_that_the_library_makes,
    a_resolved_patch_can_be_transformed_over_what_others_did,
    a_test_holds_where_it_does_for_the_library,
    a_change_reads_as_a_patch_that_does_the_same,
    outputs_go_both_ways,
    who_types_in_a_replaced_source_loses_nothing,
    nonsense_is_refused,
]
every_property = pytest.mark.parametrize("holds_for", PROPERTIES, ids=lambda each: each.__name__)


@every_property
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[*HealthCheck])
@given(data=st.data())
def test_property(holds_for: Callable[[Chance], None], data: st.DataObject) -> None:
    holds_for(Drawn(data.draw))


@every_property
def test_many_seeds(holds_for: Callable[[Chance], None], fuzz_seconds: float) -> None:
    """``--fuzz-seconds`` goes on with new seeds; the one that failed is in the traceback."""
    first = SystemRandom().randrange(2**32) if fuzz_seconds else 0
    end = monotonic() + fuzz_seconds / len(PROPERTIES)
    for seed in count(first):
        if (seed >= 250) if not fuzz_seconds else (monotonic() > end):
            break
        holds_for(Random(seed))
