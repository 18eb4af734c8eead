"""Digest authentication (RFC 8760, with MD5 as clients send it) by passwords that the relay can derive itself.

A server cannot check a digest over a token that it does not have. So the password of a user is an HMAC over its room,
its name and the time of its end, under the setting `auth-secret`. The relay derives it from the user name, which has
the time and the name. An application's server makes it with one HMAC as well.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from relay.fleet_key import FleetKey
from relay.gateways.sip.errors import SipRefused
from relay.gateways.sip.fields import Parameters
from relay.model.errors import Refused

REALM: Final = "relay"
NONCE_LIFE: Final = 300
"""Seconds for which a nonce can be answered."""

_PURPOSE: Final = "sip-nonce"
_MAC: Final = 16
_MOST_EXPIRY: Final = 12
_UNREPRODUCIBLE: Final = 32


@dataclass(frozen=True, slots=True)
class Login:
    """A user that has proved its password: `user` is its text, and `expires` the Unix time at which that ends."""

    user: str
    expires: int


def password(secret: str, room: str, user: str, expires: int) -> str:
    """Return the password of a user in one room: URL-safe Base64 of HMAC-SHA256, without padding.

    The names are texts, and not escaped.
    """
    text = f"sip\n{room}\n{user}\n{expires}".encode("utf-8", "surrogatepass")
    return base64.urlsafe_b64encode(hmac.digest(secret.encode(), text, "sha256")).decode().rstrip("=")


def mint(secret: str, room: str, user: str, expires: int) -> Mapping[str, str]:
    """Return the login of a client: its user name and its password."""
    return {"username": f"{expires}.{user}", "password": password(secret, room, user, expires)}


class Challenges:
    """Makes challenges, and checks the answers to those of any worker of the fleet."""

    def __init__(self, key: FleetKey, secrets_: Sequence[str], leeway: float) -> None:
        self._key = key
        self._secrets = secrets_
        self._leeway = leeway

    def header(self, *, stale: bool = False) -> str:
        """Return the value of WWW-Authenticate; without a secret, tokens are all that can be asked for."""
        if not self._secrets:
            return f'Bearer realm="{REALM}"'
        end = ", stale=true" if stale else ""
        return f'Digest realm="{REALM}", nonce="{self._nonce()}", algorithm=MD5, qop="auth"{end}'

    def check(self, parameters: Parameters, method: str, room: str, now: float | None = None) -> Login:
        """Return the user that answers a challenge; raise `SipRefused` (`bad_challenge`), or `token_expired`.

        `room` is the text of its name. An answer to a nonce that is too old has `stale` in the detail of the error.
        """
        now = time.time() if now is None else now
        age = self._age(parameters.get("nonce", ""), now)
        expires, user = _split(parameters.get("username", ""))
        correct = [self._response(one, parameters, method, room, user, expires) for one in self._secrets]
        given = parameters.get("response", "").lower().encode("utf-8", "replace")
        if not any([hmac.compare_digest(one.encode(), given) for one in correct]) or age is None:
            raise SipRefused("bad_challenge")
        if not 0 <= age <= NONCE_LIFE:
            raise SipRefused("bad_challenge", "the nonce is too old", stale=True)
        if expires + self._leeway < now:
            raise Refused("token_expired")
        return Login(user, expires)

    def _nonce(self) -> str:
        made = int(time.time()).to_bytes(8, "big") + secrets.token_bytes(8)
        return base64.urlsafe_b64encode(made + self._key.sign(_PURPOSE, made, size=_MAC)).decode()

    def _age(self, nonce: str, now: float) -> float | None:
        try:
            raw = base64.urlsafe_b64decode(nonce)
        except (ValueError, binascii.Error):
            return None
        if len(raw) != _UNREPRODUCIBLE or not self._key.verify(_PURPOSE, raw[:-_MAC], raw[-_MAC:], size=_MAC):
            return None
        # Workers' clocks differ by a little.
        return max(0.0, now - int.from_bytes(raw[:8], "big"))

    def _response(self, secret: str, given: Parameters, method: str, room: str, user: str, expires: int) -> str:
        first = _md5(f"{given.get('username', '')}:{REALM}:{password(secret, room, user, expires)}")
        second = _md5(f"{method}:{given.get('uri', '')}")
        if given.get("qop"):
            middle = f"{given.get('nc', '')}:{given.get('cnonce', '')}:auth"
            return _md5(f"{first}:{given.get('nonce', '')}:{middle}:{second}")
        return _md5(f"{first}:{given.get('nonce', '')}:{second}")


def _split(name: str) -> tuple[int, str]:
    expires, dot, user = name.partition(".")
    if not (dot and user and expires.isascii() and expires.isdigit() and len(expires) <= _MOST_EXPIRY):
        raise SipRefused("bad_challenge", "the user name has the form EXPIRES.USER, as the relay makes it")
    return int(expires), user


def _md5(text: str) -> str:
    return hashlib.md5(text.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()
