"""Undo and redo of one's own changes, whatever others do meanwhile. No server: a log in a list."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ot_jupyter.client.state import ClientDocument, Pending
from ot_jupyter.transforms import (
    Change,
    Document,
    apply,
    check_change,
    new_cell,
    transform_change,
)
from tests.fuzz.strategies import CLIENT, random_change

SOURCE = "/cells/a/source"


def notebook(**sources: str) -> Document:
    """A notebook of code cells: the ids are the names."""
    return {
        "cells": {cell_id: new_cell("code", source) for cell_id, source in sources.items()},
        "order": list(sources),
        "metadata": {},
    }


def edit(*delta: Any, path: str = SOURCE) -> Change:
    return [{"op": "edit", "path": path, "delta": list(delta)}]


def remove(cell_id: str, index: int) -> Change:
    return [{"op": "remove", "path": f"/cells/{cell_id}", "index": index}]


class Log:
    """What a server does for one document: it transforms, numbers, and tells everybody."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.entries: list[dict[str, Any]] = []
        self.clients: dict[str, ClientDocument] = {}

    def open(self, name: str) -> ClientDocument:
        client = self.clients[name] = ClientDocument("a.ipynb", name)
        assert client.outgoing() is not None
        rev = len(self.entries)
        client.receive(
            {
                "type": "opened", "path": "a.ipynb", "doc": "d", "kind": "notebook",
                "epoch": "e", "rev": rev, "hash": f"h{rev}", "n": 0, "write": True,
                "since": rev, "entries": [], "document": self.document, "presence": [],
            }
        )  # fmt: skip
        return client

    def take(self, client: ClientDocument) -> bool:
        """Commit what the client has to send, if anything; nobody is told yet."""
        message = client.outgoing()
        if message is None:
            return False
        ops = message["ops"]
        for entry in self.entries[message["base"] :]:
            ops = transform_change(ops, entry["ops"], later=True)
        self.document = apply(self.document, ops)
        rev = len(self.entries) + 1
        self.entries.append(
            {
                "rev": rev, "client": client.client, "n": message["n"], "hash": f"h{rev}",
                "base": message["base"], "user": "", "time": "", "ops": ops,
            }
        )  # fmt: skip
        return True

    def tell(self, client: ClientDocument) -> None:
        """Send a client all that it lacks; its own as acknowledgements."""
        since = client.head.rev
        entries = [
            {key: entry[key] for key in ("rev", "n", "hash")}
            if entry["client"] == client.client
            else entry
            for entry in self.entries[since:]
        ]
        if entries:
            client.receive(
                {
                    "type": "entries", "doc": "d", "epoch": "e", "from": since + 1,
                    "prev": f"h{since}", "entries": entries,
                }
            )  # fmt: skip

    def settle(self) -> Document:
        """Everything is sent and heard of: all must see the same now."""
        busy = True
        while busy:
            for client in self.clients.values():
                self.tell(client)
            taken = [self.take(client) for client in self.clients.values()]
            busy = any(taken)
        for client in self.clients.values():
            assert client.document == client.confirmed == self.document
            assert not client.pending
        return self.document


@pytest.fixture
def log() -> Log:
    return Log(notebook(a="alpha", b="beta", c="gamma"))


def text(document: Document, cell_id: str = "a") -> str:
    source: str = document["cells"][cell_id]["source"]
    return source


def test_takes_back_and_brings_back_one_step_at_a_time(log: Log) -> None:
    alice = log.open("alice")
    alice.edit(edit(5, "1"))
    alice.edit(edit(6, "2"))
    seen = []
    for step in (alice.undo, alice.undo, alice.undo, alice.redo, alice.redo, alice.redo):
        seen.append((step(), text(alice.document)))
    assert seen == [
        (True, "alpha1"),
        (True, "alpha"),
        (False, "alpha"),
        (True, "alpha1"),
        (True, "alpha12"),
        (False, "alpha12"),
    ]
    assert text(log.settle()) == "alpha12"


def test_a_change_of_several_operations_is_one_step(log: Log) -> None:
    alice = log.open("alice")
    before = alice.document
    alice.edit([*edit(5, "!"), *remove("b", 1), *edit("<", path="/cells/c/source")])
    assert alice.undo()
    assert alice.document == before
    assert not alice.undo()


def test_an_edit_ends_what_could_be_brought_back(log: Log) -> None:
    alice = log.open("alice")
    alice.edit(edit(5, "1"))
    alice.undo()
    alice.edit(edit(5, "2"))
    assert not alice.redo()
    assert text(alice.document) == "alpha2"


def test_others_changes_are_not_taken_back(log: Log) -> None:
    alice, bob = log.open("alice"), log.open("bob")
    alice.edit(edit(5, "A"))
    log.settle()
    bob.edit(edit("<", 6, ">"))
    log.settle()
    assert not bob.redo()
    assert alice.undo()
    assert text(log.settle()) == "<alpha>"
    assert not alice.undo()


def test_what_others_typed_within_it_stays(log: Log) -> None:
    alice, bob = log.open("alice"), log.open("bob")
    alice.edit(edit(5, "ABCD"))
    log.settle()
    bob.edit(edit(7, "bob"))
    log.settle()
    alice.undo()
    assert text(log.settle()) == "alphabob"
    alice.redo()
    assert sorted(text(log.settle())) == sorted("alphaABCDbob")


def test_it_is_transformed_while_it_is_pending(log: Log) -> None:
    """The foreign entry comes between the change and its undo, before either is committed."""
    alice, bob = log.open("alice"), log.open("bob")
    bob.edit(edit("bob "))
    log.take(bob)
    alice.edit(edit(5, "A"))
    log.take(alice)
    alice.undo()
    log.tell(alice)
    assert text(alice.document) == "bob alpha"
    assert text(log.settle()) == "bob alpha"
    alice.redo()
    assert text(log.settle()) == "bob alphaA"


def test_a_removed_cell_comes_back_as_it_was(log: Log) -> None:
    alice, bob = log.open("alice"), log.open("bob")
    alice.edit(remove("b", 1))
    log.settle()
    bob.edit([{"op": "move", "path": "/cells/c", "index": 1, "to": 0}])
    log.settle()
    alice.undo()
    document = log.settle()
    assert text(document, "b") == "beta"
    assert sorted(document["order"]) == ["a", "b", "c"]


def test_what_others_typed_in_a_cell_while_it_was_removed_comes_back_with_it(log: Log) -> None:
    alice, bob = log.open("alice"), log.open("bob")
    bob.edit(edit(4, "!", path="/cells/b/source"))
    log.take(bob)
    alice.edit(remove("b", 1))  # has not heard of it
    log.tell(alice)
    assert "b" not in log.settle()["cells"]
    alice.undo()
    assert text(log.settle(), "b") == "beta!"


def test_two_who_undo_one_removal_get_one_cell(log: Log) -> None:
    alice, bob = log.open("alice"), log.open("bob")
    for client in (alice, bob):
        client.edit(remove("b", 1))
    log.settle()
    for client in (alice, bob):
        client.undo()
    document = log.settle()
    assert sorted(document["order"]) == ["a", "b", "c"]
    assert text(document, "b") == "beta"


def test_a_move_is_taken_back_among_others_moves(log: Log) -> None:
    alice, bob = log.open("alice"), log.open("bob")
    alice.edit([{"op": "move", "path": "/cells/a", "index": 0, "to": 2}])
    log.settle()
    assert log.document["order"] == ["b", "c", "a"]
    bob.edit([{"op": "add", "path": "/cells/x", "index": 1, "value": new_cell()}])
    log.settle()
    alice.undo()
    assert log.settle()["order"] == ["a", "b", "x", "c"]


@pytest.mark.parametrize("theirs", [remove("a", 0), edit(5, -1)], ids=["the cell", "the text"])
def test_what_others_removed_is_passed_over(log: Log, theirs: Change) -> None:
    alice, bob = log.open("alice"), log.open("bob")
    alice.edit(edit("1", path="/cells/b/source"))
    alice.edit(edit(5, "X"))
    log.settle()
    bob.edit(theirs)
    log.settle()
    assert alice.undo()
    assert text(log.settle(), "b") == "beta"
    assert not alice.undo()


def test_the_kernels_work_is_not_undone(log: Log) -> None:
    output = {"output_type": "stream", "name": "stdout", "text": "1"}
    log.document["cells"]["a"] |= {"outputs": [output], "execution_count": 3}
    alice = log.open("alice")
    alice.edit(
        [
            {"op": "edit", "path": "/cells/a/outputs", "delta": [-1]},
            {"op": "replace", "path": "/cells/a/execution_count", "value": None},
        ]
    )
    assert not alice.undo()
    assert log.settle()["cells"]["a"]["outputs"] == []


def test_outputs_of_a_removed_cell_come_back_with_it_and_its_run_does_not(log: Log) -> None:
    output = {"output_type": "stream", "name": "stdout", "text": "1"}
    log.document["cells"]["a"] |= {"outputs": [output], "execution": {"state": "running"}}
    alice = log.open("alice")
    alice.edit(remove("a", 0))
    log.settle()
    assert alice.undo()
    cell = log.settle()["cells"]["a"]
    assert cell["outputs"] == [output]
    assert cell["execution"] == {}


def test_a_removal_that_nobody_saw_does_not_touch_the_run(log: Log) -> None:
    log.document["cells"]["a"] |= {"execution": {"state": "running"}}
    alice = log.open("alice")
    alice.edit(remove("a", 0))
    assert alice.undo()
    assert alice.document["cells"]["a"]["execution"] == {"state": "running"}
    assert log.settle()["cells"]["a"]["execution"] == {"state": "running"}
    for entry in log.entries:
        check_change(entry["ops"], notebook=True, from_client=True)


def test_what_the_kernel_writes_into_a_removed_cell_does_not_stop_undo(log: Log) -> None:
    alice, kernel = log.open("alice"), log.open("kernel")
    alice.edit(remove("a", 0))
    assert alice.outgoing() is not None
    output = {"output_type": "stream", "name": "stdout", "text": "1"}
    kernel.pending.append(
        Pending(
            1,
            [
                {"op": "replace", "path": "/cells/a/execution", "value": {"state": "running"}},
                {"op": "edit", "path": "/cells/a/outputs", "delta": [[output]]},
            ],
        )
    )
    kernel.document = apply(kernel.document, kernel.pending[0].ops)
    log.take(kernel)
    log.tell(alice)
    alice.disconnected()  # what is in flight is sent again
    assert alice.undo()
    assert alice.document["cells"]["a"]["outputs"] == [output]
    assert alice.document["cells"]["a"]["execution"] == {}


def test_what_is_not_to_be_undone_is_passed_over(log: Log) -> None:
    alice = log.open("alice")
    alice.edit(edit(5, "1"))
    alice.edit(edit("x", path="/cells/b/source"), undoable=False)
    assert alice.undo()
    assert text(alice.document) == "alpha"
    assert text(alice.document, "b") == "xbeta"


def test_it_survives_a_break_and_a_resume(log: Log) -> None:
    alice, bob = log.open("alice"), log.open("bob")
    alice.edit(edit(5, "A"))
    log.settle()
    alice.disconnected()
    bob.edit(edit("bob "))
    log.take(bob)
    log.tell(bob)
    alice.undo()
    message = alice.outgoing()
    assert message is not None
    assert message["known"][0] == [1, "h1"]
    alice.receive(
        {
            "type": "opened", "path": "a.ipynb", "doc": "d", "kind": "notebook", "epoch": "e",
            "rev": 2, "hash": "h2", "n": 1, "write": True, "since": 1,
            "entries": log.entries[1:], "presence": [],
        }
    )  # fmt: skip
    assert text(log.settle()) == "bob alpha"
    assert alice.redo()
    assert text(log.settle()) == "bob alphaA"


def mess(seed: Random, log: Log, alice: ClientDocument, bob: ClientDocument) -> None:
    """Something is heard of, or not."""
    for client in (alice, bob):
        if seed.randrange(2):
            log.take(client)
        if seed.randrange(2):
            log.tell(client)


@settings(max_examples=80, deadline=None)
@given(st.randoms(use_true_random=False))
def test_undoing_all_leaves_what_others_typed_and_nothing_else(seed: Random) -> None:
    """Alice types upper case, Bob anything else and deletes what he likes: at the end all of hers
    is gone, and only that. Redoing all brings hers back, less what Bob deleted."""
    log = Log(notebook(a="alpha"))
    alice, bob = log.open("alice"), log.open("bob")
    for _ in range(seed.randrange(1, 8)):
        length = len(text(alice.document))
        at = seed.randrange(length + 1)
        alice.edit(edit(*([at] if at else []), "ABCDE"[: seed.randrange(1, 4)]))
        length = len(text(bob.document))
        at = seed.randrange(length + 1)
        delta: list[Any] = [at] if at else []
        if at < length and seed.randrange(2):
            bob.edit(edit(*delta, "xy", -1))
        else:
            bob.edit(edit(*delta, "z"))
        mess(seed, log, alice, bob)
    full = text(log.settle())
    while alice.undo():
        mess(seed, log, alice, bob)
    assert text(log.settle()) == "".join(char for char in full if not char.isupper())
    while alice.redo():
        mess(seed, log, alice, bob)
    again = text(log.settle())
    assert sorted(char for char in again if char.isupper()) == sorted(
        char for char in full if char.isupper()
    )


@settings(max_examples=80, deadline=None)
@given(st.randoms(use_true_random=False))
def test_alone_undo_and_redo_are_exact(seed: Random) -> None:
    log = Log(notebook(a="alpha", b="beta", c="gamma"))
    alice = log.open("alice")
    states = [alice.document]
    for number in range(seed.randrange(1, 6)):
        change = random_change(seed, alice.document, 1 + seed.randrange(3), [f"n{number}"], CLIENT)
        if any("outputs" in one["path"] or "execution" in one["path"] for one in change):
            continue  # the kernel's: not undone
        alice.edit(change)
        states.append(alice.document)
        mess(seed, log, alice, alice)
    for state in reversed(states[:-1]):
        assert alice.undo()
        assert alice.document == state
        mess(seed, log, alice, alice)
    assert not alice.undo()
    for state in states[1:]:
        assert alice.redo()
        assert alice.document == state
        mess(seed, log, alice, alice)
    assert log.settle() == states[-1]


@settings(max_examples=80, deadline=None)
@given(st.randoms(use_true_random=False))
def test_all_see_the_same_whoever_undoes_what(seed: Random) -> None:
    log = Log(notebook(a="alpha", b="beta", c="gamma"))
    clients = [log.open(name) for name in ("alice", "bob", "carol")]
    for number in range(seed.randrange(1, 15)):
        client = clients[seed.randrange(len(clients))]
        action = seed.randrange(4)
        if action == 0:
            client.undo()
        elif action == 1:
            client.redo()
        else:
            new = [f"n{number}-{client.client}"]
            client.edit(random_change(seed, client.document, 1 + seed.randrange(2), new, CLIENT))
        mess(seed, log, clients[0], clients[1])
        mess(seed, log, clients[1], clients[2])
    log.settle()
