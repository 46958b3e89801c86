"""Logs in Redis (6.2 or newer, or Valkey), one server or a cluster, shared by many servers.

All keys of a document have its hash tag, so that they lie in one slot, and every change of it is
one script: atomic, and its publication with it. The store must not evict (``maxmemory-policy
noeviction``), and keeps what was acknowledged through a power cut only with ``appendfsync
always``; both are set in Redis.

A path's key lies in another slot than its document, so names are written in steps. A path key
counts only if its document exists and says that it has this path; any other is left over from
somebody who did not finish, and may be taken over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import asdict
from hashlib import sha1
from typing import Any, Final
from uuid import uuid4

import orjson
from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis, RedisCluster
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import NoScriptError, RedisClusterException, RedisError

from .blobs import PieceStore
from .entry import MAX_SKIP, Entry, Head, Seen, Snapshot, read_entry
from .log import (
    Appended,
    Attempt,
    DocumentRef,
    FileState,
    Hearer,
    Listener,
    Loaded,
    LogUnavailable,
    Moved,
    NotAppended,
    Outcome,
)
from .memory import SNAPSHOTS_KEPT, agrees, moved, no_document, pack, thinned, unpack

logger = logging.getLogger("ot_jupyter")

SCHEMES: Final = ("redis", "rediss", "redis+cluster", "rediss+cluster")
CONNECT_SECONDS: Final = 5.0
OPERATION_SECONDS: Final = 10.0
CONNECTIONS: Final = 16  # of one server to one Redis; who comes when all are in use waits
SILENCE_SECONDS: Final = 15.0  # after which the pub/sub connection is asked whether it lives
CLOSE_SECONDS: Final = 1.0  # until the connection's task is told once more to end
RETRY_SECONDS: Final = (0.05, 2.0)  # between attempts to have it again: the first, the longest
PUBLISHED_BYTES: Final = 2**20  # beyond this, listeners are told to look, and not what
TRIMMED: Final = 1000  # entries in one step of a trim
FORGOTTEN: Final = 100  # blobs in one step of a collection

_FAILURES = (RedisError, RedisClusterException, OSError, asyncio.TimeoutError)


class _Script:
    """A Lua script. It gets the keys of one document (named by :data:`_PRELUDE`), or any others,
    and arguments; it is kept by the server under its hash."""

    def __init__(self, text: str, prelude: str = "") -> None:
        self.text = prelude + text
        self.sha = sha1(self.text.encode(), usedforsecurity=False).hexdigest()


_KEYS = ("meta", "log", "seen", "snapshot", "history", "image")
# Numbers are doubles in Lua, exact up to 2^53 like all of ours, if they are written so.
_PRELUDE = """
local meta, log, seen, snapshot, history, image = unpack(KEYS)
local function num(value) return string.format('%.0f', value) end
-- A snapshot: its revision -> its hash, and revision/0, revision/1, ... -> its pieces.
local function snapshots()
  local revs = {}
  for _, name in ipairs(redis.call('HKEYS', snapshot)) do
    if not string.find(name, '/', 1, true) then revs[#revs + 1] = tonumber(name) end
  end
  table.sort(revs, function(one, other) return one > other end)
  return revs
end
local function drop_snapshot(rev)
  redis.call('HDEL', snapshot, num(rev))
  local part = 0
  while redis.call('HDEL', snapshot, num(rev) .. '/' .. part) == 1 do part = part + 1 end
end
local function put_snapshot(rev, hash, first, count)
  drop_snapshot(tonumber(rev))
  redis.call('HSET', snapshot, rev, hash)
  for i = 0, count - 1 do redis.call('HSET', snapshot, rev .. '/' .. i, ARGV[first + i]) end
end
local function snapshot_at_or_after(floor) return (snapshots()[1] or -1) >= floor end
"""


def _script(text: str) -> _Script:
    return _Script(text, _PRELUDE)


# path, kind, epoch, floor, rev, hash | snapshot: rev, hash, number of pieces | number of seen |
# pieces … | seen: client, data … | entries: rev, hash, body …
_MAKE = _script("""
if redis.call('EXISTS', meta) == 1 then return 0 end
redis.call('DEL', unpack(KEYS))
redis.call('HSET', meta, 'path', ARGV[1], 'kind', ARGV[2], 'epoch', ARGV[3],
  'floor', ARGV[4], 'rev', ARGV[5], 'hash', ARGV[6])
local pieces = 11
local clients = pieces + tonumber(ARGV[9])
local entries = clients + 2 * tonumber(ARGV[10])
put_snapshot(ARGV[7], ARGV[8], pieces, tonumber(ARGV[9]))
for i = clients, entries - 1, 2 do redis.call('HSET', seen, ARGV[i], ARGV[i + 1]) end
for i = entries, #ARGV, 3 do
  redis.call('XADD', log, ARGV[i] .. '-0', 'h', ARGV[i + 1], 'b', ARGV[i + 2])
end
return 1
""")

_GET = _script("return redis.call('HMGET', meta, 'path', 'kind', 'epoch')")
_HEAD = _script("return redis.call('HMGET', meta, 'rev', 'hash', 'floor')")

_DELETE = _script("""
local path = redis.call('HGET', meta, 'path')
redis.call('DEL', unpack(KEYS))
return path
""")

# the path, and, if given, the one that it must have now. Returns the one that it had.
_SET_PATH = _script("""
local old = redis.call('HGET', meta, 'path')
if not old or (ARGV[2] and old ~= ARGV[2]) then return false end
redis.call('HSET', meta, 'path', ARGV[1])
return old
""")

# KEYS: the paths. path, the value that it must have now, the next one ('': none)
_SWAP = _Script("""
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
if ARGV[3] == '' then redis.call('HDEL', KEYS[1], ARGV[1])
else redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) end
return 1
""")

# '' or the revision that the snapshot must be below
_LOAD = _script("""
if redis.call('EXISTS', meta) == 0 then return false end
local newest, pieces = -1, {}
for _, rev in ipairs(snapshots()) do
  if ARGV[1] == '' or rev < tonumber(ARGV[1]) then
    newest = rev
    break
  end
end
repeat
  local piece = redis.call('HGET', snapshot, num(newest) .. '/' .. #pieces)
  pieces[#pieces + 1] = piece or nil
until not piece
return {
  redis.call('HMGET', meta, 'path', 'kind', 'epoch', 'floor', 'rev', 'hash'),
  num(newest), redis.call('HGET', snapshot, num(newest)), pieces,
  redis.call('XRANGE', log, num(newest + 1), '+'), redis.call('HGETALL', seen),
}
""")

# rev, hash of the writer's head | MAX_SKIP | channel, most bytes to publish |
# entries: client, n, base, skip, digest, time, hash, body …
_APPEND = _script("""
local head = redis.call('HMGET', meta, 'rev', 'hash', 'floor')
if not head[1] then return {'gone'} end
local floor = tonumber(head[3])
if head[1] ~= ARGV[1] or head[2] ~= ARGV[2] then
  local tail = {}
  if tonumber(ARGV[1]) >= floor then
    tail = redis.call('XRANGE', log, num(tonumber(ARGV[1]) + 1), '+')
  end
  return {'moved', head[1], head[2], tail}
end

local first, width = 6, 8
local known = {}
local function known_of(client)
  if not known[client] then
    local kept = redis.call('HGET', seen, client)
    local one = kept and cjson.decode(kept) or {0, 0, {}, '', ''}
    known[client] = {n = one[1], rev = one[2], holes = one[3], digest = one[4], time = one[5]}
  end
  return known[client]
end

-- as judge and advance in entry.py
local function take(one, n, skip, rev, digest, time)
  if n <= one.n then
    for index, hole in ipairs(one.holes) do
      if hole == n then
        table.remove(one.holes, index)
        return nil
      end
    end
    return 'repeat'
  end
  if n ~= one.n + 1 and not (skip and n <= one.n + tonumber(ARGV[3])) then return 'gap' end
  for hole = one.n + 1, n - 1 do table.insert(one.holes, hole) end
  one.n, one.rev, one.digest, one.time = n, rev, digest, time
  return nil
end

local rev = tonumber(head[1])
for i = first, #ARGV, width do
  local index = (i - first) / width
  rev = rev + 1
  if tonumber(ARGV[i + 2]) < floor then return {'refused', index, 'floor'} end
  local why = take(known_of(ARGV[i]), tonumber(ARGV[i + 1]), ARGV[i + 3] == '1', rev,
    ARGV[i + 4], ARGV[i + 5])
  if why then return {'refused', index, why} end
end
if #ARGV < first then return {'appended'} end

rev = tonumber(head[1])
local told, size = {}, 0
for i = first, #ARGV, width do
  rev = rev + 1
  local hash, body = ARGV[i + 6], ARGV[i + 7]
  redis.call('XADD', log, num(rev) .. '-0', 'h', hash, 'b', body)
  size = size + #body
  if size <= tonumber(ARGV[5]) then
    told[#told + 1] = hash
    told[#told + 1] = body
  end
end
for client, one in pairs(known) do
  local holes = {}
  for index, hole in ipairs(one.holes) do holes[index] = num(hole) end
  redis.call('HSET', seen, client, '[' .. num(one.n) .. ',' .. num(one.rev) .. ',[' ..
    table.concat(holes, ',') .. '],' .. cjson.encode(one.digest) .. ',' ..
    cjson.encode(one.time) .. ']')
end
redis.call('HSET', meta, 'rev', num(rev), 'hash', ARGV[#ARGV - 1])
if size > tonumber(ARGV[5]) then redis.call('PUBLISH', ARGV[4], 'look')
else redis.call('PUBLISH', ARGV[4], 'entries\\n' .. table.concat(told, '\\n')) end
return {'appended'}
""")

# since, limit ('': none)
_READ = _script("""
local from = num(tonumber(ARGV[1]) + 1)
if ARGV[2] == '' then return redis.call('XRANGE', log, from, '+') end
return redis.call('XRANGE', log, from, '+', 'COUNT', ARGV[2])
""")

# rev, hash, number kept | pieces …
_SAVE_SNAPSHOT = _script("""
local head = redis.call('HMGET', meta, 'rev', 'hash')
if not head[1] then return 0 end
if head[1] ~= ARGV[1] or head[2] ~= ARGV[2] then
  local made_by = redis.call('XRANGE', log, ARGV[1], ARGV[1])[1]
  if not made_by or made_by[2][2] ~= ARGV[2] then return 0 end
end
put_snapshot(ARGV[1], ARGV[2], 4, #ARGV - 3)
for i, rev in ipairs(snapshots()) do
  if i > tonumber(ARGV[3]) then drop_snapshot(rev) end
end
return 1
""")

# the floor it has, the next one, the one to reach in the end | rows: rev, row …
_TRIM = _script("""
if redis.call('HGET', meta, 'floor') ~= ARGV[1] then return 'moved' end
if not snapshot_at_or_after(tonumber(ARGV[3])) then return 'no' end
for i = 4, #ARGV, 2 do redis.call('XADD', history, ARGV[i] .. '-0', 'r', ARGV[i + 1]) end
redis.call('XTRIM', log, 'MINID', num(tonumber(ARGV[2]) + 1))
for _, rev in ipairs(snapshots()) do
  if rev < tonumber(ARGV[2]) then drop_snapshot(rev) end
end
redis.call('HSET', meta, 'floor', ARGV[2])
return 'done'
""")

# floor, time
_FORGET = _script("""
if redis.call('EXISTS', meta) == 0 or not snapshot_at_or_after(tonumber(ARGV[1])) then return 0 end
local all = redis.call('HGETALL', seen)
for i = 1, #all, 2 do
  if string.find(all[i], ':', 1, true) and cjson.decode(all[i + 1])[5] < ARGV[2] then
    redis.call('HDEL', seen, all[i])
  end
end
return 1
""")

_HISTORY = _script("return redis.call('XREVRANGE', history, '+', '-', 'COUNT', ARGV[1])")

_FILE_STATE = _script("""
return redis.call('HMGET', image, 'image', 'digest', 'rev', 'attempt', 'content')
""")

# Whether image and pending save are these; -1 if there is no document.
_FILE_IS = """
local function file_is(digest, attempt)
  return (redis.call('HGET', image, 'digest') or '') == digest
    and (redis.call('HGET', image, 'pending') or '') == attempt
end
if redis.call('EXISTS', meta) == 0 then return -1 end
"""

# id, attempt, digest of the image, content
_BEGIN_SAVE = _script(f"""{_FILE_IS}
if not file_is(ARGV[3], '') then return 0 end
redis.call('HSET', image, 'pending', ARGV[1], 'attempt', ARGV[2], 'content', ARGV[4])
return 1
""")

# image ('': the content), digest, rev, digest of the image before, id of the pending save
_SETTLE_SAVE = _script(f"""{_FILE_IS}
if not file_is(ARGV[4], ARGV[5]) then return 0 end
local next = ARGV[1] ~= '' and ARGV[1] or redis.call('HGET', image, 'content')
redis.call('HSET', image, 'image', next, 'digest', ARGV[2], 'rev', ARGV[3])
redis.call('HDEL', image, 'pending', 'attempt', 'content')
return 1
""")

# id
_END_SAVE = _script("""
if redis.call('HGET', image, 'pending') == ARGV[1] then
  redis.call('HDEL', image, 'pending', 'attempt', 'content')
end
return 1
""")

# KEYS: the blobs, hash -> size (or '-': not whole), time. time, hashes …
_BEGIN_BLOBS = _Script("""
local whole = {}
for i = 2, #ARGV do
  local size = string.match(redis.call('HGET', KEYS[1], ARGV[i]) or '', '^%d+')
  redis.call('HSET', KEYS[1], ARGV[i], (size or '-') .. ' ' .. ARGV[1])
  if size then whole[#whole + 1] = ARGV[i] end
end
return whole
""")

# KEYS: the names, the pieces of each … | its name, the value that it must have …
_FORGET_PIECES = _Script("""
for i = 2, #KEYS do
  if redis.call('HGET', KEYS[1], ARGV[2 * i - 3]) == ARGV[2 * i - 2] then
    redis.call('HDEL', KEYS[1], ARGV[2 * i - 3])
    redis.call('UNLINK', KEYS[i])
  end
end
return 1
""")


# What is in the values.


def _read_entries(raw: list[Any] | None) -> list[Entry]:
    """From a range of the stream; None is what Redis says to ``COUNT 0``."""
    return [read_entry(fields[3], fields[1].decode()) for _, fields in raw or ()]


def _packed(snapshot: Snapshot) -> list[bytes]:
    return list(pack(snapshot.document))


def _pack_seen(seen: Seen) -> bytes:
    return orjson.dumps([seen.n, seen.rev, seen.holes, seen.digest, seen.time])


def _read_seen(raw: list[bytes]) -> dict[str, Seen]:
    seen = {}
    for client, value in zip(raw[::2], raw[1::2], strict=True):
        n, rev, holes, digest, time = orjson.loads(value)
        seen[client.decode()] = Seen(n, rev, tuple(holes), digest, time)
    return seen


def _read_message(data: bytes) -> list[Entry] | None:
    """The entries that an append published; None: too much to be told."""
    kind, *parts = data.split(b"\n")  # JSON texts have no line ends
    if kind != b"entries":
        return None
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return [read_entry(body, hash.decode()) for hash, body in pairs]


@contextlib.contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except _FAILURES as error:
        raise LogUnavailable(f"Redis: {error or type(error).__name__}") from error


# Connections. Nothing is repeated by the library: an append may have happened although no answer
# came, and only its writer can find out.


def _options() -> dict[str, Any]:
    return {
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_timeout": OPERATION_SECONDS,
    }


class _Connections:
    """One Redis or a cluster: all that differs between the two."""

    def __init__(self, url: str) -> None:
        """Raises :class:`ValueError` for an URL that is none of a Redis."""
        scheme, _, rest = url.partition("://")
        if scheme not in SCHEMES or not rest:
            raise ValueError(f"a Redis URL begins with one of {', '.join(SCHEMES)} and '://'")
        self._cluster = scheme.endswith("+cluster")
        self._url = f"{scheme.removesuffix('+cluster')}://{rest}"
        self._address = dict(parse_url(self._url))
        if self._cluster and self._address.get("db"):
            raise ValueError("a Redis cluster has no numbered databases")
        self.client: Any = self._make()
        # The pool of a single server has it built in; a cluster's refuses who comes too many.
        self._room = asyncio.Semaphore(CONNECTIONS)

    def _make(self) -> Redis | RedisCluster:
        if self._cluster:
            return RedisCluster.from_url(self._url, **_options())
        return Redis.from_pool(
            BlockingConnectionPool.from_url(
                self._url, max_connections=CONNECTIONS, timeout=OPERATION_SECONDS, **_options()
            )
        )

    async def execute(self, keys: Sequence[str], *command: Any) -> Any:
        """Do one command on these keys, once. Raises what the library raises."""
        if not self._cluster:
            return await self.client.execute_command(*command)
        async with self._room:
            await self.client.initialize()
            node = self.client.get_node_from_key(keys[0])
            # For a node that is named the library repeats only what was sent to the wrong one.
            return await self.client.execute_command(*command, target_nodes=node)

    @contextlib.asynccontextmanager
    async def ear(self) -> AsyncIterator[Any]:
        """A pub/sub connection; in a cluster, any node hears of all."""
        address = dict(self._address)
        if self._cluster:
            await self.client.initialize()
            node = self.client.get_random_node()
            address.update(host=node.host, port=node.port)
        pool = ConnectionPool(**{**_options(), **address})
        try:
            async with Redis(connection_pool=pool).pubsub() as pubsub:
                yield pubsub
        finally:
            await pool.disconnect()

    async def close(self) -> None:
        await self.client.aclose()


class RedisLog(PieceStore):
    """A :class:`~.log.Log` in Redis. ``url``: ``redis://``, ``rediss://`` (TLS), or one of them
    with ``+cluster``; ``namespace`` keeps apart those who share it. Raises :class:`ValueError`
    for another URL.

    A time-out is ``LogUnavailable`` like every other failure: what was asked for may have
    happened. No call waits without a limit.
    """

    def __init__(self, url: str, namespace: str) -> None:
        self._connections = _Connections(url)
        self._namespace = namespace
        self._paths = f"{{ot:{namespace}}}:paths"
        self._ears = _Ears(self._connections, f"{{ot:{namespace}}}:servers")

    def _key(self, doc: str, name: str) -> str:
        return f"{{ot:{self._namespace}:{doc}}}:{name}"

    def _channel(self, doc: str) -> str:
        return self._key(doc, "log")

    async def start(self) -> None:
        """Connect, and begin to listen."""
        try:
            await self.ping()
        except LogUnavailable:
            await self.close()
            raise
        self._ears.start()

    async def close(self) -> None:
        await self._ears.close()
        with contextlib.suppress(*_FAILURES):
            await self._connections.close()

    async def ping(self) -> None:
        with _reported():
            await self._connections.execute([self._paths], "EXISTS", self._paths)

    async def _run(self, script: _Script, keys: Sequence[str], *values: Any) -> Any:
        with _reported():
            command = (len(keys), *keys, *values)
            try:
                return await self._connections.execute(keys, "EVALSHA", script.sha, *command)
            except NoScriptError:  # it was not run
                return await self._connections.execute(keys, "EVAL", script.text, *command)

    async def _do(self, script: _Script, doc: str, *values: Any) -> Any:
        return await self._run(script, [self._key(doc, name) for name in _KEYS], *values)

    # names

    async def find(self, path: str) -> DocumentRef | None:
        _, holder = await self._holder(path)
        return holder

    async def get(self, doc: str) -> DocumentRef | None:
        path, kind, epoch = await self._do(_GET, doc)
        if path is None:
            return None
        return DocumentRef(doc, path.decode(), kind.decode(), epoch.decode())

    async def _holder(self, path: str) -> tuple[str, DocumentRef | None]:
        """What a path's key says, and the document that has the path."""
        with _reported():
            value = await self._connections.execute([self._paths], "HGET", self._paths, path)
        if value is None:
            return "", None
        text = value.decode()
        ref = await self.get(text.partition("?")[0])
        return text, ref if ref is not None and ref.path == path else None

    async def _swap(self, path: str, now: str, then: str) -> bool:
        return bool(await self._run(_SWAP, [self._paths], path, now, then))

    async def _claim(self, path: str, doc: str) -> bool:
        """Write the path's key anew, unless another document has the path. No value is ever
        written twice: whoever decided by an older one can't replace what came after it."""
        while True:
            value, holder = await self._holder(path)
            if holder is not None and holder.doc != doc:
                return False
            if await self._swap(path, value, f"{doc}?{uuid4().hex[:12]}"):
                return True

    async def _release(self, path: str, doc: str) -> None:
        """Remove the path's key if it is left over from the document."""
        value, holder = await self._holder(path)
        if holder is None and value.partition("?")[0] == doc:
            await self._swap(path, value, "")

    async def _make(self, ref: DocumentRef, floor: int, head: Head, *values: Any) -> bool:
        made = await self._do(_MAKE, ref.doc, ref.path, ref.kind, ref.epoch, floor, *head, *values)
        return bool(made)

    async def create(self, ref: DocumentRef, initial: Snapshot) -> DocumentRef:
        pieces = await asyncio.to_thread(_packed, initial)
        values = [*initial.head, len(pieces), 0, *pieces]
        while True:
            standing = await self.find(ref.path)
            if standing is not None:
                return standing
            # The document first: a path key alone counts for nothing, whoever sees it.
            made = await self._make(ref, initial.rev, initial.head, *values)
            claimed = await self._claim(ref.path, ref.doc)
            if claimed or not made:
                standing = await self.get(ref.doc)
                if standing is not None:
                    return standing
            else:
                await self._do(_DELETE, ref.doc)

    async def restore(self, loaded: Loaded) -> bool:
        ref = loaded.ref
        holder = await self.find(ref.path)
        if holder is not None and holder.doc != ref.doc:
            return False
        seen = [part for client, one in loaded.seen.items() for part in (client, _pack_seen(one))]
        entries = [part for one in loaded.entries for part in (one.rev, one.hash, one.body)]
        pieces = await asyncio.to_thread(_packed, loaded.snapshot)
        made = await self._make(
            ref, loaded.floor, loaded.head,
            *loaded.snapshot.head, len(pieces), len(loaded.seen), *pieces, *seen, *entries,
        )  # fmt: skip
        # Also where somebody else made it: he may not have got as far as its path.
        claimed = await self._claim(ref.path, ref.doc)
        if made and not claimed:
            await self._do(_DELETE, ref.doc)
        return made and claimed

    async def rename(self, doc: str, path: str) -> bool:
        ref = await self.get(doc)
        if ref is None or not await self._claim(path, doc):
            return False
        old = await self._do(_SET_PATH, doc, path)
        if old is None:  # deleted meanwhile
            await self._release(path, doc)
            return False
        # Until the document said that it has the path, another could take the key over.
        before = ref.path if old.decode() == path else old.decode()
        if not await self._claim(path, doc):
            await self._do(_SET_PATH, doc, before, path)
            return False
        if before != path:
            await self._release(before, doc)
        return True

    async def delete(self, doc: str) -> None:
        path = await self._do(_DELETE, doc)
        if path is not None:
            await self._release(path.decode(), doc)
        for kind in ("blob", "spool"):
            await self._forget_pieces(doc, kind, await self._named(doc, kind))

    async def documents(self, under: str) -> list[DocumentRef]:
        pattern = re.sub(r"([\\*?\[\]^])", r"\\\1", under) + "/*"
        cursor, found = 0, dict[str, DocumentRef]()
        while True:
            with _reported():
                cursor, pairs = await self._connections.execute(
                    [self._paths], "HSCAN", self._paths, cursor, "MATCH", pattern, "COUNT", 1000
                )
            for path, value in pairs.items():
                ref = await self.get(value.decode().partition("?")[0])
                if ref is not None and ref.path == path.decode():
                    found[ref.doc] = ref
            if cursor == 0:
                return list(found.values())

    # the log

    async def load(self, doc: str) -> Loaded | None:
        below: int | str = ""
        while True:
            raw = await self._do(_LOAD, doc, below)
            if raw is None:
                return None
            loaded = await asyncio.to_thread(_read_loaded, doc, raw)
            if loaded is not None:
                return loaded
            below = int(raw[1])
            if below < 0:
                raise LogUnavailable(f"no snapshot of {raw[0][0].decode()!r} agrees with its log")

    async def append(self, doc: str, head: Head, entries: Sequence[Entry]) -> Outcome:
        values: list[Any] = []
        for one in entries:
            skip = "1" if one.skip else "0"
            values += one.client, one.n, one.base, skip, one.digest, one.time, one.hash, one.body
        kind, *rest = await self._do(
            _APPEND, doc, *head, MAX_SKIP, self._channel(doc), PUBLISHED_BYTES, *values
        )
        if kind == b"gone":
            return Moved(None, None)
        if kind == b"moved":
            at = Head(int(rest[0]), rest[1].decode())
            return moved(at, head, _read_entries(rest[2]))
        if kind == b"refused":
            return NotAppended(rest[0], rest[1].decode())
        return Appended()

    async def read(self, doc: str, since: int, limit: int | None = None) -> list[Entry]:
        raw = await self._do(_READ, doc, max(0, since), "" if limit is None else limit)
        return _read_entries(raw)

    async def head(self, doc: str) -> Head | None:
        rev, hash, _ = await self._do(_HEAD, doc)
        return None if rev is None else Head(int(rev), hash.decode())

    async def save_snapshot(self, doc: str, snapshot: Snapshot) -> None:
        pieces = await asyncio.to_thread(_packed, snapshot)
        await self._do(_SAVE_SNAPSHOT, doc, *snapshot.head, SNAPSHOTS_KEPT, *pieces)

    async def trim(self, doc: str, floor: int, *, keep_history: bool, seen_before: str) -> None:
        # In steps, none of which keeps the store from others for long.
        while True:
            _, _, now = await self._do(_HEAD, doc)
            if now is None or int(now) >= floor:
                break
            upto = min(floor, int(now) + TRIMMED)
            rows: list[Any] = []
            if keep_history:
                for entry in await self.read(doc, int(now), upto - int(now)):
                    rows += entry.rev, orjson.dumps(thinned(entry))
            if await self._do(_TRIM, doc, now, upto, floor, *rows) == b"no":
                break
        await self._do(_FORGET, doc, floor, seen_before)

    async def history(self, doc: str, limit: int = 1000) -> list[dict[str, object]]:
        raw = await self._do(_HISTORY, doc, limit)
        return [orjson.loads(fields[1]) for _, fields in raw or ()]

    # poke

    async def subscribe(self, doc: str, listener: Listener, hearer: Hearer | None = None) -> None:
        """The listener hears of this server's own appends too, and hears None after every loss
        of the connection."""
        await self._ears.subscribe(self._channel(doc), listener, hearer)

    async def unsubscribe(self, doc: str) -> None:
        await self._ears.unsubscribe(self._channel(doc))

    async def publish(self, doc: str, message: bytes) -> None:
        channel = self._channel(doc)
        with _reported():
            await self._connections.execute([channel], "PUBLISH", channel, b"said\n" + message)

    # the file

    async def file_state(self, doc: str) -> FileState:
        image, digest, rev, attempt, content = await self._do(_FILE_STATE, doc)
        pending = None if attempt is None else Attempt(**orjson.loads(attempt), content=content)
        if image is None:
            return FileState(attempt=pending)
        return FileState(image, digest.decode(), int(rev), pending)

    async def begin_save(self, doc: str, attempt: Attempt, *, over: str) -> bool:
        """Raises ``LogUnavailable`` if there is no such document."""
        one = asdict(attempt)
        content = one.pop("content")
        values = (attempt.id, orjson.dumps(one), over, content)
        return _done(doc, await self._do(_BEGIN_SAVE, doc, *values))

    async def settle_save(
        self, doc: str, image: bytes | None, digest: str, rev: int, *, over: str, attempt: str = ""
    ) -> bool:
        """Raises ``LogUnavailable`` if there is no such document."""
        values = (image or b"", digest, rev, over, attempt)
        return _done(doc, await self._do(_SETTLE_SAVE, doc, *values))

    async def end_save(self, doc: str, attempt: str) -> None:
        await self._do(_END_SAVE, doc, attempt)

    # large outputs: a hash says which there are, one of each kind; each has a key of its own

    async def _execute(self, command: str, key: str, *values: Any) -> Any:
        with _reported():
            return await self._connections.execute([key], command, key, *values)

    async def _named(self, doc: str, kind: str) -> dict[bytes, bytes]:
        return dict(await self._execute("HGETALL", self._key(doc, f"{kind}s")))

    async def _forget_pieces(self, doc: str, kind: str, named: dict[bytes, bytes]) -> None:
        """Forget these, unless they were put since."""
        pairs = list(named.items())
        for start in range(0, len(pairs), FORGOTTEN):
            some = pairs[start : start + FORGOTTEN]
            keys = [self._key(doc, f"{kind}:{name.decode()}") for name, _ in some]
            values = [value for pair in some for value in pair]
            await self._run(_FORGET_PIECES, [self._key(doc, f"{kind}s"), *keys], *values)

    async def blob_size(self, doc: str, hash: str) -> int | None:
        value = await self._execute("HGET", self._key(doc, "blobs"), hash)
        return None if value is None or value.startswith(b"-") else int(value.split()[0])

    async def spools(self, doc: str) -> list[str]:
        return sorted(name.decode() for name in await self._named(doc, "spool"))

    async def _begin_blobs(self, doc: str, hashes: list[str], now: float) -> set[str]:
        whole = await self._run(_BEGIN_BLOBS, [self._key(doc, "blobs")], f"{now:.3f}", *hashes)
        return {hash.decode() for hash in whole}

    async def _put_piece(self, doc: str, hash: str, part: int, piece: bytes) -> None:
        await self._execute("HSET", self._key(doc, f"blob:{hash}"), part, piece)

    async def _end_blob(self, doc: str, hash: str, size: int, now: float) -> None:
        await self._execute("HSET", self._key(doc, "blobs"), hash, f"{size} {now:.3f}")

    async def _pieces(self, doc: str, hash: str, first: int, last: int) -> list[bytes]:
        parts = range(first, last + 1)
        found = await self._execute("HMGET", self._key(doc, f"blob:{hash}"), *parts)
        return [piece or b"" for piece in found]

    async def _append_chunks(self, doc: str, name: str, chunks: list[bytes], now: float) -> None:
        # The name first: by it the spool is found when its time is over.
        await self._execute("HSET", self._key(doc, "spools"), name, f"{now:.3f}")
        await self._execute("RPUSH", self._key(doc, f"spool:{name}"), *chunks)

    async def _chunks(self, doc: str, name: str, first: int, count: int) -> list[bytes]:
        key = self._key(doc, f"spool:{name}")
        return list(await self._execute("LRANGE", key, first, first + count - 1))

    async def _forget_spool(self, doc: str, name: str) -> None:
        value = await self._execute("HGET", self._key(doc, "spools"), name)
        if value is not None:
            await self._forget_pieces(doc, "spool", {name.encode(): value})

    async def _forget_blobs(self, doc: str, but: frozenset[str], before: float) -> None:
        await self._forget_old(doc, "blob", but, before)

    async def _forget_spools(self, doc: str, before: float) -> None:
        await self._forget_old(doc, "spool", frozenset(), before)

    async def _forget_old(self, doc: str, kind: str, but: frozenset[str], before: float) -> None:
        named = await self._named(doc, kind)
        old = {
            name: value
            for name, value in named.items()
            if float(value.split()[-1]) <= before and name.decode() not in but
        }
        await self._forget_pieces(doc, kind, old)


def _done(doc: str, answer: Any) -> bool:
    if int(answer) < 0:
        raise no_document(doc)
    return int(answer) > 0


def _read_loaded(doc: str, raw: list[Any]) -> Loaded | None:
    """What a load found; None if its snapshot is no state of the log, or there is none."""
    (path, kind, epoch, floor, rev, hash), at, snapshot_hash, pieces, tail, seen = raw
    if snapshot_hash is None:
        return None
    made = Head(int(at), snapshot_hash.decode())
    entries = _read_entries(tail)
    if not agrees(made, entries, Head(int(rev), hash.decode())):
        return None
    ref = DocumentRef(doc, path.decode(), kind.decode(), epoch.decode())
    snapshot = Snapshot(*made, unpack(pieces))
    return Loaded(ref, snapshot, entries, int(floor), _read_seen(seen))


class _Ears:
    """The pub/sub connection, kept up by a task of its own."""

    def __init__(self, connections: _Connections, own_channel: str) -> None:
        """``own_channel`` is subscribed to always, as the library does not read without one."""
        self._connections = connections
        self._own_channel = own_channel
        self._listeners: dict[str, tuple[Listener, Hearer | None]] = {}  # by channel
        self._unconfirmed: dict[str, asyncio.Future[None]] = {}  # by channel
        self._pubsub: Any = None  # while connected
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._listen())

    async def close(self) -> None:
        task, self._task = self._task, None
        while task is not None and not task.done():
            # More than once: the library's time-outs can take a cancellation for one of theirs.
            task.cancel()
            await asyncio.wait({task}, timeout=CLOSE_SECONDS)
        self._listeners.clear()

    async def subscribe(self, channel: str, listener: Listener, hearer: Hearer | None) -> None:
        """Return when the server has confirmed it. Raises ``LogUnavailable``."""
        confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._listeners[channel] = (listener, hearer)
        self._unconfirmed[channel] = confirmed
        try:
            with _reported():
                if self._pubsub is not None:  # else the task does it, when it has a connection
                    await self._pubsub.subscribe(channel)
                await asyncio.wait_for(confirmed, OPERATION_SECONDS)
        except BaseException:
            self._listeners.pop(channel, None)
            raise
        finally:
            self._unconfirmed.pop(channel, None)

    async def unsubscribe(self, channel: str) -> None:
        self._listeners.pop(channel, None)
        if self._pubsub is not None:
            with _reported():
                await self._pubsub.unsubscribe(channel)

    async def _listen(self) -> None:
        pause = RETRY_SECONDS[0]
        while True:
            try:
                async with self._connections.ear() as pubsub:
                    await pubsub.subscribe(self._own_channel)
                    self._pubsub = pubsub
                    if self._listeners:
                        await pubsub.subscribe(*self._listeners)
                    pause = RETRY_SECONDS[0]
                    await self._hear_all(pubsub)
            except _FAILURES as error:
                logger.info("ot_jupyter: the connection to Redis' pub/sub is lost: %s", error)
            except Exception:
                logger.exception("ot_jupyter: listening to Redis failed")
            finally:
                self._pubsub = None
            await asyncio.sleep(pause)
            pause = min(2 * pause, RETRY_SECONDS[1])

    async def _hear_all(self, pubsub: Any) -> None:
        asked = False
        while True:
            message = await pubsub.get_message(timeout=SILENCE_SECONDS)
            if message is not None:
                asked = False
                self._hear(message["type"], message["channel"], message["data"])
            elif asked:
                raise LostConnection("it is silent")
            else:
                asked = True
                await pubsub.ping()

    def _hear(self, kind: str, raw_channel: bytes | None, data: Any) -> None:
        channel = (raw_channel or b"").decode()
        if channel not in self._listeners:
            return
        listener, hearer = self._listeners[channel]
        if kind == "subscribe":
            confirmed = self._unconfirmed.get(channel)
            if confirmed is None:  # after a loss: who knows what was missed
                self._call(listener, None)
            elif not confirmed.done():
                confirmed.set_result(None)
        elif kind == "message" and data.startswith(b"said\n"):
            if hearer is not None:
                self._call(hearer, data.removeprefix(b"said\n"))
        elif kind == "message":
            self._call(listener, _read_message(data))

    def _call(self, function: Callable[..., None], *values: Any) -> None:
        # By the loop, in order: an error in a listener is not one of the connection.
        asyncio.get_running_loop().call_soon(function, *values)
