"""Pings for all connections from one timer, however many there are."""

import asyncio
import math
from typing import Protocol

_TICKS = 8
_LONGEST_TICK = 1.0


class Pinged(Protocol):
    """A connection that wants to know whether its client is still there."""

    keepalive_slot: int

    def ping(self) -> None:
        """Ask the client for a sign of life."""
        ...

    def check(self) -> None:
        """Close, unless the client has given one since."""
        ...


class Keepalive:
    """Pings every connection once in `interval` seconds, and looks `timeout` seconds later whether it answered."""

    def __init__(self, interval: float, timeout: float) -> None:
        self._tick = min(_LONGEST_TICK, min(interval, timeout) / _TICKS)
        self._slots: list[set[Pinged]] = [set() for _ in range(max(1, round(interval / self._tick)))]
        self._checks: list[list[Pinged]] = [[] for _ in range(math.ceil(timeout / self._tick) + 1)]
        self._turn = 0
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: Pinged) -> None:
        """Ping this connection for the first time after one interval."""
        connection.keepalive_slot = self._turn % len(self._slots)
        self._slots[connection.keepalive_slot].add(connection)
        self._count += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._tick, self._advance)

    def remove(self, connection: Pinged) -> None:
        """Ping it no more."""
        slot = self._slots[connection.keepalive_slot]
        if connection in slot:
            slot.remove(connection)
            self._count -= 1

    def _advance(self) -> None:
        self._turn += 1
        late, self._checks[self._turn % len(self._checks)] = self._checks[self._turn % len(self._checks)], []
        for connection in late:
            if connection in self._slots[connection.keepalive_slot]:
                connection.check()
        asked = list(self._slots[self._turn % len(self._slots)])
        for connection in asked:
            connection.ping()
        self._checks[(self._turn - 1) % len(self._checks)] = asked
        waiting = self._count or any(self._checks)
        self._timer = asyncio.get_running_loop().call_later(self._tick, self._advance) if waiting else None
