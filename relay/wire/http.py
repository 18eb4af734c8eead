"""uvicorn's HTTP protocol with limits: on the size of a head, on waiting requests, and on the time of each step.

uvicorn sets none of these by itself: a client that sends a byte a minute, or never reads, would keep its connection for
good. A WebSocket begins here as well: its request is parsed once, and the connection handed to `relay.wire.websocket`.
A connection whose response is held is handed to `relay.wire.held`, and comes back for its next request.

This subclass overrides private methods of uvicorn, as there are no public ones to build on. Its version is pinned, and
a test checks that each of these methods still exists.
"""

import asyncio
import logging
import time
from collections import deque
from functools import partial
from typing import Final, Literal, cast

import httptools
from starlette.types import Scope
from uvicorn._types import ASGI3Application, HTTPScope
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from relay.rooms.connection import ABORT_EXTENSION
from relay.rooms.held_response import HOLD_EXTENSION
from relay.wire.asgi import AsgiWebSocket
from relay.wire.closing import half_close
from relay.wire.handshake import BadHandshake, read_key, read_usual
from relay.wire.held import Ends, HeldProtocol
from relay.wire.listener import KEPT_UNCOUNTED, PROGRESS, HttpListener
from relay.wire.refusals import BAD_HOST, BAD_REQUEST, MAX_WAITING, REFUSALS, refusal
from relay.wire.request_size import MAX_HEAD, RequestSize, TooMuch
from relay.wire.timeouts import Timeout

_LOGGER: Final = logging.getLogger("uvicorn.error")


class BadHost(ValueError):
    """A request does not say once which host it is for (RFC 9112, 3.2)."""


class HttpProtocol(HttpToolsProtocol):
    """HTTP/1.1 with limits on a request's head and on the time in which it must arrive.

    The `request_timeout` of the listener begins when the connection is made, or with the first byte of a later request;
    when it ends, `on_timeout` is called and the connection aborted. It begins again while a large body arrives, or a
    large answer is taken. A connection that `guard` or `gate` does not admit is aborted at once. A listener without a
    gate is not reached by clients: its connections are not counted.
    """

    # The values with which each connection begins are attributes of the class: thousands of connections may come at
    # once, and nearly all of them only ask for a WebSocket. First those of uvicorn's class.
    logger = _LOGGER
    access_logger = _LOGGER
    access_log = False
    parser: httptools.HttpRequestParser = None  # type: ignore[assignment]
    transport: asyncio.Transport = None  # type: ignore[assignment]
    flow: FlowControl = None  # type: ignore[assignment]
    ws_protocol_class = None
    timeout_keep_alive_task: asyncio.TimerHandle | None = None
    server: tuple[str, int | None] | None = None
    client: tuple[str, int] | None = None
    scheme: Literal["http", "https"] | None = None
    scope: HTTPScope = None  # type: ignore[assignment]
    headers: list[tuple[bytes, bytes]] = None  # type: ignore[assignment]
    cycle: RequestResponseCycle = None  # type: ignore[assignment]
    expect_100_continue = False

    _deadline: Timeout | None = None
    _parses = False
    _waiting_bytes = 0
    _body_mark = 0
    _unsent = 0
    _arriving = False
    _refused = False
    _upgraded = False
    _upgrading: bool | None = None
    _current_cycle: RequestResponseCycle | None = None
    address = ""

    def __init__(self, listener: HttpListener) -> None:
        # Not that of uvicorn's class, which looks up two loggers for each connection.
        config, state = listener.config, listener.server_state
        self.config, self.app, self.loop = config, config.loaded_app, asyncio.get_running_loop()
        self.root_path, self.asgi_version = config.root_path, config.asgi_version
        self.limit_concurrency, self.app_state = config.limit_concurrency, listener.app_state
        self.timeout_keep_alive = config.timeout_keep_alive
        self.server_state, self.connections, self.tasks = state, state.connections, state.tasks
        self.pipeline = deque()
        self._listener = listener
        self._limits = listener.limits
        self._gate = listener.gate
        self._size = RequestSize(listener.limits.max_size)

    def _begin_parsing(self) -> None:
        """Make what only requests need that are no usual handshake."""
        self._parses = True
        self.flow = FlowControl(self.transport)
        self.parser = httptools.HttpRequestParser(self)
        # A client may send its next request although it asked for the end of the connection.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock. `super` is not called: it would ask the system for the addresses three times."""
        self.transport = transport
        self.connections.add(self)
        self.server = _address(transport, "sockname")
        self.client = _address(transport, "peername")
        self.scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        if not self._is_admitted(transport):
            self._refused = True
            transport.abort()
            return
        self._start_clock()

    def take_back(self, held: HeldProtocol, arrived: bytes) -> None:
        """Serve the next requests of a connection whose held response is complete; `arrived` has arrived of them."""
        transport = self.transport = held.transport
        self.connections.discard(held)
        self.connections.add(self)
        self._begin_parsing()
        self.server, self.client, self.scheme, self.address = held.ends  # type: ignore[assignment]
        transport.set_protocol(self)
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)
        if held.write_paused:
            self.pause_writing()
        if held.read_paused:
            transport.resume_reading()
        if self._gate is not None:
            self._gate.hand_over(held, self)
            self._gate.idle(self, self.address)
        if arrived:
            self.data_received(arrived)

    def _is_admitted(self, transport: asyncio.Transport) -> bool:
        if self._listener.guard is not None and not self._listener.guard.admits(self.client):
            return False
        if self._gate is None:
            return True
        self.address = self._gate.name_of(self.client)
        return self._gate.admits(self, transport, self.address)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock, count no more, and drop the requests that wait."""
        self._stop_clock()
        self._forget()
        self._abandon_answer()
        super().connection_lost(exc)
        # An application that has not answered yet refers to this connection, perhaps for seconds. No other request will
        # be served, and without these references nothing is left to the garbage collector.
        self.pipeline.clear()
        self._forget_request()

    def _forget_request(self) -> None:
        self.cycle = self._current_cycle = self.scope = None  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Parse requests within the limits; bytes after a refused request are ignored."""
        if self._refused or self._upgraded:
            return
        if not self._parses and self._upgrade_at_once(data):
            return
        self._unset_keepalive_if_required()
        if self._size.in_head:
            self._start_clock()
        try:
            self._parse(data)
        except TooMuch as error:
            self._refuse_too_much(error)
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, TooMuch):
                self._refuse_too_much(error.__context__)
            else:
                text = BAD_HOST if isinstance(error.__context__, BadHost) else BAD_REQUEST
                self._refuse(b"400 Bad Request", text)
        except httptools.HttpParserUpgrade:
            # The parser reads no further. An upgrade to another protocol, such as h2c, is ignored: the request is
            # answered in HTTP/1.1, and then the connection is closed.
            self._upgraded = True
            if self._should_upgrade():
                self.handle_websocket_upgrade()
        else:
            if self._arriving:
                self._start_clock()
            if self._gate is not None:
                self._count_kept()

    def _parse(self, data: bytes) -> None:
        """Parse in pieces; raises `TooMuch`, or an error of the parser, whose context may be `TooMuch`."""
        size, at = self._size, 0
        while at < len(data):
            end = at + size.next_piece()
            piece = data if at == 0 and end >= len(data) else data[at:end]
            in_head, body = size.in_head, size.body
            self.parser.feed_data(piece)
            size.add_piece(len(piece), in_head=in_head, body=body)
            at = end

    def _refuse_too_much(self, error: TooMuch) -> None:
        self._limits.notices.note(error.limit, self.address)
        found = REFUSALS.get(error.limit)
        # A request that is answered gets no second answer.
        if found is None or (self._arriving and not self._size.in_head and not self._is_answering()):
            self._write_last(b"")
        else:
            self._refuse(*found)

    # The bytes that wait here.

    @property
    def arriving(self) -> bool:
        """False: requests have a clock of their own."""
        return False

    def hold_back(self, *, paused: bool) -> None:
        """Stop reading while the worker is short of room, or read on."""
        if self.transport.is_closing():
            return
        if paused:
            self.flow.pause_reading()
        else:
            self.flow.resume_reading()

    def give_up(self) -> None:
        """Close a connection that keeps too many bytes."""
        self._limits.notices.note("unfinished_closed", self.address)
        self._limits.unfinished.release(self)
        self.transport.abort()

    def close_idle(self) -> None:
        """Close, as another connection needs the place."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def _count_kept(self) -> None:
        """Count the bytes of an unfinished head or of an unread body, and those of requests that wait."""
        if self._size.in_head:
            kept = self._size.head + self._waiting_bytes
        else:
            kept = len(self.cycle.body) + self._waiting_bytes
        if kept <= KEPT_UNCOUNTED:
            self._limits.unfinished.release(self)
        elif not self._limits.unfinished.keep(self, kept):
            self._limits.notices.note("unfinished", self.address)

    def _forget(self) -> None:
        """Count the connection and its bytes no longer."""
        if self._gate is not None:
            self._gate.end(self)
            self._limits.unfinished.release(self)

    # Callbacks of the parser.

    def on_message_begin(self) -> None:
        """Note that a request has begun to arrive."""
        self._arriving = True
        self._upgrading = None
        super().on_message_begin()
        cast(Scope, self.scope)["extensions"] = {
            ABORT_EXTENSION: self.transport.abort,
            HOLD_EXTENSION: self._hold,
        }

    def on_url(self, url: bytes) -> None:
        """Count a part of the address."""
        self._size.add_line(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header; trailers are dropped, as they come after all decisions about the request.

        `super` is not called: a handshake has a dozen headers, and nearly all clients only send that one request.
        """
        if self._size.in_head:
            self._size.add_header(len(name) + len(value))
            name = name.lower()
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Note that a head is complete.

        Raises `TooMuch` if too many requests wait, and `BadHost`; both stop the parser.
        """
        self._size.in_head = False
        hosts = [name for name, _ in self.headers].count(b"host")
        # Proxies and caches in between may take another of several, or none, for the host (RFC 9112, 11.2).
        if hosts > 1 or (hosts == 0 and self.parser.get_http_version() == "1.1"):
            raise BadHost
        if self._is_answering():
            self._waiting_bytes += self._size.lines
            if len(self.pipeline) >= MAX_WAITING or self._waiting_bytes > MAX_HEAD:
                raise TooMuch("pipeline")
        super().on_headers_complete()
        if self.parser.should_upgrade() and not self._should_upgrade():
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Count a part of a body; raise `TooMuch` if much of it comes after the answer."""
        self._size.add_body(len(body), drained=self.cycle is not None and self.cycle.response_complete)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop the clock: a request is complete. The next one begins with a new head."""
        self._size.begin()
        self._arriving = False
        self._stop_clock()
        if self._gate is not None and self._is_answering():
            self._gate.busy(self)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Start the clock for a client that must still read the last response; read on when no request waits."""
        super().on_response_complete()
        if self._current_cycle is None:
            return  # The connection was lost.
        if self.transport.is_closing():
            self._start_clock()
        if self.pipeline:
            self.flow.pause_reading()
            return
        self._waiting_bytes = 0
        if self._gate is not None:
            self._limits.unfinished.release(self)
            if not self._is_answering():
                self._gate.idle(self, self.address)

    def pause_writing(self) -> None:
        """Start the clock: the client must read on in time."""
        if self._parses:
            super().pause_writing()
        self._start_clock()

    def resume_writing(self) -> None:
        """Stop the clock, unless a request is arriving."""
        if self._parses:
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
        self._forget()
        if self._is_answering() or self.pipeline or not self.url.isascii() or self.scope["http_version"] != "1.1":
            self._refuse(b"400 Bad Request", BAD_REQUEST)
            return
        self._upgrade(self.parser.get_method())

    def _upgrade_at_once(self, data: bytes) -> bool:
        """Hand the connection over if its first bytes are a usual handshake; else begin to parse, and return False."""
        usual = read_usual(data)
        if usual is None:
            self._begin_parsing()
            return False
        url, headers = usual
        self._upgraded = True
        self._stop_clock()
        self._forget()
        self.url, self.headers = url, headers
        parts = {
            "scheme": self.scheme,
            "root_path": self.root_path,
            "headers": headers,
            "server": self.server,
            "client": self.client,
            "state": self.app_state.copy(),
        }
        self.scope = cast(HTTPScope, parts)
        self._upgrade(b"GET")
        return True

    def _upgrade(self, method: bytes) -> None:
        try:
            key = read_key(method, self.headers)
        except BadHandshake as error:
            self._write_last(error.answer)
            return
        self._limits.throttle.add(partial(self._begin_websocket, key, time.monotonic()))

    def _begin_websocket(self, key: bytes, arrived: float) -> None:
        if self.transport.is_closing():
            return
        self.connections.discard(self)
        # The parser refers to this object, so both would stay in memory until the garbage collector runs. At the end of
        # a connection over HTTP, uvicorn does the same.
        self.parser = None  # type: ignore[assignment]
        call = AsgiWebSocket(self.transport, self._limits, cast(Scope, self.scope), self.url, key, arrived)
        self.transport.set_protocol(cast(asyncio.Protocol, call.protocol))
        self._forget_request()
        task = self.loop.create_task(call.run(self.app))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _hold(self) -> HeldProtocol | None:
        """Hand the response to the current request over; None if it has begun, or if anything follows the request."""
        cycle = self._current_cycle
        if cycle is None or cycle is not self.cycle or cycle.response_started or cycle.more_body:
            return None
        if self._arriving or self._refused or self._upgraded or self.transport.is_closing():
            return None
        if self.scope["method"] == "HEAD":
            return None
        self._stop_clock()
        self._limits.unfinished.release(self)
        held = HeldProtocol(
            self.transport,
            self._listener,
            Ends(self.server, self.client, self.scheme, self.address),  # type: ignore[arg-type]
            _serve_next,
            keep_alive=cycle.keep_alive,
            chunks=self.scope["http_version"] != "1.0",
            write_paused=self.flow.write_paused,
        )
        self.connections.discard(self)
        if self._gate is not None:
            self._gate.hand_over(self, held)
        self.flow.resume_reading()
        self.transport.set_protocol(held)
        # uvicorn expects nothing more of an application whose client is gone.
        cycle.disconnected = True
        cycle.message_event.set()
        self.parser = None  # type: ignore[assignment]
        self._forget_request()
        return held

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
            self._body_mark, self._unsent = self._size.body, self.transport.get_write_buffer_size()
            self._deadline = self._listener.timeouts.add(self._time_out)

    def _time_out(self) -> None:
        taken = self._unsent - self.transport.get_write_buffer_size()
        if max(self._size.body - self._body_mark, taken) >= PROGRESS:
            self._deadline = None
            self._start_clock()
            return
        self._listener.on_timeout()
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
        self._write_last(refusal(status, text))

    def _write_last(self, answer: bytes) -> None:
        self._refused = True
        if self.transport.is_closing():
            return
        self.transport.write(answer)
        half_close(self.transport)
        self._stop_clock()
        self._deadline = self._limits.closing.add(self.transport.abort)


def _serve_next(held: HeldProtocol, arrived: bytes) -> None:
    HttpProtocol(held.listener).take_back(held, arrived)


def _address(transport: asyncio.Transport, end: str) -> tuple[str, int] | None:
    """Return host and port of one end of a connection; None on a unix socket, which has neither."""
    address = transport.get_extra_info(end)
    if not isinstance(address, tuple):
        return None
    # A socket for both families gives an IPv4 address in this form.
    return str(address[0]).removeprefix("::ffff:"), int(address[1])
