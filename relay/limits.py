"""Counting what one client or one address may do; the clock is passed in."""

from collections.abc import Callable

Clock = Callable[[], float]
"""Seconds, monotonic."""

_PATIENCE = 100
"""Events in a row that are not allowed, and told so each."""


class TokenBucket:
    """Allows `rate` events a second on average and `burst` at once."""

    __slots__ = ("_burst", "_clock", "_denied", "_rate", "_tokens", "_updated")

    def __init__(self, rate: float, burst: float, clock: Clock) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._tokens = burst
        self._denied = 0
        self._updated = clock()

    def take(self) -> bool:
        """Whether one more event is allowed now; if so, it is counted."""
        now = self._clock()
        tokens = self._tokens + (now - self._updated) * self._rate
        if tokens > self._burst:
            tokens = self._burst
        self._updated = now
        allowed = tokens >= 1
        self._tokens = tokens - 1 if allowed else tokens
        self._denied = 0 if allowed else self._denied + 1
        return allowed

    @property
    def overrun(self) -> bool:
        """Whether so many in a row were not allowed that whoever goes on is sent away."""
        return self._denied > _PATIENCE

    @property
    def full(self) -> bool:
        """Whether the bucket has forgotten everything, so that a new one would be the same."""
        return self._tokens + (self._clock() - self._updated) * self._rate >= self._burst


class AddressLimits:
    """Connections, and handshakes a second, per address; remembers only addresses that matter now."""

    _SWEEP = 1024

    def __init__(self, connections: int, handshakes: int, clock: Clock) -> None:
        self._connections = connections
        self._handshakes = handshakes
        self._clock = clock
        self._open: dict[str, int] = {}
        self._buckets: dict[str, TokenBucket] = {}
        self._sweep_at = self._SWEEP

    def admit(self, address: str) -> str:
        """Count a connection from `address`: "" when it may come in, until `release`; else the error code."""
        bucket = self._buckets.get(address)
        if bucket is None:
            self._sweep()
            bucket = self._buckets[address] = TokenBucket(self._handshakes, self._handshakes, self._clock)
        if not bucket.take():
            return "too_many_handshakes"
        if self._open.get(address, 0) >= self._connections:
            return "too_many_connections"
        self._open[address] = self._open.get(address, 0) + 1
        return ""

    def release(self, address: str) -> None:
        """A connection that was admitted has ended."""
        left = self._open[address] - 1
        if left:
            self._open[address] = left
        else:
            del self._open[address]

    def _sweep(self) -> None:
        """Forget idle addresses whenever their number has doubled: O(1) each in the long run."""
        if len(self._buckets) < self._sweep_at:
            return
        self._buckets = {address: bucket for address, bucket in self._buckets.items() if not bucket.full}
        self._sweep_at = max(self._SWEEP, 2 * len(self._buckets))
