"""Notebook files to documents and back, with nbformat as the oracle."""

from __future__ import annotations

import copy
import json
import math
import re
from typing import Any

import nbformat
import orjson
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from nbformat import v4

from ot_jupyter.transforms import Refused, new_cell
from ot_jupyter.transforms.notebook import (
    cell_json,
    document_notebook,
    illegal_fields,
    json_cell,
    notebook_document,
    read_notebook,
    text_document,
)
from ot_jupyter.transforms.pointer import segments
from ot_jupyter.transforms.values import CELL_FIELDS, MAX_DEPTH

Notebook = dict[str, Any]

some = settings(max_examples=60, deadline=None)


# What notebooks are made of


def notebook(*cells: Notebook, minor: int = 5, **metadata: Any) -> Notebook:
    return {"cells": list(cells), "metadata": metadata, "nbformat": 4, "nbformat_minor": minor}


def code(source: Any = "", *outputs: Any, **fields: Any) -> Notebook:
    return {
        "cell_type": "code",
        "execution_count": None,
        "metadata": {},
        "outputs": list(outputs),
        "source": source,
        **fields,
    }


def prose(source: Any = "", cell_type: str = "markdown", **fields: Any) -> Notebook:
    return {"cell_type": cell_type, "metadata": {}, "source": source, **fields}


def old_notebook(*worksheets: list[Notebook]) -> Notebook:
    return {
        "metadata": {"name": "old", "signature": "sha256:0"},
        "nbformat": 3,
        "nbformat_minor": 0,
        "worksheets": [{"cells": cells, "metadata": {}} for cells in worksheets],
    }


def display(output_type: str = "display_data", **data: Any) -> Notebook:
    return {"output_type": output_type, "data": data, "metadata": {}}


def read(value: Any) -> Notebook:
    return read_notebook(json.dumps(value))


def refusal(value: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        read_notebook(value if isinstance(value, (str, bytes)) else json.dumps(value))
    return caught.value


def cells(document: Notebook) -> list[Notebook]:
    return [document["cells"][cell_id] for cell_id in document["order"]]


def without_ids(value: Notebook) -> Notebook:
    listed = [{key: v for key, v in cell.items() if key != "id"} for cell in value["cells"]]
    return {**value, "cells": listed}


def is_valid(value: Notebook) -> bool:
    """Whether nbformat takes it for valid 4.5 as it is (and no id had to be repaired)."""
    assert (value["nbformat"], value["nbformat_minor"]) == (4, 5)
    return bool(nbformat.validator.isvalid(value))


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(texts, v, max_size=3), max_leaves=6
)
odd_keys = ["__proto__", "constructor", "", "a/b", "m~n", "~01", "trusted"]
ruled_keys = [
    "tags", "name", "jupyter", "collapsed", "scrolled", "format", "execution", "kernelspec",
    "language_info", "title", "authors", "orig_nbformat", "orig_nbformat_minor", "signature",
]  # fmt: skip
free_metadata = st.dictionaries(
    st.sampled_from(odd_keys + ruled_keys) | texts,
    values | st.lists(st.sampled_from(["a", "b", "a,b", ""])) | st.just({"name": "x"}),
    max_size=4,
)
legal_metadata = st.fixed_dictionaries(
    {},
    optional={
        "tags": st.lists(st.sampled_from("abc"), unique=True),
        "name": st.just("n"),
        "collapsed": st.booleans(),
        "scrolled": st.sampled_from([True, False, "auto"]),
        "jupyter": st.just({"source_hidden": True}),
        "a/b": values,
        "__proto__": values,
        "nested": st.dictionaries(texts, values, max_size=2),
    },
)
counts = st.none() | st.integers(0, 2**53)
json_mimes = st.sampled_from(["application/json", "application/vnd.x.v1+json", "application/+json"])
text_mimes = st.sampled_from(["text/plain", "image/svg+xml", "text/x+json", "application/x", ""])
bundles = st.builds(
    lambda a, b: {**a, **b},
    st.dictionaries(text_mimes, texts, max_size=2),
    st.dictionaries(json_mimes, values, max_size=2),
)
legal_outputs = st.one_of(
    st.fixed_dictionaries({"output_type": st.just("stream"), "name": texts, "text": texts}),
    st.fixed_dictionaries(
        {"output_type": st.just("display_data"), "data": bundles, "metadata": free_metadata}
    ),
    st.fixed_dictionaries(
        {
            "output_type": st.just("execute_result"),
            "data": bundles,
            "metadata": free_metadata,
            "execution_count": counts,
        }
    ),
    st.fixed_dictionaries(
        {
            "output_type": st.just("error"),
            "ename": texts,
            "evalue": texts,
            "traceback": st.lists(texts, max_size=2),
        }
    ),
)
free_outputs = st.dictionaries(
    st.sampled_from(["output_type", "data", "metadata", "text", "name", "transient", "x"]),
    values | st.sampled_from(["stream", "display_data", "error", "misc"]),
    max_size=4,
)
cell_ids = st.text("abcXYZ019-_", min_size=1, max_size=64) | st.sampled_from(
    ["__proto__", "constructor", "-", "0"]
)
sources = texts | st.sampled_from(["\U0001f600 = 1\r\nb\u2028c", "a\nb\n", "\0"])


@st.composite
def legal_notebooks(draw: st.DrawFn) -> Notebook:
    """Canonical 4.5: every text one string, every field there."""
    made = []
    for cell_id in draw(st.lists(cell_ids, unique=True, max_size=4)):
        if draw(st.booleans()):
            outputs = draw(st.lists(legal_outputs, max_size=3))
            cell = code(draw(sources), *outputs, execution_count=draw(counts))
        else:
            cell = prose(draw(sources), draw(st.sampled_from(["markdown", "raw"])))
            attachments = draw(st.dictionaries(texts, bundles, max_size=2))
            if attachments:
                cell["attachments"] = attachments
        made.append({**cell, "id": cell_id, "metadata": draw(legal_metadata)})
    metadata = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "kernelspec": st.just({"name": "p", "display_name": "P", "language": "python"}),
                "language_info": st.just({"name": "python", "version": "3"}),
                "a/b": values,
            },
        )
    )
    return notebook(*made, **metadata)


@st.composite
def documents(draw: st.DrawFn) -> Notebook:
    """Documents as live clients may make them: registers hold any JSON."""
    order = draw(st.lists(cell_ids, unique=True, max_size=4))
    made = {}
    for cell_id in order:
        cell = new_cell(
            draw(st.sampled_from(["code", "markdown", "raw"])), draw(sources), draw(free_metadata)
        )
        cell["outputs"] = draw(st.lists(legal_outputs | free_outputs, max_size=3))
        cell["execution_count"] = draw(counts | values)
        cell["attachments"] = draw(st.dictionaries(texts, bundles | values, max_size=2))
        cell["execution"] = draw(st.sampled_from([{}, {"state": "running"}]))
        made[cell_id] = cell
    return {"cells": made, "order": order, "metadata": draw(free_metadata)}


# Round trips


@some
@given(legal_notebooks())
def test_a_canonical_notebook_comes_back(value: Notebook) -> None:
    assume(is_valid(value))
    before = copy.deepcopy(value)
    document = notebook_document(value)
    assert value == before
    assert document_notebook(document) == value
    assert illegal_fields(document) == []
    assert read_notebook(orjson.dumps(value)) == document


@some
@given(legal_notebooks())
def test_files_as_nbformat_writes_and_reads_them(value: Notebook) -> None:
    text = nbformat.writes(nbformat.from_dict(value))
    assert document_notebook(read_notebook(text)) == nbformat.reads(text, as_version=4)


@some
@given(legal_notebooks(), st.integers(0, 4))
def test_older_minors(value: Notebook, minor: int) -> None:
    text = json.dumps({**without_ids(value), "nbformat_minor": minor})
    document = read_notebook(text)
    assert document == read_notebook(text)
    assert without_ids(document_notebook(document)) == without_ids(value)
    assert is_valid(document_notebook(document))


@some
@given(legal_notebooks())
def test_format_3_as_nbformat_converts_it(value: Notebook) -> None:
    old = v4.downgrade(nbformat.from_dict(value))
    assume(not any("json" in output for output in old_outputs(old)))  # written other than read
    text = json.dumps(old)
    expected = nbformat.reads(text, as_version=4)
    for key in ("orig_nbformat", "orig_nbformat_minor"):
        expected.metadata.pop(key, None)
    read_twice = [read_notebook(text), notebook_document(json.loads(text))]
    assert read_twice[0] == read_twice[1]
    assert without_ids(document_notebook(read_twice[0])) == without_ids(expected)


def old_outputs(old: Notebook) -> list[Notebook]:
    return [output for cell in old["worksheets"][0]["cells"] for output in cell.get("outputs", [])]


# Writing


@some
@given(documents())
def test_whatever_a_document_holds_its_file_is_valid(document: Notebook) -> None:
    before = copy.deepcopy(document)
    written = document_notebook(document)
    places = illegal_fields(document)
    assert document == before
    assert is_valid(written)
    assert [cell["id"] for cell in written["cells"]] == document["order"]
    for cell in written["cells"]:
        assert cell == cell_json(cell["id"], document["cells"][cell["id"]])
    # What was written is read again, and then nothing is illegal any more.
    again = notebook_document(written)
    assert document_notebook(again)["metadata"] == written["metadata"]
    assert illegal_fields(again) == []
    assert len(set(places)) == len(places)


@some
@given(documents())
def test_only_what_is_illegal_is_left_out(document: Notebook) -> None:
    written = document_notebook(document)
    illegal = {segments(place) for place in illegal_fields(document)}
    for place in illegal:
        match place:  # put back, it makes the file invalid
            case ("metadata", key):
                value = {**written["metadata"], key: document["metadata"][key]}
                assert not is_valid({**written, "metadata": value})
            case ("cells", cell_id, "metadata", key):
                index = document["order"].index(cell_id)
                cell = written["cells"][index]
                value = {**cell["metadata"], key: document["cells"][cell_id]["metadata"][key]}
                cells = [*written["cells"]]
                cells[index] = {**cell, "metadata": value}
                assert not is_valid({**written, "cells": cells})
    transient = {"trusted", "orig_nbformat", "orig_nbformat_minor", "signature"}
    for key, value in document["metadata"].items():
        assert (key in written["metadata"]) == (
            key not in transient and ("metadata", key) not in illegal
        )
        assert key not in written["metadata"] or written["metadata"][key] == value
    for cell in written["cells"]:
        held = document["cells"][cell["id"]]
        lost = {p[3] for p in illegal if p[:3] == ("cells", cell["id"], "metadata")}
        assert set(cell["metadata"]) == set(held["metadata"]) - lost - {"trusted"}
        if cell["cell_type"] == "code":
            lost = {p for p in illegal if p[:3] == ("cells", cell["id"], "outputs") and len(p) == 4}
            assert len(cell["outputs"]) == len(held["outputs"]) - len(lost)


def test_only_the_fields_of_a_type_are_written() -> None:
    cell = new_cell("code", "x", {"tags": ["a"], "trusted": True})
    cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "1"}]
    cell["execution_count"] = 3
    cell["attachments"] = {"a.png": {"image/png": "aa"}}
    cell["execution"] = {"state": "running"}
    assert cell_json("i", cell) == {
        "cell_type": "code",
        "execution_count": 3,
        "id": "i",
        "metadata": {"tags": ["a"]},
        "outputs": cell["outputs"],
        "source": "x",
    }
    for other in ("markdown", "raw"):
        assert cell_json("i", {**cell, "cell_type": other}) == {
            "attachments": cell["attachments"],
            "cell_type": other,
            "id": "i",
            "metadata": {"tags": ["a"]},
            "source": "x",
        }
    assert "attachments" not in cell_json("i", new_cell("markdown"))


def test_illegal_fields_are_named() -> None:
    cell = new_cell("code", "", {"tags": ["a,b"], "a/b": 1, "collapsed": "yes", "name": ""})
    cell["execution_count"] = -1
    cell["outputs"] = [
        {"output_type": "stream", "name": "stdout", "text": "kept"},
        {"output_type": "stream", "name": "stdout", "text": 5},
        {"output_type": "from the future"},
        {**display(**{"text/plain": "kept"}), "transient": {"display_id": "d"}, "x": 1},
        {**display("execute_result"), "execution_count": True},
        {},
    ]
    picture = new_cell("markdown")
    picture["attachments"] = {"a/b": {"image/png": 7}, "ok": {"image/png": "aa"}}
    picture["outputs"] = [{}]
    document = {
        "cells": {"c": cell, "p": picture},
        "order": ["p", "c"],
        "metadata": {"kernelspec": {"name": "python3"}, "signature": 1, "other": 1},
    }
    assert illegal_fields(document) == [
        "/metadata/kernelspec",
        "/cells/p/attachments/a~1b",
        "/cells/c/metadata/tags",
        "/cells/c/metadata/collapsed",
        "/cells/c/metadata/name",
        "/cells/c/execution_count",
        "/cells/c/outputs/1",
        "/cells/c/outputs/2",
        "/cells/c/outputs/3/x",
        "/cells/c/outputs/4/execution_count",
        "/cells/c/outputs/5",
    ]
    written = document_notebook(document)
    assert is_valid(written)
    assert written["metadata"] == {"other": 1}
    assert written["cells"][0]["attachments"] == {"ok": {"image/png": "aa"}}
    assert written["cells"][1]["metadata"] == {"a/b": 1}
    assert written["cells"][1]["outputs"] == [
        cell["outputs"][0],
        display(**{"text/plain": "kept"}),
        {**display("execute_result"), "execution_count": None},
    ]
    assert illegal_fields({"source": "text"}) == []


# Reading: shape, repairs, formats


def test_every_cell_has_every_field() -> None:
    document = read(notebook(code("a"), prose("b"), prose("c", "raw"), minor=4))
    assert list(document) == ["cells", "order", "metadata"]
    assert list(document["cells"]) == document["order"]
    for cell in cells(document):
        assert tuple(cell) == CELL_FIELDS
        assert cell["execution"] == {}


def test_lines_are_joined_where_nbformat_joins_them() -> None:
    output = display(**{
        "text/html": ["<b>", "</b>"],
        "application/json": ["a", "b"],
        "application/x+json": [["a"]],
        "image/png": "aa",
        "text/odd": ["a", 1],
    })  # fmt: skip
    document = read(
        notebook(
            code(
                ["a\n", "b"], output, {"output_type": "stream", "name": "o", "text": ["1\n", "2"]}
            ),
            prose([], attachments={"a.txt": {"text/plain": ["x", "y"], "application/json": [1]}}),
        )
    )
    first, second = cells(document)
    assert first["source"] == "a\nb"
    assert first["outputs"][0]["data"] == {
        "text/html": "<b></b>",
        "application/json": ["a", "b"],
        "application/x+json": [["a"]],
        "image/png": "aa",
        "text/odd": ["a", 1],
    }
    assert first["outputs"][1]["text"] == "1\n2"
    assert second["source"] == ""
    assert second["attachments"] == {"a.txt": {"text/plain": "xy", "application/json": [1]}}


def test_what_is_missing_is_filled_in() -> None:
    outputs = [
        {"output_type": "execute_result", "data": {"text/plain": "1"}, "execution_count": "*"},
        {"output_type": "display_data", "metadata": None, "transient": {"display_id": "d"}},
        {"output_type": "stream", "text": "t"},
        {"output_type": "error"},
    ]
    value = {
        "nbformat": 4,
        "cells": [
            {"cell_type": "code", "outputs": outputs, "execution_count": "&nbsp;"},
            {"cell_type": "code", "outputs": None, "metadata": None, "source": None},
            {"cell_type": "markdown", "outputs": [], "prompt_number": 3},
        ],
    }
    document = read(value)
    assert document["metadata"] == {}
    first, second, third = cells(document)
    assert first["outputs"] == [
        {**display("execute_result", **{"text/plain": "1"}), "execution_count": None},
        display(),
        {"output_type": "stream", "name": "stdout", "text": "t"},
        {"output_type": "error", "ename": "", "evalue": "", "traceback": []},
    ]
    assert first["execution_count"] is None
    assert second == new_cell("code")
    assert third == new_cell("markdown")
    assert illegal_fields(document) == []
    assert is_valid(document_notebook(document))


def test_what_is_legal_and_unknown_is_kept_and_trust_is_not() -> None:
    odd = {"__proto__": {"trusted": 1}, "": [None], "a/b": {"m~n": 1.5}}
    value = notebook(
        {
            **code("", {**display(**{"x/y": "z"}), "metadata": odd}),
            "metadata": {**odd, "trusted": 1},
        },
        trusted=True,
        signature="s",
        orig_nbformat=2,
        orig_nbformat_minor=1,
        **odd,
    )
    document = read(value)
    assert document["metadata"] == odd
    assert cells(document)[0]["metadata"] == odd
    assert cells(document)[0]["outputs"] == value["cells"][0]["outputs"]


def test_other_outputs_of_a_file_stay_in_the_document() -> None:
    future = {"output_type": "hologram", "beam": ["a", "b"]}
    document = read(notebook(code("", future), prose("", outputs=[future]), minor=4))
    assert [cell["outputs"] for cell in cells(document)] == [[future], [future]]
    assert illegal_fields(document) == [f"/cells/{document['order'][0]}/outputs/0"]


def test_format_3() -> None:
    value = old_notebook(
        [
            {"cell_type": "heading", "level": 2, "source": ["A", "B"], "metadata": {}},
            {
                "cell_type": "code",
                "language": "python",
                "collapsed": True,
                "input": ["x = 1", "x"],  # lines without their ends
                "prompt_number": 4,
                "outputs": [
                    {"output_type": "pyout", "prompt_number": 4, "text": ["1"], "metadata": {}},
                    {"output_type": "pyerr", "ename": "E", "evalue": "v", "traceback": ["t"]},
                    {"output_type": "stream", "stream": "stderr", "text": "w"},
                    {"output_type": "display_data", "png": "aa", "json": '{"a": NaN}'},
                ],
            },
        ],
        [{"cell_type": "raw", "source": "r"}, {"cell_type": "heading", "level": 2**50}],
    )
    document = read(value)
    heading, run, raw, low = cells(document)
    assert document["metadata"] == {}
    assert heading == new_cell("markdown", "## A B")
    assert run["source"] == "x = 1\nx"
    assert run["metadata"] == {"collapsed": True}
    assert run["execution_count"] == 4
    assert run["outputs"] == [
        {**display("execute_result", **{"text/plain": "1"}), "execution_count": 4},
        {"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["t"]},
        {"output_type": "stream", "name": "stderr", "text": "w"},
        display(**{"image/png": "aa", "application/json": {"a": None}}),
    ]
    assert raw == new_cell("raw", "r")
    assert low["source"] == "###### "
    assert document == read(value)
    assert is_valid(document_notebook(document))


@pytest.mark.parametrize(
    ("change", "code_", "place"),
    [
        ({"nbformat": 2}, "unsupported_format", "/nbformat"),
        ({"nbformat": 5}, "unsupported_format", "/nbformat"),
        ({"nbformat": 0}, "unsupported_format", "/nbformat"),
        ({"nbformat_minor": 6}, "unsupported_format", "/nbformat_minor"),
        ({"nbformat": "4"}, "not_a_notebook", "/nbformat"),
        ({"nbformat": True}, "not_a_notebook", "/nbformat"),
        ({"nbformat": None}, "not_a_notebook", "/nbformat"),
        ({"nbformat_minor": -1}, "not_a_notebook", "/nbformat_minor"),
        ({"cells": None}, "not_a_notebook", "/cells"),
        ({"cells": {}}, "not_a_notebook", "/cells"),
        ({"cells": [code(), 1]}, "not_a_notebook", "/cells/1"),
        ({"cells": [{}]}, "not_a_notebook", "/cells/0/cell_type"),
        ({"cells": [prose("", "heading")]}, "not_a_notebook", "/cells/0/cell_type"),
        ({"cells": [prose("", ["code"])]}, "not_a_notebook", "/cells/0/cell_type"),
        ({"cells": [code(1)]}, "not_a_notebook", "/cells/0/source"),
        ({"cells": [code(["a", 1])]}, "not_a_notebook", "/cells/0/source"),
        ({"cells": [code(metadata=[])]}, "not_a_notebook", "/cells/0/metadata"),
        ({"cells": [code(outputs={})]}, "not_a_notebook", "/cells/0/outputs"),
        ({"cells": [code("", {}, None)]}, "not_a_notebook", "/cells/0/outputs/1"),
        ({"cells": [prose(attachments=[])]}, "not_a_notebook", "/cells/0/attachments"),
        (
            {"cells": [prose(attachments={"a/b": ""})]},
            "not_a_notebook",
            "/cells/0/attachments/a~1b",
        ),
        ({"metadata": []}, "not_a_notebook", "/metadata"),
        ({"nbformat": 3}, "not_a_notebook", "/worksheets"),
        ({"nbformat": 3, "worksheets": [1]}, "not_a_notebook", "/worksheets/0"),
        ({"nbformat": 3, "worksheets": [{"cells": 1}]}, "not_a_notebook", "/worksheets/0/cells"),
    ],
)
def test_what_is_no_notebook_is_refused(change: Notebook, code_: str, place: str) -> None:
    error = refusal({**notebook(), **change})
    assert (error.code, error.pointer) == (code_, place)


@pytest.mark.parametrize(
    ("cell", "place"),
    [
        (1, ""),
        ({}, "/cell_type"),
        ({"cell_type": "video", "source": ""}, "/cell_type"),
        ({"cell_type": "code", "input": 1}, "/input"),
        ({"cell_type": "raw", "source": ["a", 1]}, "/source"),
        ({"cell_type": "raw", "metadata": 1}, "/metadata"),
        ({"cell_type": "code", "outputs": [{}]}, "/outputs/0/output_type"),
        ({"cell_type": "raw", "outputs": [3]}, "/outputs/0"),
    ],
)
def test_refusals_of_format_3_point_into_its_file(cell: Any, place: str) -> None:
    good = {"cell_type": "raw", "source": ""}
    error = refusal(old_notebook([good], [good, cell]))
    assert (error.code, error.pointer) == ("not_a_notebook", "/worksheets/1/cells/1" + place)


@pytest.mark.parametrize("value", [None, 1, "a", [], [{}]])
def test_json_of_another_kind(value: Any) -> None:
    error = refusal(json.dumps(value))
    assert (error.code, error.pointer) == ("not_a_notebook", "")


def test_json_without_a_format() -> None:
    assert refusal({"name": "package"}).pointer == "/nbformat"


# Ids


def test_ids_are_kept_when_legal_and_unique() -> None:
    kept = ["__proto__", "a", "A-_9", "x" * 64]
    for minor in (0, 2, 5):
        document = read(notebook(*(code(id=cell_id) for cell_id in kept), minor=minor))
        assert document["order"] == kept


def test_missing_illegal_and_second_ids() -> None:
    ids = ["a", None, "", "a b", "x" * 65, 7, ["a"], "a", "é", "a\n", "b"]
    value = notebook(*(code("same", id=cell_id) for cell_id in ids), code("same"), code("same"))
    order = read(value)["order"]
    assert order[0] == "a"
    assert order[10] == "b"
    assert len(set(order)) == len(order) == 13
    assert all(re.fullmatch("[0-9a-f]{8}", cell_id) for cell_id in order[1:10] + order[11:])
    assert order == read(value)["order"]
    assert order == notebook_document(value)["order"]
    assert is_valid(document_notebook(read(value)))


def test_a_made_id_never_takes_one_of_the_file() -> None:
    first = read(notebook(code("a"), code("b")))["order"]
    # The ids that were made before now belong to other cells, before and after.
    value = notebook(code("a"), code("b"), code("c", id=first[0]), code("d", id=first[1]))
    order = read(value)["order"]
    assert order[2:] == first
    assert len(set(order)) == 4


def test_an_id_depends_on_position_and_content() -> None:
    order = read(notebook(code("a"), code("a"), prose("a")))["order"]
    assert read(notebook(code("a"), code("b"), prose("c")))["order"][0] == order[0]
    assert read(notebook(prose("a"), code("a"), code("a")))["order"][1] == order[1]
    assert len({*order, read(notebook(prose("a")))["order"][0]}) == 4


def test_ids_stay_unique_where_their_hashes_meet() -> None:
    # Among this many short hashes two are the same (of the cells 26811 and 40610).
    order = notebook_document(notebook(*([{"cell_type": "code"}] * 41_000)))["order"]
    assert len(set(order)) == len(order) == 41_000


def test_a_hundred_cells() -> None:
    value = notebook(*(code(f"x = {i}") for i in range(100)), minor=2)
    document = read(value)
    assert [cell["source"] for cell in cells(document)] == [f"x = {i}" for i in range(100)]
    assert document == read(value)


# Texts and numbers


def test_what_is_not_json_is_refused_with_its_place() -> None:
    error = refusal('{\n  "cells": [\n}')
    assert error.code == "not_json"
    assert "line 3 column 1" in error.message
    for empty in ("", b"", " \n\t", b"\xef\xbb\xbf", "\ufeff\n"):
        assert refusal(empty).code == "not_json"
        assert "empty" in refusal(empty).message
    for text in ("{", "nope", '{"cells": []} x', "<<<<<<< HEAD", '{"a": 1,}', "\0", "[" * 50):
        assert refusal(text).code == "not_json"


def test_encodings() -> None:
    value = notebook(code("é\U0001f600"), minor=4)
    text = json.dumps(value, ensure_ascii=False)
    document = read_notebook(text)
    assert cells(document)[0]["source"] == "é\U0001f600"
    for same in (text.encode(), text.encode("utf-8-sig"), "\ufeff" + text, json.dumps(value)):
        assert read_notebook(same) == document
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"):
        error = refusal(text.replace("\U0001f600", "").encode(encoding))
        assert error.code == "not_json"
        assert "UTF-8" in error.message


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("NaN", None),
        ("Infinity", None),
        ("-Infinity", None),
        ("1e400", None),
        ("-1e400", None),
        ("1" + "0" * 400, None),
        ("1" * 5000, None),
        (str(2**53), 2**53),
        (str(-(2**53)), -(2**53)),
        (str(2**53 + 1), float(2**53)),
        (str(2**63), float(2**63)),
        (str(-(2**70)), -float(2**70)),
        ("1" + "0" * 40, 1e40),
    ],
)
def test_numbers_as_a_browser_reads_them(number: str, expected: Any) -> None:
    data = {"application/json": {"y": [1, "@"]}}
    text = json.dumps(notebook(code("NaN", display(**data)), free="@")).replace('"@"', number)
    document = read_notebook(text)
    (cell,) = cells(document)
    found = cell["outputs"][0]["data"]["application/json"]["y"]
    assert found == [1, expected]
    assert type(found[1]) is type(expected)
    assert document["metadata"] == {"free": expected}
    assert cell["source"] == "NaN"
    orjson.loads(orjson.dumps(document))


def test_numbers_of_parsed_json() -> None:
    value = notebook(free=[math.nan, math.inf, -math.inf, 2**53 + 1, 2**70, 10**400, 0.5, True])
    expected = [None, None, None, float(2**53), float(2**70), None, 0.5, True]
    assert notebook_document(value)["metadata"]["free"] == expected
    assert notebook_document(notebook(free=[math.nan, 0.5]))["metadata"]["free"] == [None, 0.5]
    assert notebook_document(notebook(free=[2**53 + 1]))["metadata"]["free"] == [float(2**53)]


def test_parsed_json_shares_nothing_with_the_document() -> None:
    for free in ({"a": [1]}, {"a": [1], "b": 10**30}):
        value = notebook(code("", display(**{"application/json": free})), free=free)
        before = copy.deepcopy(value)
        document = notebook_document(value)
        document["metadata"]["free"]["a"].append(2)
        cells(document)[0]["outputs"][0]["data"]["application/json"]["a"].append(2)
        assert value == before


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (json.dumps(notebook(code("a\ud800"))), "/cells/0/source"),
        (json.dumps(notebook(code(["a", "\udc00b"]))), "/cells/0/source/1"),
        (json.dumps(notebook(**{"a/b": {"\ud800": 1}})), "/metadata/a~1b"),
        (json.dumps(notebook(code(["\ud83d", "\ude00"]))), "/cells/0/source/0"),
        (json.dumps(notebook(free="\udfff\ud800")), "/metadata/free"),
    ],
)
def test_half_a_surrogate_pair_is_refused(text: str, place: str) -> None:
    error = refusal(text)
    assert (error.code, error.pointer) == ("bad_text", place)
    str(error).encode()
    with pytest.raises(Refused, match="surrogate"):
        notebook_document(json.loads(text))


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_nesting() -> None:
    deepest = nested(MAX_DEPTH - 3)  # a cell, its outputs and the output's data are around it
    value = notebook(code("", {**display(), "data": {"application/json": nested(MAX_DEPTH - 4)}}))
    assert read(value) == notebook_document(value)
    value["cells"][0]["outputs"][0]["data"]["application/json"] = deepest
    error = refusal(value)
    assert error.code == "too_deep"
    assert error.pointer.startswith("/cells/0/outputs/0/data/application~1json/0/0")
    for depth in (150, 300, 900, 1100, 10_000, 100_000):
        deep = "[" * depth + "]" * depth
        for text in (
            deep,
            json.dumps(notebook(free="@")).replace('"@"', deep),
            '{"a":' * depth + "NaN" + "}" * depth,
            json.dumps(old_notebook([{"cell_type": "raw", "x": "@"}])).replace('"@"', deep),
        ):
            assert refusal(text).code == "too_deep"
    for depth in (150, 1100, 10_000):
        with pytest.raises(Refused) as caught:
            notebook_document(notebook(free=nested(depth)))
        assert caught.value.code == "too_deep"


@pytest.mark.parametrize("depth", [150, 600, 100_000])
def test_nesting_that_format_3_hides_in_a_text(depth: int) -> None:
    output = {"output_type": "display_data", "json": "[" * depth + "]" * depth}
    cell = {"cell_type": "code", "input": "", "outputs": [output]}
    assert refusal(old_notebook([cell])).code == "too_deep"


def test_values_that_are_not_json() -> None:
    for value in ({1}, {1: 2}, object()):
        with pytest.raises(Refused):
            notebook_document(notebook(free=value))


def test_text_documents() -> None:
    assert text_document("a\r\n\0\U0001f600") == {"source": "a\r\n\0\U0001f600"}
    with pytest.raises(Refused) as caught:
        text_document("\ud800")
    assert (caught.value.code, caught.value.pointer) == ("bad_text", "/source")


def test_json_cell() -> None:
    value = code(["a", "b"], display(**{"text/plain": ["x", "y"]}), id="i", metadata={"trusted": 1})
    before = copy.deepcopy(value)
    cell_id, cell = json_cell(value)
    assert value == before
    assert cell_id == "i"
    assert cell["source"] == "ab"
    assert cell["metadata"] == {}
    assert cell["outputs"] == [display(**{"text/plain": "xy"})]
    assert json_cell(cell_json("j", cell)) == ("j", cell)
    assert json_cell(code(id="no id"))[0] is None
    with pytest.raises(Refused) as caught:
        json_cell(code("", 1))
    assert caught.value.pointer == "/outputs/0"


# Anything at all


@st.composite
def damaged(draw: st.DrawFn) -> Notebook:
    """A notebook with one or two places overwritten or removed."""
    value = draw(legal_notebooks())
    if draw(st.booleans()):
        value = json.loads(json.dumps(v4.downgrade(nbformat.from_dict(value))))
    for _ in range(draw(st.integers(1, 2))):
        here: Any = value
        while True:
            keys = list(here) if isinstance(here, dict) else list(range(len(here)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(here[key], (dict, list)) and draw(st.integers(0, 3)):
                here = here[key]
                continue
            if draw(st.booleans()):
                here[key] = draw(values)
            else:
                del here[key]
            break
    return value


def pointed_at(value: Any, place: str) -> None:
    """Check that everything above the place is there."""
    for segment in segments(place)[:-1]:
        value = value[int(segment)] if isinstance(value, list) else value[segment]
    assert place == "" or isinstance(value, (dict, list))


@settings(max_examples=120, deadline=None)
@given(damaged())
def test_a_damaged_notebook_is_read_or_refused(value: Notebook) -> None:
    text = json.dumps(value)
    try:
        document = read_notebook(text)
    except Refused as error:
        pointed_at(value, error.pointer)
        return
    assert read_notebook(text) == document
    assert set(document["cells"]) == set(document["order"])
    written = document_notebook(document)
    assert is_valid(written)
    assert illegal_fields(notebook_document(written)) == []


@some
@given(st.binary(max_size=40) | texts.map(str.encode) | values.map(orjson.dumps))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with pytest.raises(Refused):
        read_notebook(data)
