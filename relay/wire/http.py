"""uvicorn's HTTP protocol with limits: on the size of a head, on waiting requests, and on the time of each step.

uvicorn sets none of these by itself: a client that sends a byte a minute, or never reads, would keep its connection for
good. A WebSocket begins here as well: its request is parsed once, and the connection handed to `relay.wire.websocket`.

This subclass overrides private methods of uvicorn, as there are no public ones to build on. Its version is pinned, and
a test checks that each of these methods still exists.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any, Final, cast

import httptools
from starlette.types import Scope
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from relay.rooms.connection import CLOSE_TIMEOUT
from relay.wire.asgi import AsgiWebSocket
from relay.wire.handshake import BadHandshake, read_key, response
from relay.wire.websocket import WireLimits, half_close

MAX_HEAD: Final = 65_536
"""Bytes of a request before its body."""

_PROGRESS: Final = 65_536
"""Bytes of a body or of an answer that a slow client must move in each `request_timeout`."""

MAX_WAITING: Final = 16
"""Requests of one connection that may wait until those before them are answered (pipelining)."""

_BAD_REQUEST = "this is not an HTTP/1.1 request"
_TOO_MANY = f"at most {MAX_WAITING} requests may wait for their answers"
_TOO_LARGE_HEAD = f"the head of a request has at most {MAX_HEAD} bytes"


Networks = Sequence[IPv4Network | IPv6Network]


class PeerGuard:
    """Admits connections from these networks alone; `on_stranger` is called for each other one."""

    def __init__(self, networks: Networks, on_stranger: Callable[[], None]) -> None:
        self._networks = networks
        self._on_stranger = on_stranger

    def admits(self, peer: tuple[str, int] | None) -> bool:
        """Return whether this peer may be connected."""
        # An IPv6 address of the local link has the name of an interface after a percent sign.
        address = ip_address(peer[0].partition("%")[0]) if peer else None
        if address is not None and any(address in network for network in self._networks):
            return True
        self._on_stranger()
        return False


class HttpProtocol(HttpToolsProtocol):
    """HTTP/1.1 with limits on a request's head and on the time in which it must arrive.

    `request_timeout` is in seconds. It begins when the connection is made, or with the first byte of a later request;
    when it ends, `on_timeout` is called and the connection aborted. It begins again while a large body arrives, or a
    large answer is taken. A connection that `guard` does not admit is aborted at once.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        limits: WireLimits,
        *,
        request_timeout: float,
        on_timeout: Callable[[], None],
        guard: PeerGuard | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state)
        self.access_log = False
        self._limits = limits
        self._request_timeout = request_timeout
        self._on_timeout = on_timeout
        self._guard = guard
        self._deadline: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._body_bytes = 0
        self._unsent = 0
        self._in_head = True
        self._arriving = False
        self._refused = False
        self._upgraded = False
        self._upgrading: bool | None = None
        self._current_cycle: RequestResponseCycle | None = None
        self._crowded = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock. `super` is not called: it would ask the system for the addresses three times."""
        self.transport = transport
        self.connections.add(self)
        self.flow = FlowControl(transport)
        self.server = _address(transport, "sockname")
        self.client = _address(transport, "peername")
        self.scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        if self._guard is not None and not self._guard.admits(self.client):
            self._refused = True
            transport.abort()
            return
        self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_clock()
        self._abandon_answer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse requests within the limits; bytes after a refused request are ignored."""
        if self._refused or self._upgraded:
            return
        self._unset_keepalive_if_required()
        if self._in_head:
            self._head_bytes += len(data)
            self._start_clock()
        else:
            self._body_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            if self._crowded:
                self._refuse(b"429 Too Many Requests", _TOO_MANY)
            else:
                self._refuse(b"400 Bad Request", _BAD_REQUEST)
        except httptools.HttpParserUpgrade:
            # An upgrade to another protocol, such as h2c, is ignored: the request is answered in HTTP/1.1.
            if self._should_upgrade():
                self.handle_websocket_upgrade()
        else:
            if self._in_head and self._head_bytes > MAX_HEAD:
                self._refuse(b"431 Request Header Fields Too Large", _TOO_LARGE_HEAD)
            elif self._arriving:
                self._start_clock()

    def on_message_begin(self) -> None:
        """Note that a request has begun to arrive."""
        self._arriving = True
        self._upgrading = None
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Note that a head is complete; raise ValueError, which stops the parser, if too many requests wait."""
        self._in_head = False
        self._crowded = len(self.pipeline) >= MAX_WAITING
        if self._crowded:
            raise ValueError(_TOO_MANY)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Stop the clock: a request is complete. The next one begins with a new head."""
        self._in_head, self._head_bytes, self._arriving = True, 0, False
        self._stop_clock()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Start the clock for a client that must still read the last response."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._start_clock()

    def pause_writing(self) -> None:
        """Start the clock: the client must read on in time."""
        super().pause_writing()
        self._start_clock()

    def resume_writing(self) -> None:
        """Stop the clock, unless a request is arriving."""
        super().resume_writing()
        if not self._arriving:
            self._stop_clock()

    def timeout_keep_alive_handler(self) -> None:
        """Start the clock: the keep-alive time is over, and the client must close in time."""
        super().timeout_keep_alive_handler()
        self._start_clock()

    def _should_upgrade(self) -> bool:
        if self._upgrading is None:
            self._upgrading = self._get_upgrade() == b"websocket"
        return self._upgrading

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over to a `WebSocketProtocol`.

        Refused are an upgrade behind a request that is still being answered, since its answer would end up among the
        frames; a path that is not ASCII; and HTTP/1.0.
        """
        self._stop_clock()
        if self._is_answering() or self.pipeline or not self.url.isascii() or self.scope["http_version"] != "1.1":
            self._refuse(b"400 Bad Request", _BAD_REQUEST)
            return
        try:
            key = read_key(self.parser.get_method(), self.headers)
        except BadHandshake as error:
            self._write_last(error.answer)
            return
        self._upgraded = True
        self._limits.throttle.add(partial(self._begin_websocket, key, time.monotonic()))

    def _begin_websocket(self, key: bytes, arrived: float) -> None:
        if self.transport.is_closing():
            return
        self.connections.discard(self)
        # The parser refers to this object, so both would stay in memory until the garbage collector runs. At the end of
        # a connection over HTTP, uvicorn does the same.
        self.parser = None  # type: ignore[assignment]
        call = AsgiWebSocket(self.transport, self._limits, cast(Scope, self.scope), self.url, key, arrived)
        self.transport.set_protocol(call.protocol)
        task = self.loop.create_task(call.run(self.app))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._current_cycle = cycle
        super()._start_asgi_task(cycle, app)

    def _is_answering(self) -> bool:
        return self._current_cycle is not None and not self._current_cycle.response_complete

    def _abandon_answer(self) -> None:
        """Notify the application that the client is gone; of several requests, `super` only knows the last."""
        if self._current_cycle is not None and not self._current_cycle.response_complete:
            self._current_cycle.disconnected = True
            self._current_cycle.message_event.set()

    def _start_clock(self) -> None:
        if self._deadline is None:
            self._body_bytes, self._unsent = 0, self.transport.get_write_buffer_size()
            self._deadline = self.loop.call_later(self._request_timeout, self._time_out)

    def _time_out(self) -> None:
        taken = self._unsent - self.transport.get_write_buffer_size()
        if max(self._body_bytes, taken) >= _PROGRESS:
            self._deadline = None
            self._start_clock()
            return
        self._on_timeout()
        self.transport.abort()

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, status: bytes, text: str) -> None:
        self._refused = True
        self._stop_clock()
        self.pipeline.clear()
        self._abandon_answer()
        if self.transport.is_closing():
            return
        body = text.encode("ascii")
        fields = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            (b"x-content-type-options", b"nosniff"),
        ]
        self._write_last(response(status, [*fields, (b"connection", b"close")]) + body)

    def _write_last(self, answer: bytes) -> None:
        self._refused = True
        self.transport.write(answer)
        half_close(self.transport)
        self._deadline = self.loop.call_later(CLOSE_TIMEOUT, self.transport.abort)


def _address(transport: asyncio.Transport, end: str) -> tuple[str, int] | None:
    """Return host and port of one end of a connection; None on a unix socket, which has neither."""
    address = transport.get_extra_info(end)
    if not isinstance(address, tuple):
        return None
    # A socket for both families gives an IPv4 address in this form.
    return str(address[0]).removeprefix("::ffff:"), int(address[1])
