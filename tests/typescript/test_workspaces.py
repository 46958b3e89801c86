"""The TypeScript clients: their own tests, their style, and that all of it compiles."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from .core import CLIENTS, INSTALL, node

pytestmark = pytest.mark.timeout(600)

ESLINT = "node_modules/eslint/bin/eslint.js"
PRETTIER = "node_modules/prettier/bin/prettier.cjs"
TSC = "node_modules/typescript/bin/tsc"
WORKSPACES = ("core", "jupyterlab")


def _run(*command: str | Path) -> None:
    tool = CLIENTS / command[0]
    assert tool.exists(), f"there is no {command[0]}: {INSTALL}"
    done = subprocess.run(
        [node(), tool, *command[1:]], cwd=CLIENTS, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8000:]


def test_style() -> None:
    _run(ESLINT, ".", "--max-warnings", "0")
    _run(PRETTIER, "--check", ".")


@pytest.mark.parametrize("workspace", WORKSPACES)
def test_own_tests(workspace: str) -> None:
    """Compiled with all that is strict, and run by node's test runner."""
    folder = CLIENTS / workspace
    _run(TSC, "-p", folder / "tsconfig.test.json")
    tests = sorted((folder / "build").glob("test/**/*.test.js"))
    assert tests
    done = subprocess.run(
        [node(), "--test", *tests], cwd=folder, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8000:]
