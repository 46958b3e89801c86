from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .core import Core, compiled, running


@pytest.fixture(scope="session")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled algebra."""
    return compiled(tmp_path_factory.mktemp("core"))


@pytest.fixture(scope="session")
def core(modules: Path) -> Iterator[Core]:
    with running(modules) as one:
        yield one
