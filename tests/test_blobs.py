"""Large outputs out of the document and into it again."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import nbformat
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ot_jupyter.sequencer.projection import digest_of, project
from ot_jupyter.transforms import Refused, check_change, new_cell
from ot_jupyter.transforms.blobs import (
    HEAD,
    OUTPUT_LIMIT,
    TAIL,
    attach,
    attach_document,
    blob_hash,
    detach,
    detach_document,
    detach_within,
    excerpt,
    references,
)
from ot_jupyter.transforms.notebook import document_notebook, read_notebook

TEXTS = st.text(st.sampled_from("ab\n\r\x1b[é…😀"), max_size=60)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-1, 1) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
TYPES = st.sampled_from(["text/plain", "image/png", "text/html", "text", "traceback"])
JSON_TYPES = st.sampled_from(["application/json", "application/vnd.a.v1+json"])
DATA = st.tuples(
    st.dictionaries(TYPES, TEXTS, max_size=3), st.dictionaries(JSON_TYPES, JSON, max_size=2)
).map(lambda both: {**both[0], **both[1]})
OUTPUTS = st.one_of(
    st.fixed_dictionaries(
        {"output_type": st.just("stream"), "name": st.just("stdout"), "text": TEXTS}
    ),
    st.fixed_dictionaries(
        {
            "output_type": st.just("error"),
            "ename": TEXTS,
            "evalue": TEXTS,
            "traceback": st.lists(TEXTS, max_size=4),
        }
    ),
    st.fixed_dictionaries(
        {"output_type": st.just("display_data"), "data": DATA, "metadata": st.just({})}
    ),
    st.fixed_dictionaries(
        {
            "output_type": st.just("execute_result"),
            "data": DATA,
            "metadata": st.just({}),
            "execution_count": st.none() | st.integers(0, 9),
        }
    ),
)
LIMITS = st.integers(0, 120)


def notebook(*outputs: Any) -> dict[str, Any]:
    cells = {"a": {**new_cell("code", "x"), "outputs": list(outputs)}, "b": new_cell("markdown")}
    return {"cells": cells, "order": ["a", "b"], "metadata": {}}


def stream(text: str) -> dict[str, Any]:
    return {"output_type": "stream", "name": "stdout", "text": text}


@settings(deadline=None)
@given(OUTPUTS, LIMITS)
def test_what_is_detached_can_be_attached(output: dict[str, Any], limit: int) -> None:
    before = deepcopy(output)
    small, contents = detach(output, limit)
    assert output == before
    assert attach(small, contents) == output
    assert (small is output) == (not contents)
    for name, content in contents.items():
        assert len(content) > limit
        assert blob_hash(content) == name
    blobs = small.get("blobs", {})
    assert {one["hash"]: one["size"] for one in blobs.values()} == {
        name: len(content) for name, content in contents.items()
    }
    assert detach(small, limit) == (small, {})
    assert detach(deepcopy(output), limit) == (small, contents)


@settings(deadline=None)
@given(st.lists(OUTPUTS, max_size=4), LIMITS)
def test_documents(outputs: list[dict[str, Any]], limit: int) -> None:
    document = notebook(*outputs)
    small, contents = detach_document(document, limit)
    assert references(small) == contents.keys()
    assert references(document) == set()
    assert attach_document(small, contents) == document
    assert (small is document) == (not contents)
    assert small["cells"]["b"] is document["cells"]["b"]
    change = [{"op": "add", "path": "/cells/a", "index": 0, "value": small["cells"]["a"]}]
    assert references(change) == contents.keys()
    check_change(change, notebook=True, from_client=True)
    delta = [
        {"op": "edit", "path": "/cells/a/outputs", "delta": [2, small["cells"]["a"]["outputs"]]}
    ]
    assert references(delta) == contents.keys()
    assert detach_within([{"value": document["cells"]["a"]}], limit) == (
        [{"value": small["cells"]["a"]}], contents,
    )  # fmt: skip


@settings(deadline=None)
@given(st.lists(OUTPUTS, max_size=3), LIMITS)
def test_a_file_has_the_digest_of_what_was_saved(outputs: list[dict[str, Any]], limit: int) -> None:
    """References come back as they were, through a file that sorts its keys."""
    small, contents = detach_document(project(notebook(*outputs)), limit)
    assert project(small) == small
    node = nbformat.from_dict(document_notebook(attach_document(small, contents)))
    nbformat.validate(node)
    again = read_notebook(nbformat.writes(node))
    assert digest_of(detach_document(again, limit)[0]) == digest_of(small)


@settings(deadline=None)
@given(st.lists(OUTPUTS, max_size=3), LIMITS)
def test_without_the_contents_a_notebook_is_valid(
    outputs: list[dict[str, Any]], limit: int
) -> None:
    small, _ = detach_document(project(notebook(*outputs)), limit)
    found = attach_document(small, {})
    assert references(found) == set()
    nbformat.validate(nbformat.from_dict(document_notebook(found)))


@pytest.mark.parametrize("unit", ["line of text\n", "x", "😀", "é\n"])
@pytest.mark.parametrize("count", [16_500, 70_000, 400_000])
def test_an_excerpt_is_made_from_both_ends(unit: str, count: int) -> None:
    text = unit * (count // len(unit))
    if len(text.encode()) <= OUTPUT_LIMIT:
        assert detach(stream(text)) == (stream(text), {})
        return
    size = len(text.encode())
    small, contents = detach(stream(text))
    assert small["text"] == excerpt(text[:HEAD], text[-TAIL:], size)
    assert f"{size:,} bytes" in small["text"]
    head, note, tail = small["text"].partition("\n[… ")
    assert note
    assert text.startswith(head)
    assert text.endswith(tail.partition("\n")[2])
    assert contents == {blob_hash(text.encode()): text.encode()}
    if "\n" in unit:
        assert not head or text[len(head)] == "\n"


def test_what_a_note_says_of_what_is_lost() -> None:
    image = {"output_type": "display_data", "data": {"image/png": "A" * 100_000}, "metadata": {}}
    small, _ = detach(image)
    assert small["data"] == {}
    assert attach(small, {})["data"] == {
        "text/plain": "[image/png, 100,000 bytes: it is kept no more]"
    }
    small["data"] = {"text/plain": "<Figure>"}
    assert attach(small, {})["data"] == {"text/plain": "<Figure>"}


@pytest.mark.parametrize(
    "blobs",
    [
        1,
        {"text": 1},
        {"text": {"hash": "0" * 32, "size": 1}},
        {"text": {"hash": "0" * 31, "size": 1, "type": "text/plain"}},
        {"text": {"hash": "0" * 32, "size": True, "type": "text/plain"}},
        {"text": {"hash": "0" * 32, "size": -1, "type": "text/plain"}},
        {"text": {"hash": "0" * 32, "size": 1, "type": "text/html"}},
        {"text": {"hash": "0" * 32, "size": 1, "type": "text/plain", "more": 1}},
        {"traceback": {"hash": "0" * 32, "size": 1, "type": "application/json"}},
        {"image/png": {"hash": "0" * 32, "size": 1, "type": "image/png"}},
    ],
)
def test_references_of_another_shape_are_refused(blobs: Any) -> None:
    output = {**stream("x"), "blobs": blobs}
    cell = {**new_cell(), "outputs": [stream("y"), output]}
    change = [{"op": "add", "path": "/cells/a", "index": 0, "value": cell}]
    with pytest.raises(Refused) as refused:
        check_change(change, notebook=True, from_client=True)
    assert refused.value.pointer.startswith("/0/value/outputs/1/blobs")
    assert references(change) == set()
    assert attach(output, {"0" * 32: b"forged"}) == stream("x")


def test_there_are_not_too_many_references() -> None:
    blobs = {f"a/{i}": {"hash": "0" * 32, "size": 1, "type": f"a/{i}"} for i in range(1000)}
    output = {"output_type": "display_data", "data": {}, "metadata": {}, "blobs": blobs}
    assert len(orjson.dumps(blobs)) > 64 * 1024
    cell = {**new_cell(), "outputs": [output]}
    with pytest.raises(Refused) as refused:
        check_change(
            [{"op": "add", "path": "/cells/a", "index": 0, "value": cell}],
            notebook=True, from_client=True,
        )  # fmt: skip
    assert (refused.value.code, refused.value.pointer) == ("too_large", "/0/value/outputs/0/blobs")


def test_contents_of_another_kind_are_as_if_lost() -> None:
    error = {"output_type": "error", "ename": "E", "evalue": "", "traceback": ["x" * 70_000, "y"]}
    small, contents = detach(error)
    (name,) = contents
    assert attach(small, contents) == error
    for wrong in (b"{", b'"text"', b"[1]", b"\xff"):
        assert attach(small, {name: wrong})["traceback"] == small["traceback"]
