"""Tags, which stand for the addresses of members in Redis."""

import base64
import hashlib
from collections.abc import Callable
from typing import Final

from relay.fleet_key import FleetKey

TagOf = Callable[[str, str], str]
"""Returns the tag of an address in a room; "" for the address ""."""

_PURPOSE: Final = "address in a room"
_SIZE: Final = 6
"""Bytes of a tag: of a million addresses in one room, two would have the same tag once in 500 rooms."""


def tags_of(fleet_key: FleetKey) -> TagOf:
    """Make the function that returns tags: 8 characters of Base64 for URLs, a MAC (keyed BLAKE2b) of room and address.

    The same address has another tag in each room, and only workers of the fleet can make it. After the fleet key has
    changed, an address has another tag; entries keep the one that they have until they are written again.
    """

    def tag_of(room: str, address: str) -> str:
        if not address:
            return ""
        # Names are escaped: they have no space.
        text = f"{room} {address}".encode(errors="replace")
        # Not an HMAC, which takes six times as long: each join makes a tag.
        mac = hashlib.blake2b(text, key=fleet_key.derive(_PURPOSE), digest_size=_SIZE)
        return base64.urlsafe_b64encode(mac.digest()).decode("ascii")

    return tag_of
