"""Frames of replayed messages: members that come back at the same time share them.

When a worker or a network fails, the members of a room return together, and most have missed the same messages. A frame
that is made once for all of them waits once in this worker's memory, like that of a new message.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from relay.model.codec import Encoder, Frame
from relay.model.envelope import MessageId
from relay.model.events import Message

_SMALL: Final = 256
"""Bytes of a frame that is not worth keeping."""

_SECONDS: Final = 5.0
"""Seconds after which all frames are forgotten; members that come back later are few."""

_Key = tuple[str, str, MessageId]
"""The key of a codec, a room, and the id of a message."""


class ReplayedFrames:
    """Keeps the newest frames, up to `limit` bytes, for a few seconds after the first of them."""

    def __init__(self, limit: int = 8_388_608) -> None:
        self._limit = limit
        self._frames: dict[_Key, Frame] = {}
        self._size = 0

    def frame(self, codec: Encoder, message: Message, encode: Callable[[Encoder, Message], Frame]) -> Frame:
        """Return the frame of a message, which `encode` makes if there is none."""
        if len(message.body) < _SMALL:
            return encode(codec, message)
        key = (codec.key, message.room, message.id)
        frame = self._frames.get(key)
        if frame is None:
            frame = encode(codec, message)
            self._keep(key, frame)
        return frame

    def _keep(self, key: _Key, frame: Frame) -> None:
        if not self._frames:
            asyncio.get_running_loop().call_later(_SECONDS, self._forget_all)
        self._frames[key] = frame
        self._size += len(frame.data)
        while self._size > self._limit:
            oldest = next(iter(self._frames))
            self._size -= len(self._frames.pop(oldest).data)

    def _forget_all(self) -> None:
        self._frames.clear()
        self._size = 0
