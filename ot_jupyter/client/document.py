"""A live document, for programs: read it, change it, hear of what others do.

Reading and writing are plain calls: a change is made at once, here, and goes to the server as soon
as it can. What waits for the server is ``async``. Everything belongs to the event loop on which
the connection was made; :mod:`ot_jupyter.client.sync` is for other threads.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4
from weakref import WeakSet

from ..transforms import (
    Change,
    apply,
    check_change,
    compose,
    is_notebook,
    new_cell,
    pointer,
    transform_changes,
)
from ..transforms.diff import diff_text
from ..transforms.values import CELL_TYPES
from ..transforms.values import Document as Content
from .cells import Cell, Cells, Metadata, edit_delta, text_change
from .errors import DocumentError
from .kernel import CommMessage, Kernel, Question, in_base64
from .mark import Mark
from .presence import Presence
from .runs import Asked, Run, Running
from .session import LATER, Link, Session
from .state import Conflict, Head, only_runs, without_runs

logger = logging.getLogger("ot_jupyter.client")

KERNEL_SECONDS = 180.0  # that a kernel may take to start
_REMEMBERED = 64  # requests to the kernel whose end is known


@dataclass(frozen=True, slots=True)
class Changed:
    """The document was changed, by us (``origin`` is ``"local"``) or by others (``"remote"``)."""

    ops: Change
    origin: str


@dataclass(slots=True)
class _Draft:
    """A change that is being put together."""

    content: Content
    edits: Change = field(default_factory=list)
    runs: Change = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    @property
    def ops(self) -> Change:
        """The whole change: runs are asked for at its end."""
        return self.edits + self.runs

    def add(self, ops: Change) -> None:
        check_change(ops, notebook=is_notebook(self.content), from_client=True)
        self.content = apply(self.content, ops)
        edits = without_runs(ops)
        self.edits = compose(self.edits, edits)
        self.runs = self.runs + ops[len(edits) :]

    def over(self, ops: Change, content: Content) -> None:
        """Somebody else's change came between; ``content`` is the document after it."""
        changed, _ = transform_changes(self.ops, ops, later=True)
        self.edits = without_runs(changed)
        self.runs = changed[len(self.edits) :]
        self.content = apply(content, changed)


@dataclass(slots=True)
class _Waiter:
    condition: Callable[[], bool]
    future: asyncio.Future[None]


class Document:
    """A notebook or text file that is open; made by :meth:`Connection.open`.

    What changes it raises ``Refused`` if the change does not fit, and :class:`DocumentError` if
    the document is closed or may only be read. It does not raise for being offline: then changes
    wait here, see :attr:`unsaved`.
    """

    def __init__(
        self,
        link: Link,
        path: str,
        kind: str | None = None,
        closed: Callable[[Document], None] = lambda document: None,
    ) -> None:
        self.session = Session(link, path, kind, self._on_change, self._on_anything)
        self._state = self.session.state
        self._when_closed = closed
        self._closed = False
        self._draft: _Draft | None = None
        self._marks: WeakSet[Mark] = WeakSet()
        self._callbacks: list[Callable[[Change, str], Any]] = []
        self._streams: set[asyncio.Queue[Changed | None]] = set()
        self._waiters: list[_Waiter] = []
        self._asked: list[Asked] = []  # runs that have not ended
        self._done: dict[str, str] = {}  # requests to the kernel that were carried out: errors
        events = self._state.events
        events.entered, events.whole = self._on_entry, self._on_whole
        events.cancelled = self._on_cancelled

    def __repr__(self) -> str:
        return f"<Document {self.path!r} at {self.rev}, {self.status}>"

    # What it is.

    @property
    def path(self) -> str:
        """The path below the server's root; it follows renames."""
        return self._state.path

    @property
    def kind(self) -> str:
        """``"notebook"`` or ``"text"``."""
        return self._state.kind or ""

    @property
    def client(self) -> str:
        """Our name in the log."""
        return self._state.client

    @property
    def head(self) -> Head:
        """The last state of the log that we have: revision and hash."""
        return self._state.head

    @property
    def rev(self) -> int:
        """The revision of :attr:`head`."""
        return self._state.head.rev

    @property
    def content(self) -> Content:
        """The document as plain JSON, with what is not acknowledged yet. Don't change it."""
        return self._state.document if self._draft is None else self._draft.content

    @property
    def status(self) -> str:
        """``"live"``, ``"read only"``, ``"not committing"`` (the server's store is away),
        ``"offline"``, ``"unavailable"`` (see ``problem``), ``"superseded"``, ``"closed"``."""
        session = self.session
        if self._closed:
            return "closed"
        if session.stopped:
            taken = session.problem is not None and session.problem.code == "superseded"
            return "superseded" if taken else "unavailable"
        if not session.live:
            return "offline" if session.problem is None else "unavailable"
        if not session.committing:
            return "not committing"
        return "read only" if self._state.read_only else "live"

    @property
    def problem(self) -> DocumentError | None:
        """Why the document can't be had, if so."""
        return self.session.problem

    @property
    def file_problem(self) -> str | None:
        """What is wrong with the document's file, if anything: then it is not written."""
        return self.session.file_problem

    @property
    def conflicts(self) -> list[Conflict]:
        """Cells that others removed while text of ours was on its way into them, as we saw
        them."""
        return self.session.conflicts

    @property
    def refused(self) -> list[DocumentError]:
        """Why the server refused changes of ours (they were taken back here)."""
        return list(self.session.refused.values())

    @property
    def unsaved(self) -> int:
        """How many changes the server has not acknowledged."""
        return len(self._state.pending)

    # Notebooks.

    @property
    def cells(self) -> Cells:
        """The cells, by index or id. Raises :class:`TypeError` for a text file."""
        self._check_kind(notebook=True)
        return Cells(self)

    @property
    def metadata(self) -> Metadata:
        """The notebook's metadata, a mapping that can be written."""
        self._check_kind(notebook=True)
        return Metadata(self, ("metadata",))

    def insert(
        self, index: int, source: str = "", cell_type: str = "code", id: str | None = None
    ) -> Cell:
        """A new cell before the one at ``index`` (as ``list.insert``, but no index is beyond the
        end). Raises :class:`IndexError`."""
        count = len(self.cells)
        if not -count <= index <= count:
            raise IndexError(f"no cell can be inserted at {index}: there are {count}")
        if cell_type not in CELL_TYPES:
            raise ValueError(f"a cell type is one of {', '.join(CELL_TYPES)}, not {cell_type!r}")
        cell_id = self._new_id() if id is None else id
        self.apply(
            [
                {
                    "op": "add",
                    "path": pointer("cells", cell_id),
                    "index": index + count if index < 0 else index,
                    "value": new_cell(cell_type, source),
                }
            ]
        )
        return Cell(self, cell_id)

    def append(self, source: str = "", cell_type: str = "code", id: str | None = None) -> Cell:
        """A new cell at the end."""
        return self.insert(len(self.cells), source, cell_type, id)

    def notebook(self) -> dict[str, Any]:
        """The notebook as it would stand in the file: nbformat 4.5 JSON, a copy; but of a large
        output it has an excerpt, and a reference in ``blobs`` (see docs/protocol.md)."""
        # Late, as few need it: nbformat and what it needs take a second or more to import.
        from ..transforms.notebook import document_notebook

        self._check_kind(notebook=True)
        return deepcopy(document_notebook(self.content))

    # Text files.

    @property
    def text(self) -> str:
        """The content of a text file. Raises :class:`TypeError` for a notebook."""
        self._check_kind(notebook=False)
        text: str = self.content["source"]
        return text

    def set_text(self, text: str, *, at: Mark | None = None) -> None:
        """Make it this text by the smallest edit, as :meth:`Cell.set_source`."""
        old = self.text if at is None else at.content["source"]
        self.apply(text_change("/source", diff_text(old, text)), at=at)

    def edit_text(self, offset: int, delete: int = 0, insert: str = "") -> None:
        """Delete that many code points at an offset and insert a text there."""
        self.apply(text_change("/source", edit_delta(len(self.text), offset, delete, insert)))

    # Changes.

    def apply(self, ops: Change, *, at: Mark | None = None) -> None:
        """Change the document by operations, as one change and one step of undo.

        ``at``: the operations were made for the document as it was at that mark.
        """
        ops = deepcopy(ops)  # theirs to change again, ours to keep
        if at is not None:
            ops = at.now(ops)
            if self._draft is not None:
                ops, _ = transform_changes(ops, self._draft.ops, later=True)
        if ops:
            self._check_may(ops)
            if self._draft is not None:
                self._draft.add(ops)
            else:
                self._state.edit(ops)
                self.session.attend()

    @contextmanager
    def change(self) -> Iterator[None]:
        """What is done within is one atomic change and one step of undo; nothing of it is done if
        it ends in an exception. A change within a change is part of that one."""
        if self._draft is not None:
            yield
            return
        self._draft = draft = _Draft(self._state.document)
        try:
            yield
            self._draft = None
            self.apply(draft.ops)
        except BaseException:
            for asked in draft.asked:
                asked.error = DocumentError("cancelled", "the change was not made")
            raise
        finally:
            self._draft = None
        self._follow(draft.asked)

    def mark(self) -> Mark:
        """Remember this state, to say later what was made for it: ``apply(ops, at=mark)``,
        ``cell.set_source(text, at=mark)``. Between the two others may do what they like. For
        whoever reads, thinks long, and writes: an editor in a terminal, a language model."""
        self._check_no_draft()
        mark = Mark(self._state.document)
        self._marks.add(mark)
        return mark

    def undo(self) -> bool:
        """Take our own last change back; False if there is none. What others did stays."""
        return self._step(self._state.undo)

    def redo(self) -> bool:
        """Take our own last undo back; False if there is none."""
        return self._step(self._state.redo)

    def _step(self, step: Callable[[], bool]) -> bool:
        self._check_no_draft()
        self._check_writable()
        done = step()
        self.session.attend()
        return done

    # Waiting.

    async def acknowledged(self) -> None:
        """Return when what was changed so far is in the log; offline, that is when we are back.

        Raises :class:`DocumentError` if the server refused some of it (then it was taken back
        here), and if it can't be sent: the document is gone, may only be read, was closed.
        """
        if not self._state.pending:
            return
        first, last = self._state.pending[0].n, self._state.pending[-1].n

        def arrived() -> bool:
            for n, error in self.session.refused.items():
                if first <= n <= last:
                    raise error
            waiting = any(one.n <= last for one in self._state.pending)
            if waiting:
                self._check_writable()
                problem = self.problem
                if problem is not None and problem.code not in LATER:
                    raise problem
            return not waiting

        await self._wait(arrived)

    async def saved(self) -> None:
        """The same as :meth:`acknowledged`: from then on the server answers for it."""
        await self.acknowledged()

    async def flush(self) -> None:
        """Have the file written now, with all that was changed so far. (It is anyway, soon.)

        Raises :class:`DocumentError` as :meth:`acknowledged`, and ``not_saved``.
        """
        await self.acknowledged()
        self._check_open()
        await self.session.save()

    async def until(self, condition: Callable[[Document], bool]) -> None:
        """Return when the condition holds. It is looked at after everything that happens here.

        Raises what the condition raises, and :class:`DocumentError` when the document is closed.
        """
        await self._wait(lambda: condition(self))

    async def _wait(self, condition: Callable[[], bool]) -> None:
        if condition():
            return
        self._check_open()
        waiter = _Waiter(condition, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        try:
            await waiter.future
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    async def close(self, patience: float | None = None) -> None:
        """Stop following the document. Before that, wait ``patience`` seconds (the connection's,
        if not given) for the acknowledgements that are still to come.

        Raises :class:`DocumentError` (``unsaved``) if they did not come: the changes are lost.
        """
        if self._closed:
            return
        seconds = self.session.link.patience if patience is None else patience
        error: DocumentError | None = None
        try:
            await asyncio.wait_for(self.acknowledged(), seconds)
        except asyncio.TimeoutError:
            message = f"{self.unsaved} changes of {self.path!r} were not acknowledged"
            error = DocumentError("unsaved", message)
        except DocumentError as refused:
            error = refused
        self._end()
        if error is not None:
            raise error

    # Running.

    def run(self, *cells: Cell | str, wait: bool = True) -> Running:
        """Run cells (themselves or their ids), in this order; without any, all code cells.

        They are asked for behind all that was changed so far, as one change, at once; within
        ``change()``, at the end of that one. Await what is returned for the :class:`Run` of each
        cell: when all have ended or, without ``wait``, as soon as it is in the log that they were
        asked for. If a run fails, the others of the same call are aborted, as in Jupyter.

        Raises :class:`KeyError` and :class:`ValueError` for cells that are none or no code, and
        :class:`DocumentError` (``offline``): runs do not wait for a connection.
        """
        ids = [self._code_cell(cell) for cell in cells] if cells else self._code_cells()
        if len(set(ids)) < len(ids):
            raise ValueError("a cell runs once per call")
        asked = Asked(ids)
        draft = self._draft
        self.apply([{"op": "run", "path": pointer("cells", cell)} for cell in ids])
        if draft is not None:
            draft.asked.append(asked)
        else:
            self._follow([asked])
        return Running(asked, self._run_ended if wait else self._run_asked)

    @property
    def kernel(self) -> Kernel:
        """The notebook's kernel as it is now."""
        return Kernel.of(self.content)

    async def start_kernel(self) -> Kernel:
        """Have a kernel, if there is none. (The first run starts one, too.)

        Raises, as all that is asked of a kernel, :class:`DocumentError`: ``kernel_unavailable``,
        ``forbidden``, ``offline``.
        """
        return await self._ask_kernel("start")

    async def interrupt(self) -> Kernel:
        """Have the kernel stop what it runs; what is queued is aborted."""
        return await self._ask_kernel("interrupt")

    async def restart(self, *, run: bool | Iterable[Cell | str] = False) -> list[Run]:
        """Restart the kernel; what is queued or running is aborted. Then run these cells, or all
        code cells (True), as :meth:`run`."""
        if isinstance(run, bool):
            cells = self._code_cells() if run else []
        else:
            cells = [self._code_cell(cell) for cell in run]
        await self._ask_kernel("restart")
        return await self.run(*cells) if cells else []

    async def shutdown(self) -> Kernel:
        """End the kernel."""
        return await self._ask_kernel("shutdown")

    async def change_kernel(self, name: str) -> Kernel:
        """End the kernel and start one of another kernelspec."""
        return await self._ask_kernel("change", spec=name)

    @property
    def question(self) -> Question | None:
        """What a running cell asks by ``input()``, if one does."""
        for cell in self.cells:
            if cell.input is not None:
                return cell.input
        return None

    async def answer(self, question: Question, text: str) -> None:
        """Answer a question. Raises :class:`DocumentError`: ``answered`` if it is not asked any
        more, ``forbidden``, ``offline``."""
        await self.session.ask("input", id=question.id, value=text)

    async def comms(self) -> AsyncIterator[CommMessage]:
        """The comm messages of the kernel's widgets, in their order: first what would open those
        that there are as they are now, then what comes, until the document is closed. After a
        break of the connection it begins again, with ``comms_closed``."""
        if self._closed:
            return
        queue: asyncio.Queue[CommMessage | None] = asyncio.Queue()
        end = self.session.hear_comms(queue)
        try:
            while (message := await queue.get()) is not None:
                yield message
        finally:
            end()

    def send_comm(self, kind: str, content: dict[str, Any], buffers: Sequence[bytes] = ()) -> str:
        """Send the kernel a ``comm_open``, ``comm_msg`` or ``comm_close`` with that content.
        Returns the id of the message, the ``parent`` of what answers it. It is sent once, and not
        confirmed. Raises :class:`DocumentError` (``offline``)."""
        self.session.check_live()
        name = uuid4().hex
        message = {"type": "comm", "doc": self._state.doc, "id": name, "kind": kind}
        self.session.link.send({**message, "content": content, "buffers": in_base64(buffers)})
        return name

    def _code_cells(self) -> list[str]:
        return [cell.id for cell in self.cells if cell.type == "code"]

    def _code_cell(self, cell: Cell | str) -> str:
        found = self.cells[cell.id if isinstance(cell, Cell) else cell]
        if found.type != "code":
            raise ValueError(f"cell {found.id!r} is no code cell")
        return found.id

    def _follow(self, asked: list[Asked]) -> None:
        """The runs were asked for by the change that was made last."""
        for one in asked:
            if one.runs:
                one.n = self._state.pending[-1].n
                self._asked.append(one)

    async def _run_ended(self, asked: Asked) -> list[Run]:
        await self._wait(lambda: self._is_told(asked, asked.ended))
        return list(asked.runs.values())

    async def _run_asked(self, asked: Asked) -> list[Run]:
        await self._wait(lambda: self._is_told(asked, bool(asked.batch) or asked.ended))
        return list(asked.runs.values())

    def _is_told(self, asked: Asked, enough: bool) -> bool:
        """Whether enough is known of runs. Raises why no more ever will be."""
        if asked.runs and not asked.n and asked.error is None:
            raise RuntimeError("await it after change(): until then it is not asked for")
        error = asked.error or self.session.refused.get(asked.n)
        if error is not None:
            raise error
        if not enough:
            self._check_open()
            if self.problem is not None and self.problem.code not in LATER:
                raise self.problem
        return enough

    async def _ask_kernel(self, action: str, **more: Any) -> Kernel:
        self._check_kind(notebook=True)
        name: str = (await self.session.ask("kernel", action=action, **more))["id"]
        try:
            await asyncio.wait_for(self._wait(lambda: self._is_done(name)), KERNEL_SECONDS)
        except asyncio.TimeoutError:
            message = f"the kernel did not do it within {KERNEL_SECONDS:g} seconds"
            raise DocumentError("kernel_unavailable", message) from None
        return self.kernel

    def _is_done(self, request: str) -> bool:
        if request not in self._done:
            self._check_open()
            return False
        if error := self._done[request]:
            raise DocumentError("kernel_unavailable", error)
        return True

    # Events.

    def on_change(self, callback: Callable[[Change, str], Any]) -> Callable[[], None]:
        """Call ``callback(ops, origin)`` after each change; origin is ``"local"`` or
        ``"remote"``. Returns what ends it."""
        self._callbacks.append(callback)

        def end() -> None:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

        return end

    async def changes(self) -> AsyncIterator[Changed]:
        """Each change from now on, until the document is closed."""
        queue: asyncio.Queue[Changed | None] = asyncio.Queue()
        if self._closed:
            return
        self._streams.add(queue)
        try:
            while (changed := await queue.get()) is not None:
                yield changed
        finally:
            self._streams.discard(queue)

    # Presence.

    @property
    def presence(self) -> dict[str, Presence]:
        """The others who have the document open, by client."""
        return self.session.here()

    def set_presence(
        self,
        cell: Cell | str | None = None,
        anchor: int | None = None,
        head: int | None = None,
        **more: Any,
    ) -> None:
        """Tell the others where we are: in a cell, from anchor to head (in code points; head
        alone is a caret). ``more`` is small JSON of your own. It moves with the document, and ends
        with :meth:`clear_presence` or the connection. It is told at most ten times a second."""
        cell_id = cell.id if isinstance(cell, Cell) else cell
        if cell_id is not None:
            cell_id = self.cells[cell_id].id
        self.session.set_presence(Presence(self.client, {}, cell_id, anchor, head, more))

    def clear_presence(self) -> None:
        """Tell the others that we are nowhere."""
        self.session.set_presence(None)

    # What happens.

    def _on_entry(self, n: int, ops: Change) -> None:
        state = self._state
        for one in ops:
            if one["path"].startswith("/kernel"):
                self._note_done(state.confirmed)
        for asked in list(self._asked):
            if n and n == asked.n and not asked.batch:
                batch = f"{state.epoch}:{state.client}:{n}"
                asked.committed(batch, ops, state.confirmed, state.head.rev)
            elif asked.batch:
                asked.entered(ops, state.confirmed, state.head.rev)
        self._asked = [one for one in self._asked if not one.ended]

    def _on_whole(self) -> None:
        state = self._state
        if not self._asked and not self._done:
            return
        self._note_done(state.confirmed)
        waiting = {one.n for one in state.pending}
        for asked in self._asked:
            if asked.n not in waiting:
                asked.batch = asked.batch or f"{state.epoch}:{state.client}:{asked.n}"
                asked.look(state.confirmed, state.head.rev)

    def _on_cancelled(self, n: int, code: str, why: str) -> None:
        for asked in [one for one in self._asked if one.n == n]:
            if code == "lost":
                asked.lose(why, self.rev)
            else:
                asked.error = DocumentError(code, why)
            self._asked.remove(asked)

    def _note_done(self, content: Content) -> None:
        done = content.get("kernel", {}).get("done")
        if done is not None:
            self._done[done["request"]] = done.get("error", "")
            for name in list(self._done)[:-_REMEMBERED]:
                del self._done[name]

    def _on_change(self, ops: Change, origin: str) -> None:
        if self._draft is not None:
            self._draft.over(ops, self._state.document)
        for mark in self._marks:
            mark.happened(ops)
        changed = Changed(ops, origin)
        for queue in self._streams:
            queue.put_nowait(changed)
        for callback in list(self._callbacks):
            try:
                callback(ops, origin)
            except Exception:
                logger.exception("ot_jupyter: a callback of %s failed", self.path)

    def _on_anything(self) -> None:
        for waiter in list(self._waiters):
            if waiter.future.done():
                continue
            try:
                if waiter.condition():
                    waiter.future.set_result(None)
            except Exception as error:  # noqa: BLE001 - it goes to the one whose condition it is
                waiter.future.set_exception(error)

    def abandon(self) -> None:
        """It could not be opened: forget it, unless somebody else waits for it."""
        if not self._state.doc and not self._waiters:
            self._end()

    def give_way(self) -> None:
        """Another object stands for this document: close, as nothing was done in this one."""
        self._end()

    def _end(self) -> None:
        if self._closed:
            return
        self._closed = True
        self.session.close()
        for queue in self._streams:
            queue.put_nowait(None)
        for waiter in self._waiters:
            if not waiter.future.done():
                waiter.future.set_exception(self._closed_error())
        self._when_closed(self)

    # What may be done.

    def _closed_error(self) -> DocumentError:
        return DocumentError("closed", f"{self.path!r} is closed")

    def _check_open(self) -> None:
        if self._closed:
            raise self._closed_error()
        if self.session.stopped and self.problem is not None:
            raise self.problem

    def _check_may(self, ops: Change) -> None:
        if ops[-1]["op"] == "run":
            self.session.check_live()
        if only_runs(ops):
            self._check_open()
        else:
            self._check_writable()

    def _check_writable(self) -> None:
        self._check_open()
        if self._state.read_only:
            raise DocumentError("forbidden", f"{self.path!r} may only be read")

    def _check_kind(self, *, notebook: bool) -> None:
        if is_notebook(self.content) != notebook:
            raise TypeError(
                f"{self.path!r} is a text file: it has .text and no cells"
                if notebook
                else f"{self.path!r} is a notebook: it has .cells and no text"
            )

    def _check_no_draft(self) -> None:
        if self._draft is not None:
            raise RuntimeError("not within change()")

    def _new_id(self) -> str:
        while (cell_id := uuid4().hex[:8]) in self.content["cells"]:
            pass
        return cell_id
