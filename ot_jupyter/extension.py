"""The extension of jupyter_server: its settings, and who is given them. Nothing else."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from dataclasses import fields
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, TypeVar

from jupyter_core.paths import jupyter_data_dir
from jupyter_server.extension.application import ExtensionApp
from jupyter_server.serverapp import ServerApp
from traitlets import Bool, Enum, Float, Int, TraitError, Unicode, default, validate
from traitlets.config.application import catch_config_error

from .api import contents
from .api.copies import Copies
from .api.limits import ApiLimits
from .api.rest import handlers
from .api.socket import OtSocket, close_sockets
from .kernel.kernels import Kernels
from .kernel.sessions import Sessions
from .sequencer.files import Files
from .sequencer.live import Keeping
from .sequencer.log import LogUnavailable
from .sequencer.pen import Limits
from .sequencer.sequencer import Sequencer, Settings
from .sequencer.stores import open_log

logger = logging.getLogger("ot_jupyter")

DEFAULT_FILE: Final = ".jupyter_ot.db"
NAMESPACE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
RECONNECT_SECONDS: Final = (0.25, 5.0)  # first and longest pause while the store can't be reached

_api, _limits, _keeping, _settings = ApiLimits(), Limits(), Keeping(), Settings()

T = TypeVar("T")


def _count(value: int, help: str, least: int = 1) -> Any:
    return Int(value, min=least, help=help).tag(config=True)


def _seconds(value: float, help: str) -> Any:
    return Float(value, min=0.0, help=help).tag(config=True)


class OtJupyter(ExtensionApp):
    """Several people and programs in one notebook, by operational transform."""

    name = "ot_jupyter"
    description = "Several people and programs in one notebook, by operational transform."

    sequencer: Sequencer | None = None
    kernels: Kernels | None = None
    _connecting: asyncio.Task[None] | None = None

    # Where documents are kept, and how safely.

    store = Unicode(
        f"sqlite:///{DEFAULT_FILE}",
        help="""Where the logs of open documents are kept, a URL.

        sqlite:///file: an SQLite file on a local disk (never on a network file system), relative
        to the server's root folder; sqlite:////file: an absolute path. redis://host:port,
        rediss://, redis+cluster://, rediss+cluster://: a Redis or Valkey that several servers may
        share. memory: nothing outlives the server, for tests. Default: the hidden file
        .jupyter_ot.db in the root folder, or, where that is not writable, a file in Jupyter's
        data folder.""",
    ).tag(config=True)
    namespace = Unicode(
        help="""Keeps apart what shares one Redis: servers with one namespace share documents.

        Default: made from the real path of the root folder, so servers with one root folder
        share, others don't. Where different machines have different folders of one path (as in
        containers), give each its own.""",
    ).tag(config=True)
    durability = Enum(
        ("normal", "fsync"),
        "normal",
        help="""What an acknowledged change survives, in SQLite. normal: any crash of the server.
        fsync: a power cut too; every commit then waits for the disk. (For Redis, set its
        appendfsync.)""",
    ).tag(config=True)

    # How long the log keeps what.

    snapshot_entries = _count(
        _keeping.snapshot_entries, "A snapshot is written every so many entries."
    )
    log_entries = _count(
        _keeping.log_entries,
        "So many entries are kept in full; older ones can't be returned to, nor be the base of a "
        "late change.",
    )
    log_seconds = _seconds(
        _keeping.log_seconds, "For so many seconds entries are kept in full, if not too many."
    )
    keep_history = Bool(
        _keeping.keep_history,
        help="""Whether of older entries author and time are kept; else nothing is.""",
    ).tag(config=True)
    key_seconds = _seconds(
        _keeping.key_seconds, "For so many seconds the Idempotency-Key of a request is known."
    )

    # What an open document may cost.

    window_entries = _count(
        _limits.window_entries,
        "So many of the newest entries of each open document (and up to a quarter more) are held "
        "in memory, for clients that come back and for repair of the store.",
    )
    window_bytes = _count(_limits.window_bytes, "Bytes that these entries may have.")
    document_bytes = _count(
        _limits.document_bytes, "Bytes of a document's JSON; beyond, it can only get smaller."
    )
    batch = _count(_limits.batch, "Changes that are committed in one write to the store.")
    transform_steps = _count(
        _limits.transform_steps,
        "Work that one late change may cause: its operations times the entries it has not seen.",
    )
    idle_seconds = _seconds(
        _settings.idle_seconds, "So long after its last use a document is closed and summed up."
    )

    # Files, and other servers.

    save_delay = _seconds(
        _settings.save_delay, "So long after the last change a document is saved to its file."
    )
    save_longest = _seconds(
        _settings.save_longest,
        "So long after the first unsaved change it is saved, though changes go on.",
    )
    look_interval = Float(
        _settings.look_interval,
        help="""Seconds between two looks whether a file was changed by other programs.""",
    ).tag(config=True)
    content_interval = Float(
        _settings.content_interval,
        help="""Seconds between two looks at the content of a file that seems unchanged: what is
        written may keep size, time and inode of what was there.""",
    ).tag(config=True)
    poll_interval = Float(
        _settings.poll_interval,
        help="""Seconds between two comparisons with the store, which heal a message that was
        lost between servers.""",
    ).tag(config=True)

    # What one message, request or socket may ask for.

    message_bytes = _count(
        _api.message_bytes,
        "Bytes of a WebSocket message or of a request's body. A socket that sends more is closed "
        "with code 1009.",
    )
    change_operations = _count(_api.change_operations, "Operations in one change.")
    queued_submissions = _count(
        _api.queued_submissions, "Changes of one socket that may wait for their answer."
    )
    open_documents = _count(_api.open_documents, "Documents that one socket may follow.")
    messages_per_second = _count(
        _api.messages_per_second, "Messages of one socket in a second; beyond, it waits."
    )
    depth = _count(_api.depth, "How deep a message's JSON may nest.")
    presence_bytes = _count(_api.presence_bytes, "Bytes of what a client tells of its presence.")
    wait_seconds = _seconds(_api.wait_seconds, "Seconds that a request may ask to wait.")

    @default("namespace")
    def _default_namespace(self) -> str:
        return blake2b(os.fsencode(self._root()), digest_size=6).hexdigest()

    @validate("store")
    def _check_store(self, proposal: Any) -> str:
        url: str = proposal["value"]
        try:
            open_log(url, durability="normal", namespace="", root=Path())
        except ValueError as error:
            raise TraitError(f"OtJupyter.store: {error}") from None
        return url

    @validate("namespace")
    def _check_namespace(self, proposal: Any) -> str:
        name: str = proposal["value"]
        if not NAMESPACE.fullmatch(name):
            raise TraitError(f"OtJupyter.namespace matches {NAMESPACE.pattern}, not {name!r}")
        return name

    @validate("look_interval", "content_interval", "poll_interval")
    def _check_interval(self, proposal: Any) -> float:
        seconds: float = proposal["value"]
        if not seconds > 0:
            raise TraitError(f"OtJupyter.{proposal['trait'].name} is above 0, not {seconds}")
        return seconds

    @validate("save_delay", "save_longest")
    def _check_saving(self, proposal: Any) -> float:
        seconds: float = proposal["value"]
        delays = {"save_delay": self.save_delay, "save_longest": self.save_longest}
        delays[proposal["trait"].name] = seconds
        if delays["save_longest"] < delays["save_delay"]:
            raise TraitError(
                "OtJupyter.save_longest ({save_longest} s) must be at least OtJupyter.save_delay "
                "({save_delay} s)".format(**delays)
            )
        return seconds

    # What jupyter_server calls, in this order.

    @catch_config_error
    def _link_jupyter_server_extension(self, serverapp: ServerApp) -> None:
        """Take settings over from the server's configuration. A bad one ends the server, as its
        own do: to go on with another store than the one that was named would be worse."""
        logger.parent = serverapp.log  # users see what the extension has to say
        super()._link_jupyter_server_extension(serverapp)

    def initialize_settings(self) -> None:
        """Make the sequencer. What handlers share is in the settings of the web application."""
        assert self.serverapp is not None
        limits = self._make(ApiLimits)
        self.sequencer = Sequencer(
            open_log(
                self._store(),
                durability=self.durability,
                namespace=self.namespace,
                root=self._root(),
            ),
            Files(self.serverapp.contents_manager),
            self._make(Settings, limits=self._make(Limits), keeping=self._make(Keeping)),
        )
        app = self.serverapp
        self.kernels = Kernels(
            self.sequencer,
            Sessions(app.session_manager, app.kernel_manager, app.kernel_spec_manager),
        )
        manager = app.contents_manager
        manager.event_logger.add_listener(
            schema_id=manager.event_schema_id, listener=contents.listener(self.sequencer)
        )
        self.settings |= {
            "ot_jupyter": self.sequencer,
            "ot_jupyter_kernels": self.kernels,
            "ot_jupyter_limits": limits,
            "ot_jupyter_copies": Copies(),
            "ot_jupyter_sockets": set(),
        }

    def initialize_handlers(self) -> None:
        """Add the addresses of the API, and those of Jupyter's own that have to know of it:
        an extension's handlers are asked before the server's."""
        self.handlers += [(r"/api/ot/socket", OtSocket), *handlers, *contents.handlers]

    async def _start_jupyter_server_extension(self, serverapp: ServerApp) -> None:
        """Connect to the store. If it can't be reached, the server serves all the same: who
        opens a document is told, and it is tried again."""
        problem = await self._connect()
        if problem is not None:
            logger.warning("ot_jupyter: store=%s is away: %s", _public(self.store), problem)
            self._connecting = asyncio.create_task(self._connect_later())

    async def stop_extension(self) -> None:
        """Save everything and let go of it."""
        if self.sequencer is None:  # something went wrong before there was any
            return
        if self._connecting is not None:
            self._connecting.cancel()
        # Clients first: they come back, here or elsewhere, and bring what is not acknowledged.
        close_sockets(self.settings["ot_jupyter_sockets"])
        if self.kernels is not None:
            await self.kernels.close()
        await self.sequencer.close()
        logger.info("ot_jupyter: stopped")

    def current_activity(self) -> dict[str, int] | None:
        """Sockets, if there are any: a server that is used does not shut itself down."""
        sockets = len(self.settings.get("ot_jupyter_sockets", ()))
        return {"sockets": sockets} if sockets else None

    # How.

    async def _connect(self) -> LogUnavailable | None:
        """Start the sequencer, or tell why its store can't be reached."""
        assert self.sequencer is not None
        assert self.kernels is not None
        try:
            await self.sequencer.start()
        except LogUnavailable as error:
            return error
        self.kernels.start()
        logger.info(
            "ot_jupyter: started store=%s namespace=%s durability=%s server=%s",
            _public(self.store), self.namespace, self.durability, self.sequencer.server,
        )  # fmt: skip
        return None

    async def _connect_later(self) -> None:
        pause, longest = RECONNECT_SECONDS
        await asyncio.sleep(pause)
        while await self._connect() is not None:
            pause = min(2 * pause, longest)
            await asyncio.sleep(pause)

    def _root(self) -> Path:
        assert self.serverapp is not None
        return Path(self.serverapp.root_dir).expanduser().resolve()

    def _store(self) -> str:
        """The store's URL, with another place for the default file where it can't be."""
        root = self._root()
        file = root / DEFAULT_FILE
        if self.store != f"sqlite:///{DEFAULT_FILE}":
            return self.store
        if os.access(root, os.W_OK) and (not file.exists() or os.access(file, os.W_OK)):
            return self.store
        place = Path(jupyter_data_dir()).absolute() / "ot_jupyter" / f"{self.namespace}.db"
        logger.warning("ot_jupyter: %s is not writable, the log is in %s", root, place)
        return f"sqlite:///{place}"

    def _make(self, kind: type[T], **more: Any) -> T:
        """A dataclass of settings, its fields taken from the traits of their names."""
        names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
        return kind(**{name: getattr(self, name) for name in names if self.has_trait(name)}, **more)


def _public(url: str) -> str:
    """A URL without the password that it may hold."""
    head, at, tail = url.partition("?")[0].rpartition("@")
    return f"{head.partition('://')[0]}://…@{tail}" if at else tail
