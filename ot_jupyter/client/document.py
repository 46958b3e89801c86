"""A live document, for programs: read it, change it, hear of what others do.

Reading and writing are plain calls: a change is made at once, here, and goes to the server as soon
as it can. What waits for the server is ``async``. Everything belongs to the event loop on which
the connection was made; :mod:`ot_jupyter.client.sync` is for other threads.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
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
from .mark import Mark
from .presence import Presence
from .session import LATER, Link, Session
from .state import Conflict, Head

logger = logging.getLogger("ot_jupyter.client")


@dataclass(frozen=True, slots=True)
class Changed:
    """The document was changed, by us (``origin`` is ``"local"``) or by others (``"remote"``)."""

    ops: Change
    origin: str


@dataclass(slots=True)
class _Draft:
    """A change that is being put together."""

    content: Content
    ops: Change

    def add(self, ops: Change) -> None:
        check_change(ops, notebook=is_notebook(self.content), from_client=True)
        self.content = apply(self.content, ops)
        runs = bool(self.ops) and self.ops[-1]["op"] == "run"
        self.ops = self.ops + ops if runs else compose(self.ops, ops)

    def over(self, ops: Change, content: Content) -> None:
        """Somebody else's change came between; ``content`` is the document after it."""
        self.ops, _ = transform_changes(self.ops, ops, later=True)
        self.content = apply(content, self.ops)


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
            self._check_writable()
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
        self._draft = draft = _Draft(self._state.document, [])
        try:
            yield
        finally:
            self._draft = None
        self.apply(draft.ops)

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
