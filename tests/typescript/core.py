"""The TypeScript algebra, called from Python: compiled once, answering in a process of node."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, Protocol

from ot_jupyter import transforms
from ot_jupyter.transforms import Refused
from ot_jupyter.transforms.values import MAX_INTEGER

from ..core_client import node

REPOSITORY = Path(__file__).parent.parent.parent
CLIENTS = REPOSITORY / "clients"
ANSWER = Path(__file__).parent / "answer.mjs"
INSTALL = "run `jlpm install` in clients/ (jlpm comes with `pip install jupyter-builder`)"


class Call(NamedTuple):
    name: str
    arguments: Sequence[Any]


def compiled(folder: Path) -> Path:
    """The algebra, compiled into that folder."""
    compiler = CLIENTS / "node_modules" / "typescript" / "bin" / "tsc"
    assert compiler.exists(), f"there is no TypeScript: {INSTALL}"
    source = CLIENTS / "core" / "src" / "transforms"
    project = {
        "extends": str(CLIENTS / "core" / "tsconfig.json"),
        "compilerOptions": {
            "rootDir": str(source), "outDir": str(folder), "declaration": False, "sourceMap": False,
        },
        "include": [str(source)],
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "tsconfig.json").write_text(json.dumps(project))
    subprocess.run([node(), compiler, "-p", folder], check=True, timeout=300)
    return folder


def request(calls: Sequence[Call]) -> str:
    """A line that asks for calls, in ASCII: it may hold halves of surrogate pairs."""
    return json.dumps(calls) + "\n"


class Caller(Protocol):
    """What answers calls."""

    def call(self, name: str, *arguments: Any) -> Any: ...


class Core:
    """A process of node that answers. Use :func:`running`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, calls: Sequence[Call]) -> list[Any]:
        """What the functions return; a :class:`Refused` where one refuses."""
        return self.answers(request(calls))

    def answers(self, request: str) -> list[Any]:
        """The same, for a :func:`request`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(request)
        self._process.stdin.flush()
        return [_result(one) for one in json.loads(self._process.stdout.readline())]

    def kill(self) -> None:
        """End the process: what was asked is answered by an error."""
        self._process.kill()

    def call(self, name: str, *arguments: Any) -> Any:
        """The same for one; raises what it refuses."""
        (result,) = self.ask([Call(name, arguments)])
        if isinstance(result, Refused):
            raise result
        return result


def _result(answer: dict[str, Any]) -> Any:
    if "error" in answer:
        raise ValueError(answer["error"])
    if "refused" in answer:
        code, pointer = answer["refused"]
        return Refused(code, "", pointer)
    return answer["ok"]


@contextmanager
def running(folder: Path) -> Iterator[Core]:
    """A process that answers with the modules in a folder."""
    with subprocess.Popen(
        [node(), ANSWER, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Core(process)
        finally:
            process.kill()


def survives_json(value: Any) -> bool:
    """Whether JavaScript reads the same value: it has one kind of number, texts as keys, and two
    halves of a surrogate pair side by side are one character. Also too deep for ``json`` is no."""
    stack = [value]
    while stack:
        item = stack.pop()
        kind = type(item)
        if kind is dict:
            stack += [*item, *item.values()]
            if any(type(key) is not str for key in item):
                return False
        elif kind is list:
            stack += item
        elif kind is str:
            units = item.encode("utf-16-le", "surrogatepass")
            if units.decode("utf-16-le", "surrogatepass") != item:
                return False
        elif kind is float:
            if not math.isfinite(item) or item.is_integer():
                return False
        elif kind is int:
            if abs(item) > MAX_INTEGER:
                return False
        elif item is not None and kind is not bool:
            return False
    try:
        json.dumps(value)
    except RecursionError:
        return False
    return True


def algebra(core: Caller) -> ModuleType:
    """What looks like ``ot_jupyter.transforms`` and asks node: for every check of the algebra."""
    module, delta = ModuleType("typescript_transforms"), ModuleType("typescript_delta")

    def pair(name: str) -> Any:
        return lambda a, b, *, later: core.call(name, a, b, {"later": later})

    def both(a: Any, b: Any, *, later: bool) -> tuple[Any, Any]:
        one, other = core.call("transformChanges", a, b, {"later": later})
        return one, other

    def check_change(change: Any, *, notebook: bool, from_client: bool) -> None:
        if survives_json(change):
            core.call("checkChange", change, {"notebook": notebook, "fromClient": from_client})
        else:  # no text that JavaScript could be given
            transforms.check_change(change, notebook=notebook, from_client=from_client)

    for name in ("apply", "compose", "invert", "position"):
        setattr(module, name, lambda *arguments, name=name: core.call(name, *arguments))
    for name, theirs in (("transform", "transform"), ("transform_change", "transformChange")):
        setattr(module, name, pair(theirs))
    for name, theirs in (
        ("apply_delta", "applyDelta"), ("transform_delta", "transformDelta"),
        ("compose_delta", "composeDelta"), ("invert_delta", "invertDelta"),
        ("position_in_delta", "positionInDelta"), ("canonical", "canonical"),
    ):  # fmt: skip
        setattr(delta, name, lambda *arguments, theirs=theirs: core.call(theirs, *arguments))

    def check_delta(delta: Any, insert: type) -> None:
        core.call("checkDelta", delta, "text" if insert is str else "list")

    members = {
        "transform_changes": both, "check_change": check_change, "delta": delta,
        "Refused": Refused,
    }  # fmt: skip
    for name, member in members.items():
        setattr(module, name, member)
    delta.check_delta = check_delta  # type: ignore[attr-defined]
    return module
