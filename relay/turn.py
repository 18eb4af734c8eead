"""Credentials for TURN servers that end by themselves.

They have the form of the TURN REST API (draft-uberti-behave-turn-rest-00), which coturn takes with `use-auth-secret`:
the username begins with the Unix time at which it ends, and the password is a MAC of it. So a TURN server that has the
secret checks a credential without asking anybody.
"""

import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Sequence
from typing import Final

from relay.model.ice import IceServer

_MAX_PEER: Final = 255
"""Characters of a peer id in a username: a username has fewer than 509 bytes (RFC 8489, section 14.3)."""


class TurnServers:
    """TURN servers with one `secret`; each credential is for one peer, and ends after `ttl` seconds."""

    def __init__(self, urls: Sequence[str], secret: str, *, ttl: int, now: Callable[[], float] = time.time) -> None:
        self._urls = tuple(urls)
        self._secret = secret.encode()
        self._now = now
        self.ttl = ttl

    def server(self, peer: str) -> IceServer:
        """Return the servers with a credential for the peer with this id (escaped)."""
        username = f"{int(self._now()) + self.ttl}:{_user(peer)}"
        mac = hmac.digest(self._secret, username.encode("ascii"), "sha1")
        return IceServer(self._urls, username, base64.b64encode(mac).decode("ascii"))


def _user(peer: str) -> str:
    """Return the peer id, or the hash of one that a TURN server might refuse.

    An escaped name has no character that coturn refuses in a username, and a colon in it is none that ends the time.
    But coturn takes a username with these two words for an attack on its database.
    """
    lower = peer.lower()
    if len(peer) > _MAX_PEER or ("union" in lower and "select" in lower):
        return hashlib.sha256(peer.encode("ascii")).hexdigest()
    return peer
