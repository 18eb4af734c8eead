"""Connection tokens: a negotiation gives one to a client, and each request of its connection has it as `id`.

A token is signed with a key of the fleet, so any worker can verify it, and none remembers it. It has the id of the
session, which names the worker that negotiated, the time, and the peer id of the client.
"""

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Final

from relay.fleet_key import FleetKey
from relay.model.errors import Refused
from relay.model.names import check_peer
from relay.session_ids import BadSessionId, SessionIds

FRESH: Final = 30_000
"""Milliseconds for which a token opens a connection: each transport that a client tries in vain leaves one behind."""

_PURPOSE: Final = "connection tokens of SignalR"
_MAC: Final = 16
_TIME: Final = 6
_ID: Final = 33
"""Bytes of a session id."""

_LONGEST: Final = 4096
_CHARACTERS: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


class BadToken(ValueError):
    """No worker of this fleet has issued the token."""


@dataclass(frozen=True, slots=True)
class ConnectionToken:
    """A token that was verified: the id of its session, the peer id, and its age in milliseconds."""

    session: str = field(repr=False)
    peer: str
    age: int

    @property
    def is_fresh(self) -> bool:
        """Whether the token may open its connection now."""
        # Clocks of workers may differ a little.
        return -FRESH <= self.age <= FRESH


class HubTokens:
    """Issues and verifies tokens; times are those of the fleet, in milliseconds."""

    def __init__(self, key: FleetKey, ids: SessionIds) -> None:
        self._key = key
        self._ids = ids

    def issue(self, peer: str, now: int) -> str:
        """Return the token of a new connection, whose session is to be on this worker."""
        session = base64.urlsafe_b64decode(self._ids.issue())
        signed = session + now.to_bytes(_TIME, "big") + peer.encode("ascii")
        return base64.urlsafe_b64encode(signed + self._key.sign(_PURPOSE, signed, size=_MAC)).rstrip(b"=").decode()

    def read(self, text: str, now: int) -> ConnectionToken:
        """Verify a token; raises `BadToken`."""
        if len(text) > _LONGEST or not _CHARACTERS.fullmatch(text):
            raise BadToken("not a connection token")
        try:
            raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except (binascii.Error, ValueError):
            raise BadToken("not a connection token") from None
        signed, mac = raw[:-_MAC], raw[-_MAC:]
        if len(signed) <= _ID + _TIME or not self._key.verify(_PURPOSE, signed, mac, size=_MAC):
            raise BadToken("not a connection token of this fleet")
        session = base64.urlsafe_b64encode(signed[:_ID]).decode("ascii")
        try:
            self._ids.owner(session)
            peer = check_peer(signed[_ID + _TIME :].decode("ascii"))
        except (BadSessionId, Refused, UnicodeDecodeError):
            raise BadToken("not a connection token of this fleet") from None
        return ConnectionToken(session, peer, now - int.from_bytes(signed[_ID : _ID + _TIME], "big"))
