"""What a program sees of a notebook's kernel."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..transforms.values import Document as Content


@dataclass(frozen=True, slots=True)
class Kernel:
    """A notebook's kernel.

    ``state`` is ``"none"``, ``"starting"``, ``"ready"`` or ``"restarting"``; ``name`` that of its
    kernelspec, ``id`` that of jupyter_server. Each start and restart has a ``generation`` of its
    own, from 1. ``reason`` says why there is none, if it is not simply that nobody started one.
    """

    state: str = "none"
    name: str = ""
    id: str = ""
    generation: int = 0
    reason: str = ""

    @classmethod
    def of(cls, content: Content) -> Kernel:
        """The kernel that a document tells of."""
        told = content.get("kernel", {})
        return cls(**{key: told[key] for key in cls.__slots__ if key in told})


@dataclass(frozen=True, slots=True)
class Question:
    """What a running cell asks by ``input()`` or ``getpass()``."""

    cell: str
    id: str
    prompt: str
    password: bool

    @classmethod
    def of(cls, cell: str, execution: dict[str, Any]) -> Question | None:
        """The question of a cell with this ``execution``, if it asks one."""
        asked = execution.get("input")
        if asked is None:
            return None
        return cls(cell, asked["id"], asked["prompt"], asked["password"])


@dataclass(frozen=True, slots=True)
class CommMessage:
    """A message of the kernel's widgets.

    ``kind`` is ``"comm_open"``, ``"comm_msg"`` or ``"comm_close"`` with the ``content`` of
    Jupyter's message of that type, or ``"comms_closed"``: all that were open are no more.
    ``parent`` is the id of the message that it answers, or ``""``.
    """

    kind: str
    content: dict[str, Any] = field(default_factory=dict)
    buffers: list[bytes] = field(default_factory=list)
    parent: str = ""

    @property
    def comm_id(self) -> str:
        return str(self.content.get("comm_id", ""))


def comms_in(message: dict[str, Any], *, again: bool) -> list[CommMessage]:
    """The messages that a ``comm`` or ``comms`` of the server stands for. ``again``: some were told
    before, so what was open is void."""
    if message["type"] == "comm":
        buffers = _bytes(message["buffers"])
        return [CommMessage(message["kind"], message["content"], buffers, message["parent"])]
    opened = [
        CommMessage(
            "comm_open",
            {key: value for key, value in one.items() if key not in ("buffers", "metadata")},
            _bytes(one["buffers"]),
        )
        for one in message["open"]
    ]
    return [*([CommMessage("comms_closed")] if again else []), *opened]


def in_base64(buffers: Sequence[bytes]) -> list[str]:
    """Binary parts as the wire has them."""
    return [b64encode(one).decode() for one in buffers]


def _bytes(buffers: Sequence[str]) -> list[bytes]:
    return [b64decode(one) for one in buffers]
