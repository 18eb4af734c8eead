"""Tokens that expire while their clients are connected."""

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from relay.tasks import guarded

NOTICE: Final = 30.0
"""Seconds between the warning and the end, of a token that lives long."""

_SHARE: Final = 0.25
"""Share of the remaining life of a token that lives short, after which the warning comes ahead of the end."""

_LONGEST_WAIT: Final = 3600.0
"""Seconds until the timer looks again: the clock of the machine may be set meanwhile."""

_AT_ONCE: Final = 200
"""Expiries that are handled in one turn of the event loop: thousands of tokens may end in the same second."""

_SWEEP: Final = 64


class TokenHolder(Protocol):
    """A client whose token expires."""

    def token_expiring(self, seconds: float) -> None:
        """Called once, some time before the end: so many seconds are left."""
        ...

    def token_expired(self) -> None:
        """Called at the end."""
        ...


class Expiry:
    """The end of one client's token; `cancel` forgets it."""

    # Two callbacks instead of the client would take 130 bytes more, for each client that is connected.
    __slots__ = ("_expiries", "ends", "holder", "warned")

    def __init__(self, expiries: "Expiries", ends: float, holder: TokenHolder) -> None:
        self._expiries = expiries
        self.ends = ends
        self.holder: TokenHolder | None = holder
        self.warned = False

    def cancel(self) -> None:
        """Forget the client; a repeated call does nothing."""
        if self.holder is not None:
            self.holder = None
            self._expiries.canceled()


class Expiries:
    """Tells this worker's clients before their tokens expire, and when they do.

    All of them share one heap and one timer, so a client costs nothing while it waits, and one whose token never
    expires costs nothing at all. `wall` returns the Unix time.
    """

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._heap: list[tuple[float, int, Expiry]] = []
        # Distinguishes entries of the same time: they cannot be compared further.
        self._numbers = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._due = float("inf")
        self._canceled = 0

    def __len__(self) -> int:
        """Return how many tokens are awaited."""
        return len(self._heap) - self._canceled

    def add(self, ends: float, holder: TokenHolder) -> Expiry:
        """Tell a client some time before the Unix time `ends`, and then; both later, never inside this call.

        The first call comes 30 seconds before the end, or when three quarters of a short life are over.
        """
        expiry = Expiry(self, ends, holder)
        left = max(0.0, ends - self._wall())
        self._push(ends - min(NOTICE, left * _SHARE), expiry)
        return expiry

    def canceled(self) -> None:
        """Count a canceled expiry, and take out all of them when they are half of the heap."""
        self._canceled += 1
        if self._canceled > max(_SWEEP, len(self._heap) // 2):
            self._heap = [entry for entry in self._heap if entry[2].holder is not None]
            heapq.heapify(self._heap)
            self._canceled = 0

    def _push(self, at: float, expiry: Expiry) -> None:
        heapq.heappush(self._heap, (at, next(self._numbers), expiry))
        if at < self._due:
            self._wait_until(at)

    def _wait_until(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due = at
        delay = min(_LONGEST_WAIT, max(0.0, at - self._wall()))
        self._timer = asyncio.get_running_loop().call_later(delay, self._look)

    def _look(self) -> None:
        self._timer, self._due = None, float("inf")
        now = self._wall()
        for _ in range(_AT_ONCE):
            if not self._heap or self._heap[0][0] > now:
                break
            _, _, expiry = heapq.heappop(self._heap)
            if expiry.holder is None:
                self._canceled -= 1
            else:
                guarded(partial(self._handle, expiry, now), "the end of a token")
        if self._heap and self._heap[0][0] < self._due:
            self._wait_until(self._heap[0][0])

    def _handle(self, expiry: Expiry, now: float) -> None:
        """Tell the client; it may cancel the expiry meanwhile, or add others."""
        holder, left = expiry.holder, expiry.ends - now
        if holder is None:
            return
        if left > 0 and not expiry.warned:
            expiry.warned = True
            self._push(expiry.ends, expiry)
            holder.token_expiring(left)
        else:
            # It is out of the heap: it must not be counted as canceled.
            expiry.holder = None
            holder.token_expired()
