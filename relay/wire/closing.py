"""How a WebSocket connection ends: the last close frames, then TCP, within a bounded time."""

import asyncio
from typing import Protocol

from websockets.protocol import State

from relay.wire.parser import FrameParser
from relay.wire.timeouts import Timeout, Timeouts


class Answers(Protocol):
    """Frames that answer those of the client."""

    def take_answers(self, frames: int | None = None) -> bytes:
        """Return the frames to send, all or the first ones, and forget them."""
        ...


class Goodbye:
    """The answer to a close frame without a reason: the same code, or none."""

    __slots__ = ("_frame",)

    def __init__(self, code: bytes) -> None:
        self._frame = bytes((0x88, len(code))) + code

    def take_answers(self, frames: int | None = None) -> bytes:
        """Return the frame, once."""
        frame, self._frame = self._frame, b""
        return frame


class ClosingHandshake:
    """The end of one connection, from the first close frame of either side on.

    If the client broke the protocol, the relay does not wait for its answer: it sends its close frame and
    half-closes the stream, so that the client can still read why. `timeouts` are those of `CLOSE_TIMEOUT` seconds.
    """

    __slots__ = ("_answers", "_timeout", "_timeouts", "_transport")

    def __init__(self, transport: asyncio.Transport, timeouts: Timeouts) -> None:
        self._transport = transport
        self._timeouts = timeouts
        self._timeout: Timeout | None = None
        # The answers that are sent when the client has left its rooms.
        self._answers: Answers | None = None

    def begin(self, parser: FrameParser, code: int, reason: str) -> None:
        """Send the relay's close frame, and wait for the client's for `CLOSE_TIMEOUT` seconds."""
        if parser.state is State.OPEN:
            parser.send_close(code, reason)
            write_answers(self._transport, parser)
        self.abort_later()

    def fail(self, parser: FrameParser) -> int:
        """Send the parser's close frame for a violation, and half-close; return its code, 1006 if there is none."""
        sent = parser.close_sent
        write_answers(self._transport, parser)
        half_close(self._transport)
        self.abort_later()
        return sent.code if sent else 1006

    def answer(self, parser: Answers, left: "asyncio.Future[None] | None") -> None:
        """Answer the client's close frame, if it is the first of both, and close TCP.

        The answer waits for `left`, so that a client whose close was answered has left its rooms; None waits for
        nothing.
        """
        self._answers = parser
        if left is None or left.done():
            self._close()
            return
        left.add_done_callback(self._left)
        if self._timeout is None:
            self._timeout = self._timeouts.add(self._late)

    def abort_later(self) -> None:
        """Abort TCP after `CLOSE_TIMEOUT` seconds, unless it has ended by then."""
        if self._timeout is None:
            self._timeout = self._timeouts.add(self._transport.abort)

    def cancel(self) -> None:
        """TCP has ended."""
        if self._timeout is not None:
            self._timeout.cancel()

    def _left(self, _: "asyncio.Future[None]") -> None:
        self._close()

    def _late(self) -> None:
        """Close if the client has not left its rooms yet; in any case, it has a whole timeout more to take the rest."""
        self._timeout = None
        self._close()
        self.abort_later()

    def _close(self) -> None:
        answers, self._answers = self._answers, None
        if answers is not None and not self._transport.is_closing():
            write_answers(self._transport, answers)
            self._transport.close()
            self.abort_later()


def write_answers(transport: asyncio.Transport, parser: Answers, *, frames: int | None = None) -> None:
    """Write the parser's answers: all, or only the first frames, so that each answer keeps its order."""
    out = parser.take_answers(frames)
    if out and not transport.is_closing():
        transport.write(out)


def half_close(transport: asyncio.Transport) -> None:
    """Send everything and then FIN, but go on receiving, where the transport can do that (TLS cannot).

    `close` would be wrong here: if the client has sent bytes that the relay has not read, the kernel sends RST, and
    the client's kernel may drop bytes that it has received and the client has not read yet.
    """
    if not transport.is_closing() and transport.can_write_eof():
        transport.write_eof()
