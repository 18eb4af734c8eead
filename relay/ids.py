"""Random ids and keys, and the fingerprints under which keys are kept."""

import base64
import hashlib
import os
from collections.abc import Callable


class IdGenerator:
    """Random names and keys; asks the system for many bits at a time, which costs as much as asking for a few."""

    _DRAWN = 4096

    def __init__(self, draw: Callable[[int], bytes] = os.urandom) -> None:
        self._draw = draw
        self._bytes = b""
        self._used = 0

    def resume_key(self) -> str:
        """A key with which a client proves that it is the one that was here before: 128 random bits."""
        return base64.urlsafe_b64encode(self._take(16)).rstrip(b"=").decode("ascii")

    def peer_id(self) -> str:
        """A peer id for a client that wants none: 96 random bits."""
        return self._take(12).hex()

    def _take(self, count: int) -> bytes:
        if self._used + count > len(self._bytes):
            self._bytes, self._used = self._draw(self._DRAWN), 0
        taken = self._bytes[self._used : self._used + count]
        self._used += count
        return taken


def fingerprint(resume_key: str) -> str:
    """What is kept of a resume key: its SHA-256, in hex; "" of ""."""
    return hashlib.sha256(resume_key.encode()).hexdigest() if resume_key else ""
