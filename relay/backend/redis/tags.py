"""Tags, which stand for the addresses of members in Redis."""

import base64
from collections.abc import Callable
from typing import Final

from relay.fleet_key import FleetKey

TagOf = Callable[[str, str], str]
"""Returns the tag of an address in a room; "" for the address ""."""

_PURPOSE: Final = "address in a room"
_SIZE: Final = 6
"""Bytes of a tag: of a million addresses in one room, two would have the same tag once in 500 rooms."""


def tags_of(fleet_key: FleetKey) -> TagOf:
    """Make the function that returns tags: 8 characters of Base64 for URLs, an HMAC of room and address.

    The same address has another tag in each room, and only workers of the fleet can make it. After the fleet key has
    changed, an address has another tag; entries keep the one that they have until they are written again.
    """

    def tag_of(room: str, address: str) -> str:
        if not address:
            return ""
        # Names are escaped: they have no space.
        mac = fleet_key.sign(_PURPOSE, f"{room} {address}".encode(errors="replace"), size=_SIZE)
        return base64.urlsafe_b64encode(mac).decode("ascii")

    return tag_of
