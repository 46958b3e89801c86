"""What other programs and the disk itself do to a file while people type: real processes, a real
disk. Nothing typed is lost, nothing written outside is lost, nothing is doubled."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import re
import resource
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from pathlib import Path
from time import monotonic
from typing import Any

import nbformat
import pytest

from ot_jupyter.client import Document, connect
from ot_jupyter.sequencer.files import detached
from ot_jupyter.sequencer.projection import project
from ot_jupyter.transforms.notebook import read_notebook
from tests.outside import (
    Ledger,
    at_rest,
    change,
    check_kept,
    edited,
    file_entries,
    file_marks,
    file_marks_of,
    quick,
    sources,
    stat_of,
    until,
    write,
)
from tests.people import group, marks_in, new_mark, typing
from tests.redis_server import RedisServer
from tests.server_process import ServerProcess


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("disk"), extra=quick()) as server:
        yield server


@pytest.fixture(scope="module")
def redis_pair(
    tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer
) -> Iterator[list[ServerProcess]]:
    """Two servers on one folder and one Redis."""
    root, store = tmp_path_factory.mktemp("redis"), redis_server.url
    with (
        ServerProcess(root, store, extra=quick()) as one,
        ServerProcess(root, store, extra=quick()) as two,
    ):
        yield [one, two]


@asynccontextmanager
async def running(server: ServerProcess) -> AsyncIterator[ServerProcess]:
    """Start and stop it while the test's own loop runs on."""
    try:
        yield await asyncio.to_thread(server.start)
    finally:
        await asyncio.to_thread(server.__exit__, None, None, None)


def overwrite(path: Path, data: bytes) -> None:
    """Write into the file that is there, as most programs do."""
    with path.open("r+b") as file:
        file.write(data)
        file.truncate()


# One change outside.


async def test_a_change_that_only_the_content_tells_of(server: ServerProcess) -> None:
    """Same length, same nanosecond, same inode."""
    path = server.root / "same-length.ipynb"
    write(path, "a = 1", "b = 2")
    async with connect(server.url, server.token) as jupyter:
        doc = await jupyter.open(path.name)
        before = stat_of(path)
        overwrite(path, path.read_bytes().replace(b"b = 2", b"b = 7"))
        os.utime(path, ns=(before[0], before[0]))
        assert stat_of(path) == before
        await doc.until(lambda doc: doc.cells["c1"].source == "b = 7")
        doc.cells["c0"].append("  # typed")
        await until(lambda: sources(path) == ["a = 1  # typed", "b = 7"])


def _other_cells(notebook: Any, mark: str, rng: random.Random) -> None:
    notebook.cells.append(nbformat.v4.new_code_cell(mark, id=f"o{ord(mark):x}"))


def _same_cell(notebook: Any, mark: str, rng: random.Random) -> None:
    """Text goes into the midst of a cell, and some goes out of it."""
    source = notebook.cells[0].source
    at = rng.randint(0, len(source))
    notebook.cells[0].source = source[:at] + mark + source[at + rng.choice([0, 1, 3]) :]


def _reordered(notebook: Any, mark: str, rng: random.Random) -> None:
    rng.shuffle(notebook.cells)
    rng.choice(notebook.cells).source += mark


def _formatted(notebook: Any, mark: str, rng: random.Random) -> None:
    """As black does: no source stays as it was."""
    for cell in notebook.cells:
        lines = [line.rstrip() for line in cell.source.replace("'", '"').splitlines()]
        text = "\n".join(re.sub(r"\s*=\s*", " = ", line) for line in lines if line)
        cell.source = text.replace("(", "(\n    ").replace(")", ",\n)") + "\n"
    rng.choice(notebook.cells).source += f"# {mark}\n"


def _stripped(notebook: Any, mark: str, rng: random.Random) -> None:
    notebook.cells[1].source += mark
    notebook.nbformat_minor = 4
    for cell in notebook.cells:
        cell.pop("id", None)


def _doubled(notebook: Any, mark: str, rng: random.Random) -> None:
    notebook.cells[1].source += mark
    for cell in notebook.cells:
        cell.id = "c0"


@pytest.mark.parametrize(
    "edit", [_other_cells, _same_cell, _reordered, _formatted, _stripped, _doubled]
)
async def test_others_write_while_people_type(
    server: ServerProcess, edit: Callable[[Any, str, random.Random], None]
) -> None:
    path = server.root / f"others{edit.__name__}.ipynb"
    write(path, "x='one'\ny='two'", "f(x=1)\n\n\n", "def g(a):\n    return 'a'   ")
    rng, ledger = random.Random(edit.__name__), Ledger()
    async with group(3, [server], path.name, edit.__name__) as people:
        doc = people[0].doc
        async with typing(people):
            for _ in range(4):
                await asyncio.sleep(rng.uniform(0.1, 0.6))
                mark = new_mark()
                took = change(path, lambda notebook, mark=mark: edit(notebook, mark, rng))
                ledger.written.add(mark)
                ledger.taken |= took
                await doc.until(lambda doc, mark=mark: mark in marks_of(doc))
        order = [cell.id for cell in doc.cells]
        notebook = await at_rest(people, path)
        check_kept(people, notebook, ledger)
        entries = await file_entries(server, doc)
        assert len(entries) == 4
        assert {entry["user"] for entry in entries} == {"file"}
        assert [cell["id"] for cell in notebook["cells"]] == order
        assert {"c0", "c1", "c2"} <= set(order)
        if edit is not _other_cells:
            assert len(order) == 3
        if edit is _formatted:
            assert "'" not in "".join(cell["source"] for cell in notebook["cells"])


def marks_of(doc: Document) -> set[str]:
    return set(marks_in(doc.notebook()["cells"]))


# Checkouts.


class Repository:
    """A git repository with one notebook in it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.path = folder / "a.ipynb"
        self._git("init", "-q")

    def _command(self, *arguments: str) -> list[str]:
        settings = ("-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "gc.auto=0")
        return ["git", "-C", str(self.path.parent), *settings, *arguments]

    def _git(self, *arguments: str, data: bytes = b"") -> str:
        done = subprocess.run(
            self._command(*arguments), input=data, stdout=subprocess.PIPE, check=True
        )
        return done.stdout.decode().strip()

    def commit(self, data: bytes) -> str:
        """A commit of some content, whatever is in the file."""
        blob = self._git("hash-object", "-w", "--stdin", data=data)
        tree = self._git("mktree", data=f"100644 blob {blob}\ta.ipynb\n".encode())
        return self._git("commit-tree", tree, "-m", "one")

    def content(self, commit: str) -> Any:
        return read_notebook(self._git("show", f"{commit}:a.ipynb").encode())

    async def checkout(self, commit: str) -> None:
        command = self._command("checkout", "-q", "--force", commit)
        assert await (await asyncio.create_subprocess_exec(*command)).wait() == 0


async def test_git_checkout_of_older_commits_and_back_while_people_type(
    server: ServerProcess,
) -> None:
    repository = Repository(server.root / "repository")
    path, rng, ledger = repository.path, random.Random("git"), Ledger()
    write(path, "a = 1\n", "b = 2\n", "c = 3\n")
    commits = [repository.commit(path.read_bytes())]
    merged, perhaps, unsure = 0, 0, set[str]()
    async with group(3, [server], "repository/a.ipynb", "git") as people:
        async with typing(people):
            for number in range(10):
                before = stat_of(path)
                await until(lambda before=before: is_another(path, before))  # it was saved since
                await asyncio.sleep(rng.uniform(0, 0.4))
                # Held, the server does not save between our look and the checkout: it is known
                # what was in the file. Not held, it is not known of the newest text.
                held = number % 2 == 1
                with server.held() if held else nullcontext():
                    data = path.read_bytes()
                    if number % 3 == 0:  # a save of ours becomes a commit
                        commits.append(repository.commit(data))
                    elif number % 3 == 1:  # others commit what they wrote
                        mark = new_mark()
                        data = edited(path, lambda book, mark=mark: _other_cells(book, mark, rng))
                        commits.append(repository.commit(data))
                    found = read_notebook(path.read_bytes())
                    commit = rng.choice(commits)
                    await repository.checkout(commit)
                    wanted = repository.content(commit)
                had, has = marks_in_document(found), marks_in_document(wanted)
                ledger.replaced(had, has)
                merged += wanted != found
                if not held:
                    perhaps += wanted == found
                    unsure |= marks_of(people[0].doc) - had
        notebook = await at_rest(people, path)
        check_kept(people, notebook, ledger, unsure)
        entries = await file_entries(server, people[0].doc)
        assert merged <= len(entries) <= merged + perhaps
        assert merged > 4


def marks_in_document(document: Any) -> set[str]:
    return set(marks_in(document["cells"].values()))


def is_another(path: Path, before: tuple[int, int, int]) -> bool:
    return path.exists() and stat_of(path) != before


# Gone, and back.


@pytest.mark.parametrize(("seconds", "edit"), [(0.7, None), (4.0, None), (4.0, _same_cell)])
async def test_deleted_and_back_while_people_type(
    server: ServerProcess,
    tmp_path: Path,
    seconds: float,
    edit: Callable[[Any, str, random.Random], None] | None,
) -> None:
    path = server.root / f"deleted-{seconds}-{edit is None}.ipynb"
    write(path, "a = 1", "b = 2")
    away, rng, ledger = tmp_path / "away", random.Random(path.name), Ledger()
    async with group(3, [server], path.name, path.name) as people:
        doc = people[0].doc
        async with typing(people):
            await until(lambda: len(file_marks(path)) > 5)
            path.rename(away)
            end = monotonic() + seconds
            while monotonic() < end:
                assert not path.exists()
                await asyncio.sleep(0.01)
            if seconds > 2:
                await doc.until(lambda doc: doc.file_problem is not None)
                assert "deleted" in str(doc.file_problem)
                assert not path.exists()
            if edit is not None:
                had, mark = file_marks(away), new_mark()
                away.write_bytes(edited(away, lambda book: edit(book, mark, rng)))
                ledger.replaced(had, file_marks(away))
            away.rename(path)
            await doc.until(lambda doc: doc.file_problem is None)
        check_kept(people, await at_rest(people, path), ledger)
        assert len(await file_entries(server, doc)) == (edit is not None)


async def test_a_folder_that_vanishes_and_comes_back(server: ServerProcess, tmp_path: Path) -> None:
    folder, away = server.root / "folder", tmp_path / "away"
    folder.mkdir()
    path = folder / "a.ipynb"
    write(path, "a = 1")
    async with group(2, [server], "folder/a.ipynb", "folder") as people:
        doc = people[0].doc
        async with typing(people):
            await until(lambda: len(file_marks(path)) > 5)
            folder.rename(away)
            await doc.until(lambda doc: doc.file_problem is not None)
            assert not folder.exists()
            away.rename(folder)
            await doc.until(lambda doc: doc.file_problem is None)
        check_kept(people, await at_rest(people, path), Ledger())


# Nothing new.


def _touched(path: Path) -> None:
    os.utime(path)


def _written_again(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.replace(other, path)


def _indented(path: Path) -> None:
    overwrite(path, json.dumps(json.loads(path.read_bytes()), indent=4).encode())


@pytest.mark.parametrize("act", [_touched, _written_again, _indented])
async def test_equal_content_is_no_change_and_is_not_rewritten(
    server: ServerProcess, act: Callable[[Path], None]
) -> None:
    path = server.root / f"equal{act.__name__}.ipynb"
    write(path, "a = 1")
    async with connect(server.url, server.token) as jupyter:
        doc = await jupyter.open(path.name)
        doc.cells[0].append("  # typed")
        await until(lambda: sources(path) == ["a = 1  # typed"])
        await doc.flush()
        act(path)
        left, data = stat_of(path), path.read_bytes()
        await asyncio.sleep(1.5)
        assert (stat_of(path), path.read_bytes(), doc.rev) == (left, data, 1)
        doc.cells[0].append(" more")
        await until(lambda: sources(path) == ["a = 1  # typed more"])
        assert not await file_entries(server, doc)


# A server that is away, or stands still.


async def test_changed_while_the_server_was_down(tmp_path: Path) -> None:
    path, ledger = tmp_path / "a.ipynb", Ledger()
    write(path, "a = 1", "b = 2")
    async with (
        running(ServerProcess(tmp_path, extra=quick(30, 30, content=30))) as server,
        group(2, [server], path.name, "down") as people,
    ):
        async with typing(people):
            await asyncio.sleep(0.5)
        for person in people:
            await person.doc.acknowledged()
        assert not file_marks(path)  # all that is typed is in the log, nothing in the file
        await asyncio.to_thread(server.kill)
        async with typing(people):
            mark, rng = new_mark(), random.Random("down")
            change(path, lambda notebook: _reordered(notebook, mark, rng))
            ledger.written.add(mark)
            await asyncio.to_thread(server.start)
            await people[0].doc.until(lambda doc: mark in marks_of(doc))
        for person in people:
            await person.doc.acknowledged()
        await people[0].doc.flush()
        check_kept(people, await at_rest(people, path), ledger)
        assert len(await file_entries(server, people[0].doc)) == 1


async def test_changed_while_the_server_was_stopped(server: ServerProcess) -> None:
    path, rng, ledger = server.root / "stopped.ipynb", random.Random("stopped"), Ledger()
    write(path, "a = 1", "b = 2", "c = 3")
    async with group(3, [server], path.name, "stopped") as people:
        async with typing(people):
            for seconds in (0.3, 3.0, 0.1, 0.5):
                await asyncio.sleep(rng.uniform(0.3, 0.8))
                with server.held():
                    mark = new_mark()
                    ledger.taken |= change(
                        path, lambda book, mark=mark: _same_cell(book, mark, rng)
                    )
                    ledger.written.add(mark)
                    await asyncio.sleep(seconds)
                await people[0].doc.until(lambda doc, mark=mark: mark in marks_of(doc))
        check_kept(people, await at_rest(people, path), ledger)
        assert len(await file_entries(server, people[0].doc)) == 4


def staged_in(folder: Path) -> set[str]:
    """What servers have written beside a file, to exchange it."""
    return {one.name for one in folder.iterdir() if one.name.startswith(".~")}


async def in_the_midst_of_a_save(folder: Path, rng: random.Random) -> None:
    """Return when a server is about to save, or has just done it."""
    before = staged_in(folder)
    with suppress(AssertionError):
        await until(lambda: bool(staged_in(folder) - before), 10.0, pause=0.001)
    await asyncio.sleep(rng.choice([0.0, 0.0, 0.002, 0.01, 0.03]))


async def test_killed_in_the_midst_of_saving_twenty_times(tmp_path: Path) -> None:
    path, rng, ledger = tmp_path / "a.ipynb", random.Random("killed"), Ledger()
    write(path, "a = 1", "b = 2", "c = 3")
    overwrite(path, edited(path, lambda notebook: _print(notebook.cells[0], 500_000)))
    async with (
        running(ServerProcess(tmp_path, extra=quick(0.05, 0.1))) as server,
        group(3, [server], path.name, "killed") as people,
    ):
        async with typing(people):
            for _ in range(20):
                await asyncio.sleep(rng.uniform(0.1, 0.4))
                await in_the_midst_of_a_save(tmp_path, rng)
                await asyncio.to_thread(server.kill)
                mark = new_mark()
                ledger.taken |= change(path, lambda book, mark=mark: _same_cell(book, mark, rng))
                ledger.written.add(mark)
                await asyncio.to_thread(server.start)
                for person in people:
                    person.cut()  # and not only when it tries again by itself
        # Whether a save was made before the crash is guessed by what others made of the file,
        # so what they took away in that very moment may stay.
        check_kept(people, await at_rest(people, path), ledger, unsure=ledger.taken)
        assert len(await file_entries(server, people[0].doc)) > 10


def _print(cell: Any, size: int) -> None:
    """Give a cell an output of so many bytes."""
    lines = "".join(f"{number:015}\n" for number in range(size // 16))
    cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=lines)]


# Two servers on one folder.


READER = """
import json, pathlib, sys, time
path, stop = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
while not stop.exists():
    json.loads(path.read_bytes())
    time.sleep(0.001)
"""


@asynccontextmanager
async def another_program_reads(path: Path, stop: Path) -> AsyncIterator[None]:
    """All the time, and never sees half of the file."""
    reader = await asyncio.create_subprocess_exec(sys.executable, "-c", READER, path, stop)
    try:
        yield
    finally:
        stop.touch()
        assert await reader.wait() == 0


async def two_servers(
    servers: Sequence[ServerProcess], name: str, stop: Path, *, presence: bool = False
) -> None:
    root = servers[0].root
    path, rng, ledger = root / "two.ipynb", random.Random(name), Ledger()
    write(path, "a = 1", "b = 2", "c = 3")
    edits = [_same_cell, _reordered, _other_cells]
    async with (
        group(2, servers[:1], path.name, f"{name} 1") as here,
        group(2, servers[1:], path.name, f"{name} 2") as there,
        another_program_reads(path, stop),
    ):
        people = [*here, *there]
        async with typing(people):
            for seconds in (0.5, 3.0, 0.5, 12.0):
                await asyncio.sleep(rng.uniform(0.2, 0.6))
                await in_the_midst_of_a_save(root, rng)
                with rng.choice(servers).held():
                    for edit in edits:
                        await asyncio.sleep(seconds / len(edits))
                        mark = new_mark()
                        ledger.taken |= change(path, lambda book, e=edit, m=mark: e(book, m, rng))
                        ledger.written.add(mark)
        check_kept(people, await at_rest(people, path), ledger)
        assert await file_entries(servers[0], people[0].doc)
        if presence:
            here[0].doc.set_presence(cell="c0", anchor=1, head=1)
            await there[0].doc.until(lambda doc: bool(doc.presence))
    await until(lambda: not staged_in(root))
    assert not list(root.glob("*displaced*"))


async def test_two_servers_on_one_sqlite_file(server: ServerProcess, tmp_path: Path) -> None:
    """Not meant to be, but it happens."""
    async with running(ServerProcess(server.root, extra=quick())) as second:
        await two_servers([server, second], "sqlite", tmp_path / "stop")


async def test_two_servers_on_one_redis(redis_pair: list[ServerProcess], tmp_path: Path) -> None:
    await two_servers(redis_pair, "redis", tmp_path / "stop", presence=True)


# What can't be read, or not be written.


def _half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _empty(data: bytes) -> bytes:
    return b""


def _binary(data: bytes) -> bytes:
    return bytes(range(256)) * 8


def _in_conflict(data: bytes) -> bytes:
    lines = data.splitlines(keepends=True)
    middle = len(lines) // 2
    ours, theirs = b"<<<<<<< HEAD\n", b"=======\n   other\n>>>>>>> theirs\n"
    return b"".join([*lines[:middle], ours, lines[middle], theirs, *lines[middle + 1 :]])


async def test_a_broken_file_is_never_saved_over(server: ServerProcess) -> None:
    """Each in a way of its own, at the same time."""
    await asyncio.gather(*(_break(server, how) for how in (_half, _empty, _binary, _in_conflict)))


async def _break(server: ServerProcess, how: Callable[[bytes], bytes]) -> None:
    path = server.root / f"broken{how.__name__}.ipynb"
    rng, ledger = random.Random(path.name), Ledger()
    write(path, "a = 1", "b = 2")
    async with group(2, [server], path.name, path.name) as people:
        doc = people[0].doc
        async with typing(people, 0.1):
            await until(lambda: len(file_marks(path)) > 5)
            with server.held():  # a save may be under way
                data = path.read_bytes()
                broken = how(data)
                overwrite(path, broken)
            await doc.until(lambda doc: doc.file_problem is not None)
            assert "can't be read" in str(doc.file_problem)
            end = monotonic() + 1.0
            while monotonic() < end:
                assert path.read_bytes() == broken
                await asyncio.sleep(0.01)
            had, mark = file_marks_of(data), new_mark()
            overwrite(path, data)  # in two steps, as people do
            overwrite(path, edited(path, lambda notebook: _same_cell(notebook, mark, rng)))
            ledger.replaced(had, file_marks(path))
            await doc.until(lambda doc: doc.file_problem is None and mark in marks_of(doc))
        check_kept(people, await at_rest(people, path), ledger)


async def test_a_read_only_file(server: ServerProcess) -> None:
    path = server.root / "read-only.ipynb"
    write(path, "a = 1")
    async with group(2, [server], path.name, "read-only") as people:
        doc = people[0].doc
        async with typing(people, 0.1):
            path.chmod(0o444)
            await doc.until(lambda doc: doc.file_problem is not None)
            assert "read-only" in str(doc.file_problem)
            left = path.read_bytes()
            await asyncio.sleep(1.0)
            assert path.read_bytes() == left
            path.chmod(0o644)
            await doc.until(lambda doc: doc.file_problem is None)
        check_kept(people, await at_rest(people, path), Ledger())
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@contextmanager
def full_disk(server: ServerProcess, room: int) -> Iterator[None]:
    """No file of the server can get bigger than this: writing fails as on a full disk."""
    _, hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (hard, hard))


async def test_a_full_disk(redis_pair: list[ServerProcess]) -> None:
    server = redis_pair[0]
    path = server.root / "full.ipynb"
    write(path, "a = 1", "b = 2")
    path.write_bytes(edited(path, lambda notebook: _print(notebook.cells[0], 3_000_000)))
    async with group(2, [server], path.name, "full") as people:
        doc = people[0].doc
        async with typing(people, 0.1):
            await until(lambda: len(file_marks(path)) > 5)
            with full_disk(server, 1_000_000):
                await doc.until(lambda doc: doc.file_problem is not None)
                assert "too large" in str(doc.file_problem)
                left = stat_of(path)
                await asyncio.sleep(1.0)
                mark = people[1].type("c1")[0]
                await doc.until(lambda doc: mark in marks_of(doc))  # typing goes on
                assert stat_of(path) == left
                assert not staged_in(server.root)
            await doc.until(lambda doc: doc.file_problem is None)
        check_kept(people, await at_rest(people, path), Ledger())


# Links and modes.


async def test_a_symbolic_link_and_the_mode_stay(server: ServerProcess) -> None:
    real, link = server.root / "real.ipynb", server.root / "link.ipynb"
    write(real, "a = 1")
    real.chmod(0o640)
    link.symlink_to(real)
    async with connect(server.url, server.token) as jupyter:
        doc = await jupyter.open(link.name)
        doc.cells[0].append("  # typed")
        await until(lambda: sources(real) == ["a = 1  # typed"])
        overwrite(link, edited(link, lambda notebook: notebook.cells[0].update(source="a = 2")))
        await until(lambda: doc.cells[0].source == "a = 2")
        doc.cells[0].append("  # typed")
        await until(lambda: sources(real) == ["a = 2  # typed"])
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert not staged_in(server.root)


async def test_a_hard_link_is_cut_by_a_save(server: ServerProcess) -> None:
    path, other = server.root / "hard.ipynb", server.root / "other.ipynb"
    write(path, "a = 1")
    os.link(path, other)
    async with connect(server.url, server.token) as jupyter:
        doc = await jupyter.open(path.name)
        overwrite(other, edited(other, lambda notebook: notebook.cells[0].update(source="a = 2")))
        await until(lambda: doc.cells[0].source == "a = 2")
        doc.cells[0].append("  # typed")
        await until(lambda: sources(path) == ["a = 2  # typed"])
        assert sources(other) == ["a = 2"]
        assert not path.samefile(other)


# A big one.


async def test_a_notebook_of_50_mb_and_a_small_one_beside_it(
    server: ServerProcess, tmp_path: Path
) -> None:
    path, small_path = server.root / "big.ipynb", server.root / "small.ipynb"
    write(path, *(f"x = {number}" for number in range(10)))
    path.write_bytes(edited(path, _with_pictures))
    assert path.stat().st_size > 50_000_000
    write(small_path, "a")
    async with connect(server.url, server.token) as one, connect(server.url, server.token) as two:
        doc, small = await one.open(path.name), await two.open(small_path.name)
        assert doc.cells[9].outputs[0]["blobs"]["image/png"]["size"] > 5_000_000
        new, mark = tmp_path / "new", new_mark()
        new.write_bytes(edited(path, lambda book: book.cells[9].update(source=f"x = 99{mark}")))
        doc.cells["c0"].append("  # typed")
        doc.cells["c9"].append("  # typed")
        new.rename(path)
        before, beside = stat_of(path), 0
        while stat_of(path) == before:
            saving = bool(staged_in(server.root))
            small.cells[0].append("b")
            await small.acknowledged()
            beside += saving and stat_of(path) == before
            await asyncio.sleep(0.001)
        assert beside, "nothing was acknowledged while the big one was saved"
        assert doc.cells["c0"].source == "x = 0  # typed"
        assert doc.cells["c9"].source == f"x = 99{mark}  # typed"
        assert detached(read_notebook(path.read_bytes()))[0] == project(doc.content)
        await until(lambda: sources(small_path) == [small.cells[0].source])


def _with_pictures(notebook: Any) -> None:
    for cell in notebook.cells:
        picture = {
            "image/png": base64.b64encode(random.Random(cell.id).randbytes(3_900_000)).decode()
        }
        cell.outputs = [nbformat.v4.new_output("display_data", data=picture)]


# Other managers, and hooks.


async def test_jupytext_with_a_script_alone(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text("# %%\nx = 1\n\n# %%\ny = [1, 2, 3]\n")
    async with (
        running(ServerProcess(tmp_path, extra=(*quick(), JUPYTEXT))) as server,
        connect(server.url, server.token) as jupyter,
    ):
        doc = await jupyter.open(path.name, "notebook")
        ids = [cell.id for cell in doc.cells]
        doc.apply([_new_cell_with_output("printed", 2)])
        doc.cells[0].append(" + 1")
        await until(lambda: "x = 1 + 1\n" in path.read_text() and "z = 3" in path.read_text())
        await _is_left_alone(path, doc)

        doc.cells[0].append("  # typed")
        text = path.read_text()
        overwrite(path, text.replace("[1, 2, 3]", "[1, 22, 3]").encode())
        expected = ["x = 1 + 1  # typed", "y = [1, 22, 3]", "z = 3"]
        await until(lambda: [cell.source for cell in doc.cells] == expected)
        await until(lambda: "# typed" in path.read_text() and "22" in path.read_text())
        await _is_left_alone(path, doc)

        overwrite(path, (path.read_text() + "\n# %%\nnew = 4\n").encode())
        await until(lambda: len(doc.cells) == 4)
        await _is_left_alone(path, doc)
        assert [cell.id for cell in doc.cells][:3] == [*ids, "printed"]
        assert [cell.source for cell in doc.cells] == [*expected, "new = 4"]
        assert doc.cells["printed"].outputs[0]["text"] == "3\n"  # a script has no place for it
        assert len(await file_entries(server, doc)) == 2


JUPYTEXT = "--ServerApp.contents_manager_class=jupytext.TextFileContentsManager"


def _new_cell_with_output(name: str, index: int) -> dict[str, Any]:
    output = {"output_type": "stream", "name": "stdout", "text": "3\n"}
    cell = {"cell_type": "code", "source": "z = 3", "metadata": {}, "outputs": [output],
            "execution_count": 1, "attachments": {}, "execution": {}}  # fmt: skip
    return {"op": "add", "path": f"/cells/{name}", "index": index, "value": cell}


async def _is_left_alone(path: Path, doc: Document) -> None:
    """Nothing changes the file any more, nor the document."""
    await doc.acknowledged()
    await doc.flush()
    before, rev = stat_of(path), doc.rev
    await asyncio.sleep(1.2)
    assert (stat_of(path), doc.rev) == (before, rev)


async def test_jupytext_with_a_pair(tmp_path: Path) -> None:
    path, script = tmp_path / "pair.ipynb", tmp_path / "pair.py"
    write(path, "x = 1", "y = 2")
    path.write_bytes(edited(path, _paired))
    async with (
        running(ServerProcess(tmp_path, extra=(*quick(), JUPYTEXT))) as server,
        connect(server.url, server.token) as jupyter,
    ):
        doc = await jupyter.open(path.name)
        doc.cells["c0"].append(" + 1")
        await until(lambda: script.exists() and "x = 1 + 1\n" in script.read_text())
        assert sources(path) == ["x = 1 + 1", "y = 2"]
        await _is_left_alone(script, doc)

        doc.cells["c0"].append("  # typed")
        text = script.read_text().replace("y = 2", "y = 22") + "\n# %%\nz = 3\n"
        overwrite(script, text.encode())
        expected = ["x = 1 + 1  # typed", "y = 22", "z = 3"]
        await until(lambda: [cell.source for cell in doc.cells] == expected)
        await until(lambda: "# typed" in script.read_text())
        await _is_left_alone(script, doc)
        assert sources(path) == expected
        assert [cell.id for cell in doc.cells][:2] == ["c0", "c1"]
        assert doc.cells["c0"].outputs[0]["text"] == "0" * 15 + "\n"
        assert nbformat.read(path, as_version=4).cells[0].outputs == doc.cells["c0"].outputs
        assert len(await file_entries(server, doc)) == 1


def _paired(notebook: Any) -> None:
    notebook.metadata = {"jupytext": {"formats": "ipynb,py:percent"}}
    _print(notebook.cells[0], 16)


async def test_a_manager_in_memory(tmp_path: Path) -> None:
    inbox, shown, draft = tmp_path / "inbox", tmp_path / "shown", tmp_path / "a.ipynb"
    inbox.mkdir()
    shown.mkdir()
    options = (
        "--ServerApp.contents_manager_class=tests.memory_contents.MemoryContents",
        f"--MemoryContents.inbox={inbox}",
        f"--MemoryContents.shown={shown}",
    )
    write(draft, "a = 1", "b = 2")
    draft.rename(inbox / "a.ipynb")
    held = shown / "a.ipynb"  # what the manager has
    async with (
        running(ServerProcess(tmp_path, extra=(*quick(), *options))) as server,
        connect(server.url, server.token) as jupyter,
    ):
        doc = await jupyter.open("a.ipynb")
        for name, source in (("a.ipynb", "b = 22"), ("a.ipynb.unnoticed", "b = 33")):
            doc.cells["c0"].append("!")
            await until(lambda: sources(held) == [cell.source for cell in doc.cells])
            data = edited(held, lambda book, text=source: book.cells[1].update(source=text))
            draft.write_bytes(data)
            # Nobody types at this moment: what comes between the server's look and such a manager's
            # save can't be seen (docs/operating.md).
            draft.rename(inbox / name)
            await until(lambda source=source: doc.cells["c1"].source == source)
            if name == "a.ipynb":
                doc.cells["c0"].append("?")
        assert doc.cells["c0"].source == "a = 1!?!"
        await until(lambda: sources(held) == ["a = 1!?!", "b = 33"])
        assert len(await file_entries(server, doc)) == 2
        await _is_left_alone(held, doc)


STRIP = """
def strip(model, **more):
    if model["type"] == "notebook":
        for cell in model["content"]["cells"]:
            if cell["cell_type"] == "code":
                cell["outputs"], cell["execution_count"] = [], None

c.FileContentsManager.pre_save_hook = strip
"""


async def test_a_hook_that_strips_outputs(tmp_path: Path) -> None:
    path, settings = tmp_path / "a.ipynb", tmp_path / "jupyter_server_config.py"
    settings.write_text(STRIP)
    write(path, "a = 1", "b = 2")
    path.write_bytes(edited(path, lambda notebook: _print(notebook.cells[0], 16)))
    async with (
        running(ServerProcess(tmp_path, extra=(*quick(), f"--config={settings}"))) as server,
        connect(server.url, server.token) as jupyter,
    ):
        doc = await jupyter.open(path.name)
        outputs = doc.cells["c0"].outputs
        assert outputs
        doc.cells["c0"].append("  # typed")
        await until(lambda: sources(path) == ["a = 1  # typed", "b = 2"])
        await _is_left_alone(path, doc)
        doc.cells["c0"].append("!")
        change(path, lambda notebook: notebook.cells[1].update(source="b = 22"))
        await until(lambda: sources(path) == ["a = 1  # typed!", "b = 22"])
        await _is_left_alone(path, doc)
        assert doc.cells["c0"].outputs == outputs
        assert not nbformat.read(path, as_version=4).cells[0].outputs
        assert [cell.source for cell in doc.cells] == sources(path)
