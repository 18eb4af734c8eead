"""Plain HTTP, made strict: whatever a client begins has to end in time, and every answer can be read.

A WebSocket begins here too: its request is read once, and handed on.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final, cast

import httptools
from starlette.types import Scope
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from relay.rooms.connection import CLOSE_TIMEOUT
from relay.wire.asgi import AsgiCall
from relay.wire.handshake import BadHandshake, read_key, response
from relay.wire.websocket import WireLimits, half_close

MAX_HEAD: Final = 65_536
"""Bytes a request may have before its body."""

MAX_WAITING: Final = 16
"""Requests of one connection that may wait until those before them are answered."""

_BAD_REQUEST = "this is not an HTTP/1.1 request"
_TOO_MANY = f"{MAX_WAITING} requests may wait for their answers"
_TOO_LARGE_HEAD = f"the head of a request may have {MAX_HEAD} bytes"


class HttpProtocol(HttpToolsProtocol):
    """HTTP/1.1 with a limit on a request's head, and on the time a request takes to arrive.

    `request_timeout` is in seconds and begins when the connection is made, or with the first byte of a later request;
    `on_timeout` is called when it ends.
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
    ) -> None:
        super().__init__(config, server_state, app_state)
        self.access_log = False
        self._limits = limits
        self._request_timeout = request_timeout
        self._on_timeout = on_timeout
        self._deadline: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._in_head = True
        self._arriving = False
        self._refused = False
        self._upgraded = False
        self._upgrading: bool | None = None
        self._answered: RequestResponseCycle | None = None
        self._crowded = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock; addresses are asked for only once (`super` would ask the system three times)."""
        self.transport = transport
        self.connections.add(self)
        self.flow = FlowControl(transport)
        self.server = _address(transport, "sockname")
        self.client = _address(transport, "peername")
        self.scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_clock()
        self._give_up_answering()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, within the limits; what follows a refused request is not read."""
        if self._refused or self._upgraded:
            return
        self._unset_keepalive_if_required()
        if self._in_head:
            self._head_bytes += len(data)
            self._start_clock()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            if self._crowded:
                self._refuse(b"429 Too Many Requests", _TOO_MANY)
            else:
                self._refuse(b"400 Bad Request", _BAD_REQUEST)
        except httptools.HttpParserUpgrade:
            # Asked for another protocol than WebSocket, the relay answers in this one.
            if self._should_upgrade():
                self.handle_websocket_upgrade()
        else:
            if self._in_head and self._head_bytes > MAX_HEAD:
                self._refuse(b"431 Request Header Fields Too Large", _TOO_LARGE_HEAD)
            elif self._arriving:
                self._start_clock()

    def on_message_begin(self) -> None:
        """See `httptools`: the first byte of a request is there."""
        self._arriving = True
        self._upgrading = None
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """See `httptools`: the head is there. Raises `ValueError` if too many wait already."""
        self._in_head = False
        self._crowded = len(self.pipeline) >= MAX_WAITING
        if self._crowded:
            raise ValueError(_TOO_MANY)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """See `httptools`: the whole request is there, and the next begins with a new head."""
        self._in_head, self._head_bytes, self._arriving = True, 0, False
        self._stop_clock()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """A response that is the last is read in time, or not at all."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._start_clock()

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`: the client has to read on in time."""
        super().pause_writing()
        self._start_clock()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        super().resume_writing()
        if not self._arriving:
            self._stop_clock()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing came after the last response."""
        super().timeout_keep_alive_handler()
        self._start_clock()

    def _should_upgrade(self) -> bool:
        if self._upgrading is None:
            self._upgrading = self._get_upgrade() == b"websocket"
        return self._upgrading

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over, unless the request cannot be written again as it came."""
        self._stop_clock()
        if self._is_answering() or self.pipeline or not self.url.isascii() or self.scope["http_version"] != "1.1":
            self._refuse(b"400 Bad Request", _BAD_REQUEST)
            return
        try:
            key = read_key(self.parser.get_method(), self.url, self.headers)
        except BadHandshake as error:
            self._say_last(error.answer)
            return
        self._upgraded = True
        self._limits.pacer.add(partial(self._begin_websocket, key))

    def _begin_websocket(self, key: bytes) -> None:
        if self.transport.is_closing():
            return
        self.connections.discard(self)
        call = AsgiCall(self.transport, self._limits, cast(Scope, self.scope), self.url, key)
        self.transport.set_protocol(call.protocol)
        task = self.loop.create_task(call.run(self.app))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answered = cycle
        super()._start_asgi_task(cycle, app)

    def _is_answering(self) -> bool:
        return self._answered is not None and not self._answered.response_complete

    def _give_up_answering(self) -> None:
        """Nobody will hear the answer; of several requests, `super` knows the last alone."""
        if self._answered is not None and not self._answered.response_complete:
            self._answered.disconnected = True
            self._answered.message_event.set()

    def _start_clock(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self._request_timeout, self._give_up)

    def _give_up(self) -> None:
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
        self._give_up_answering()
        if self.transport.is_closing():
            return
        body = text.encode("ascii")
        fields = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
        self._say_last(response(status, [*fields, (b"connection", b"close")]) + body)

    def _say_last(self, answer: bytes) -> None:
        self._refused = True
        self.transport.write(answer)
        half_close(self.transport)
        self._deadline = self.loop.call_later(CLOSE_TIMEOUT, self.transport.abort)


def _address(transport: asyncio.Transport, end: str) -> tuple[str, int] | None:
    """One end of a connection; None where it has no host and port, as on a unix socket."""
    address = transport.get_extra_info(end)
    return (str(address[0]), int(address[1])) if isinstance(address, tuple) else None
