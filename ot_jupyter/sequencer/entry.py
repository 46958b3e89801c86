"""One entry of a document's log, its bytes, the hash chain, and what a log knows of its clients.

An entry's *body* is its JSON text without the hash. It is made once, stored as it is, and sent as
it is; ``hash(r) = blake2b(hash(r-1) + body(r))``, so a pair ``(rev, hash)`` names one state and
the whole history that led to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson

from ..transforms import Change, Document

HASH_BYTES = 8


class Head(NamedTuple):
    """A state's name: its revision and the hash of the chain up to it."""

    rev: int
    hash: str

    @property
    def etag(self) -> str:
        return f"{self.rev}-{self.hash}"


def chain(previous: str, body: bytes) -> str:
    """The hash (hex) of a body that follows the state with the hash ``previous``."""
    return blake2b(previous.encode() + body, digest_size=HASH_BYTES).hexdigest()


def initial_hash(epoch: str, document: Document) -> str:
    """The hash of revision 0: no two logs share it, as the epoch is in it."""
    return chain(epoch, orjson.dumps(document, option=orjson.OPT_SORT_KEYS))


class Entry(NamedTuple):
    """One change in the log. ``base`` is the revision its author saw, ``time`` UTC in ISO 8601.

    ``skip`` says that the numbers of this client before ``n`` are left out on purpose; ``digest``
    is that of the request's body where the client is an idempotency key.
    """

    rev: int
    client: str
    n: int
    base: int
    user: str
    time: str
    ops: Change
    skip: bool
    digest: str
    body: bytes
    hash: str

    @property
    def head(self) -> Head:
        return Head(self.rev, self.hash)

    def wire(self) -> bytes:
        """The entry as clients get it: the body with the hash in it."""
        return self.body[:-1] + b',"hash":"' + self.hash.encode() + b'"}'


def make_entry(
    previous: Head,
    *,
    client: str,
    n: int,
    base: int,
    user: str,
    time: str,
    ops: Change,
    skip: bool = False,
    digest: str = "",
) -> Entry:
    """The entry that follows ``previous``."""
    rev = previous.rev + 1
    value: dict[str, Any] = {
        "rev": rev, "client": client, "n": n, "base": base, "user": user, "time": time, "ops": ops,
    }  # fmt: skip
    if skip:
        value["skip"] = True
    if digest:
        value["digest"] = digest
    # orjson hands out an over-allocated buffer, which would stay with every kept entry. A slice is
    # a copy if it leaves something out: hence the line's end.
    body = orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)[:-1]
    return Entry(
        rev, client, n, base, user, time, ops, skip, digest, body, chain(previous.hash, body)
    )


def read_entry(body: bytes, hash: str) -> Entry:
    """The entry whose body and hash a log kept."""
    value = orjson.loads(body)
    return Entry(
        value["rev"], value["client"], value["n"], value["base"], value["user"], value["time"],
        value["ops"], value.get("skip", False), value.get("digest", ""), body, hash,
    )  # fmt: skip


class Seen(NamedTuple):
    """What the log holds of one client: its last number, the revision of that, and the numbers
    it left out (each may still be filled, once). ``time`` is that of the last entry."""

    n: int
    rev: int
    holes: tuple[int, ...] = ()
    digest: str = ""
    time: str = ""


NOTHING_SEEN = Seen(0, 0)
MAX_SKIP = 1000  # numbers that one entry may leave out: each is a hole that must be remembered


def judge(seen: Seen, n: int, skip: bool) -> str:
    """What a log says to a client's number: ``"next"``, ``"repeat"`` or ``"gap"``."""
    if n <= seen.n:
        return "next" if n in seen.holes else "repeat"
    return "next" if n == seen.n + 1 or (skip and n <= seen.n + MAX_SKIP) else "gap"


def advance(seen: Seen, entry: Entry) -> Seen:
    """What the log holds of the entry's client after the entry."""
    if entry.n == seen.n + 1:
        return Seen(entry.n, entry.rev, seen.holes, entry.digest, entry.time)
    if entry.n <= seen.n:  # fills a hole
        holes = tuple(hole for hole in seen.holes if hole != entry.n)
        return seen._replace(holes=holes)
    holes = seen.holes + tuple(range(seen.n + 1, entry.n))
    return Seen(entry.n, entry.rev, holes, entry.digest, entry.time)


def fold_seen(seen: dict[str, Seen], entries: Iterable[Entry]) -> None:
    """Bring ``seen`` (in place) up to date with entries that follow it."""
    for entry in entries:
        seen[entry.client] = advance(seen.get(entry.client, NOTHING_SEEN), entry)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A document's state at a revision. Used only if the log agrees with its hash."""

    rev: int
    hash: str
    document: Document

    @property
    def head(self) -> Head:
        return Head(self.rev, self.hash)
