"""What every handler of this API has: who may, what is asked for, how errors are told."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Awaitable, Callable
from functools import wraps
from http import HTTPStatus
from typing import Any, ClassVar, TypeVar, cast
from urllib.parse import quote

import orjson
from jupyter_server.auth.decorator import allow_unauthenticated, authorized
from jupyter_server.auth.identity import IdentityProvider
from jupyter_server.base.handlers import APIHandler
from tornado import web
from tornado.iostream import StreamClosedError

from ..sequencer.entry import HASH_BYTES, Head
from ..sequencer.live import LiveDocument
from ..sequencer.log import LogUnavailable
from ..sequencer.sequencer import Sequencer
from ..transforms import Refused
from .errors import as_api_error, bad_argument
from .limits import ApiLimits
from .paths import visible_path

Method = TypeVar("Method", bound=Callable[..., Awaitable[None]])

_NUMBER = re.compile(r"[0-9]{1,15}")
_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]{1,2})?")
_STATE = re.compile(rf"([0-9]{{1,15}})-([0-9a-f]{{{2 * HASH_BYTES}}})")


def guarded(action: str, resource: str = "contents") -> Callable[[Method], Method]:
    """A handler's method for those who may ``"read"`` or ``"write"`` contents, or ``"execute"``
    kernels. What it raises is made into an answer here, and nowhere else."""

    def decorate(method: Method) -> Method:
        @web.authenticated
        @authorized(action=action, resource=resource)  # type: ignore[untyped-decorator]
        @wraps(method)
        async def answer(self: ApiHandler, *args: str, **kwargs: str) -> None:
            try:
                await method(self, *args, **kwargs)
            except StreamClosedError:
                self.log.debug("whoever asked for %s is gone", self.request.path)
            except (Refused, LogUnavailable, OSError) as error:
                raise as_api_error(error) from error

        return cast(Method, answer)

    return decorate


def read_number(text: str, name: str) -> int:
    """The number from 0 that a text names. Raises ``ApiError``; ``name`` is the argument's."""
    if not _NUMBER.fullmatch(text):
        raise bad_argument(name, f"{name!r} is a number from 0: not {text!r}")
    return int(text)


def read_state(text: str, name: str) -> Head:
    """The state that ``REV-HASH`` names. Raises ``ApiError``; ``name`` is the argument's."""
    match = _STATE.fullmatch(text)
    if match is None:
        raise bad_argument(name, f"{name!r} is a state, REV-HASH, as in an ETag: not {text!r}")
    return Head(int(match[1]), match[2])


def requester_of(handler: APIHandler) -> str:
    """Who asks, by a name that is the same when the request is repeated.

    jupyter_server gives whoever comes with the server's own token (or where there is none) a new
    anonymous name at each request: all of them are one here.
    """
    provider = type(handler.identity_provider)
    named = any(
        getattr(provider, method) is not getattr(IdentityProvider, method)
        for method in ("get_user", "get_user_token")
    )
    if handler.identity_provider.auth_enabled and (named or not handler.token_authenticated):
        return quote(handler.current_user.username, safe="")
    return "token"


class ApiHandler(APIHandler):
    """Base of the handlers: the sequencer, the arguments, the errors."""

    METHODS: ClassVar[tuple[str, ...]] = ("GET", "HEAD")
    # Of what browsers on other origins may send and see, beyond what jupyter_server lets them.
    REQUEST_HEADERS: ClassVar[str] = "if-match, if-none-match, idempotency-key, last-event-id"

    auth_resource = "contents"

    @property
    def sequencer(self) -> Sequencer:
        return cast(Sequencer, self.settings["ot_jupyter"])

    @property
    def limits(self) -> ApiLimits:
        return cast(ApiLimits, self.settings["ot_jupyter_limits"])

    async def head(self, *args: str, **kwargs: str) -> None:
        """As ``get``: tornado leaves the body out."""
        await cast(Awaitable[None], self.get(*args, **kwargs))

    # Who.

    @property
    def requester(self) -> str:
        """See :func:`requester_of`."""
        return requester_of(self)

    # What.

    async def open(self, path: str) -> LiveDocument:
        """The live document of a path, in step with the log.

        Raises ``Refused`` and ``LogUnavailable``.
        """
        live = await self.sequencer.open(await visible_path(self.contents_manager, path))
        await live.in_step()
        return live

    async def open_to_read(self, path: str) -> LiveDocument:
        """The same; but while the store is away, what is open is read as it is known here."""
        live = await self.sequencer.open(await visible_path(self.contents_manager, path))
        with contextlib.suppress(LogUnavailable):
            await live.in_step()
        return live

    def number_argument(self, name: str) -> int | None:
        """A number from 0; None if it was not given."""
        text = self.get_query_argument(name, None)
        return None if text is None else read_number(text, name)

    def seconds_argument(self, name: str) -> float:
        """Seconds from 0, and 0 if they were not given."""
        text = self.get_query_argument(name, "0")
        if not _SECONDS.fullmatch(text):
            raise bad_argument(name, f"{name!r} is a number of seconds: not {text!r}")
        return float(text)

    # How it is answered.

    def compute_etag(self) -> str | None:
        """States have names; nothing else gets an ETag."""
        return self._headers.get("ETag")

    def set_state(self, head: Head) -> None:
        """Name the state that the answer is about."""
        self.set_header("ETag", f'"{head.etag}"')
        self.set_header("Cache-Control", "no-cache")  # keep it, but ask before using it

    async def finish_json(self, value: Any) -> None:
        """End with a JSON body; ``orjson.Fragment`` may stand for values."""
        await self.finish(orjson.dumps(value))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = as_api_error(kwargs["exc_info"][1] if "exc_info" in kwargs else web.HTTPError(500))
        if status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            self.set_header("Allow", self._allowed())
        if status_code == HTTPStatus.SERVICE_UNAVAILABLE:
            self.set_header("Retry-After", "1")
        self.finish(orjson.dumps(error.body()))

    def _allowed(self) -> str:
        return ", ".join((*self.METHODS, "OPTIONS"))

    @allow_unauthenticated
    def options(self, *args: Any, **kwargs: Any) -> None:
        """What this resource can be asked: for people, and for browsers before the request."""
        super().options(*args, **kwargs)
        self.set_header("Allow", self._allowed())
        self.set_header("Access-Control-Allow-Methods", self._allowed())
        known = self._headers["Access-Control-Allow-Headers"]
        self.set_header("Access-Control-Allow-Headers", f"{known}, {self.REQUEST_HEADERS}")
        self.set_status(HTTPStatus.NO_CONTENT)

    def set_cors_headers(self) -> None:
        super().set_cors_headers()
        self.set_header("Access-Control-Expose-Headers", "ETag")
