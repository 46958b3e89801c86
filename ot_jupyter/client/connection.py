"""A connection to a Jupyter server: one WebSocket for many documents, kept up for ever.

    async with connect("http://localhost:8888/?token=…") as connection:
        notebook = await connection.open("a.ipynb")
        notebook.cells[0].append("# hello")

When it breaks it is made again, after pauses that grow, and each document goes on where it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl as _ssl
from types import TracebackType
from typing import Any

import orjson
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import (
    WebSocketClientConnection,
    WebSocketClosedError,
    WebSocketError,
    websocket_connect,
)

from .address import Address, read_address
from .document import Document
from .errors import ConnectError, DocumentError
from .session import LATER, Session, pause

logger = logging.getLogger("ot_jupyter.client")

PATIENCE_SECONDS = 10.0
PING_SECONDS = 20.0  # a connection that does not answer is dead
MESSAGE_BYTES = 2**30  # a whole document may come in one
GOODBYE_SECONDS = 1.0
TOO_BIG = 1009  # the close code of who was sent a message beyond his limit


def connect(
    url: str,
    token: str | None = None,
    *,
    patience: float = PATIENCE_SECONDS,
    ssl: _ssl.SSLContext | None = None,
) -> Connection:
    """A connection to the server at a URL such as Jupyter prints, to be used in ``async with``.

    The token is the argument, else that of the URL, else ``JUPYTER_TOKEN`` of the environment.
    ``patience``: seconds to wait for an answer before the connection is taken to be broken.
    Raises :class:`ValueError` for what is no server's URL.
    """
    return Connection(read_address(url, token), patience=patience, ssl=ssl)


class Connection:
    """See the module; made by :func:`connect`."""

    def __init__(
        self, address: Address, *, patience: float, ssl: _ssl.SSLContext | None = None
    ) -> None:
        self.address = address
        self.patience = patience
        self.problem: ConnectError | None = None
        self._ssl = ssl
        self._documents: list[Document] = []
        self._socket: _Socket | None = None
        self._task: asyncio.Task[None] | None = None
        self._kick = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Connection {self.address.url} {'online' if self.online else 'offline'}>"

    async def __aenter__(self) -> Connection:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            await self.close()
            return
        interrupted = not isinstance(error, Exception)  # then it is to end now
        with contextlib.suppress(DocumentError):
            await self.close(0.0 if interrupted else None)

    async def start(self) -> None:
        """Connect. Raises :class:`ConnectError` if that fails this first time; after it the
        connection is made again whenever it breaks, until it is closed."""
        if self._task is not None:
            raise RuntimeError("this connection was started before")
        socket = await self._dial()
        self._task = asyncio.create_task(self._keep_up(socket))

    @property
    def online(self) -> bool:
        """Whether there is a connection now."""
        return self._socket is not None

    @property
    def documents(self) -> list[Document]:
        """The documents that are open."""
        return list(self._documents)

    async def open(self, path: str, kind: str | None = None) -> Document:
        """The document at a path below the server's root; the same object each time while it is
        open. ``kind`` is ``"notebook"`` or ``"text"`` if it must be one.

        Raises :class:`DocumentError`: ``not_found``, ``not_a_notebook``, ``forbidden``, ….
        """
        if self._task is None:
            raise RuntimeError("use 'async with connect(…)', or start() the connection")
        path = "/".join(part for part in path.split("/") if part not in ("", "."))
        document = next((one for one in self._documents if one.path == path), None)
        if document is None:
            document = Document(self, path, kind, closed=self._documents.remove)
            self._documents.append(document)
            document.session.connected()
        try:
            await document.until(_is_open)
        except BaseException:
            document.abandon()
            raise
        document = self._one_of(document)
        if kind not in (None, document.kind):
            raise DocumentError("wrong_kind", f"{path!r} is open as {document.kind}", "/kind")
        return document

    def _one_of(self, document: Document) -> Document:
        """The one that stands for a document: a link may lead to one that is open already."""
        doc = document.session.state.doc
        first = next(one for one in self._documents if one.session.state.doc == doc)
        if first is not document:
            document.give_way()
            first.session.take_place()
        return first

    async def close(self, patience: float | None = None) -> None:
        """Close all documents and the connection; see :meth:`Document.close`."""
        try:
            results = await asyncio.gather(
                *(one.close(patience) for one in list(self._documents)), return_exceptions=True
            )
        finally:
            task, self._task = self._task, None
            socket = self._socket
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            if socket is not None:
                await socket.closed()
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def reconnect(self, reason: str = "") -> None:
        """Drop the connection, if there is one, and make a new one now."""
        if self._socket is not None:
            logger.info("ot_jupyter: connecting again: %s", reason)
            self._socket.drop()
        self._kick.set()

    # For the documents.

    def send(self, message: dict[str, Any]) -> None:
        """Send a message; it is lost if there is no connection."""
        if self._socket is not None:
            self._socket.send(orjson.dumps(message).decode())

    # The socket.

    async def _dial(self) -> _Socket:
        try:
            return await _Socket.open(self.address, self._ssl, self.patience)
        except HTTPClientError as error:
            raise _refusal(error, self.address) from None
        except (OSError, WebSocketError) as error:
            message = f"no server answers at {self.address.url}: {error}"
            raise ConnectError("unreachable", message) from None

    async def _keep_up(self, socket: _Socket) -> None:
        try:
            while True:
                try:
                    await self._serve(socket)
                except Exception:
                    logger.exception("ot_jupyter: the connection failed; making a new one")
                socket = await self._dial_until_done(fruitless=not socket.fruitful)
        finally:
            self._socket = None

    async def _serve(self, socket: _Socket) -> None:
        """Use a socket until it is lost."""
        self.problem = None
        self._socket = socket
        try:
            for session in self._sessions:
                session.connected()
            await socket.run(self._receive)
        finally:
            self._socket = None
            socket.close()
            logger.debug("ot_jupyter: the connection to %s ended", self.address.url)
            for session in self._sessions:
                if socket.close_code == TOO_BIG and session.state.in_flight:
                    message = "the server does not take a change as big as this"
                    session.fail(DocumentError("too_large", message))
                session.disconnected()

    async def _dial_until_done(self, *, fruitless: bool) -> _Socket:
        attempt = 1 if fruitless else 0
        while True:
            self._kick.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._kick.wait(), pause(attempt))
            attempt += 1
            try:
                return await self._dial()
            except ConnectError as error:
                self.problem = error
                logger.info("ot_jupyter: %s", error)

    def _receive(self, text: str | bytes) -> None:
        message = orjson.loads(text)
        session = self._session_of(message)
        if session is not None:
            session.receive(message)
        elif message["type"] == "error":
            logger.warning("ot_jupyter: %s: %s", message["code"], message["message"])

    @property
    def _sessions(self) -> list[Session]:
        return [document.session for document in self._documents]

    def _session_of(self, message: dict[str, Any]) -> Session | None:
        """Whom a message is for: an answer to `open` goes by path, all else by document."""
        if message["type"] == "opened" or "doc" not in message:
            path = message.get("asked", message.get("path"))
            opening = [one for one in self._sessions if one.opening]
            return next((one for one in opening if path in (one.asked, one.state.path)), None)
        return next((one for one in self._sessions if one.state.doc == message["doc"]), None)


def _is_open(document: Document) -> bool:
    if document.session.state.doc:
        return True
    if document.problem is not None and document.problem.code not in LATER:
        raise document.problem
    return False


class _Socket:
    """One WebSocket, from handshake to loss."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.fruitful = False  # whether the server said anything
        self._lost: asyncio.Future[None] = loop.create_future()
        self._gone = asyncio.Event()
        self._early: list[str | bytes] = []
        self._connection: WebSocketClientConnection | None = None
        self._receive: Any = self._early.append

    @classmethod
    async def open(cls, address: Address, ssl: _ssl.SSLContext | None, patience: float) -> _Socket:
        self = cls()
        request = HTTPRequest(
            address.socket,
            headers=address.headers,
            connect_timeout=patience,
            request_timeout=patience,
            ssl_options=ssl,
        )
        dialing = asyncio.ensure_future(
            websocket_connect(
                request,
                on_message_callback=self._on_message,
                ping_interval=PING_SECONDS,
                max_message_size=MESSAGE_BYTES,
            )
        )
        try:
            await asyncio.wait([dialing])
        except asyncio.CancelledError:
            dialing.add_done_callback(_hang_up)
            raise
        connection = dialing.result()
        self._connection = connection
        if connection.protocol is not None:  # it may be closed already
            connection.protocol.set_nodelay(True)
        return self

    @property
    def close_code(self) -> int | None:
        return None if self._connection is None else self._connection.close_code

    async def run(self, receive: Any) -> None:
        """Hand each message to ``receive`` until the connection is lost or dropped."""
        early, self._receive = self._early, receive
        for message in early:
            receive(message)
        await self._lost

    def _on_message(self, message: str | bytes | None) -> None:
        if message is None:
            self._gone.set()
            self.drop()
        elif not self._lost.done():
            self.fruitful = True
            self._receive(message)

    def send(self, text: str) -> None:
        if self._connection is None or self._lost.done():
            return
        try:
            written = self._connection.write_message(text)
        except WebSocketClosedError:
            return  # it is told of soon
        asyncio.ensure_future(written).add_done_callback(_ignore)

    def drop(self) -> None:
        """Nothing more is sent or heard."""
        if not self._lost.done():
            self._lost.set_result(None)

    def close(self) -> None:
        """Say good-bye, and wait for no answer."""
        self.drop()
        if self._connection is not None:
            self._connection.close()

    async def closed(self) -> None:
        """Give the other side a moment to say good-bye too."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._gone.wait(), GOODBYE_SECONDS)


def _hang_up(dialing: asyncio.Future[WebSocketClientConnection]) -> None:
    if not dialing.cancelled() and dialing.exception() is None:
        dialing.result().close()


def _ignore(written: asyncio.Future[None]) -> None:
    if not written.cancelled():
        written.exception()


def _refusal(error: HTTPClientError, address: Address) -> ConnectError:
    if error.code in (401, 403):
        return ConnectError("forbidden", f"{address.url} wants another token")
    if error.code == 404:
        return ConnectError("no_ot", f"the server at {address.url} does not have ot-jupyter")
    return ConnectError("unreachable", f"{address.url} answers {error.code} {error.message}")
