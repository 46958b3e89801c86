"""People who edit one document through the real client, and what must be true of it afterwards.

Every insert is one unique character, a *mark*, so that lost and doubled text can be counted.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from typing import Any

from ot_jupyter.client import Connection, Document, connect
from tests.server_process import ServerProcess

FIRST_MARK = 0xF0000
_marks = count(FIRST_MARK)


def new_mark() -> str:
    """A character that nobody typed before."""
    return chr(next(_marks))


def marks_in(cells: Iterable[dict[str, Any]]) -> Counter[str]:
    """How often each mark stands in the cells."""
    found: Counter[str] = Counter()
    for cell in cells:
        found.update(char for char in cell["source"] if ord(char) >= FIRST_MARK)
    return found


class Person:
    """Somebody with a client of his own, who moves from server to server."""

    def __init__(self, name: str, seed: str, servers: Sequence[ServerProcess], path: str) -> None:
        self.name = name
        self.rng = random.Random(f"{seed} {name}")
        self.servers = servers
        self.path = path
        self.typed: dict[str, str] = {}  # mark: cell
        self.gone: set[str] = set()  # marks that he took away, or whose cell he removed
        self.connection: Connection | None = None
        self.document: Document | None = None

    @property
    def doc(self) -> Document:
        assert self.document is not None
        return self.document

    async def arrive(self) -> None:
        """Connect to one of the servers and open the document."""
        server = self.rng.choice(self.servers)
        self.connection = await connect(server.url, server.token).__aenter__()
        self.document = await self.connection.open(self.path)

    def cut(self) -> None:
        """The connection breaks, and the client gets a new one."""
        assert self.connection is not None
        self.connection.reconnect("the test cut it")

    async def leave(self) -> None:
        if self.connection is not None:
            await self.connection.__aexit__(None, None, None)

    def type(self, cell_id: str, text: str = "") -> str:
        """Type marks somewhere into a cell; returns them."""
        text = text or "".join(new_mark() for _ in range(self.rng.choice([1, 1, 2, 3])))
        cell = self.doc.cells[cell_id]
        cell.edit(self.rng.randint(0, len(cell.source)), insert=text)
        for mark in text:
            self.typed[mark] = cell_id
        return text

    def act(self) -> None:
        """Do something that people do."""
        before = marks_in(self.doc.notebook()["cells"])
        self._act()
        after = marks_in(self.doc.notebook()["cells"])
        self.gone |= set(before) - set(after)

    def _act(self) -> None:
        rng, cells = self.rng, self.doc.cells
        dice = rng.random()
        if len(cells) < 2 or dice < 0.08:
            mark = new_mark()
            cell = self.doc.insert(rng.randint(0, len(cells)), mark)
            self.typed[mark] = cell.id
            return
        cell = cells[rng.randrange(len(cells))]
        if dice < 0.55:
            self.type(cell.id)
        elif dice < 0.65:
            if cell.source:
                at = rng.randrange(len(cell.source))
                cell.edit(at, delete=min(2, len(cell.source) - at))
        elif dice < 0.77:
            cell.move(rng.randrange(len(cells)))
        elif dice < 0.82:
            cell.set_type(rng.choice(["code", "markdown", "raw"]))
        elif dice < 0.86:
            cell.delete()
        elif dice < 0.94:
            self.doc.undo()
        else:
            self.doc.redo()


@asynccontextmanager
async def group(
    count: int, servers: Sequence[ServerProcess], path: str, seed: str
) -> AsyncIterator[list[Person]]:
    """So many people at one document."""
    people = [Person(f"p{index}", seed, servers, path) for index in range(count)]
    try:
        for person in people:
            await person.arrive()
        yield people
    finally:
        for person in people:
            await person.leave()


@asynccontextmanager
async def typing(people: Sequence[Person], pause: float = 0.05) -> AsyncIterator[None]:
    """Everybody types all the time, into any cell, about every ``pause`` seconds."""
    done = asyncio.Event()

    async def go_on(person: Person) -> None:
        while not done.is_set():
            if person.doc.cells:
                person.type(person.rng.choice(list(person.doc.cells)).id)
            await asyncio.sleep(person.rng.uniform(0.5, 1.5) * pause)

    tasks = [asyncio.ensure_future(go_on(person)) for person in people]
    try:
        yield
    finally:
        done.set()
        await asyncio.gather(*tasks)


def _has_seen(rev: int, doc: Document) -> bool:
    return doc.rev >= rev


async def everybody_at_rest(people: Sequence[Person], seconds: float = 60.0) -> None:
    """Wait until nothing is pending and all have seen the same revision."""

    async def rest() -> None:
        while True:
            for person in people:
                await person.doc.acknowledged()
            newest = max(person.doc.rev for person in people)
            for person in people:
                await person.doc.until(partial(_has_seen, newest))
            heads = {person.doc.head for person in people}
            if len(heads) == 1 and not any(person.doc.unsaved for person in people):
                return

    await asyncio.wait_for(rest(), seconds)


def check_alike(people: Sequence[Person]) -> dict[str, Any]:
    """All hold one document, no cell twice; returns it as a notebook."""
    first = people[0].doc
    for person in people[1:]:
        assert person.doc.content == first.content, f"{person.name} holds another document"
    content: Any = first.content
    assert sorted(content["order"]) == sorted(content["cells"])
    return first.notebook()


def check_marks(people: Sequence[Person], notebook: dict[str, Any]) -> None:
    """Every mark is there once, unless somebody took it away; and nothing is there that nobody
    typed. A mark whose cell was removed is in its author's conflict copies, or was there before."""
    found = marks_in(notebook["cells"])
    gone: set[str] = set().union(*(person.gone for person in people))
    ids = {cell["id"] for cell in notebook["cells"]}
    typed: set[str] = set()
    for person in people:
        typed |= set(person.typed)
        for mark, cell in person.typed.items():
            if found[mark] == 0:
                kept = any(mark in one.cell["source"] for one in person.doc.conflicts)
                why = f"lost: {ord(mark):x} of {person.name}"
                assert mark in gone or cell not in ids or kept, why
            elif mark not in gone:
                assert found[mark] == 1, f"doubled: {ord(mark):x} of {person.name}"
    assert set(found) <= typed
