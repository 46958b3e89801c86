"""Which comms are open in a kernel, and their state, for clients that join later. No I/O.

A widget's state is the sum of what both sides sent (the ipywidgets protocol, version 2). Binary
parts of a state travel beside the message; ``buffer_paths`` says where each belongs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from ..transforms.values import MAX_DEPTH, Json
from .messages import Malformed, TooDeep, clean, optional, output, stream, well_formed
from .messages import field as required

STATE_LIMIT: Final = 64 * 2**20  # bytes, for all comms of a kernel
_COMM_COST: Final = 256  # bytes that an empty comm counts

_CAPTURED: Final = ("stream", "display_data", "execute_result", "error", "clear_output")
_METHODS: Final = ("update", "echo_update")

Path = tuple[str | int, ...]


@dataclass(slots=True)
class _Comm:
    target_name: str
    data: dict[str, Json]  # of its opening, without state and buffer paths
    metadata: dict[str, Json]
    has_state: bool
    state: dict[str, Json] = field(default_factory=dict)
    buffers: dict[Path, bytes] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)  # bytes, by the state's keys
    cost: int = 0  # bytes, of all else
    clear_next: bool = False  # what an output widget shows goes when there is something else


class Comms:
    """The open comms of one kernel.

    ``refused`` counts what was not kept, as all states together would have grown beyond the
    limit; ``malformed`` what was not as the protocol says.
    """

    def __init__(self, limit: int = STATE_LIMIT) -> None:
        self.refused = 0
        self.malformed = 0
        self._limit = limit
        self._size = 0
        self._comms: dict[str, _Comm] = {}
        self._captures: dict[str, list[str]] = {}  # by parent; the last one has it

    def take(self, message: dict[str, Any]) -> None:
        """Take a comm message of the kernel; others are ignored."""
        try:
            self._take(message)
        except Malformed:
            self.malformed += 1

    def sent(self, message: dict[str, Any]) -> None:
        """Take a comm message that a client sends to the kernel: a slider moved by one client
        stands there for the next, also where kernels send no echo."""
        self.take(message)

    def clear(self) -> None:
        """The kernel has restarted: nothing is open."""
        self._comms.clear()
        self._captures.clear()
        self._size = 0

    def captures(self, parent_msg_id: str) -> str | None:
        """The comm of the output widget that shows the outputs of that parent instead of the
        cell. Of several, the one that began last."""
        comms = self._captures.get(parent_msg_id)
        return comms[-1] if comms else None

    def captured(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """What an output widget shows with this message of the kernel, as the content of the
        ``comm_msg`` that tells the kernel so; None: no widget takes it. (Front ends do this for
        what they run; who runs cells has to do it for all.)"""
        kind = message["header"]["msg_type"]
        comm_id = self.captures(message["parent_header"].get("msg_id", ""))
        if comm_id is None or kind not in _CAPTURED:
            return None
        comm = self._comms[comm_id]
        held = comm.state.get("outputs")
        outputs = list(held) if isinstance(held, (list, tuple)) else []
        try:
            if kind == "clear_output":
                comm.clear_next = message["content"].get("wait") is True
                outputs = outputs if comm.clear_next else []
            else:
                outputs = [] if comm.clear_next else outputs
                comm.clear_next = False
                _append(outputs, kind, message["content"])
        except (Malformed, TooDeep):
            self.malformed += 1
        state = {"outputs": outputs}
        return {
            "comm_id": comm_id,
            "data": {"method": "update", "state": state, "buffer_paths": []},
        }

    def state(self) -> list[dict[str, Any]]:
        """The open comms in the order of their opening, each as the content of a ``comm_open``
        that would open it as it is now, with ``metadata`` and ``buffers`` of the message."""
        return [_opening(comm_id, comm) for comm_id, comm in self._comms.items()]

    def _take(self, message: dict[str, Any]) -> None:
        kind = required(required(message, "header", dict), "msg_type", str)
        if kind not in ("comm_open", "comm_msg", "comm_close"):
            return
        content = required(message, "content", dict)
        comm_id = well_formed(required(content, "comm_id", str))
        if kind == "comm_close":
            self._close(comm_id)
            return
        data = optional(content, "data", dict)
        buffers = [_binary(part) for part in optional(message, "buffers", list)]
        if kind == "comm_open":
            target = well_formed(required(content, "target_name", str))
            self._open(comm_id, target, data, optional(message, "metadata", dict), buffers)
        elif comm_id in self._comms and data.get("method") in _METHODS:
            self._merge(comm_id, data, buffers)

    def _open(
        self,
        comm_id: str,
        target: str,
        data: dict[str, Json],
        metadata: dict[str, Json],
        buffers: list[bytes],
    ) -> None:
        has_state = isinstance(data.get("state"), dict)
        rest = {
            key: clean(value, MAX_DEPTH)
            for key, value in data.items()
            if not (has_state and key in ("state", "buffer_paths"))
        }
        metadata = clean(metadata, MAX_DEPTH)
        cost = _COMM_COST + len(comm_id) + len(target) + len(orjson.dumps([rest, metadata]))
        if not has_state:
            cost += sum(map(len, buffers))
        self._close(comm_id)
        if self._size + cost > self._limit:
            self.refused += 1
            return
        comm = _Comm(target, rest, metadata, has_state, cost=cost)
        self._comms[comm_id] = comm
        self._size += cost
        if has_state:
            self._merge(comm_id, data, buffers)
        else:
            comm.buffers = {(index,): part for index, part in enumerate(buffers)}

    def _merge(self, comm_id: str, data: dict[str, Json], buffers: list[bytes]) -> None:
        """Let the message's keys, with the buffers inside them, stand for what was there."""
        comm = self._comms[comm_id]
        state = clean(optional(data, "state", dict), MAX_DEPTH)
        placed = dict(zip(_paths(data), buffers, strict=False))
        before = _captured(comm)
        for key in dict.fromkeys([*state, *(str(path[0]) for path in placed)]):
            inside = {path: part for path, part in placed.items() if path[0] == key}
            size = len(key) + sum(map(len, inside.values()))
            if key in state:
                size += len(orjson.dumps(state[key]))
            grown = size - comm.sizes.get(key, 0)
            if grown > 0 and self._size + grown > self._limit:
                self.refused += 1
                continue
            self._size += grown
            comm.sizes[key] = size
            comm.state.pop(key, None)
            if key in state:
                comm.state[key] = state[key]
            comm.buffers = {p: part for p, part in comm.buffers.items() if p[0] != key} | inside
        self._capture(comm_id, before, _captured(comm))

    def _close(self, comm_id: str) -> None:
        comm = self._comms.pop(comm_id, None)
        if comm is not None:
            self._size -= comm.cost + sum(comm.sizes.values())
            self._capture(comm_id, _captured(comm), "")

    def _capture(self, comm_id: str, before: str, after: str) -> None:
        if before == after:
            return
        if before:
            comms = self._captures[before]
            comms.remove(comm_id)
            if not comms:
                del self._captures[before]
        if after:
            self._captures.setdefault(after, []).append(comm_id)


def _append(outputs: list[Json], kind: str, content: Json) -> None:
    """Show one more output; streams of one name are one."""
    if kind != "stream":
        outputs.append(output(kind, content))
        return
    name, text = stream(content)
    last = outputs[-1] if outputs else None
    if isinstance(last, dict) and (last.get("output_type"), last.get("name")) == ("stream", name):
        outputs[-1] = {**last, "text": str(last.get("text", "")) + text}
    else:
        outputs.append({"output_type": "stream", "name": name, "text": text})


def _binary(part: object) -> bytes:
    if isinstance(part, (bytes, bytearray, memoryview)):
        return bytes(part)
    raise Malformed("a buffer is bytes")


def _paths(data: dict[str, Json]) -> list[Path]:
    """Where each buffer belongs."""
    paths = [clean(path, 1) for path in optional(data, "buffer_paths", list)]
    for path in paths:
        if not (
            isinstance(path, list)
            and path
            and isinstance(path[0], str)
            and all(isinstance(key, (str, int)) for key in path)
        ):
            raise Malformed("a buffer path is a list of keys and indexes")
    return [tuple(path) for path in paths]


def _captured(comm: _Comm) -> str:
    """The parent whose outputs an output widget shows."""
    if comm.state.get("_model_name") != "OutputModel":
        return ""
    parent = comm.state.get("msg_id")
    return parent if isinstance(parent, str) else ""


def _opening(comm_id: str, comm: _Comm) -> dict[str, Any]:
    data = dict(comm.data)
    if comm.has_state:
        data["state"] = dict(comm.state)
        data["buffer_paths"] = [list(path) for path in comm.buffers]
    return {
        "comm_id": comm_id,
        "target_name": comm.target_name,
        "data": data,
        "metadata": comm.metadata,
        "buffers": list(comm.buffers.values()),
    }
