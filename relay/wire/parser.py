"""The parser of the `websockets` library, for all frames that the relay does not read itself."""

import logging
from typing import Final

from websockets.frames import Frame as WireFrame
from websockets.frames import Opcode
from websockets.protocol import Protocol as FrameProtocol
from websockets.protocol import Side, State
from websockets.streams import StreamReader

from relay.model.errors import CLOSE_REASONS

_log = logging.getLogger("relay.wire.parser")
_log.setLevel(logging.WARNING)  # below, the library logs the data of clients

CLOSE_NAMES: Final = {reason.code: reason.name for reason in CLOSE_REASONS}
"""The reasons of close frames, by code."""

_BETWEEN_FRAMES: Final = StreamReader.at_eof.__code__
"""The code in which the library's parser, a generator, is suspended between two frames."""


SMALL: Final = 1024
"""Bytes of a fragment below which the work for the frame, and not its payload, is the cost of it."""


class FrameParser(FrameProtocol):
    """The library's parser of frames, and the beginning of the message whose fragments it is reading."""

    def __init__(self, max_size: int) -> None:
        super().__init__(Side.SERVER, state=State.OPEN, max_size=max_size, logger=_log)
        self.is_text = False
        # One buffer: a list of fragments of two bytes would take thirty times their size.
        self._beginning = bytearray()
        # A whole message that waits for its turn.
        self.held = b""

    @property
    def kept(self) -> int:
        """Bytes of an unfinished message and an unfinished frame, and of a message that waits."""
        return len(self.reader.buffer) + len(self._beginning) + len(self.held)

    def assemble(self, frame: WireFrame) -> bytes | None:
        """Return the message that a data frame completes; keep a fragment, and return None, if more follow.

        `is_text` says which kind of message it is.
        """
        if frame.opcode is not Opcode.CONT:
            self.is_text = frame.opcode is Opcode.TEXT
        if frame.fin and not self._beginning:
            return bytes(frame.data)
        self._beginning += frame.data
        if not frame.fin:
            return None
        message = bytes(self._beginning)
        self._beginning = bytearray()
        return message

    def take_answers(self, frames: int | None = None) -> bytes:
        """Return the frames to send, all or the first ones, and forget them."""
        answers = b"".join(self.writes[:frames])
        del self.writes[:frames]
        return answers

    def recv_frame(self, frame: WireFrame) -> None:
        """Handle one frame; a close frame may cut a fragmented message off."""
        # The library takes that for a violation. RFC 6455, 5.4, allows control frames between fragments: the client
        # just leaves.
        if frame.opcode is Opcode.CLOSE:
            self.current_size = None
        super().recv_frame(frame)

    def fail(self, code: int, reason: str = "") -> None:
        """Fail the connection; the close frame's reason is the name of the code, not the library's text."""
        super().fail(code, CLOSE_NAMES.get(code, reason))

    @property
    def idle(self) -> bool:
        """Whether no frame and no message is begun, so that the parser can be dropped."""
        # The library does not say so itself; the generator shows where it is suspended. A test watches for changes.
        waits_in = getattr(self.parser, "gi_yieldfrom", None)
        return (
            getattr(waits_in, "gi_code", None) is _BETWEEN_FRAMES
            and self.current_size is None
            and self.state is State.OPEN
        )
