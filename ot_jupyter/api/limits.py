"""What one message or request may ask for. Each limit has a clear error."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ApiLimits:
    """Counts and bytes."""

    message_bytes: int = 64 * 2**20  # one WebSocket message or request body
    change_operations: int = 10_000  # operations in one change
    queued_submissions: int = 64  # of one socket, not yet answered
    open_documents: int = 256  # of one socket
    messages_per_second: int = 1000  # of one socket; beyond that it is read more slowly
    depth: int = 128  # nesting of a message's JSON
    presence_bytes: int = 4096
    wait_seconds: float = 55.0  # longest long poll: below the 60 s of common proxies
