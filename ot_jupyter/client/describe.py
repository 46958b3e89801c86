"""Entries and notebooks in words, for the terminal. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from ..transforms import Change, Delta, Operation, segments

MOST_TEXT = 60  # code points of a text that is quoted
MOST_PARTS = 4  # operations of one entry that are told


_ANONYMOUS = re.compile(r"[0-9a-f]{32}")


def describe_entry(entry: dict[str, Any]) -> str:
    """One line: when, which revision, who, what."""
    who = entry["user"] or entry["client"].partition(":")[0]
    if _ANONYMOUS.fullmatch(who):  # jupyter_server's name for who came with a token alone
        who = f"anonymous {who[:6]}"
    return f"{local_time(entry['time'])}  {entry['rev']:>5}  {who}  {describe(entry['ops'])}"


def describe(change: Change) -> str:
    """What a change does, in a phrase."""
    parts = [_phrase(operation) for operation in change[:MOST_PARTS]]
    if len(change) > MOST_PARTS:
        parts.append(f"and {len(change) - MOST_PARTS} more")
    return ", ".join(parts) or "nothing: it was refused, or others had done it"


def _phrase(operation: Operation) -> str:
    verb, where = operation["op"], segments(operation["path"])
    cell = f"cell {where[1]}" if where[0] == "cells" else ""
    if "index" in operation:
        index = operation["index"]
        if verb == "add":
            source = operation["value"]["source"]
            text = f": {quoted(source)}" if source else ""
            return f"inserted {cell} at {index}{text}"
        return f"moved {cell} to {operation['to']}" if verb == "move" else f"removed {cell}"
    if verb == "run":
        return f"asked to run {cell}"
    if where[0] == "kernel":
        return _of_kernel(operation, where)
    if not cell:
        return _edited(operation, "") if verb == "edit" else _written(operation, where, "")
    field = where[2]
    if field == "source":
        return _edited(operation, f" in {cell}")
    if field == "outputs":
        return _put_out(operation, cell)
    if verb == "replace" and len(where) == 3:
        value = operation["value"]
        if field == "cell_type":
            return f"made {cell} {value}"
        if field == "execution_count":
            return f"cleared the count of {cell}" if value is None else f"{cell} is run {value}"
        if field == "execution" and isinstance(value.get("state"), str):
            return _execution(cell, value)
    if where[2:] == ("execution", "input"):
        if verb == "remove":
            return f"what {cell} asked was answered"
        return f"{cell} asks {quoted(operation['value']['prompt'])}"
    return _written(operation, where[2:], f" of {cell}")


_ASKED = {
    "start": "started the kernel",
    "interrupt": "interrupted the kernel",
    "restart": "restarted the kernel",
    "shutdown": "shut the kernel down",
}


def _of_kernel(operation: Operation, where: tuple[str, ...]) -> str:
    value = operation.get("value", {})
    if where == ("kernel", "request"):
        return _ASKED.get(value["action"]) or f"changed the kernel to {value.get('spec')}"
    if where == ("kernel", "done"):
        error = value.get("error")
        return f"could not do it: {error}" if error else "did what was asked of the kernel"
    if where != ("kernel",) or "state" not in value:
        return _written(operation, where, "")
    if value["state"] == "none":
        reason = value.get("reason")
        return "there is no kernel" + (f": {reason}" if reason else "")
    name = f" ({value['name']})" if value["state"] == "ready" and "name" in value else ""
    return f"the kernel is {value['state']}{name}"


def _execution(cell: str, value: dict[str, Any]) -> str:
    told = f"{cell} is {value['state']}"
    if "next" in value:
        told += f", {counted(len(value['next']), 'run')} of it to come"
    return told + (f": {value['reason']}" if value.get("reason") else "")


def _edited(operation: Operation, place: str) -> str:
    typed, deleted = _typed(operation["delta"])
    done = [f"typed {quoted(typed)}"] if typed else []
    if deleted:
        done.append(f"deleted {counted(deleted, 'character')}")
    return " and ".join(done) + place


def _typed(delta: Delta) -> tuple[str, int]:
    """What an edit of a text inserts, and how much it deletes."""
    typed = "".join(part for part in delta if isinstance(part, str))
    return typed, -sum(part for part in delta if isinstance(part, int) and part < 0)


def _put_out(operation: Operation, cell: str) -> str:
    delta = operation["delta"]
    added = sum(len(part) for part in delta if isinstance(part, list))
    texts = [_typed(part["text"]) for part in delta if isinstance(part, dict)]
    printed = sum(len(typed) for typed, _ in texts)
    if added:
        return f"{cell} put out {counted(added, 'item')}"
    if printed:
        return f"{cell} put out {counted(printed, 'character')}"
    if texts:
        return f"{cell} took back {counted(sum(gone for _, gone in texts), 'character')}"
    removed = -sum(part for part in delta if isinstance(part, int) and part < 0)
    return f"cleared {counted(removed, 'output')} of {cell}"


def _written(operation: Operation, where: tuple[str, ...], of: str) -> str:
    done = "removed" if operation["op"] == "remove" else "set"
    return f"{done} {' '.join(where)}{of}"


def describe_notebook(notebook: dict[str, Any]) -> Iterator[str]:
    """The lines of a notebook's cells: a head with number, type and id, then the source."""
    for index, cell in enumerate(notebook["cells"]):
        count = cell.get("execution_count")
        run = "" if count is None else f"  run {count}"
        yield f"── {index}  {cell['cell_type']}  {cell['id']}{run} ──"
        if cell["source"]:
            yield from plain("".join(cell["source"])).split("\n")
        yield ""


def local_time(time: str) -> str:
    """A time of the log (UTC, ISO 8601) in the zone of this machine, to the second."""
    try:
        return f"{datetime.fromisoformat(time.replace('Z', '+00:00')).astimezone():%F %T}"
    except ValueError:
        return time


def counted(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")


def quoted(text: str) -> str:
    """A text in quotes, on one line, not too long."""
    return repr(text if len(text) <= MOST_TEXT else text[: MOST_TEXT - 1] + "…")


def plain(text: str) -> str:
    """A text without what a terminal would obey: others may have written it."""
    return "".join(
        char if char.isprintable() or char in "\n\t" else repr(char)[1:-1] for char in text
    )
