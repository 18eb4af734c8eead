"""Messages that have begun to arrive: how many bytes of them one worker keeps."""

import asyncio
from dataclasses import dataclass
from typing import Final, Protocol

LIMIT: Final = 268_435_456
PATIENCE: Final = 10.0


class Sender(Protocol):
    """The connection of a client that has sent a part of a message."""

    def hold_back(self, *, paused: bool) -> None:
        """Stop reading from the client, or go on."""
        ...

    def give_up(self) -> None:
        """Close the connection, and release its bytes."""
        ...


@dataclass(slots=True)
class _Message:
    size: int
    began: float
    paused: bool = False


class UnfinishedMessages:
    """Bounds the bytes that the connections of one worker hold of messages which are not complete yet.

    Nearly every message arrives whole, and never comes here. Beyond `limit` bytes, the worker reads on from one
    connection at a time, the one whose message began first, until enough messages are complete. While it is that short
    of room, a message that is not complete after `patience` seconds ends its connection.
    """

    def __init__(self, limit: int = LIMIT, patience: float = PATIENCE) -> None:
        self._limit = limit
        self._patience = patience
        self._messages: dict[Sender, _Message] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.total = 0

    def add(self, sender: Sender, size: int) -> None:
        """Count further bytes of a connection's message; the connection may be held back."""
        message = self._messages.get(sender)
        if message is None:
            message = self._messages[sender] = _Message(0, asyncio.get_running_loop().time())
        message.size += size
        self.total += size
        if self.total > self._limit:
            if not message.paused and sender is not next(iter(self._messages)):
                message.paused = True
                sender.hold_back(paused=True)
            self._start_timer()

    def release(self, sender: Sender) -> None:
        """Forget a connection's message: it is complete, or the connection has ended."""
        message = self._messages.pop(sender, None)
        if message is None:
            return
        self.total -= message.size
        if message.paused:
            sender.hold_back(paused=False)
        for other, one in list(self._messages.items()):
            if one.paused:
                one.paused = False
                other.hold_back(paused=False)
            if self.total > self._limit:
                return

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._patience, self._check)

    def _check(self) -> None:
        self._timer = None
        if self.total <= self._limit:
            return
        late = asyncio.get_running_loop().time() - self._patience
        for sender, message in list(self._messages.items()):
            if message.began <= late and self.total > self._limit:
                sender.give_up()
        if self.total > self._limit:
            self._start_timer()
