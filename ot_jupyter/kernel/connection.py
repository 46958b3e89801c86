"""A connection to a kernel: what is sent to it, and all that it says, message by message.

It is made by jupyter_server's kernel manager, so it is the same for kernels on this machine and for
those behind a gateway. Messages are read without a limit of rate or number: a kernel that is read
too slowly throws away what it had to say. What bounds memory is what is kept of the messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from queue import Empty
from time import monotonic
from typing import Any, Final, TypeAlias

import zmq
import zmq.asyncio
from jupyter_client.session import Session
from jupyter_server.gateway.managers import GatewayKernelManager
from jupyter_server.utils import ensure_async

from .gateway import GatewayChannels

logger = logging.getLogger("ot_jupyter")

READY_SECONDS: Final = 60.0  # for a kernel to say its first word
NUDGE_SECONDS: Final = 0.5  # between two attempts to make it say it
INFO: Final = "info"  # told as the channel of the replies to what is asked at the beginning
# At most so long a channel is waited for in one go. ZeroMQ tells of a message once; if that goes by
# unheard, as after a reconnect, nobody would ever look again.
LISTEN_SECONDS: Final = 0.5
CHANNELS: Final = ("iopub", "shell", "stdin", "control")

Message: TypeAlias = dict[str, Any]
Heard: TypeAlias = Callable[[str, Message], None]  # the channel, and what came on it


class KernelNotReady(Exception):
    """A kernel that does not answer."""


def make_context() -> zmq.asyncio.Context:
    """Where sockets come from that keep whatever they are sent."""
    context = zmq.asyncio.Context()
    context.setsockopt(zmq.RCVHWM, 0)
    context.setsockopt(zmq.SNDHWM, 0)
    context.setsockopt(zmq.LINGER, 1000)
    return context


class Connection:
    """See the module. ``heard`` is called on the event loop; ``name`` is the kernelspec's."""

    def __init__(self, manager: Any, context: zmq.asyncio.Context, heard: Heard) -> None:
        # A session of its own: with that of the manager its sockets would have the name of others.
        self.session = Session(key=manager.session.key)
        self.session.signature_scheme = manager.session.signature_scheme
        self.name: str = manager.kernel_name
        self._client: Any = (
            GatewayChannels(str(manager.kernel_id))
            if isinstance(manager, GatewayKernelManager)
            else manager.client(session=self.session, context=context)
        )
        self._heard = heard
        self._tasks: list[asyncio.Task[None]] = []
        self._nudges: set[str] = set()  # the names of messages that only ask whether it is there
        self._awake = asyncio.Event()  # it has said something on iopub that we asked for

    async def open(self) -> None:
        """Connect, and return when the kernel is heard. Raises :class:`KernelNotReady`."""
        try:
            await ensure_async(self._client.start_channels(hb=False))
        except Exception as error:  # a gateway that is away, or does not let us in
            raise KernelNotReady(f"the kernel can't be reached: {error}") from error
        for name in CHANNELS:
            channel = getattr(self._client, f"{name}_channel")
            self._tasks.append(asyncio.create_task(self._listen(name, channel)))
        end = monotonic() + READY_SECONDS
        while not self._awake.is_set():
            # One that is busy answers on control only, some kernels only on shell.
            for channel in ("shell", "control"):
                self._nudges.add(self._send(channel, "kernel_info_request", {}))
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._awake.wait(), NUDGE_SECONDS)
            if monotonic() > end:
                raise KernelNotReady(f"the kernel did not answer in {READY_SECONDS:.0f} s")

    def run(self, name: str, code: str) -> None:
        """Have it run code; ``name`` is the id of the message, and so the parent of all that
        comes of it."""
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": True,
            "stop_on_error": False,  # what follows is ours to stop: nothing else was sent
        }
        self._send("shell", "execute_request", content, name=name)

    def answer(self, value: str) -> None:
        """Answer the question that it asked."""
        self._send("stdin", "input_reply", {"value": value})

    def comm(self, kind: str, content: Message, buffers: list[bytes], name: str) -> None:
        """Send a ``comm_open``, ``comm_msg`` or ``comm_close`` (as ``kind`` says)."""
        self._send("shell", kind, content, name=name, buffers=buffers)

    def ask(self) -> str:
        """Ask on shell for what it answers only when it has nothing else to do. Returns the id of
        the message, the parent of the answer."""
        return self._send("shell", "kernel_info_request", {})

    async def close(self) -> None:
        """Disconnect. The kernel goes on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(Exception):  # whatever state it is in: it is not needed any more
            await ensure_async(self._client.stop_channels())

    def _send(
        self,
        channel: str,
        kind: str,
        content: Message,
        *,
        name: str | None = None,
        buffers: list[bytes] | None = None,
    ) -> str:
        message = self.session.msg(kind, content)
        if name is not None:
            message["header"]["msg_id"] = message["msg_id"] = name
        if buffers:
            message["buffers"] = buffers
        getattr(self._client, f"{channel}_channel").send(message)
        sent: str = message["msg_id"]
        return sent

    async def _listen(self, name: str, channel: Any) -> None:
        while True:
            try:
                message = await channel.get_msg(timeout=LISTEN_SECONDS)
            except Empty:
                continue
            except (ValueError, KeyError, TypeError) as error:  # no message, or forged
                logger.warning("ot_jupyter: a kernel's message can't be read: %s", error)
                continue
            except (RuntimeError, zmq.ZMQError) as error:
                logger.warning("ot_jupyter: the connection to a kernel broke: %s", error)
                return
            nudged = message["parent_header"].get("msg_id") in self._nudges
            if nudged and name == "iopub":
                self._awake.set()
                continue
            try:
                self._heard(INFO if nudged else name, message)
            except Exception:
                logger.exception("ot_jupyter: a kernel's message failed")
