"""A WebSocket connection after its handshake (RFC 6455): frames in, frames out, pings, and the closing handshake.

Nearly every frame that a client sends is a text message in one frame, and nearly every one of them arrives whole. Those
are read here, in a few lines of Python and one call in C that removes the mask. Everything else (fragments, control
frames, binary messages, violations) goes to the parser of the `websockets` library. That parser is made when such a
frame begins and dropped when nothing is begun any more. So an idle connection has no parser, no queue and no task: it
costs little more than its transport.

A client that sends a lot must not delay the others. Each connection reads a limited number of frames in one turn of the
event loop. The rest stays in `_unread`, the transport stops reading, and the next turn continues.

Either side may begin the closing handshake: it sends a close frame, the other side answers with one, and the server
closes TCP. Where the client broke the protocol, the relay does not wait for its answer: it sends its close frame and
half-closes the stream, so that the client can still read why.
"""

import asyncio
import logging
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from websockets.frames import Frame as WireFrame
from websockets.frames import Opcode
from websockets.protocol import State

from relay.model.codec import Frame
from relay.model.errors import INTERNAL, NOT_UTF8, PONG_TIMEOUT, UNFINISHED
from relay.rooms.connection import CLOSE_TIMEOUT, Receiver, Transfer
from relay.rooms.keepalive import Keepalive, close_unless_busy
from relay.rooms.throttle import Throttle
from relay.wire.parser import CLOSE_NAMES, FrameParser
from relay.wire.transfer import is_open, transfer_of
from relay.wire.unfinished import UnfinishedMessages

try:
    from websockets.speedups import apply_mask
except ImportError:  # a build of the library without its C extension
    from websockets.utils import apply_mask

log = logging.getLogger("relay.wire")

_PING: Final = b"\x89\x04ping"
_FIN_TEXT: Final = 0x81
"""The first byte of a text message in one frame: FIN, no reserved bits, opcode 1 (RFC 6455, 5.2)."""

_FRAMES_PER_TURN: Final = 64
"""Frames that one connection reads before the others get their turn."""

_BYTES_PER_CALL: Final = 2048
"""Bytes that the library gets in one call. It reads all the frames in them, and this bounds how many there are."""


@dataclass(frozen=True, slots=True)
class WireLimits:
    """The common state of all WebSocket connections of a server; sizes are in bytes.

    `max_size` bounds a message. Beyond `high_water` bytes that the client has not taken, writing counts as paused.
    `throttle` spreads handshakes over turns of the event loop. `connections` holds every open connection. `unfinished`
    bounds the bytes of messages that have begun to arrive.
    """

    max_size: int
    high_water: int
    keepalive: Keepalive
    throttle: Throttle
    connections: set[Any]
    unfinished: UnfinishedMessages = field(default_factory=UnfinishedMessages)


class WebSocketProtocol(asyncio.Protocol):
    """The protocol of one connection; implements `connection.Wire` and `keepalive.Pinged`.

    `_reading` is False while the receiver has paused it, and `_held_back` True while the worker is short of room for
    messages that are not complete. `_lost` is set when TCP has ended: frames may still be unread then; `_dropped` also,
    if there was no close frame. `_closing` is set once a close frame was sent or the connection was aborted.
    `_reported` is set once the receiver knows that the connection has ended.
    """

    __slots__ = (
        "_abort_timer",
        "_closing",
        "_dropped",
        "_held_back",
        "_late_pong",
        "_limits",
        "_lost",
        "_next_turn",
        "_parser",
        "_reading",
        "_received",
        "_receiver",
        "_reported",
        "_transport",
        "_unread",
        "_writable",
        "keepalive_slot",
        "write_paused",
    )  # fmt: skip

    def __init__(self, transport: asyncio.Transport, limits: WireLimits, receiver: Receiver) -> None:
        self._transport = transport
        self._limits = limits
        self._receiver: Receiver | None = receiver
        self._parser: FrameParser | None = None
        self._abort_timer: asyncio.TimerHandle | None = None
        self._writable: asyncio.Event | None = None
        self._next_turn: asyncio.Handle | None = None
        self._unread = b""
        self._late_pong = b""
        self._lost = False
        self._received = True
        self._reading = True
        self._held_back = False
        self._closing = False
        self._dropped = False
        self._reported = False
        self.write_paused = False
        self.keepalive_slot = 0
        limits.connections.add(self)

    def opened(self) -> None:
        """Start the keepalive: the handshake is complete."""
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
        self._transport.write(data)
        return self._transport.get_write_buffer_size() if self.write_paused else 0

    def close(self, code: int, reason: str) -> None:
        """Send a close frame, and abort the connection if the client does not answer within `CLOSE_TIMEOUT`."""
        if self._closing:
            return
        parser = self._get_parser()
        if parser.state is State.OPEN:
            parser.send_close(code, reason)
            self._flush(parser)
        self._closing = True
        # The client's close frame must be read, even if its messages were not.
        self.pause_reading(paused=False)
        self._abort_later()

    def abort(self) -> None:
        """Close TCP at once, without a close frame."""
        self._closing = True
        self._transport.abort()

    def pause_reading(self, *, paused: bool) -> None:
        """Stop reading, or read on."""
        if self._reading is paused and not self._transport.is_closing():
            self._reading = not paused
            self._update_reading()

    def transfer(self) -> Transfer | None:
        """Return how much was written to TCP, and how much of it has arrived."""
        return None if self._closing or self._lost else transfer_of(self._transport)

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
        return self._received or not self._reading or self._held_back or self._closing or self._lost

    def _time_out(self) -> None:
        parser = self._get_parser()
        parser.fail(PONG_TIMEOUT.code)
        self._fail(parser)

    # Unfinished messages.

    def hold_back(self, *, paused: bool) -> None:
        """Stop reading while the worker is short of room, or read on."""
        self._held_back = paused
        self._update_reading()

    def give_up(self) -> None:
        """Close a connection whose message takes too long."""
        parser = self._get_parser()
        parser.fail(UNFINISHED.code)
        self._fail(parser)

    # Callbacks of the transport.

    def data_received(self, data: bytes) -> None:
        """Read frames, as many as one turn allows; the rest follows in later turns."""
        self._received = True
        # TLS transports deliver bytes that they have decrypted already, even after `pause_reading`.
        before = self._unread
        self._unread = self._read(before + data if before else data)
        if self._unread or before:
            self._update_reading()

    def pause_writing(self) -> None:
        """Note that the client takes less than it is sent."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """Note that the client has caught up; answer the last ping that came meanwhile."""
        self.write_paused = False
        pong, self._late_pong = self._late_pong, b""
        if pong and not self._transport.is_closing():
            self._transport.write(pong)
        if self._writable is not None:
            self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Read the frames that arrived before the end, then report the end (1006 without a close frame)."""
        self._lost, self._dropped = True, not self._closing
        self._limits.keepalive.remove(self)
        self._limits.connections.discard(self)
        if self._unread and not self._closing:
            self._update_reading()
        else:
            self._end()

    # Reading.

    def _update_reading(self) -> None:
        """Schedule the next turn if bytes are unread, and let the transport read only if none are."""
        if self._unread and (self._reading or self._lost) and self._next_turn is None:
            self._next_turn = asyncio.get_running_loop().call_soon(self._continue_reading)
        if self._transport.is_closing():
            return
        if self._reading and not self._unread and not self._held_back:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _continue_reading(self) -> None:
        self._next_turn = None
        if self._reading or self._lost:
            self._unread = self._read(self._unread)
        if self._lost and (self._closing or not self._unread):
            self._end()
        else:
            self._update_reading()

    def _read(self, data: bytes) -> bytes:
        """Read frames for one turn; return the bytes that are left, none after the end was reported."""
        at, left = 0, _FRAMES_PER_TURN
        # After the relay's close frame the loop goes on, to find the client's close frame; messages are dropped then.
        while left > 0 and at < len(data) and not (self._closing and self._reported):
            start = at
            # A parser in the middle of a frame or a message must get the bytes first.
            if self._parser is None and not self._closing:
                at, left = self._read_single_frame_texts(data, at, left)
            if at == start:
                left -= self._read_frames(data[at : at + _BYTES_PER_CALL])
                at += _BYTES_PER_CALL
        return b"" if self._closing and self._reported else data[at:]

    def _read_single_frame_texts(self, data: bytes, at: int, left: int) -> tuple[int, int]:
        """Read text messages in one frame each, `left` at most.

        Returns where the first other or incomplete frame begins, and how many more frames this turn allows.
        """
        # A frame is: FIN and opcode, mask bit and length, [2 more bytes of length], 4 bytes of mask, payload. A client
        # masks every frame (5.3); the length's byte is then 0x80 and more. 126 announces two bytes of length; 127 would
        # announce eight, and such a long message goes to the library.
        length = len(data)
        while left and length - at >= 6 and data[at] == _FIN_TEXT:
            size, start = data[at + 1] - 0x80, at + 6
            if size == 126 and length - at >= 8:
                size, start = data[at + 2] << 8 | data[at + 3], at + 8
            elif not 0 <= size < 126:
                break
            end = start + size
            # An incomplete frame goes to the library's parser, which keeps its beginning. A frame that is too large
            # does as well: the library fails the connection with 1009.
            if end > length or size > self._limits.max_size:
                break
            at, left = end, left - 1
            self._deliver_text(apply_mask(data[start:end], data[start - 4 : start]))
            if self._closing:
                break
        return at, left

    def _read_frames(self, data: bytes) -> int:
        """Read any frames with the library's parser; return how many there were."""
        parser = self._get_parser()
        parser.receive_data(data)
        frames = parser.events_received()
        for frame in frames:
            assert isinstance(frame, WireFrame)  # noqa: S101  # other events belong to the handshake, which is over
            match frame.opcode:
                case Opcode.CLOSE:
                    self._received_close(parser)
                case Opcode.PING if self.write_paused:
                    # The pongs of a client that reads nothing would pile up. It gets one when it reads again, for the
                    # latest ping (RFC 6455, 5.5.3, allows that).
                    self._late_pong = b"".join(parser.writes[:1])
                    del parser.writes[:1]
                case Opcode.PING:
                    self._flush(parser, frames=1)
                case Opcode.TEXT | Opcode.BINARY | Opcode.CONT if not self._closing:
                    self._add_fragment(parser, frame.opcode, bytes(frame.data), fin=frame.fin)
        if parser.parser_exc is not None:
            if not self._reported:
                self._fail(parser)
        elif parser.idle and self._parser is parser:
            self._parser = None
            self._limits.unfinished.release(self)
        elif not self._closing:
            self._limits.unfinished.add(self, len(data))
        return len(frames)

    def _add_fragment(self, parser: FrameParser, opcode: Opcode, data: bytes, *, fin: bool) -> None:
        if opcode is not Opcode.CONT:
            parser.is_text = opcode is Opcode.TEXT
        if data:
            parser.fragments.append(data)
        if fin:
            message, parser.fragments = b"".join(parser.fragments), []
            self._limits.unfinished.release(self)
            if parser.is_text:
                self._deliver_text(message)
            else:
                self._deliver(Frame(message, is_text=False))

    def _deliver_text(self, data: bytes) -> None:
        # Decoded only to check it (RFC 6455, 8.1); the session works on the bytes.
        try:
            data.decode()
        except UnicodeDecodeError:
            parser = self._get_parser()
            parser.fail(NOT_UTF8.code)
            self._fail(parser)
        else:
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

    def _get_parser(self) -> FrameParser:
        if self._parser is None:
            self._parser = FrameParser(self._limits.max_size)
        return self._parser

    def _flush(self, parser: FrameParser, *, frames: int | None = None) -> None:
        """Write the parser's answers: all, or only the first frames, so that each answer keeps its order."""
        out = b"".join(parser.writes[:frames])
        del parser.writes[:frames]
        if out and not self._transport.is_closing():
            self._transport.write(out)

    def _received_close(self, parser: FrameParser) -> None:
        """Report the end; then answer the close frame, if it is the first of both, and close TCP.

        The answer waits for the receiver, so that a client whose close was answered has left its rooms.
        """
        self._closing, self._dropped = True, False
        ended = self._report_end(parser.close_rcvd.code if parser.close_rcvd else 1005, None)
        if ended is None or ended.done():
            self._finish_close(parser)
            return
        finish = partial(self._finish_close, parser)
        ended.add_done_callback(lambda _: finish())
        asyncio.get_running_loop().call_later(CLOSE_TIMEOUT, finish)

    def _finish_close(self, parser: FrameParser) -> None:
        """Close TCP: both close frames have been sent."""
        if not self._transport.is_closing():
            self._flush(parser)
            self._transport.close()
            self._abort_later()

    def _fail(self, parser: FrameParser) -> None:
        """Send the parser's close frame for a violation, and give the client a moment to read it."""
        sent = parser.close_sent
        code = sent.code if sent else 1006  # 1006: there was no close frame to send
        self._flush(parser)
        half_close(self._transport)
        # Reading goes on until the client closes or the timer fires; the bytes are dropped.
        self._closing = True
        self._limits.unfinished.release(self)
        self._report_end(code, CLOSE_NAMES.get(code, "protocol_error"))
        self.pause_reading(paused=False)
        self._abort_later()

    def _end(self) -> None:
        """Report the end and drop all references: TCP has ended, and all frames were read."""
        self._closing = True
        self._limits.unfinished.release(self)
        if self._abort_timer is not None:
            self._abort_timer.cancel()
        self._unread = b""
        self._report_end(1006, None)
        if self._writable is not None:
            self._writable.set()
        self._parser = self._receiver = None

    def _report_end(self, code: int, relay_closed: str | None) -> "asyncio.Future[None] | None":
        """Report the end, once; returns what `Receiver.disconnected` returns."""
        if self._reported or self._receiver is None:
            return None
        self._reported = True
        try:
            return self._receiver.disconnected(code, relay_closed)
        except Exception:
            log.exception("a session failed while it ended, which is a bug; its member may stay in its room")
            return None

    def _abort_later(self) -> None:
        if self._abort_timer is None:
            self._abort_timer = asyncio.get_running_loop().call_later(CLOSE_TIMEOUT, self._transport.abort)


def half_close(transport: asyncio.Transport) -> None:
    """Send everything and then FIN, but go on receiving, where the transport can do that (TLS cannot).

    `close` would be wrong here: if the client has sent bytes that the relay has not read, the kernel sends RST, and
    the client's kernel may drop bytes that it has received and the client has not read yet.
    """
    if not transport.is_closing() and transport.can_write_eof():
        transport.write_eof()
