"""Somebody who types, in whatever protocol: keys pressed, sent, acknowledged, heard of by others.

What a run is judged by is worked out after it (see :func:`ledger`), from notes that cost little to
take: while it runs, this process shares the machine with the server.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from time import perf_counter

from .wire import WebSocket


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is, and what lets one in."""

    url: str  # http://host:port
    token: str = ""

    @property
    def ws(self) -> str:
        return "ws" + self.url.removeprefix("http")


@dataclass(frozen=True, slots=True)
class Seat:
    """Which document a client opens and which of its cells is its own to type in."""

    path: str
    number: int  # among the document's clients, from 0


@dataclass(frozen=True, slots=True)
class Sent:
    """Letters that went off together: when their keys were pressed, and the change's name."""

    keys: list[float]
    name: Hashable


class Typist(ABC):
    """One client at one document. It types ``x`` at the end of its own cell."""

    def __init__(self, address: Address, seat: Seat) -> None:
        self.address = address
        self.seat = seat
        self.socket: WebSocket
        self.sent: list[Sent] = []  # and acknowledged
        self.marks: list[tuple[float, Hashable]] = []  # (when, name) of what came
        self.on_acknowledged: Callable[[int], None] = lambda letters: None

    @abstractmethod
    async def open(self) -> None:
        """Connect and hold the document."""

    @abstractmethod
    def press(self, letters: int) -> None:
        """Keys are pressed, now."""

    @property
    @abstractmethod
    def pending(self) -> list[float]:
        """When the keys were pressed of letters that are not acknowledged."""

    @abstractmethod
    def ledger(self, all: Sequence[Typist]) -> Ledger:
        """What became of the letters of all clients of this document."""

    def acknowledged(self, keys: list[float], name: Hashable) -> None:
        """The server has these letters."""
        self.sent.append(Sent(keys, name))
        self.on_acknowledged(len(keys))

    def close(self) -> None:
        self.socket.close()


class Composing(Typist):
    """One change is in flight; what is typed meanwhile is composed into the next. All changes of a
    document have a place in one order, which all clients see."""

    def __init__(self, address: Address, seat: Seat) -> None:
        super().__init__(address, seat)
        self.place = 0  # of the last change seen
        self.first = 0  # the place when this client came
        self._in_flight: list[float] = []
        self._waiting: list[float] = []

    @abstractmethod
    def transmit(self, letters: int) -> None:
        """Send one change of so many letters."""

    @property
    def pending(self) -> list[float]:
        return self._in_flight + self._waiting

    def press(self, letters: int) -> None:
        self._waiting.extend([perf_counter()] * letters)
        if not self._in_flight:
            self._send()

    def _send(self) -> None:
        self._in_flight, self._waiting = self._waiting, []
        self.transmit(len(self._in_flight))

    def reach(self, place: int) -> None:
        """Note that all changes up to a place have come."""
        self.place = place
        self.marks.append((perf_counter(), place))

    def own(self, place: int) -> None:
        """What is in flight is the change at this place."""
        keys, self._in_flight = self._in_flight, []
        if self._waiting:
            self._send()
        self.acknowledged(keys, place)

    def ledger(self, all: Sequence[Typist]) -> Ledger:
        typists = [one for one in all if isinstance(one, Composing)]
        first = max(one.first for one in typists)
        changes = {sent.name: sent.keys for one in typists for sent in one.sent}
        end = max(one.place for one in typists)
        last, heard = [0.0] * (end - first + 1), [0] * (end - first + 1)
        deliveries = []
        for one in typists:
            before = first
            for when, name in one.marks:
                assert isinstance(name, int)
                letters = 0
                for place in range(before + 1, name + 1):
                    last[place - first] = max(last[place - first], when)
                    heard[place - first] += 1
                    letters += len(changes.get(place, ()))
                deliveries.append((when, letters))
                before = max(before, name)
        return Ledger(
            [
                Arrival(keys, last[place - first], heard[place - first] == len(typists))
                for place, keys in changes.items()
                if isinstance(place, int)
            ],
            deliveries,
        )


@dataclass(frozen=True, slots=True)
class Arrival:
    """When the last receiver had a change."""

    keys: list[float]
    last: float
    complete: bool  # whether every receiver has it


@dataclass(frozen=True, slots=True)
class Ledger:
    """``deliveries``: (when, letters), one for each message that a client got."""

    arrivals: list[Arrival]
    deliveries: list[tuple[float, int]]
