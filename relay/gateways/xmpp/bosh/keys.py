"""Key sequences, by which a client without TLS proves that its requests are its own (XEP-0124, section 15)."""

import hashlib
import hmac

from relay.gateways.xmpp.bosh.body import RequestBody


class KeySequence:
    """The keys of one client: each is hashed to the one before. A client whose first request has none needs none."""

    __slots__ = ("_before",)

    def __init__(self, new_key: str) -> None:
        self._before = new_key.lower()

    def accepts(self, request: RequestBody) -> bool:
        """Take the key of the next request; False if it is not the client's."""
        if not self._before:
            return True
        # The hash is the protocol's, and guards a session of minutes.
        hashed = hashlib.sha1(request.key.encode(), usedforsecurity=False).hexdigest()
        if not hmac.compare_digest(hashed.encode(), self._before.encode()):
            return False
        self._before = (request.new_key or request.key).lower()
        return True
