"""Digest authentication (RFC 8760, with MD5 as clients send it) by passwords that the relay can derive itself.

A server cannot check a digest over a token that it does not have. So the password of a user is an HMAC over its room,
its name and the time of its end, under the setting `auth-secret`. The relay derives it from the user name, which has
the time and the name. An application's server makes it with one HMAC as well.
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from relay.fleet_key import FleetKey
from relay.gateways.sip.errors import SipRefused
from relay.gateways.sip.fields import BadField, Parameters, Uri, read_uri
from relay.gateways.sip.nonce_counts import GroupedNonceCounts
from relay.model.errors import Refused
from relay.model.names import unescape

REALM: Final = "relay"
NONCE_LIFE: Final = 300
"""Seconds for which a nonce can be answered."""

_PURPOSE: Final = "sip-nonce"
_TIME: Final = 8
_RANDOM: Final = 8
_MAC: Final = 16
"""Bytes of the parts of a nonce."""

_MOST_EXPIRY: Final = 12

_is_count: Final = re.compile("(?!0{8})[0-9A-Fa-f]{8}").fullmatch


@dataclass(frozen=True, slots=True)
class LoginRequest:
    """A request that needs a proof of its sender: the escaped name of its room, and the address of the client."""

    method: str
    uri: Uri
    room: str
    address: str


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
    """Makes challenges, and checks the answers to those of any worker of the fleet.

    A nonce is for one room and one client address. A worker takes an answer once, by its nonce count. Workers share no
    list of nonces: another worker takes the same answer again, from the same address, while the nonce lives.
    """

    def __init__(self, key: FleetKey, secrets_: Sequence[str], leeway: float) -> None:
        self._key = key
        self._secrets = secrets_
        self._leeway = leeway
        self._counts = GroupedNonceCounts()

    def header(self, room: str, address: str, *, stale: bool = False) -> str:
        """Return the value of WWW-Authenticate; without a secret, tokens are all that can be asked for."""
        if not self._secrets:
            return f'Bearer realm="{REALM}"'
        end = ", stale=true" if stale else ""
        return f'Digest realm="{REALM}", nonce="{self._nonce(room, address)}", algorithm=MD5, qop="auth"{end}'

    def check(self, given: Parameters, asked: LoginRequest, now: float | None = None) -> Login:
        """Return the user that answers a challenge; raise `SipRefused` (`bad_challenge`), or `token_expired`.

        A right answer to a nonce that is of no use any more has `stale` in the detail of the error: the client answers
        the next challenge by itself. The user name and the password are checked before the nonce.
        """
        now = time.time() if now is None else now
        _check_form(given, asked.uri)
        expires, user = _split(given.get("username", ""))
        correct = [self._response(one, given, asked, user, expires) for one in self._secrets]
        response = given.get("response", "").lower().encode("utf-8", "replace")
        if not any([hmac.compare_digest(one.encode(), response) for one in correct]):
            raise SipRefused("bad_challenge")
        if not self._take(given, asked, now):
            raise SipRefused("bad_challenge", "the nonce is too old, used up, or made for another client", stale=True)
        if expires + self._leeway < now:
            raise Refused("token_expired")
        return Login(user, expires)

    def _nonce(self, room: str, address: str) -> str:
        made = time.time_ns().to_bytes(_TIME, "big") + secrets.token_bytes(_RANDOM)
        return base64.urlsafe_b64encode(
            made + self._key.sign(_PURPOSE, _signed(made, room, address), size=_MAC)
        ).decode()

    def _take(self, given: Parameters, asked: LoginRequest, now: float) -> bool:
        """Take a count of the nonce; False if the relay has not made it for this client, or it is used up."""
        try:
            raw = base64.b64decode(given["nonce"], b"-_", validate=True)
        except (ValueError, binascii.Error):
            return False
        made, mac = raw[:-_MAC], raw[-_MAC:]
        if len(made) != _TIME + _RANDOM:
            return False
        if not self._key.verify(_PURPOSE, _signed(made, asked.room, asked.address), mac, size=_MAC):
            return False
        time_made = int.from_bytes(made[:_TIME], "big") / 1e9
        # Workers' clocks differ by a little.
        oldest = now - NONCE_LIFE
        counts = self._counts.of(asked.address)
        counts.forget(oldest)
        return time_made >= oldest and counts.take(made, time_made, int(given["nc"], 16))

    @staticmethod
    def _response(secret: str, given: Parameters, asked: LoginRequest, user: str, expires: int) -> str:
        first = _md5(f"{given['username']}:{REALM}:{password(secret, unescape(asked.room), user, expires)}")
        second = _md5(f"{asked.method}:{given['uri']}")
        return _md5(f"{first}:{given['nonce']}:{given['nc']}:{given['cnonce']}:auth:{second}")


def _check_form(given: Parameters, uri: Uri) -> None:
    """Raise `SipRefused` (`bad_challenge`) for an answer that is not to such a challenge, or not of this request."""
    if given.get("realm") != REALM or given.get("qop") != "auth" or given.get("algorithm", "MD5").upper() != "MD5":
        raise SipRefused("bad_challenge", f'the answer has realm="{REALM}", qop=auth and algorithm=MD5')
    if not all(given.get(name) for name in ("nonce", "cnonce")) or not _is_count(given.get("nc", "")):
        raise SipRefused("bad_challenge", "the answer has a nonce, a cnonce, and a count (nc) of 8 digits")
    try:
        named = read_uri(given.get("uri", ""))
    except BadField:
        named = None
    if named is None or (named.scheme, named.place) != (uri.scheme, uri.place):
        raise SipRefused("bad_challenge", "the uri of the answer is not that of the request")


def _signed(made: bytes, room: str, address: str) -> bytes:
    # Neither a name nor an address has a line end.
    return b"%b%b" % (made, f"{room}\n{address}".encode())


def _split(name: str) -> tuple[int, str]:
    expires, dot, user = name.partition(".")
    if not (dot and user and expires.isascii() and expires.isdigit() and len(expires) <= _MOST_EXPIRY):
        raise SipRefused("bad_challenge", "the user name has the form EXPIRES.USER, as the relay makes it")
    return int(expires), user


def _md5(text: str) -> str:
    return hashlib.md5(text.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()
