"""Random peer ids and resume keys, and the fingerprints of keys."""

import base64
import hashlib
import os
from collections.abc import Callable


class IdGenerator:
    """Makes random ids and keys. It draws 4,096 bytes at a time: a system call for 16 bytes costs nearly as much."""

    _DRAWN = 4096

    def __init__(self, draw: Callable[[int], bytes] = os.urandom) -> None:
        self._draw = draw
        self._bytes = b""
        self._used = 0

    def resume_key(self) -> str:
        """Return a resume key of 128 random bits, with which a client reclaims its membership."""
        return base64.urlsafe_b64encode(self._take(16)).rstrip(b"=").decode("ascii")

    def peer_id(self) -> str:
        """Return a peer id of 96 random bits, for a client that asked for none."""
        return self._take(12).hex()

    def secret(self, count: int) -> bytes:
        """Return so many random bytes, at most 4,096."""
        return self._take(count)

    def _take(self, count: int) -> bytes:
        if self._used + count > len(self._bytes):
            self._bytes, self._used = self._draw(self._DRAWN), 0
        taken = self._bytes[self._used : self._used + count]
        self._used += count
        return taken


def fingerprint(resume_key: str) -> str:
    """Return the SHA-256 of a resume key, in hex; "" for "". Redis holds this, so that reading it reveals no key."""
    return hashlib.sha256(resume_key.encode()).hexdigest() if resume_key else ""
