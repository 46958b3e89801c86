"""What all requests have in common that change a document: who the change is of, and that it is
made once."""

from __future__ import annotations

import asyncio
import re
from hashlib import blake2b
from http import HTTPStatus
from typing import NamedTuple
from uuid import uuid4

from ..sequencer.entry import Head, Seen
from ..sequencer.live import LiveDocument
from ..sequencer.pen import Rejected, Submission, Verdict
from ..transforms import Change
from ..transforms.values import Json
from .base import ApiHandler
from .errors import ApiError, bad_argument
from .past import head_at

_KEY = re.compile(r"[\x21-\x7e]{1,200}")


class Author(NamedTuple):
    """The client that a request's change is of: its ``Idempotency-Key``, or one made up.
    ``digest`` names all that the request says, where it has a key."""

    client: str
    digest: str


class ChangeHandler(ApiHandler):
    """Base of the handlers that change a document."""

    def read_author(self, *conditions: str) -> Author:
        """Who the change is of; ``conditions`` count as part of what is said. Raises
        ``ApiError``."""
        key = self.request.headers.get("Idempotency-Key")
        if key is None:
            return Author(f"rest:{uuid4().hex}", "")
        if not _KEY.fullmatch(key):
            raise bad_argument(
                "Idempotency-Key", "a key is 1 to 200 printable ASCII characters, without spaces"
            )
        digest = _digest(*(one.encode() for one in conditions), self.request.body)
        return Author(f"key:{self.requester}:{key}", digest)

    async def is_repeat(self, live: LiveDocument, author: Author) -> bool:
        """Whether the change is in the log already; then it is answered as the first time."""
        seen = live.pen.seen.get(author.client)
        if seen is None:
            return False
        await self._repeat(live, seen, author.digest)
        return True

    async def _repeat(self, live: LiveDocument, seen: Seen, digest: str) -> None:
        if seen.digest != digest:
            raise key_reused()
        try:
            await self.finish_state(live, await head_at(live, seen.rev))
        except ApiError:  # its entry left the log; that it was made is still known
            await self.finish_json({"rev": seen.rev})

    async def commit(
        self, live: LiveDocument, author: Author, base: Head, ops: Change, *, strict: bool = False
    ) -> Verdict:
        """Submit the change and wait for the verdict. Raises ``ApiError``."""
        user = self.current_user.username
        waiting = live.commit(
            lambda answer: Submission(
                client=author.client, n=1, base=base, ops=ops, user=user, answer=answer,
                digest=author.digest, consume=False, strict=strict,
            )
        )  # fmt: skip
        try:
            verdict = await asyncio.wait_for(waiting, self.limits.wait_seconds)
        except asyncio.TimeoutError:
            message = (
                "the store can't be reached, and whether it has the change is not known: "
                "ask again, with the same Idempotency-Key"
            )
            raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "store_unavailable", message) from None
        if isinstance(verdict, Rejected) and verdict.code == "key_reused":
            raise key_reused()
        return verdict

    async def finish_state(self, live: LiveDocument, head: Head) -> None:
        """End with the state that the change led to."""
        if not head.hash:  # a repeat whose entry is not in memory any more
            head = await head_at(live, head.rev)
        self.set_state(head)
        await self.finish_json(state_of(head))


def state_of(head: Head) -> dict[str, Json]:
    """A state, as answers tell it."""
    return {"rev": head.rev, "hash": head.hash}


def key_reused() -> ApiError:
    """The error for a key that came with something else."""
    message = "this Idempotency-Key came with another request before"
    return ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, "key_reused", message, "/Idempotency-Key")


def _digest(*parts: bytes) -> str:
    """One name for several texts, such that no two lists of them share it."""
    digest = blake2b(digest_size=16)
    for part in parts:
        digest.update(b"%d:" % len(part) + part)
    return digest.hexdigest()
