"""The rates of clients that publish over HTTP, without a connection of which the messages could be counted."""

from typing import Final

from relay.address_rates import AddressRates
from relay.identity.grants import Grants
from relay.limits import Clock, burst_of
from relay.model.errors import Refused

_MOST: Final = 64
"""Rates that tokens may name, beyond which the holders of the oldest one begin anew."""


class OutsideRates:
    """Lets the holder of a token do as much over HTTP as over one connection: by default `rate` messages a second.

    Holders are told apart by address and subject, as many of them may be behind one address. A holder with all rights
    is a server, and has no limit.
    """

    def __init__(self, rate: float, clock: Clock) -> None:
        self._rate = rate
        self._clock = clock
        # By the rates that tokens name, of which an issuer has few, as a rule.
        self._holders: dict[float, AddressRates] = {}

    def charge(self, grants: Grants, address: str, messages: float) -> None:
        """Count messages of a holder in advance; raises `Refused` (`too_many_requests`) if it sends too many."""
        if grants.admin:
            return
        rate = grants.limits.message_rate or self._rate
        holders = self._holders.get(rate)
        if holders is None:
            if len(self._holders) >= _MOST:
                del self._holders[next(iter(self._holders))]
            holders = self._holders[rate] = AddressRates(rate, burst_of(rate), self._clock)
        if not holders.of(f"{address} {grants.subject}").take(messages):
            raise Refused("too_many_requests", "the holder of this token sends too much over HTTP; see message-rate")
