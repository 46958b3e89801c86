"""What clients say: every message, and everything that is wrong with one. Pure."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ot_jupyter.api.limits import ApiLimits
from ot_jupyter.api.messages import (
    Answer,
    Close,
    Comm,
    Comms,
    Control,
    Message,
    Open,
    Save,
    SetPresence,
    Submit,
    about,
    check_ops,
    parse_message,
    read_message,
)
from ot_jupyter.sequencer.entry import Head
from ot_jupyter.transforms import Refused, new_cell

LIMITS = ApiLimits(change_operations=100, presence_bytes=200)

OPEN: dict[str, Any] = {
    "type": "open", "path": "a.ipynb", "client": "c-1_", "kind": "notebook", "epoch": "e",
    "known": [[3, "abc"], [0, "def"]],
}  # fmt: skip
SUBMIT: dict[str, Any] = {
    "type": "submit", "doc": "d", "n": 1, "base": 0, "hash": "h", "ops": [], "skip": True,
    "presence": {"cell": "a", "anchor": 3, "ranges": [[1, 2]]},
}  # fmt: skip
PRESENCE: dict[str, Any] = {"type": "presence", "doc": "d", "presence": {"rev": 3, "cell": "a"}}
CLOSE = {"type": "close", "doc": "d"}
SAVE = {"type": "save", "doc": "d"}
ALL = (OPEN, SUBMIT, PRESENCE, CLOSE, SAVE)


def parse(value: dict[str, Any]) -> Message:
    return parse_message(read_message(orjson.dumps(value).decode()), LIMITS)


def without(value: dict[str, Any], *fields: str) -> dict[str, Any]:
    return {field: item for field, item in value.items() if field not in fields}


def refusal(value: dict[str, Any]) -> tuple[str, str]:
    with pytest.raises(Refused) as refused:
        parse(value)
    return refused.value.code, refused.value.pointer


def test_messages() -> None:
    known = [Head(3, "abc"), Head(0, "def")]
    assert parse(OPEN) == Open("a.ipynb", "c-1_", "notebook", "e", known)
    first = without(OPEN, "kind", "epoch", "known")
    assert parse(first) == Open("a.ipynb", "c-1_", None, "", [])
    presence = SUBMIT["presence"]
    assert parse(SUBMIT) == Submit("d", 1, Head(0, "h"), [], True, presence)
    least = without(SUBMIT, "skip", "presence")
    assert parse(least) == Submit("d", 1, Head(0, "h"), [], False, None)
    assert parse(PRESENCE) == SetPresence("d", {"rev": 3, "cell": "a"})
    assert parse({**PRESENCE, "presence": None}) == SetPresence("d", None)
    assert parse(CLOSE) == Close("d")
    assert parse(SAVE) == Save("d")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "not_json"),
        ("{", "not_json"),
        ('{"type":"close","doc":"d"} x', "not_json"),
        ("{'type':'close'}", "not_json"),
        ('{"type":NaN}', "not_json"),
        ('{"type":Infinity}', "not_json"),
        ('{"type":1e999}', "not_json"),
        (r'{"type":"\ud800"}', "not_json"),
        (r'{"type":"\udc00\ud800"}', "not_json"),
        (r'{"\udfff":1}', "not_json"),
        ("\ufeff{}", "not_json"),
        ("[" * 10_000 + "]" * 10_000, "too_deep"),
        ('{"a":' * 10_000 + "1" + "}" * 10_000, "too_deep"),
        ("[" * 1_000_000, "too_deep"),
        ("[]", "wrong_type"),
        ("null", "wrong_type"),
        ('"open"', "wrong_type"),
        ("1", "wrong_type"),
    ],
)
def test_texts_that_are_no_message(text: str, code: str) -> None:
    with pytest.raises(Refused) as refused:
        read_message(text)
    assert refused.value.code == code


@pytest.mark.parametrize("kind", [None, 1, [], {}, "", "Open", "opened", "entries"])
def test_unknown_types(kind: Any) -> None:
    assert refusal({"type": kind, "doc": "d"}) == ("unknown_message", "/type")


def test_no_type() -> None:
    assert refusal({}) == ("unknown_message", "/type")


@pytest.mark.parametrize("message", ALL, ids=lambda one: str(one["type"]))
def test_fields_too_many_and_too_few(message: dict[str, Any]) -> None:
    assert refusal({**message, "a/b": 1}) == ("unknown_field", "/a~1b")
    required = {
        "open": {"path", "client"},
        "submit": {"doc", "n", "base", "hash", "ops"},
        "presence": {"doc", "presence"},
    }.get(message["type"], {"doc"})
    for field in required:
        assert refusal(without(message, field)) == ("missing_field", f"/{field}")
    for field in message.keys() - required - {"type"}:
        parse(without(message, field))


STRINGLESS: tuple[Any, ...] = (None, 1, True, [], {}, ["a"])
NUMBERLESS: tuple[Any, ...] = (None, "1", True, 1.0, 1.5, [], {}, 1e30)


@pytest.mark.parametrize(
    ("message", "field", "values", "code"),
    [
        (OPEN, "path", STRINGLESS, "wrong_type"),
        (OPEN, "path", ("a" * 5000,), "out_of_range"),
        (OPEN, "client", STRINGLESS, "bad_id"),
        (OPEN, "client", ("", "a" * 65, "a:b", "a b", "é", "a\n", "a/b"), "bad_id"),
        (OPEN, "kind", ("", "Notebook", 1, [], {}), "wrong_type"),
        (OPEN, "epoch", STRINGLESS, "wrong_type"),
        (OPEN, "epoch", ("e" * 65,), "out_of_range"),
        (OPEN, "known", (None, 1, "x", {}), "wrong_type"),
        (OPEN, "known", ([[0, "a"]] * 1001,), "out_of_range"),
        (SUBMIT, "doc", STRINGLESS, "wrong_type"),
        (SUBMIT, "n", NUMBERLESS, "wrong_type"),
        (SUBMIT, "n", (0, -1, 2**53 + 1, 2**63), "out_of_range"),
        (SUBMIT, "base", NUMBERLESS, "wrong_type"),
        (SUBMIT, "base", (-1, 2**53 + 1), "out_of_range"),
        (SUBMIT, "hash", STRINGLESS, "wrong_type"),
        (SUBMIT, "hash", ("h" * 65,), "out_of_range"),
        (SUBMIT, "ops", (None, 1, "x", {}), "wrong_type"),
        (SUBMIT, "skip", (None, 1, "true", []), "wrong_type"),
        (SUBMIT, "presence", (1, 0, "", "x", [], False), "wrong_type"),
        (PRESENCE, "presence", (1, 0, "", "x", [], False), "wrong_type"),
        (PRESENCE, "presence", ({"x": "y" * 200},), "too_large"),
        (PRESENCE, "presence", ({"x": [[[[]]]]}, {"x": {"y": {"z": {"a": {}}}}}), "too_deep"),
        (CLOSE, "doc", STRINGLESS, "wrong_type"),
        (SAVE, "doc", ("d" * 65,), "out_of_range"),
    ],
)
def test_wrong_fields(
    message: dict[str, Any], field: str, values: tuple[Any, ...], code: str
) -> None:
    for value in values:
        assert refusal({**message, field: value}) == (code, f"/{field}"), value


@pytest.mark.parametrize(
    "state",
    [[], [1], [1, "a", "b"], ["a", 1], [1.0, "a"], [True, "a"], [-1, "a"], [2**53 + 1, "a"],
     [1, None], [1, "a" * 65], 1, None, "1a", {"0": 1, "1": "a"}],
)  # fmt: skip
def test_wrong_known_states(state: Any) -> None:
    assert refusal({**OPEN, "known": [[1, "a"], state]}) == ("wrong_type", "/known/1")


@pytest.mark.parametrize("rev", [*NUMBERLESS])
def test_wrong_revision_of_a_presence(rev: Any) -> None:
    assert refusal({**PRESENCE, "presence": {"rev": rev}}) == ("wrong_type", "/presence/rev")


def test_wrong_values_in_a_presence() -> None:
    assert refusal({**PRESENCE, "presence": {"rev": -1}}) == ("out_of_range", "/presence/rev")
    assert refusal({**PRESENCE, "presence": {"x": [2**60]}}) == ("bad_number", "/presence/x/0")


def test_a_presence_that_is_very_deep() -> None:
    text = '{"type":"presence","doc":"d","presence":' + '{"a":' * 900 + "1" + "}" * 901
    with pytest.raises(Refused) as refused:
        parse_message(read_message(text), LIMITS)
    assert (refused.value.code, refused.value.pointer) == ("too_deep", "/presence")


def test_what_an_answer_repeats() -> None:
    assert about(SUBMIT) == {"of": "submit", "doc": "d", "n": 1}
    assert about(OPEN) == {"of": "open", "path": "a.ipynb"}
    assert about({"type": "nonsense", "doc": 1, "n": 0, "path": "p" * 5000}) == {}
    assert about({"type": [], "n": True, "doc": "d" * 65}) == {}


def ops_refusal(ops: Any, **more: Any) -> tuple[str, str]:
    with pytest.raises(Refused) as refused:
        check_ops(ops, **{"notebook": True, "limits": LIMITS, **more})
    return refused.value.code, refused.value.pointer


def test_operations() -> None:
    edit = {"op": "edit", "path": "/cells/a/source", "delta": ["x"]}
    check_ops([], notebook=True, limits=LIMITS)
    check_ops([edit] * 100, notebook=True, limits=LIMITS)
    assert ops_refusal([edit] * 101) == ("too_many_operations", "/ops")
    assert ops_refusal([edit, {**edit, "delta": [0]}]) == ("not_canonical", "/ops/1/delta/0")
    assert ops_refusal([edit], notebook=False) == ("not_found", "/ops/0/path")
    assert ops_refusal([1]) == ("wrong_type", "/ops/0")


def test_runs_stand_at_the_end() -> None:
    edit = {"op": "edit", "path": "/cells/a/source", "delta": ["x"]}
    run = {"op": "run", "path": "/cells/a"}
    check_ops([edit, run, run], notebook=True, limits=LIMITS)
    assert ops_refusal([run, edit]) == ("not_canonical", "/ops/1/op")


def parsed(**message: Any) -> Message:
    return parse_message({"doc": "d", **message}, LIMITS)


def refused_message(**message: Any) -> tuple[str, str]:
    with pytest.raises(Refused) as refused:
        parsed(**message)
    return refused.value.code, refused.value.pointer


def test_what_is_for_the_kernel() -> None:
    control = {"type": "kernel", "action": "restart"}
    assert parsed(**control) == Control("d", "restart", None, [])
    assert parsed(**control, cells=["a"]) == Control("d", "restart", None, ["a"])
    change = {"type": "kernel", "action": "change", "spec": "bash"}
    assert parsed(**change) == Control("d", "change", "bash", [])
    assert refused_message(type="kernel", action="explode") == ("wrong_type", "/action")
    assert refused_message(type="kernel", action="change") == ("wrong_type", "/spec")
    assert refused_message(**control, spec="bash") == ("wrong_type", "/spec")
    assert refused_message(**control, cells=["a", ""]) == ("bad_id", "/cells/1")
    assert parsed(type="input", id="q", value="yes") == Answer("d", "q", "yes")
    assert refused_message(type="input", id="q", value=1) == ("wrong_type", "/value")
    assert parsed(type="comms", on=True) == Comms("d", True)
    assert refused_message(type="comms", on=1) == ("wrong_type", "/on")
    comm = {"type": "comm", "id": "m", "kind": "comm_msg", "content": {"comm_id": "c"}}
    assert parsed(**comm) == Comm("d", "m", "comm_msg", {"comm_id": "c"}, [])
    assert parsed(**comm, buffers=["AAE="])[-1] == [b"\0\1"]
    assert refused_message(**comm, buffers=["?"]) == ("wrong_type", "/buffers")
    assert refused_message(**{**comm, "kind": "execute_request"}) == ("wrong_type", "/kind")
    assert refused_message(**{**comm, "content": {}}) == ("wrong_type", "/content")


def test_what_only_the_server_writes() -> None:
    ran = {**new_cell(), "execution": {"state": "ok"}}
    add = {"op": "add", "path": "/cells/b", "index": 0, "value": ran}
    assert ops_refusal([add]) == ("forbidden", "/ops/0/value/execution")
    with_outputs = {**new_cell(), "outputs": [{"output_type": "stream"}]}
    check_ops([{**add, "value": with_outputs}], notebook=True, limits=LIMITS)  # undo and paste
    outputs = {"op": "edit", "path": "/cells/a/outputs", "delta": [[{}]]}
    assert ops_refusal([outputs]) == ("forbidden", "/ops/0/delta/0")
    assert ops_refusal([{"op": "test", "path": "/metadata", "value": {}}]) == (
        "unknown_operation", "/ops/0/op",
    )  # fmt: skip


def test_operations_that_are_very_deep() -> None:
    value: Any = 1
    for _ in range(900):
        value = [value]
    assert ops_refusal([{"op": "replace", "path": "/metadata/a", "value": value}])[0] == "too_deep"
    assert ops_refusal([value])[0] == "wrong_type"


texts = st.text("ad/~é🎉", max_size=5)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(ALL), st.dictionaries(st.sampled_from(sorted(SUBMIT | OPEN)), json_values))
def test_whatever_comes_is_a_message_or_refused(
    message: dict[str, Any], changed: dict[str, Any]
) -> None:
    value = {**message, **changed}
    try:
        text = orjson.dumps(value).decode()
    except TypeError:  # an integer of more than 64 bits
        return
    try:
        read = parse_message(read_message(text), LIMITS)
        if isinstance(read, Submit):
            check_ops(read.ops, notebook=True, limits=LIMITS)
    except Refused as refused:
        orjson.dumps([refused.code, refused.message, refused.pointer, about(value)])
