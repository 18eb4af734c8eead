"""Connection tokens: they name a place, and prove it, to every worker of the fleet.

A token is `KEY.PEER.MAC`. The key is the resume key of the place, of which Redis has the hash alone; it also names the
worker that has the sessions of a client that polls. The peer id is URL-safe Base64. The MAC binds both to the room.
"""

import base64
from binascii import Error
from typing import Final

from relay.fleet_key import FleetKey
from relay.gateways.base.http_place import HttpPlace
from relay.gateways.signalrclassic.errors import ClassicRefused
from relay.session_ids import BadSessionId, SessionIds

_PURPOSE: Final = "signalr-classic"
_MAC: Final = 16
_LONGEST: Final = 4096


class ConnectionTokens:
    """Makes and reads the connection tokens of one fleet."""

    def __init__(self, key: FleetKey, ids: SessionIds) -> None:
        self._key = key
        self._ids = ids

    def issue(self, room: str, peer: str) -> str:
        """Make the token of a new place; names are escaped."""
        key = self._ids.issue()
        mac = self._key.sign(_PURPOSE, _signed(room, peer, key), size=_MAC)
        return f"{key}.{_text(peer.encode('ascii'))}.{_text(mac)}"

    def read(self, text: str, room: str) -> HttpPlace:
        """Return the place of a token in this room; raises `ClassicRefused` (`bad_connection_token`)."""
        try:
            if len(text) > _LONGEST:
                raise ValueError(text)
            key, encoded, mac = text.split(".")
            peer = _bytes(encoded).decode("ascii")
            if not self._key.verify(_PURPOSE, _signed(room, peer, key), _bytes(mac), size=_MAC):
                raise ValueError(text)
            # A key that names no worker would be looked for among those of this one.
            self._ids.owner(key)
        except (ValueError, Error, BadSessionId):
            raise ClassicRefused("bad_connection_token") from None
        return HttpPlace(room, peer, key)


def _signed(room: str, peer: str, key: str) -> bytes:
    # Names are escaped: they have no space.
    return f"{room} {peer} {key}".encode("ascii")


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), b"-_", validate=True)
