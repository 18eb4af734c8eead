"""A small HTTP/1.1 client for requests to other workers, over unix sockets and TCP.

A connection serves one request at a time, and is kept for the next one. A response is read as it arrives, so that one
without an end (Server-Sent Events) can be passed on.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import httptools

Target = str | tuple[str, int]
"""The path of a unix socket, or the IP address and the port of a worker."""

MAX_HEAD: Final = 65_536
"""Bytes of the head of a response."""

_HIGH_WATER: Final = 65_536
"""Bytes of a body that may wait to be taken; beyond them, the connection stops reading."""

_CONNECT_TIMEOUT: Final = 2.0
_IDLE_SECONDS: Final = 3.0
"""How long a connection without a request is kept: less than the five seconds after which a worker closes it."""

_MAX_IDLE: Final = 4096
"""Connections without a request that one client keeps."""

_KEEP_ALIVE_PROBES: Final = (
    ("TCP_KEEPIDLE", 5),
    ("TCP_KEEPINTVL", 5),
    ("TCP_KEEPCNT", 3),
    ("TCP_USER_TIMEOUT", 20_000),
)
"""Socket options that end a connection to a machine that has failed, which sends no end of its own, within 20 s."""


class HttpError(Exception):
    """A request has no complete response; the text says why."""


class Unreachable(HttpError):
    """No connection could be opened, so nothing was sent; with `refused`, no program listens there."""

    def __init__(self, text: str, *, refused: bool) -> None:
        super().__init__(text)
        self.refused = refused


class HttpResponse:
    """A response whose body may still be arriving; the names of the headers are in lower case."""

    def __init__(self, connection: "HttpConnection", status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.status = status
        self.headers = headers
        self._connection = connection

    async def next_chunk(self) -> bytes:
        """Return the next part of the body, b"" at its end; raise `HttpError` if the connection ends before."""
        return await self._connection.next_chunk()

    @property
    def ended(self) -> bool:
        """Whether the body is complete and was taken."""
        return self._connection.idle

    async def read(self, limit: int) -> bytes:
        """Return the whole body; raise `HttpError` if it is longer than `limit` bytes, or incomplete."""
        body = bytearray()
        while chunk := await self.next_chunk():
            body += chunk
            if len(body) > limit:
                raise HttpError(f"the answer is longer than {limit} bytes")
        return bytes(body)


class HttpConnection(asyncio.Protocol):
    """One connection to a worker."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._head_bytes = 0
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._in_body = False
        self._bodyless = False
        self._complete = True
        self._paused = False
        self._keep_alive = True
        self._failure: HttpError | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def idle(self) -> bool:
        """Whether there is no request, or its response was taken to the end."""
        return self._complete and not self._body

    @property
    def reusable(self) -> bool:
        """Whether the connection can serve another request."""
        return self.idle and self._keep_alive and self._failure is None

    async def exchange(self, request: bytes, *, bodyless: bool = False) -> HttpResponse:
        """Send a whole request and return its response when the head has arrived; raises `HttpError`.

        `bodyless` says that the response has no body, as it answers HEAD.
        """
        if self._transport is None or not self.reusable:
            raise self._failure or HttpError("the connection is in use")
        self._head_bytes, self._headers, self._in_body, self._complete = 0, [], False, False
        self._bodyless = bodyless
        self._transport.write(request)
        while not self._in_body:
            await self._wait()
        return HttpResponse(self, self._status, self._headers)

    async def next_chunk(self) -> bytes:
        """Return the part of the body that has arrived, or the next one; b"" at the end of the body."""
        while not self._body:
            if self._complete:
                return b""
            await self._wait()
        chunk = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body, self._body_bytes = [], 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return chunk

    def abort(self, reason: str = "the request was given up") -> None:
        """Drop the connection; a request in progress fails, and the worker sees that its client is gone."""
        self._fail(reason)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Keep the transport."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Parse a part of a response; anything unexpected ends the connection."""
        if self._complete:
            self._fail("the answer is incomplete")
            return
        if not self._in_body:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._complete = False
            self._fail("the answer is incomplete")
            return
        if not self._in_body and self._head_bytes > MAX_HEAD:
            self._fail(f"the head of the answer is longer than {MAX_HEAD} bytes")
        elif self._body_bytes > _HIGH_WATER and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request in progress."""
        self._fail("the answer is incomplete")

    # httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Note the head of a response, but not that of an interim one (1xx)."""
        if self._parser.get_http_version() != "1.1":
            raise ValueError("not HTTP/1.1")
        self._status = self._parser.get_status_code()
        if self._status < 200:
            self._headers = []
            return
        self._in_body = True
        if self._bodyless:
            # The parser expects the body that the head announces.
            self._complete, self._keep_alive = True, False

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        if not self._bodyless:
            self._body.append(body)
            self._body_bytes += len(body)

    def on_message_complete(self) -> None:
        """Note the end of a response; raise ValueError for more than one."""
        if not self._in_body:
            return
        if self._complete and not self._bodyless:
            raise ValueError("a second response")
        self._keep_alive = self._keep_alive and self._parser.should_keep_alive()
        self._complete = True

    async def _wait(self) -> None:
        """Wait until something has arrived; raise the connection's failure."""
        self._raise_failure()
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure is not None and not self._complete:
            raise self._failure

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, reason: str) -> None:
        if self._failure is None:
            self._failure = HttpError(reason)
        # Not `close`, which would wait for a worker that does not read.
        if self._transport is not None:
            self._transport.abort()
        self._wake()


async def connect(target: Target) -> HttpConnection:
    """Open a connection; raises `Unreachable`."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT):
            if isinstance(target, str):
                _, connection = await loop.create_unix_connection(HttpConnection, target)
            else:
                transport, connection = await loop.create_connection(HttpConnection, *target)
                _probe(transport.get_extra_info("socket"))
    except TimeoutError:
        raise Unreachable(f"cannot be reached within {_CONNECT_TIMEOUT:g} s", refused=False) from None
    except OSError as error:
        refused = isinstance(error, ConnectionRefusedError | FileNotFoundError)
        raise Unreachable(f"cannot be reached: {error.strerror or type(error).__name__}", refused=refused) from None
    return connection


def _probe(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE_PROBES:
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class HttpClient:
    """Keeps connections to workers between requests, a bounded number and for a short time."""

    def __init__(self) -> None:
        self._idle: dict[Target, list[tuple[float, HttpConnection]]] = {}
        self._count = 0
        self._sweeper: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def connection(self, target: Target) -> AsyncIterator[HttpConnection]:
        """Lend a connection for one request; at the end it is kept, or dropped if the response was not taken whole.

        Raises `Unreachable`.
        """
        connection = self._take(target) or await connect(target)
        try:
            yield connection
        finally:
            if connection.reusable and self._count < _MAX_IDLE:
                self._keep(target, connection)
            else:
                connection.abort()

    def close(self) -> None:
        """Drop all connections that have no request."""
        self._sweep_until(float("inf"))

    def _take(self, target: Target) -> HttpConnection | None:
        # The newest one: the others grow old, and their number falls to that of the requests at the same time.
        kept = self._idle.get(target)
        # After a stall of this process, the sweeper is late.
        oldest = asyncio.get_running_loop().time() - _IDLE_SECONDS
        while kept:
            since, connection = kept.pop()
            self._count -= 1
            if connection.reusable and since > oldest:
                return connection
            connection.abort()
        return None

    def _keep(self, target: Target, connection: HttpConnection) -> None:
        loop = asyncio.get_running_loop()
        self._idle.setdefault(target, []).append((loop.time(), connection))
        self._count += 1
        if self._sweeper is None:
            self._sweeper = loop.call_later(_IDLE_SECONDS / 2, self._sweep)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweep_until(loop.time() - _IDLE_SECONDS / 2)
        if self._count:
            self._sweeper = loop.call_later(_IDLE_SECONDS / 2, self._sweep)

    def _sweep_until(self, time: float) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for target, kept in list(self._idle.items()):
            old = [connection for since, connection in kept if since < time]
            for connection in old:
                connection.abort()
            self._count -= len(old)
            self._idle[target] = kept[len(old) :]
            if not self._idle[target]:
                del self._idle[target]
