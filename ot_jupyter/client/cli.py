"""``ot-jupyter``: live notebooks from the terminal and from shell scripts."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any, NoReturn
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import orjson

from ..transforms import Refused
from .address import Address, read_address, running_servers
from .cells import Cell
from .connection import Connection, connect
from .describe import counted, describe_entry, describe_notebook, plain
from .document import Document
from .errors import ConnectError, DocumentError
from .session import pause

FAILED = 1
INTERRUPTED = 130  # 128 + SIGINT, as shells say it
PIPE_BROKEN = 141  # 128 + SIGPIPE
WAIT_SECONDS = 50  # of one long poll
ANSWER_SECONDS = 70.0


class Failure(Exception):
    """Why a command fails, in one line. ``more``: the fields of the server's answer."""

    def __init__(self, message: str, /, **more: Any) -> None:
        super().__init__(message)
        self.more = more


class Misused(Exception):
    """What is asked for makes no sense."""


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code is 0, 1 (failed), 2 (wrong usage), 130 (Ctrl+C)."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if sys.stdout is not None:
        sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    try:
        return arguments.command(arguments) or 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has enough; what is buffered must not fail again at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_BROKEN
    except Misused as error:
        parser.error(str(error))
    except (Failure, ConnectError, DocumentError, Refused, LookupError, OSError) as error:
        message = error.args[0] if isinstance(error, LookupError) else error
        print("ot-jupyter:", " ".join(str(message).split()), file=sys.stderr)
        return FAILED


# What is asked for.


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ot-jupyter",
        description="Read, change and follow notebooks that are open on a Jupyter server.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(
        name: str, run: Callable[[argparse.Namespace], int | None], about: str, examples: str
    ) -> argparse.ArgumentParser:
        one = commands.add_parser(
            name,
            help=about,
            description=about[0].upper() + about[1:] + ".",
            epilog="examples:\n" + examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        one.set_defaults(command=run)
        server = one.add_argument_group("the server")
        server.add_argument("--url", help="its address (else $OT_JUPYTER_URL, else one that runs)")
        server.add_argument("--token", help="its token (else of the URL, else $JUPYTER_TOKEN)")
        return one

    def path(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("path", metavar="PATH", help="below the server's root: work/a.ipynb")

    one = command("cat", _cat, "print a notebook or text file as it is now", _CAT)
    path(one)
    one.add_argument("--json", action="store_true", help="the notebook itself, as in the file")

    one = command("patch", _patch, "change a document by a JSON Patch (RFC 6902)", _PATCH)
    path(one)
    one.add_argument("file", metavar="FILE", nargs="?", default="-", help="the patch; -: stdin")
    one.add_argument("--base", metavar="REV-HASH", help="the state that the patch was made for")
    one.add_argument("--if-match", metavar="REV-HASH", help="fail unless this is the state")
    one.add_argument("--key", help="a name for this change: it is made once, however often sent")

    one = command("edit", _edit, "change one cell, or a text file, by the smallest edit", _EDIT)
    path(one)
    one.add_argument("--cell", metavar="ID|INDEX", help="from 0; negative: from the end")
    how = one.add_mutually_exclusive_group(required=True)
    how.add_argument("--source", metavar="TEXT", help="the new text; -: stdin")
    how.add_argument("--append", metavar="TEXT", help="add this at the end; -: stdin")
    how.add_argument(
        "--replace", nargs=2, metavar=("OLD", "NEW"), help="put NEW where OLD is, once"
    )
    how.add_argument(
        "--editor", action="store_true", help="edit in $EDITOR; what others type stays"
    )

    one = command("run", _run, "run cells, and print what they put out", _RUN)
    path(one)
    one.add_argument("cells", metavar="CELL", nargs="*", help="id, or index from 0")
    one.add_argument("--all", action="store_true", help="all code cells")
    one.add_argument("--no-wait", action="store_true", help="only ask for it")

    one = command("kernel", _kernel, "start, interrupt or end a notebook's kernel", _KERNEL)
    path(one)
    one.add_argument("action", choices=("start", "interrupt", "restart", "shutdown", "change"))
    one.add_argument("spec", metavar="SPEC", nargs="?", help="the kernelspec to change to")
    one.add_argument("--run-all", action="store_true", help="after a restart, run all code cells")

    one = command("revert", _revert, "take one entry of the log back", _REVERT)
    path(one)
    one.add_argument("rev", metavar="REV", type=int, help="the revision that the entry made")

    one = command("log", _log, "tell who changed what", _LOG)
    path(one)
    one.add_argument("--since", metavar="REV", type=int, help="only what came after this revision")
    one.add_argument("--follow", action="store_true", help="go on as it happens, until Ctrl+C")

    command("status", _status, "tell what is open, and whether changes can be committed", _STATUS)
    return parser


_EXAMPLES = """\
examples:
  ot-jupyter status
  ot-jupyter cat work/a.ipynb
  ot-jupyter edit work/a.ipynb --cell 0 --append '# checked'
  ot-jupyter log work/a.ipynb --follow

Without --url the server is $OT_JUPYTER_URL, or the one that you run on this machine; of several
the one whose folder you are in. 'ot-jupyter COMMAND --help' tells more.
"""
_CAT = """\
  ot-jupyter cat a.ipynb              numbers, types, ids and sources of the cells
  ot-jupyter cat a.ipynb --json | jupyter nbconvert --stdin --to script --stdout
"""
_PATCH = """\
  echo '[{"op": "add", "path": "/cells/-",
          "value": {"cell_type": "code", "source": "1 + 1"}}]' | ot-jupyter patch a.ipynb
  ot-jupyter patch a.ipynb change.json --base 18-5f0c93a1b2d4e687
  ot-jupyter patch a.ipynb change.json --key nightly-2024-05-01

Paths are those of the notebook's JSON; /cells/3/source and /cells/@ID/source both work. A new
source becomes the smallest edit. Prints the new state, REV-HASH.
"""
_EDIT = """\
  ot-jupyter edit a.ipynb --cell 0 --replace 'alpha = 1' 'alpha = 2'
  ot-jupyter edit a.ipynb --cell 3fa85f64 --editor
  jq -r .query report.json | ot-jupyter edit a.ipynb --cell -1 --source -
  ot-jupyter edit notes.md --append 'one line more'

Prints the state after it, REV-HASH. What others type meanwhile stays.
"""
_RUN = """\
  ot-jupyter run a.ipynb 3fa85f64
  ot-jupyter run a.ipynb 0 1 -1
  ot-jupyter run a.ipynb --all > report.txt
  ot-jupyter run a.ipynb --all --no-wait      prints the state, REV-HASH

What a cell asks by input() is answered here, if this is a terminal. Ctrl+C interrupts the kernel;
a second one leaves it alone. Ends with 0 if all went well, with 1 if not.
"""
_KERNEL = """\
  ot-jupyter kernel a.ipynb interrupt
  ot-jupyter kernel a.ipynb restart --run-all
  ot-jupyter kernel a.ipynb change bash
"""
_REVERT = """\
  ot-jupyter log a.ipynb | grep file
  ot-jupyter revert a.ipynb 118

What came after that entry stays. Prints the new state, REV-HASH.
"""
_LOG = """\
  ot-jupyter log a.ipynb
  ot-jupyter log a.ipynb --since 120
  ot-jupyter log a.ipynb --follow | grep alice
"""
_STATUS = """\
  ot-jupyter status
  ot-jupyter status --url https://hub.example.org/user/me/ --token "$TOKEN"
"""


# The server.


def _address(arguments: argparse.Namespace) -> Address:
    """The server that is meant. Raises :class:`Failure`."""
    url = arguments.url or os.environ.get("OT_JUPYTER_URL")
    if url:
        try:
            return read_address(url, arguments.token)
        except ValueError as error:
            raise Failure(str(error)) from None
    running = running_servers()
    here = Path.cwd()
    around = [len(root.parts) for _, root in running if here.is_relative_to(root)]
    deepest = max(around, default=0)
    chosen = [
        address
        for address, root in running
        if not around or (here.is_relative_to(root) and len(root.parts) == deepest)
    ]
    if not chosen:
        raise Failure("no Jupyter server runs here: start one, or tell --url")
    if len(chosen) > 1:
        urls = ", ".join(address.url for address in chosen)
        raise Failure(f"several servers run here, tell which by --url: {urls}")
    token = chosen[0].token if arguments.token is None else arguments.token
    return Address(chosen[0].url, token)


def _ask(
    address: Address,
    url: str,
    method: str = "GET",
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[bytes, str]:
    """The answer's body and content type. Raises :class:`Failure`, with the answer's fields, or
    with none if there was no answer."""
    request = Request(url, body, {**address.headers, **(headers or {})}, method=method)
    try:
        with urlopen(request, timeout=ANSWER_SECONDS) as answer:
            return answer.read(), answer.headers.get_content_type()
    except HTTPError as error:
        raise _failure(address, error) from None
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise Failure(f"no server answers at {address.url}: {reason}") from None


def _failure(address: Address, error: HTTPError) -> Failure:
    if error.code in (401, 403):
        message = f"{address.url} refuses this: is the token right (--token, $JUPYTER_TOKEN)?"
        return Failure(message, code="forbidden")
    try:
        more = orjson.loads(error.read())
        code, message, pointer = more["code"], more["message"], more["pointer"]
    except (OSError, HTTPException, ValueError, TypeError, KeyError):
        if error.code == 404:
            return Failure(f"the server at {address.url} does not have ot-jupyter", code="")
        return Failure(f"{address.url} answers {error.code} {error.reason}", code="")
    return Failure(f"{code}: {message}" + (f" (at {pointer})" if pointer else ""), **more)


# The commands.


def _cat(arguments: argparse.Namespace) -> None:
    address = _address(arguments)
    body, kind = _ask(address, address.api("documents", arguments.path))
    if kind != "application/json":
        sys.stdout.write(body.decode())
    elif arguments.json:
        print(json.dumps(orjson.loads(body), indent=1, ensure_ascii=False))
    else:
        for line in describe_notebook(orjson.loads(body)):
            print(line)


def _patch(arguments: argparse.Namespace) -> None:
    patch = sys.stdin.buffer.read() if arguments.file == "-" else Path(arguments.file).read_bytes()
    headers = {"Content-Type": "application/json-patch+json"}
    if arguments.if_match:
        headers["If-Match"] = f'"{arguments.if_match.strip(chr(34))}"'
    if arguments.key:
        headers["Idempotency-Key"] = arguments.key
    address = _address(arguments)
    url = address.api("documents", arguments.path, base=arguments.base)
    state = orjson.loads(_ask(address, url, "PATCH", patch, headers)[0])
    print("-".join(str(state[key]) for key in ("rev", "hash") if key in state))


def _revert(arguments: argparse.Namespace) -> None:
    address = _address(arguments)
    body = orjson.dumps({"rev": arguments.rev})
    headers = {"Content-Type": "application/json"}
    url = address.api("reverts", arguments.path)
    state = orjson.loads(_ask(address, url, "POST", body, headers)[0])
    print("-".join(str(state[key]) for key in ("rev", "hash")))


def _edit(arguments: argparse.Namespace) -> None:
    address = _address(arguments)

    async def run() -> None:
        async with connect(address.url, address.token) as connection:
            document = await connection.open(arguments.path)
            await _edit_document(connection, document, arguments)

    asyncio.run(run())


async def _edit_document(
    connection: Connection, document: Document, arguments: argparse.Namespace
) -> None:
    place = _Place.of(document, arguments.cell)
    if arguments.editor:
        await _edit_in_editor(place)
    elif arguments.source is not None:
        place.set(_text(arguments.source))
    elif arguments.append is not None:
        place.set(place.text + _text(arguments.append))
    else:
        old, new = arguments.replace
        found = place.text.count(old) if old else 0
        if found != 1:
            raise Failure(
                f"{old!r} is not in {place.name}"
                if not found
                else f"{old!r} is {found} times in {place.name}: tell more of what is around it"
            )
        place.set(place.text.replace(old, new))
    await document.acknowledged()
    print(f"{document.rev}-{document.head.hash}")


def _text(argument: str) -> str:
    return sys.stdin.read() if argument == "-" else argument


class _Place:
    """The text that is edited: a cell's source, or a whole text file."""

    def __init__(self, document: Document, cell: Cell | None) -> None:
        self.document = document
        self.cell = cell
        self.mark = document.mark()
        self.text = document.text if cell is None else cell.source

    @classmethod
    def of(cls, document: Document, name: str | None) -> _Place:
        if document.kind == "text":
            if name is not None:
                raise Failure(f"{document.path!r} is a text file: it has no cells")
            return cls(document, None)
        if name is None:
            raise Failure(f"{document.path!r} is a notebook: tell --cell")
        return cls(document, _cell(document, name))

    @property
    def name(self) -> str:
        return repr(self.document.path) if self.cell is None else f"cell {self.cell.id}"

    def set(self, text: str) -> None:
        """Write the text, made from what it was at first."""
        if self.cell is None:
            self.document.set_text(text, at=self.mark)
        elif self.cell.exists:
            self.cell.set_source(text, at=self.mark)
        else:
            raise Failure(f"{self.name} was removed meanwhile")

    @property
    def suffix(self) -> str:
        """What the name of a file with this text ends with."""
        if self.cell is None:
            return Path(self.document.path).suffix
        if self.cell.type != "code":
            return ".md"
        language = self.document.metadata.get("language_info", {})
        extension = language.get("file_extension") if isinstance(language, dict) else None
        return extension if isinstance(extension, str) else ".py"


def _cell(document: Document, name: str) -> Cell:
    """The cell of an id or index. Raises :class:`LookupError`."""
    by_index = re.fullmatch(r"-?\d{1,9}", name) and name not in document.cells
    return document.cells[int(name) if by_index else name]


async def _edit_in_editor(place: _Place) -> None:
    editor = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    file = _file_of(place)
    with _sigint(lambda: None):  # it is the editor's
        process = await asyncio.create_subprocess_exec(*editor, file)
        code = await process.wait()
    if code:
        os.unlink(file)
        raise Failure(f"the editor ended with {code}: nothing is changed")
    try:
        place.set(_text_of(file, place))
        await place.document.acknowledged()
    except (Failure, DocumentError, Refused, UnicodeDecodeError) as error:
        raise Failure(f"{error}; your text is in {file}") from None
    except asyncio.CancelledError:
        print(f"ot-jupyter: your text is in {file}", file=sys.stderr)
        raise
    os.unlink(file)


def _file_of(place: _Place) -> str:
    with tempfile.NamedTemporaryFile("wb", suffix=place.suffix, delete=False) as file:
        file.write(place.text.encode())
    return file.name


def _text_of(file: str, place: _Place) -> str:
    """The edited text. Editors end each file with a line's end; a cell has none there."""
    text = Path(file).read_bytes().decode()
    ended = place.text.endswith("\n") or not text.endswith("\n")
    return text if ended else text[:-1]


@contextmanager
def _sigint(instead: Callable[[], object]) -> Iterator[None]:
    """Ctrl+C does this meanwhile."""
    loop = asyncio.get_running_loop()
    before = signal.getsignal(signal.SIGINT)
    loop.add_signal_handler(signal.SIGINT, instead)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, before)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.all == bool(arguments.cells):
        raise Misused("tell which cells to run, or --all")
    address = _address(arguments)

    async def run() -> int:
        async with connect(address.url, address.token) as connection:
            document = await _open_notebook(connection, arguments.path)
            cells = [] if arguments.all else _cells(document, arguments.cells)
            if not arguments.no_wait:
                return await _run_here(document, cells)
            await document.run(*cells, wait=False)
            print(f"{document.rev}-{document.head.hash}")
            return 0

    return asyncio.run(run())


async def _open_notebook(connection: Connection, path: str) -> Document:
    document = await connection.open(path)
    if document.kind == "text":
        raise Failure(f"{document.path!r} is a text file: there is nothing to run")
    return document


def _cells(document: Document, names: list[str]) -> list[Cell]:
    cells = [_cell(document, name) for name in names]
    for cell in cells:
        if cell.type != "code":
            raise Failure(f"cell {cell.id!r} is no code cell")
        if cells.count(cell) > 1:
            raise Failure(f"cell {cell.id!r} is there twice")
    return cells


async def _run_here(document: Document, cells: list[Cell]) -> int:
    """Run cells, and be their terminal: outputs, questions, Ctrl+C."""
    from .terminal import Terminal  # late: not every system has what it needs

    terminal = Terminal(document)
    running = document.run(*cells)
    with _sigint(terminal.interrupt):
        runs = await terminal.follow(running)
    for run in runs:
        if not run.ok:
            reason = f": {run.reason}" if run.reason else ""
            print(plain(f"ot-jupyter: cell {run.cell}: {run.state}{reason}"), file=sys.stderr)
    return 0 if all(run.ok for run in runs) else FAILED


def _kernel(arguments: argparse.Namespace) -> int:
    action, spec = arguments.action, arguments.spec
    if (spec is not None) is not (action == "change"):
        raise Misused("a SPEC goes with change, and change with a SPEC")
    if arguments.run_all and action != "restart":
        raise Misused("--run-all goes with restart")
    address = _address(arguments)

    async def run() -> int:
        async with connect(address.url, address.token) as connection:
            document = await _open_notebook(connection, arguments.path)
            if action == "restart":
                await document.restart()
                if arguments.run_all:
                    return await _run_here(document, [])
            elif action == "change":
                await document.change_kernel(spec)
            elif action == "start":
                await document.start_kernel()
            elif action == "interrupt":
                await document.interrupt()
            else:
                await document.shutdown()
            print(plain(" ".join(filter(None, (document.kernel.state, document.kernel.name)))))
            return 0

    return asyncio.run(run())


def _log(arguments: argparse.Namespace) -> None:
    address = _address(arguments)
    since, epoch = arguments.since or 0, None
    attempt = 0
    while True:
        wait = WAIT_SECONDS if arguments.follow and epoch is not None else None
        url = address.api("entries", arguments.path, since=since, wait=wait)
        try:
            answer = orjson.loads(_ask(address, url)[0])
        except Failure as failure:
            since = _after(failure, arguments, since, attempt, began=epoch is not None)
            attempt += 1
            continue
        attempt = 0
        if epoch not in (None, answer["epoch"]):
            since, epoch = 0, None  # another log under the same path
            continue
        since, epoch = answer["rev"], answer["epoch"]
        for entry in answer["entries"]:
            print(plain(describe_entry(entry)))
        if not (answer["more"] or arguments.follow):
            return


def _after(
    failure: Failure, arguments: argparse.Namespace, since: int, attempt: int, *, began: bool
) -> int:
    """Where to go on after the log could not be read, if that makes sense."""
    code = failure.more.get("code")
    if code == "trimmed" and (arguments.since is None or began):
        floor = int(failure.more["floor"])
        if floor != since:
            return floor
    if not (arguments.follow and began):
        raise failure
    if code == "unknown_revision":
        return 0  # the log began anew
    if code in (
        None,
        "store_unavailable",
    ):  # no answer: the server starts again, or the line is cut
        time.sleep(pause(attempt))
        return since
    raise failure


def _status(arguments: argparse.Namespace) -> None:
    address = _address(arguments)
    try:
        health = orjson.loads(_ask(address, address.api("health"))[0])
        print(f"{address.url}  store: {health['store']}, {health['status']}")
    except Failure as failure:
        if failure.more.get("code") != "store_unavailable":
            raise
        print(f"{address.url}  {failure}")
    for one in orjson.loads(_ask(address, address.api("documents"))[0])["documents"]:
        notes = [str(one[key]) for key in ("stalled", "problem") if one[key]]
        line = f"{one['path']}  {one['kind']} at {one['rev']}, {counted(one['clients'], 'client')}"
        print(plain("; ".join((line, *notes))))


def _exit() -> NoReturn:
    sys.exit(main())


if __name__ == "__main__":
    _exit()
