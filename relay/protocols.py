"""What stands between a socket and the application: uvicorn's two protocol classes, made strict.

Strict means: everything a client begins has to end in time, every answer can be read before the connection closes, and
a client that is lost is not mistaken for one that left.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypedDict, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import Frame
from websockets.http11 import Request

from relay.connection import CLOSED_EXTENSION, TRANSPORT_EXTENSION
from relay.errors import CLOSE_REASONS, PONG_TIMEOUT
from relay.worker import Worker

_NAMES: Final = {reason.code: reason.name for reason in CLOSE_REASONS}

MAX_HEAD: Final = 65_536
"""Bytes a request may have before its body."""

CLOSE_TIMEOUT: Final = 1.0
"""Seconds for which a closing connection may still take what was written, and say its last word."""

_BAD_REQUEST = "this is not an HTTP/1.1 request"
_TOO_LARGE_HEAD = f"the head of a request may have {MAX_HEAD} bytes"


class Transport(TypedDict):
    """What an endpoint may do to its connection beyond ASGI."""

    abort: Callable[[], None]
    """Drop the connection at once, whatever is still to be written: for readers that do not read."""


class HttpProtocol(HttpToolsProtocol):
    """HTTP/1.1 with a limit on a request's head, and on the time a request takes to arrive.

    `request_timeout` is in seconds and begins when the connection is made, or with the first byte of a later request.
    """

    request_timeout = 10.0

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.access_log = False
        self._deadline: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._in_head = True
        self._arriving = False
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock."""
        super().connection_made(transport)
        self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, within the limits; what follows a refused request is not read."""
        if self._refused:
            return
        self._unset_keepalive_if_required()
        if self._in_head:
            self._head_bytes += len(data)
            self._start_clock()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
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
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """See `httptools`: the head is there."""
        self._in_head = False
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
        self._stop_clock()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing came after the last response."""
        super().timeout_keep_alive_handler()
        self._start_clock()

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over, unless the request cannot be written again as it came."""
        self._stop_clock()
        if self.url.isascii() and self.scope["http_version"] == "1.1":
            super().handle_websocket_upgrade()
        else:
            self._refuse(b"400 Bad Request", _BAD_REQUEST)

    def _start_clock(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.request_timeout, self._give_up)

    def _give_up(self) -> None:
        worker: Worker | None = self.app_state.get("worker")
        if worker is not None:
            worker.metrics.closed.labels("request_timeout").inc()
        self.transport.abort()

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, status: bytes, text: str) -> None:
        self._refused = True
        self._stop_clock()
        if self.cycle and not self.cycle.response_complete:
            # An earlier request of the same connection is still being answered: nobody will hear it.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.transport.is_closing():
            return
        body = text.encode("ascii")
        fields = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close" % len(body)
        self.transport.write(b"HTTP/1.1 %s\r\n%s\r\n\r\n%s" % (status, fields, body))
        _say_no_more(self.transport)
        self._deadline = self.loop.call_later(CLOSE_TIMEOUT, self.transport.abort)


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """WebSockets that tell a lost client from one that left, and never wait for a client that does not read."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.close_timeout = CLOSE_TIMEOUT
        self._deaf = False
        self._lost = False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the application 1006, which it hears first unless a close was read before."""
        self._lost = True
        self.queue.put_nowait({"type": "websocket.disconnect", "code": 1006})
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse; what follows a violation of the protocol is not read."""
        if self._deaf:
            return
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            self._refuse_handshake()

    def handle_connect(self, event: Request) -> None:
        """Begin the session, with a `Transport` among the scope's extensions."""
        super().handle_connect(event)
        scope = cast(dict[str, Any], getattr(self, "scope", {"extensions": {}}))
        scope["extensions"][TRANSPORT_EXTENSION] = Transport(abort=self.transport.abort)

    def send_receive_event_to_app(self) -> None:
        """Pass a message on; text that is not UTF-8 ends the connection, as RFC 6455 demands."""
        data = self.frames[0] if len(self.frames) == 1 else b"".join(self.frames)
        self.frames = []
        if self.close_sent:
            return
        if self.curr_msg_data_type == "text":
            try:
                self.queue.put_nowait({"type": "websocket.receive", "text": data.decode()})
            except UnicodeDecodeError:
                self.conn.fail(1007, "text is not UTF-8")
                self.handle_parser_exception()
                return
        else:
            self.queue.put_nowait({"type": "websocket.receive", "bytes": data})
        if not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    def handle_parser_exception(self) -> None:
        """Say why, and give the client a moment to read it."""
        self._deaf = True
        self._say_closed()

    def handle_close(self, event: Frame) -> None:
        """Answer the client's close."""
        super().handle_close(event)
        self._abort_later()

    def keepalive_timeout(self) -> None:
        """Close a client that answers no ping, with its own code; unless it is we who do not read."""
        if self.read_paused:
            self.pong_timer = self.loop.call_later(self.ping_timeout or 0, self.keepalive_timeout)
            return
        self.pong_timer = self.pending_ping_payload = None
        if self.close_sent or self.transport.is_closing():
            return
        self.conn.fail(PONG_TIMEOUT.code, PONG_TIMEOUT.name)
        self._say_closed()

    def shutdown(self) -> None:
        """Drop what is still there: the application has drained before, and this one did not go."""
        if self.handshake_complete and not self.close_sent:
            self.stop_keepalive()
            self.transport.abort()
        else:
            super().shutdown()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """When the application is done with it, the connection ends soon, read or not."""
        super().on_task_complete(task)
        self._abort_later()

    def _refuse_handshake(self) -> None:
        self._deaf = self.handshake_complete = self.close_sent = True
        answer = b"".join(self.conn.data_to_send())
        if not answer:
            text = b"the handshake cannot be read"
            answer = b"HTTP/1.1 400 Bad Request\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s" % (
                len(text),
                text,
            )
        self.transport.write(answer)
        _say_no_more(self.transport)
        self._abort_later()

    def _say_closed(self) -> None:
        said = self.conn.close_sent
        code, reason = (said.code, said.reason) if said else (1006, "")
        disconnect: dict[str, Any] = {"type": "websocket.disconnect", "code": code, "reason": reason}
        self.queue.put_nowait(cast(Any, disconnect | {CLOSED_EXTENSION: _NAMES.get(code, "protocol_error")}))
        self.transport.write(b"".join(self.conn.data_to_send()))
        _say_no_more(self.transport)
        # An application that has not heard of it yet is told when it sends.
        self.close_sent = self.disconnected = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self._abort_later()

    def _abort_later(self) -> None:
        if self._lost:
            return
        if self.close_timer is not None:
            self.close_timer.cancel()
        self.close_timer = self.loop.call_later(CLOSE_TIMEOUT, self.transport.abort)


def _say_no_more(transport: asyncio.Transport) -> None:
    """End our side of the stream where that can be done alone.

    Closing both would make the kernel take back what was just written, if the client has sent what nobody reads.
    """
    if transport.can_write_eof():
        transport.write_eof()
