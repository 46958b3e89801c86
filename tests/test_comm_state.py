"""Comms: a client that joins later sees the widgets as they are."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ot_jupyter.kernel.widgets import Comms


def message(kind: str, content: dict[str, Any], buffers: list[Any] | None = None) -> dict[str, Any]:
    return {
        "header": {"msg_type": kind},
        "parent_header": {},
        "metadata": {"version": "2.1.0"} if kind == "comm_open" else {},
        "content": content,
        "buffers": buffers or [],
    }


def opened(
    comm: str,
    state: dict[str, Any],
    paths: list[list[Any]] | None = None,
    buffers: list[Any] | None = None,
) -> dict[str, Any]:
    data = {"state": state, "buffer_paths": paths or []}
    content = {"comm_id": comm, "target_name": "jupyter.widget", "data": data}
    return message("comm_open", content, buffers)


def updated(
    comm: str,
    state: dict[str, Any],
    paths: list[list[Any]] | None = None,
    buffers: list[Any] | None = None,
    method: str = "update",
) -> dict[str, Any]:
    data = {"method": method, "state": state, "buffer_paths": paths or []}
    return message("comm_msg", {"comm_id": comm, "data": data}, buffers)


def closed(comm: str) -> dict[str, Any]:
    return message("comm_close", {"comm_id": comm, "data": {}})


def states(comms: Comms) -> dict[str, Any]:
    return {comm["comm_id"]: comm["data"]["state"] for comm in comms.state()}


def test_a_slider_moved_by_both_sides_stands_where_it_was_left() -> None:
    comms = Comms()
    comms.take(opened("layout", {"_model_name": "LayoutModel"}))
    comms.take(opened("slider", {"value": 1, "max": 9, "layout": "IPY_MODEL_layout"}))
    comms.sent(updated("slider", {"value": 4}))
    assert states(comms)["slider"]["value"] == 4
    comms.take(updated("slider", {"value": 4}, method="echo_update"))
    comms.take(updated("slider", {"max": 5}))
    assert comms.state() == [
        {
            "comm_id": "layout",
            "target_name": "jupyter.widget",
            "data": {"state": {"_model_name": "LayoutModel"}, "buffer_paths": []},
            "metadata": {"version": "2.1.0"},
            "buffers": [],
        },
        {
            "comm_id": "slider",
            "target_name": "jupyter.widget",
            "data": {
                "state": {"value": 4, "max": 5, "layout": "IPY_MODEL_layout"},
                "buffer_paths": [],
            },
            "metadata": {"version": "2.1.0"},
            "buffers": [],
        },
    ]
    comms.take(closed("layout"))
    assert list(states(comms)) == ["slider"]
    comms.clear()
    assert comms.state() == []


def test_what_was_handed_out_does_not_change_later() -> None:
    comms = Comms()
    comms.take(opened("a", {"value": 1}))
    before = comms.state()
    comms.take(updated("a", {"value": 2}))
    assert before[0]["data"]["state"] == {"value": 1}


def test_buffers_stay_with_the_keys_that_they_are_in() -> None:
    comms = Comms()
    comms.take(opened("a", {"table": {"n": 1}, "b": 1}, [["table", "x"], ["raw"]], [b"1", b"2"]))
    comms.take(updated("a", {"b": 2}))
    (comm,) = comms.state()
    assert comm["data"]["buffer_paths"] == [["table", "x"], ["raw"]]
    assert comm["buffers"] == [b"1", b"2"]
    comms.take(updated("a", {"table": {"n": 2}}, [["table", "y", 0]], [memoryview(b"3")]))
    comms.take(updated("a", {}, [["b"]], [b"4"]))
    comms.take(updated("a", {"raw": None}))
    (comm,) = comms.state()
    assert comm["data"]["state"] == {"table": {"n": 2}, "raw": None}
    assert comm["data"]["buffer_paths"] == [["table", "y", 0], ["b"]]
    assert comm["buffers"] == [b"3", b"4"]


def test_custom_messages_and_unknown_comms_change_nothing() -> None:
    comms = Comms()
    comms.take(opened("a", {"value": 1}))
    comms.take(updated("a", {"value": 2}, method="custom"))
    comms.take(updated("b", {"value": 2}))
    comms.take(closed("b"))
    assert states(comms) == {"a": {"value": 1}}
    assert comms.malformed == 0


def test_a_comm_that_is_no_widget_is_kept_as_it_was_opened() -> None:
    comms = Comms()
    content = {"comm_id": "a", "target_name": "mine", "data": {"x": 1}}
    comms.take(message("comm_open", content, [b"raw"]))
    (comm,) = comms.state()
    assert (comm["data"], comm["buffers"], comm["target_name"]) == ({"x": 1}, [b"raw"], "mine")


def test_an_output_widget_captures_while_it_says_so() -> None:
    comms = Comms()
    for comm in ("one", "two"):
        comms.take(opened(comm, {"_model_name": "OutputModel", "msg_id": ""}))
    assert comms.captures("parent") is None
    assert comms.captures("") is None
    comms.take(updated("one", {"msg_id": "parent"}))
    assert comms.captures("parent") == "one"
    comms.take(updated("two", {"msg_id": "parent"}))
    assert comms.captures("parent") == "two"
    comms.take(updated("two", {"msg_id": ""}))
    assert comms.captures("parent") == "one"
    comms.take(closed("one"))
    assert comms.captures("parent") is None
    comms.take(opened("text", {"_model_name": "TextModel", "msg_id": "parent"}))
    assert comms.captures("parent") is None


def test_kept_state_has_a_limit() -> None:
    comms = Comms(limit=2000)
    comms.take(opened("a", {"value": "small"}))
    comms.take(updated("a", {"value": "x" * 5000}))
    comms.take(updated("a", {}, [["raw"]], [b"x" * 5000]))
    assert states(comms) == {"a": {"value": "small"}}
    assert comms.refused == 2
    for number in range(100):
        comms.take(opened(f"comm {number}", {}))
    assert 1 < len(comms.state()) < 10
    comms.take(updated("a", {"value": ""}))
    assert states(comms)["a"] == {"value": ""}
    for comm in list(states(comms)):
        comms.take(closed(comm))
    comms.take(opened("b", {"value": "x" * 1500}))
    assert list(states(comms)) == ["b"]


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"header": {"msg_type": "comm_open"}, "content": 1},
        message("comm_open", {"comm_id": "b", "data": {}}),
        message("comm_open", {"comm_id": 1, "target_name": "t"}),
        message("comm_msg", {"data": {}}),
        updated("a", {}, [["raw"]], ["text"]),
        updated("a", {}, [[]], [b""]),
        updated("a", {}, [[0]], [b""]),
        updated("a", [], []),  # type: ignore[arg-type]
    ],
)
def test_a_malformed_message_is_skipped(bad: dict[str, Any]) -> None:
    comms = Comms()
    comms.take(opened("a", {"value": 1}))
    comms.take(bad)
    assert comms.malformed == 1
    assert states(comms) == {"a": {"value": 1}}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["state", "buffer_paths", "method", "msg_id", "x"]), inner
        )
    ),
    max_leaves=8,
)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["comm_open", "comm_msg", "comm_close"]),
            st.sampled_from("ab"),
            json_values,
            st.lists(st.binary(max_size=2), max_size=2),
        ),
        max_size=6,
    )
)
def test_nothing_a_kernel_sends_raises(messages: list[Any]) -> None:
    comms = Comms()
    for kind, comm, data, buffers in messages:
        content = {"comm_id": comm, "target_name": "jupyter.widget", "data": data}
        comms.take(message(kind, content, buffers))
    for comm in comms.state():
        paths = comm["data"].get("buffer_paths")
        if isinstance(comm["data"].get("state"), dict):
            assert len(paths) == len(comm["buffers"])
