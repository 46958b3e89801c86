"""JSON Patch: each verb, the edges, what is refused, and the way out."""

from __future__ import annotations

from typing import Any

import jsonpatch
import pytest

from ot_jupyter.transforms import Change, Document, Refused, apply, new_cell, transform_change
from ot_jupyter.transforms.jsonpatch import project_entry, resolve_patch
from ot_jupyter.transforms.jsonpatch import test_holds as holds
from ot_jupyter.transforms.notebook import document_notebook

TEXT = {"source": "one\ntwo\n"}


def stream(text: str) -> dict[str, Any]:
    return {"output_type": "stream", "name": "stdout", "text": text}


def notebook() -> Document:
    return {
        "cells": {
            "a": {
                **new_cell("code", "x = 1\ny = 2\n", {"tags": ["t", "u"], "k": {"deep": 1}}),
                "outputs": [stream("0"), stream("1"), stream("2")],
                "execution_count": 4,
                "execution": {"state": "ok"},
            },
            "b": {
                **new_cell("markdown", "# Title"),
                "attachments": {"i.png": {"image/png": "aQ=="}},
            },
            "c": new_cell("raw", "raw"),
        },
        "order": ["a", "b", "c"],
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python"}, "a/b": 1},
    }


def op(verb: str, path: str, *value: Any, **more: Any) -> dict[str, Any]:
    return {"op": verb, "path": path, **({"value": value[0]} if value else {}), **more}


def resolve(*patch: dict[str, Any], document: Document | None = None) -> Change:
    """The change; the ids that it mints are new0, new1, …"""
    document = document or notebook()
    minted = iter(f"new{number}" for number in range(99))
    return resolve_patch(document, [*patch], lambda: next(minted))


def refusal(patch: Any, document: Document | None = None) -> tuple[str, str]:
    with pytest.raises(Refused) as caught:
        resolve_patch(document or notebook(), patch)
    return caught.value.code, caught.value.pointer


# Sources


@pytest.mark.parametrize("cell", ["0", "@a"])
@pytest.mark.parametrize("verb", ["replace", "add"])
def test_a_source_is_edited_as_little_as_possible(verb: str, cell: str) -> None:
    assert resolve(op(verb, f"/cells/{cell}/source", "x = 1\ny = 23\n")) == [
        {"op": "edit", "path": "/cells/a/source", "delta": [11, "3"]}
    ]


def test_a_source_may_come_as_lines() -> None:
    lines = ["x = 1\n", "y = 2\n", "z"]
    assert resolve(op("replace", "/cells/0/source", lines)) == [
        {"op": "edit", "path": "/cells/a/source", "delta": [12, "z"]}
    ]


def test_lines_of_a_source_that_came_as_lines_can_be_written() -> None:
    document = notebook()
    change = resolve(
        op("replace", "/cells/2/source", ["r\n", "s"]), op("replace", "/cells/2/source/1", "t")
    )
    assert apply(document, change)["cells"]["c"]["source"] == "r\nt"


def test_a_text_file() -> None:
    assert resolve(op("replace", "/source", "one\ntwo!\n"), document=TEXT) == [
        {"op": "edit", "path": "/source", "delta": [7, "!"]}
    ]
    assert resolve(op("replace", "", {"source": "one\n"}), document=TEXT) == [
        {"op": "edit", "path": "/source", "delta": [4, -4]}
    ]
    for patch in (
        [op("remove", "/source")],
        [op("add", "/cells", [])],
        [op("replace", "/source", ["a"])],
        [op("replace", "", "text")],
        [op("add", "/metadata", {}), op("add", "/metadata/k", 1)],
    ):
        refusal(patch, TEXT)


def test_what_others_type_in_a_replaced_source_stays() -> None:
    document = notebook()
    ours = resolve(op("replace", "/cells/0/source", "x = 10\ny = 2\nz = 3\n"))
    typed: Change = [{"op": "edit", "path": "/cells/a/source", "delta": [11, " + here"]}]
    moved: Change = [{"op": "move", "path": "/cells/a", "index": 0, "to": 2}]
    for theirs in (typed, moved):
        document = apply(document, theirs)
        ours = transform_change(ours, theirs, later=True)
    assert apply(document, ours)["cells"]["a"]["source"] == "x = 10\ny = 2 + here\nz = 3\n"


# Registers


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (op("add", "/metadata/new", {"a": 1}), op("replace", "/metadata/new", {"a": 1})),
        (op("add", "/metadata/a~1b", 2), op("replace", "/metadata/a~1b", 2)),
        (op("replace", "/metadata/a~1b", True), op("replace", "/metadata/a~1b", True)),
        (op("remove", "/metadata/a~1b"), op("remove", "/metadata/a~1b")),
        (
            op("replace", "/metadata/kernelspec/name", "r"),
            op("replace", "/metadata/kernelspec/name", "r"),
        ),
        (
            op("add", "/cells/0/metadata/tags/1", "v"),
            op("replace", "/cells/a/metadata/tags", ["t", "v", "u"]),
        ),
        (
            op("add", "/cells/0/metadata/tags/-", "v"),
            op("replace", "/cells/a/metadata/tags", ["t", "u", "v"]),
        ),
        (op("remove", "/cells/@a/metadata/tags/0"), op("replace", "/cells/a/metadata/tags", ["u"])),
        (op("add", "/cells/0/metadata/k/x", 1), op("replace", "/cells/a/metadata/k/x", 1)),
        (op("replace", "/cells/0/metadata/k", 1), op("replace", "/cells/a/metadata/k", 1)),
        (
            op("replace", "/cells/0/execution_count", None),
            op("replace", "/cells/a/execution_count", None),
        ),
        (
            op("replace", "/cells/1/cell_type", "raw"),
            op("replace", "/cells/b/cell_type", "raw"),
        ),
        (
            op("remove", "/cells/1/attachments/i.png"),
            op("remove", "/cells/b/attachments/i.png"),
        ),
        (
            op("copy", "/metadata/n", **{"from": "/cells/0/metadata/tags/0"}),
            op("replace", "/metadata/n", "t"),
        ),
    ],
)
def test_a_write_of_a_register(operation: dict[str, Any], expected: dict[str, Any]) -> None:
    assert resolve(operation) == [expected]


def test_an_item_of_an_array_in_an_array() -> None:
    change = resolve(
        op("add", "/metadata/list", [{"a": [1]}]), op("add", "/metadata/list/0/a/0", 0)
    )
    assert change[-1] == op("replace", "/metadata/list", [{"a": [0, 1]}])
    assert change[0] == op("replace", "/metadata/list", [{"a": [1]}])


def test_a_move_between_keys() -> None:
    assert resolve(op("move", "/metadata/x", **{"from": "/cells/0/metadata/k"})) == [
        op("remove", "/cells/a/metadata/k"),
        op("replace", "/metadata/x", {"deep": 1}),
    ]


def test_metadata_as_a_whole_is_compared() -> None:
    assert resolve(op("replace", "/cells/0/metadata", {"tags": ["t", "u"], "k": {"deep": 2}})) == [
        op("replace", "/cells/a/metadata/k/deep", 2)
    ]
    assert resolve(op("replace", "/metadata", {"a/b": 1})) == [op("remove", "/metadata/kernelspec")]


@pytest.mark.parametrize(
    "operation",
    [
        op("replace", "/cells/0/source", "x = 1\ny = 2\n"),
        op("replace", "/metadata/a~1b", 1),
        op("add", "/nbformat", 4),
        op("replace", "/nbformat_minor", 5),
        op("replace", "/cells/0/id", "a"),
        op("move", "/cells/1", **{"from": "/cells/1"}),
        op("move", "/cells/@b", **{"from": "/cells/1"}),
        op("copy", "/metadata", **{"from": "/metadata"}),
        op("replace", "", document_notebook(notebook())),
        op("replace", "/cells/1", document_notebook(notebook())["cells"][1]),
    ],
)
def test_what_changes_nothing_gives_nothing(operation: dict[str, Any]) -> None:
    assert resolve(operation) == []


# Outputs


def test_outputs_are_removed_and_cleared() -> None:
    path = "/cells/a/outputs"
    assert resolve(op("remove", "/cells/0/outputs/1")) == [
        {"op": "edit", "path": path, "delta": [1, -1]}
    ]
    assert resolve(op("replace", "/cells/0/outputs", [])) == [
        {"op": "edit", "path": path, "delta": [-3]}
    ]
    assert resolve(op("add", "/cells/0/outputs/0", stream("new"))) == [
        {"op": "edit", "path": path, "delta": [[stream("new")]]}
    ]


def test_outputs_that_do_not_show_stay_and_do_not_count() -> None:
    document = notebook()
    hidden = {"output_type": "unknown"}
    shown = {"output_type": "display_data", "data": {}, "metadata": {}}
    kept = {**shown, "transient": {"display_id": "d"}}
    document["cells"]["a"]["outputs"] = [hidden, stream("0"), hidden, kept]
    change = resolve(op("remove", "/cells/0/outputs/0"), document=document)
    assert change == [{"op": "edit", "path": "/cells/a/outputs", "delta": [1, -1]}]
    assert apply(document, change)["cells"]["a"]["outputs"] == [hidden, hidden, kept]


# Cells


@pytest.mark.parametrize(("path", "index"), [("/cells/1", 1), ("/cells/-", 3), ("/cells/@b", 1)])
def test_a_cell_is_added(path: str, index: int) -> None:
    value = {"cell_type": "markdown", "id": "n", "metadata": {}, "source": ["a\n", "b"]}
    assert resolve(op("add", path, value)) == [
        {
            "op": "add",
            "path": "/cells/n",
            "index": index,
            "value": new_cell("markdown", "a\nb"),
        }
    ]


def test_a_cell_without_id_gets_one_and_may_leave_out_what_is_empty() -> None:
    change = resolve(
        op("add", "/cells/0", {"cell_type": "code", "source": "1"}),
        op("replace", "/cells/0/source", "12"),
        op("test", "/cells/0/source", "12"),
    )
    assert change == [
        {"op": "add", "path": "/cells/new0", "index": 0, "value": new_cell("code", "1")},
        {"op": "edit", "path": "/cells/new0/source", "delta": [1, "2"]},
        op("test", "/cells/@new0/source", "12"),
    ]


def test_a_minted_id_is_free() -> None:
    ids = iter(["a", "b", "z"])
    [add] = resolve_patch(
        notebook(), [op("add", "/cells/0", {"cell_type": "raw"})], lambda: next(ids)
    )
    assert add["path"] == "/cells/z"
    [add] = resolve_patch(notebook(), [op("add", "/cells/0", {"cell_type": "raw"})])
    assert len(add["path"]) == len("/cells/") + 8


def test_a_cell_is_removed_and_moved() -> None:
    assert resolve(op("remove", "/cells/1")) == [{"op": "remove", "path": "/cells/b", "index": 1}]
    assert resolve(op("remove", "/cells/@c")) == [{"op": "remove", "path": "/cells/c", "index": 2}]
    for origin, target in (("0", "2"), ("@a", "2"), ("0", "-"), ("@a", "-")):
        assert resolve(op("move", f"/cells/{target}", **{"from": f"/cells/{origin}"})) == [
            {"op": "move", "path": "/cells/a", "index": 0, "to": 2}
        ]
    # Before c, which is at 1 without a.
    assert resolve(op("move", "/cells/@c", **{"from": "/cells/@a"})) == [
        {"op": "move", "path": "/cells/a", "index": 0, "to": 1}
    ]


def test_indexes_are_those_after_the_earlier_operations() -> None:
    assert resolve(op("remove", "/cells/0"), op("replace", "/cells/0/source", "# Title!")) == [
        {"op": "remove", "path": "/cells/a", "index": 0},
        {"op": "edit", "path": "/cells/b/source", "delta": [7, "!"]},
    ]


def test_a_copy_of_a_cell_gets_an_id() -> None:
    document = notebook()
    [add] = resolve(op("copy", "/cells/-", **{"from": "/cells/0"}))
    cell = document["cells"]["a"]
    assert add == {
        "op": "add",
        "path": "/cells/new0",
        "index": 3,
        "value": {**cell, "execution": {}},
    }


def test_a_whole_cell_is_written_field_by_field() -> None:
    value = {
        "cell_type": "code",
        "id": "a",
        "metadata": {"tags": ["t", "u"], "k": {"deep": 1, "more": 2}},
        "source": "x = 1\ny = 2\nz\n",
        "outputs": [],
        "execution_count": 4,
    }
    expected = [
        {"op": "edit", "path": "/cells/a/source", "delta": [12, "z\n"]},
        op("replace", "/cells/a/metadata/k/more", 2),
        {"op": "edit", "path": "/cells/a/outputs", "delta": [-3]},
    ]
    assert resolve(op("replace", "/cells/0", value)) == expected
    del value["id"]
    assert resolve(op("replace", "/cells/0", value)) == expected


def test_a_whole_cell_with_another_id_is_another_cell() -> None:
    value = {"cell_type": "raw", "id": "z", "metadata": {}, "source": "z"}
    assert resolve(op("replace", "/cells/1", value)) == [
        {"op": "remove", "path": "/cells/b", "index": 1},
        {"op": "add", "path": "/cells/z", "index": 1, "value": new_cell("raw", "z")},
    ]


def test_two_cells_are_swapped_by_writing_both() -> None:
    document = notebook()
    cells = document_notebook(document)["cells"]
    change = resolve(op("replace", "/cells/0", cells[2]), op("replace", "/cells/2", cells[0]))
    assert {operation["op"] for operation in change} == {"move"}
    assert apply(document, change)["order"] == ["c", "b", "a"]


def test_all_cells_are_compared_by_id() -> None:
    document = notebook()
    a, _, c = document_notebook(document)["cells"]
    change = resolve(op("replace", "/cells", [c, {**a, "source": "x = 1\n"}]))
    assert change == [
        {"op": "remove", "path": "/cells/b", "index": 1},
        {"op": "move", "path": "/cells/c", "index": 1, "to": 0},
        {"op": "edit", "path": "/cells/a/source", "delta": [6, -6]},
    ]
    assert apply(document, change)["cells"]["a"]["execution"] == {"state": "ok"}


def test_cells_without_ids_are_recognised() -> None:
    document = notebook()
    value = document_notebook(document)
    cells = [{k: v for k, v in cell.items() if k != "id"} for cell in value["cells"]]
    cells.insert(1, {"cell_type": "code", "source": "new"})
    change = resolve(op("replace", "", {**value, "cells": cells}))
    assert [(one["op"], one["index"]) for one in change] == [("add", 1)]


def test_an_id_that_is_given_is_kept() -> None:
    document = notebook()
    a, b, c = document_notebook(document)["cells"]
    del b["id"]
    change = resolve(op("replace", "/cells", [{**a, "id": "z"}, b, c]))
    after = apply(document, change)
    assert after["order"] == ["z", "new0", "c"]


def test_what_the_author_does_not_see_stays() -> None:
    document = notebook()
    document["metadata"]["kernelspec"] = "illegal"
    document["cells"]["a"]["metadata"]["collapsed"] = "illegal"
    document["cells"]["c"]["execution"] = {"state": "ok"}
    value = document_notebook(document)
    assert "kernelspec" not in value["metadata"]
    value["metadata"] = {"new": 1}
    value["cells"][0]["metadata"] = {"tags": ["t", "u"]}
    expected = [op("remove", "/cells/a/metadata/k"), op("remove", "/metadata/a~1b")]
    expected.append(op("replace", "/metadata/new", 1))
    assert resolve(op("replace", "", value), document=document) == expected
    in_parts = [
        op("replace", "/cells/0/metadata", {"tags": ["t", "u"]}),
        op("replace", "/metadata", {"new": 1}),
    ]
    assert resolve(*in_parts, document=document) == expected


# Types


TO_MARKDOWN = [
    op("replace", "/cells/0/cell_type", "markdown"),
    op("remove", "/cells/0/outputs"),
    op("remove", "/cells/0/execution_count"),
]


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (1, 2, 0), (2, 1, 0), (2, 0, 1)])
def test_the_type_of_a_cell_changes_in_any_order(order: tuple[int, ...]) -> None:
    assert resolve(*(TO_MARKDOWN[index] for index in order)) == [
        op("replace", "/cells/a/cell_type", "markdown")
    ]


def test_a_type_alone_may_be_written() -> None:
    document = apply(notebook(), resolve(TO_MARKDOWN[0]))
    assert document["cells"]["a"]["outputs"] == notebook()["cells"]["a"]["outputs"]
    back = resolve(op("replace", "/cells/0/cell_type", "code"), document=document)
    assert apply(document, back) == notebook()


def test_what_a_type_shows_is_what_the_patch_says() -> None:
    document = apply(notebook(), resolve(*TO_MARKDOWN))
    change = resolve(
        op("replace", "/cells/0/cell_type", "code"),
        op("add", "/cells/0/execution_count", None),
        op("add", "/cells/0/outputs", []),
        document=document,
    )
    cell = apply(document, change)["cells"]["a"]
    assert (cell["outputs"], cell["execution_count"]) == ([], None)


def test_attachments_that_come_to_light_go() -> None:
    document = notebook()
    document["cells"]["a"]["attachments"] = {"old.png": {"image/png": "aQ=="}}
    change = resolve(*TO_MARKDOWN, document=document)
    assert apply(document, change)["cells"]["a"]["attachments"] == {}


# What is not a notebook on the way


@pytest.mark.parametrize(
    "patch",
    [
        [op("remove", "/cells/0/source"), op("add", "/cells/0/source", "new")],
        [op("add", "/extra", 1), op("replace", "/cells/0/source", "new"), op("remove", "/extra")],
        [
            op("remove", "/nbformat"),
            op("replace", "/cells/0/source", "new"),
            op("add", "/nbformat", 4),
        ],
        [op("replace", "/cells/0/source", 5), op("replace", "/cells/0/source", "new")],
        [
            op("move", "/metadata/held", **{"from": "/cells"}),
            op("replace", "/metadata/held/0/source", "new"),
            op("move", "/cells", **{"from": "/metadata/held"}),
        ],
        [
            op("add", "/keep", {}),
            op("move", "/keep/all", **{"from": "/cells/0"}),
            op("replace", "/keep/all/source", "new"),
            op("move", "/cells/0", **{"from": "/keep/all"}),
            op("remove", "/keep"),
        ],
    ],
)  # fmt: skip
def test_only_the_end_must_be_a_notebook(patch: list[dict[str, Any]]) -> None:
    document = notebook()
    change = resolve(*patch)
    expected = jsonpatch.apply_patch(document_notebook(document), patch)
    assert document_notebook(apply(document, change)) == expected
    assert apply(document, change)["cells"]["a"]["execution"] == {"state": "ok"}
    assert [one["op"] for one in change] == ["edit"]


def test_a_copy_on_the_way_gets_an_id_too() -> None:
    change = resolve(
        op("add", "/x", 1), op("copy", "/cells/0", **{"from": "/cells/2"}), op("remove", "/x")
    )
    assert change == [
        {"op": "add", "path": "/cells/new0", "index": 0, "value": new_cell("raw", "raw")}
    ]


# Tests


def test_a_test_keeps_its_place_and_is_bound_to_the_cell() -> None:
    change = resolve(
        op("test", "/cells/1/source", "# Title"),
        op("remove", "/cells/0"),
        op("test", "/cells/1", "no matter"),
        op("test", "/metadata/x", 1),
        op("test", "/cells/@gone/source", 1),
        op("test", "", 1),
    )
    assert change == [
        op("test", "/cells/@b/source", "# Title"),
        {"op": "remove", "path": "/cells/a", "index": 0},
        op("test", "/cells/@c", "no matter"),
        op("test", "/metadata/x", 1),
        op("test", "/cells/@gone/source", 1),
        op("test", "", 1),
    ]
    theirs: Change = [{"op": "remove", "path": "/cells/b", "index": 1}]
    over = transform_change(change, theirs, later=True)
    assert [one for one in over if one["op"] == "test"] == [
        one for one in change if one["op"] == "test"
    ]


def test_a_test_sees_what_was_written_before_it() -> None:
    change = resolve(*TO_MARKDOWN[::-1], op("test", "/cells/0/cell_type", "markdown"))
    assert [one["op"] for one in change] == ["replace", "test"]
    assert holds(apply(notebook(), change[:1]), change[1])


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("/cells/@a/source", "x = 1\ny = 2\n", True),
        ("/cells/@a/source", ["x = 1\n", "y = 2\n"], True),
        ("/cells/@a/source", ["x = 1\n", 2], False),
        ("/cells/0/source", "x = 1\ny = 2\n", True),
        ("/cells/9/source", "x = 1\ny = 2\n", False),
        ("/cells/-", None, False),
        ("/cells/00/source", "x = 1\ny = 2\n", False),
        ("/cells/@a/execution_count", 4.0, True),
        ("/metadata/a~1b", 1.0, True),
        ("/metadata/a~1b", True, False),
        ("/metadata/a~1b", "1", False),
        ("/metadata/a~1b/c", 1, False),
        ("/metadata", {"a/b": 1.0, "kernelspec": notebook()["metadata"]["kernelspec"]}, True),
        ("/metadata/none", None, False),
        ("/cells/@a/metadata/tags", ["t", "u"], True),
        ("/cells/@a/metadata/tags", ["u", "t"], False),
        ("/cells/@a/metadata/tags", ["t"], False),
        ("/cells/@a/metadata/tags/1", "u", True),
        ("/cells/@a/outputs/2/text", "2", True),
        ("/cells/@a/outputs/3", None, False),
        ("/cells/@a/execution", {"state": "ok"}, False),
        ("/cells/@z/source", "", False),
        ("/cells/@z", None, False),
        ("/cells/@b/outputs", [], False),
        ("/cells/@a", document_notebook(notebook())["cells"][0], True),
        ("/cells/@c", {"cell_type": "raw", "id": "c", "metadata": {}, "source": ["ra", "w"]}, True),
        ("/cells", document_notebook(notebook())["cells"], True),
        ("/cells", [], False),
        ("", document_notebook(notebook()), True),
        ("", {}, False),
        ("/nbformat", 4, True),
        ("/nbformat/x", 4, False),
        ("nonsense", 4, False),
    ],
)  # fmt: skip
def test_whether_a_test_holds(path: str, value: Any, expected: bool) -> None:
    assert holds(notebook(), op("test", path, value)) is expected


def test_a_test_on_a_text_file() -> None:
    assert holds(TEXT, op("test", "/source", "one\ntwo\n"))
    assert not holds(TEXT, op("test", "/source", ["one\n", "two\n"]))
    assert not holds(TEXT, op("test", "/cells", []))


# Refused


@pytest.mark.parametrize(
    ("operation", "code", "at"),
    [
        (5, "bad_patch", ""),
        ({}, "bad_patch", "/op"),
        ({"op": ["add"]}, "bad_patch", "/op"),
        (op("run", "/cells/0"), "bad_patch", "/op"),
        ({"op": "add"}, "bad_patch", "/path"),
        (op("add", "/metadata/x"), "bad_patch", "/value"),
        (op("test", "/metadata/x"), "bad_patch", "/value"),
        (op("move", "/metadata/x"), "bad_patch", "/from"),
        (op("remove", 5), "bad_pointer", "/path"),  # type: ignore[arg-type]
        (op("remove", "cells"), "bad_pointer", "/path"),
        (op("remove", "/metadata/~2"), "bad_pointer", "/path"),
        (op("copy", "/metadata/x", **{"from": None}), "bad_pointer", "/from"),
        (op("add", "/metadata/\ud800", 1), "bad_text", "/path"),
        (op("remove", "/a" * 1000), "not_found", "/path"),
        (op("remove", "/cells/01"), "bad_pointer", "/path"),
        (op("remove", "/cells/+1"), "bad_pointer", "/path"),
        (op("remove", "/cells/-1"), "bad_pointer", "/path"),
        (op("remove", "/cells/1e0"), "bad_pointer", "/path"),
        (op("remove", "/cells/١"), "bad_pointer", "/path"),
        (op("remove", "/cells/"), "bad_pointer", "/path"),
        (op("remove", "/cells/" + "9" * 5000), "bad_pointer", "/path"),
        (op("remove", "/cells/3"), "out_of_range", "/path"),
        (op("remove", "/cells/-"), "out_of_range", "/path"),
        (op("replace", "/cells/-", {}), "out_of_range", "/path"),
        (op("add", "/cells/4", {}), "out_of_range", "/path"),
        (op("test", "/cells/3", {}), "out_of_range", "/path"),
        (op("test", "/cells/x", {}), "bad_pointer", "/path"),
        (op("copy", "/cells/0", **{"from": "/cells/-"}), "out_of_range", "/from"),
        (op("remove", "/cells/@z"), "not_found", "/path"),
        (op("add", "/cells/@z/metadata/x", 1), "not_found", "/path"),
        (op("replace", "/metadata/none", 1), "not_found", "/path"),
        (op("add", "/metadata/none/x", 1), "not_found", "/path"),
        (op("add", "/metadata/a~1b/x", 1), "not_found", "/path"),
        (op("replace", "/cells/0/source/0", "x"), "not_found", "/path"),
        (op("remove", "/cells/1/outputs"), "not_found", "/path"),
        (op("move", "/cells/0/metadata/k", **{"from": "/cells/0"}), "bad_patch", "/path"),
        (op("move", "/cells/0/metadata/k", **{"from": "/cells/@a"}), "bad_patch", "/path"),
        (op("move", "/metadata/x", **{"from": ""}), "bad_patch", "/path"),
        (op("remove", ""), "not_writable", "/path"),
        (op("replace", "/cells/0/id", "z"), "not_writable", "/path"),
        (op("remove", "/cells/0/id"), "not_writable", "/path"),
        (op("remove", "/cells/0/source"), "missing_field", "/path"),
        (op("remove", "/cells/0/outputs"), "missing_field", "/path"),
        (op("remove", "/cells"), "missing_field", "/path"),
        (op("remove", "/nbformat"), "missing_field", "/path"),
        (op("replace", "/nbformat_minor", 4), "not_writable", "/value"),
        (op("replace", "/nbformat", 4.0), "not_writable", "/value"),
        (op("add", "/order", []), "unknown_field", "/value"),
        (op("add", "/cells/0/execution", {}), "unknown_field", "/value"),
        (op("replace", "/cells/0/source", 5), "wrong_type", "/value"),
        (op("replace", "/cells/0/source", None), "wrong_type", "/value"),
        (op("replace", "/cells/0/cell_type", "heading"), "wrong_type", "/value"),
        (op("replace", "/cells/0/cell_type", {}), "wrong_type", "/value"),
        (op("replace", "/cells/0/metadata", []), "wrong_type", "/value"),
        (op("replace", "/cells/0/outputs", [5]), "wrong_type", "/value"),
        (op("replace", "/cells/0/execution_count", -1), "wrong_type", "/value"),
        (op("replace", "/cells/0/execution_count", True), "wrong_type", "/value"),
        (op("replace", "/cells", {}), "wrong_type", "/value"),
        (op("replace", "", []), "wrong_type", "/value"),
        (op("replace", "", None), "wrong_type", "/value"),
        (op("replace", "/metadata", 5), "wrong_type", "/value"),
        (op("add", "/metadata/trusted", True), "not_writable", "/value"),
        (op("add", "/cells/0/metadata/trusted", True), "not_writable", "/value"),
        (op("add", "/cells/0", "text"), "wrong_type", "/value"),
        (op("add", "/cells/0", {"id": "n"}), "missing_field", "/value/cell_type"),
        (op("add", "/cells/0", {"cell_type": "x"}), "missing_field", "/value/metadata"),
        (op("add", "/cells/0", {"cell_type": "raw", "sorce": ""}), "unknown_field", "/value/sorce"),
        (op("add", "/cells/0", {"cell_type": "raw", "source": 5}), "wrong_type", "/value/source"),
        (op("add", "/cells/0", {"cell_type": "raw", "id": "a"}), "exists", "/value/id"),
        (op("add", "/cells/0", {"cell_type": "raw", "id": "ä"}), "bad_id", "/value/id"),
        (op("add", "/cells/0", {"cell_type": "raw", "id": []}), "bad_id", "/value/id"),
        (op("replace", "/cells/0", {"cell_type": "raw", "id": "b"}), "exists", "/value/id"),
        (op("replace", "/cells", [{"cell_type": "raw", "id": 5}]), "bad_id", "/value/0/id"),
        (op("replace", "/cells", [5]), "wrong_type", "/value/0"),
        (op("replace", "", {"cells": []}), "missing_field", "/value/metadata"),
        (op("add", "/metadata/x", float("nan")), "bad_number", "/value"),
        (op("add", "/metadata/x", [2**60]), "bad_number", "/value/0"),
        (op("add", "/metadata/x", "\ud800"), "bad_text", "/value"),
        (op("test", "/metadata/x", ["\ud800"]), "bad_text", "/value/0"),
    ],
)  # fmt: skip
def test_refused(operation: Any, code: str, at: str) -> None:
    assert refusal([operation]) == (code, "/0" + at)
    good = op("replace", "/cells/2/source", "new")
    assert refusal([good, operation]) == (code, "/1" + at)


@pytest.mark.parametrize("patch", [None, {}, "[]", 5, {"op": "add"}])
def test_a_patch_is_a_list(patch: Any) -> None:
    assert refusal(patch) == ("bad_patch", "")


def test_huge_nesting_is_refused() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    assert refusal([op("add", "/metadata/x", deep)])[0] == "too_deep"
    nested = [op("add", "/metadata" + "/x" * (n + 1), {}) for n in range(150)]
    assert refusal(nested)[0] == "too_deep"
    held = [op("add", "/x", {})]
    held += [op("add", "/x" * (n + 2), {}) for n in range(300)]
    assert refusal(held)[0] == "too_deep"
    into_itself = [op("copy", "/x" * (n + 2), **{"from": "/x"}) for n in range(300)]
    assert refusal([op("add", "/x", {}), *into_itself])[0] in ("not_found", "too_large")


def test_copies_of_copies_are_refused() -> None:
    start = op("add", "/metadata/x", ["text"] * 10)
    doubling = [op("copy", "/metadata/x/-", **{"from": "/metadata/x"})] * 60
    assert refusal([start, *doubling])[0] == "too_large"
    aside = op("add", "/aside", ["text"] * 10)
    doubling = [op("copy", "/aside/-", **{"from": "/aside"})] * 60
    assert refusal([aside, *doubling])[0] == "too_large"


def test_a_doubled_id_at_the_end_is_refused() -> None:
    a, b, _ = document_notebook(notebook())["cells"]
    assert refusal([op("replace", "/cells", [a, b, a])]) == ("exists", "/0/value/2/id")


# Out


EDIT = {"op": "edit", "path": "/cells/a/source", "delta": [11, "3"]}


@pytest.mark.parametrize(
    ("operation", "patch"),
    [
        (EDIT, [op("replace", "/cells/0/source", "x = 1\ny = 23\n")]),
        ({"op": "run", "path": "/cells/a"}, []),
        (
            {"op": "add", "path": "/cells/n", "index": 1, "value": new_cell("raw", "n")},
            [op("add", "/cells/1", {"cell_type": "raw", "id": "n", "metadata": {}, "source": "n"})],
        ),
        ({"op": "remove", "path": "/cells/b", "index": 1}, [op("remove", "/cells/1")]),
        (
            {"op": "move", "path": "/cells/a", "index": 0, "to": 2},
            [op("move", "/cells/2", **{"from": "/cells/0"})],
        ),
        (
            op("replace", "/cells/a/metadata/k/deep", 2),
            [op("replace", "/cells/0/metadata/k/deep", 2)],
        ),
        (op("replace", "/cells/a/metadata/k/x", 2), [op("add", "/cells/0/metadata/k/x", 2)]),
        (op("remove", "/cells/a/metadata/k"), [op("remove", "/cells/0/metadata/k")]),
        (op("replace", "/metadata/a~1b", {"c": 1}), [op("replace", "/metadata/a~1b", {"c": 1})]),
        (op("replace", "/metadata", {}), [op("replace", "/metadata", {})]),
        (op("remove", "/metadata/a~1b"), [op("remove", "/metadata/a~1b")]),
        (op("replace", "/cells/a/execution", {}), []),
        (op("replace", "/cells/a/attachments", {"x": {}}), []),
        (op("replace", "/cells/b/execution_count", 1), []),
        (op("remove", "/cells/b/attachments/i.png"), [op("remove", "/cells/1/attachments")]),
        (
            {"op": "edit", "path": "/cells/b/outputs", "delta": [[stream("x")]]},
            [],
        ),
        (
            {"op": "edit", "path": "/cells/a/outputs", "delta": [1, [stream("x")], -1]},
            [op("replace", "/cells/0/outputs/1", stream("x"))],
        ),
        (
            {"op": "edit", "path": "/cells/a/outputs", "delta": [3, [stream("x"), stream("y")]]},
            [
                op("add", "/cells/0/outputs/3", stream("x")),
                op("add", "/cells/0/outputs/4", stream("y")),
            ],
        ),
        (
            {"op": "edit", "path": "/cells/a/outputs", "delta": [2, {"text": ["x"]}]},
            [op("replace", "/cells/0/outputs/2/text", "x2")],
        ),
        (
            {"op": "edit", "path": "/cells/a/outputs", "delta": [-3]},
            [op("replace", "/cells/0/outputs", [])],
        ),
        (
            op("replace", "/cells/a/cell_type", "markdown"),
            [
                op("remove", "/cells/0/execution_count"),
                op("remove", "/cells/0/outputs"),
                op("replace", "/cells/0/cell_type", "markdown"),
            ],
        ),
        # What nbformat forbids does not reach the file.
        (op("replace", "/cells/a/metadata/collapsed", "x"), []),
        (op("replace", "/cells/a/metadata/tags", "x"), [op("remove", "/cells/0/metadata/tags")]),
        (op("replace", "/metadata/kernelspec/name", 5), [op("remove", "/metadata/kernelspec")]),
    ],
)
def test_out(operation: dict[str, Any], patch: list[dict[str, Any]]) -> None:
    document = notebook()
    result = project_entry(document, [operation])
    assert result == patch
    after = apply(document, [operation])
    assert jsonpatch.apply_patch(document_notebook(document), result) == document_notebook(after)


def test_out_of_a_text_file() -> None:
    change: Change = [{"op": "edit", "path": "/source", "delta": [-4]}]
    assert project_entry(TEXT, change) == [op("replace", "/source", "two\n")]


def test_out_of_a_batch_counts_on() -> None:
    change: Change = [
        {"op": "remove", "path": "/cells/a", "index": 0},
        {"op": "edit", "path": "/cells/c/source", "delta": ["x"]},
    ]
    assert project_entry(notebook(), change) == [
        op("remove", "/cells/0"),
        op("replace", "/cells/1/source", "xraw"),
    ]
