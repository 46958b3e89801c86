"""From a kernel's messages to operations on the document. No I/O, no clock.

Messages are taken as they come; now and then the driver asks for the operations that make the
document show what was taken. Between the two, all that a later message has made void (a progress
bar, the frames of an animation) is gone.

What is in the document is the truth: people clear outputs, remove cells and bring them back while
a kernel prints. So nothing is assumed about a place. An output of ours is found by identity, or,
after its text was edited in place or the document was rebuilt from bytes, by equality; if it is not
found, others have removed it.

The driver's order for one flush, without a pause in between: :meth:`Outputs.changes`,
:meth:`Outputs.take_blobs`, :meth:`Outputs.take_spooled`, :meth:`Outputs.take_sealed`. Then it
stores, seals, submits.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from ..transforms import Delta, Document, Operation, pointer
from ..transforms.blobs import OUTPUT_LIMIT, detach
from ..transforms.delta import canonical
from ..transforms.diff import common_prefix, common_suffix
from . import messages
from .messages import Malformed, Output
from .printed import Printed

PAUSE: Final = 0.03  # seconds between flushes
LONGEST_PAUSE: Final = 0.5
LOG_RATE: Final = 1_000_000  # bytes a second that a flood may write into the log
TAIL_RATE: Final = 100_000  # … of which to show the end of what is not shown in full

_log = logging.getLogger(__name__)

_DISPLAYS: Final = ("display_data", "update_display_data", "execute_result")


@dataclass(eq=False, slots=True)
class _Item:
    """One output of ours. ``number`` tells the order of a cell's items, in the document too."""

    number: int
    output: Output | None = None  # what is to be shown, if nothing is printed here
    printed: Printed | None = None
    display: str | None = None  # the display_id
    blobs: dict[str, bytes] = field(default_factory=dict)  # not handed out yet
    shown: Output | None = None  # what is in the document
    copied: bool = False  # whether it has an equal output, not this very one

    def value(self) -> Output:
        if self.printed is not None:
            return self.printed.value()
        assert self.output is not None
        return self.output

    def mark(self, shown: Output) -> None:
        self.shown, self.copied = shown, False
        if self.printed is not None:
            self.printed.mark()


@dataclass(eq=False, slots=True)
class _Cell:
    id: str
    run: str
    items: set[_Item] = field(default_factory=set)
    changed: set[_Item] = field(default_factory=set)
    stream: _Item | None = None  # the last item, if it is a stream that goes on
    cleared: bool = False  # what the document has is to be removed
    clear_next: bool = False  # …as soon as there is another output
    streams: int = 0  # so many had a name


class Outputs:
    """The outputs of one running kernel, in all its cells.

    ``malformed`` counts messages that were skipped, wholly or in part, as they were not as the
    protocol says.
    """

    def __init__(self) -> None:
        self.malformed = 0
        self._cells: dict[str, _Cell] = {}
        self._runs: dict[str, _Cell] = {}  # only the last run of a cell has a say
        self._dirty: dict[str, _Cell] = {}
        self._displays: dict[str, set[_Item]] = {}
        self._places: dict[_Item, _Cell] = {}
        self._blobs: dict[str, bytes] = {}
        self._large: dict[str, _Item] = {}  # by the name of the spool, until it is sealed
        self._to_seal: dict[str, Printed] = {}
        self._number = 0
        self._written = 0  # bytes, by the last changes
        self._tails = 0  # bytes of them that show the end of what is not shown in full

    # What the driver tells.

    def begin(self, run: str, cell: str, outputs: Iterable[Output] = ()) -> None:
        """Messages whose parent is ``run`` belong to this cell from now on.

        The driver has cleared the cell in the entry that claims the run. If it takes over a run
        that goes on, it passes the cell's ``outputs``: a stream at their end grows on.
        """
        before = self._cells.get(cell)
        streams = 0
        if before is not None:
            self._forget(before, before.items)
            self._dirty.pop(cell, None)
            self._runs.pop(before.run, None)
            streams = before.streams if before.run == run else 0
        new = self._cells[cell] = self._runs[run] = _Cell(cell, run, streams=streams)
        *_, last = (None, *outputs)
        if last is not None and _is_open_stream(last):
            item = self._new_item(new)
            new.stream = item
            self._print(new, item, last["name"], last["text"])
            item.mark(last)

    def end(self, run: str) -> None:
        """The run is over: nothing will be printed but by threads. May be called again."""
        cell = self._runs.get(run)
        if cell is not None and cell.stream is not None:
            printed = cell.stream.printed
            if printed is not None and printed.measure():
                self._close(cell)

    def sealed(self, name: str, hash: str, size: int) -> None:
        """The spool of that name is a blob now."""
        item = self._large.pop(name, None)
        if item is not None and item.printed is not None and item.printed.name == name:
            item.printed.blob = {"hash": hash, "size": size, "type": "text/plain"}
            self._change(self._places[item], item)

    def take(self, message: dict[str, Any]) -> None:
        """Take a message as jupyter_client gives it; what is not ours is ignored."""
        try:
            self._take(message)
        except Malformed as error:
            self.malformed += 1
            _log.debug("A kernel's message was skipped: %s", error)

    # What the driver asks for.

    @property
    def dirty(self) -> bool:
        """Whether the document does not show yet what was taken."""
        return bool(self._dirty)

    def pause(self) -> float:
        """Seconds to wait before the next flush, so that outputs which are written anew each time
        don't fill the log."""
        wanted = max(self._written / LOG_RATE, self._tails / TAIL_RATE)
        return max(PAUSE, min(LONGEST_PAUSE, wanted))

    def changes(self, document: Document) -> list[Operation]:
        """The operations that make the document show what was taken, which counts as shown now.

        One edit per cell at most. ``document`` is the state at the head, and the base of the
        submission; the next call comes after its verdict.
        """
        operations: list[Operation] = []
        self._tails = 0
        for cell in self._dirty.values():
            present = document["cells"].get(cell.id)
            if present is None:
                self._forget(cell, cell.items)
                cell.cleared = False
                continue
            delta = self._delta(cell, present["outputs"])
            if delta:
                path = pointer("cells", cell.id, "outputs")
                operations.append({"op": "edit", "path": path, "delta": delta})
        self._dirty.clear()
        self._written = len(orjson.dumps(operations)) if operations else 0
        return operations

    def take_blobs(self) -> dict[str, bytes]:
        """The contents of large outputs, by hash, to be stored before they are submitted."""
        blobs, self._blobs = self._blobs, {}
        for cell in self._dirty.values():
            for item in cell.changed:
                blobs.update(item.blobs)
                item.blobs = {}
        return blobs

    def take_spooled(self) -> list[tuple[str, bytes]]:
        """Pieces of large streams, each with the name of the spool to which it is appended."""
        return [
            (name, item.printed.hand_out())
            for name, item in self._large.items()
            if item.printed is not None and item.printed.holds
        ]

    def take_sealed(self) -> list[str]:
        """Names of spools that are complete; each is sealed, and :meth:`sealed` called."""
        names = [name for name, printed in self._to_seal.items() if not printed.holds]
        for name in names:
            self._to_seal.pop(name).handed_over = True
        return names

    # Messages.

    def _take(self, message: dict[str, Any]) -> None:
        kind = messages.field(messages.field(message, "header", dict), "msg_type", str)
        if kind in _DISPLAYS:
            self._take_display(kind, message)
            return
        cell = self._cell_of(message)
        if cell is None:
            return
        content = messages.field(message, "content", dict)
        if kind == "stream":
            name, text = messages.stream(content)
            if text:
                self._take_stream(cell, name, text)
        elif kind == "error":
            self._add(cell, messages.output(kind, content))
        elif kind == "clear_output":
            if messages.optional(content, "wait", bool):
                self._close(cell)
                cell.clear_next = True
            else:
                self._clear(cell)
        elif kind == "execute_reply":
            shown = messages.page(content)
            if shown is not None:
                self._add(cell, shown)

    def _cell_of(self, message: dict[str, Any]) -> _Cell | None:
        parent = messages.optional(message, "parent_header", dict).get("msg_id")
        return self._runs.get(parent) if isinstance(parent, str) else None

    def _take_display(self, kind: str, message: dict[str, Any]) -> None:
        display = messages.display_id(message)
        cell = self._cell_of(message) if kind != "update_display_data" else None
        known = self._displays.get(display, ()) if display is not None else ()
        if cell is None and not known:
            return
        output = messages.output(kind, messages.field(message, "content", dict))
        output, blobs = detach(output, OUTPUT_LIMIT)
        if known:
            # JupyterLab shows whatever comes with a known id as an update first.
            update: Output = {**output, "output_type": "display_data"}
            update.pop("execution_count", None)
            for item in known:
                item.output, item.blobs = update.copy(), blobs.copy()  # found by identity
                self._change(self._places[item], item)
        if cell is not None:
            self._add(cell, output, blobs, display if kind == "display_data" else None)

    def _take_stream(self, cell: _Cell, name: str, text: str) -> None:
        self._before_output(cell)
        item = cell.stream
        if item is None or item.printed is None or item.printed.stream != name:
            self._close(cell)
            item = cell.stream = self._new_item(cell)
            self._print(cell, item, name, text)
        else:
            item.printed.write(text)
            self._note_large(item)
        self._change(cell, item)

    def _add(
        self,
        cell: _Cell,
        output: Output,
        blobs: dict[str, bytes] | None = None,
        display: str | None = None,
    ) -> None:
        self._before_output(cell)
        self._close(cell)
        item = self._new_item(cell)
        if blobs is None:
            output, blobs = detach(output, OUTPUT_LIMIT)
        item.output, item.blobs, item.display = output, blobs, display
        if display is not None:
            self._displays.setdefault(display, set()).add(item)
        self._change(cell, item)

    def _before_output(self, cell: _Cell) -> None:
        if cell.clear_next:
            self._clear(cell)

    def _clear(self, cell: _Cell) -> None:
        self._forget(cell, cell.items)
        cell.cleared = True
        cell.clear_next = False
        self._dirty[cell.id] = cell

    # Items.

    def _new_item(self, cell: _Cell) -> _Item:
        self._number += 1
        item = _Item(self._number)
        cell.items.add(item)
        self._places[item] = cell
        return item

    def _change(self, cell: _Cell, item: _Item) -> None:
        cell.changed.add(item)
        self._dirty[cell.id] = cell

    def _print(self, cell: _Cell, item: _Item, name: str, text: str) -> None:
        """Let a text begin in this item, instead of what was printed there."""
        self._abandon(item)
        item.printed = Printed(name, f"{cell.run}.{cell.streams}", text)
        cell.streams += 1
        self._note_large(item)
        if item is not cell.stream:
            self._seal(item)

    def _note_large(self, item: _Item) -> None:
        printed = item.printed
        if printed is not None and printed.large and printed.blob is None:
            self._large[printed.name] = item

    def _close(self, cell: _Cell) -> None:
        """What is printed from now on goes into another output."""
        item, cell.stream = cell.stream, None
        if item is not None:
            self._seal(item)

    def _seal(self, item: _Item) -> None:
        printed = item.printed
        if printed is None:
            return
        printed.close()
        self._note_large(item)
        if printed.large:
            self._to_seal[printed.name] = printed

    def _forget(self, cell: _Cell, items: Iterable[_Item]) -> None:
        for item in list(items):
            cell.items.discard(item)
            cell.changed.discard(item)
            self._places.pop(item, None)
            if item.display is not None:
                same = self._displays.get(item.display, set())
                same.discard(item)
                if not same:
                    self._displays.pop(item.display, None)
            if item is cell.stream:
                cell.stream = None
            self._abandon(item)

    def _abandon(self, item: _Item) -> None:
        """Nobody will see this text again. A spool that exists is sealed, to be collected."""
        printed = item.printed
        if printed is None or self._large.pop(printed.name, None) is None:
            return
        self._to_seal.pop(printed.name, None)
        if printed.handed_out and not printed.handed_over:
            printed.hand_out()
            self._to_seal[printed.name] = printed

    # Changes.

    def _delta(self, cell: _Cell, outputs: list[Output]) -> Delta:
        """The edit of the cell's outputs that shows its changed items."""
        changed = sorted(cell.changed, key=_order)
        _meet_copies(cell, outputs)
        places = {} if cell.cleared else self._find(cell, changed, outputs)
        replaced: dict[int, _Item] = {}
        added: list[_Item] = []
        for item in changed:
            if item in places:
                replaced[places[item]] = item
            elif item.shown is None or self._goes_on(cell, item):
                added.append(item)
            else:
                self._forget(cell, [item])
        kept = 0 if cell.cleared else len(outputs)
        for item in added:  # what comes back stands at the end now
            self._number += 1
            item.number = self._number
        last = kept - 1
        if added and kept and last not in replaced and self._join(cell, added[0], outputs[last]):
            replaced[last] = added.pop(0)
        if added and cell.stream is not None and cell.stream is not added[-1]:
            self._close(cell)
        parts: Delta = [kept - len(outputs)]
        at = 0
        for place in sorted(replaced):
            change = self._show_again(replaced[place], outputs[place])
            if change:
                parts += [place - at, *change]
                at = place + 1
        parts += [kept - at, [self._show(item) for item in added]]
        cell.changed.clear()
        cell.cleared = False
        return canonical(parts)

    def _show(self, item: _Item, present: Output | None = None) -> Output:
        """The item as the document will have it: what is there, if that is the same."""
        output = item.value()
        self._note_large(item)
        if output == present:
            output = present
        item.mark(output)
        self._blobs.update(item.blobs)
        item.blobs = {}
        return output

    def _show_again(self, item: _Item, present: Output) -> Delta:
        """The parts that make what is there into what the item is now; none if it is that."""
        output = self._show(item, present)
        if output is present:
            return []
        if item.printed is None or not _differs_in_text(present, output):
            return [[output], -1]
        item.copied = True
        text = _rewritten(present["text"], output["text"])
        if item.printed.large:
            self._tails += len(orjson.dumps(text))
        return [{"text": text}]

    def _find(self, cell: _Cell, changed: list[_Item], outputs: list[Output]) -> dict[_Item, int]:
        """Where in the document the changed items are that it has."""
        shown = [item for item in changed if item.shown is not None]
        if not shown:
            return {}
        at = {id(output): index for index, output in enumerate(outputs)}
        if any(id(item.shown) not in at for item in shown):
            self._find_again(cell, outputs, at)
        return {item: at[id(item.shown)] for item in shown if id(item.shown) in at}

    def _find_again(self, cell: _Cell, outputs: list[Output], at: dict[int, int]) -> None:
        """Take equal outputs for ours, in their order, where ours are not in the document; forget
        those that others have removed, unless they have changed since."""
        ours = sorted((item for item in cell.items if item.shown is not None), key=_order)
        known = {at[id(item.shown)] for item in ours if id(item.shown) in at}
        free = [index for index in range(len(outputs)) if index not in known]
        start = 0
        for item in ours:
            if id(item.shown) in at:
                continue
            for index in range(start, len(free)):
                if outputs[free[index]] == item.shown:
                    item.shown = outputs[free[index]]
                    start = index + 1
                    break
            else:
                if item not in cell.changed:
                    self._forget(cell, [item])

    def _goes_on(self, cell: _Cell, item: _Item) -> bool:
        """Whether an item that others have removed comes back, as it has changed since. A stream
        comes back with what was printed after what they have seen."""
        if item.printed is None:
            return True
        text = item.printed.since()
        if text == "":
            return False
        if text is not None:
            self._print(cell, item, item.printed.stream, text)
        return True

    def _join(self, cell: _Cell, item: _Item, last: Output) -> bool:
        """Whether the item is a stream that would stand beside one of its name; it goes on in
        that one's place then."""
        printed = item.printed
        if printed is None or printed.measure() or not _is_open_stream(last):
            return False
        if printed.stream != last["name"]:
            return False
        self._forget(cell, [other for other in cell.items if other.shown is last])
        self._print(cell, item, printed.stream, last["text"] + printed.value()["text"])
        return True


def _order(item: _Item) -> int:
    return item.number


def _meet_copies(cell: _Cell, outputs: list[Output]) -> None:
    """Take for ours what came of edits in place: it is equal, and nearly always the last one."""
    copied = sorted((item for item in cell.items if item.copied), key=_order, reverse=True)
    if not copied:
        return
    taken = {id(item.shown) for item in cell.items if not item.copied}
    for item in copied:
        item.copied = False
        for output in reversed(outputs):
            if output == item.shown and id(output) not in taken:
                item.shown = output
                taken.add(id(output))
                break


def _differs_in_text(old: Output, new: Output) -> bool:
    """Whether two outputs are streams that differ in nothing but the text."""
    return (
        old["output_type"] == "stream"
        and isinstance(old["text"], str)
        and {**old, "text": new["text"]} == new
    )


def _rewritten(old: str, new: str) -> Delta:
    """The delta between two texts of a stream: it grows, or its end is another."""
    start = common_prefix(old, new)
    end = common_suffix(old[start:], new[start:])
    return canonical([start, new[start : len(new) - end], start + end - len(old)])


def _is_open_stream(output: Output) -> bool:
    """Whether an output of the document is a stream whose whole text stands in it."""
    return (
        output.get("output_type") == "stream"
        and isinstance(output.get("name"), str)
        and isinstance(output.get("text"), str)
        and "blobs" not in output
    )
