"""The fleet key: the secret that all workers of a Redis share, and the keys that the relay derives from it.

A fleet key is set (`fleet-secret`), or the workers make one and share it through Redis. A *record* is such a shared key
as text, `MADE-SECRET`: the time at which it was made (microseconds, 17 digits) and 64 hex digits. So the alphabetical
order of records is the order of their age.
"""

import hmac
import secrets
from collections.abc import Sequence
from typing import Final

SIZE: Final = 32
"""Bytes of a derived key, and of a whole MAC."""


class FleetKey:
    """Derives keys from the present secret of the fleet, and verifies with earlier and later secrets as well.

    The object stays the same for as long as its worker runs, while the secrets in it may change. So callers ask for a
    derived key each time that they need it, which costs a dictionary look-up. A worker signs nothing for clients before
    `agreed`: until then, the secret is a suggestion that another worker's key may replace.
    """

    def __init__(self, configured: Sequence[str] = ()) -> None:
        """Use these secrets, of which the first one signs; without any, suggest a new random secret to the fleet."""
        self.configured = bool(configured)
        self.agreed = self.configured
        self.suggestion = "" if configured else secrets.token_hex(SIZE)
        self.records: Sequence[str] = ()
        self._secrets = [text.encode() for text in configured] or [self.suggestion.encode()]
        self._derived: dict[str, list[bytes]] = {}

    def __repr__(self) -> str:
        return f"<FleetKey of {len(self._secrets)} secrets>"

    def agree(self, records: Sequence[str]) -> bool:
        """Use these shared records, of which the first one signs; return whether a key that was in use was replaced."""
        replaced = bool(self.records) and self.records[0] != records[0]
        if records != self.records:
            self.records = records
            self._secrets = [record.partition("-")[2].encode() for record in records]
            self._derived.clear()
        self.agreed = True
        return replaced

    def derive(self, purpose: str) -> bytes:
        """Return the present key for a purpose: 32 bytes, HMAC-SHA256 of the purpose under the secret.

        A purpose is a constant of the code, and never text of a client: each one is remembered.
        """
        return self._keys(purpose)[0]

    def sign(self, purpose: str, data: bytes, *, size: int = SIZE) -> bytes:
        """Return the first `size` bytes of the HMAC-SHA256 of data under the present key for a purpose."""
        return hmac.digest(self.derive(purpose), data, "sha256")[:size]

    def verify(self, purpose: str, data: bytes, mac: bytes, *, size: int = SIZE) -> bool:
        """Return whether `sign` of any worker of the fleet, with the same size, made this MAC.

        It compares in constant time. The caller gives the size, since a MAC of a client's choice may be short or empty.
        """
        if len(mac) != size:
            return False
        return any([hmac.compare_digest(hmac.digest(key, data, "sha256")[:size], mac) for key in self._keys(purpose)])

    def _keys(self, purpose: str) -> list[bytes]:
        keys = self._derived.get(purpose)
        if keys is None:
            name = purpose.encode()
            keys = self._derived[purpose] = [hmac.digest(secret, name, "sha256") for secret in self._secrets]
        return keys
