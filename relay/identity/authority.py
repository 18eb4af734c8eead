"""The authority: decides what the holder of a token may do."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, Final, Protocol

from relay.config.auth_settings import AuthSettings
from relay.identity.brake import GuessBrake
from relay.identity.claims import parse_rooms
from relay.identity.grants import GUEST, Grants
from relay.identity.token_form import MAX_TOKEN, UnknownKey
from relay.limits import Clock
from relay.model.errors import Refused

_MOST_REMEMBERED: Final = 4096
"""Tokens whose grants are remembered: those that came last."""

_DELAY: Final = 1.0
"""Seconds that a refusal takes for an address which has sent too many wrong tokens."""

_GUESSES: Final = frozenset({"bad_token"})
"""Codes of refusals that count as attempts to guess; an old token is no attempt."""


class KeySource(Protocol):
    """The keys that prove tokens at the time."""

    generation: int
    """Raised whenever the keys have changed."""

    def current(self) -> Sequence[Any]:
        """Return the keys (`VerificationKey`); raise `Refused` (`keys_unavailable`) if they cannot be had."""
        ...

    async def renew(self) -> bool:
        """Look for newer keys, as a token names one that is not there.

        Returns whether the keys that `current` returns now are up to date, so that an unknown one does not exist.
        """
        ...


class Authority:
    """Decides what a client may do, by its token and the setting `auth`.

    Grants of proven tokens are remembered until they end, or the keys change. `attempts` different wrong tokens a
    minute of one address are refused at once, and further ones after a second; tokens that are right are not slowed
    down, as many clients may be behind one address. `refused` is called with the code of each refusal.
    """

    def __init__(
        self,
        settings: AuthSettings,
        source: KeySource,
        *,
        attempts: int,
        clock: Clock,
        wall_clock: Clock = time.time,
        refused: Callable[[str], object] = lambda code: None,
    ) -> None:
        self.is_off = settings.auth == "off"
        self.is_required = settings.auth == "required"
        self.url_tokens = settings.url_tokens == "on" and not self.is_off
        self._source = source
        self._wall_clock = wall_clock
        self._refused = refused
        self._brake = GuessBrake(
            attempts,
            clock,
            tokens="a token that is not valid",
            advice="if it is of your application, compare its key, audience and issuer with the settings auth-*",
        )
        self._verify = _no_verifier if self.is_off else _verifier(settings, source)
        # The digest of a token → its grants; no token itself is kept. The one that came last is the last one.
        self._remembered: OrderedDict[bytes, Grants] = OrderedDict()
        self._generation = source.generation

    async def grants(self, token: str | None, address: str) -> Grants | None:
        """Return the grants of the client of a request; None if tokens are off: it may do all, and no token is read.

        `token` is None for a request without one. `address` is as `counted_address` returns it. Raises `Refused`:
        `token_required`, `bad_token`, `token_expired`, `token_not_yet_valid` or `keys_unavailable`.
        """
        if self.is_off:
            return None
        if token is None:
            if self.is_required:
                self._refused("token_required")
                raise Refused("token_required")
            return GUEST
        # Of a token that is too long, one character more is enough to refuse it: the rest costs nothing.
        token = token[: MAX_TOKEN + 1]
        digest = sha256(token.encode("utf-8", "surrogatepass")).digest()
        known = self._recall(digest)
        if known is not None:
            return known
        try:
            found = await self._prove(token)
        except Refused as refusal:
            self._refused(refusal.code)
            await self._slow_down(address, digest, refusal.code)
            raise
        self._remember(digest, found)
        return found

    async def _prove(self, token: str) -> Grants:
        """Return the grants of a token; look for newer keys if it names one that is not known."""
        try:
            return self._verify(token)
        except Refused as refusal:
            if not isinstance(refusal, UnknownKey) and refusal.code != "keys_unavailable":
                raise
        current = await self._source.renew()
        try:
            return self._verify(token)
        except UnknownKey:
            if current:
                raise
            # A newer key may prove the token: the client should not take this for a refusal of it.
            raise Refused("keys_unavailable") from None

    async def _slow_down(self, address: str, digest: bytes, code: str) -> None:
        if code not in _GUESSES:
            return
        held = self._brake.holds(address)
        self._brake.note(address, digest)
        if held:
            await asyncio.sleep(_DELAY)

    def _recall(self, digest: bytes) -> Grants | None:
        """Return the grants of a token that was proven with the present keys, and has not ended."""
        if self._generation != self._source.generation:
            # A key may have been withdrawn, so the tokens that it proved do not count any more.
            self._generation = self._source.generation
            self._remembered.clear()
        found = self._remembered.get(digest)
        if found is None:
            return None
        if found.expires is None or found.expires <= self._wall_clock():
            del self._remembered[digest]
            return None
        self._remembered.move_to_end(digest)
        return found

    def _remember(self, digest: bytes, grants: Grants) -> None:
        if len(self._remembered) >= _MOST_REMEMBERED:
            self._remembered.popitem(last=False)
        self._remembered[digest] = grants


def _no_verifier(token: str) -> Grants:
    raise Refused("bad_token")


def _verifier(settings: AuthSettings, source: KeySource) -> Callable[[str], Grants]:
    # Imported here: a worker without tokens does not load the libraries for them.
    from relay.identity.verifier import TokenVerifier, VerifierSettings

    verifier = TokenVerifier(
        source.current,
        VerifierSettings(
            audience=settings.auth_audience,
            issuer=settings.auth_issuer,
            leeway=settings.auth_leeway,
            default_rooms=parse_rooms(settings.auth_default_rooms),
        ),
    )
    return verifier.verify
