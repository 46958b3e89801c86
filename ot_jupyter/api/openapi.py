"""The description of the REST API, OpenAPI 3.1, as it is served at ``/api/ot/openapi.json``."""

from __future__ import annotations

from typing import Any, Final

from .. import __version__
from ..sequencer.entry import HASH_BYTES
from ..transforms.values import Json

Part = dict[str, Any]

_HASH: Final = f"[0-9a-f]{{{2 * HASH_BYTES}}}"
_STATE: Final = f"[0-9]{{1,15}}-{_HASH}"
_POINTER: Final = "^(/([^~/]|~[01])*)*$"
_LARGEST: Final = 10**15 - 1


def description(base_url: str) -> Part:
    """The whole description; ``base_url`` is the server's."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ot-jupyter",
            "version": __version__,
            "summary": "Live notebooks and text files for programs, agents and curl.",
            "description": (
                "Every document is a log of entries, one revision each. Whoever changes it, by "
                "this API, in an editor or on disk, adds to the one log; a change that was made "
                "for an older revision is transformed to the newest."
            ),
        },
        "servers": [{"url": base_url.rstrip("/") or "/"}],
        "security": [{"tokenHeader": []}, {"tokenQuery": []}],
        "paths": {
            "/api/ot/documents": _reading(_list_documents()),
            "/api/ot/documents/{path}": {
                "parameters": [_PATH],
                **_reading(_get_document()),
                "patch": _patch_document(),
            },
            "/api/ot/entries/{path}": {"parameters": [_PATH], **_reading(_get_entries())},
            "/api/ot/reverts/{path}": {"parameters": [_PATH], "post": _post_revert()},
            "/api/ot/blobs/{doc}/{hash}": {"parameters": _BLOB_NAME, **_reading(_get_blob())},
            "/api/ot/runs/{path}": {"parameters": [_PATH], "post": _post_runs()},
            "/api/ot/kernels/{path}": {
                "parameters": [_PATH],
                **_reading(_get_kernel()),
                "post": _post_kernel(),
            },
            "/api/ot/inputs/{path}": {"parameters": [_PATH], "post": _post_input()},
            "/api/ot/presence/{path}": {"parameters": [_PATH], **_reading(_get_presence())},
            "/api/ot/health": _reading(_get_health()),
            "/api/ot/openapi.json": _reading(_get_description()),
        },
        "components": {
            "securitySchemes": {
                "tokenHeader": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "`Authorization: token TOKEN`, with the server's token.",
                },
                "tokenQuery": {"type": "apiKey", "in": "query", "name": "token"},
            },
            "schemas": _schemas(),
        },
    }


# What can be done


def _list_documents() -> Part:
    return {
        "operationId": "listDocuments",
        "summary": "The documents that are open on this server",
        "responses": {"200": _json("The documents, by path", _ref("Documents")), **_errors()},
    }


def _get_document() -> Part:
    return {
        "operationId": "getDocument",
        "summary": "A document as it is now, or was",
        "parameters": [
            _query("rev", _revision(), "An old revision instead of the newest"),
            _header("If-None-Match", {"type": "string"}, "304 if the document is at this ETag"),
        ],
        "responses": {
            "200": {
                "description": "The notebook (nbformat 4.5), or the text",
                "headers": {"ETag": _ETAG},
                "content": {
                    "application/json": {"schema": _ref("Notebook")},
                    "text/plain": {"schema": {"type": "string"}},
                },
            },
            "304": {"description": "It is at that state still", "headers": {"ETag": _ETAG}},
            **_errors("400", "404", "410", "422"),
        },
    }


def _patch_document() -> Part:
    return {
        "operationId": "patchDocument",
        "summary": "Change a document by a JSON Patch (RFC 6902), all of it or nothing",
        "description": (
            "The patch speaks of the notebook as `getDocument` gives it; a cell can also be named "
            "by its id, `/cells/@ID/source`. Large outputs are references there (`blobs`). It is "
            "resolved once, at the state `base`, and "
            "transformed over what was entered since. Replacing a source enters only what "
            "differs, so nothing typed there meanwhile is lost. Each `test` is evaluated in its "
            "place when the patch's turn comes."
        ),
        "parameters": [
            _query(
                "base",
                {"type": "string", "pattern": f"^{_STATE}$"},
                "The state that the patch speaks of, REV-HASH, as in an ETag (default: the newest)",
            ),
            _header(
                "If-Match",
                {"type": "string", "pattern": r'^\*$|^(W/)?"[^"]*"( *, *(W/)?"[^"]*")*$'},
                "The patch is entered only if the document is at this very ETag: else 412",
            ),
            _idempotency_key(),
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json-patch+json": {
                    "schema": _ref("JsonPatch"),
                    "examples": {"notebook": {"value": _PATCH}, "text": {"value": _TEXT_PATCH}},
                }
            },
        },
        "responses": {
            "200": {
                **_json("It is entered: the state that it made", _ref("State")),
                "headers": {"ETag": _ETAG},
            },
            **_errors("400", "404", "409", "410", "412", "413", "415", "422"),
        },
    }


def _idempotency_key() -> Part:
    return _header(
        "Idempotency-Key",
        {"type": "string", "pattern": r"^[\x21-\x7e]{1,200}$"},
        "A name for this request: repeated within a day, it is answered as the first time and "
        "nothing is entered again",
    )


def _post_revert() -> Part:
    return {
        "operationId": "postRevert",
        "summary": "Take one entry of the log back; what came after it stays",
        "description": (
            "The entry's inverse is entered, transformed over all that came since. So an outside "
            "change of the file (`user` is `file` there) is undone in one step, by anyone."
        ),
        "parameters": [_idempotency_key()],
        "requestBody": _body(_object({"rev": {"type": "integer", "minimum": 1}}), {"rev": 18}),
        "responses": {
            "200": {
                **_json("It is taken back: the state that it led to", _ref("State")),
                "headers": {"ETag": _ETAG},
            },
            **_errors("400", "404", "409", "410", "422"),
        },
    }


def _wait_for_runs() -> Part:
    return _query(
        "wait",
        {"type": "number", "minimum": 0},
        "Seconds to wait for the end; the server may wait less. It answers sooner if a cell asks "
        "something by `input()`",
    )


def _post_runs() -> Part:
    return {
        "operationId": "postRuns",
        "summary": "Run cells, in this order",
        "description": (
            "The runs are entered in the log, all together, and the kernel takes them up in the "
            "order of the log, each with the source that its cell has at that place; a kernel is "
            "started if there is none. If one fails, the others of this request are aborted. With "
            "an `Idempotency-Key` the request can be repeated to ask how they are."
        ),
        "parameters": [_wait_for_runs(), _idempotency_key()],
        "requestBody": _body(_object({"cells": _cells_to_run()}), {"cells": ["costs", "total"]}),
        "responses": {
            "200": {**_json("All have ended", _ref("Runs")), "headers": {"ETag": _ETAG}},
            "202": {**_json("They go on", _ref("Runs")), "headers": {"ETag": _ETAG}},
            **_errors("400", "404", "409", "410", "422"),
        },
    }


def _get_kernel() -> Part:
    return {
        "operationId": "getKernel",
        "summary": "A notebook's kernel, and what is queued or running",
        "responses": {
            "200": {
                **_json(
                    "The kernel",
                    _object({"kernel": _ref("Kernel"), "runs": {"type": "object"}}),
                ),
                "headers": {"ETag": _ETAG},
            },
            **_errors("400", "404", "422"),
        },
    }


def _post_kernel() -> Part:
    action: Part = {"enum": ["start", "interrupt", "restart", "shutdown", "change"]}
    spec: Part = {
        "type": "string",
        "maxLength": 64,
        "description": "With `change` only: the name of the kernelspec to change to",
    }
    return {
        "operationId": "postKernel",
        "summary": "Start, interrupt, restart, shut down or change a notebook's kernel",
        "description": (
            "It is entered in the log and done at its place there. Everything but `start` aborts "
            "what is queued. `cells` are run after it; then the answer is that of `postRuns`."
        ),
        "parameters": [_wait_for_runs(), _idempotency_key()],
        "requestBody": _body(
            _object(
                {"action": action, "spec": spec, "cells": _cells_to_run()},
                optional={"spec", "cells"},
            ),
            {"action": "restart", "cells": "all"},
        ),
        "responses": {
            status: {
                **_json(
                    said,
                    {
                        "oneOf": [
                            _object(
                                {**_state_properties(), "kernel": _ref("Kernel")},
                                optional={"kernel", "hash"},
                            ),
                            _ref("Runs"),
                        ]
                    },
                ),
                "headers": {"ETag": {**_ETAG, "required": False}},
            }
            for status, said in (("200", "It is done"), ("202", "It is entered in the log"))
        }
        | _errors("400", "404", "409", "410", "422"),
    }


def _post_input() -> Part:
    text: Part = {"type": "string"}
    return {
        "operationId": "postInput",
        "summary": "Answer what a running cell asks",
        "description": "`id` is that of the question (`input` of a run). It is answered once: 409 "
        "if it was, or is not asked any more.",
        "requestBody": _body(_object({"id": text, "value": text}), {"id": "5d2c…", "value": "Ada"}),
        "responses": {
            "200": _json("The kernel has it", _ref("State")),
            **_errors("400", "404", "409", "410", "422"),
        },
    }


def _get_entries() -> Part:
    return {
        "operationId": "getEntries",
        "summary": "A document's log since a revision",
        "description": (
            "At once; or, with `wait`, when there is something; or, with "
            "`Accept: text/event-stream`, as it comes: each event has the revision as `id` and "
            "the entry as `data`."
        ),
        "parameters": [
            _query(
                "since",
                {"type": "string", "pattern": f"^[0-9]{{1,15}}(-{_HASH})?$"},
                "The revision, or the state REV-HASH, that is known already (default: the newest)",
            ),
            _query(
                "limit",
                {"type": "integer", "minimum": 1, "maximum": _LARGEST},
                "The most entries to answer; `more` says whether there are others",
            ),
            _query(
                "wait",
                {"type": "number", "minimum": 0},
                "Seconds to wait for an entry, if there is none yet; the server may wait less",
            ),
            _query(
                "as",
                {"type": "string", "enum": ["operations", "json-patch"]},
                "How the entries say what they changed: by `ops`, or by `patch`, which makes the "
                "notebook at a revision into the next one",
            ),
            _header(
                "Last-Event-ID",
                {"type": "string", "pattern": f"^([0-9]{{1,15}}(-{_HASH})?)?$"},
                "Of a stream of events: the last one that was received, in place of `since`",
            ),
        ],
        "responses": {
            "200": {
                "description": "The entries, oldest first",
                "content": {
                    "application/json": {"schema": _ref("Entries")},
                    "text/event-stream": {"schema": {"type": "string"}},
                },
            },
            **_errors("400", "404", "409", "410", "422"),
        },
    }


def _get_blob() -> Part:
    whole: Part = {"*/*": {"schema": {"type": "string"}}}
    etag: Part = {"required": True, "schema": {"type": "string"}, "description": "The hash"}
    return {
        "operationId": "getBlob",
        "summary": "A large output, whole or a range of it",
        "description": (
            "What an output's `blobs` refer to: the text in UTF-8, or JSON. An image is in base64, "
            "as everywhere in a notebook. What a hash names never changes."
        ),
        "parameters": [
            _query(
                "type",
                {"type": "string"},
                "The media type that it has; one that a browser might run is answered as text",
            ),
            _header("Range", {"type": "string"}, "One range of bytes, `bytes=0-65535`"),
            _header("If-Range", {"type": "string"}, "The range, if this is the ETag; else all"),
            _header("If-None-Match", {"type": "string"}, "304 if this is the ETag"),
        ],
        "responses": {
            "200": {"description": "All of it", "headers": {"ETag": etag}, "content": whole},
            "206": {"description": "The range", "headers": {"ETag": etag}, "content": whole},
            "304": {"description": "It is known already", "headers": {"ETag": etag}},
            **_errors("400", "404", "416"),
        },
    }


def _get_presence() -> Part:
    return {
        "operationId": "getPresence",
        "summary": "Who is in a document, and where",
        "responses": {
            "200": _json("Those who told where they are", _ref("Present")),
            **_errors("400", "404", "422"),
        },
    }


def _get_health() -> Part:
    return {
        "operationId": "getHealth",
        "summary": "Whether changes can be committed",
        "responses": {
            "200": _json(
                "They can",
                _object({"status": {"const": "ok"}, "store": {"type": "string"}}),
            ),
            **_errors(),
        },
    }


def _get_description() -> Part:
    return {
        "operationId": "getDescription",
        "summary": "This description",
        "responses": {"200": _json("OpenAPI 3.1", {"type": "object"}), **_errors()},
    }


# What is said


def _state_properties() -> Part:
    return {"rev": _revision(), "hash": {"type": "string", "pattern": f"^{_HASH}$"}}


def _cells_to_run() -> Part:
    return {
        "oneOf": [
            {"type": "array", "items": {"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,64}$"}},
            {"const": "all"},
        ],
        "description": "Ids of code cells, in the order to run them, or all of the notebook",
    }


def _run() -> Part:
    text: Part = {"type": "string"}
    return _object(
        {
            "state": {"enum": ["queued", "running", "ok", "error", "aborted", "lost"]},
            "execution_count": {"type": ["integer", "null"]},
            "run": {**text, "description": "The run's own name"},
            "reason": {**text, "description": "Why it was aborted or is lost"},
            "input": _object(
                {"id": text, "prompt": text, "password": {"type": "boolean"}},
            ),
        },
        optional={"run", "reason", "input"},
    )


def _kernel() -> Part:
    text: Part = {"type": "string"}
    return {
        "type": "object",
        "properties": {
            "state": {"enum": ["none", "starting", "ready", "restarting"]},
            "generation": {"type": "integer", "minimum": 0},
            "owner": {**text, "description": "The server that has it"},
            "id": text,
            "name": {**text, "description": "Its kernelspec"},
            "reason": {**text, "description": "Why there is none"},
            "request": {"type": "object", "description": "What was asked of it last"},
            "done": {"type": "object", "description": "Which request was carried out last"},
        },
        "required": ["state", "generation"],
    }


def _schemas() -> Part:
    text: Part = {"type": "string"}
    state: Part = _state_properties()
    named: Part = {"doc": text, "path": text}
    entry: Part = {
        **state,
        "client": {"type": "string", "description": "Whose entry: a tab, a key, `file:…`"},
        "n": {"type": "integer", "minimum": 1, "description": "The client's number for it"},
        "base": {**_revision(), "description": "The revision that its author saw"},
        "user": text,
        "time": {"type": "string", "format": "date-time"},
    }
    unsaid: Part = {"skip": {"type": "boolean"}, "digest": text}
    operations: Part = {
        "type": "array",
        "items": {"type": "object", "required": ["op", "path"]},
        "description": "Cells by id and index, texts by delta; counted in Unicode code points",
    }
    return {
        "Error": {
            **_object(
                {
                    "message": {"type": "string", "description": "For people"},
                    "reason": {"type": ["string", "null"]},
                    "code": {"type": "string", "description": "For programs, one word"},
                    "pointer": {
                        "type": "string",
                        "description": "JSON Pointer of what is wrong in the body, or "
                        "`/NAME` of an argument",
                    },
                }
            ),
            "additionalProperties": True,
        },
        "State": _object(state, optional={"hash"}),
        "Runs": _object(
            {**state, "cells": {"type": "object", "additionalProperties": _run()}},
            optional={"hash"},
        ),
        "Kernel": _kernel(),
        "Notebook": _object(
            {
                "cells": {"type": "array", "items": {"type": "object"}},
                "metadata": {"type": "object"},
                "nbformat": {"const": 4},
                "nbformat_minor": {"type": "integer"},
            }
        ),
        "JsonPatch": {"type": "array", "items": {"oneOf": _patch_operations()}},
        "Documents": _object(
            {
                "documents": {
                    "type": "array",
                    "items": _object(
                        {
                            **named,
                            **state,
                            "kind": {"enum": ["notebook", "text"]},
                            "clients": {"type": "integer", "minimum": 0},
                            "stalled": {
                                "type": ["string", "null"],
                                "description": "Why nothing can be committed now",
                            },
                            "problem": {
                                "type": ["string", "null"],
                                "description": "Why the file is not in step with the document",
                            },
                        }
                    ),
                }
            }
        ),
        "Entry": _object({**entry, "ops": operations, **unsaid}, optional=set(unsaid)),
        "ProjectedEntry": _object(
            {**entry, "patch": _ref("JsonPatch"), **unsaid}, optional=set(unsaid)
        ),
        "Entries": _object(
            {
                **named,
                "epoch": text,
                **state,
                "more": {"type": "boolean"},
                "entries": {
                    "type": "array",
                    "items": {"oneOf": [_ref("Entry"), _ref("ProjectedEntry")]},
                },
            }
        ),
        "Present": _object(
            {
                **named,
                **state,
                "presence": {
                    "type": "array",
                    "items": _object(
                        {
                            "client": text,
                            "user": {"type": "object"},
                            "rev": _revision(),
                            "presence": {"type": "object"},
                        }
                    ),
                },
            }
        ),
    }


def _patch_operations() -> list[Part]:
    path: Part = {"type": "string", "pattern": _POINTER}
    return [
        {
            "type": "object",
            "properties": {"op": {"enum": ["add", "replace", "test"]}, "path": path, "value": {}},
            "required": ["op", "path", "value"],
        },
        {
            "type": "object",
            "properties": {"op": {"const": "remove"}, "path": path},
            "required": ["op", "path"],
        },
        {
            "type": "object",
            "properties": {"op": {"enum": ["move", "copy"]}, "path": path, "from": path},
            "required": ["op", "path", "from"],
        },
    ]


_FAILURES: Final = {
    "400": "The request can't be read",
    "403": "Not authenticated, or not permitted",
    "404": "There is no such document or output, or not yet such a revision",
    "409": "A `test` failed (`entries` are those that came between), the patch speaks of something "
    "that is not there, or the document never was in that state",
    "410": "That revision can't be reached any more",
    "412": "The document is at another state than `If-Match` names",
    "413": "The patch is too large",
    "415": "A patch comes as `application/json-patch+json`",
    "416": "It ends before that range begins",
    "422": "It is understood, and can't be done",
    "503": "The store can't be reached",
}


def _errors(*statuses: str) -> Part:
    """The errors with these statuses, and those that any request may meet."""
    chosen = sorted({*statuses, "403", "503"})
    return {status: _json(_FAILURES[status], _ref("Error")) for status in chosen}


# Words of OpenAPI


def _reading(get: Part) -> Part:
    """A ``get``, and the ``head`` that goes with it."""
    responses = {
        status: {key: value for key, value in response.items() if key != "content"}
        for status, response in get["responses"].items()
    }
    head = {**get, "operationId": get["operationId"].replace("get", "head").replace("list", "head")}
    return {"get": get, "head": {**head, "responses": responses}}


def _ref(name: str) -> Part:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(description: str, schema: Part) -> Part:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _body(schema: Part, example: Json) -> Part:
    return {
        "required": True,
        "content": {"application/json": {"schema": schema, "example": example}},
    }


def _object(properties: Part, optional: frozenset[str] | set[str] = frozenset()) -> Part:
    """An object that has these properties and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def _revision() -> Part:
    return {"type": "integer", "minimum": 0, "maximum": _LARGEST}


def _query(name: str, schema: Json, description: str) -> Part:
    return {"name": name, "in": "query", "schema": schema, "description": description}


def _header(name: str, schema: Json, description: str) -> Part:
    return {"name": name, "in": "header", "schema": schema, "description": description}


_PATCH: Final = [
    {"op": "add", "path": "/cells/0", "value": {"cell_type": "markdown", "source": "# A trip"}},
    {"op": "test", "path": "/cells/0/source", "value": "# A trip"},
    {"op": "replace", "path": "/cells/0/source", "value": "# A trip to Rome"},
]
_TEXT_PATCH: Final = [{"op": "replace", "path": "/source", "value": "nights = 3"}]
_PATH: Final[Part] = {
    "name": "path",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "minLength": 1},
    "description": "The path of the file below the server's root, with its slashes",
}
_BLOB_NAME: Final[list[Part]] = [
    {
        "name": "doc",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "minLength": 1},
        "description": "The document's id",
    },
    {
        "name": "hash",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "minLength": 1},
        "description": "The content's, as the output says it",
    },
]
_ETAG: Final[Part] = {
    "required": True,
    "schema": {"type": "string", "pattern": f'^"{_STATE}"$'},
    "description": "The state, REV-HASH",
}
