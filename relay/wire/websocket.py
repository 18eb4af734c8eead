"""A WebSocket connection after its handshake: frames in and out, closing, and who is told.

What is common is read here, in a few lines: a text message in one frame that came whole. Everything else (fragments,
control frames, whatever breaks RFC 6455) goes to the `websockets` library, whose parser lives only while it has
something begun in hand. So an idle connection keeps no parser, no queue and no task.
"""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any, Final

from websockets.frames import Frame as WireFrame
from websockets.frames import Opcode
from websockets.protocol import Protocol as FrameProtocol
from websockets.protocol import Side, State
from websockets.streams import StreamReader

from relay.model.codec import Frame
from relay.model.errors import CLOSE_REASONS, INTERNAL, NOT_UTF8, PONG_TIMEOUT
from relay.rooms.connection import CLOSE_TIMEOUT, Receiver
from relay.rooms.keepalive import Keepalive
from relay.rooms.throttle import Throttle

try:
    from websockets.speedups import apply_mask
except ImportError:  # where the library comes without its C part
    from websockets.utils import apply_mask

log = logging.getLogger("relay.wire")
_parser_log = logging.getLogger("relay.wire.parser")
_parser_log.setLevel(logging.WARNING)  # what comes below is what clients say

_NAMES: Final = {reason.code: reason.name for reason in CLOSE_REASONS}
_BETWEEN_FRAMES: Final = StreamReader.at_eof.__code__
"""Where the library's parser waits while no frame is begun."""

_PING: Final = b"\x89\x04ping"
_WHOLE_TEXT: Final = 0x81
"""The first byte of a frame that is a text message all by itself (RFC 6455, 5.2)."""

_TURN: Final = 64
"""Frames of one connection that are read before it is the turn of others."""

_SLICE: Final = 2048
"""Bytes that are given to the library at once, which reads all the frames in them."""


@dataclass(frozen=True, slots=True)
class WireLimits:
    """What all connections of a server share; sizes in bytes. `connections` are those there are."""

    max_size: int
    congested_at: int
    keepalive: Keepalive
    pacer: Throttle
    connections: set[Any]


class _Parser(FrameProtocol):
    """The library's parser of frames, and the pieces of a message that comes in several."""

    def __init__(self, max_size: int) -> None:
        super().__init__(Side.SERVER, state=State.OPEN, max_size=max_size, logger=_parser_log)
        self.pieces: list[bytes] = []
        self.is_text = False

    def recv_frame(self, frame: WireFrame) -> None:
        """Forget an unfinished message that a close cuts off: no violation, the client left (RFC 6455, 5.4)."""
        if frame.opcode is Opcode.CLOSE:
            self.current_size = None
        super().recv_frame(frame)

    def fail(self, code: int, reason: str = "") -> None:
        """Close with the name that the code has, instead of the library's words."""
        super().fail(code, _NAMES.get(code, reason))

    @property
    def at_rest(self) -> bool:
        """Whether nothing is begun, so that a new parser would be as good."""
        waits_in = getattr(self.parser, "gi_yieldfrom", None)
        return (
            getattr(waits_in, "gi_code", None) is _BETWEEN_FRAMES
            and self.current_size is None
            and self.state is State.OPEN
        )


class WebSocketProtocol(asyncio.Protocol):
    """One client; see `connection.Wire` for what an endpoint may do with it."""

    __slots__ = (
        "_abort_timer", "_closing", "_gone", "_heard", "_limits", "_next_turn", "_parser", "_pong", "_reading",
        "_receiver", "_rest", "_told", "_transport", "_writable", "congested", "keepalive_slot",
    )  # fmt: skip

    def __init__(self, transport: asyncio.Transport, limits: WireLimits, receiver: Receiver) -> None:
        self._transport = transport
        self._limits = limits
        self._receiver: Receiver | None = receiver
        self._parser: _Parser | None = None
        self._abort_timer: asyncio.TimerHandle | None = None
        self._writable: asyncio.Event | None = None
        self._next_turn: asyncio.Handle | None = None
        self._rest = b""
        self._pong = b""
        self._gone = False
        self._heard = True
        self._reading = True
        self._closing = False
        self._told = False
        self.congested = False
        self.keepalive_slot = 0
        limits.connections.add(self)

    def opened(self) -> None:
        """The handshake is done: from now on there are frames."""
        self._transport.set_write_buffer_limits(high=self._limits.congested_at)
        self._limits.keepalive.add(self)

    def belongs_to(self, receiver: Receiver) -> bool:
        """Whether messages go to this receiver, and not to one that was attached since."""
        return self._receiver is receiver

    # Wire.

    def attach(self, receiver: Receiver, *, keepalive: bool = True) -> None:
        """See `Wire.attach`."""
        self._receiver = receiver
        if not keepalive:
            self._limits.keepalive.remove(self)

    def write(self, data: bytes) -> int:
        """See `Wire.write`."""
        if self._closing or self._gone:
            return 0
        self._transport.write(data)
        return self._transport.get_write_buffer_size() if self.congested else 0

    def close(self, code: int, reason: str) -> None:
        """See `Wire.close`."""
        if self._closing:
            return
        parser = self._borrow()
        if parser.state is State.OPEN:
            parser.send_close(code, reason)
            self._say(parser)
        self._closing = True
        self.pause_reading(paused=False)
        self._abort_later()

    def abort(self) -> None:
        """See `Wire.abort`."""
        self._closing = True
        self._transport.abort()

    def pause_reading(self, *, paused: bool) -> None:
        """See `Wire.pause_reading`."""
        if self._reading is paused and not self._transport.is_closing():
            self._reading = not paused
            self._regulate()

    async def drain(self) -> None:
        """Wait until the client has taken enough of what was written."""
        if self.congested and not self._told:
            self._writable = self._writable or asyncio.Event()
            self._writable.clear()
            await self._writable.wait()

    def shutdown(self) -> None:
        """Drop what is still there: the application has drained before, and this one did not go."""
        self.abort()

    # Keepalive.

    def ping(self) -> None:
        """See `Pinged.ping`."""
        self._heard = False
        if not self._closing:
            self._transport.write(_PING)

    def check(self) -> None:
        """See `Pinged.check`; a client whose messages we do not read is not to blame."""
        if not self._heard and self._reading and not self._closing:
            parser = self._borrow()
            parser.fail(PONG_TIMEOUT.code)
            self._failed(parser)

    # What the transport calls.

    def data_received(self, data: bytes) -> None:
        """Read what came, a part of it in each turn of the event loop, and no more before that is done."""
        self._heard = True
        before = self._rest  # some transports hand over what they had before they were told to pause
        self._rest = self._read(before + data if before else data)
        if self._rest or before:
            self._regulate()

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.congested = True

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.congested = False
        pong, self._pong = self._pong, b""
        if pong and not self._transport.is_closing():
            self._transport.write(pong)
        if self._writable is not None:
            self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Read what is left, which the client has sent, and tell the receiver 1006, unless it was told before."""
        self._gone = True
        self._limits.keepalive.remove(self)
        self._limits.connections.discard(self)
        if self._rest and not self._closing:
            self._regulate()
        else:
            self._end()

    # Reading.

    def _regulate(self) -> None:
        """Have the transport read on, or not, and what it has read already go on in the next turn."""
        if self._rest and (self._reading or self._gone) and self._next_turn is None:
            self._next_turn = asyncio.get_running_loop().call_soon(self._take_turn)
        if self._transport.is_closing():
            return
        if self._reading and not self._rest:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _take_turn(self) -> None:
        self._next_turn = None
        if self._reading or self._gone:
            self._rest = self._read(self._rest)
        if self._gone and (self._closing or not self._rest):
            self._end()
        else:
            self._regulate()

    def _read(self, data: bytes) -> bytes:
        """Read what one turn has time for; returns the rest. What follows a violation of the protocol is not read."""
        at, left = 0, _TURN
        while left > 0 and at < len(data) and not (self._closing and self._told):
            start = at
            if self._parser is None and not self._closing:
                at, left = self._read_whole_texts(data, at, left)
            if at == start:
                left -= self._read_frames(data[at : at + _SLICE])
                at += _SLICE
        return b"" if self._closing and self._told else data[at:]

    def _read_whole_texts(self, data: bytes, at: int, left: int) -> tuple[int, int]:
        """Take whole text messages, `left` at most; returns where something else is, or one that is not all there."""
        length = len(data)
        while left and length - at >= 6 and data[at] == _WHOLE_TEXT:
            size, start = data[at + 1] - 0x80, at + 6
            if size == 126 and length - at >= 8:
                size, start = data[at + 2] << 8 | data[at + 3], at + 8
            elif not 0 <= size < 126:
                break
            end = start + size
            if end > length or size > self._limits.max_size:
                break
            at, left = end, left - 1
            self._deliver_text(apply_mask(data[start:end], data[start - 4 : start]))
            if self._closing:
                break
        return at, left

    def _read_frames(self, data: bytes) -> int:
        """Read whatever there is; returns how many frames there were."""
        parser = self._borrow()
        parser.receive_data(data)
        frames = parser.events_received()
        for frame in frames:
            assert isinstance(frame, WireFrame)  # noqa: S101  # the handshake, which has other events, is done
            match frame.opcode:
                case Opcode.CLOSE:
                    self._say(parser)
                    self._answered(parser)
                case Opcode.PING if self.congested:
                    # Who does not read is sent one pong when it does, to the latest ping (RFC 6455, 5.5.3).
                    self._pong = b"".join(parser.writes[:1])
                    del parser.writes[:1]
                case Opcode.PING:
                    self._say(parser, frames=1)
                case Opcode.TEXT | Opcode.BINARY | Opcode.CONT if not self._closing:
                    self._take(parser, frame.opcode, bytes(frame.data), fin=frame.fin)
        if parser.parser_exc is not None:
            if not self._told:
                self._failed(parser)
        elif parser.at_rest and self._parser is parser:
            self._parser = None
        return len(frames)

    def _take(self, parser: _Parser, opcode: Opcode, data: bytes, *, fin: bool) -> None:
        if opcode is not Opcode.CONT:
            parser.is_text = opcode is Opcode.TEXT
        if data:
            parser.pieces.append(data)
        if fin:
            message, parser.pieces = b"".join(parser.pieces), []
            if parser.is_text:
                self._deliver_text(message)
            else:
                self._deliver(Frame(message, is_text=False))

    def _deliver_text(self, data: bytes) -> None:
        try:
            data.decode()
        except UnicodeDecodeError:
            parser = self._borrow()
            parser.fail(NOT_UTF8.code)
            self._failed(parser)
        else:
            self._deliver(Frame(data))

    def _deliver(self, frame: Frame) -> None:
        if self._receiver is None or self._told:
            return
        try:
            self._receiver.received(frame)
        except Exception:
            log.exception("a session failed; its connection is closed")
            self.close(INTERNAL.code, INTERNAL.name)

    # Ending.

    def _borrow(self) -> _Parser:
        if self._parser is None:
            self._parser = _Parser(self._limits.max_size)
        return self._parser

    def _say(self, parser: _Parser, *, frames: int | None = None) -> None:
        """Write what the parser wants to say: all of it, or the first frames, so that answers keep their place."""
        out = b"".join(parser.writes[:frames])
        del parser.writes[:frames]
        if out and not self._transport.is_closing():
            self._transport.write(out)

    def _answered(self, parser: _Parser) -> None:
        """The closing handshake is complete."""
        self._closing = True
        self._transport.close()
        self._abort_later()
        self._tell_lost(parser.close_rcvd.code if parser.close_rcvd else 1005, None)

    def _failed(self, parser: _Parser) -> None:
        """Say why, and give the client a moment to read it."""
        said = parser.close_sent
        code = said.code if said else 1006
        self._say(parser)
        half_close(self._transport)
        self._closing = True
        self._tell_lost(code, _NAMES.get(code, "protocol_error"))
        self.pause_reading(paused=False)
        self._abort_later()

    def _end(self) -> None:
        """The connection is gone, and all that came over it was read."""
        self._closing = True
        if self._abort_timer is not None:
            self._abort_timer.cancel()
        self._rest = b""
        self._tell_lost(1006, None)
        if self._writable is not None:
            self._writable.set()
        self._parser = self._receiver = None

    def _tell_lost(self, code: int, relay_closed: str | None) -> None:
        if self._told or self._receiver is None:
            return
        self._told = True
        try:
            self._receiver.disconnected(code, relay_closed)
        except Exception:
            log.exception("the end of a session failed")

    def _abort_later(self) -> None:
        if self._abort_timer is None:
            self._abort_timer = asyncio.get_running_loop().call_later(CLOSE_TIMEOUT, self._transport.abort)


def half_close(transport: asyncio.Transport) -> None:
    """End our side of the stream where that can be done alone.

    Closing both would make the kernel take back what was just written, if the client has sent what nobody reads.
    """
    if not transport.is_closing() and transport.can_write_eof():
        transport.write_eof()
