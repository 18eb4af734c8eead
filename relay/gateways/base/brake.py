"""The brake on packets of a client that are no requests: they are served at once, and never wait."""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from relay.rooms.admissions import Ticket

_SHORTEST_WAIT: Final = 0.01


class PauseReading(Protocol):
    """Stops reading from the client, or goes on."""

    def __call__(self, *, paused: bool) -> None:
        """Stop reading, or go on."""
        ...


class Brake:
    """Counts such packets at the rate of the client's messages, and stops reading while the client is above it.

    The packets that the client has sent before are still served, and counted. So none is refused, and the client is no
    faster than its rate.
    """

    __slots__ = ("_pause", "_ticket", "_timer")

    def __init__(self, ticket: Ticket, pause: PauseReading) -> None:
        self._ticket = ticket
        self._pause: Callable[..., None] = pause
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waits(self) -> bool:
        """Whether reading is stopped."""
        return self._timer is not None

    def count(self, size: int, *, least: float = 1) -> None:
        """Count a packet of so many bytes as a message, or as several if it is large; `least` is the least it costs."""
        seconds = self._ticket.pace().count(size, least=least)
        if seconds and self._timer is None:
            self._ticket.metrics.delays += 1
            self._pause(paused=True)
            self._wait(seconds)

    def stop(self) -> None:
        """Forget the client: its connection has ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(max(_SHORTEST_WAIT, seconds), self._go_on)

    def _go_on(self) -> None:
        self._timer = None
        # Packets that were read before the pause may have been counted meanwhile.
        seconds = self._ticket.pace().wait
        if seconds:
            self._wait(seconds)
        else:
            self._pause(paused=False)
