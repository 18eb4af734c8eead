"""Rate limits and connection limits, per client and per address."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

Clock = Callable[[], float]
"""Returns seconds that only grow, like `time.monotonic`."""

_LEAST_BURST: Final = 10
"""Messages that a client may always send at once: one that joins sends several commands in a row."""

_MAX_REFUSED: Final = 100
"""Messages above twice the rate that may be refused before `Pace.overrun`."""

_QUIET: Final = 1.0
"""Seconds without a message above the rate after which a client has slowed down."""

_SHARE: Final = 16_384
"""Bytes that a client takes from the budget of its address at a time, so that most messages do not look there."""

_OVERHEAD: Final = 512
"""Bytes that a message counts more than it has, in the budgets of its address: as much is stored around a small one."""

_SHORTEST_WAIT: Final = 0.01

_NEVER: Final = float("-inf")


def burst_of(rate: float) -> float:
    """Return how many messages a client may send at once, whose rate is so many a second."""
    return max(_LEAST_BURST, 2 * rate)


class TokenBucket:
    """Allows `rate` events per second on average, and up to `burst` at once.

    The bucket holds up to `burst` tokens and gains `rate` per second; an allowed event takes one.
    """

    __slots__ = ("_burst", "_clock", "_rate", "_tokens", "_updated")

    def __init__(self, rate: float, burst: float, clock: Clock) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._tokens = burst
        self._updated = clock()

    def take(self, cost: float = 1) -> bool:
        """Return whether one more event is allowed now; if so, take its tokens.

        An event that costs more than one token may leave the bucket in debt, which later events wait for. So an event
        may cost more than the bucket holds.
        """
        now = self._clock()
        tokens = self._tokens + (now - self._updated) * self._rate
        if tokens > self._burst:
            tokens = self._burst
        self._updated = now
        allowed = tokens >= 1
        self._tokens = tokens - cost if allowed else tokens
        return allowed

    def debit(self, cost: float) -> None:
        """Take tokens that may not be there, for an event whose cost is known only afterwards."""
        self.take(0)
        self._tokens -= cost

    def owe(self, most: float | None = None) -> bool:
        """Take a token that may not be there; False if `most` are owed, by default as many as the bucket can hold."""
        self.take(0)
        if self._tokens <= -(self._burst if most is None else most):
            return False
        self._tokens -= 1
        return True

    @property
    def wait(self) -> float:
        """Seconds until an event is allowed."""
        return max(0.0, (1 - self._tokens) / self._rate - (self._clock() - self._updated))

    @property
    def full(self) -> bool:
        """Whether all tokens are there again, so that a new bucket would be the same."""
        return self._tokens + (self._clock() - self._updated) * self._rate >= self._burst


@dataclass(frozen=True, slots=True)
class PaceLimits:
    """How fast one client may send: `rate` messages a second, `burst` at once, and `byte_rate` bytes a second.

    `patience` is for how many seconds in a row messages above the rate are delayed, before they are refused.
    """

    rate: float
    burst: float
    byte_rate: float
    patience: float


class Allowance(Protocol):
    """An amount that an address may use. `open` may stay False for too long; then `is_used_up` tells the truth."""

    open: bool

    @property
    def is_used_up(self) -> bool:
        """Whether nothing more may be used now."""
        ...

    def use(self, amount: int) -> None:
        """Use so much, also beyond the allowance."""
        ...


class Pace(TokenBucket):
    """The rate of one client's messages: says which are served now, which wait, and which are refused.

    A message above the rate waits; the caller stops reading from the client meanwhile. A client that has been above its
    rate for longer than `patience`, without a pause of a second, has further messages refused. A message that is large
    enough to use up the bytes of several messages counts as so many. The bytes also count against the budget of the
    client's address: where that is used up, messages wait and are not refused, as other clients may have used it. They
    count against the `stored` allowance of the address, which `find_stored` finds by its `name`, as well.
    """

    __slots__ = (
        "_address",
        "_behind_since",
        "_denied_at",
        "_due",
        "_find_stored",
        "_held_until",
        "_name",
        "_patience",
        "_refused",
        "_share",
        "_uncounted",
        "_unit",
        "stored",
    )

    def __init__(
        self, limits: PaceLimits, address: TokenBucket, clock: Clock, find_stored: Callable[[str], Allowance], name: str
    ) -> None:
        super().__init__(limits.rate, limits.burst, clock)
        self._find_stored = find_stored
        self._name = name
        self.stored = find_stored(name)
        self._patience = limits.patience
        self._unit = limits.byte_rate / limits.rate
        self._address = address
        self._share = 0
        # Bytes drawn from the budget of the address that are not counted against the stored ones yet.
        self._uncounted = 0
        self._behind_since = self._denied_at = self._due = self._held_until = _NEVER
        self._refused = 0.0

    def limit(self, limits: PaceLimits) -> None:
        """Count by other limits from now on; earlier counts stay."""
        self._rate, self._burst, self._patience = limits.rate, limits.burst, limits.patience
        self._tokens = min(self._tokens, limits.burst)
        self._unit = limits.byte_rate / limits.rate

    def admits(self, size: int) -> bool:
        """Return whether a message of so many bytes is served now; if so, count it."""
        # As `take`, without its call: this runs for every message.
        now = self._clock()
        tokens = self._tokens + (now - self._updated) * self._rate
        if tokens > self._burst:
            tokens = self._burst
        share = self._share - size - _OVERHEAD
        if tokens < 1 or share < 0 or size > self._unit:
            return self._admits_otherwise(now, tokens, size)
        self._tokens = tokens - 1
        self._updated = now
        self._share = share
        return True

    def _admits_otherwise(self, now: float, tokens: float, size: int) -> bool:
        """As `admits`, for a message that waits, counts as several, or takes bytes from the budget of the address."""
        self._tokens = tokens
        self._updated = now
        cost = size + _OVERHEAD
        if tokens < 1 or (self._share < cost and not self._draw(cost)):
            return False
        self._share -= cost
        self._tokens = tokens - (1 if size <= self._unit else size / self._unit)
        return True

    def spend(self, messages: float) -> None:
        """Count a command that is served as so many more messages, for which later ones wait.

        One command takes at most a quarter of the full bucket: a low rate does not stop a client for long.
        """
        if messages:
            self._tokens -= min(messages, self._burst / 4)

    def count(self, size: int, *, least: float = 1) -> float:
        """Count a packet of so many bytes that is served in any case; return for how many seconds not to read on.

        It counts as `least` messages, or as more if it is large.
        """
        self.take(0)
        self._tokens -= max(least, size / self._unit)
        if self._share >= size or self._draw(size):
            self._share -= size
            return self.wait
        return max(self.wait, self._address.wait)

    def charge(self) -> bool:
        """Count a request that cannot wait, which later messages then do; False if too many came: it is refused."""
        if self.owe():
            return True
        self._count_refusal(self._clock())
        return False

    def hold(self, seconds: float) -> None:
        """Admit no message for so long, since the client's room is above its rate: they wait, and are not refused."""
        self._held_until = self._clock() + seconds
        self._tokens = min(self._tokens, 1 - seconds * self._rate)

    def delay(self) -> float | None:
        """Return the seconds after which to try a message again that was not admitted; None to refuse it."""
        if self._address.wait:
            return max(_SHORTEST_WAIT, self._address.wait)
        now, until_due = self._clock(), self.wait
        if now < self._held_until:
            return max(_SHORTEST_WAIT, self._held_until - now)
        if now > self._due + _QUIET:
            self._behind_since, self._refused = now, 0.0
        self._due = now + until_due
        patience_left = self._behind_since + self._patience - now
        if patience_left > 0:
            return max(_SHORTEST_WAIT, min(patience_left, until_due))
        self._count_refusal(now)
        return None

    def end(self) -> None:
        """Count the bytes that the client has sent since the last count, as it has gone."""
        self._find_stored(self._name).use(max(0, self._uncounted - self._share))
        self._uncounted = 0

    @property
    def overrun(self) -> bool:
        """Whether the client goes on at more than twice its rate, although a hundred messages were refused."""
        return self._refused > _MAX_REFUSED

    def _draw(self, size: int) -> bool:
        """Take bytes from the budget of the address; False if it is used up."""
        drawn = max(size, _SHARE)
        if not self._address.take(drawn):
            return False
        self._share += drawn
        # An allowance that was not used for long is forgotten, and there may be another one.
        self.stored = self._find_stored(self._name)
        # Only bytes that were sent count: of many clients behind one address, most send little.
        self.stored.use(self._uncounted + (size if size >= _SHARE else 0))
        self._uncounted = drawn if size < _SHARE else 0
        return True

    def _count_refusal(self, now: float) -> None:
        self._refused = max(0.0, self._refused - (now - self._denied_at) * self._rate) + 1
        self._denied_at = now


class _Address(TokenBucket):
    """One address: the rate of its handshakes, its open connections, and its budget of bytes (None: not used yet).

    A worker has one for each idle client, so the handshakes have no object of their own.
    """

    __slots__ = ("bytes", "open")

    def __init__(self, handshakes: float, clock: Clock) -> None:
        super().__init__(handshakes, handshakes, clock)
        self.open = 0
        self.bytes: TokenBucket | None = None

    @property
    def idle(self) -> bool:
        return not self.open and self.full and (self.bytes is None or self.bytes.full)


class AddressLimits:
    """Limits open connections, handshakes and bytes per second of each address; forgets idle addresses.

    Addresses are texts, as `relay.addresses.counted_address` returns them.
    """

    _SWEEP = 1024

    def __init__(self, connections: int, handshakes: int, byte_rate: float, clock: Clock) -> None:
        self._connections = connections
        self._handshakes = handshakes
        self._byte_rate = byte_rate
        self._byte_burst = byte_rate / 4
        self._clock = clock
        self._known: dict[str, _Address] = {}
        self._sweep_at = self._SWEEP

    def admit(self, address: str) -> str:
        """Admit a connection from `address` and return "", or return the error code; admitted ones end in `release`."""
        known = self._of(address)
        if not known.take():
            return "too_many_handshakes"
        if known.open >= self._connections:
            return "too_many_connections"
        known.open += 1
        return ""

    def release(self, address: str) -> None:
        """Count the end of an admitted connection."""
        self._of(address).open -= 1

    def byte_budget(self, address: str) -> TokenBucket:
        """Return the budget of bytes that all connections of an address share; for a connection that is admitted."""
        known = self._of(address)
        if known.bytes is None:
            known.bytes = TokenBucket(self._byte_rate, self._byte_burst, self._clock)
        return known.bytes

    def _of(self, address: str) -> _Address:
        known = self._known.get(address)
        if known is None:
            self._sweep()
            known = self._known[address] = _Address(self._handshakes, self._clock)
        return known

    def _sweep(self) -> None:
        """Forget idle addresses, whenever the number of addresses has doubled: that is O(1) per connection."""
        if len(self._known) < self._sweep_at:
            return
        self._known = {name: known for name, known in self._known.items() if not known.idle}
        self._sweep_at = max(self._SWEEP, 2 * len(self._known))
