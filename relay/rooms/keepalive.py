"""Pings to all connections from one timer: a timer for each connection would cost memory, and time at every message."""

import asyncio
import math
from typing import Protocol

_TICKS = 8
"""Ticks in the shorter of interval and timeout, at least: how evenly the pings are spread."""

_LONGEST_TICK = 1.0
"""Seconds."""


class Pinged(Protocol):
    """A connection that is pinged; `keepalive_slot` is the keepalive's own."""

    keepalive_slot: int

    def ping(self) -> None:
        """Send the client a ping."""
        ...

    def check(self) -> None:
        """Close the connection, unless the client has answered the last ping."""
        ...


class Keepalive:
    """Pings every connection once in `interval` seconds, and checks the answer `timeout` seconds later.

    Two wheels turn with one timer. A connection stays in one slot of the first wheel, and is pinged when its slot comes
    round. The connections pinged in a tick go into the slot of the second wheel that comes round after the timeout.
    """

    def __init__(self, interval: float, timeout: float) -> None:
        self._tick = min(_LONGEST_TICK, min(interval, timeout) / _TICKS)
        self._slots: list[set[Pinged]] = [set() for _ in range(max(1, round(interval / self._tick)))]
        self._checks: list[list[Pinged]] = [[] for _ in range(math.ceil(timeout / self._tick) + 1)]
        self._turn = 0
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: Pinged) -> None:
        """Ping this connection, for the first time after one interval."""
        connection.keepalive_slot = self._turn % len(self._slots)
        self._slots[connection.keepalive_slot].add(connection)
        self._count += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._tick, self._advance)

    def remove(self, connection: Pinged) -> None:
        """Stop pinging this connection; does nothing if it was removed before."""
        slot = self._slots[connection.keepalive_slot]
        if connection in slot:
            slot.remove(connection)
            self._count -= 1

    def _advance(self) -> None:
        self._turn += 1
        due, self._checks[self._turn % len(self._checks)] = self._checks[self._turn % len(self._checks)], []
        for connection in due:
            # A connection that was removed since its ping is in no slot any more.
            if connection in self._slots[connection.keepalive_slot]:
                connection.check()
        pinged = list(self._slots[self._turn % len(self._slots)])
        for connection in pinged:
            connection.ping()
        # The slot before the present one comes round last: after the whole timeout.
        self._checks[(self._turn - 1) % len(self._checks)] = pinged
        busy = self._count or any(self._checks)
        self._timer = asyncio.get_running_loop().call_later(self._tick, self._advance) if busy else None
