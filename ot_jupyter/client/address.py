"""Where a Jupyter server is, and what opens its door."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

_PAGES = ("lab", "tree")  # Jupyter prints the address of a page, not that of the server


@dataclass(frozen=True, slots=True)
class Address:
    """A server: ``url`` ends with a slash. ``token`` is empty if none is needed."""

    url: str
    token: str = field(default="", repr=False)

    def api(self, *parts: str, **query: Any) -> str:
        """The URL of something under ``api/ot``; a query argument that is None is left out."""
        url = self.url + "/".join(("api/ot", *(quote(part) for part in parts)))
        given = {name: value for name, value in query.items() if value is not None}
        return f"{url}?{urlencode(given)}" if given else url

    @property
    def socket(self) -> str:
        """The URL of the WebSocket."""
        return "ws" + self.api("socket").removeprefix("http")

    @property
    def headers(self) -> dict[str, str]:
        """What a request must have to be let in."""
        return {"Authorization": f"token {self.token}"} if self.token else {}


def read_address(url: str, token: str | None = None) -> Address:
    """The address in a URL such as Jupyter prints: ``http://localhost:8888/lab?token=…``.

    The token is the argument, else that of the URL, else ``JUPYTER_TOKEN`` of the environment.
    Raises :class:`ValueError` for a URL that is none of a server.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError(f"a server's address looks like http://localhost:8888/, not {url!r}")
    if token is None:
        given = parse_qs(parts.query).get("token")
        token = given[0] if given else os.environ.get("JUPYTER_TOKEN", "")
    path = parts.path
    if path.rpartition("/")[2] in _PAGES:
        path = path.rpartition("/")[0]
    return Address(f"{parts.scheme}://{parts.netloc}{path.rstrip('/')}/", token)


def running_servers() -> list[tuple[Address, Path]]:
    """The servers of this user that run on this machine, and their root folders.

    As ``jupyter_server.serverapp.list_running_servers``, without importing half of Jupyter.
    """
    from jupyter_core.paths import jupyter_runtime_dir
    from jupyter_server.utils import check_pid

    running = []
    for file in sorted(Path(jupyter_runtime_dir()).glob("jpserver-*.json")):
        try:
            info = json.loads(file.read_text(encoding="utf-8"))
            if check_pid(info["pid"]):
                running.append((read_address(info["url"], info["token"]), Path(info["root_dir"])))
        except (OSError, ValueError, KeyError):
            continue  # it ended just now, or is about to write it
    return running
