"""A server with a certificate: sockets write past tornado's buffers, and TLS has its own rules."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import nbformat
import trustme

from ot_jupyter.client import connect
from tests.server_process import ServerProcess


def notebook(path: Path) -> None:
    cells = [nbformat.v4.new_code_cell("", id=name) for name in ("a", "b")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


async def test_much_and_little_goes_both_ways(tmp_path: Path) -> None:
    """Also more than a TLS record or a socket's buffer takes at once, while others write."""
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
        tmp_path / "server.pem"
    )
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    root = tmp_path / "root"
    root.mkdir()
    notebook(root / "a.ipynb")
    extra = [f"--ServerApp.certfile={tmp_path / 'server.pem'}"]
    with ServerProcess(root, extra=extra, tls=trusted) as server:
        one = connect(server.url, server.token, ssl=trusted)
        two = connect(server.url, server.token, ssl=trusted)
        async with one, two:
            first, second = [await each.open("a.ipynb") for each in (one, two)]
            large = "x" * 5_000_000
            first.cells["a"].set_source(large)
            for _ in range(200):
                second.cells["b"].append("y")
                await asyncio.sleep(0)
            await first.acknowledged()
            await second.acknowledged()
            await second.until(lambda doc: doc.cells["a"].source == large)
            await first.until(lambda doc: doc.cells["b"].source == "y" * 200)
            third = await connect_again(server, trusted)
            assert third == (large, "y" * 200)


async def connect_again(server: ServerProcess, trusted: ssl.SSLContext) -> tuple[str, str]:
    """What somebody sees who comes later."""
    async with connect(server.url, server.token, ssl=trusted) as connection:
        document = await connection.open("a.ipynb")
        return document.cells["a"].source, document.cells["b"].source
