"""Other programs that read and write the file of a document, and what must be true afterwards.

What they write are marks, too (see ``people.py``): what was typed and what was written outside
can be counted, and told from what others took away.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

import nbformat

from ot_jupyter.client import Document
from ot_jupyter.sequencer.files import detached
from ot_jupyter.sequencer.projection import project
from ot_jupyter.transforms import Refused
from ot_jupyter.transforms.notebook import read_notebook
from tests.people import Person, check_alike, everybody_at_rest, marks_in
from tests.server_process import ServerProcess

Edit = Callable[[Any], None]


def quick(save: float = 0.1, longest: float = 0.5, content: float = 0.3) -> tuple[str, ...]:
    """Options of a server that saves and looks often. Seconds."""
    return (
        f"--OtJupyter.save_delay={save}",
        f"--OtJupyter.save_longest={longest}",
        "--OtJupyter.look_interval=0.2",
        f"--OtJupyter.content_interval={content}",
    )


def write(path: Path, *sources: str) -> None:
    """A notebook of format 4.5 with the cells ``c0``, ``c1``, …"""
    cells = [nbformat.v4.new_code_cell(source, id=f"c{i}") for i, source in enumerate(sources)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


def sources(path: Path) -> list[str]:
    return [cell.source for cell in nbformat.read(path, as_version=4).cells]


def file_marks(path: Path) -> set[str]:
    """The marks that are in the file."""
    return file_marks_of(path.read_bytes())


def file_marks_of(data: bytes) -> set[str]:
    return set(marks_in(read_notebook(data)["cells"].values()))


def stat_of(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino


async def until(
    condition: Callable[[], bool], seconds: float = 30.0, *, pause: float = 0.02
) -> None:
    end = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < end, "it does not come to be"
        await asyncio.sleep(pause)


def edited(path: Path, edit: Edit) -> bytes:
    """The file's JSON after an edit."""
    notebook = json.loads(path.read_bytes(), object_hook=nbformat.NotebookNode)
    for cell in notebook.cells:
        cell.source = "".join(cell.source)
    edit(notebook)
    return json.dumps(notebook, indent=1).encode()


def change(path: Path, edit: Edit) -> set[str]:
    """What a program does that reads the file, edits it and writes it back, all in one step.
    Returns the marks that it took away."""
    temporary = path.with_name("temporary")
    while True:
        before, had = path.stat(), file_marks(path)
        temporary.write_bytes(edited(path, edit))
        if path.stat() == before:  # else it was saved since, and this would be of yesterday
            took = had - file_marks(temporary)
            os.replace(temporary, path)
            return took


@dataclass
class Ledger:
    """What others wrote, and what they took away."""

    written: set[str] = field(default_factory=set)
    taken: set[str] = field(default_factory=set)

    def replaced(self, before: set[str], after: set[str]) -> None:
        """What was in a file, and what is there in its place."""
        self.written |= after
        self.taken = (self.taken | (before - after)) - after


async def at_rest(people: Sequence[Person], path: Path, seconds: float = 60.0) -> dict[str, Any]:
    """Wait until all hold the same, and so does the file. Returns the notebook."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    same = 0
    while same < 3:  # a change of the file that nobody has seen yet would make a difference
        await everybody_at_rest(people, seconds)
        held = [project(person.doc.content) for person in people]
        alike = all(one == _on_disk(path) for one in held)
        same = same + 1 if alike else 0
        if loop.time() > end:
            check_alike(people)
            assert _on_disk(path) == held[0], "the file does not follow"
        await asyncio.sleep(0.15)
    return check_alike(people)


def _on_disk(path: Path) -> Any:
    try:
        return detached(read_notebook(path.read_bytes()))[0]
    except (OSError, Refused) as error:
        return str(error)


def check_kept(
    people: Sequence[Person],
    notebook: dict[str, Any],
    ledger: Ledger,
    unsure: Collection[str] = (),
) -> None:
    """All that was typed and written is there once, all that was taken away is not. What was on
    its way into a cell that others removed may be in its author's conflict copies. Of what is
    ``unsure`` nobody knows whether it was taken away."""
    found = marks_in(notebook["cells"])
    copies = marks_in(copy.cell for person in people for copy in person.doc.conflicts)
    typed: set[str] = set().union(*(person.typed for person in people))
    every = typed | ledger.written
    assert set(found) <= every
    doubled = {mark for mark in every if found[mark] > 1}
    assert not doubled, f"doubled: {_names(doubled)}"
    sure = every - set(unsure)
    lost = {mark for mark in sure - ledger.taken if not found[mark] and not copies[mark]}
    assert not lost, f"lost: typed {_names(lost & typed)}, written {_names(lost - typed)}"
    back = {mark for mark in ledger.taken & sure if found[mark]}
    assert not back, f"back again: typed {_names(back & typed)}, written {_names(back - typed)}"


def _names(marks: Iterable[str]) -> list[str]:
    return sorted(f"{ord(mark):x}" for mark in marks)


def read(server: ServerProcess, url: str) -> str:
    with urlopen(Request(url, headers=server.headers)) as answer:
        return str(answer.read().decode())


async def file_entries(server: ServerProcess, doc: Document) -> list[dict[str, Any]]:
    """The entries by which changes of the file came into the log."""
    url = f"{server.url}/api/ot/entries/{quote(doc.path)}?since=0&limit=100000"
    entries = json.loads(await asyncio.to_thread(read, server, url))["entries"]
    return [entry for entry in entries if entry["client"].startswith("file:")]
