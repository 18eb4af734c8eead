"""The seam between a client protocol and everything else."""

from typing import Protocol

from relay.commands import Command
from relay.events import Event


class Frame:
    """A WebSocket message, made once and shared by all who receive it; `data` is UTF-8 when `is_text`."""

    __slots__ = ("_text", "data", "is_text")

    def __init__(self, data: bytes, *, is_text: bool = True) -> None:
        self.data = data
        self.is_text = is_text
        self._text: str | None = None

    @property
    def text(self) -> str:
        """The text of a text frame, decoded on first use."""
        if self._text is None:
            self._text = self.data.decode()
        return self._text


class Codec(Protocol):
    """Translates between one client protocol's frames and commands and events; does no I/O.

    `encode` depends on nothing but the event, so that frames are made once per `key` and shared by all its members.
    """

    @property
    def key(self) -> str:
        """Names what `encode` makes: codecs of one key make the same frames."""
        ...

    def receive(self, frame: Frame) -> Command:
        """Read one frame; raise `errors.BadFrame` when it cannot be understood."""
        ...

    def encode(self, event: Event) -> Frame:
        """Write one event."""
        ...
