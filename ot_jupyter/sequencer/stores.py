"""Which store of logs a URL names."""

from __future__ import annotations

from pathlib import Path

from .log import Log
from .memory import MemoryLog
from .redis import SCHEMES, RedisLog
from .sqlite import SqliteLog

_SQLITE = "sqlite:///"


def open_log(url: str, *, durability: str, namespace: str, root: Path) -> Log:
    """The log at a URL, not started yet.

    - ``memory:``: in this process, gone with it;
    - ``sqlite:///file``: an SQLite file, its path relative to ``root`` (``sqlite:////file``: an
      absolute one). ``durability`` is ``"normal"`` or ``"fsync"``, see :class:`~.SqliteLog`;
    - ``redis://…``, ``rediss://…``, ``redis+cluster://…``, ``rediss+cluster://…``: Redis, where
      ``namespace`` keeps apart those who share it. How durable it is, is set in Redis.

    Raises :class:`ValueError` for any other.
    """
    if url == "memory:":
        return MemoryLog()
    if url.startswith(_SQLITE) and url != _SQLITE:
        return SqliteLog(root / url.removeprefix(_SQLITE), durability)
    scheme, separator, _ = url.partition("://")
    if separator and scheme in SCHEMES:
        return RedisLog(url, namespace)
    raise ValueError(  # without the URL: it may hold a password
        "the log's URL is none of memory:, sqlite:///relative/path, sqlite:////absolute/path, "
        + ", ".join(f"{one}://host:port" for one in SCHEMES)
    )
