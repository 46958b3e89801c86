"""A ContentsManager that is not Jupyter's own: its files are in memory."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from jupyter_server.services.contents.manager import ContentsManager
from tornado.web import HTTPError
from traitlets import Unicode


class MemoryContents(ContentsManager):
    """Files by path, in one folder, each a text and the time when it was written."""

    inbox = Unicode(
        help="""A folder of the disk: a file that is put there is taken in, as if another client
        of the manager had written it; one whose name ends in .unnoticed without a new time."""
    ).tag(config=True)
    shown = Unicode(help="A folder of the disk that shows what is held.").tag(config=True)

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.files: dict[str, tuple[str, datetime]] = {}

    def _take_in(self) -> None:
        for file in Path(self.inbox).iterdir():
            path = file.name.removesuffix(".unnoticed")
            time = self.files[path][1] if file.name != path else datetime.now(timezone.utc)
            self._set(path, file.read_text(), time)
            file.unlink()

    def _set(self, path: str, text: str, time: datetime) -> None:
        self.files[path] = (text, time)
        new = Path(self.shown) / f".{path}"
        new.write_text(text)
        new.rename(Path(self.shown) / path)

    def get(
        self,
        path: str,
        content: bool = True,
        type: str | None = None,
        format: str | None = None,
        require_hash: bool = False,
    ) -> dict[str, Any]:
        self._take_in()
        path = path.strip("/")
        if path not in self.files:
            raise HTTPError(404, f"no such file: {path}")
        text, time = self.files[path]
        if type is None:
            type = "notebook" if path.endswith(".ipynb") else "file"
        return {
            "name": path,
            "path": path,
            "type": type,
            "created": time,
            "last_modified": time,
            "size": len(text),
            "writable": True,
            "mimetype": "text/plain" if type == "file" else None,
            "format": None if not content else "text" if type == "file" else "json",
            "content": None if not content else text if type == "file" else json.loads(text),
        }

    def save(self, model: dict[str, Any], path: str = "") -> dict[str, Any]:
        content = model["content"]
        text = content if model["type"] == "file" else json.dumps(content)
        self._set(path.strip("/"), text, datetime.now(timezone.utc))
        return self.get(path, content=False)

    def delete_file(self, path: str) -> None:
        del self.files[path.strip("/")]

    def rename_file(self, old_path: str, new_path: str) -> None:
        self.files[new_path.strip("/")] = self.files.pop(old_path.strip("/"))

    def file_exists(self, path: str = "") -> bool:
        self._take_in()
        return path.strip("/") in self.files

    def dir_exists(self, path: str) -> bool:
        return path.strip("/") == ""

    def is_hidden(self, path: str) -> bool:
        return False
