"""The seam between a client protocol and everything else."""

import struct
from collections.abc import Sequence
from typing import Final, Protocol

from relay.model.commands import Command
from relay.model.events import Event

_MEDIUM: Final = struct.Struct("!BBH")
_LARGE: Final = struct.Struct("!BBQ")


class Frame:
    """A WebSocket message, made once and shared by all who receive it; `data` is UTF-8 when `is_text`."""

    __slots__ = ("_text", "_wire", "data", "is_text")

    def __init__(self, data: bytes, *, is_text: bool = True) -> None:
        self.data = data
        self.is_text = is_text
        self._text: str | None = None
        self._wire: bytes | None = None

    @property
    def parts(self) -> Sequence["Frame"]:
        """The frames that a `Bundle` has; of any other the frame itself."""
        return (self,)

    @property
    def text(self) -> str:
        """The text of a text frame, decoded on first use."""
        if self._text is None:
            self._text = self.data.decode()
        return self._text

    @property
    def wire(self) -> bytes:
        """The frame as a server sends it: whole, not masked (RFC 6455, 5.2); made on first use."""
        if self._wire is None:
            self._wire = _head(0x81 if self.is_text else 0x82, len(self.data)) + self.data
        return self._wire


class Bundle(Frame):
    """A message in several frames, of which none means anything without the others: a text and what belongs to it."""

    __slots__ = ("_parts",)

    def __init__(self, parts: Sequence[Frame]) -> None:
        super().__init__(parts[0].data, is_text=parts[0].is_text)
        self._parts = parts

    @property
    def parts(self) -> Sequence[Frame]:
        """See `Frame.parts`."""
        return self._parts

    @property
    def wire(self) -> bytes:
        """See `Frame.wire`: of all of them."""
        if self._wire is None:
            self._wire = b"".join([frame.wire for frame in self._parts])
        return self._wire


class Batch:
    """Frames that leave together, in this order."""

    __slots__ = ("_wire", "frames", "size")

    def __init__(self, frames: Sequence[Frame]) -> None:
        self.frames = frames
        self.size = sum(len(frame.data) for frame in frames)
        self._wire: bytes | None = None

    @property
    def wire(self) -> bytes:
        """All of them as a server sends them; made on first use."""
        if self._wire is None:
            self._wire = b"".join([frame.wire for frame in self.frames])
        return self._wire


def _head(first: int, length: int) -> bytes:
    if length < 126:
        return bytes((first, length))
    if length < 65_536:
        return _MEDIUM.pack(first, 126, length)
    return _LARGE.pack(first, 127, length)


NOTHING: Final = Frame(b"")
"""What a codec makes of an event that its clients are not told of; it is not to be sent."""


class Codec(Protocol):
    """Translates between one client protocol's frames and commands and events; does no I/O.

    `encode` depends on nothing but the event, so that frames are made once per `key` and shared by all its members.
    """

    @property
    def key(self) -> str:
        """Names what `encode` makes: codecs of one key make the same frames."""
        ...

    def decode(self, frame: Frame) -> Command:
        """Read one frame; raise `errors.BadFrame` when it cannot be understood."""
        ...

    def encode(self, event: Event) -> Frame:
        """Write one event; a frame without data (`NOTHING`) says that this protocol has no word for it."""
        ...
