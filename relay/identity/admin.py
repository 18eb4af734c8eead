"""The admin token."""

import hmac
from hashlib import sha256
from typing import Final

from relay.identity.brake import GuessBrake
from relay.identity.token_form import has_token_form
from relay.limits import Clock
from relay.model.errors import Refused

_LONGEST: Final = 1000
"""Characters of a text that may be the admin token: the setting allows half as many."""


class AdminToken:
    """The admin token; "" if the operator has set none, and then no request has it.

    An address may send `attempts` different wrong tokens a minute. Beyond that, all tokens of the address are refused
    unseen until the minute's share is there again, so that guessing is slow; tokens of other addresses are not.
    `beside_users`: clients have tokens of their own, which come in the same places and are no attempts.
    """

    def __init__(self, token: str, *, attempts: int, clock: Clock, beside_users: bool = False) -> None:
        self._digest = _digest(token) if token else None
        self._beside_users = beside_users
        self._brake = GuessBrake(
            attempts, clock, tokens="a wrong admin token", advice="if it is a program of yours, give it the new token"
        )

    @property
    def is_set(self) -> bool:
        """Whether there is an admin token."""
        return self._digest is not None

    def check(self, address: str, authorization: str | None, *, otherwise: str | None = None) -> bool:
        """Return whether a request has the admin token; False if it has none.

        The token comes in the header `Authorization: Bearer TOKEN`; `otherwise` is one that the request has in another
        part, and counts without such a header. Credentials of other schemes are ignored, because a proxy may need them.
        `address` is as `counted_address` returns it. A token of a user is not the admin token, and not refused here.
        Raises `Refused`: `unauthorized` for another token, or `too_many_attempts`.
        """
        scheme, space, credentials = (authorization or "").partition(" ")
        offered = credentials.strip() if space and scheme.lower() == "bearer" else otherwise
        if self._digest is None or offered is None:
            return False
        of_user = self._beside_users and has_token_form(offered)
        if not of_user and self._brake.holds(address):
            raise Refused("too_many_attempts")
        # Digests have one length, and are compared in the same time: it reveals nothing of the token.
        digest = _digest(offered)
        if hmac.compare_digest(digest, self._digest):
            return True
        if of_user:
            return False
        self._brake.note(address, digest)
        raise Refused("unauthorized", "this is not the admin token")


def _digest(token: str) -> bytes:
    # No admin token is so long, so the rest does not matter.
    return sha256(token[:_LONGEST].encode("utf-8", "surrogatepass")).digest()
