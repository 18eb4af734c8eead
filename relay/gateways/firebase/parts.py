"""Messages that a client sends in several frames: their number as text, then the parts."""

import asyncio
import re
from collections.abc import Callable
from typing import Final

from relay.model.codec import Frame
from relay.rooms.buffers import Buffer

MOST_DIGITS: Final = 6
"""Characters of a frame that is a number of parts; a keepalive is the number 0."""

_NUMBER: Final = re.compile(rb'\{"t":"d","d":\{"r":(\d{1,15}),')


def count_in(data: bytes) -> int | None:
    """Return the number that a frame is; None for any other frame."""
    return int(data) if len(data) <= MOST_DIGITS and data.isdigit() else None


class Parts:
    """The parts of one message so far. Beyond `limit` bytes they are dropped as they come.

    `on_late` is called when the last part has not come within `seconds`. The bytes count in the `buffer`.
    """

    __slots__ = ("_buffer", "_left", "_limit", "_parts", "_size", "_timer", "number")

    def __init__(self, count: int, limit: int, buffer: Buffer, seconds: float, on_late: Callable[[], None]) -> None:
        self._left = count
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._buffer = buffer
        self._timer = asyncio.get_running_loop().call_later(seconds, on_late)
        self.number: int | None = None

    @property
    def complete(self) -> bool:
        """Whether the last part has come."""
        return not self._left

    def add(self, data: bytes) -> None:
        """Take the next part."""
        if not self._size and (found := _NUMBER.match(data)):
            self.number = int(found[1])
        self._left -= 1
        self._size += len(data)
        if self._size > self._limit:
            self._parts.clear()
            self._buffer.clear()
        else:
            self._parts.append(data)
            self._buffer.grow(len(data))

    def message(self) -> Frame | None:
        """Return the whole message; None if it was too large."""
        self.stop()
        return None if self._size > self._limit else Frame(b"".join(self._parts))

    def stop(self) -> None:
        """Forget the parts."""
        self._timer.cancel()
        self._buffer.clear()
