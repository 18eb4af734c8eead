"""A connection whose response is held: an event stream, or a poll that waits.

While an ASGI call waits, the whole way to the application stays in memory: each middleware, the request with all its
headers, its parser and a task. A client that listens for hours would keep 20 KB. So the application takes the response
over (`HOLD_EXTENSION` in the scope) and returns, as it does with a WebSocket. When the response is complete, the
connection gets a new `HttpProtocol` for its next request.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, MutableMapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from relay.rooms.connection import CLOSE_TIMEOUT, Transfer
from relay.wire.handshake import response
from relay.wire.listener import KEPT_UNCOUNTED, PROGRESS, HttpListener
from relay.wire.transfer import transfer_of

_FORBIDDEN: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
"""Bytes that no header of a response may have; uvicorn refuses the same ones."""

_BODYLESS: Final = frozenset({204, 304})
"""Statuses of responses that have no body, and so no framing."""


class Ends(NamedTuple):
    """The ends of a connection, as the scopes of its requests name them; `address` is the client's counted name."""

    server: tuple[str, int] | None
    client: tuple[str, int] | None
    scheme: str
    address: str


class HeldProtocol(asyncio.Protocol):
    """The protocol of one connection while its response is held; implements `HeldResponse`.

    `serve_next` is called with this object and the bytes that have arrived meanwhile, once the response is complete and
    the connection stays open for another request. `dropped` is set when the client has ended the connection before.
    Without `chunks`, the end of the connection is the end of a response without a length: HTTP/1.0 has no chunks.
    """

    __slots__ = (
        "_arrived",
        "_callback",
        "_chunked",
        "_complete",
        "_deadline",
        "_keep_alive",
        "_serve_next",
        "_transfer",
        "_transfer_counts",
        "_unsent",
        "_writable",
        "dropped",
        "ends",
        "listener",
        "read_paused",
        "transport",
        "write_paused",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        listener: HttpListener,
        ends: Ends,
        serve_next: "Callable[[HeldProtocol, bytes], None]",
        *,
        keep_alive: bool,
        chunks: bool,
        write_paused: bool,
    ) -> None:
        self.transport = transport
        self.listener = listener
        self.ends = ends
        self.dropped = False
        self.read_paused = False
        self.write_paused = False
        self._serve_next = serve_next
        self._keep_alive = keep_alive
        self._chunked = chunks
        self._complete = False
        self._arrived = b""
        self._callback: Callable[[], object] | None = None
        self._writable: asyncio.Event | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._unsent = 0
        self._transfer: Transfer | None = None
        self._transfer_counts = False
        listener.limits.connections.add(self)
        if write_paused:
            self.pause_writing()

    # HeldResponse.

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Write the head or a part of the body once the client has taken enough of the bytes before it."""
        if self.write_paused and not self.dropped:
            self._writable = asyncio.Event()
            await self._writable.wait()
        if self.dropped:
            return
        if message["type"] == "http.response.start":
            self._start(message["status"], message.get("headers", ()))
        else:
            self._write(message.get("body", b""), last=not message.get("more_body", False))

    def when_dropped(self, callback: Callable[[], object] | None) -> None:
        """Call back once the client ends the connection, or at once if it has; a later call replaces this one."""
        self._callback = callback
        if self.dropped:
            self._call_back()

    def transfer(self) -> Transfer | None:
        """Ask the system; after the end of the connection, return its last answer."""
        self._transfer_counts = True
        return self._transfer or transfer_of(self.transport)

    def abort(self) -> None:
        """End the connection at once, unless the response is complete."""
        if not self._complete:
            self.transport.abort()

    # The response.

    def _start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        lines = [*self.listener.server_state.default_headers, *headers]
        if _FORBIDDEN.search(b"".join([value for _, value in lines])):
            raise RuntimeError("a header of a response has a control character")
        if status in _BODYLESS or any([name == b"content-length" for name, _ in lines]):
            self._chunked = False
        if self._chunked:
            lines.append((b"transfer-encoding", b"chunked"))
        if not self._keep_alive:
            lines.append((b"connection", b"close"))
        self.transport.write(response(b"%d %b" % (status, HTTPStatus(status).phrase.encode("ascii")), lines))

    def _write(self, body: bytes, *, last: bool) -> None:
        if self._chunked:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            body = chunk + b"0\r\n\r\n" if last else chunk
        if body:
            self.transport.write(body)
        if last:
            self._end()

    def _end(self) -> None:
        """Close the connection, or serve its next request."""
        self._complete = True
        self._callback = None
        self.listener.limits.unfinished.release(self)
        arrived, self._arrived = self._arrived, b""
        if self.transport.is_closing():
            return
        if self._keep_alive:
            self._stop_clock()
            self._serve_next(self, arrived)
        else:
            # The client must take the rest in time.
            self.transport.close()
            self._start_clock()

    # Callbacks of the transport.

    def data_received(self, data: bytes) -> None:
        """Keep the bytes of a client that does not wait for the response; read no more if there are many."""
        if self._complete:
            return
        self._arrived += data
        if len(self._arrived) <= KEPT_UNCOUNTED:
            return
        self.read_paused = True
        self.transport.pause_reading()
        if self.listener.gate is not None:
            self.listener.limits.unfinished.keep(self, len(self._arrived))

    def pause_writing(self) -> None:
        """Start the clock: the client must read on in time."""
        self.write_paused = True
        self._start_clock()

    def resume_writing(self) -> None:
        """Stop the clock, and write on."""
        self.write_paused = False
        self._stop_clock()
        self._release_writer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count the connection no more, and call back if the response is not complete."""
        if self._transfer_counts:
            self._transfer = transfer_of(self.transport, ended=True)
        self._stop_clock()
        self._arrived = b""
        self.listener.limits.connections.discard(self)
        if self.listener.gate is not None:
            self.listener.limits.unfinished.release(self)
            self.listener.gate.held_ended(self)
        self.dropped = not self._complete
        self._release_writer()
        if self.dropped:
            self._call_back()

    def shutdown(self) -> None:
        """Close after the response, and abort a response of more than a second: uvicorn calls this when it stops.

        The relay has drained its clients by then. So a client that is left is one whose session does not end, and the
        session must notice the end of the connection while the worker still runs.
        """
        self._keep_alive = False
        asyncio.get_running_loop().call_later(CLOSE_TIMEOUT, self.abort)

    # The bytes that wait here.

    @property
    def address(self) -> str:
        """The name under which the client's address is counted."""
        return self.ends.address

    @property
    def arriving(self) -> bool:
        """False: the relay does not wait for the rest of another request."""
        return False

    def hold_back(self, *, paused: bool) -> None:
        """Do nothing: a connection whose bytes are counted is not read anyway."""

    def give_up(self) -> None:
        """Close a connection that keeps too many bytes."""
        self.listener.limits.notices.note("unfinished_closed", self.address)
        self.listener.limits.unfinished.release(self)
        self.transport.abort()

    # Internal.

    def _start_clock(self) -> None:
        if self._deadline is None:
            self._unsent = self.transport.get_write_buffer_size()
            loop = asyncio.get_running_loop()
            self._deadline = loop.call_later(self.listener.request_timeout, self._time_out)

    def _time_out(self) -> None:
        self._deadline = None
        if self._unsent - self.transport.get_write_buffer_size() >= PROGRESS:
            self._start_clock()
            return
        self.listener.on_timeout()
        self.transport.abort()

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _release_writer(self) -> None:
        if self._writable is not None:
            self._writable.set()
            self._writable = None

    def _call_back(self) -> None:
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()
