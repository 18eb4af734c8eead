"""The interface between a client protocol and the other parts of the relay: frames, and the codecs that make them.

A message to a room goes to many members. Its frame is made once for each kind of codec among them, and the bytes that
go over the wire once for each frame: the members then share them.
"""

import struct
from collections.abc import Sequence
from typing import Final, Protocol, TypeVar

from mypy_extensions import mypyc_attr

from relay.model.commands import Command
from relay.model.events import Event

_TEXT: Final = 0x81
_MEDIUM_TEXT: Final = b"\x81\x7e"
_MEDIUM_BINARY: Final = b"\x82\x7e"
"""The first bytes of a frame whose length takes two more."""

_LARGE: Final = struct.Struct("!BBQ")


@mypyc_attr(allow_interpreted_subclasses=True)
class Frame:
    """A WebSocket message, made once and shared by all its receivers; `data` is UTF-8 if `is_text`."""

    __slots__ = ("_text", "_wire", "data", "is_text")

    def __init__(self, data: bytes, *, is_text: bool = True) -> None:
        self.data = data
        self.is_text = is_text
        self._text: str | None = None
        self._wire: bytes | None = None

    @property
    def parts(self) -> Sequence["Frame"]:
        """The frames of a `Bundle`; of any other frame, the frame itself."""
        return (self,)

    @property
    def text(self) -> str:
        """The text of a text frame, decoded on first use."""
        if self._text is None:
            self._text = self.data.decode()
        return self._text

    @property
    def wire(self) -> bytes:
        """The bytes that a server sends: one unfragmented, unmasked frame (RFC 6455, 5.2); made on first use."""
        if self._wire is None:
            self._wire = _head(0x81 if self.is_text else 0x82, len(self.data)) + self.data
        return self._wire


@mypyc_attr(allow_interpreted_subclasses=True)
class Bundle(Frame):
    """A message of several frames which only mean something together, such as a text and its binary attachments."""

    __slots__ = ("_parts",)

    def __init__(self, parts: Sequence[Frame]) -> None:
        super().__init__(parts[0].data, is_text=parts[0].is_text)
        self._parts = parts

    @property
    def parts(self) -> Sequence[Frame]:
        """The frames of this message, in order."""
        return self._parts

    @property
    def wire(self) -> bytes:
        """The bytes of all frames; made on first use."""
        if self._wire is None:
            self._wire = b"".join([frame.wire for frame in self._parts])
        return self._wire


class Batch:
    """Frames that are written together, in this order."""

    __slots__ = ("_wire", "frames", "size")

    def __init__(self, frames: Sequence[Frame]) -> None:
        self.frames = frames
        self.size = sum(len(frame.data) for frame in frames)
        self._wire: bytes | None = None

    @property
    def wire(self) -> bytes:
        """The bytes of all frames; made on first use."""
        if self._wire is None:
            self._wire = b"".join([frame.wire for frame in self.frames])
        return self._wire


def text_wire(data: bytes) -> bytes:
    """Return the bytes that a server sends for a text message, as `Frame.wire` does."""
    return _head(0x81, len(data)) + data


def _head(first: int, length: int) -> bytes:
    # Lengths of 126 and more do not fit into the seven bits of the second byte (RFC 6455, 5.2).
    if length < 126:
        return bytes((first, length))
    if length < 65_536:
        return (_MEDIUM_TEXT if first == _TEXT else _MEDIUM_BINARY) + length.to_bytes(2, "big")
    return _LARGE.pack(first, 127, length)


NOTHING: Final = Frame(b"")
"""The frame that a codec returns for an event without a message in its protocol; it is not sent."""


class Incoming(Protocol):
    """One request as a client sent it; `data` are the bytes that count against the size limit of a message."""

    @property
    def data(self) -> bytes:
        """The request's content."""
        ...


In = TypeVar("In", bound=Incoming, contravariant=True)
"""The type that a codec decodes: a frame, or a part of one that its gateway has read already."""


class Encoder(Protocol):
    """Writes events as frames of one client protocol; does no I/O.

    `encode` depends only on the event, so that a frame is made once per `key` and shared by all members with that key.
    """

    @property
    def key(self) -> str:
        """Encoders with the same key encode every event to the same frame."""
        ...

    def encode(self, event: Event) -> Frame:
        """Encode one event; return `NOTHING`, a frame without data, if the protocol has no message for it."""
        ...


class Codec(Encoder, Protocol[In]):
    """Translates between one client protocol and commands and events; does no I/O."""

    def decode(self, incoming: In) -> Command:
        """Decode a request of the client; raise `errors.BadFrame` if that is not possible.

        Any other `errors.Refused`, such as that of `escape_peer`, counts as a `BadFrame` without name and key.
        """
        ...
