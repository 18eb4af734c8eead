"""Rate limits and connection limits, per client and per address."""

from collections.abc import Callable
from ipaddress import IPv6Address, IPv6Network

Clock = Callable[[], float]
"""Returns seconds that only grow, like `time.monotonic`."""

_MAX_DENIED = 100
"""Events in a row that may be denied before `overrun`."""


def counted_address(address: str) -> str:
    """Return the name under which a client's address is counted: the address, of IPv6 the network of 64 bits.

    A network of 64 bits is the least that one customer has, and any of its addresses is free to use (RFC 6177). One
    address in two spellings has one name. The text may come from a header of a trusted proxy, with a port; text that is
    no address is its own name.
    """
    if ":" not in address:
        return address
    host = address.partition(":")[0]
    if "." in host and address.count(":") == 1:
        return host
    try:
        ip = IPv6Address(address[1:].partition("]")[0] if address.startswith("[") else address.partition("%")[0])
    except ValueError:
        return address
    return str(ip.ipv4_mapped or IPv6Network((int(ip) >> 64 << 64, 64)))


class TokenBucket:
    """Allows `rate` events per second on average, and up to `burst` at once.

    The bucket holds up to `burst` tokens and gains `rate` per second; an allowed event takes one.
    """

    __slots__ = ("_burst", "_clock", "_denied", "_rate", "_tokens", "_updated")

    def __init__(self, rate: float, burst: float, clock: Clock) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._tokens = burst
        self._denied = 0
        self._updated = clock()

    def take(self) -> bool:
        """Return whether one more event is allowed now; if so, take a token."""
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
        """Whether more than a hundred events in a row were denied: this client ignores its errors."""
        return self._denied > _MAX_DENIED

    @property
    def full(self) -> bool:
        """Whether all tokens are there again, so that a new bucket would be the same."""
        return self._tokens + (self._clock() - self._updated) * self._rate >= self._burst


class AddressLimits:
    """Limits open connections, and handshakes per second, of each address; forgets idle addresses."""

    _SWEEP = 1024

    def __init__(self, connections: int, handshakes: int, clock: Clock) -> None:
        self._connections = connections
        self._handshakes = handshakes
        self._clock = clock
        self._open: dict[str, int] = {}
        self._buckets: dict[str, TokenBucket] = {}
        self._sweep_at = self._SWEEP

    def admit(self, address: str) -> str:
        """Admit a connection from `address` and return "", or return the error code; admitted ones end in `release`."""
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
        """Count the end of an admitted connection."""
        left = self._open[address] - 1
        if left:
            self._open[address] = left
        else:
            del self._open[address]

    def _sweep(self) -> None:
        """Forget idle addresses, whenever the number of addresses has doubled: that is O(1) per connection."""
        if len(self._buckets) < self._sweep_at:
            return
        self._buckets = {address: bucket for address, bucket in self._buckets.items() if not bucket.full}
        self._sweep_at = max(self._SWEEP, 2 * len(self._buckets))
