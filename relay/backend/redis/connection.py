"""One connection to Redis, spoken to without waiting: the bytes of the hot path.

redis-py knows how to get there (URL, TLS, user, password, database); once it has, its stream is exchanged for a
protocol that parses all that arrives in one read in one go, and writes all commands of one loop turn in one write.
"""

import asyncio
import logging
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

import hiredis
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

log = logging.getLogger("relay.backend.redis")

_AT_ONCE = struct.pack("ii", 1, 0)
"""Of closing a socket: linger, for no seconds."""

Argument = str | bytes | int | float

Replies = Callable[[Sequence[Any]], None]

Done = Callable[[Any], None]
"""Takes the reply to one command: what Redis answered (also its `hiredis.ReplyError`), or an error of our own."""


def pack(*arguments: Argument) -> bytes:
    """A command as it goes over the wire."""
    packed: bytes = hiredis.pack_command(arguments)  # type: ignore[arg-type]  # its stub knows one argument only
    return packed


class RedisUnreachable(Exception):
    """Redis could not be reached, or refused the connection; the text says why."""


class RedisConnection(asyncio.Protocol):
    """An open connection: `send` commands; their replies come to the callback in order, as many as arrived together."""

    def __init__(self, connection: AbstractConnection, on_replies: Replies, on_lost: Callable[[], None]) -> None:
        self._on_replies = on_replies
        self._on_lost = on_lost
        self._reader = hiredis.Reader()
        self._loop = asyncio.get_running_loop()
        self._out: list[bytes] = []
        # redis-py has no public way to hand its stream over; the tests of this module fail loudly should it move.
        self._stream = cast(asyncio.StreamWriter, connection._writer)
        connection._writer = connection._reader = None
        self._transport = cast(asyncio.Transport, self._stream.transport)
        self._transport.set_protocol(self)

    def send(self, command: bytes) -> None:
        """Queue a packed command; what is queued in one turn of the loop leaves in one write."""
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(command)

    def abort(self) -> None:
        """Drop the connection at once, and what is on its way: a network that heals must not bring it late."""
        if not self._transport.is_closing():
            with socket.socket(fileno=os.dup(self._transport.get_extra_info("socket").fileno())) as same:
                same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self._transport.abort()

    @property
    def closing(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._transport.is_closing()

    def _flush(self) -> None:
        out, self._out = self._out, []
        if not self._transport.is_closing():
            self._transport.write(b"".join(out))

    # What the transport calls.

    def data_received(self, data: bytes) -> None:
        """Parse every reply that is complete by now."""
        reader = self._reader
        replies: list[Any] = []
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not False:
                replies.append(reply)
        except hiredis.ProtocolError:
            self._transport.abort()
        if replies:
            self._on_replies(replies)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the owner, who makes a new one."""
        self._on_lost()


class Dialer:
    """Opens links to one Redis; `password` is for a URL that has none."""

    def __init__(self, url: str, *, timeout: float, name: str, password: str = "") -> None:
        self._timeout = timeout
        self._pool = ConnectionPool.from_url(
            url,
            password=password or None,
            protocol=2,
            client_name=name,
            retry=Retry(NoBackoff(), 0),
            socket_connect_timeout=timeout,
            socket_timeout=timeout,
        )
        self._lookup: asyncio.Future[Any] | None = None

    async def open(self, on_replies: Replies, on_lost: Callable[[], None]) -> RedisConnection:
        """Connect, within the time given; raise `RedisUnreachable` if that fails."""
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        try:
            async with asyncio.timeout(self._timeout):
                await self._look_up()
                await connection.connect()  # type: ignore[no-untyped-call]
        except (OSError, RedisError, TimeoutError) as error:
            await connection.disconnect(nowait=True)
            raise RedisUnreachable(str(error) or f"no answer within {self._timeout:g} s") from error
        return RedisConnection(connection, on_replies, on_lost)

    async def _look_up(self) -> None:
        """Wait until the host's name is known: one lookup at a time, which outlives an attempt that is given up.

        In a container whose Redis is away its name is, too; finding that out takes longer than an attempt may.
        """
        host, loop = self._pool.connection_kwargs.get("host"), asyncio.get_running_loop()
        if host is None:
            return
        if self._lookup is None or self._lookup.done():
            self._lookup = asyncio.ensure_future(loop.getaddrinfo(host, None))
            self._lookup.add_done_callback(_ignore_failure)
        await asyncio.shield(self._lookup)


def _ignore_failure(lookup: asyncio.Future[Any]) -> None:
    """A name that is not found when nobody waits any more is nobody's failure."""
    if not lookup.cancelled():
        lookup.exception()


class Pending:
    """Who waits for the replies to what was sent over a link: told in order, by a call each."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[float, Done]] = deque()

    def add(self, deadline: float, done: Done) -> None:
        """`done` gets the reply to the command sent now; it should come by `deadline`, which never goes back."""
        self._waiting.append((deadline, done))

    @property
    def deadline(self) -> float | None:
        """When the next reply should have come; None when nobody waits."""
        return self._waiting[0][0] if self._waiting else None

    def resolve(self, replies: Sequence[Any]) -> None:
        """Hand each reply to the one who waits for it."""
        waiting = self._waiting
        for reply in replies:
            _tell(waiting.popleft()[1], reply)

    def fail(self, error: Exception) -> None:
        """Everybody still waiting gets an error: no reply will come."""
        waiting, self._waiting = self._waiting, deque()
        for _, done in waiting:
            _tell(done, error)


def _tell(done: Done, reply: Any) -> None:
    try:
        done(reply)
    except Exception:
        # Whoever fails here must not keep the others from their replies.
        log.exception("a reply of Redis was not dealt with")
