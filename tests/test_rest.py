"""The REST API over real HTTP, against real server processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jsonpatch
import nbformat
import pytest
from jupyter_server.auth import Authorizer
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from ot_jupyter.sequencer.entry import Head
from ot_jupyter.sequencer.sqlite import SqliteLog
from ot_jupyter.transforms import apply, transform_change
from tests.redis_server import RedisServer
from tests.server_process import ServerProcess

JSON_PATCH = {"Content-Type": "application/json-patch+json"}
NOTEBOOK: dict[str, Any] = {
    "cells": [
        {
            "cell_type": "code", "id": "one", "metadata": {}, "source": "a = 1\nb = 2",
            "execution_count": 1, "outputs": [
                {"output_type": "stream", "name": "stdout", "text": "hello"}
            ],
        },
        {"cell_type": "markdown", "id": "two", "metadata": {}, "source": "# Grüße 🎉"},
        {
            "cell_type": "code", "id": "three", "metadata": {"tags": ["x"]}, "source": "",
            "execution_count": None, "outputs": [],
        },
    ],
    "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}  # fmt: skip


class ReadOnly(Authorizer):
    """Everybody reads, nobody writes."""

    def is_authorized(self, handler: Any, user: Any, action: str, resource: str) -> bool:
        return action == "read"


@dataclass
class Answer:
    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def etag(self) -> str:
        return str(self.headers["ETag"])

    @property
    def state(self) -> str:
        """The ETag as an argument takes it."""
        return self.etag.strip('"')

    @property
    def error(self) -> tuple[int, str, str]:
        """Status, code and pointer of an error."""
        return self.status, self.code, self.json["pointer"]

    @property
    def code(self) -> str:
        """The code of an error, which has the shape of one."""
        error = self.json
        assert {"message", "reason", "code", "pointer"} <= set(error)
        assert error["message"]
        assert type(error["pointer"]) is str
        return str(error["code"])


@dataclass
class Api:
    """A server, and a client of it."""

    server: ServerProcess
    client: AsyncHTTPClient = field(
        default_factory=lambda: AsyncHTTPClient(force_instance=True, max_clients=200)
    )
    names: Iterator[int] = field(default_factory=count)

    async def __call__(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        headers: dict[str, str] | None = None,
        *,
        token: bool = True,
        **more: Any,
    ) -> Answer:
        own = {"Authorization": f"token {self.server.token}"} if token else {}
        request = HTTPRequest(
            f"{self.server.url}/api/ot/{path}",
            method,
            {**own, **(headers or {})},
            body,
            allow_nonstandard_methods=True,
            follow_redirects=False,
            request_timeout=60,
            **more,
        )
        response = await self.client.fetch(request, raise_error=False)
        if response.code == 599:
            raise response.error or AssertionError
        return Answer(response.code, response.headers, response.body or b"")

    async def get(self, path: str, headers: dict[str, str] | None = None) -> Answer:
        return await self("GET", path, None, headers)

    async def patch(
        self, path: str, patch: Any, headers: dict[str, str] | None = None, query: str = ""
    ) -> Answer:
        body = json.dumps(patch)
        return await self(
            "PATCH", f"documents/{path}{query}", body, {**JSON_PATCH, **(headers or {})}
        )

    def write(self, content: Any = NOTEBOOK, name: str | None = None) -> str:
        """A new file below the server's root: its path. A dict becomes a notebook."""
        if name is None:
            ending = "ipynb" if isinstance(content, dict) else "txt"
            name = f"{next(self.names)}.{ending}"
        file = self.server.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            file.write_bytes(content)
        else:
            text = content if isinstance(content, str) else json.dumps(content)
            file.write_text(text, encoding="utf-8", newline="")
        return name


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("root")) as one:
        yield one
        assert "Traceback" not in one.log


@pytest.fixture(scope="module")
def quiet_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One where nobody is but those whom a test counts."""
    with ServerProcess(tmp_path_factory.mktemp("quiet")) as one:
        yield one
        assert "Traceback" not in one.log


@pytest.fixture(scope="module")
def names() -> Iterator[int]:
    return count()


@pytest.fixture
async def api(server: ServerProcess, names: Iterator[int]) -> AsyncIterator[Api]:
    one = Api(server, names=names)
    yield one
    one.client.close()


@pytest.fixture
async def quiet(quiet_server: ServerProcess, names: Iterator[int]) -> AsyncIterator[Api]:
    one = Api(quiet_server, names=names)
    yield one
    one.client.close()


@contextlib.asynccontextmanager
async def serving(
    root: Path, kind: type[ServerProcess] = ServerProcess, **options: Any
) -> AsyncIterator[Api]:
    """A server of a test's own."""
    server = kind(root, **options)
    await asyncio.to_thread(server.start)
    api = Api(server)
    try:
        yield api
        assert "Traceback" not in server.log
    finally:
        api.client.close()
        await asyncio.to_thread(server.__exit__, None, None, None)


def replace(path: str, value: Any) -> dict[str, Any]:
    return {"op": "replace", "path": path, "value": value}


def put(path: str, value: Any) -> dict[str, Any]:
    return {"op": "add", "path": path, "value": value}


async def until(done: Callable[[], Awaitable[bool]], seconds: float = 60.0) -> None:
    """Return when it is so, and fail if that does not come to be."""
    for _ in range(int(seconds / 0.1)):
        if await done():
            return
        await asyncio.sleep(0.1)
    pytest.fail(f"{done.__qualname__} is not so after {seconds} s")


async def source(api: Api, name: str, index: int = 0) -> str:
    return str((await api.get(f"documents/{name}")).json["cells"][index]["source"])


async def entries(api: Api, name: str, query: str = "since=0") -> Any:
    answer = await api.get(f"entries/{name}?{query}")
    assert answer.status == 200, answer.body
    return answer.json


# Reading


async def test_a_notebook_is_read_with_its_state(api: Api) -> None:
    name = api.write()
    answer = await api.get(f"documents/{name}")
    assert answer.status == 200
    assert answer.json == NOTEBOOK
    nbformat.validate(answer.json)
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-cache"
    assert re.fullmatch(r'"0-[0-9a-f]{16}"', answer.etag)


async def test_what_is_known_is_not_sent_again(api: Api) -> None:
    name = api.write()
    etag = (await api.get(f"documents/{name}")).etag
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        answer = await api.get(f"documents/{name}", {"If-None-Match": known})
        assert (answer.status, answer.body, answer.etag) == (304, b"", etag)
    assert (await api.patch(name, [replace("/cells/1/source", "x")])).status == 200
    answer = await api.get(f"documents/{name}", {"If-None-Match": etag})
    assert answer.status == 200
    assert answer.etag != etag


async def test_head_is_get_without_the_body(api: Api) -> None:
    name = api.write()
    for path in (
        f"documents/{name}", f"documents/{name}?rev=0", "documents", f"entries/{name}?since=0",
        f"entries/{name}?wait=50", f"presence/{name}", "health", "openapi.json",
    ):  # fmt: skip
        get = await api.get(path) if "wait" not in path else None
        head = await api("HEAD", path, None, {"Accept": "text/event-stream"})
        assert (head.status, head.body) == (200, b"")
        if get is not None:
            for header in ("ETag", "Content-Type", "Content-Length"):
                assert head.headers.get(header) == get.headers.get(header)
    assert (await api("HEAD", "documents/not-here.ipynb")).status == 404


@pytest.mark.parametrize("text", ["", "plain", "a\r\nb\n", "Grüße 🎉\u2028", "﻿bom"])
async def test_a_text_file_is_its_text(api: Api, text: str) -> None:
    name = api.write(text, f"texts/{next(api.names)} ü.py")
    answer = await api.get(f"documents/{quote(name)}")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain; charset=UTF-8"
    known = await api.patch(quote(name), [replace("/source", text + "!")])
    assert known.status == 200
    assert (await api.get(f"documents/{quote(name)}")).body.decode() == answer.body.decode() + "!"


async def test_every_revision_can_be_read(api: Api) -> None:
    name = api.write()
    then = [await api.get(f"documents/{name}")]
    for number in range(5):
        await api.patch(name, [replace("/cells/@two/source", f"version {number}")])
        then.append(await api.get(f"documents/{name}"))
    for rev, known in enumerate(then):
        answer = await api.get(f"documents/{name}?rev={rev}")
        assert (answer.status, answer.etag, answer.body) == (200, known.etag, known.body)
        assert (
            await api.get(f"documents/{name}?rev={rev}", {"If-None-Match": known.etag})
        ).status == 304
    answer = await api.get(f"documents/{name}?rev=6")
    assert answer.error == (404, "unknown_revision", "/rev")


@pytest.mark.parametrize(
    "query",
    ["documents/P?rev=-1", "documents/P?rev=x", "documents/P?rev=", "documents/P?rev=1.0",
     "documents/P?rev=%D9%A1", "documents/P?rev=9999999999999999",
     "entries/P?since=x", "entries/P?since=-1", "entries/P?since=1-", "entries/P?since=",
     "entries/P?limit=0", "entries/P?limit=a", "entries/P?wait=nan", "entries/P?wait=-1",
     "entries/P?wait=inf", "entries/P?wait=1_0", "entries/P?wait=", "entries/P?as=xml",
     "entries/P?as="],
)  # fmt: skip
async def test_an_argument_that_cannot_be_read_is_named(api: Api, query: str) -> None:
    answer = await api.get(query.replace("P", api.write()))
    name = re.split(r"[?=]", query)[1]
    assert answer.error == (400, "bad_argument", f"/{name}")


# What can't be read


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("documents/not-here.ipynb", 404, "not_found"),
        ("documents/no/such/folder.ipynb", 404, "not_found"),
        ("documents/folder", 400, "is_directory"),
        ("documents/folder/", 400, "is_directory"),
        ("documents/.hidden.ipynb", 404, "not_found"),
        ("documents/.secrets/a.ipynb", 404, "not_found"),
        ("documents/folder/../../outside.ipynb", 404, "bad_path"),
        ("documents/../outside.ipynb", 404, "bad_path"),
        ("documents/%2e%2e/outside.ipynb", 404, "bad_path"),
        ("documents/..%2foutside.ipynb", 404, "bad_path"),
        ("documents/%2e%2e%2foutside.ipynb", 404, "bad_path"),
        ("documents/folder%2f..%2f..%2foutside.ipynb", 404, "bad_path"),
        ("documents/%2foutside.ipynb", 404, "not_found"),
        ("documents//outside.ipynb", 404, "not_found"),
        ("documents//etc/passwd", 404, "not_found"),
        ("documents/%2fetc%2fpasswd", 404, "not_found"),
        ("documents/..%5coutside.ipynb", 404, "not_found"),
        ("documents/%252e%252e/outside.ipynb", 404, "not_found"),
        ("documents/a%00b.ipynb", 404, "bad_path"),
        ("documents/a%FFb.ipynb", 400, "bad_argument"),
        ("documents/a%ED%A0%80b.ipynb", 400, "bad_argument"),
        ("documents/%2e", 404, "bad_path"),
        ("documents/a%0Ab.ipynb", 404, "not_found"),
        ("documents/" + "n" * 300 + ".ipynb", 404, "not_found"),
        ("documents/" + "n/" * 3000 + "n.ipynb", 404, "not_found"),
        ("documents/broken.ipynb", 422, "not_json"),
        ("documents/old.ipynb", 422, "unsupported_format"),
        ("documents/no-notebook.ipynb", 422, "not_a_notebook"),
        ("documents/picture.png", 422, "not_text"),
    ],
)  # fmt: skip
async def test_what_is_no_document_is_refused(api: Api, path: str, status: int, code: str) -> None:
    root = api.server.root
    (root / "folder").mkdir(exist_ok=True)
    api.write(NOTEBOOK, "../outside.ipynb")
    for name in (".hidden.ipynb", ".secrets/a.ipynb"):
        api.write(NOTEBOOK, name)
    files = {
        "broken.ipynb": b'{"cells": [',
        "old.ipynb": b'{"nbformat": 2, "worksheets": []}',
        "no-notebook.ipynb": b'{"nbformat": 4, "nbformat_minor": 5, "cells": 7}',
        "picture.png": b"\x89PNG\r\n\x1a\n\xff\xfe",
    }
    for name, content in files.items():
        api.write(content, name)
    for kind in ("documents", "entries", "presence"):
        answer = await api.get(path.replace("documents", kind, 1))
        assert (answer.status, answer.code) == (status, code)
    answer = await api.patch(path.removeprefix("documents/"), [])
    assert (answer.status, answer.code) == (status, code)
    for name, content in files.items():
        assert (root / name).read_bytes() == content


async def test_one_path_has_one_document_however_it_is_spelled(api: Api) -> None:
    name = api.write(NOTEBOOK, f"spelled/{next(api.names)} a+b&c.ipynb")
    folder, _, file = name.partition("/")
    spellings = [quote(name), quote(name, safe=""), f"./{folder}//{quote(file)}", f"{quote(name)}/"]
    assert (await api.patch(spellings[0], [replace("/cells/0/source", "x")])).status == 200
    etags = {(await api.get(f"documents/{one}")).etag for one in spellings}
    assert len(etags) == 1


# Who may


async def test_without_authentication_there_is_nothing(api: Api) -> None:
    name = api.write()
    for path in (
        f"documents/{name}", "documents", f"entries/{name}", f"presence/{name}", "health",
        "openapi.json",
    ):  # fmt: skip
        for headers in ({}, {"Authorization": "token wrong"}):
            answer = await api("GET", path, None, headers, token=False)
            assert (answer.status, answer.code) == (403, "forbidden")
    answer = await api("PATCH", f"documents/{name}", b"[]", JSON_PATCH, token=False)
    assert answer.status == 403
    answer = await api("GET", f"documents/{name}?token={api.server.token}", token=False)
    assert answer.status == 200


async def test_a_cookie_alone_changes_nothing_from_another_site(api: Api) -> None:
    name = api.write()
    answer = await api.get(f"documents/{name}")
    cookies = [one.partition(";")[0] for one in answer.headers.get_list("Set-Cookie")]
    cookie = {"Cookie": "; ".join(cookies)}
    own = {"Referer": f"{api.server.url}/tree"}
    answer = await api("GET", f"documents/{name}", None, {**cookie, **own}, token=False)
    assert answer.status == 200
    # No XSRF token, or another origin: as jupyter_server's own contents handlers.
    for headers in ({}, {"Origin": "http://evil.example"}, {"Referer": "http://evil.example/"}):
        answer = await api(
            "PATCH", f"documents/{name}", b"[]", {**JSON_PATCH, **cookie, **headers}, token=False
        )
        assert answer.status in (403, 404)
    answer = await api(
        "GET", f"documents/{name}", None, {**cookie, "Origin": "http://evil.example"}, token=False
    )
    assert answer.status == 404
    login = await api.client.fetch(f"{api.server.url}/login")
    cookies = login.headers.get_list("Set-Cookie")
    xsrf = next(one for one in cookies if one.startswith("_xsrf")).partition(";")[0]
    headers = {
        **JSON_PATCH,
        "Cookie": f"{cookie['Cookie']}; {xsrf}",
        "X-XSRFToken": xsrf.partition("=")[2],
    }
    answer = await api("PATCH", f"documents/{name}", b"[]", headers, token=False)
    assert answer.status == 200


async def test_who_may_not_write_may_still_read(tmp_path: Path) -> None:
    option = "--ServerApp.authorizer_class=tests.test_rest.ReadOnly"
    async with serving(tmp_path, extra=[option]) as api:
        name = api.write()
        assert (await api.get(f"documents/{name}")).status == 200
        assert (await api.get("documents")).status == 200
        answer = await api.patch(name, [replace("/cells/0/source", "x")])
        assert (answer.status, answer.code) == (403, "forbidden")
        assert await source(api, name) == "a = 1\nb = 2"


class Based(ServerProcess):
    """A server that is not at the root of its host."""

    @property
    def url(self) -> str:
        return f"{super().url}/user/ann"


async def test_the_addresses_follow_the_base_url(tmp_path: Path) -> None:
    option = "--ServerApp.base_url=/user/ann/"
    async with serving(tmp_path, kind=Based, extra=[option]) as api:
        name = api.write()
        assert (await api.get(f"documents/{name}")).json == NOTEBOOK
        assert (await api.get("openapi.json")).json["servers"] == [{"url": "/user/ann"}]


# What else HTTP asks for


async def test_options_tell_what_can_be_asked(api: Api) -> None:
    name = api.write()
    for path, allowed in (
        (f"documents/{name}", "GET, HEAD, PATCH, OPTIONS"),
        ("documents", "GET, HEAD, OPTIONS"),
        (f"entries/{name}", "GET, HEAD, OPTIONS"),
        ("health", "GET, HEAD, OPTIONS"),
    ):
        answer = await api("OPTIONS", path, token=False)  # as a browser asks before it asks
        assert (answer.status, answer.body) == (204, b"")
        assert answer.headers["Allow"] == answer.headers["Access-Control-Allow-Methods"] == allowed
        assert "if-match" in answer.headers["Access-Control-Allow-Headers"]
        for method in ("PUT", "POST", "DELETE", "TRACE", "LOCK"):
            answer = await api(method, path, b"" if method in ("PUT", "POST") else None)
            assert (answer.status, answer.code) == (405, "method_not_allowed")
            assert answer.headers["Allow"] == allowed


# Changing


async def test_a_patch_changes_the_document(api: Api) -> None:
    name = api.write()
    before = await api.get(f"documents/{name}")
    patch = [
        {"op": "test", "path": "/cells/0/id", "value": "one"},
        replace("/cells/1/source", "# Hello"),
        {"op": "add", "path": "/cells/1", "value": {"cell_type": "raw", "source": "new"}},
        {"op": "move", "from": "/cells/3", "path": "/cells/0"},
        {"op": "copy", "from": "/cells/0/metadata/tags", "path": "/metadata/tags"},
        {"op": "remove", "path": "/cells/0/metadata/tags"},
    ]
    answer = await api.patch(name, patch)
    assert answer.status == 200
    assert answer.etag == f'"{answer.json["rev"]}-{answer.json["hash"]}"'
    assert answer.json["rev"] == 1
    after = await api.get(f"documents/{name}")
    assert after.etag == answer.etag
    expected = jsonpatch.apply_patch(before.json, patch)
    expected["cells"][2]["id"] = after.json["cells"][2]["id"]
    expected["cells"][2]["metadata"] = {}
    assert after.json == expected
    (entry,) = (await entries(api, name))["entries"]
    assert entry["client"].startswith("rest:")
    assert (entry["n"], entry["base"], entry["rev"]) == (1, 0, 1)
    assert not any(one["op"] == "test" for one in entry["ops"])


async def test_replacing_a_source_enters_what_differs(api: Api) -> None:
    name = api.write()
    await api.patch(name, [replace("/cells/@one/source", "a = 10\nb = 2")])
    (entry,) = (await entries(api, name))["entries"]
    assert entry["ops"] == [{"op": "edit", "path": "/cells/one/source", "delta": [5, "0"]}]


async def test_a_change_reaches_the_file(api: Api) -> None:
    name = api.write()
    await api.patch(name, [replace("/cells/@one/source", "saved = True")])
    file = api.server.root / name

    async def saved() -> bool:
        return "saved = True" in file.read_text(encoding="utf-8")

    await until(saved)
    nbformat.validate(json.loads(file.read_text(encoding="utf-8")))


async def test_only_a_json_patch_is_taken(api: Api) -> None:
    name = api.write()
    for kind in ("application/json", "text/plain", "application/merge-patch+json", None):
        headers: dict[str, str] = {} if kind is None else {"Content-Type": kind}
        answer = await api("PATCH", f"documents/{name}", b"[]", headers)
        assert (answer.status, answer.code) == (415, "unsupported_media_type")
    for kind in ("application/json-patch+json; charset=utf-8", "Application/JSON-Patch+JSON"):
        answer = await api("PATCH", f"documents/{name}", b"[]", {"Content-Type": kind})
        assert answer.status == 200


@pytest.mark.parametrize(
    ("body", "status", "code", "pointer"),
    [
        (b"", 400, "not_json", ""),
        (b"{", 400, "not_json", ""),
        (b"[NaN]", 400, "not_json", ""),
        (b'["\\ud800"]', 400, "not_json", ""),
        (b'["\xff"]', 400, "not_json", ""),
        (b"{}", 400, "bad_patch", ""),
        (b'"x"', 400, "bad_patch", ""),
        (b"[" * 3000 + b"]" * 3000, 400, "not_json", ""),
        (b"[" * 200 + b"]" * 200, 422, "too_deep", ""),
        (b" " * (64 * 2**20 + 1), 413, "too_large", ""),
        (json.dumps([put("/metadata/x", 1)] * 10_001).encode(), 413, "too_large", ""),
    ],
)
async def test_what_is_no_patch_is_refused(
    api: Api, body: bytes, status: int, code: str, pointer: str
) -> None:
    name = api.write()
    answer = await api("PATCH", f"documents/{name}", body, JSON_PATCH)
    assert answer.error == (status, code, pointer)
    assert (await api.get(f"documents/{name}")).state.startswith("0-")


@pytest.mark.parametrize(
    ("operation", "status", "pointer"),
    [
        (7, 400, "/1"),
        ({}, 400, "/1"),
        ({"op": "replace", "path": "/cells/0/source"}, 400, "/1"),
        ({"op": "jump", "path": "/cells/0"}, 400, "/1/op"),
        ({"op": "remove", "path": "cells/0"}, 400, "/1/path"),
        ({"op": "remove", "path": "/cells/~2"}, 400, "/1/path"),
        ({"op": "move", "path": "/cells/0"}, 400, "/1"),
        ({"op": "remove", "path": "/cells/9"}, 409, "/1/path"),
        ({"op": "remove", "path": "/cells/@nobody"}, 409, "/1/path"),
        ({"op": "remove", "path": "/metadata/nothing"}, 409, "/1/path"),
        (replace("/cells/7/source", "x"), 409, "/1/path"),
        ({"op": "copy", "from": "/cells/7/source", "path": "/metadata/x"}, 409, "/1/from"),
        (replace("/nbformat", 5), 422, "/1/value"),
        (replace("/cells/0/source", 5), 422, "/1/value"),
        (replace("/cells/0/cell_type", "poem"), 422, "/1/value"),
        (replace("/cells/0/metadata", []), 422, "/1/value"),
        (replace("/metadata", {"x": 2**60}), 422, "/1/value"),
        ({"op": "remove", "path": "/cells/0/source"}, 422, "/1/path"),
        (
            {"op": "add", "path": "/cells/0/outputs/0", "value":
             {"output_type": "stream", "name": "stdout", "text": "forged"}}, 422, "/1/value",
        ),
        (
            replace("/cells/0/outputs",
                    [{"output_type": "stream", "name": "stdout", "text": "forged"}]),
            422, "/1/value",
        ),
    ],
)  # fmt: skip
async def test_what_a_patch_cannot_do_is_pointed_at(
    api: Api, operation: Any, status: int, pointer: str
) -> None:
    name = api.write()
    answer = await api.patch(name, [replace("/cells/1/source", "never entered"), operation])
    assert (answer.status, bool(answer.code)) == (status, True)
    assert answer.json["pointer"].startswith(pointer)
    assert (await api.get(f"documents/{name}")).state.startswith("0-")


async def test_outputs_may_be_cleared_but_not_forged(api: Api) -> None:
    name = api.write()
    assert (await api.patch(name, [replace("/cells/0/outputs", [])])).status == 200
    assert (await api.get(f"documents/{name}")).json["cells"][0]["outputs"] == []


# With a base


async def test_a_patch_speaks_of_its_base(api: Api) -> None:
    name = api.write()
    base = (await api.get(f"documents/{name}")).state
    await api.patch(name, [{"op": "remove", "path": "/cells/0"}])
    answer = await api.patch(name, [replace("/cells/1/source", "# Grüße!")], query=f"?base={base}")
    assert answer.status == 200
    after = (await api.get(f"documents/{name}")).json
    assert [one["source"] for one in after["cells"]] == ["# Grüße!", ""]
    # What was to be done in a cell that is gone has no place any more: an entry without effect.
    answer = await api.patch(name, [replace("/cells/0/source", "lost")], query=f"?base={base}")
    assert (answer.status, answer.json["rev"]) == (200, 3)
    assert (await api.get(f"documents/{name}")).json == after


async def test_a_base_that_never_was_is_refused(api: Api) -> None:
    name = api.write()
    state = (await api.get(f"documents/{name}")).state
    rev, _, hash_ = state.partition("-")
    for base in (f"{rev}-{'0' * 16}", f"1-{hash_}", f"999999-{hash_}"):
        answer = await api.patch(name, [], query=f"?base={base}")
        assert answer.error == (
            409,
            "unknown_base",
            "/base",
        )
        assert f"{answer.json['rev']}-{answer.json['hash']}" == state
    for base in ("0", "x", f"-1-{hash_}", f"{state}0", f'"{state}"'):
        answer = await api.patch(name, [], query=f"?base={quote(base)}")
        assert answer.error == (
            400,
            "bad_argument",
            "/base",
        )


# With If-Match


async def test_if_match_is_a_precondition(api: Api) -> None:
    name = api.write()
    etag = (await api.get(f"documents/{name}")).etag
    for match in (f"W/{etag}", '"0-0000000000000000"', '"x"', '""'):
        answer = await api.patch(name, [], {"If-Match": match})
        assert (answer.status, answer.code) == (412, "moved")
        assert f'"{answer.json["rev"]}-{answer.json["hash"]}"' == etag
    for match in ("x", etag.strip('"'), f"{etag} {etag}"):
        answer = await api.patch(name, [], {"If-Match": match})
        assert (answer.status, answer.code) == (400, "bad_argument")
    for match in (etag, "*"):
        answer = await api.patch(name, [put("/metadata/x", match)], {"If-Match": match})
        assert answer.status == 200
    answer = await api.patch(name, [put("/metadata/x", 1)], {"If-Match": etag})
    assert (answer.status, answer.code) == (412, "moved")
    now = await api.get(f"documents/{name}")
    answer = await api.patch(name, [], {"If-Match": now.etag}, f"?base={etag.strip(chr(34))}")
    assert (answer.status, answer.json["pointer"]) == (400, "/base")
    answer = await api.patch(name, [], {"If-Match": f'"a", {now.etag}'}, f"?base={now.state}")
    assert answer.status == 200
    answer = await api.patch("not-here.ipynb", [], {"If-Match": "*"})
    assert answer.status == 404


async def test_of_two_with_one_precondition_one_is_first(api: Api) -> None:
    name = api.write()
    for turn in range(10):
        etag = (await api.get(f"documents/{name}")).etag
        answers = await asyncio.gather(
            *(
                api.patch(name, [put("/metadata/turn", [turn, i])], {"If-Match": etag})
                for i in range(4)
            )
        )
        assert sorted(one.status for one in answers) == [200, 412, 412, 412]
        winner = next(i for i, one in enumerate(answers) if one.status == 200)
        assert (await api.get(f"documents/{name}")).json["metadata"]["turn"] == [turn, winner]


# With tests


async def test_a_failed_test_stops_all_of_it(api: Api) -> None:
    name = api.write()
    base = (await api.get(f"documents/{name}")).state
    await api.patch(name, [replace("/cells/@one/source", "a = 3\nb = 2")])
    await api.patch(name, [put("/metadata/x", 1)])
    answer = await api.patch(
        name,
        [
            replace("/cells/@two/source", "never"),
            {"op": "test", "path": "/cells/0/source", "value": "a = 1\nb = 2"},
        ],
        query=f"?base={base}",
    )
    assert answer.error == (409, "test_failed", "/1/value")
    assert answer.json["entries"] == (await entries(api, name))["entries"]
    assert [one["rev"] for one in answer.json["entries"]] == [1, 2]
    assert (await api.get(f"documents/{name}")).state.startswith("2-")


async def test_a_test_sees_what_stands_before_it(api: Api) -> None:
    name = api.write()
    answer = await api.patch(
        name,
        [
            {"op": "test", "path": "/cells/1/source", "value": "# Grüße 🎉"},
            replace("/cells/1/source", "new"),
            {"op": "test", "path": "/cells/1/source", "value": "new"},
            {"op": "remove", "path": "/cells/0"},
            {"op": "test", "path": "/cells/0/source", "value": "new"},
        ],
    )
    assert answer.status == 200
    answer = await api.patch(
        name,
        [
            replace("/cells/0/source", "newer"),
            {"op": "test", "path": "/cells/0/source", "value": "new"},
        ],
    )
    assert answer.error == (409, "test_failed", "/1/value")


async def test_a_test_in_a_cell_that_is_gone_fails(api: Api) -> None:
    name = api.write()
    base = (await api.get(f"documents/{name}")).state
    await api.patch(name, [{"op": "remove", "path": "/cells/@one"}])
    guard = {"op": "test", "path": "/cells/@one/source", "value": "a = 1\nb = 2"}
    answer = await api.patch(name, [guard], query=f"?base={base}")
    assert (answer.status, answer.code) == (409, "test_failed")


async def test_a_guarded_counter_counts(api: Api) -> None:
    """Compare and set: of all that read the same number, one may write the next."""
    name = api.write("0")

    async def increment() -> None:
        while True:
            read = await api.get(f"documents/{name}")
            old = read.body.decode()
            answer = await api.patch(
                name,
                [
                    {"op": "test", "path": "/source", "value": old},
                    replace("/source", str(int(old) + 1)),
                ],
                query=f"?base={read.state}",
            )
            if answer.status == 200:
                return
            assert (answer.status, answer.code) == (409, "test_failed")

    await asyncio.gather(*(increment() for _ in range(12)))
    assert (await api.get(f"documents/{name}")).body == b"12"


# With a key


async def test_a_key_makes_a_request_once(api: Api) -> None:
    name = api.write()
    patch = [{"op": "add", "path": "/cells/-", "value": {"cell_type": "raw", "source": "once"}}]
    key = {"Idempotency-Key": "abc-1:2"}
    first = await api.patch(name, patch, key)
    assert first.status == 200
    await api.patch(name, [replace("/cells/0/source", "other")])
    again = await api.patch(name, patch, key)
    assert (again.status, again.json, again.etag) == (200, first.json, first.etag)
    state = (await api.get(f"documents/{name}")).state
    for others in (
        api.patch(name, [*patch, *patch], key),
        api.patch(name, patch, key, f"?base={state}"),
        api.patch(name, patch, {**key, "If-Match": "*"}),
    ):
        answer = await others
        assert (answer.status, answer.code) == (422, "key_reused")
    assert (await api.get(f"documents/{name}")).state == state
    assert (await entries(api, name))["entries"][0]["client"] == "key:token:abc-1:2"
    # Another document, another key.
    assert (await api.patch(api.write(), patch, key)).json["rev"] == 1
    assert (await api.patch(name, patch, {"Idempotency-Key": "abc-2"})).json["rev"] == 3


async def test_a_key_answers_although_it_could_not_be_done_now(api: Api) -> None:
    name = api.write()
    state = await api.get(f"documents/{name}")
    patch = [
        {"op": "test", "path": "/cells/0/source", "value": "a = 1\nb = 2"},
        {"op": "remove", "path": "/cells/0"},
    ]
    for number, headers in enumerate(({"If-Match": state.etag}, {})):
        headers = {**headers, "Idempotency-Key": f"k{number}"}
        if number:
            await api.patch(
                name, [{"op": "add", "path": "/cells/0", "value": NOTEBOOK["cells"][0]}]
            )
        first = await api.patch(name, patch, headers)
        again = await api.patch(name, patch, headers)
        assert (first.status, again.status, again.json) == (200, 200, first.json)


async def test_a_refused_request_does_not_use_its_key_up(api: Api) -> None:
    name = api.write()
    key = {"Idempotency-Key": "later"}
    guarded = [
        {"op": "test", "path": "/metadata/ready", "value": True},
        put("/metadata/done", True),
    ]
    await api.patch(name, [put("/metadata/ready", False)])
    assert (await api.patch(name, guarded, key)).status == 409
    await api.patch(name, [put("/metadata/ready", True)])
    answer = await api.patch(name, guarded, key)
    assert (answer.status, answer.json["rev"]) == (200, 3)


async def test_ten_at_once_with_one_key_are_one(api: Api) -> None:
    name = api.write()
    patch = [{"op": "add", "path": "/cells/-", "value": {"cell_type": "raw", "source": "once"}}]
    answers = await asyncio.gather(
        *(api.patch(name, patch, {"Idempotency-Key": "all"}) for _ in range(10))
    )
    assert {one.status for one in answers} == {200}
    assert len({one.body for one in answers}) == 1
    assert len((await entries(api, name))["entries"]) == 1


@pytest.mark.parametrize("key", ["", "a b", "ä", "k" * 201])
async def test_a_key_that_is_none_is_refused(api: Api, key: str) -> None:
    answer = await api.patch(api.write(), [], {"Idempotency-Key": key})
    assert answer.error == (
        400, "bad_argument", "/Idempotency-Key"
    )  # fmt: skip


async def test_a_key_is_known_after_a_crash(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        name = api.write()
        patch, key = [put("/metadata/x", 1)], {"Idempotency-Key": "k"}
        first = await api.patch(name, patch, key)
        await asyncio.to_thread(api.server.kill)
        await asyncio.to_thread(api.server.start)
        again = await api.patch(name, patch, key)
        assert (again.status, again.json) == (200, first.json)
        assert (await api.get(f"documents/{name}")).etag == first.etag


# Together


async def test_nothing_typed_is_lost_to_a_program(api: Api) -> None:
    name = api.write({**NOTEBOOK, "cells": [{**NOTEBOOK["cells"][0], "source": "x = 1\ny = 2\n"}]})
    path = "/cells/@one/source"

    async def type_letters(letters: str, before: str) -> None:
        for letter in letters:
            read = await api.get(f"documents/{name}")
            text = read.json["cells"][0]["source"]
            at = text.index(before)
            change = [replace(path, text[:at] + letter + text[at:])]
            answer = await api.patch(name, change, query=f"?base={read.state}")
            assert answer.status == 200

    async def reformat() -> None:
        for number in range(10):
            read = await api.get(f"documents/{name}")
            text = re.sub(r"x = \d+", f"x = {number}", read.json["cells"][0]["source"])
            assert (
                await api.patch(name, [replace(path, text)], query=f"?base={read.state}")
            ).status == 200

    await asyncio.gather(
        type_letters("abcdefghijkl", "\ny"), type_letters("ABCDEFGHIJKL", "\n"), reformat()
    )
    text = await source(api, name)
    assert "".join(re.findall("[a-l]", text)) == "abcdefghijkl"
    assert "".join(re.findall("[A-L]", text)) == "ABCDEFGHIJKL"
    assert text.startswith("x = 9")
    assert text.endswith("\ny = 2\n")


class Editor:
    """Somebody at an editor: types into the second cell of a notebook, through the WebSocket."""

    def __init__(self, socket: WebSocketClientConnection) -> None:
        self.socket = socket
        self.document: Any = None
        self.head = Head(0, "")

    async def say(self, kind: str, **fields: Any) -> None:
        await self.socket.write_message(json.dumps({"type": kind, **fields}))

    async def hear(self, kind: str) -> Any:
        while True:
            message = json.loads(await self.socket.read_message() or "")
            assert message["type"] != "error", message
            if message["type"] == kind:
                return message

    async def open(self, path: str) -> Any:
        await self.say("open", path=path, client="editor")
        opened = await self.hear("opened")
        self.document = opened["document"]
        self.head = Head(opened["rev"], opened["hash"])
        return opened

    async def type(self, doc: str, letters: str) -> None:
        for n, letter in enumerate(letters, 1):
            at = self.document["cells"]["two"]["source"].index("|")
            ops = [{"op": "edit", "path": "/cells/two/source", "delta": [at, letter]}]
            await self.say("submit", doc=doc, n=n, base=self.head.rev, hash=self.head.hash, ops=ops)
            acknowledged = False
            while not acknowledged:
                for entry in (await self.hear("entries"))["entries"]:
                    if "ops" in entry:
                        ops = transform_change(ops, entry["ops"], later=True)
                    else:
                        acknowledged = True
                    self.document = apply(self.document, entry.get("ops", ops))
                    self.head = Head(entry["rev"], entry["hash"])


async def test_a_program_and_an_editor_meet(api: Api) -> None:
    name = api.write({**NOTEBOOK, "cells": [{**NOTEBOOK["cells"][1], "source": "# Grüße 🎉 |"}]})
    editor = Editor(await websocket_connect(api.server.ws_url))
    opened = await editor.open(name)

    async def retitle() -> Answer:
        for number in range(10):
            read = await api.get(f"documents/{name}")
            text = re.sub("#.*🎉", f"# Title {number} 🎉", read.json["cells"][0]["source"])
            change = [replace("/cells/0/source", text)]
            answer = await api.patch(name, change, query=f"?base={read.state}")
            assert answer.status == 200
        return answer

    typed = "abcdefghijklmnopqrstuvwxyz" * 2
    await asyncio.gather(editor.type(opened["doc"], typed), retitle())
    head = (await api.get(f"documents/{name}")).state
    assert await source(api, name) == f"# Title 9 🎉 {typed}|"

    await editor.say(
        "presence", doc=opened["doc"], presence={"rev": editor.head.rev, "cell": "two"}
    )
    present: list[Any] = []

    async def someone_is_there() -> bool:
        present[:] = (await api.get(f"presence/{name}")).json["presence"]
        return bool(present)

    await until(someone_is_there)
    (one,) = present
    assert (one["client"], one["presence"]) == ("editor", {"cell": "two"})
    listed = (await api.get("documents")).json["documents"]
    (found,) = [one for one in listed if one["path"] == name]
    rev, _, hash_ = head.partition("-")
    assert found == {
        "path": name, "doc": opened["doc"], "kind": "notebook", "rev": int(rev), "hash": hash_,
        "clients": 1, "stalled": None, "problem": None,
    }  # fmt: skip
    editor.socket.close()

    async def nobody_is_there() -> bool:
        return not await someone_is_there()

    await until(nobody_is_there)


# The log


async def test_the_log_is_read_in_pieces(api: Api) -> None:
    name = api.write()
    states = [(await api.get(f"documents/{name}")).state]
    for number in range(5):
        states.append((await api.patch(name, [put("/metadata/x", number)])).state)
    everything = await entries(api, name)
    assert [one["rev"] for one in everything["entries"]] == [1, 2, 3, 4, 5]
    assert (everything["rev"], everything["path"], everything["more"]) == (5, name, False)
    assert {"doc", "epoch"} <= set(everything)
    assert [f"{one['rev']}-{one['hash']}" for one in everything["entries"]] == states[1:]
    since, read = 0, []
    while True:
        piece = await entries(api, name, f"since={since}&limit=2")
        read += piece["entries"]
        since = piece["rev"]
        if not piece["more"]:
            break
    assert read == everything["entries"]
    for query in ("", "since=5", f"since={states[-1]}"):
        head = await entries(api, name, query)
        assert (head["rev"], head["entries"], head["more"]) == (5, [], False)
        assert head["hash"] == everything["hash"]
    assert (await entries(api, name, f"since={states[2]}"))["entries"] == everything["entries"][2:]
    answer = await api.get(f"entries/{name}?since=6&wait=10")
    assert answer.error == (
        404,
        "unknown_revision",
        "/since",
    )
    answer = await api.get(f"entries/{name}?since=2-{'0' * 16}")
    assert answer.error == (409, "unknown_base", "/since")


async def test_the_log_can_be_read_as_json_patches(api: Api) -> None:
    name = api.write()
    changes: list[list[dict[str, Any]]] = [
        [replace("/cells/0/source", "a = 1\nc = 2")],
        [{"op": "move", "from": "/cells/0", "path": "/cells/2"}],
        [
            {
                "op": "add",
                "path": "/cells/1",
                "value": {"id": "a", "cell_type": "code", "source": ""},
            }
        ],
        [replace("/cells/@one/cell_type", "markdown")],
        [replace("/cells/@one/cell_type", "code")],
        [put("/metadata/a~1b", {"~": [1, {"x": None}]}), put("/metadata/x", 1)],
        [{"op": "remove", "path": "/metadata/x"}, {"op": "remove", "path": "/cells/0"}],
        [replace("/cells/@one/outputs", [])],
        [],
        [{"op": "copy", "from": "/metadata", "path": "/cells/0/metadata/copy"}],
    ]
    for change in changes:
        assert (await api.patch(name, change)).status == 200
    log = await entries(api, name, "since=0&as=json-patch")
    assert len(log["entries"]) == len(changes)
    for one in log["entries"]:
        assert "ops" not in one
        before = (await api.get(f"documents/{name}?rev={one['rev'] - 1}")).json
        after = (await api.get(f"documents/{name}?rev={one['rev']}")).json
        assert jsonpatch.apply_patch(before, one["patch"]) == after
    tail = await entries(api, name, "since=4&as=json-patch")
    assert tail["entries"] == log["entries"][4:]


async def test_a_long_poll_ends_with_an_entry(quiet: Api) -> None:
    name = quiet.write()
    await quiet.get(f"documents/{name}")
    waiting = [asyncio.create_task(entries(quiet, name, "since=0&wait=50")) for _ in range(5)]
    await followers(quiet, 5)
    answer = await quiet.patch(name, [put("/metadata/x", 1)])
    for one in await asyncio.gather(*waiting):
        assert [each["rev"] for each in one["entries"]] == [1]
        assert (one["rev"], one["hash"]) == (1, answer.json["hash"])
    # Where there is something already, there is nothing to wait for.
    assert len((await entries(quiet, name, "since=0&wait=50"))["entries"]) == 1
    await followers(quiet, 0)


async def test_a_long_poll_ends_with_its_time(api: Api) -> None:
    name = api.write()
    answer = await entries(api, name, "since=0&wait=0.2")
    assert (answer["rev"], answer["entries"], answer["more"]) == (0, [], False)


async def followers(api: Api, number: int) -> None:
    """Return when so many follow documents on the server, counted by its metrics."""

    async def counted() -> bool:
        metrics = await api.client.fetch(
            f"{api.server.url}/metrics", headers={"Authorization": f"token {api.server.token}"}
        )
        found = re.search(rb"^ot_jupyter_clients (\S+)$", metrics.body, re.MULTILINE)
        return found is not None and float(found[1]) == number

    await until(counted)


async def test_who_leaves_is_not_waited_for(quiet: Api) -> None:
    name = quiet.write()
    await quiet.get(f"documents/{name}")
    _, port = quiet.server.url.rsplit(":", 1)
    writers = []
    for accept in ("*/*", "text/event-stream"):
        _, writer = await asyncio.open_connection("127.0.0.1", int(port))
        writer.write(
            f"GET /api/ot/entries/{name}?since=0&wait=50 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
            f"Accept: {accept}\r\nAuthorization: token {quiet.server.token}\r\n\r\n".encode()
        )
        writers.append(writer)
    await followers(quiet, 2)
    for writer in writers:
        writer.close()
    await followers(quiet, 0)


class Events:
    """A stream of Server-Sent Events: what came of it so far."""

    def __init__(self, api: Api, path: str, headers: dict[str, str] | None = None) -> None:
        self.text = ""
        self._news = asyncio.Event()
        self.answer = asyncio.create_task(
            api(
                "GET", path, None, {"Accept": "text/event-stream", **(headers or {})},
                streaming_callback=self._receive,
            )
        )  # fmt: skip

    def _receive(self, chunk: bytes) -> None:
        self.text += chunk.decode()
        self._news.set()

    @property
    def events(self) -> list[tuple[int, Any]]:
        blocks = self.text.split("\n\n")[:-1]
        found = [re.fullmatch(r"id: (\d+)\ndata: (.*)", block) for block in blocks]
        return [(int(one[1]), json.loads(one[2])) for one in found if one is not None]

    async def until(self, done: Callable[[], bool]) -> None:
        while not done():
            self._news.clear()
            await self._news.wait()


async def test_entries_come_as_events(api: Api) -> None:
    name = api.write()
    for number in range(3):
        await api.patch(name, [put("/metadata/x", number)])
    stream = Events(api, f"entries/{name}?since=1")
    await stream.until(lambda: len(stream.events) == 2)
    for number in range(3, 6):
        await api.patch(name, [put("/metadata/x", number)])
    await stream.until(lambda: len(stream.events) == 5)
    log = (await entries(api, name))["entries"]
    assert stream.events == [(one["rev"], one) for one in log[1:]]
    # Who lost the connection says where he was; that is worth more than the address.
    again = Events(api, f"entries/{name}?since=1", {"Last-Event-ID": "4"})
    await again.until(lambda: len(again.events) == 2)
    assert again.events == [(one["rev"], one) for one in log[4:]]
    patches = Events(api, f"entries/{name}?since=4&as=json-patch")
    await patches.until(lambda: len(patches.events) == 2)
    await api.patch(name, [replace("/cells/1/source", "x")])
    await patches.until(lambda: len(patches.events) == 3)
    assert patches.events[-1][1]["patch"] == [replace("/cells/1/source", "x")]
    new = Events(api, f"entries/{name}")
    await new.until(lambda: "follows revision 7" in new.text)
    for one in (stream, again, patches, new):
        one.answer.cancel()
    answer = await api.get(f"entries/{name}?since=99", {"Accept": "text/event-stream"})
    assert (answer.status, answer.code) == (404, "unknown_revision")


async def test_a_silent_stream_is_kept_alive(api: Api) -> None:
    stream = Events(api, f"entries/{api.write()}")
    await stream.until(lambda: ": nothing new\n\n" in stream.text)
    stream.answer.cancel()


async def test_who_waits_gets_an_end_when_the_server_stops(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        name = api.write()
        await api.patch(name, [put("/metadata/x", 1)])
        stream = Events(api, f"entries/{name}?since=0")
        await stream.until(lambda: len(stream.events) == 1)
        poll = asyncio.create_task(entries(api, name, "since=1&wait=50"))
        await followers(api, 2)
        process = api.server.process
        await asyncio.to_thread(api.server.stop)
        assert process is not None
        assert process.returncode == 0
        assert (await stream.answer).status == 200  # a whole answer, not a broken connection
        assert (await poll)["entries"] == []


async def test_what_was_trimmed_is_gone(tmp_path: Path) -> None:
    store = tmp_path / "log.sqlite"
    root = tmp_path / "root"
    root.mkdir()
    async with serving(root, store=f"sqlite:///{store}") as api:
        name = api.write()
        states = [(await api.get(f"documents/{name}")).state]
        patch, key = [put("/metadata/key", 1)], {"Idempotency-Key": "old"}
        states.append((await api.patch(name, patch, key)).state)
        for number in range(8):
            states.append((await api.patch(name, [put("/metadata/x", number)])).state)
        await asyncio.to_thread(api.server.stop)  # which leaves a snapshot
        log = SqliteLog(store, "normal")
        await log.start()
        ref = await log.find(name)
        assert ref is not None
        await log.trim(ref.doc, 6, keep_history=True, seen_before="")
        await log.close()
        await asyncio.to_thread(api.server.start)
        answer = await api.get(f"entries/{name}?since=5")
        assert (answer.status, answer.code, answer.json["floor"]) == (410, "trimmed", 6)
        assert len((await entries(api, name, "since=6"))["entries"]) == 3
        answer = await api.get(f"entries/{name}?since=5", {"Accept": "text/event-stream"})
        assert (answer.status, answer.code) == (410, "trimmed")
        answer = await api.get(f"documents/{name}?rev=3")
        assert (answer.status, answer.code) == (410, "trimmed")
        answer = await api.get(f"entries/{name}?since=6&as=json-patch")
        assert (answer.status, answer.code) == (410, "trimmed")
        answer = await api.patch(name, [], query=f"?base={states[3]}")
        assert (answer.status, answer.code) == (410, "trimmed")
        # That the key was used is known still, if not the hash of what it made.
        answer = await api.patch(name, patch, key)
        assert (answer.status, answer.json) == (200, {"rev": 1})
        answer = await api.patch(name, [*patch, *patch], key)
        assert (answer.status, answer.code) == (422, "key_reused")
        assert (await api.get(f"documents/{name}")).state == states[-1]


# Is it well


async def test_a_healthy_server_says_so(api: Api) -> None:
    answer = await api.get("health")
    assert (answer.status, answer.json) == (200, {"status": "ok", "store": "sqlite"})


async def test_what_is_open_is_listed(api: Api) -> None:
    name, text = api.write(), api.write("text")
    state = (await api.get(f"documents/{name}")).state
    await api.get(f"documents/{text}")
    for path in ("documents", "documents/"):
        listed = (await api.get(path)).json["documents"]
        assert [one["path"] for one in listed] == sorted(one["path"] for one in listed)
        found = {one["path"]: one for one in listed}
        assert found[text]["kind"] == "text"
        assert f"{found[name]['rev']}-{found[name]['hash']}" == state
        assert (found[name]["clients"], found[name]["stalled"]) == (0, None)


async def test_without_its_store_a_server_reads_and_says_why_it_does_not_write(
    tmp_path: Path,
) -> None:
    redis = RedisServer()
    redis.start()
    try:
        async with serving(tmp_path, store=redis.url) as api:
            name, other = api.write(), api.write()
            patch = [put("/metadata/x", 1)]
            first = await api.patch(name, patch)
            assert first.status == 200
            assert (await api.get("health")).json["store"] == "redis"
            await asyncio.to_thread(redis.kill)
            answer = await api.get("health")
            assert (answer.status, answer.code) == (503, "store_unavailable")
            assert answer.headers["Retry-After"]
            answer = await api.get(f"documents/{name}")
            assert (answer.status, answer.etag) == (200, first.etag)
            assert (await api.get(f"documents/{other}")).status == 503  # not open yet
            answer = await api.patch(name, patch, {"Idempotency-Key": "k"})
            assert (answer.status, answer.code) == (503, "store_unavailable")
            (listed,) = (await api.get("documents")).json["documents"]
            assert listed["stalled"]
            await asyncio.to_thread(redis.start)

            async def writes_again() -> bool:
                nonlocal answer
                answer = await api.patch(name, patch, {"Idempotency-Key": "k"})
                return answer.status != 503

            await until(writes_again)
            assert (answer.status, answer.json["rev"]) == (200, 2)
    finally:
        redis.remove()


async def test_two_servers_on_one_store_answer_alike(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'log.sqlite'}"
    root = tmp_path / "root"
    root.mkdir()
    async with serving(root, store=store) as one, serving(root, store=store) as two:
        name = one.write()
        patch, key = [{"op": "add", "path": "/cells/-", "value": NOTEBOOK["cells"][1]}], "k"
        patch[0]["value"] = {"cell_type": "raw", "source": "once"}
        answers = await asyncio.gather(
            *(api.patch(name, patch, {"Idempotency-Key": key}) for api in (one, two) * 5)
        )
        assert {one.status for one in answers} == {200}
        assert len({one.body for one in answers}) == 1
        for turn in range(5):
            etag = (await one.get(f"documents/{name}")).etag
            writes: list[Awaitable[Answer]] = [
                api.patch(name, [put("/metadata/turn", [turn, i])], {"If-Match": etag})
                for i, api in enumerate((one, two))
            ]
            assert sorted(one.status for one in await asyncio.gather(*writes)) == [200, 412]
            reads = [await api.get(f"documents/{name}") for api in (one, two)]
            assert len({(one.etag, one.body) for one in reads}) == 1
        logs = [await entries(api, name) for api in (one, two)]
        assert logs[0] == logs[1]
