"""Wrong secrets that clients have offered, counted by address on all workers of the fleet together."""

from typing import Final

from relay.backend.usage import AddressUsage
from relay.rooms.quotas import Quotas

_NO_ADDRESS: Final = "-"
"""Stands for clients without an address, such as those behind a unix socket: they are counted together."""


class Guesses:
    """The wrong secrets of each address and kind in the present minute, of which `most` are allowed.

    A worker learns of those that other workers have counted when it notes one itself. A kind is a constant of the code.
    """

    def __init__(self, most: int, usage: AddressUsage) -> None:
        self._most = most
        self._usage = usage
        self._quotas: dict[str, Quotas] = {}

    def are_too_many(self, kind: str, address: str) -> bool:
        """Return whether an address has offered as many as it may, so that a right secret is refused as well."""
        return self._of(kind).of(address or _NO_ADDRESS).is_used_up

    def note(self, kind: str, address: str) -> None:
        """Count a wrong secret."""
        self._of(kind).of(address or _NO_ADDRESS).use(1)

    def _of(self, kind: str) -> Quotas:
        quotas = self._quotas.get(kind)
        if quotas is None:
            what = f"wrong secrets ({kind})"
            quotas = self._quotas[kind] = Quotas(kind, self._most, self._usage, what=what, setting="token-attempts")
        return quotas
