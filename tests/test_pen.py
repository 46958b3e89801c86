"""The pen, the stream and the client's state machine, in the cases that a random world meets too
seldom."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from ot_jupyter.client.state import ClientDocument, Conflict, Events
from ot_jupyter.sequencer.entry import Head, Snapshot, initial_hash
from ot_jupyter.sequencer.log import DocumentRef
from ot_jupyter.sequencer.memory import MemoryCore
from ot_jupyter.sequencer.pen import (
    Accepted,
    Append,
    Limits,
    Load,
    Pen,
    Read,
    Rejected,
    Submission,
    Verdict,
)
from ot_jupyter.sequencer.stream import Stream, Subscription
from ot_jupyter.transforms import new_cell

DOCUMENT = {
    "cells": {"a": new_cell("code", "aaa"), "b": new_cell("code", "bbb")},
    "order": ["a", "b"],
    "metadata": {},
}
REF = DocumentRef("doc", "a.ipynb", "notebook", "epoch")


def typing(cell: str, *delta: Any) -> list[dict[str, Any]]:
    return [{"op": "edit", "path": f"/cells/{cell}/source", "delta": list(delta)}]


class Desk:
    """A pen on a log in memory, and its stream."""

    def __init__(self, core: MemoryCore) -> None:
        self.core = core
        loaded = core.load("doc")
        assert loaded is not None
        self.pen = Pen(
            loaded, Limits(), now=lambda: "now", on_entries=lambda entries: None,
            on_branch=lambda: None,
        )  # fmt: skip
        self.stream = Stream(self.pen)

    def work(self) -> None:
        work, result = self.pen.work(), None
        while True:
            try:
                request = work.send(result)
            except StopIteration:
                return
            if isinstance(request, Append):
                result = self.core.append("doc", request.head, request.entries)
            elif isinstance(request, Read):
                result = self.core.read("doc", request.since)
            elif isinstance(request, Load):
                result = self.core.load("doc")
            else:
                result = self.core.restore(request.loaded)

    def submit(self, n: int, base: Head, ops: Any, *, client: str = "k", **more: Any) -> Verdict:
        verdicts: list[Verdict] = []
        self.pen.submit(
            Submission(
                client=client, n=n, base=base, ops=ops, user="u", answer=verdicts.append, **more
            )
        )
        self.work()
        assert len(verdicts) == 1
        return verdicts[0]

    def open(self, client: ClientDocument) -> Subscription:
        """Answer what the client says to open the document."""
        message = client.outgoing()
        assert message is not None
        assert message["type"] == "open"
        known = [Head(*one) for one in message.get("known", [])]
        epoch = message.get("epoch", "")
        answer, subscription = self.stream.join(client.client, epoch, known, lambda: None)
        client.receive(orjson.loads(answer))
        return subscription

    def take(self, client: ClientDocument, subscription: Subscription) -> list[Any]:
        """Have the client hear what its place in the stream has."""
        messages = [orjson.loads(one) for one in subscription.take()]
        for message in messages:
            client.receive(message)
        return messages


@pytest.fixture
def core() -> MemoryCore:
    core = MemoryCore()
    core.create(REF, Snapshot(0, initial_hash("epoch", DOCUMENT), DOCUMENT))
    return core


@pytest.fixture
def desk(core: MemoryCore) -> Desk:
    return Desk(core)


def submit_from(desk: Desk, client: ClientDocument, subscription: Subscription) -> Verdict:
    """What the socket does with the client's next message."""
    message = client.outgoing()
    assert message is not None
    assert message["type"] == "submit"
    base = Head(message["base"], message["hash"])
    verdict = desk.submit(
        message["n"], base, message["ops"], client=client.client,
        skip=message.get("skip", False),
    )  # fmt: skip
    if isinstance(verdict, Accepted) and not verdict.repeated:
        subscription.own.add(verdict.head.rev)
    return verdict


def test_a_repeat_gets_the_same_answer(desk: Desk) -> None:
    start = desk.pen.head
    first = desk.submit(1, start, typing("a", "x"))
    again = desk.submit(1, start, typing("a", "x"))
    assert isinstance(first, Accepted)
    assert again == Accepted(first.head, repeated=True)
    assert desk.pen.head.rev == 1


def test_a_gap_is_told_and_takes_nothing(desk: Desk) -> None:
    verdict = desk.submit(3, desk.pen.head, typing("a", "x"))
    assert isinstance(verdict, Rejected)
    assert (verdict.code, verdict.taken) == ("gap", False)
    assert desk.pen.head.rev == 0


def test_skipped_numbers_are_filled_once(desk: Desk) -> None:
    start = desk.pen.head
    assert isinstance(desk.submit(3, start, typing("a", "x"), skip=True), Accepted)
    filled = desk.submit(2, start, typing("a", "y"))
    assert isinstance(filled, Accepted)
    assert desk.submit(2, start, typing("a", "y")) == Accepted(filled.head, repeated=True)
    assert isinstance(desk.submit(4, start, typing("a", "z")), Accepted)
    assert desk.pen.head.rev == 3


def test_a_refused_change_takes_its_number(desk: Desk) -> None:
    start = desk.pen.head
    verdict = desk.submit(1, start, typing("nowhere", "x"))
    assert verdict == Rejected("not_found", "there is no cell 'nowhere'", "/ops/0/path", True)
    assert [entry.ops for entry in desk.pen.window] == [[]]
    assert isinstance(desk.submit(1, start, typing("a", "x")), Accepted)  # a repeat, not an edit
    assert desk.pen.document == DOCUMENT


def test_tests_are_evaluated_at_their_place_on_every_attempt(desk: Desk, core: MemoryCore) -> None:
    """Another server is first: what held in the first attempt does not in the second."""
    other = Desk(core)
    other.submit(1, other.pen.head, typing("a", "x"), client="o")
    guarded = [{"op": "test", "path": "/cells/@a/source", "value": "aaa"}, *typing("b", "y")]
    verdict = desk.submit(1, Head(0, initial_hash("epoch", DOCUMENT)), guarded, consume=False)
    assert isinstance(verdict, Rejected)
    assert (verdict.code, verdict.pointer) == ("test_failed", "/ops/0/value")
    assert desk.pen.head.rev == 1


@pytest.mark.parametrize("base", [Head(0, "0" * 16), Head(1, "0" * 16), Head(9, "0" * 16)])
def test_a_base_is_named_by_its_hash(desk: Desk, base: Head) -> None:
    """A revision of another branch, or one that is not there yet: nothing is guessed."""
    desk.submit(1, desk.pen.head, typing("a", "x"), client="o")
    verdict = desk.submit(1, base, typing("a", "x"))
    assert isinstance(verdict, Rejected)
    assert (verdict.code, verdict.pointer, verdict.taken) == ("unknown_base", "/base", False)


def test_a_strict_submission_needs_the_head(desk: Desk) -> None:
    start = desk.pen.head
    desk.submit(1, start, typing("a", "x"), client="o")
    verdict = desk.submit(1, start, typing("b", "y"), strict=True, consume=False)
    assert isinstance(verdict, Rejected)
    assert verdict.code == "moved"


def test_a_document_that_is_too_large_only_gets_smaller(desk: Desk) -> None:
    desk.pen.limits = Limits(document_bytes=2000)
    assert isinstance(desk.submit(1, desk.pen.head, typing("a", "x" * 2000)), Accepted)
    verdict = desk.submit(2, desk.pen.head, typing("b", "y"))
    assert isinstance(verdict, Rejected)
    assert (verdict.code, verdict.taken) == ("too_large", True)
    assert isinstance(desk.submit(3, desk.pen.head, typing("a", -1900)), Accepted)
    assert isinstance(desk.submit(4, desk.pen.head, typing("b", "y")), Accepted)


def test_only_what_this_connection_made_is_reduced(desk: Desk) -> None:
    """The number was committed from a copy that the client does not know any more: it must see
    in which form."""
    client = ClientDocument("a.ipynb", "k")
    desk.open(client)
    client.edit(typing("a", 3, "mine"))
    client.outgoing()
    client.disconnected()
    subscription = desk.open(client)
    # The old copy arrives at last, in a form of its own.
    desk.submit(1, desk.pen.head, typing("b", "old"))
    verdict = submit_from(desk, client, subscription)
    assert isinstance(verdict, Accepted)
    assert verdict.repeated
    message = desk.take(client, subscription)[0]
    assert message["entries"][0]["ops"] == typing("b", "old")
    assert client.document == desk.pen.document
    assert client.document["cells"]["a"]["source"] == "aaa"


def test_a_client_takes_a_refused_change_back(desk: Desk) -> None:
    client = ClientDocument("a.ipynb", "k")
    subscription = desk.open(client)
    client.edit(typing("a", 3, "!"))
    client.outgoing()
    # The server refuses it, say for a limit of its own.
    verdict = desk.submit(1, desk.pen.head, typing("ghost", "x"))
    assert isinstance(verdict, Rejected)
    desk.take(client, subscription)
    assert not client.pending
    assert client.document == client.confirmed == desk.pen.document == DOCUMENT


def test_removed_and_brought_back_before_it_was_sent_is_nothing(desk: Desk) -> None:
    client = ClientDocument("a.ipynb", "k")
    subscription = desk.open(client)
    client.edit([{"op": "remove", "path": "/cells/a", "index": 0}])
    client.undo()
    assert client.pending[0].ops == []
    desk.submit(1, desk.pen.head, typing("a", "theirs "), client="o")
    submit_from(desk, client, subscription)
    desk.take(client, subscription)
    assert client.document == desk.pen.document
    assert client.document["cells"]["a"]["source"] == "theirs aaa"


def both(desk: Desk) -> tuple[ClientDocument, Subscription, list[Conflict]]:
    conflicts: list[Conflict] = []
    client = ClientDocument("a.ipynb", "k", events=Events(conflict=conflicts.append))
    return client, desk.open(client), conflicts


def test_what_dies_in_a_pending_removal_comes_back_by_undo(desk: Desk) -> None:
    client, subscription, _ = both(desk)
    client.edit([{"op": "remove", "path": "/cells/a", "index": 0}])
    desk.submit(1, desk.pen.head, typing("a", 3, "!"), client="o")
    desk.submit(2, desk.pen.head, [{"op": "move", "path": "/cells/a", "index": 0, "to": 1}],
                client="o")  # fmt: skip
    desk.take(client, subscription)
    client.undo()
    assert client.document["cells"]["a"]["source"] == "aaa!"
    assert client.document["order"] == ["b", "a"]


def test_text_that_loses_its_cell_is_kept_as_a_copy(desk: Desk) -> None:
    client, subscription, conflicts = both(desk)
    client.edit(typing("a", 3, " mine"))
    desk.submit(1, desk.pen.head, [{"op": "remove", "path": "/cells/a", "index": 0}], client="o")
    desk.take(client, subscription)
    assert [(one.id, one.cell["source"]) for one in conflicts] == [("a", "aaa mine")]


def test_a_run_that_was_not_sent_is_cancelled_by_a_break(desk: Desk) -> None:
    client, _, _ = both(desk)
    client.edit([*typing("a", 3, "!"), {"op": "run", "path": "/cells/a"}])
    client.disconnected()
    assert client.pending[0].ops == typing("a", 3, "!")


def test_a_new_log_that_began_with_the_file(core: MemoryCore, desk: Desk) -> None:
    """The store is gone, the file is some seconds old: what only the client has comes back, once,
    under its old numbers."""
    client, subscription, _ = both(desk)
    saved = desk.pen.document
    for text in ("1", "2", "3"):
        client.edit(typing("a", text))
        submit_from(desk, client, subscription)
        desk.take(client, subscription)
        if text == "2":
            saved = desk.pen.document
    client.edit(typing("b", "offline"))
    client.disconnected()
    again = MemoryCore()
    again.create(
        DocumentRef("doc", "a.ipynb", "notebook", "other"),
        Snapshot(0, initial_hash("other", saved), saved),
    )
    new = Desk(again)
    subscription = new.open(client)
    while client.pending:
        submit_from(new, client, subscription)
        new.take(client, subscription)
    assert client.document == new.pen.document
    assert client.document["cells"]["a"]["source"] == "321aaa"
    assert client.document["cells"]["b"]["source"] == "offlinebbb"
    assert [entry.n for entry in new.pen.window] == [3, 4]


def test_a_new_log_that_began_with_what_was_not_acknowledged(desk: Desk) -> None:
    """What was in flight was committed and saved, and then the store was deleted, before the
    client heard of it: it is there already."""
    client, subscription, _ = both(desk)
    client.edit(typing("a", "1"))
    submit_from(desk, client, subscription)
    client.edit(typing("a", "2"))
    client.disconnected()
    desk.submit(1, desk.pen.head, typing("b", "others "), client="o")
    saved = desk.pen.document
    again = MemoryCore()
    again.create(
        DocumentRef("doc", "a.ipynb", "notebook", "other"),
        Snapshot(0, initial_hash("other", saved), saved),
    )
    new = Desk(again)
    subscription = new.open(client)
    while client.pending:
        submit_from(new, client, subscription)
        new.take(client, subscription)
    assert client.document == new.pen.document
    assert client.document["cells"]["a"]["source"] == "21aaa"
    assert client.document["cells"]["b"]["source"] == "others bbb"


def _tail(desk: Desk) -> None:
    kept = desk.core.documents["doc"]
    before = MemoryCore()
    before.create(REF, Snapshot(0, initial_hash("epoch", DOCUMENT), DOCUMENT))
    before.append("doc", Head(0, initial_hash("epoch", DOCUMENT)), kept.entries[:1])
    desk.core.documents["doc"] = before.documents["doc"]


@pytest.mark.parametrize("lose", [_tail])
def test_what_the_log_lost_the_pen_has(desk: Desk, lose: Callable[[Desk], None]) -> None:
    for n in (1, 2, 3):
        desk.submit(n, desk.pen.head, typing("a", str(n)))
    head = desk.pen.head
    lose(desk)
    assert desk.core.head("doc") != head
    desk.pen.ask()
    desk.work()
    assert desk.core.head("doc") == head


# Runs, and what the server itself submits.


def run(*cells: str) -> list[dict[str, Any]]:
    return [{"op": "run", "path": f"/cells/{cell}"} for cell in cells]


def execution_of(pen: Pen, cell: str) -> dict[str, Any]:
    execution: dict[str, Any] = pen.document["cells"][cell]["execution"]
    return execution


def test_a_run_is_queued_in_the_same_step(desk: Desk) -> None:
    start = desk.pen.head
    verdict = desk.submit(1, start, typing("a", "x") + run("a", "b"))
    assert isinstance(verdict, Accepted)
    assert (verdict.head.rev, desk.pen.head.rev) == (1, 2)
    change, queued = desk.core.read("doc", 0)
    assert (queued.client, queued.n, queued.user) == ("k:run", 1, "u")
    held = execution_of(desk.pen, "a")
    assert (held["state"], held["batch"], held["user"]) == ("queued", "epoch:k:1", "u")
    assert held["run"] != execution_of(desk.pen, "b")["run"]
    again = desk.submit(1, start, change.ops)
    assert isinstance(again, Accepted)
    assert again.repeated
    assert desk.pen.head.rev == 2, "a resent request runs once"


def test_a_run_of_a_cell_that_is_queued_waits_in_it(desk: Desk) -> None:
    for n in (1, 2):
        desk.submit(n, desk.pen.head, run("a"))
    held = execution_of(desk.pen, "a")
    assert held["batch"] == "epoch:k:1"
    assert [one["batch"] for one in held["next"]] == ["epoch:k:2"]


def test_what_is_no_code_cell_is_not_queued(desk: Desk) -> None:
    write = {"op": "replace", "path": "/cells/a/cell_type", "value": "markdown"}
    desk.submit(1, desk.pen.head, [write, *run("a")])
    assert desk.pen.head.rev == 1
    assert execution_of(desk.pen, "a") == {}


def test_a_submission_expects_values(desk: Desk) -> None:
    head = desk.pen.head
    place = ("cells", "a", "source")
    refused = desk.submit(1, head, typing("b", "x"), expects=((place, "other"),))
    assert isinstance(refused, Rejected)
    assert (refused.code, refused.taken, desk.pen.head) == ("unexpected", False, head)
    missing = desk.submit(1, head, typing("b", "x"), expects=((("kernel", "owner"), "me"),))
    assert isinstance(missing, Rejected)
    accepted = desk.submit(1, head, typing("b", "x"), expects=((place, "aaa"),))
    assert isinstance(accepted, Accepted)


def test_who_waits_lets_others_go_first(desk: Desk) -> None:
    head = desk.pen.head
    verdicts: list[Verdict] = []
    turns: tuple[tuple[str, dict[str, Any]], ...] = (
        ("late", {"waits": True}), ("one", {}), ("first", {"strict": True}),
    )  # fmt: skip
    for client, more in turns:
        ops = typing("a", client)
        desk.pen.submit(
            Submission(
                client=client, n=1, base=head, ops=ops, user="u", answer=verdicts.append, **more
            )
        )
    desk.work()
    assert [entry.client for entry in desk.core.read("doc", 0)] == ["first", "one", "late"]
    assert all(isinstance(verdict, Accepted) for verdict in verdicts)


@pytest.mark.parametrize(("there", "kept"), [("aaa", ["newaaa"]), ("b newaaa", [])])
def test_what_was_sent_and_is_nowhere_is_kept(there: str, kept: list[str]) -> None:
    """The log has the change, but its cell had been removed then, and was brought back later."""
    conflicts: list[Conflict] = []
    client = ClientDocument("a.ipynb", "k", Events(conflict=conflicts.append))
    opened = {
        "type": "opened", "doc": "d", "kind": "notebook", "path": "a.ipynb", "epoch": "e",
        "rev": 0, "hash": "h0", "since": 0, "entries": [], "n": 0, "document": DOCUMENT,
    }  # fmt: skip
    client.outgoing()
    client.receive(opened)
    client.edit(typing("a", "new"))
    client.outgoing()
    client.disconnected()
    client.outgoing()
    cells = {**DOCUMENT["cells"], "a": new_cell("code", there)}
    client.receive(
        {**opened, "rev": 9, "hash": "h9", "since": 9, "n": 1,
         "document": {**DOCUMENT, "cells": cells}}
    )  # fmt: skip
    assert [one.cell["source"] for one in conflicts] == kept
    assert client.document["cells"]["a"]["source"] == there
