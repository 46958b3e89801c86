"""What goes wrong, as this API tells it: jupyter_server's shape, a code, a pointer.

Every error has the body ``{"message", "reason", "code", "pointer"}`` and some have more.
``code`` is one word for programs. ``pointer`` is the JSON Pointer of what is wrong in the request's
body, or ``/base``, ``/since``, … for an argument of that name.
"""

from __future__ import annotations

from http import HTTPStatus
from http.client import responses
from typing import Any, Final

from tornado import web

from ..sequencer.log import LogUnavailable
from ..sequencer.pen import Rejected
from ..transforms import Refused


class ApiError(web.HTTPError):
    """An answer that is no success. ``more`` are further fields of its body."""

    def __init__(
        self, status: int, code: str, message: str, pointer: str = "", **more: Any
    ) -> None:
        super().__init__(status, message)
        self.code = code
        self.message = message
        self.pointer = pointer
        self.more = more

    def body(self) -> dict[str, Any]:
        return {
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
            "pointer": self.pointer,
            **self.more,
        }


# Of everything that is refused but by a patch. What is not named here can't be processed as it is.
_STATUSES: Final = {
    "bad_argument": HTTPStatus.BAD_REQUEST,
    "is_directory": HTTPStatus.BAD_REQUEST,
    "bad_path": HTTPStatus.NOT_FOUND,
    "not_found": HTTPStatus.NOT_FOUND,
    "unknown_revision": HTTPStatus.NOT_FOUND,
    "wrong_kind": HTTPStatus.CONFLICT,
    "gap": HTTPStatus.CONFLICT,
    "gone": HTTPStatus.CONFLICT,
    "test_failed": HTTPStatus.CONFLICT,
    "too_far_behind": HTTPStatus.CONFLICT,
    "unknown_base": HTTPStatus.CONFLICT,
    "trimmed": HTTPStatus.GONE,
    "moved": HTTPStatus.PRECONDITION_FAILED,
    "too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "no_image": HTTPStatus.SERVICE_UNAVAILABLE,
}
# Of a patch: what speaks of something that is not (or is already) there is in conflict with the
# document's state, as RFC 5789 has it; what is no patch at all is a bad request.
_PATCH_STATUSES: Final = {
    **_STATUSES,
    "not_found": HTTPStatus.CONFLICT,
    "exists": HTTPStatus.CONFLICT,
    "out_of_range": HTTPStatus.CONFLICT,
    "wrong_index": HTTPStatus.CONFLICT,
    "not_json": HTTPStatus.BAD_REQUEST,
    "bad_patch": HTTPStatus.BAD_REQUEST,
    "bad_pointer": HTTPStatus.BAD_REQUEST,
}
# Of errors that jupyter_server and tornado raise.
_CODES: Final[dict[int, str]] = {
    HTTPStatus.BAD_REQUEST: "bad_argument",
    HTTPStatus.FORBIDDEN: "forbidden",
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too_large",
}


def bad_argument(name: str, message: str) -> ApiError:
    """An argument of the query, or a header, that can't be read."""
    return ApiError(HTTPStatus.BAD_REQUEST, "bad_argument", message, f"/{name}")


def patch_error(refused: Refused | Rejected, pointer: str, **more: Any) -> ApiError:
    """Why a patch is not carried out; ``pointer`` is into the patch."""
    status = _PATCH_STATUSES.get(refused.code, HTTPStatus.UNPROCESSABLE_ENTITY)
    return ApiError(status, refused.code, refused.message, pointer, **more)


def as_api_error(error: BaseException) -> ApiError:
    """Any exception, as the answer to the request that it ended."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, Refused):
        status = _STATUSES.get(error.code, HTTPStatus.UNPROCESSABLE_ENTITY)
        return ApiError(status, error.code, error.message, error.pointer)
    if isinstance(error, LogUnavailable):
        message = f"the store can't be reached: {error}"
        return ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "store_unavailable", message)
    if isinstance(error, OSError):
        message = f"the file can't be reached: {error.strerror or error}"
        return ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "file_unavailable", message, "/path")
    if isinstance(error, web.HTTPError):
        code = error.status_code
        phrase = responses.get(code, "Unknown HTTP Error")
        message = (error.log_message or phrase) % error.args
        result = ApiError(code, _CODES.get(code, "error"), message)
        result.reason = error.reason
        return result
    return ApiError(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "Unhandled error")
