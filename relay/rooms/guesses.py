"""Wrong secrets that clients have offered, counted by address on all workers of the fleet together."""

from typing import Final

from relay.address_rates import WITHOUT_ADDRESS
from relay.backend.usage import AddressUsage
from relay.rooms.quotas import Quota, Quotas

_NO_ADDRESS: Final = "-"
"""Stands for clients without an address, such as those behind a unix socket: they are counted together."""


class Guesses:
    """The wrong secrets of each address and kind in the present minute, of which `most` are allowed.

    Clients without an address may offer `WITHOUT_ADDRESS` times as many, all of them together: nothing tells them
    apart, and without a bound they could try secrets for ever. A worker learns of the counts of other workers when it
    notes a wrong secret itself. A kind is a constant of the code.
    """

    def __init__(self, most: int, usage: AddressUsage) -> None:
        self._most = most
        self._usage = usage
        self._quotas: dict[tuple[str, bool], Quotas] = {}

    def are_too_many(self, kind: str, address: str) -> bool:
        """Return whether an address has offered as many as it may, so that a right secret is refused as well."""
        return self._of(kind, address).is_used_up

    def note(self, kind: str, address: str) -> None:
        """Count a wrong secret."""
        self._of(kind, address).use(1)

    def _of(self, kind: str, address: str) -> Quota:
        known = bool(address)
        quotas = self._quotas.get((kind, known))
        if quotas is None:
            use = f"wrong secrets ({kind})"
            most = self._most if known else WITHOUT_ADDRESS * self._most
            quotas = self._quotas[kind, known] = Quotas(kind, most, self._usage, use=use, setting="token-attempts")
        return quotas.of(address or _NO_ADDRESS)
