"""Running cells, and what is asked of the kernel itself, for programs."""

from __future__ import annotations

import asyncio
from functools import partial
from http import HTTPStatus
from time import monotonic
from typing import Any, ClassVar, Final
from uuid import uuid4

import orjson

from ..kernel.execution import ENDED, executions_in, runs_in
from ..kernel.kernels import Kernels
from ..sequencer.entry import Entry, Head
from ..sequencer.live import LiveDocument
from ..sequencer.pen import Accepted, Verdict
from ..sequencer.runs import UNDER_WAY, batch_name, request_ops
from ..transforms import Change, Refused, pointer, segments
from .base import guarded
from .changes import Author, ChangeHandler, state_of
from .errors import ApiError, bad_argument
from .messages import read_cells, read_control
from .past import entries_since

REMOVED: Final = "its cell was removed"


class Watched:
    """The runs of one change, as the log tells of them."""

    def __init__(self, live: LiveDocument, batch: str, cells: list[str]) -> None:
        self.live = live
        self.batch = batch
        self.runs: dict[str, dict[str, Any]] = {cell: {"state": "queued"} for cell in cells}
        self.head = live.head
        self._news = asyncio.Event()
        live.watchers.append(self.take)

    def take(self, entries: list[Entry]) -> None:
        """Note what entries say of these runs."""
        for entry in entries:
            for cell, value in executions_in(entry):
                for run in runs_in(value):
                    if run["batch"] == self.batch:
                        self.runs[cell] = run
                        self.head = entry.head
            self._note_removed(entry)
        self._news.set()

    def _note_removed(self, entry: Entry) -> None:
        """A cell that is no more has nothing to tell of its runs."""
        for operation in entry.ops:
            _, *cell = segments(operation["path"])
            run = self.runs.get(cell[0]) if len(cell) == 1 else None
            if operation["op"] == "remove" and run is not None and run["state"] in UNDER_WAY:
                self.runs[cell[0]] = {**run, "state": "aborted", "reason": REMOVED}
                self.head = entry.head

    @property
    def ended(self) -> bool:
        """Whether all of them have."""
        return all(run["state"] in ENDED for run in self.runs.values())

    async def wait(self, seconds: float) -> None:
        """Return when all have ended, one asks something, or the time is over."""
        end = monotonic() + seconds
        while not self.ended and not self._asks() and not self.live.closed:
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), end - monotonic())
            except asyncio.TimeoutError:
                return

    def _asks(self) -> bool:
        cells = self.live.document["cells"]
        return any(
            "input" in cells[cell]["execution"]
            for cell, run in self.runs.items()
            if run["state"] == "running" and cell in cells
        )

    def public(self) -> dict[str, Any]:
        """The cells, as an answer tells of them."""
        cells = self.live.document["cells"]
        told: dict[str, dict[str, Any]] = {}
        for cell, run in self.runs.items():
            count = cells[cell]["execution_count"] if cell in cells else None
            told[cell] = {"state": run["state"], "execution_count": count}
            told[cell] |= {key: run[key] for key in ("run", "reason") if key in run}
            if run["state"] == "running" and cell in cells:
                asked = cells[cell]["execution"].get("input")
                told[cell] |= {} if asked is None else {"input": asked}
        return told

    def close(self) -> None:
        self.live.watchers.remove(self.take)


class KernelHandler(ChangeHandler):
    """Base of the handlers for who may execute."""

    @property
    def kernels(self) -> Kernels:
        kernels: Kernels = self.settings["ot_jupyter_kernels"]
        return kernels

    def read_object(self, known: set[str]) -> dict[str, Any]:
        """The body, an object with no other fields. Raises ``ApiError``."""
        try:
            value = orjson.loads(self.request.body)
        except orjson.JSONDecodeError as error:
            raise bad_argument("body", f"the body is not JSON: {error}") from None
        if type(value) is not dict:
            raise bad_argument("body", "the body is an object")
        for field in value:
            if field not in known:
                raise bad_argument(field, f"there is no {field!r} here")
        return value

    async def open_notebook(self, path: str) -> LiveDocument:
        """The live notebook of a path. Raises ``ApiError``."""
        live = await self.open(path)
        if not live.notebook:
            message = f"{live.ref.path!r} is no notebook: it has nothing to run"
            raise ApiError(HTTPStatus.BAD_REQUEST, "wrong_kind", message, "/path")
        return live

    def read_runs(self, live: LiveDocument, value: dict[str, Any]) -> list[str]:
        """The cells to run: those of the body's ``cells``, or with ``"all"`` all code cells.
        Raises ``ApiError``."""
        cells = live.document["cells"]
        if value.get("cells") == "all":
            return [one for one in live.document["order"] if cells[one]["cell_type"] == "code"]
        try:
            named = read_cells(value)
            for index, cell in enumerate(named):
                if cell not in cells:
                    raise Refused("not_found", f"there is no cell {cell!r}", f"/cells/{index}")
                if cells[cell]["cell_type"] != "code":
                    message = f"cell {cell!r} is no code cell"
                    raise Refused("not_code", message, f"/cells/{index}")
                if cell in named[:index]:
                    message = f"cell {cell!r} stands there twice"
                    raise Refused("not_canonical", message, f"/cells/{index}")
        except Refused as refused:
            raise ApiError(
                HTTPStatus.BAD_REQUEST, refused.code, refused.message, refused.pointer
            ) from None
        return named

    async def run(
        self, live: LiveDocument, author: Author, cells: list[str], before: Change
    ) -> None:
        """Commit operations, then runs of cells, and answer with what becomes of them."""
        wait = min(self.seconds_argument("wait"), self.limits.wait_seconds)
        watched = Watched(live, batch_name(live.ref.epoch, author.client, 1), cells)
        try:
            runs = [{"op": "run", "path": pointer("cells", cell)} for cell in cells]
            head = await self._ask(live, author, [*before, *runs], watched)
            await watched.wait(wait)
            latest = watched.head if watched.head.rev > head.rev else head
            self.set_status(HTTPStatus.OK if watched.ended else HTTPStatus.ACCEPTED)
            self.set_state(latest)
            await self.finish_json({**state_of(latest), "cells": watched.public()})
        finally:
            watched.close()

    async def _ask(self, live: LiveDocument, author: Author, ops: Change, watched: Watched) -> Head:
        """Have it in the log, once. Raises ``ApiError``."""
        seen = live.pen.seen.get(author.client)
        if seen is not None:
            verdict: Verdict = Accepted(Head(seen.rev, ""), repeated=True)
            if seen.digest != author.digest:
                verdict = await self.commit(live, author, live.head, ops)  # it is refused
            watched.take(await entries_since(live, seen.rev, 10_000))
            return watched.head
        verdict = await self.commit(live, author, live.head, ops)
        if not isinstance(verdict, Accepted):
            raise ApiError(
                HTTPStatus.CONFLICT, verdict.code, verdict.message, "/cells", **state_of(live.head)
            )
        return verdict.head


class RunsHandler(KernelHandler):
    """``/api/ot/runs/{path}``"""

    METHODS: ClassVar[tuple[str, ...]] = ("POST",)

    @guarded("execute", "kernels")
    async def post(self, path: str) -> None:
        """Run cells, in that order. With ``wait``: answer when they have ended."""
        value = self.read_object({"cells"})
        author = self.read_author(path)
        live = await self.open_notebook(path)
        await self.run(live, author, self.read_runs(live, value), [])


class KernelsHandler(KernelHandler):
    """``/api/ot/kernels/{path}``"""

    METHODS: ClassVar[tuple[str, ...]] = ("GET", "HEAD", "POST")

    @guarded("read")
    async def get(self, path: str) -> None:
        """The document's kernel, and what is queued or running."""
        live = await self.open_notebook(path)
        self.set_state(live.head)
        cells = live.document["cells"]
        runs = {
            cell: cells[cell]["execution"]
            for cell in live.document["order"]
            if cells[cell]["execution"].get("state") not in (None, *ENDED)
        }
        await self.finish_json({"kernel": live.document["kernel"], "runs": runs})

    @guarded("execute", "kernels")
    async def post(self, path: str) -> None:
        """Start, interrupt, restart, shut down or change the kernel, in the order of the log."""
        value = self.read_object({"action", "spec", "cells"})
        author = self.read_author(path)
        live = await self.open_notebook(path)
        cells = self.read_runs(live, value) if "cells" in value else []
        try:
            action, spec, _ = read_control({**value, "cells": cells})
        except Refused as refused:
            raise ApiError(
                HTTPStatus.BAD_REQUEST, refused.code, refused.message, refused.pointer
            ) from None
        name = uuid4().hex[:16]
        user = self.current_user.username
        before = request_ops(name, action, user, spec, [])
        done = asyncio.Event()
        watch = partial(_note_done, live, done)
        live.watchers.append(watch)
        try:
            await self._control(live, author, name, done, before, cells)
        finally:
            live.watchers.remove(watch)

    async def _control(
        self,
        live: LiveDocument,
        author: Author,
        name: str,
        done: asyncio.Event,
        before: Change,
        cells: list[str],
    ) -> None:
        if cells:
            await self.run(live, author, cells, before)
            return
        wait = min(self.seconds_argument("wait"), self.limits.wait_seconds)
        if not await self.is_repeat(live, author):
            verdict = await self.commit(live, author, live.head, before)
            if not isinstance(verdict, Accepted):
                raise ApiError(HTTPStatus.CONFLICT, verdict.code, verdict.message)
            end = monotonic() + wait
            while live.document["kernel"].get("done", {}).get("request") != name:
                done.clear()
                try:
                    await asyncio.wait_for(done.wait(), end - monotonic())
                except asyncio.TimeoutError:
                    break
            kernel = live.document["kernel"]
            finished = kernel.get("done", {}).get("request") == name
            error = kernel["done"].get("error") if finished else None
            if error is not None:
                raise ApiError(HTTPStatus.CONFLICT, "kernel_unavailable", error)
            self.set_status(HTTPStatus.OK if finished else HTTPStatus.ACCEPTED)
            self.set_state(live.head)
            await self.finish_json({**state_of(live.head), "kernel": kernel})


class InputsHandler(KernelHandler):
    """``/api/ot/inputs/{path}``"""

    METHODS: ClassVar[tuple[str, ...]] = ("POST",)

    @guarded("execute", "kernels")
    async def post(self, path: str) -> None:
        """Answer the question of a cell that runs: ``{"id", "value"}``."""
        value = self.read_object({"id", "value"})
        for field in ("id", "value"):
            if type(value.get(field)) is not str:
                raise bad_argument(field, f"{field!r} is a string")
        live = await self.open_notebook(path)
        try:
            await self.kernels.answer(live, value["id"], value["value"])
        except Refused as refused:
            raise ApiError(
                HTTPStatus.CONFLICT, refused.code, refused.message, refused.pointer
            ) from None
        await self.finish_json(state_of(live.head))


def _note_done(live: LiveDocument, done: asyncio.Event, entries: list[Entry]) -> None:
    done.set()
