"""The Via that the relay puts into requests, by which a response finds its way back over any worker.

It names the place of the sender, its peer id, in a parameter that a MAC under the fleet key authenticates. The MAC
covers the room, the call and the number of the request. So nobody can send a response to a place, or in a call, other
than those of a request that it got.
"""

import base64
import binascii
import hashlib
from typing import Final

from relay.fleet_key import FleetKey
from relay.gateways.sip.message import SipMessage, SipRequest

SENT_BY: Final = "relay.invalid"
"""The host of the relay's Via. Names below `.invalid` are never resolved (RFC 2606)."""

MAGIC: Final = "z9hG4bK"
"""The first characters of a branch of RFC 3261."""

_PURPOSE: Final = "sip-via"
_PLACE: Final = "place"
_MAC: Final = 16
_DIGEST: Final = 15


class ViaSeal:
    """Makes and reads the Via of one room, for all workers of the fleet."""

    def __init__(self, key: FleetKey, room: str) -> None:
        self._key = key
        self._room = room

    def value(self, request: SipRequest, sender: str, target: str) -> str:
        """Return the Via for a request of this sender to one target; the same request gets the same one again."""
        branch = self.branch(request, sender, target)
        place = base64.urlsafe_b64encode(sender.encode("ascii") + self._mac(request, sender, branch)).decode()
        return f"SIP/2.0/WS {SENT_BY};branch={branch};{_PLACE}={place.rstrip('=')}"

    def branch(self, request: SipRequest, sender: str, target: str) -> str:
        """Return the id of the transaction between the relay and a target, which follows from that of the sender."""
        parts = (self._room, sender, target, *map(str, request.transaction), request.sender.tag)
        digest = hashlib.blake2b("\0".join(parts).encode("utf-8", "replace"), digest_size=_DIGEST).digest()
        return MAGIC + base64.b32encode(digest).decode().lower().rstrip("=")

    def place(self, message: SipMessage) -> str | None:
        """Return the peer id in the first Via of a message; None if the relay has not made that Via for it."""
        via = message.via
        text = via.parameters.get(_PLACE, "")
        try:
            raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            sender = raw[:-_MAC].decode("ascii")
        except (ValueError, binascii.Error):
            return None
        if via.host != SENT_BY or not sender:
            return None
        if not self._key.verify(_PURPOSE, self._signed(message, sender, via.branch), raw[-_MAC:], size=_MAC):
            return None
        return sender

    def _mac(self, message: SipMessage, sender: str, branch: str) -> bytes:
        return self._key.sign(_PURPOSE, self._signed(message, sender, branch), size=_MAC)

    def _signed(self, message: SipMessage, sender: str, branch: str) -> bytes:
        parts = (self._room, sender, branch, message.call, str(message.sequence.number))
        return b"".join([b"%d:%b" % (len(part), part) for part in (text.encode("utf-8", "replace") for text in parts)])


def is_own(value: str) -> bool:
    """Return whether a Via names the relay as its sender; whether the relay made it is not checked."""
    return SENT_BY in value.lower()
