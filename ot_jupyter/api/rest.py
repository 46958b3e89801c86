"""The addresses of the REST API. ``ExtensionApp`` puts the server's base URL before them."""

from __future__ import annotations

from typing import Final

from .about import HealthHandler, OpenApiHandler, PresenceHandler
from .base import ApiHandler
from .blobs import BlobHandler
from .documents import DocumentHandler, DocumentsHandler
from .entries import EntriesHandler
from .reverts import RevertsHandler
from .runs import InputsHandler, KernelsHandler, RunsHandler

# A path is whatever follows: that it is in order is said in JSON, by the handler.
_PATH: Final = r"/(?P<path>.+)"

handlers: Final[list[tuple[str, type[ApiHandler]]]] = [
    (r"/api/ot/documents/?", DocumentsHandler),
    (r"/api/ot/documents" + _PATH, DocumentHandler),
    (r"/api/ot/entries" + _PATH, EntriesHandler),
    (r"/api/ot/reverts" + _PATH, RevertsHandler),
    (r"/api/ot/blobs/(?P<doc>[^/]+)/(?P<hash>[^/]+)", BlobHandler),
    (r"/api/ot/runs" + _PATH, RunsHandler),
    (r"/api/ot/kernels" + _PATH, KernelsHandler),
    (r"/api/ot/inputs" + _PATH, InputsHandler),
    (r"/api/ot/presence" + _PATH, PresenceHandler),
    (r"/api/ot/health", HealthHandler),
    (r"/api/ot/openapi\.json", OpenApiHandler),
]
