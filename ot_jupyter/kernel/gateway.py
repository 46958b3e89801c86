"""The channels of a kernel behind a gateway, over one WebSocket.

jupyter_server's own client for this does not tell the gateway who it is, has all that it sends go
to the shell channel, and knows no buffers. So this one speaks the protocol of
``/api/kernels/ID/channels`` itself, with the credentials that jupyter_server has for the gateway.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import Any, Final

from jupyter_client.jsonutil import json_default
from jupyter_server.gateway.gateway_client import GatewayClient
from jupyter_server.services.kernels.connection import base
from jupyter_server.utils import url_escape, url_path_join
from tornado.httpclient import HTTPRequest
from tornado.websocket import (
    WebSocketClientConnection,
    WebSocketClosedError,
    websocket_connect,
)

logger = logging.getLogger("ot_jupyter")

MESSAGE_BYTES: Final = 2**30  # a kernel may put out what it likes
RETRY_SECONDS: Final = 0.5  # between two attempts to reach the gateway again

Message = dict[str, Any]

_frames: Any = base  # has no types


class Channel:
    """One channel: what is sent to it, and what came of it and was not taken yet."""

    def __init__(self, name: str, client: GatewayChannels) -> None:
        self._name = name
        self._client = client
        self.came: asyncio.Queue[Message] = asyncio.Queue()

    def send(self, message: Message) -> None:
        """Send a message, if the gateway can be reached now; else it is lost, as messages are."""
        self._client.send({**message, "channel": self._name})

    async def get_msg(self, timeout: float) -> Message:
        """The next message, whenever it comes: nothing can be missed here."""
        return await self.came.get()


class GatewayChannels:
    """As far as we need it, what jupyter_client's ``KernelClient`` is to a kernel of this
    machine."""

    def __init__(self, kernel: str) -> None:
        self.iopub_channel = Channel("iopub", self)
        self.shell_channel = Channel("shell", self)
        self.stdin_channel = Channel("stdin", self)
        self.control_channel = Channel("control", self)
        self._kernel = kernel
        self._socket: WebSocketClientConnection | None = None
        self._reading: asyncio.Task[None] | None = None

    async def start_channels(self, hb: bool) -> None:
        """Connect. Raises whatever is in the way."""
        self._socket = await self._connect()
        self._reading = asyncio.create_task(self._read())

    async def stop_channels(self) -> None:
        """Disconnect. The kernel goes on."""
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading
        if self._socket is not None:
            self._socket.close()

    def send(self, message: Message) -> None:
        """Send a message, which names its channel."""
        if self._socket is None:
            return
        with contextlib.suppress(WebSocketClosedError):
            if message.get("buffers"):
                self._socket.write_message(_frames.serialize_binary_message(message), binary=True)
            else:
                self._socket.write_message(json.dumps(message, default=json_default))

    async def _connect(self) -> WebSocketClientConnection:
        gateway: Any = GatewayClient.instance()
        url = url_path_join(
            gateway.ws_url or "", gateway.kernels_endpoint, url_escape(self._kernel), "channels"
        )
        # Under one name, also after this server was killed: the gateway keeps for it what the
        # kernel says while nobody listens.
        url += f"?session_id=ot-jupyter-{url_escape(self._kernel)}"
        request = HTTPRequest(url, **gateway.load_connection_args())
        return await websocket_connect(request, max_message_size=MESSAGE_BYTES)

    async def _read(self) -> None:
        while True:
            text = None if self._socket is None else await self._socket.read_message()
            if text is not None:
                self._take(text)
                continue
            self._socket = None
            await asyncio.sleep(RETRY_SECONDS)
            with contextlib.suppress(Exception):  # it is away, or the kernel is: who looks, sees
                self._socket = await self._connect()

    def _take(self, text: str | bytes) -> None:
        try:
            message: Message = (
                json.loads(text)
                if isinstance(text, str)
                else _frames.deserialize_binary_message(text)
            )
            channel = getattr(self, f"{message['channel']}_channel")
        except (ValueError, KeyError, AttributeError) as error:
            logger.warning("ot_jupyter: a gateway's message can't be read: %s", error)
            return
        channel.came.put_nowait(message)
