"""Rates of the events of each client address."""

import asyncio
from typing import Final

from relay.limits import Clock, TokenBucket
from relay.model.errors import Refused

WITHOUT_ADDRESS: Final = 10
"""For how many addresses clients without one count in all: a few wrong secrets must not keep all others of them out."""

_SWEEP: Final = 1024
"""Addresses from which on idle ones are looked for."""

_AT_ONCE: Final = 0.5
_WAITING: Final = 2.0
"""Seconds of its rate that an address may use at once, and that it may owe; requests wait until the debt is paid."""

_REFUSAL_DELAY: Final = 1.0
_SHORT_DELAY: Final = 0.25
"""Seconds; a health check waits longer for its answer."""


class AddressRates:
    """One token bucket for each address; forgets those that are full again.

    Addresses are texts, as `counted_address` returns them.
    """

    def __init__(self, rate: float, burst: float, clock: Clock) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._known: dict[str, TokenBucket] = {}
        self._sweep_at = _SWEEP

    def __len__(self) -> int:
        return len(self._known)

    def known(self, address: str) -> TokenBucket | None:
        """Return the bucket of an address, None if it was not used, or is full again and was forgotten."""
        return self._known.get(address)

    def of(self, address: str) -> TokenBucket:
        """Return the bucket of an address, which may be a new one."""
        bucket = self._known.get(address)
        if bucket is None:
            self._sweep()
            bucket = self._known[address] = TokenBucket(self._rate, self._burst, self._clock)
        return bucket

    def _sweep(self) -> None:
        """Forget full buckets whenever the number of addresses has doubled: that is O(1) per new address."""
        if len(self._known) < self._sweep_at:
            return
        self._known = {address: bucket for address, bucket in self._known.items() if not bucket.full}
        self._sweep_at = max(_SWEEP, 2 * len(self._known))


class RequestRate:
    """Limits the HTTP requests of each address to `rate` a second.

    As many as half a second brings are served at once: they are the longest time for which one address can keep the
    worker busy. As many as two seconds bring wait for their turn, so that a burst of honest pages is not refused. While
    a request waits, its connection brings no other one.
    """

    def __init__(self, rate: float, clock: Clock) -> None:
        self._rate = rate
        self._counted = AddressRates(rate, max(1, _AT_ONCE * rate), clock)
        self._uncounted = AddressRates(rate, max(1, _AT_ONCE * rate), clock)

    async def admit(self, address: str) -> None:
        """Return when a request of this address may be answered.

        Raises `Refused` (`too_many_requests`) after a second, so that refusals are no work that an attacker can ask for
        as often as it likes.
        """
        bucket = self._counted.of(address)
        if not bucket.owe(_WAITING * self._rate):
            await asyncio.sleep(_REFUSAL_DELAY)
            raise Refused("too_many_requests")
        # The token that was taken is the request's own.
        delay = bucket.wait - 1 / self._rate
        if delay > 0:
            await asyncio.sleep(delay)

    async def slow_down(self, address: str) -> None:
        """Return when a request may be answered that must never be refused, such as a load balancer's check.

        Such requests have a rate of their own. Above it, each of them waits for a quarter of a second.
        """
        if not self._uncounted.of(address).take():
            await asyncio.sleep(_SHORT_DELAY)
