"""The API does what its description says: requests made up from that, against a real server."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ot_jupyter.api.openapi import description
from ot_jupyter.api.rest import handlers
from tests.server_process import ServerProcess

NOTEBOOK = {
    "cells": [
        {
            "cell_type": "code", "id": f"cell-{index}", "metadata": {"tags": []},
            "source": f"x = {index}", "execution_count": None, "outputs": [],
        }
        for index in range(3)
    ],
    "metadata": {}, "nbformat": 4, "nbformat_minor": 5,
}  # fmt: skip
CONFIGURATION = """
[auth.openapi.tokenHeader]
api_key = "token secret"

[generation]
deterministic = true
max-examples = 8
database = "none"
with-security-parameters = false

[parameters]
"query.wait" = 0
{path}

# A request that is as described need not fit the document.
[checks]
positive_data_acceptance.expected-statuses = ["2xx", 304, 400, 404, 409, 410, 412, 422]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("root"), token="secret") as one:
        (one.root / "fuzzed.ipynb").write_text(json.dumps(NOTEBOOK))
        (one.root / "fuzzed.py").write_text("x = 1\n")
        yield one
        assert "Traceback" not in one.log


@pytest.mark.parametrize("path", ["fuzzed.ipynb", "fuzzed.py", None])
def test_requests_are_answered_as_described(
    path: str | None, server: ServerProcess, tmp_path: Path
) -> None:
    """Schemathesis makes up requests from the description, good ones and bad ones, and checks the
    answers: statuses, headers and bodies are as described, nothing is let in without the token,
    nothing fails with 500. With any path (None) there is mostly nothing."""
    line = "" if path is None else f'"path.path" = "{path}"'
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION.format(path=line))
    run = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"), "--config-file=schemathesis.toml",
            "run", f"{server.url}/api/ot/openapi.json?token=secret", "--checks=all",
            "--continue-on-failure", "--no-color",
        ],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr


def _address(pattern: str) -> str:
    """As the description has it."""
    named = re.sub(r"\(\?P<(\w+)>[^)]*\)", r"{\1}", pattern)
    return named.removesuffix("/?").replace("\\.", ".")


def test_every_address_is_described() -> None:
    described = description("/")["paths"]
    served = {_address(pattern): handler for pattern, handler in handlers}
    assert described.keys() == served.keys()
    for path, handler in served.items():
        methods = {name.upper() for name in described[path] if name != "parameters"}
        assert methods == set(handler.METHODS)


def test_the_description_stands_for_itself() -> None:
    """Every reference leads somewhere, every operation has a name of its own."""
    whole = description("/")
    names: list[str] = []
    stack: list[Any] = [whole]
    while stack:
        part = stack.pop()
        if isinstance(part, dict):
            if "$ref" in part:
                found: Any = whole
                for key in part["$ref"].removeprefix("#/").split("/"):
                    found = found[key]
            if "operationId" in part:
                names.append(part["operationId"])
            stack += part.values()
        elif isinstance(part, list):
            stack += part
    assert len(names) == len(set(names)) == 21
