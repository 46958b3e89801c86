"""Options of the whole test run, and what all tests may use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.redis_server import RedisServer


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fuzz-seconds",
        type=float,
        default=0,
        metavar="N",
        help="go on with new random cases for about N seconds (0: the same few cases, quickly)",
    )


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A real Redis, running."""
    server = RedisServer(durable=False)
    server.start()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[RedisServer]:
    """A real Redis cluster, of one node."""
    server = RedisServer(cluster=True, durable=False)
    server.start()
    yield server
    server.remove()
