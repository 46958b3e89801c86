from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def fuzz_seconds(pytestconfig: pytest.Config) -> float:
    """How long all random loops together go on; 0: each its few fixed cases."""
    return float(pytestconfig.getoption("--fuzz-seconds"))
