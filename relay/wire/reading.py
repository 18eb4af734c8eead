"""The receiving half of a WebSocket connection: frames in, within the bounds of a turn, a rate and a worker.

Nearly every frame that a client sends is a text message in one frame, and nearly every one of them arrives whole. Those
are read here, in a few lines of Python and one call in C that removes the mask. So are pongs, as nearly all frames of
idle clients are. Everything else (fragments, other control frames, binary messages, violations) goes to the parser of
the `websockets` library. That parser is made when such a frame begins and dropped when nothing is begun any more.

A client that sends a lot must not delay the others. Each connection reads a limited number of frames in one turn of the
event loop. The rest stays in `_unread`, the transport stops reading, and the next turn continues. A large message waits
until it is its turn among those of all connections. The session limits messages; control frames and small fragments,
which it does not see, have a rate of their own here, above which the connection rests.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final

from websockets.frames import Frame as WireFrame
from websockets.frames import Opcode
from websockets.protocol import Event

from relay.model.codec import Frame
from relay.model.errors import UNFINISHED
from relay.rooms.large_messages import LARGE
from relay.wire.closing import write_answers
from relay.wire.limits import WireLimits
from relay.wire.parser import SMALL, FrameParser

try:
    from websockets.speedups import apply_mask
except ImportError:  # a build of the library without its C extension
    from websockets.utils import apply_mask

_FIN_TEXT: Final = 0x81
"""The first byte of a text message in one frame: FIN, no reserved bits, opcode 1 (RFC 6455, 5.2)."""

_FIN_PONG: Final = 0x8A
"""The first byte of a pong."""

_FIN_CLOSE: Final = 0x88
"""The first byte of a close frame."""

_GOODBYES: Final = (b"", b"\x03\xe8", b"\x03\xe9")
"""Codes of close frames of clients that just leave: none, 1000 and 1001."""

_FRAMES_PER_TURN: Final = 64
"""Frames that one connection reads before the others get their turn."""

_LIBRARY_FRAME: Final = 4
"""For how many text messages in one frame each a frame counts that the library reads: it takes as much time."""

_BYTES_PER_CALL: Final = 512
_MOST_BYTES_PER_CALL: Final = 4096
"""Bytes that the library gets in one call, and at most as many as it keeps of an unfinished frame.

It reads all the frames in them, and this bounds how many there are.
"""


_KEPT_UNCOUNTED: Final = 16_384
"""Bytes of whole frames that may wait for their turn without being counted."""

_SHORTEST_REST: Final = 0.1
"""Seconds; several frames are read after each rest, so that a flood costs few timers."""

_BY_RECEIVER, _HELD_BACK, _RESTING, _IN_LINE = 1, 2, 4, 8
"""Why a connection is not read: its receiver paused it, the worker is short of room, it sends too many frames, or its
large message waits for its turn."""

_NO_TURNS: Final = _BY_RECEIVER | _RESTING | _IN_LINE
"""Reasons that also keep bytes from being parsed which were read already."""


class FrameReading:
    """Reads the frames of one connection; a subclass takes the messages, writes, and ends the connection.

    An `asyncio.Protocol`, but not by inheritance, so that it can be a native class of the compiled build.

    `address` is the name under which the client's address is counted. `_answer` is that to the handshake, while it
    waits for the first frame. `_paused` has the reasons for which the connection is not read. At `_frames_due`, all
    small frames so far are paid for by their rate. `_lost` is set when TCP has ended: frames may still be unread then.
    `_closing` is set once a close frame was sent or the connection was aborted, `_reported` once the receiver knows
    that the connection has ended.
    """

    __slots__ = (
        "_answer",
        "_closing",
        "_frames_due",
        "_late_pong",
        "_limits",
        "_lost",
        "_next_turn",
        "_parser",
        "_paused",
        "_received",
        "_reported",
        "_transport",
        "_unread",
        "address",
        "write_paused",
    )

    def __init__(self, transport: asyncio.Transport, limits: WireLimits) -> None:
        self._transport = transport
        self._limits = limits
        self._answer = b""
        self._parser: FrameParser | None = None
        self._next_turn: asyncio.Handle | None = None
        self._unread = b""
        self._late_pong = b""
        self._frames_due = 0.0
        self._paused = 0
        self._received = True
        self._lost = self._closing = self._reported = False
        self.write_paused = False
        self.address = ""

    def eof_received(self) -> None:
        """Let the transport close."""

    def send_answer(self) -> None:
        """Send the answer to the handshake now, if it still waits."""
        answer, self._answer = self._answer, b""
        if answer and not self._transport.is_closing():
            self._transport.write(answer)

    # For the subclass to implement.

    def _deliver_text(self, data: bytes) -> None:
        """Take a text message, which may not be UTF-8."""
        raise NotImplementedError

    def _deliver(self, frame: Frame) -> None:
        """Take a message."""
        raise NotImplementedError

    def _received_close(self, parser: FrameParser) -> None:
        """Take the client's close frame."""
        raise NotImplementedError

    def _received_goodbye(self, code: bytes) -> None:
        """Take a close frame that has this code, or none, and no reason."""
        raise NotImplementedError

    def _fail(self, parser: FrameParser) -> None:
        """Close the connection, with the close frame that the parser has made."""
        raise NotImplementedError

    def _end(self) -> None:
        """Take note that TCP has ended, and that no frame is left."""
        raise NotImplementedError

    # Pauses.

    def pause_reading(self, *, paused: bool) -> None:
        """Stop reading, or read on."""
        if bool(self._paused & _BY_RECEIVER) is not paused and not self._transport.is_closing():
            self._paused ^= _BY_RECEIVER
            self._update_reading()

    @property
    def arriving(self) -> bool:
        """Whether a message has begun to arrive, and all that has arrived of it is read."""
        return self._parser is not None and not self._paused and not self._unread

    def hold_back(self, *, paused: bool) -> None:
        """Stop reading while the worker is short of room, or read on."""
        self._paused = self._paused | _HELD_BACK if paused else self._paused & ~_HELD_BACK
        self._update_reading()

    def give_up(self) -> None:
        """Close a connection whose message takes too long, or that keeps too many bytes."""
        self._limits.notices.note("unfinished_closed", self.address)
        if self._closing:
            self._limits.unfinished.release(self)
            self._transport.abort()
            return
        self._unread = b""
        parser = self._get_parser()
        parser.held = b""
        parser.fail(UNFINISHED.code)
        self._fail(parser)

    def _count_kept(self, unread: int) -> None:
        """Count the bytes that wait here: the beginning of a message, and frames that are not read yet."""
        kept = unread + (self._parser.kept if self._parser else 0)
        if self._parser is None and kept <= _KEPT_UNCOUNTED:
            self._limits.unfinished.release(self)
        elif not self._limits.unfinished.keep(self, kept):
            self._limits.notices.note("unfinished", self.address)

    # Frames.

    def data_received(self, data: bytes) -> None:
        """Read frames, as many as one turn allows; the rest follows in later turns."""
        self._received = True
        if self._answer:
            self.send_answer()
        # TLS transports deliver bytes that they have decrypted already, even after `pause_reading`.
        before = self._unread
        self._unread = self._read(before + data if before else data)
        if self._unread or before:
            if self._parser is None and len(self._unread) > _KEPT_UNCOUNTED:
                self._count_kept(len(self._unread))
            self._update_reading()

    def _update_reading(self) -> None:
        """Schedule the next turn if bytes are unread, and let the transport read only if none are."""
        stopped = self._paused & (_IN_LINE if self._lost else _NO_TURNS)
        if self._unread and not stopped and self._next_turn is None:
            self._next_turn = asyncio.get_running_loop().call_soon(self._continue_reading)
        if self._transport.is_closing():
            return
        if self._paused or self._unread:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _continue_reading(self) -> None:
        self._next_turn = None
        if not self._paused & (_IN_LINE if self._lost else _NO_TURNS):
            self._unread = self._read(self._unread)
            if self._parser is None:
                self._count_kept(len(self._unread))
        self._go_on()

    def _go_on(self) -> None:
        """Read on, or end if TCP has ended and nothing is left to read."""
        done = self._closing or not self._unread or self._paused & _RESTING
        if self._lost and done and not self._paused & _IN_LINE:
            self._end()
        else:
            self._update_reading()

    def _continue_to_end(self) -> bool:
        """Go on with the frames that arrived before the end of TCP; False if none are left, or they came too fast."""
        if self._paused & _IN_LINE:
            return True
        if not self._unread or self._paused & _RESTING:
            return False
        self._update_reading()
        return True

    def _read(self, data: bytes) -> bytes:
        """Read frames for one turn; return the bytes that are left, none after the end was reported."""
        at, left = 0, _FRAMES_PER_TURN
        # After the relay's close frame the loop goes on, to find the client's close frame; messages are dropped then.
        while left > 0 and at < len(data) and not (self._closing and self._reported):
            start = at
            # A parser in the middle of a frame or a message must get the bytes first.
            if self._parser is None and not self._closing:
                at, left = self._read_single_frame_texts(data, at, left)
                if self._read_goodbye(data, at):
                    break
                if self._read_pong(data, at):
                    at, left = at + 6 + data[at + 1] - 0x80, 0 if self._paused & _RESTING else left - 1
            if at == start:
                if self._paused & _IN_LINE:
                    break  # The parser is there until the turn, so that no frame overtakes the message.
                end = at + _BYTES_PER_CALL
                if self._parser is not None:
                    end = at + max(_BYTES_PER_CALL, min(_MOST_BYTES_PER_CALL, len(self._parser.reader.buffer)))
                left -= _LIBRARY_FRAME * self._read_frames(data[at:end])
                at = end
                if self._paused & (_RESTING | _IN_LINE):
                    left = 0
                if self._parser is not None and not self._reported and (left <= 0 or at >= len(data)):
                    self._count_kept(max(0, len(data) - at))
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
            # An incomplete frame goes to the library's parser, which keeps its beginning. A large frame does as well;
            # if it is too large, the library fails the connection with 1009.
            if end > length or size > self._limits.small_size:
                break
            at, left = end, left - 1
            self._deliver_text(apply_mask(data[start:end], data[start - 4 : start]))
            if self._closing:
                break
        return at, left

    def _read_goodbye(self, data: bytes, at: int) -> bool:
        """Take the close frame of a client that just leaves: its code is usual, and it has no reason.

        False for any other bytes. Nearly all connections end so, and need no parser then.
        """
        if self._closing or len(data) - at < 6 or data[at] != _FIN_CLOSE:
            return False
        code = b""
        if data[at + 1] == 0x82 and len(data) - at >= 8:
            code = apply_mask(data[at + 6 : at + 8], data[at + 2 : at + 6])
        elif data[at + 1] != 0x80:
            return False
        if code not in _GOODBYES:
            return False
        self._received_goodbye(code)
        return True

    def _read_pong(self, data: bytes, at: int) -> bool:
        """Take a pong that has arrived whole; False for any other bytes.

        That anything has arrived answers a ping, so its payload does not count.
        """
        # More than 125 bytes are a violation in a control frame (5.5).
        if len(data) - at < 6 or data[at] != _FIN_PONG or not 0x80 <= data[at + 1] <= 0x80 + 125:
            return False
        if len(data) - at < 6 + data[at + 1] - 0x80:
            return False
        self._count_small(1)
        return True

    def _read_frames(self, data: bytes) -> int:
        """Read any frames with the library's parser; return how many there were."""
        parser = self._get_parser()
        parser.receive_data(data)
        frames = parser.events_received()
        self._take_frames(parser, frames)
        return len(frames)

    def _take_frames(self, parser: FrameParser, frames: Sequence[Event]) -> None:
        """Handle frames up to a large message, whose turn goes on with the others; then the state of the parser."""
        small = 0
        for number, frame in enumerate(frames, 1):
            assert isinstance(frame, WireFrame)  # noqa: S101  # other events belong to the handshake, which is over
            match frame.opcode:
                case Opcode.CLOSE:
                    self._received_close(parser)
                case Opcode.PING | Opcode.PONG:
                    small += 1
                    if frame.opcode is Opcode.PING:
                        self._answer_ping(parser)
                case Opcode.TEXT | Opcode.BINARY | Opcode.CONT if not self._closing:
                    small += not frame.fin and len(frame.data) < SMALL
                    message = parser.assemble(frame)
                    if message is None:
                        continue
                    if len(message) >= LARGE:
                        parser.held = message
                        self._count_small(small)
                        if not self._limits.large.serve(self.address, partial(self._take_turn, frames[number:])):
                            self._paused |= _IN_LINE
                            self._update_reading()
                        return
                    self._take_message(message, is_text=parser.is_text)
        self._count_small(small)
        if parser.parser_exc is not None:
            if not self._reported:
                self._fail(parser)
        elif parser.idle and self._parser is parser:
            self._parser = None
            self._limits.unfinished.release(self)

    def _take_turn(self, frames: Sequence[Event]) -> None:
        """Handle the large message that the parser holds, and the frames behind it."""
        parser = self._parser
        if parser is None:
            return  # The connection has ended.
        waited = self._paused & _IN_LINE
        self._paused &= ~_IN_LINE
        message, parser.held = parser.held, b""
        try:
            if message and not self._closing:
                self._take_message(message, is_text=parser.is_text)
            self._take_frames(parser, frames)
        finally:
            if waited:
                if self._closing:
                    self._limits.unfinished.release(self)
                else:
                    self._count_kept(len(self._unread))
                self._go_on()

    def _take_message(self, message: bytes, *, is_text: bool) -> None:
        if is_text:
            self._deliver_text(message)
        else:
            self._deliver(Frame(message, is_text=False))

    def _answer_ping(self, parser: FrameParser) -> None:
        """Send the pong; to a client that reads nothing, only one when it reads again."""
        if self.write_paused:
            # The pongs would pile up. RFC 6455, 5.5.3, allows to answer only the latest ping.
            self._late_pong = parser.take_answers(1)
        else:
            write_answers(self._transport, parser, frames=1)

    def _count_small(self, frames: int) -> None:
        """Count frames that no session limits; above their rate, the connection rests."""
        if not frames:
            return
        loop, limits = asyncio.get_running_loop(), self._limits
        now = loop.time()
        self._frames_due = max(self._frames_due, now) + frames / limits.small_frames
        too_early = self._frames_due - now - limits.small_frame_burst / limits.small_frames
        if too_early > 0 and not self._paused & _RESTING:
            self._paused |= _RESTING
            limits.notices.note("small_frames", self.address)
            loop.call_later(max(too_early, _SHORTEST_REST), self._end_rest)
            self._update_reading()

    def _end_rest(self) -> None:
        self._paused &= ~_RESTING
        self._update_reading()

    def _get_parser(self) -> FrameParser:
        if self._parser is None:
            self._parser = FrameParser(self._limits.max_size)
        return self._parser
