"""The client without ``async``: for scripts, and for notebooks, where an event loop runs already.

    from ot_jupyter.client.sync import connect

    with connect("http://localhost:8888/?token=…") as connection:
        notebook = connection.open("a.ipynb")
        notebook.cells[0].set_source("print(1)")
        notebook.wait()

Everything is as in :mod:`ot_jupyter.client`, but what is to be awaited there returns when it is
done, and ``async for`` is ``for``. The objects are stand-ins: what is asked of one is done to the
real one, on the one background thread where all connections of this process live. A callback is
called on that thread.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import operator
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from .cells import Cell, Cells, Metadata
from .connection import PATIENCE_SECONDS, Connection
from .connection import connect as _connect
from .document import Document
from .mark import Mark
from .runs import Running

_REAL = (
    Connection, Document, Cell, Cells, Metadata, Mark, Running, AbstractContextManager,
    AsyncIterator,
)  # fmt: skip


def connect(url: str, token: str | None = None, *, patience: float = PATIENCE_SECONDS) -> Any:
    """As :func:`ot_jupyter.client.connect`; to be used in ``with``, or ``start()`` and
    ``close()`` it."""
    return StandIn(_on_loop(functools.partial(_connect, url, token, patience=patience)))


class _Thread:
    """The thread with the loop; started when first needed."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._run, name="ot-jupyter-client", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()


@functools.cache
def _thread() -> _Thread:
    return _Thread()


def _on_loop(call: Callable[[], Any], seconds: float | None = None) -> Any:
    """The result of a call made on the loop's thread, awaited if need be.

    Raises what it raises, and :class:`TimeoutError` after ``seconds``.
    """
    thread = _thread()
    if threading.current_thread() is thread.thread:  # within a callback
        result = call()
        if inspect.iscoroutine(result):
            result.close()
            raise RuntimeError("a callback must not wait: it would wait for itself")
        return result

    async def run() -> Any:
        result = call()
        if isinstance(result, Running) and not result.submitted:
            return result  # within change(): it can be waited for after that
        if inspect.isawaitable(result):
            result = await asyncio.wait_for(result, seconds)
        return result

    future = asyncio.run_coroutine_threadsafe(run(), thread.loop)
    try:
        return future.result()
    except asyncio.TimeoutError:
        raise TimeoutError(f"not done within {seconds} seconds") from None
    except KeyboardInterrupt:
        future.cancel()
        raise


class StandIn:
    """Stands for an object of the async client; see the module."""

    __slots__ = ("_real",)

    def __init__(self, real: Any) -> None:
        object.__setattr__(self, "_real", real)

    def wait(self, seconds: float | None = None) -> Any:
        """Of a document: return when what was changed so far is in the log; see
        :meth:`Document.acknowledged`. Of runs that were asked for within ``change()``: return what
        became of them. Raises :class:`TimeoutError` after ``seconds``."""
        real = _real(self)
        return _on_loop((lambda: real) if isinstance(real, Running) else real.acknowledged, seconds)

    def __getattr__(self, name: str) -> Any:
        return _stand_in(_on_loop(lambda: getattr(_real(self), name)))

    def __setattr__(self, name: str, value: Any) -> None:
        _on_loop(lambda: setattr(_real(self), name, _real(value)))

    def __dir__(self) -> list[str]:
        return [*dir(_real(self)), "wait"]

    def __repr__(self) -> str:
        return str(_on_loop(lambda: repr(_real(self))))

    def __eq__(self, other: object) -> bool:
        return bool(_real(self) == _real(other))

    def __hash__(self) -> int:
        return hash(_real(self))

    def __iter__(self) -> Iterator[Any]:
        real = _real(self)
        if not isinstance(real, AsyncIterator):
            return iter(_stand_in(_on_loop(lambda: list(real))))
        return _each(real)

    def __enter__(self) -> Any:
        real = _real(self)
        asynchronous = hasattr(real, "__aenter__")
        return _stand_in(_on_loop(real.__aenter__ if asynchronous else real.__enter__))

    def __exit__(self, *error: Any) -> Any:
        real = _real(self)
        leave = real.__aexit__ if hasattr(real, "__aexit__") else real.__exit__
        return _on_loop(lambda: leave(*error))

    def __len__(self) -> int:
        return int(_on_loop(lambda: len(_real(self))))

    def __bool__(self) -> bool:
        return bool(_on_loop(lambda: bool(_real(self))))

    def __contains__(self, item: Any) -> bool:
        return bool(_on_loop(lambda: operator.contains(_real(self), _real(item))))

    def __getitem__(self, key: Any) -> Any:
        return _stand_in(_on_loop(lambda: _real(self)[key]))

    def __setitem__(self, key: Any, value: Any) -> None:
        _on_loop(lambda: operator.setitem(_real(self), key, value))

    def __delitem__(self, key: Any) -> None:
        _on_loop(lambda: operator.delitem(_real(self), key))


def _each(stream: AsyncIterator[Any]) -> Iterator[Any]:
    """What an async iterator gives, one by one."""
    while True:
        try:
            yield _stand_in(_on_loop(stream.__anext__))
        except StopAsyncIteration:
            return


def _real(value: Any) -> Any:
    """What a stand-in stands for; a function gets stand-ins where it is called with real ones."""
    if type(value) is StandIn:
        return object.__getattribute__(value, "_real")
    if inspect.isfunction(value) or inspect.ismethod(value):
        return functools.wraps(value)(
            lambda *args: _real(value(*(_stand_in(argument) for argument in args)))
        )
    return value


def _stand_in(value: Any) -> Any:
    """A value as the other threads get it."""
    if isinstance(value, _REAL):
        return StandIn(value)
    if type(value) is list:
        return [_stand_in(item) for item in value]
    if inspect.ismethod(value) or inspect.isfunction(value):
        return functools.wraps(value)(functools.partial(_call, value))
    return value


def _call(function: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
    args = tuple(_real(argument) for argument in args)
    keywords = {name: _real(argument) for name, argument in keywords.items()}
    return _stand_in(_on_loop(lambda: function(*args, **keywords)))
