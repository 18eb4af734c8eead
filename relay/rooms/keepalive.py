"""Pings to all connections from one timer: a timer for each connection would cost memory, and time at every message."""

import asyncio
import math
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol, Self

from relay.config import Settings
from relay.rooms.connection import Transfer
from relay.tasks import guarded

_TICKS = 8
"""Ticks in the shorter of interval and timeout, at least: how evenly the pings are spread."""

_MOST_SLOTS = 10_000
"""Slots of a wheel; with an extreme interval, pings are less exact instead."""

_LONGEST_TICK = 0.02
"""Seconds; the pings of one tick go out in one turn of the event loop, and most answers are read in another one.

Neither is to delay messages noticeably. Clients that came back at 5,000 a second are a hundred in a tick.
"""

_BEHIND: Final = 4096
"""Bytes that wait for a client, from which its ping counts as stuck behind them."""

_LOOK_AGAIN: Final = 1.0
"""Seconds in which such a client must have taken some of them."""


class KeepaliveTiming(NamedTuple):
    """Seconds between two pings, for the answer to one, and at most between two pings to a watched connection."""

    interval: float
    timeout: float
    watched: float

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the timing that the settings say."""
        return cls(settings.ping_interval, settings.ping_timeout, settings.watched_ping_interval)


class Pinged(Protocol):
    """A connection that is pinged; `keepalive_slot` is the keepalive's own."""

    keepalive_slot: int

    @property
    def watched(self) -> bool:
        """Whether a client watches the presence of this one, whose loss must then be noticed sooner."""
        ...

    def ping(self) -> None:
        """Send the client a ping."""
        ...

    def check(self) -> None:
        """Close the connection, unless the client has answered the last ping."""
        ...


def close_unless_busy(
    transfer: Callable[[], Transfer | None], alive: Callable[[], bool], close: Callable[[], None]
) -> None:
    """Close the connection of a client that has not answered a ping, but not while large messages are on their way.

    The ping waits behind them, and on a slow link a message of a megabyte takes longer than the answer may. So as long
    as the client takes bytes each second, it has time. `alive` tells whether it has answered since, or has ended.
    """
    now = transfer()
    if now is None or now.written - now.received <= _BEHIND:
        close()
    else:
        asyncio.get_running_loop().call_later(_LOOK_AGAIN, _look_again, transfer, alive, close, now.received)


def _look_again(
    transfer: Callable[[], Transfer | None], alive: Callable[[], bool], close: Callable[[], None], received: int
) -> None:
    if alive():
        return
    now = transfer()
    if now is None or now.received <= received:
        close()
    else:
        asyncio.get_running_loop().call_later(_LOOK_AGAIN, _look_again, transfer, alive, close, now.received)


class Keepalive:
    """Pings every connection once in `interval` seconds, and checks the answer `timeout` seconds later.

    Watched connections are pinged so often that no more than `watched` seconds are between two pings; each answer is
    checked before the next ping.

    A wheel turns with one timer. A connection stays in one of its slots, and is pinged when this slot comes round; a
    watched one also at regular times in between. The connections pinged in a tick are noted for the tick after their
    timeout.
    """

    def __init__(self, timing: KeepaliveTiming) -> None:
        interval, timeout, watched = timing
        rounds = math.ceil(interval / watched)
        # An answer is checked before the next ping, which would wait for an answer of its own.
        soon = min(timeout, watched if rounds == 1 else interval / rounds)
        self._tick = max(min(_LONGEST_TICK, min(interval, soon) / _TICKS), interval / _MOST_SLOTS)
        self._size = max(1, round(interval / self._tick))
        # By number, those with connections: most of a small worker's slots have none.
        self._slots: dict[int, set[Pinged]] = {}
        # By the turn in which they are due; the timeout may have many more ticks than there are pings.
        self._checks: dict[int, list[Pinged]] = {}
        self._check_after = math.ceil(timeout / self._tick)
        self._check_soon = max(1, min(round(soon / self._tick), self._check_after))
        # How far the slots of watched connections are from the present one.
        self._between = [self._size * number // rounds for number in range(1, rounds)]
        self._turn = 0
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: Pinged) -> None:
        """Ping this connection, for the first time after one interval."""
        connection.keepalive_slot = self._turn % self._size
        self._slots.setdefault(connection.keepalive_slot, set()).add(connection)
        if self._timer is None:
            self._due = asyncio.get_running_loop().time()
            self._wait()

    def remove(self, connection: Pinged) -> None:
        """Stop pinging this connection; does nothing if it was removed before."""
        slot = self._slots.get(connection.keepalive_slot)
        if slot is not None:
            slot.discard(connection)
            if not slot:
                del self._slots[connection.keepalive_slot]

    def _wait(self) -> None:
        """Wait for the next tick. One that comes late makes no other one late, unless it has missed that, too."""
        loop = asyncio.get_running_loop()
        self._due = max(self._due + self._tick, loop.time())
        self._timer = loop.call_at(self._due, self._advance)

    def _advance(self) -> None:
        self._turn += 1
        for connection in self._checks.pop(self._turn, ()):
            # A connection that was removed since its ping is in no slot any more.
            if connection in self._slots.get(connection.keepalive_slot, ()):
                guarded(connection.check, "the check of a ping")
        pinged, soon = list[Pinged](), list[Pinged]()
        for connection in self._slots.get(self._turn % self._size, ()):
            (soon if connection.watched else pinged).append(connection)
        for distance in self._between:
            slot = self._slots.get((self._turn + distance) % self._size, ())
            soon += [connection for connection in slot if connection.watched]
        for connection in (*pinged, *soon):
            guarded(connection.ping, "a ping")
        for after, connections in ((self._check_after, pinged), (self._check_soon, soon)):
            if connections:
                self._checks.setdefault(self._turn + after, []).extend(connections)
        if self._slots or self._checks:
            self._wait()
        else:
            self._timer = None
