from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def fuzz_seconds(pytestconfig: pytest.Config) -> float:
    """How long all random loops together go on; 0: each its few fixed cases."""
    return float(pytestconfig.getoption("--fuzz-seconds"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A night of fuzzing is no hang."""
    if config.getoption("--fuzz-seconds"):
        for item in items:
            item.add_marker(pytest.mark.timeout(0))
