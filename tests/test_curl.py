"""What the documentation tells to type into a shell, typed into a shell.

A block that is marked ``bash`` is run, in order, if its file has a ``curl`` in any; a ``json`` or
``text`` block right after one is what it prints. There, ``…`` stands for anything, and white space
does not count. ``localhost:8888`` and the token ``token`` stand for the server of the test.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.server_process import ServerProcess

REPOSITORY = Path(__file__).parent.parent
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ADDRESS = "http://localhost:8888"


class Example(NamedTuple):
    command: str
    output: str | None


def examples(text: str) -> list[Example]:
    """The shell commands that use ``curl`` or are needed by those, and what they print."""
    found: list[Example] = []
    end = None  # where the command before ended, if there was one
    for block in BLOCK.finditer(text):
        language, content = block.groups()
        follows = end is not None and not re.search(r"^#", text[end : block.start()], re.MULTILINE)
        if language == "bash" and "curl " in content:
            found.append(Example(content, None))
            end = block.end()
        elif language in ("json", "text") and follows:
            if found[-1].output is None:
                found[-1] = Example(found[-1].command, content)
            end = None
        else:
            end = None
    return found


def documents() -> list[Path]:
    candidates = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("**/*.md"))]
    return [one for one in candidates if examples(one.read_text(encoding="utf-8"))]


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("root"), token="token") as one:
        yield one


def run_in_one_shell(commands: list[str], folder: Path) -> list[str]:
    """What each command prints. Variables of one are known to the next; none may fail."""
    script = ["set -u"]
    for index, command in enumerate(commands):
        script.append(f"{{\n{command}\n}} > {index}.out 2> {index}.err; echo $? > {index}.code")
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    shell = subprocess.run(
        ["bash", "-c", "\n".join(script)], cwd=folder, env=environment, timeout=120, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert shell.returncode == 0, shell.stderr
    outputs = []
    for index, command in enumerate(commands):
        error = (folder / f"{index}.err").read_text(encoding="utf-8")
        code = int((folder / f"{index}.code").read_text())
        timed_out = "--max-time" in command and code == 28  # as it was told to
        assert code == 0 or timed_out, f"{command}\nends with {code}: {error}"
        outputs.append((folder / f"{index}.out").read_text(encoding="utf-8"))
    return outputs


def matches(expected: str, printed: str) -> bool:
    pieces = [re.escape(re.sub(r"\s+", "", piece)) for piece in expected.split("…")]
    return re.fullmatch(".*?".join(pieces), re.sub(r"\s+", "", printed)) is not None


def test_the_documentation_has_examples() -> None:
    assert REPOSITORY / "docs" / "rest.md" in documents()


@pytest.mark.parametrize("document", documents(), ids=lambda one: one.name)
def test_every_example_does_what_it_says(
    document: Path, server: ServerProcess, tmp_path: Path
) -> None:
    found = examples(document.read_text(encoding="utf-8"))
    commands = [one.command.replace(ADDRESS, server.url) for one in found]
    for command in commands:
        assert "8888" not in command, f"the test does not know this address:\n{command}"
    for example, printed in zip(found, run_in_one_shell(commands, tmp_path), strict=True):
        if example.output is not None:
            assert matches(example.output, printed), f"{example.command}\nprints\n{printed}"
