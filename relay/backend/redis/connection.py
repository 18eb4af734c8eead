"""One connection to Redis: commands and replies as bytes, without tasks or waiting, for the hot path.

redis-py opens the connection, since it knows URLs, TLS, users and databases. Then its stream gets another protocol,
which parses all replies of one read together, and writes all commands of one turn of the event loop in one write.
"""

import asyncio
import logging
import os
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, cast

import hiredis
from redis.asyncio.connection import AbstractConnection, ConnectionPool, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from relay.backend.redis.lookups import Lookups
from relay.backend.redis.replies import RedisUnreachable, reason_of, reply_in, report_of, shown
from relay.backend.redis.sentinel import NOT_MASTER, MasterFinder
from relay.backend.redis.tls import TlsConnection
from relay.config.redis_url import Address, RedisUrl, parse_redis_url, redact, secrets_of
from relay.model.errors import NotAllowed

log = logging.getLogger("relay.backend.redis")

_MORE_TIME = 2
"""Times its timeout that an attempt has after a late one (`Patience`)."""

_LATE = 0.4
"""The part of its time after which a failure is late; the sentinels, where there are any, have half of it."""

_CAUSE_CHARACTERS = 300
"""Characters of a cause that are logged: the texts of servers may have any length."""

_LINGER_NOT = struct.pack("ii", 1, 0)
"""Value of SO_LINGER: closing the socket drops all unsent bytes."""

Argument = str | bytes | int | float

Replies = Callable[[Sequence[Any]], None]

Done = Callable[[Any], None]
"""Takes the reply to one command: a value, a `hiredis.ReplyError`, or a `RelayError` if no reply came."""


def pack(*arguments: Argument) -> bytes:
    """Return a command as it is sent to Redis."""
    packed: bytes = hiredis.pack_command(arguments)  # type: ignore[arg-type]  # its stub knows one argument only
    return packed


class RedisConnection:
    """An open connection: `send` commands; the callback gets their replies in order, grouped as they arrived.

    An `asyncio.Protocol`, but not by inheritance, so that it can be a native class of the compiled build.
    """

    def __init__(self, connection: AbstractConnection, on_replies: Replies, on_lost: Callable[[], None]) -> None:
        self._on_replies = on_replies
        self._on_lost = on_lost
        self.address: Address = (getattr(connection, "host", ""), getattr(connection, "port", 0))
        """Where it leads; a unix socket has none."""
        self._reader = hiredis.Reader()
        self._loop = asyncio.get_running_loop()
        self._out: list[bytes] = []
        # redis-py has no public way to hand its stream over; the tests of this module fail loudly if it moves. The
        # stream is referred to for as long as it is used: a StreamWriter closes its transport when it is deleted.
        self._stream = cast(asyncio.StreamWriter, connection._writer)
        connection._writer = connection._reader = None
        self._transport = cast(asyncio.Transport, self._stream.transport)
        self._transport.set_protocol(cast(asyncio.Protocol, self))

    def send(self, command: bytes) -> None:
        """Queue a packed command; the commands of one turn of the event loop are sent in one write."""
        if not self._out:
            # At the end of this turn: one system call for the commands of all clients that are served in it.
            self._loop.call_soon(self.flush)
        self._out.append(command)

    def flush(self) -> None:
        """Send the queued commands now."""
        out, self._out = self._out, []
        if out and not self._transport.is_closing():
            self._transport.write(b"".join(out))

    def abort(self) -> None:
        """Drop the connection and all unsent commands at once: a network that recovers must not deliver them late."""
        if not self._transport.is_closing():
            with socket.socket(fileno=os.dup(self._transport.get_extra_info("socket").fileno())) as same:
                same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        self._transport.abort()

    # Called by the transport.

    def data_received(self, data: bytes) -> None:
        """Parse all replies that are complete by now."""
        reader = self._reader
        replies: list[Any] = []
        try:
            reader.feed(data)
            # False, and not None, which is a reply (nil): the rest of a reply has not arrived yet.
            while (reply := reader.gets()) is not False:
                replies.append(reply)
        except hiredis.ProtocolError:
            # The rest of the data cannot be parsed either. The replies ahead of it are valid.
            self._transport.abort()
        if replies:
            self._on_replies(replies)

    def connection_lost(self, exc: Exception | None) -> None:
        """Notify the owner, which opens another connection."""
        self._on_lost()

    def eof_received(self) -> None:
        """Let the transport close."""

    def pause_writing(self) -> None:
        """Go on: commands that Redis does not take have a deadline."""

    def resume_writing(self) -> None:
        """Go on."""


class Patience:
    """How much time the next attempt of one owner of connections has.

    An attempt has `timeout` seconds, or twice as many after one that failed late (`_LATE`), for whatever cause. All
    that an attempt has done is lost with it, and a busy worker would begin the same TLS handshake again and again.
    """

    def __init__(self) -> None:
        self._times = 1

    def limit(self, timeout: float) -> float:
        """Return the seconds of the next attempt."""
        return self._times * timeout

    def note(self, *, late: bool) -> None:
        """Note whether an attempt was late."""
        self._times = _MORE_TIME if late else 1


class _Attempt:
    """An attempt under way: its `time`, the `master` that it is to reach, and whether that was `replaced` meanwhile."""

    def __init__(self, limit: float) -> None:
        self.time = asyncio.timeout(limit)
        self.master: Address | None = None
        self.replaced = False

    def end_unless_to(self, master: Address) -> None:
        """End the attempt if it is to reach another Redis than the master."""
        # Once its time is over, it ends anyway.
        if self.master not in {None, master} and not self.replaced and not self.time.expired():
            self.replaced = True
            self.time.reschedule(asyncio.get_running_loop().time())


class Dialer:
    """Opens connections to one Redis; `password` is for a URL that has none.

    If the URL names sentinels, each attempt asks them first where the master is; `on_failover` is called when it is
    another one, and `mapped` has the addresses at which workers reach those that sentinels name. If it names nodes of a
    cluster, `address` is that of the node. Dialers that share `lookups` look each name up once. Raises ValueError
    (`NotAllowed`) for a URL that is not valid.

    An attempt has `timeout` seconds, or more by the `Patience` of its owner, also where nobody answers. With sentinels,
    an attempt ends before when `agreed_master` finds that the master is another one: a longer attempt to reach the old
    one does not delay the connection to the new one.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float,
        name: str,
        password: str = "",
        address: Address | None = None,
        mapped: Mapping[Address, Address] = MappingProxyType({}),
        on_failover: Callable[[], object] = lambda: None,
        lookups: Lookups | None = None,
    ) -> None:
        parsed = _parsed(url)
        self.of_node = "" if address is None else f" of {shown(address)}"
        """Which node of a cluster it is about, for log lines; "" without a cluster."""
        self._timeout = timeout
        self._patience = Patience()
        self._attempts = set[_Attempt]()
        self._secrets = secrets_of(url, password)
        common: dict[str, Any] = {
            # In RESP 3, messages would come as a type of their own, and every reply would have to be checked for it.
            "protocol": 2,
            # The `Reconnector` repeats attempts; with retries by redis-py, one could exceed its timeout.
            "client_name": name,
            # Without CLIENT SETINFO: a user of Redis with few commands need not be allowed it, and Redis 7.0 has none.
            "driver_info": None,
            "retry": Retry(NoBackoff(), 0),
        }
        self._pool = ConnectionPool(**_options_of(parsed, password), **common)
        if address is not None:
            self._pool.connection_kwargs |= {"host": address[0], "port": address[1]}
        self._lookups = lookups or Lookups()
        self._masters = None
        if parsed.sentinels:
            self._masters = MasterFinder(parsed, common, self._lookups, on_failover, timeout=timeout, mapped=mapped)

    @property
    def master(self) -> str:
        """The address of the master that the sentinels named last, for operators; "" without sentinels."""
        return self._masters.shown if self._masters is not None else ""

    @property
    def dissent(self) -> str:
        """The sentinels that have named another master for long, for operators; "" if none has."""
        return self._masters.dissent if self._masters is not None else ""

    @property
    def has_sentinels(self) -> bool:
        """Whether the URL names sentinels."""
        return self._masters is not None

    async def agreed_master(self) -> Address | None:
        """Ask the sentinels for the master; None if no majority of them answers, or there are no sentinels.

        Attempts under way to reach another Redis end.
        """
        master = await self._masters.agreed() if self._masters is not None else None
        if master is not None:
            for attempt in self._attempts:
                attempt.end_unless_to(master)
        return master

    async def close(self) -> None:
        """Close the connections to sentinels."""
        if self._masters is not None:
            await self._masters.close()

    async def open(
        self, on_replies: Replies, on_lost: Callable[[], None], patience: Patience | None = None
    ) -> RedisConnection:
        """Connect within the time of an attempt; raise `RedisUnreachable` if that fails.

        Owners that share a dialer have a `patience` of their own: the success of one says nothing of the others.
        """
        patience = patience or self._patience
        connection: AbstractConnection | None = None
        limit, began = patience.limit(self._timeout), time.monotonic()
        attempt = _Attempt(limit)
        try:
            async with attempt.time:
                with self._noted(attempt):
                    if self._masters is not None:
                        attempt.master = host, port = await self._masters.find(limit)
                        self._pool.connection_kwargs |= {"host": host, "port": port}
                    # redis-py keeps these itself: it may swallow a cancellation.
                    self._pool.connection_kwargs |= {"socket_connect_timeout": limit, "socket_timeout": limit}
                    connection = self._pool.make_connection()  # type: ignore[no-untyped-call]
                    # A unix socket has none.
                    if (named := self._pool.connection_kwargs.get("host")) is not None:
                        await self._lookups.find(named)
                    await connection.connect()
        # Not only the errors of the network: redis-py raises any kind for options and host names that it cannot use.
        except Exception as error:
            late = time.monotonic() - began >= _LATE * limit
            if connection is not None:
                await connection.disconnect(nowait=True)
            if attempt.replaced:
                raise RedisUnreachable(NOT_MASTER, NOT_MASTER) from None
            patience.note(late=late)
            raise self._unreachable(error, limit) from None
        patience.note(late=False)
        return RedisConnection(connection, on_replies, on_lost)

    @contextmanager
    def _noted(self, attempt: "_Attempt") -> Iterator[None]:
        """Have `agreed_master` end this attempt while the body runs, and not while it is cleaned up."""
        self._attempts.add(attempt)
        try:
            yield
        finally:
            self._attempts.discard(attempt)

    def _unreachable(self, error: Exception, limit: float) -> RedisUnreachable:
        """Return the error for the owner of the connection; servers repeat passwords in some of their errors."""
        if isinstance(error, RedisUnreachable):
            return RedisUnreachable(redact(str(error), self._secrets), redact(error.report, self._secrets))
        if isinstance(error, RedisError) and (reply := reply_in(error)):
            return refused(redact(reply, self._secrets))
        text = reason_of(error, limit)
        if isinstance(error, OSError | RedisError | TimeoutError):
            cause = str(error) or text
        else:
            cause = f"{type(error).__name__}: {error}"
        return RedisUnreachable(redact(cause, self._secrets)[:_CAUSE_CHARACTERS], redact(text, self._secrets))


def _parsed(url: str) -> RedisUrl:
    parsed = parse_redis_url(url)
    if parsed is None:
        raise NotAllowed("there is no URL of Redis")
    return parsed


def _options_of(url: RedisUrl, password: str) -> dict[str, Any]:
    """Return the parts of a URL in redis-py's words; its own parser would take a broken URL for another server."""
    options: dict[str, Any] = {
        "db": url.database,
        "username": url.username or None,
        "password": url.password or password or None,
    }
    if url.path:
        return options | {"connection_class": UnixDomainSocketConnection, "path": url.path}
    if url.is_encrypted:
        options["connection_class"] = TlsConnection
    # Sentinels tell the address later, and a cluster tells those of its nodes.
    place = {} if url.sentinels or url.nodes else {"host": url.host, "port": url.port}
    return {**options, **place, **url.tls}


def refused(reply: str) -> RedisUnreachable:
    """Return the error for an error reply with which Redis refuses a connection, or the commands that it is for."""
    return RedisUnreachable(reply[:_CAUSE_CHARACTERS], report_of(reply))


class Pending:
    """The callbacks for the replies to the commands sent over a connection, in order."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[float, Done]] = deque()

    def add(self, deadline: float, done: Done) -> None:
        """`done` gets the reply to the command sent now; it should come by `deadline`, which never decreases."""
        self._waiting.append((deadline, done))

    @property
    def deadline(self) -> float | None:
        """When the next reply should have come; None if there is none to come."""
        return self._waiting[0][0] if self._waiting else None

    def resolve(self, replies: Sequence[Any]) -> None:
        """Hand each reply to its callback."""
        waiting = self._waiting
        for reply in replies:
            call(waiting.popleft()[1], reply)

    def fail(self, error: Exception) -> None:
        """Hand the error to all callbacks: no reply will come."""
        waiting, self._waiting = self._waiting, deque()
        for _, done in waiting:
            call(done, error)


def call(done: Done, reply: Any) -> None:
    """Hand a reply to its callback; an error of the callback is logged, and not raised."""
    try:
        done(reply)
    except Exception:
        # The replies after this one belong to other callers, which must get them.
        log.exception(
            "a reply of Redis could not be handled; one request of this worker is lost (report this as a bug)"
        )
