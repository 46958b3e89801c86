"""A kernel's messages as operations: what JupyterLab would show is what the document says."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tqdm import tqdm

from ot_jupyter.kernel.outputs import Outputs
from ot_jupyter.transforms import apply, new_cell, transform_change
from ot_jupyter.transforms.blobs import HEAD, OUTPUT_LIMIT, TAIL, attach, excerpt
from ot_jupyter.transforms.check import check_change
from ot_jupyter.transforms.notebook import document_notebook, illegal_fields

Message = dict[str, Any]

HASH = "0123456789abcdef" * 2


def message(run: str, kind: str, content: dict[str, Any]) -> Message:
    return {
        "header": {"msg_type": kind, "msg_id": "any"},
        "parent_header": {"msg_id": run},
        "content": content,
        "metadata": {},
        "buffers": [],
    }


def stream(text: str, name: str = "stdout", run: str = "r") -> Message:
    return message(run, "stream", {"name": name, "text": text})


def display(
    text: Any, display_id: str | None = None, *, kind: str = "display_data", run: str = "r"
) -> Message:
    content = {"data": {"text/plain": text}, "metadata": {}}
    if display_id is not None:
        content["transient"] = {"display_id": display_id}
    return message(run, kind, content)


def clear(wait: bool = False, run: str = "r") -> Message:
    return message(run, "clear_output", {"wait": wait})


def shown_stream(text: str, name: str = "stdout") -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": text}


def shown_display(text: str) -> dict[str, Any]:
    return {"output_type": "display_data", "data": {"text/plain": text}, "metadata": {}}


class Notebook:
    """A document at its head, and the outputs of one kernel; ``flush`` is the driver's part."""

    def __init__(self, *cells: str) -> None:
        self.outputs = Outputs()
        self.document: dict[str, Any] = {
            "cells": {cell: new_cell() for cell in cells or ("a",)},
            "order": list(cells or ("a",)),
            "metadata": {},
        }
        self.outputs.begin("r", next(iter(self.document["cells"])))
        self.flushes: list[list[dict[str, Any]]] = []

    def take(self, *messages: Message) -> Notebook:
        for each in messages:
            self.outputs.take(each)
        return self

    def flush(self, meanwhile: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
        """Commit what was taken; ``meanwhile`` is committed after the base, before it."""
        change = self.outputs.changes(self.document)
        check_change(change, notebook=True, from_client=False)
        assert len({each["path"] for each in change}) == len(change)
        assert not self.outputs.dirty
        if meanwhile:
            self.document = apply(self.document, meanwhile)
            change = transform_change(change, meanwhile, later=True)
        self.document = apply(self.document, change)
        self.flushes.append(change)
        return change

    def edit(self, delta: list[Any], cell: str = "a") -> None:
        """An edit by somebody else."""
        edit = {"op": "edit", "path": f"/cells/{cell}/outputs", "delta": delta}
        self.document = apply(self.document, [edit])

    def rebuild(self) -> None:
        """As after a fail-over: the same values, other objects."""
        self.document = json.loads(json.dumps(self.document))

    def shown(self, cell: str = "a") -> list[dict[str, Any]]:
        if self.outputs.dirty:
            self.flush()
        found: list[dict[str, Any]] = self.document["cells"][cell]["outputs"]
        return found

    def validate(self, contents: Mapping[str, bytes] | None = None) -> None:
        """What the file will hold is nbformat, and all of it."""
        cells = {
            name: {**cell, "outputs": [attach(item, contents or {}) for item in cell["outputs"]]}
            for name, cell in self.document["cells"].items()
        }
        full = {**self.document, "cells": cells}
        assert illegal_fields(full) == []
        nbformat.validate(nbformat.from_dict(document_notebook(full)))


# What each message shows.


def test_two_hundred_prints_are_one_output() -> None:
    notebook = Notebook()
    for number in range(200):
        notebook.take(stream(f"{number}\n"))
        if number % 7 == 0:
            notebook.flush()
    assert notebook.shown() == [shown_stream("".join(f"{number}\n" for number in range(200)))]
    assert len(notebook.flushes) == 30
    notebook.validate()


def test_stderr_stands_apart_and_names_interleave() -> None:
    notebook = Notebook().take(stream("a"), stream("b"), stream("!", "stderr"), stream("c"))
    expected = [shown_stream("ab"), shown_stream("!", "stderr"), shown_stream("c")]
    assert notebook.shown() == expected
    notebook.take(stream("d"), display("x"), stream("e"))
    expected = [*expected[:2], shown_stream("cd"), shown_display("x"), shown_stream("e")]
    assert notebook.shown() == expected
    notebook.validate()


def test_fifty_updates_of_one_display_are_one_output() -> None:
    notebook = Notebook().take(display("0", "bar"))
    for number in range(1, 50):
        notebook.take(display(str(number), "bar", kind="update_display_data"))
        if number % 10 == 0:
            notebook.flush()
    assert notebook.shown() == [shown_display("49")]


def test_a_display_is_updated_in_all_cells_and_by_a_second_display() -> None:
    notebook = Notebook("a", "b")
    notebook.outputs.begin("s", "b")
    notebook.take(display("1", "x"), display("other"))
    notebook.flush()
    notebook.take(display("2", "x", run="s"))
    assert len(notebook.flush()) == 2
    notebook.take(display("3", "x", kind="update_display_data", run="unknown"))
    notebook.take(display("4", "y", kind="update_display_data"))
    assert notebook.shown("a") == [shown_display("3"), shown_display("other")]
    assert notebook.shown("b") == [shown_display("3")]


def test_a_result_keeps_its_type_and_count() -> None:
    result = {"data": {"text/plain": ["4", "2"]}, "metadata": {"a": 1}, "execution_count": 7}
    notebook = Notebook().take(message("r", "execute_result", result))
    assert notebook.shown() == [
        {
            "output_type": "execute_result",
            "data": {"text/plain": "42"},
            "metadata": {"a": 1},
            "execution_count": 7,
        }
    ]
    notebook.validate()


def test_an_error_keeps_its_colours() -> None:
    error = {"ename": "E", "evalue": "v", "traceback": ["\x1b[31mE\x1b[0m", "v"]}
    notebook = Notebook().take(message("r", "error", error))
    assert notebook.shown() == [{"output_type": "error", **error}]
    notebook.take(message("r", "error", {"ename": None, "evalue": 7, "traceback": ["a", 1]}))
    assert notebook.shown()[1] == {
        "output_type": "error",
        "ename": "",
        "evalue": "",
        "traceback": ["a"],
    }
    notebook.validate()


def test_the_pager_is_a_display() -> None:
    pages = [{"source": "page", "data": {"text/plain": text}, "start": 0} for text in "ab"]
    reply = {"status": "ok", "payload": [{"source": "set_next_input"}, *pages]}
    notebook = Notebook().take(message("r", "execute_reply", reply))
    assert notebook.shown() == [shown_display("a")]
    notebook.take(message("r", "execute_reply", {**reply, "status": "error"}))
    assert not notebook.outputs.dirty


def test_a_progress_bar_is_one_line_of_one_output() -> None:
    notebook = Notebook()

    class Kernel(io.StringIO):
        def write(self, text: str) -> int:
            notebook.take(stream(text, "stderr"))
            if "5" in text:
                notebook.flush()
            return len(text)

    for _ in tqdm(range(50), file=Kernel(), mininterval=0, ncols=60):
        pass
    (output,) = notebook.shown()
    assert output["text"].startswith("100%|")
    assert output["text"].count("\n") == 1
    assert "\r" not in output["text"]


def test_the_frames_of_an_animation_replace_each_other() -> None:
    notebook = Notebook()
    for frame in range(50):
        notebook.take(clear(wait=True), display(f"frame {frame}"))
        if frame == 20:
            assert notebook.shown() == [shown_display("frame 20")]
    assert notebook.flush() == [
        {
            "op": "edit",
            "path": "/cells/a/outputs",
            "delta": [[shown_display("frame 49")], -1],
        }
    ]
    notebook.take(clear(wait=True))
    assert not notebook.outputs.dirty
    assert notebook.shown() == [shown_display("frame 49")]


def test_clearing_removes_whatever_is_there() -> None:
    notebook = Notebook().take(stream("a"))
    notebook.flush()
    notebook.edit([[shown_display("somebody else's")]])
    notebook.take(stream("b"), clear())
    assert notebook.shown() == []
    notebook.take(stream("c"))
    assert notebook.shown() == [shown_stream("c")]


# Whose outputs they are.


def test_a_thread_prints_into_the_cell_of_its_run() -> None:
    notebook = Notebook("a", "b").take(stream("a\n"))
    notebook.flush()
    notebook.outputs.end("r")
    notebook.outputs.begin("s", "b")
    notebook.take(stream("b\n", run="s"), stream("late\n"))
    assert notebook.shown("a") == [shown_stream("a\nlate\n")]
    assert notebook.shown("b") == [shown_stream("b\n")]


def test_outputs_of_a_replaced_run_are_dropped() -> None:
    notebook = Notebook().take(stream("old"))
    notebook.outputs.begin("s", "a")
    notebook.take(stream("late"), stream("stranger", run="unknown"))
    assert not notebook.outputs.dirty
    notebook.take(stream("new", run="s"))
    assert notebook.shown() == [shown_stream("new")]


def test_a_run_taken_over_goes_on_where_its_stream_was() -> None:
    notebook = Notebook()
    notebook.edit([[shown_display("x"), shown_stream("50%|##", "stderr")]])
    notebook.outputs = Outputs()
    notebook.outputs.begin("r", "a", notebook.document["cells"]["a"]["outputs"])
    assert not notebook.outputs.dirty
    notebook.take(stream("\r60%|###", "stderr"))
    assert notebook.shown() == [shown_display("x"), shown_stream("60%|###", "stderr")]


# What others do meanwhile.


def test_a_cleared_stream_goes_on_with_what_came_after() -> None:
    notebook = Notebook().take(stream("seen\nhalf "))
    notebook.flush()
    notebook.edit([-1])
    notebook.take(stream("line\nnew"))
    assert notebook.shown() == [shown_stream("line\nnew")]
    notebook.edit([-1])
    assert notebook.shown() == []
    notebook.take(stream("er"))
    assert notebook.shown() == [shown_stream("er")]


def test_a_cleared_bar_comes_back_whole() -> None:
    notebook = Notebook().take(stream("\r50%|##"))
    notebook.flush()
    notebook.edit([-1])
    notebook.take(stream("\r60%|###"))
    assert notebook.shown() == [shown_stream("60%|###")]


def test_a_cleared_display_comes_back_only_if_it_changes() -> None:
    notebook = Notebook().take(display("1", "x"), display("2", "y"), stream("a"))
    notebook.flush()
    notebook.edit([-3])
    notebook.take(stream("b"))
    assert notebook.shown() == [shown_stream("b")]
    notebook.take(display("3", "x", kind="update_display_data"))
    assert not notebook.outputs.dirty  # it was seen to be gone
    notebook.take(display("4", "z"))
    notebook.flush()
    notebook.edit([1, -1])
    notebook.take(display("5", "z", kind="update_display_data"), stream("c"))
    assert notebook.shown() == [shown_stream("b"), shown_display("5"), shown_stream("c")]


def test_what_comes_back_behind_a_stream_ends_it() -> None:
    notebook = Notebook().take(display("1", "x"), stream("a"))
    notebook.flush()
    notebook.edit([-1])
    notebook.take(display("2", "x", kind="update_display_data"))
    assert notebook.shown() == [shown_stream("a"), shown_display("2")]
    notebook.take(stream("b"))
    assert notebook.shown() == [shown_stream("a"), shown_display("2"), shown_stream("b")]


def test_two_streams_of_a_name_never_stand_side_by_side() -> None:
    notebook = Notebook().take(stream("a"), display("x"))
    notebook.flush()
    notebook.edit([1, -1])
    notebook.take(stream("b"))
    assert notebook.shown() == [shown_stream("ab")]
    notebook.take(stream("c"), display("y"), stream("d"))
    assert notebook.shown() == [shown_stream("abc"), shown_display("y"), shown_stream("d")]


def test_outputs_of_others_stay_where_they_are() -> None:
    notebook = Notebook().take(display("1", "x"), stream("a"))
    notebook.flush()
    foreign = [shown_display(text) for text in ("f", "g")]
    notebook.edit([[foreign[0]], 2, [foreign[1]]])
    notebook.take(stream("b"), display("2", "x", kind="update_display_data"), display("new"))
    expected = [foreign[0], shown_display("2"), shown_stream("ab"), foreign[1]]
    assert notebook.shown() == [*expected, shown_display("new")]


def test_ours_are_found_again_by_equality_and_in_order() -> None:
    notebook = Notebook().take(display("same", "x"), display("same", "y"), stream("a"))
    notebook.flush()
    notebook.rebuild()
    notebook.take(display("new", "y", kind="update_display_data"), stream("b"))
    expected = [shown_display("same"), shown_display("new"), shown_stream("ab")]
    assert notebook.shown() == expected


def test_a_clear_beside_our_change_takes_the_stream_and_leaves_what_is_new() -> None:
    notebook = Notebook().take(display("1", "x"), stream("a"))
    notebook.flush()
    notebook.take(stream("b"), display("2"), display("3", "x"))
    notebook.flush([{"op": "edit", "path": "/cells/a/outputs", "delta": [-2]}])
    assert notebook.shown() == [shown_display("3"), shown_display("2"), shown_display("3")]
    notebook.take(stream("c"))
    assert notebook.shown()[3:] == [shown_stream("c")]


def test_a_stream_that_a_clear_took_goes_on_with_what_came_after() -> None:
    notebook = Notebook().take(stream("a"))
    notebook.flush()
    notebook.take(stream("b"))
    notebook.flush([{"op": "edit", "path": "/cells/a/outputs", "delta": [-1]}])
    notebook.take(stream("c"))
    assert notebook.shown() == [shown_stream("c")]


# What is written of a stream that is shown already.


def text_edits(flush: list[dict[str, Any]]) -> list[Any]:
    """The edits of texts in a flush of one cell, which does nothing else but retain."""
    (operation,) = flush
    assert not any(isinstance(part, list) for part in operation["delta"])
    return [part["text"] for part in operation["delta"] if isinstance(part, dict)]


def test_a_stream_grows_by_what_is_new() -> None:
    notebook = Notebook().take(display("x"), stream("one\n"))
    notebook.flush()
    notebook.take(stream("two\n"))
    assert notebook.flush()[0]["delta"] == [1, {"text": [4, "two\n"]}]
    for _ in range(3):  # and it is found again each time
        notebook.take(stream("more\n"))
        assert len(text_edits(notebook.flush())) == 1
    assert notebook.shown()[1] == shown_stream("one\ntwo\n" + 3 * "more\n")


def test_a_line_that_is_rewritten_is_all_that_is_written() -> None:
    notebook = Notebook().take(stream("head\n 50%|##  | left\n", "stderr"), stream("10%|x |"))
    notebook.flush()
    notebook.take(stream("\r20%|xx|"))
    assert text_edits(notebook.flush()) == [["20%|xx", -6]]
    assert notebook.shown()[1] == shown_stream("20%|xx|")


def test_of_a_stream_above_the_limit_only_the_end_is_written() -> None:
    notebook = Notebook().take(stream("a line\n" * OUTPUT_LIMIT))
    notebook.flush()
    notebook.take(stream("".join(f"{number}\n" for number in range(3000))))
    (edit,) = text_edits(notebook.flush())
    assert edit[0] > HEAD - 1024
    assert len(json.dumps(edit)) < 2 * TAIL
    assert 0.03 < notebook.outputs.pause() < 0.1


def test_who_of_two_equal_streams_grows_is_known() -> None:
    notebook = Notebook().take(stream("1"), display("x"), stream("1"))
    notebook.flush()
    notebook.take(stream("2"))
    notebook.flush()
    notebook.edit([1, [shown_stream("12")]])
    notebook.take(stream("3"))
    texts = [output.get("text") for output in notebook.shown()]
    assert texts == ["1", "12", None, "123"]


def test_a_removed_cell_is_forgotten_and_may_come_back() -> None:
    notebook = Notebook("a", "b").take(display("1", "x"), stream("a"))
    notebook.flush()
    cell = notebook.document["cells"]["a"]
    notebook.document = apply(notebook.document, [{"op": "remove", "path": "/cells/a", "index": 0}])
    notebook.take(stream("b"), display("2"))
    assert notebook.flush() == []
    notebook.document = apply(
        notebook.document, [{"op": "add", "path": "/cells/a", "index": 0, "value": cell}]
    )
    notebook.take(stream("c"), display("3", "x", kind="update_display_data"))
    assert notebook.shown() == [shown_display("1"), shown_stream("ac")]


def test_a_text_that_is_rewritten_as_it_was_is_no_operation() -> None:
    notebook = Notebook().take(stream("50%"))
    notebook.flush()
    notebook.take(stream("\r50%"))
    assert notebook.outputs.dirty
    assert notebook.flush() == []


# What a kernel must not be able to do.


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"text/plain": "a\ud800b\udfff"}, {"text/plain": "a\ufffdb\ufffd"}),
        ({"te\ud800xt/plain": "a"}, {"te\ufffdxt/plain": "a"}),
        ({"application/json": {"x": math.nan}}, {"application/json": {"x": None}}),
        ({"application/json": [math.inf, 2**53]}, {"application/json": [None, 2**53]}),
        ({"application/json": 2**53 + 2}, {"application/json": float(2**53 + 2)}),
        ({"application/json": 10**400}, {"application/json": None}),
        (
            {"application/json": {1: {"\udc00": True}}},
            {"application/json": {"1": {"\ufffd": True}}},
        ),
        ({"application/x+json": nested(96)}, {"application/x+json": nested(96)}),
        (
            {"application/x+json": nested(97)},
            {"text/plain": "[application/x+json: nested too deep to be shown]"},
        ),
        ({"application/x+json": nested(97), "text/plain": "a"}, {"text/plain": "a"}),
        ({"text/plain": 7, "text/html": ["<b>", "</b>"]}, {"text/html": "<b></b>"}),
    ],
)
def test_values_are_made_fit_for_a_document(data: Any, expected: Any) -> None:
    notebook = Notebook().take(message("r", "display_data", {"data": data, "metadata": {}}))
    assert notebook.shown()[0]["data"] == expected
    assert [type(value) for value in notebook.shown()[0]["data"].values()] == [
        type(value) for value in expected.values()
    ]
    notebook.validate()


def test_metadata_too_deep_is_left_out() -> None:
    content = {"data": {"text/plain": "a"}, "metadata": {"x": nested(97)}}
    notebook = Notebook().take(message("r", "display_data", content))
    assert notebook.shown() == [shown_display("a")]


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"header": None},
        {"header": {"msg_type": 3}},
        {"header": {"msg_type": "stream"}, "parent_header": []},
        {"header": {"msg_type": "stream"}, "parent_header": {"msg_id": "r"}},
        message("r", "stream", {"name": "stdout"}),
        message("r", "stream", {"name": None, "text": "a"}),
        message("r", "stream", {"name": "stdout", "text": [1]}),
        message("r", "display_data", {"data": None}),
        message("r", "display_data", {"data": {"text/plain": [["a"]]}}),
        message("r", "display_data", {"data": {}, "transient": "x"}),
        message("r", "display_data", {"data": {}, "transient": {"display_id": []}}),
        message("r", "execute_result", {"data": {"application/json": object()}}),
        message("r", "error", {"traceback": "text"}),
        message("r", "clear_output", {"wait": []}),
        message("r", "execute_reply", {"status": "ok", "payload": 3}),
        message("r", "execute_reply", {"status": "ok", "payload": [{"source": "page"}]}),
    ],
)
def test_a_malformed_message_is_skipped(bad: Any) -> None:
    notebook = Notebook().take(bad)
    assert notebook.outputs.malformed == 1
    assert not notebook.outputs.dirty


def test_other_messages_are_nothing_to_us() -> None:
    notebook = Notebook().take(
        message("r", "status", {"execution_state": "idle"}),
        message("r", "execute_input", {}),
        message("", "stream", {}),
        stream(""),
    )
    assert not notebook.outputs.dirty
    assert notebook.outputs.malformed == 0


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
known_fields = st.sampled_from(
    ["data", "metadata", "name", "text", "transient", "wait", "payload", "status", "traceback"]
)


@given(
    st.sampled_from(
        ["stream", "display_data", "execute_result", "error", "clear_output", "execute_reply"]
    ),
    json_values | st.dictionaries(known_fields, json_values),
)
def test_nothing_a_kernel_sends_raises(kind: str, content: Any) -> None:
    notebook = Notebook().take(message("r", kind, content))
    notebook.flush()
    notebook.validate()


# Large outputs.


def test_a_large_display_leaves_a_reference() -> None:
    text = "x" * (OUTPUT_LIMIT + 1)
    for late in (False, True):
        notebook = Notebook().take(display("void" * OUTPUT_LIMIT, "d"))
        notebook.take(display(text, "d", kind="update_display_data"))
        early = {} if late else notebook.outputs.take_blobs()
        notebook.flush()
        blobs = {**early, **notebook.outputs.take_blobs()}
        notebook.validate(blobs)
        (output,) = notebook.shown()
        assert attach(output, blobs) == shown_display(text)
        (reference,) = output["blobs"].values()
        assert blobs == {reference["hash"]: text.encode()}
        assert reference["size"] == len(text)
        assert notebook.outputs.take_blobs() == {}


def spool(notebook: Notebook, spools: dict[str, bytes]) -> None:
    for name, piece in notebook.outputs.take_spooled():
        spools[name] = spools.get(name, b"") + piece


def test_a_large_stream_is_an_excerpt_and_a_blob() -> None:
    notebook = Notebook()
    spools: dict[str, bytes] = {}
    text = ""
    for number in range(40_000):
        line = f"line {number} \u00e9\n"
        text += line
        notebook.take(stream(line))
        if number % 1000 == 0:
            notebook.flush()
            spool(notebook, spools)
    notebook.take(stream("unfinished"))
    text += "unfinished"
    shown = excerpt(text[:HEAD], text[-TAIL:], len(text.encode()))
    assert notebook.shown() == [shown_stream(shown)]
    notebook.outputs.end("r")
    assert notebook.outputs.take_sealed() == []  # not before its last piece
    spool(notebook, spools)
    (name,) = notebook.outputs.take_sealed()
    assert spools == {name: text.encode()}
    assert notebook.outputs.take_sealed() == []
    notebook.outputs.sealed(name, HASH, len(text.encode()))
    reference = {"hash": HASH, "size": len(text.encode()), "type": "text/plain"}
    assert notebook.shown() == [{**shown_stream(shown), "blobs": {"text": reference}}]
    notebook.validate({HASH: text.encode()})
    assert attach(notebook.shown()[0], {HASH: text.encode()}) == shown_stream(text)
    notebook.take(stream("late"))
    assert notebook.shown()[1:] == [shown_stream("late")]


def test_a_long_line_makes_a_stream_large_too() -> None:
    notebook = Notebook().take(stream("\U0001f600" * (HEAD + 10)))
    notebook.outputs.end("r")
    ((name, piece),) = notebook.outputs.take_spooled()
    assert piece == ("\U0001f600" * (HEAD + 10)).encode()
    assert notebook.outputs.take_sealed() == [name]
    shown = excerpt("\U0001f600" * HEAD, "\U0001f600" * 10, 4 * (HEAD + 10))
    assert notebook.shown() == [shown_stream(shown)]


def test_a_large_stream_is_closed_by_the_next_output() -> None:
    notebook = Notebook().take(stream("x\n" * OUTPUT_LIMIT), display("y"), stream("z"))
    notebook.flush()
    ((name, piece),) = notebook.outputs.take_spooled()
    assert piece == b"x\n" * OUTPUT_LIMIT
    assert notebook.outputs.take_sealed() == [name]
    notebook.outputs.sealed(name, HASH, len(piece))
    assert notebook.shown()[0]["blobs"]["text"]["hash"] == HASH
    assert notebook.shown()[1:] == [shown_display("y"), shown_stream("z")]


def test_a_large_stream_that_is_cleared_goes_on_small() -> None:
    notebook = Notebook().take(stream("x\n" * OUTPUT_LIMIT))
    notebook.flush()
    ((old, _),) = notebook.outputs.take_spooled()
    notebook.edit([-1])
    notebook.take(stream("new\n"))
    assert notebook.shown() == [shown_stream("new\n")]
    assert notebook.outputs.take_spooled() == []
    assert notebook.outputs.take_sealed() == [old]
    notebook.outputs.sealed(old, HASH, 1)
    assert not notebook.outputs.dirty


def test_what_is_in_the_spool_already_is_not_lost_by_a_clear() -> None:
    notebook = Notebook().take(stream("x\n" * OUTPUT_LIMIT))
    notebook.flush()
    notebook.edit([-1])
    notebook.take(stream("new\n" * OUTPUT_LIMIT))
    spools: dict[str, bytes] = {}
    spool(notebook, spools)
    assert len(notebook.shown()) == 1
    assert notebook.shown()[0]["text"].startswith("x\n")
    assert list(spools.values()) == [b"x\n" * OUTPUT_LIMIT + b"new\n" * OUTPUT_LIMIT]


def test_a_kernels_clear_abandons_the_spool() -> None:
    notebook = Notebook().take(stream("x\n" * OUTPUT_LIMIT))
    ((name, _),) = notebook.outputs.take_spooled()
    notebook.take(clear(), stream("y\n" * OUTPUT_LIMIT), clear(), stream("z"))
    assert notebook.outputs.take_spooled() == []
    assert notebook.outputs.take_sealed() == [name]
    assert notebook.shown() == [shown_stream("z")]


def test_the_pause_grows_with_what_is_written() -> None:
    notebook = Notebook().take(stream("x"))
    notebook.flush()
    assert notebook.outputs.pause() == 0.03
    notebook.take(stream("x\n" * 30_000))
    notebook.flush()
    assert 0.06 < notebook.outputs.pause() < 0.12
    notebook.take(*(display("x" * 60_000) for _ in range(20)))
    notebook.flush()
    assert notebook.outputs.pause() == 0.5


# Any messages, flushed at any time, while others clear and insert: held against a reference that
# takes one message after the other and keeps its outputs in plain lists.


@dataclass(eq=False)
class Shown:
    output: dict[str, Any]
    ours: bool = True
    display: str | None = None
    changed: bool = False


@dataclass
class Place:
    run: str
    items: list[Shown] = field(default_factory=list)
    open: Shown | None = None
    clear_next: bool = False
    touched: bool = False


class Reference:
    def __init__(self, runs: dict[str, str]) -> None:
        self.cells = {cell: Place(run) for cell, run in runs.items()}

    def begin(self, cell: str, run: str) -> None:
        self.cells[cell] = Place(run)

    def take(self, each: Message) -> None:
        kind, content = each["header"]["msg_type"], each["content"]
        run = each["parent_header"]["msg_id"]
        place = next((place for place in self.cells.values() if place.run == run), None)
        display_id = content.get("transient", {}).get("display_id")
        if display_id is not None:
            for other in self.cells.values():
                for item in other.items:
                    if item.display == display_id:
                        item.output = shown_display(content["data"]["text/plain"])
                        item.changed = other.touched = True
        if place is None or kind == "update_display_data":
            return
        if kind == "clear_output":
            place.open = None
            place.clear_next = place.clear_next or content["wait"]
            if not content["wait"]:
                place.items, place.clear_next, place.touched = [], False, True
            return
        place.touched = True
        if place.clear_next:
            place.items, place.open, place.clear_next = [], None, False
        if kind == "display_data":
            place.open = None
            output = shown_display(content["data"]["text/plain"])
            place.items.append(Shown(output, display=display_id))
            return
        name, text = content["name"], content["text"]
        item = place.open
        if item not in place.items or item is None or item.output["name"] != name:
            last = place.items[-1].output if place.items else {}
            if (last.get("output_type"), last.get("name")) == ("stream", name):
                item = place.items[-1]
                item.ours = True
            else:
                item = Shown(shown_stream("", name))
                place.items.append(item)
        item.output = shown_stream(item.output["text"] + text, name)
        item.changed = True
        place.open = item


cells = st.sampled_from("ab")
numbers = st.integers(0, 6)
events = st.one_of(
    st.tuples(st.just("stream"), cells, st.sampled_from(["stdout", "stderr"])),
    st.tuples(st.just("stream"), cells, st.just("stdout")),
    st.tuples(st.just("display"), cells, st.sampled_from([None, None, "x", "y"])),
    st.tuples(st.just("update"), cells, st.sampled_from("xyz")),
    st.tuples(st.just("clear"), cells, st.booleans()),
    st.tuples(st.just("flush"), cells, numbers),
    st.tuples(st.just("flush"), cells, st.none()),
    st.tuples(st.just("foreign clear"), cells, numbers),
    st.tuples(st.just("foreign insert"), cells, numbers),
    st.tuples(st.just("remove or restore"), cells, st.none()),
    st.tuples(st.just("begin"), cells, st.none()),
    st.tuples(st.just("rebuild"), cells, st.none()),
)


class Race:
    """The two side by side. Removals by others spare displays with an id: whether those come
    back depends on when they changed, which is tried above."""

    def __init__(self) -> None:
        self.notebook = Notebook("a", "b")
        self.runs = {"a": "r", "b": "s"}
        self.notebook.outputs.begin("s", "b")
        self.reference = Reference(self.runs)
        self.waiting: list[Message] = []
        self.removed: dict[str, tuple[int, dict[str, Any]]] = {}
        self.count = 0

    def step(self, event: str, cell: str, what: Any) -> None:
        self.count += 1
        run, text = self.runs[cell], f"{self.count}\n"
        if event == "stream":
            self.send(stream(text, what, run))
        elif event == "display":
            self.send(display(text, what, run=run))
        elif event == "update":
            self.send(display(text, what, kind="update_display_data", run=run))
        elif event == "clear":
            self.send(clear(what, run))
        elif event == "flush":
            self.flush(cell, what)
        elif event == "rebuild":
            self.notebook.rebuild()
        elif event == "begin":
            self.flush(cell, None)
            self.begin(cell)
        elif event == "remove or restore":
            self.remove_or_restore(cell)
        elif cell not in self.removed:
            items = self.reference.cells[cell].items
            if event == "foreign insert":
                at = min(what, len(items))
                items.insert(at, Shown(shown_stream(text), ours=False))
                insert = [at, [shown_stream(text)]] if at else [[shown_stream(text)]]
                self.notebook.edit(insert, cell)
            elif delta := self.foreign_clear(items, what):
                self.notebook.edit(delta, cell)
                items[:] = [item for item in items if not item.changed or item.display]
                for item in items:
                    item.changed = False

    def send(self, each: Message) -> None:
        self.notebook.take(each)
        self.waiting.append(each)

    def foreign_clear(self, items: list[Shown], what: int) -> list[Any]:
        """Remove the first so many of them; ``changed`` marks those in the reference."""
        delta: list[Any] = []
        for index, item in enumerate(items):
            item.changed = index < what and item.display is None
            if item.changed:
                delta += [index - sum(map(abs, delta)), -1]
        parts: list[int] = []
        for part in delta:
            if part and parts and parts[-1] < 0 and part < 0:
                parts[-1] += part
            elif part:
                parts.append(part)
        return parts

    def flush(self, cell: str, clears: int | None) -> None:
        before = {name: list(place.items) for name, place in self.reference.cells.items()}
        parked = deepcopy({name: [item.output for item in before[name]] for name in self.removed})
        meanwhile: list[dict[str, Any]] = []
        gone: set[Shown] = set()
        if clears is not None and cell not in self.removed:
            delta = self.foreign_clear(before[cell], clears)
            gone = {item for item in before[cell] if item.changed}
            if delta:
                meanwhile = [{"op": "edit", "path": f"/cells/{cell}/outputs", "delta": delta}]
        for place in self.reference.cells.values():
            for item in place.items:
                item.changed = False
            place.touched = False
        for each in self.waiting:
            self.reference.take(each)
        self.waiting.clear()
        for name in self.removed:
            place = self.reference.cells[name]
            if place.touched:
                place.open = None
                place.items = [Shown(output, ours=False) for output in parked[name]]
        for place in self.reference.cells.values():
            place.items = [item for item in place.items if item not in gone]
        self.notebook.flush(meanwhile)

    def begin(self, cell: str) -> None:
        run = self.runs[cell] = f"run {self.count}"
        self.reference.begin(cell, run)
        self.notebook.outputs.begin(run, cell)
        if cell in self.removed:
            index, value = self.removed[cell]
            self.removed[cell] = (index, {**value, "outputs": []})
        elif outputs := self.notebook.document["cells"][cell]["outputs"]:
            self.notebook.edit([-len(outputs)], cell)

    def remove_or_restore(self, cell: str) -> None:
        document = self.notebook.document
        path = f"/cells/{cell}"
        if cell in self.removed:
            index, value = self.removed.pop(cell)
            index = min(index, len(document["order"]))
            change = [{"op": "add", "path": path, "index": index, "value": value}]
        else:
            index = document["order"].index(cell)
            self.removed[cell] = (index, document["cells"][cell])
            change = [{"op": "remove", "path": path, "index": index}]
        self.notebook.document = apply(document, change)

    def compare(self) -> None:
        for cell, place in self.reference.cells.items():
            if cell not in self.removed:
                outputs = self.notebook.document["cells"][cell]["outputs"]
                assert outputs == [item.output for item in place.items]


@settings(max_examples=300, deadline=None)
@given(st.lists(events, max_size=40))
def test_any_messages_and_flushes_end_as_in_the_reference(steps: list[Any]) -> None:
    race = Race()
    for step in steps:
        race.step(*step)
        if step[0] == "flush":
            race.compare()
    race.flush("a", None)
    race.compare()
    race.notebook.validate()
