"""A WebSocket connection after its handshake (RFC 6455): frames in, frames out, pings, and the closing handshake.

Receiving is the work of `relay.wire.reading`. An idle connection has no parser, no queue and no task: it costs little
more than its transport.

Either side may begin the closing handshake: it sends a close frame, the other side answers with one, and the server
closes TCP (`relay.wire.closing`).
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from relay.model.codec import Frame
from relay.model.errors import INTERNAL, NOT_UTF8, PONG_TIMEOUT
from relay.rooms.connection import Receiver, Transfer
from relay.rooms.keepalive import close_unless_busy
from relay.wire.closing import ClosingHandshake, Goodbye
from relay.wire.limits import WireLimits
from relay.wire.parser import CLOSE_NAMES, FrameParser
from relay.wire.reading import FrameReading
from relay.wire.transfer import is_open, transfer_of

log = logging.getLogger("relay.wire")

_PING: Final = b"\x89\x04ping"


class WebSocketProtocol(FrameReading):
    """The protocol of one connection; implements `connection.Wire` and `keepalive.Pinged`.

    `_dropped` is set when TCP has ended without a close frame of either side.
    """

    __slots__ = ("_drained", "_dropped", "_ending", "_receiver", "_writable", "keepalive_slot")

    def __init__(self, transport: asyncio.Transport, limits: WireLimits, receiver: Receiver) -> None:
        super().__init__(transport, limits)
        self._receiver: Receiver | None = receiver
        self._ending: ClosingHandshake | None = None
        self._writable: asyncio.Event | None = None
        self._drained: Callable[[], None] | None = None
        self._dropped = False
        self.keepalive_slot = 0
        limits.connections.add(self)

    def opened(self, address: str, answer: bytes = b"", *, greets: bool = False) -> None:
        """Accept the handshake of a client of this address by this answer, and start the keepalive.

        If the application `greets`, the answer waits for its first frame, for `GREETING_TIME` at most: a write less.
        """
        if greets:
            self._answer = answer
            self._limits.greetings.add(self.send_answer)
        elif answer:
            self._transport.write(answer)
        self.address = address
        self._transport.set_write_buffer_limits(high=self._limits.high_water)
        self._limits.keepalive.add(self)

    def belongs_to(self, receiver: Receiver) -> bool:
        """Return whether messages go to this receiver, not to one that was attached later."""
        return self._receiver is receiver

    # Wire.

    @property
    def lost(self) -> bool:
        """Whether TCP has ended, or is ending, without a close frame of either side."""
        return self._dropped or not (self._closing or self._lost or is_open(self._transport))

    def attach(self, receiver: Receiver, *, keepalive: bool = True) -> None:
        """Deliver messages and the end to `receiver` from now on; without `keepalive`, stop pinging."""
        self._receiver = receiver
        if not keepalive:
            self._limits.keepalive.remove(self)

    def write(self, data: bytes) -> int:
        """Write to the transport; return the bytes it has buffered, or 0 below the high-water mark."""
        if self._closing or self._lost:
            return 0
        if self._answer:
            self._answer, data = b"", self._answer + data
        self._transport.write(data)
        return self._transport.get_write_buffer_size() if self.write_paused else 0

    def close(self, code: int, reason: str) -> None:
        """Send a close frame, and abort the connection if the client does not answer within `CLOSE_TIMEOUT`."""
        if self._closing:
            return
        self.send_answer()
        self._get_ending().begin(self._get_parser(), code, reason)
        self._closing = True
        # The client's close frame must be read, even if its messages were not.
        self.pause_reading(paused=False)

    def abort(self) -> None:
        """Close TCP at once, without a close frame."""
        self._closing = True
        self._transport.abort()

    def transfer(self) -> Transfer | None:
        """Return how much was written to TCP, and how much of it has arrived."""
        if self._closing and not self._dropped and self._ending is not None:
            # A client's close frame is reported before the answer: until then, the system knows how much has arrived.
            return None
        return transfer_of(self._transport, ended=self._lost)

    def when_drained(self, callback: Callable[[], None]) -> None:
        """Call back once the client has caught up, or the connection has ended; a later call replaces this one."""
        self._drained = callback

    async def drain(self) -> None:
        """Wait until the client has taken enough of the written bytes, or the connection has ended."""
        if self.write_paused and not self._reported:
            self._writable = self._writable or asyncio.Event()
            self._writable.clear()
            await self._writable.wait()

    def shutdown(self) -> None:
        """Abort: uvicorn calls this at shutdown, after the relay has drained its clients."""
        self.abort()

    # Keepalive.

    @property
    def watched(self) -> bool:
        """Whether a room of the client is watched."""
        return self._receiver is not None and self._receiver.watched

    def ping(self) -> None:
        """Send a ping frame, unless the connection is closing."""
        self._received = False
        if not self._closing:
            self._transport.write(_PING)

    def check(self) -> None:
        """Close with 4001 if nothing was received since the ping."""
        if not self._is_alive():
            close_unless_busy(self.transfer, self._is_alive, self._time_out)

    def _is_alive(self) -> bool:
        # While reading is paused, a pong may wait unread: that is not the client's fault.
        return self._received or bool(self._paused) or self._closing or self._lost

    def _time_out(self) -> None:
        parser = self._get_parser()
        parser.fail(PONG_TIMEOUT.code)
        self._fail(parser)

    # Callbacks of the transport.

    def pause_writing(self) -> None:
        """Note that the client takes less than it is sent."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """Note that the client has caught up; answer the last ping that came meanwhile."""
        self.write_paused = False
        pong, self._late_pong = self._late_pong, b""
        if pong and not self._transport.is_closing():
            self._transport.write(pong)
        self._release_writers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Read the frames that arrived before the end, then report the end (1006 without a close frame)."""
        self._lost, self._dropped = True, not self._closing
        self._limits.keepalive.remove(self)
        self._limits.connections.discard(self)
        if self._closing:
            self._end()
        else:
            # Thousands of connections may be lost in one turn, in which all other clients wait.
            self._limits.throttle.call(self._finish)

    def _finish(self) -> None:
        if self._closing or not self._continue_to_end():
            self._end()

    def _deliver_text(self, data: bytes) -> None:
        # Decoded only to check it (RFC 6455, 8.1); the session works on the bytes. Most messages are ASCII.
        if not data.isascii():
            try:
                data.decode()
            except UnicodeDecodeError:
                parser = self._get_parser()
                parser.fail(NOT_UTF8.code)
                self._fail(parser)
                return
        self._deliver(Frame(data))

    def _deliver(self, frame: Frame) -> None:
        if self._receiver is None or self._reported:
            return
        try:
            self._receiver.received(frame)
        except Exception:
            log.exception("a session failed on a message, which is a bug; its connection is closed with 1011")
            self.close(INTERNAL.code, INTERNAL.name)

    # Ending.

    def _get_ending(self) -> ClosingHandshake:
        if self._ending is None:
            self._ending = ClosingHandshake(self._transport, self._limits.closing)
        return self._ending

    def _received_close(self, parser: FrameParser) -> None:
        """Report the end; then answer the close frame and close TCP."""
        self._closing, self._dropped = True, False
        left = self._report_end(parser.close_rcvd.code if parser.close_rcvd else 1005, None)
        self._get_ending().answer(parser, left)

    def _received_goodbye(self, code: bytes) -> None:
        """Report the end, and answer, as `_received_close` does."""
        self._closing, self._dropped = True, False
        left = self._report_end(int.from_bytes(code, "big") if code else 1005, None)
        self._get_ending().answer(Goodbye(code), left)

    def _fail(self, parser: FrameParser) -> None:
        """Send the parser's close frame for a violation, and give the client a moment to read it."""
        code = self._get_ending().fail(parser)
        # Reading goes on until the client closes or the timer fires; the bytes are dropped.
        self._closing = True
        self._limits.unfinished.release(self)
        self._report_end(code, CLOSE_NAMES.get(code, "protocol_error"))
        self.pause_reading(paused=False)

    def _end(self) -> None:
        """Report the end and drop all references: TCP has ended, and all frames were read."""
        self._closing = True
        self._limits.unfinished.release(self)
        if self._ending is not None:
            self._ending.cancel()
        self._unread = b""
        self._report_end(1006, None)
        self._release_writers()
        self._parser = self._receiver = None

    def _release_writers(self) -> None:
        """Let those go on that wait for the client."""
        if self._writable is not None:
            self._writable.set()
        drained, self._drained = self._drained, None
        if drained is not None:
            drained()

    def _report_end(self, code: int, relay_closed: str | None) -> "asyncio.Future[None] | None":
        """Report the end, once; returns the result of `Receiver.disconnected`."""
        if self._reported or self._receiver is None:
            return None
        self._reported = True
        try:
            return self._receiver.disconnected(code, relay_closed)
        except Exception:
            log.exception("a session failed while it ended, which is a bug; its member may stay in its room")
            return None
