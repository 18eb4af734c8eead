"""Session ids that name the worker which has the session.

An id is 44 characters of URL-safe base64: 16 random bytes, 7 bytes that name the owning worker, and 10 bytes of a MAC
over both. The random bytes make it unguessable; the MAC lets any worker of the fleet detect an id that no worker has
issued, before the id decides where a request goes.
"""

import base64
import re
from hashlib import sha256
from typing import Final

from relay.fleet_key import FleetKey
from relay.ids import IdGenerator
from relay.model.workers import GROUP_SIZE, Owner

LENGTH: Final = 44
"""Characters of a session id."""

_PURPOSE: Final = "session-ids"
_RANDOM: Final = 16
_MAC: Final = 10
_SIGNED: Final = _RANDOM + GROUP_SIZE + 1
_CHARACTERS: Final = re.compile(r"[A-Za-z0-9_-]{%d}" % LENGTH, re.ASCII)  # noqa: UP031 - the braces are the pattern's


class BadSessionId(ValueError):
    """No worker of this fleet has issued the session id."""


class SessionIds:
    """Issues the session ids of one worker, and reads those of all workers of its fleet."""

    def __init__(self, key: FleetKey, me: Owner, random: IdGenerator) -> None:
        self._key = key
        self._name = me.group + bytes([me.index])
        self._random = random

    def issue(self) -> str:
        """Return a new id of a session of this worker."""
        return self._signed(self._random.secret(_RANDOM) + self._name)

    def of_local(self, secret: str, workers: int) -> str:
        """Return an id that leads all requests of one client to the same one of so many workers behind this port.

        `secret` is a key that the client has made itself. The id is sent to nobody.
        """
        digest = sha256(secret.encode()).digest()
        return self._signed(digest[:_RANDOM] + self._name[:-1] + bytes([digest[-1] % workers]))

    def owner(self, session_id: str) -> Owner:
        """Return the worker that has issued an id; raises `BadSessionId`."""
        if not _CHARACTERS.fullmatch(session_id):
            raise BadSessionId("not a session id")
        raw = base64.urlsafe_b64decode(session_id)
        signed, mac = raw[:_SIGNED], raw[_SIGNED:]
        if not self._key.verify(_PURPOSE, signed, mac, size=_MAC):
            raise BadSessionId("not a session id of this fleet")
        return Owner(signed[_RANDOM:-1], signed[-1])

    def _signed(self, signed: bytes) -> str:
        return base64.urlsafe_b64encode(signed + self._key.sign(_PURPOSE, signed, size=_MAC)).decode("ascii")
