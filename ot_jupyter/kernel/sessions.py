"""Kernels as jupyter_server has them: one session for a notebook, which all of Jupyter sees."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any, Final
from weakref import WeakValueDictionary

from jupyter_client.kernelspec import NoSuchKernel
from jupyter_server.gateway.managers import GatewayMappingKernelManager
from jupyter_server.utils import ensure_async
from tornado.web import HTTPError

from .connection import Connection, Heard, KernelNotReady, make_context

logger = logging.getLogger("ot_jupyter")

RESTART_SECONDS: Final = 60.0


class KernelUnavailable(Exception):
    """There is no kernel, for the reason that the text tells a person."""


class Sessions:
    """The session and kernel managers of jupyter_server, as far as runs need them."""

    def __init__(self, sessions: Any, kernels: Any, specs: Any) -> None:
        self._sessions = sessions
        self._kernels = kernels
        self._specs = specs
        self._context = make_context()
        self._begun: set[asyncio.Task[Any]] = set()
        self._starting: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def connect(self, kernel: str, heard: Heard) -> Connection:
        """A connection to a kernel; ``heard`` is called with what it says. Raises
        :class:`KernelUnavailable`."""
        manager = self._manager(kernel)
        if manager is None:
            raise KernelUnavailable("the kernel ended while it started")
        connection = Connection(manager, self._context, heard)
        try:
            await connection.open()
        except KernelNotReady as error:
            await connection.close()
            raise KernelUnavailable(str(error)) from None
        return connection

    async def describe(self, spec: str) -> dict[str, str]:
        """A kernelspec as notebooks name it; empty if there is none."""
        try:
            found = await ensure_async(self._specs.get_kernel_spec(spec))
            told = found if isinstance(found, dict) else found.to_dict()  # a gateway's is plain
            told = told.get("spec", told)
            named = {"display_name": told["display_name"], "language": told["language"]}
        except Exception as error:  # noqa: BLE001 - no run has to wait for a name
            logger.info("ot_jupyter: no description of the kernel %r: %s", spec, error)
            return {}
        return {"name": spec, **named}

    def knows(self, kernel: str) -> bool:
        """Whether the server has the kernel, dead or alive."""
        return kernel in self._kernels

    def _manager(self, kernel: str) -> Any | None:
        return self._kernels.get_kernel(kernel) if kernel in self._kernels else None

    async def current(self, path: str) -> str | None:
        """The kernel of a path's session, if it has one that lives."""
        if not await self._sessions.session_exists(path=path):
            return None
        session = await self._sessions.get_session(path=path)
        kernel: str = session["kernel"]["id"]
        return kernel if await self.is_alive(kernel) else None

    async def start(self, path: str, spec: str | None) -> str:
        """The kernel of a path: that of its session, or a new one of this kernelspec (None: the
        server's default). Raises :class:`KernelUnavailable`."""
        lock = self._starting.setdefault(path, asyncio.Lock())
        async with lock:
            try:
                kernel = await self.current(path)
                if kernel is not None:
                    return kernel
                await self._forget(path)
                await self._check(spec)
                session = await self._begin(path, spec)
            except KernelUnavailable:
                raise
            except HTTPError as error:
                raise KernelUnavailable(error.log_message or str(error)) from error
            except Exception as error:  # whatever a kernel can't be started for
                logger.exception("ot_jupyter: no kernel for %s", path)
                raise KernelUnavailable(f"the kernel did not start: {error}") from error
            started: str = session["kernel"]["id"]
            return started

    async def _begin(self, path: str, spec: str | None) -> Any:
        """A session with a new kernel. Once begun it goes on, whoever asked: jupyter_server can't
        end a kernel whose start was broken off, and then not itself."""
        work = self._sessions.create_session(
            path=path, name=path.rpartition("/")[2], type="notebook", kernel_name=spec
        )
        task = asyncio.ensure_future(work)
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)
        return await asyncio.shield(task)

    async def find(self, path: str, kernel: str) -> bool:
        """Whether a kernel of an earlier server lives; if so it is the path's from now on."""
        if kernel not in self._kernels and isinstance(self._kernels, GatewayMappingKernelManager):
            attach: Any = self._kernels.start_kernel
            with suppress(Exception):  # the gateway has it no more, or can't be asked
                await attach(kernel_id=kernel)
        if not await self.is_alive(kernel):
            return False
        if await self.current(path) is None:
            await self._forget(path)
            await self._sessions.create_session(
                path=path, name=path.rpartition("/")[2], type="notebook", kernel_id=kernel
            )
        return await self.current(path) == kernel

    async def is_alive(self, kernel: str) -> bool:
        """Whether the kernel is known here and its process runs."""
        manager = self._manager(kernel)
        return manager is not None and bool(await ensure_async(manager.is_alive()))

    async def interrupt(self, kernel: str) -> None:
        """Have the kernel stop what it runs."""
        await ensure_async(self._kernels.interrupt_kernel(kernel))

    async def restart(self, kernel: str) -> None:
        """A new process for the kernel. Raises :class:`KernelUnavailable`."""
        try:
            ready = await ensure_async(self._kernels.restart_kernel(kernel))
            if ready is not None:
                await asyncio.wait_for(ready, RESTART_SECONDS)
        except Exception as error:  # whatever it can't be restarted for
            raise KernelUnavailable(f"the kernel did not restart: {error}") from error

    async def shut_down(self, path: str) -> None:
        """End the path's session and its kernel."""
        with suppress(HTTPError):
            session = await self._sessions.get_session(path=path)
            await ensure_async(self._sessions.delete_session(session["id"]))

    async def moved(self, old: str, new: str) -> None:
        """The document has another path: so has its session."""
        with suppress(HTTPError):
            session = await self._sessions.get_session(path=old)
            name = new.rpartition("/")[2]
            await self._sessions.update_session(session["id"], path=new, name=name)

    async def close(self) -> None:
        """Let go of all connections, when no kernel is about to start any more."""
        await asyncio.gather(*self._begun, return_exceptions=True)
        self._context.destroy(linger=0)

    async def _check(self, spec: str | None) -> None:
        """Raise :class:`KernelUnavailable` if there is no such kernelspec."""
        if spec is None:
            return
        try:
            await ensure_async(self._specs.get_kernel_spec(spec))
        except (NoSuchKernel, KeyError):
            known = ", ".join(sorted(await ensure_async(self._specs.get_all_specs()))) or "none"
            message = f"there is no kernel {spec!r} on this server; there is: {known}"
            raise KernelUnavailable(message) from None

    async def _forget(self, path: str) -> None:
        """Remove a session whose kernel does not live any more."""
        with suppress(HTTPError):
            session = await self._sessions.get_session(path=path)
            with suppress(HTTPError, KeyError):
                await ensure_async(self._sessions.delete_session(session["id"]))
