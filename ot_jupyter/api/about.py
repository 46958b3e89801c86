"""Who is there, is the store reachable, and the description of all this."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Final

import orjson

from ..sequencer.log import LogUnavailable
from .base import ApiHandler, guarded
from .openapi import description

_PING_SECONDS: Final = 5.0  # a probe that waits longer for the store has its answer


class PresenceHandler(ApiHandler):
    """``/api/ot/presence/{path}``"""

    @guarded("read")
    async def get(self, path: str) -> None:
        """Who is in the document, and where."""
        live = await self.open_to_read(path)
        present = [one.public(client) for client, one in sorted(live.presence.items())]
        await self.finish_json(
            {
                "doc": live.ref.doc,
                "path": live.ref.path,
                "rev": live.head.rev,
                "hash": live.head.hash,
                "presence": present,
            }
        )


class HealthHandler(ApiHandler):
    """``/api/ot/health``"""

    _track_activity = False  # a probe keeps no idle server alive

    @guarded("read")
    async def get(self) -> None:
        """Whether changes can be committed."""
        log = self.sequencer.log
        try:
            await asyncio.wait_for(log.ping(), _PING_SECONDS)
        except asyncio.TimeoutError:
            raise LogUnavailable(f"no answer within {_PING_SECONDS:g} s") from None
        store = type(log).__name__.removesuffix("Log").lower()
        await self.finish_json({"status": "ok", "store": store})


class OpenApiHandler(ApiHandler):
    """``/api/ot/openapi.json``"""

    @guarded("read")
    async def get(self) -> None:
        """The description of this API, OpenAPI 3.1."""
        await self.finish(_description_json(self.base_url))


@cache
def _description_json(base_url: str) -> bytes:
    return orjson.dumps(description(base_url))
