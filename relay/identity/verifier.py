"""Proves tokens, with PyJWT: signature, times, audience and issuer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import jwt

from relay.identity.claims import read_claims
from relay.identity.grants import Grants, RoomGrant
from relay.identity.keys import ALGORITHMS, VerificationKey
from relay.identity.token_form import MAX_TOKEN, REFUSAL, UnknownKey, bad_token, has_token_form
from relay.model.errors import Refused

_MAX_TRIED: Final = 10
"""Keys that are tried for one token: those with its key id, or without any."""

_MAX_KEY_ID: Final = 500

_MISFORMED: Final = (ValueError, TypeError, KeyError, RecursionError, OverflowError)
"""Errors of PyJWT and below it for tokens whose JSON is not as expected; they are no `PyJWTError`."""


@dataclass(frozen=True, slots=True)
class VerifierSettings:
    """The audiences and issuers of which a token must name one, without any: see `auth-audience` and `auth-issuer`."""

    audience: Sequence[str] = ()
    issuer: Sequence[str] = ()
    leeway: float = 10.0
    default_rooms: Sequence[RoomGrant] = ()


class TokenVerifier:
    """Verifies tokens with the keys that `keys` returns at the time.

    Only keys that the relay has prove a token. Keys in a token, and addresses of keys (`jwk`, `jku`, `x5c`, `x5u`), are
    not read.
    """

    def __init__(self, keys: Callable[[], Sequence[VerificationKey]], settings: VerifierSettings) -> None:
        self._keys = keys
        self._settings = settings
        self._jwt = jwt.PyJWT(
            {
                "require": ["exp"],
                # When a token was made does not matter; from when on it counts, `nbf` says.
                "verify_iat": False,
                "verify_jti": False,
                "enforce_minimum_key_length": True,
            }
        )

    def verify(self, token: str) -> Grants:
        """Return the grants of a token.

        Raises `Refused`: `bad_token`, `token_expired` or `token_not_yet_valid`; `UnknownKey` (`bad_token`) if no key
        has the id that the token names. No text of the error has a part of the token, but for names in proven claims.
        """
        if len(token) > MAX_TOKEN:
            raise bad_token(f"it has more than {MAX_TOKEN} bytes")
        if not has_token_form(token):
            raise bad_token("it is no JSON Web Token: three parts of Base64url with dots between")
        algorithm, name = self._read_header(token)
        candidates, named = self._candidates(algorithm, name)
        for key in candidates:
            payload = self._prove(token, key, algorithm)
            if payload is not None:
                return read_claims(payload, leeway=self._settings.leeway, default_rooms=self._settings.default_rooms)
        if name and not named and not algorithm.startswith("HS"):
            raise UnknownKey("bad_token", f"{REFUSAL}the relay has no key with its key id (kid)")
        if not candidates:
            raise bad_token(f"the relay has no key for {algorithm}, with which it is signed")
        raise bad_token("no key of the relay proves its signature")

    def _read_header(self, token: str) -> tuple[str, str]:
        """Return the algorithm and the key id that a token names; nothing is proven yet."""
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, *_MISFORMED):
            raise bad_token("its header cannot be read") from None
        algorithm, name = header.get("alg"), header.get("kid", "")
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            raise bad_token("the algorithm of its signature is none that the relay takes")
        if not isinstance(name, str) or len(name) > _MAX_KEY_ID:
            raise bad_token(f"its key id is no text of at most {_MAX_KEY_ID} characters")
        return algorithm, name

    def _candidates(self, algorithm: str, name: str) -> tuple[Sequence[VerificationKey], bool]:
        """Return the keys that may prove a token, and whether some key has the id that it names."""
        keys = self._keys()
        named = bool(name) and any(key.id == name for key in keys)
        # Keys without an id are those of settings. A token without a key id may be signed with any key.
        fitting = [key for key in keys if algorithm in key.algorithms and (not name or key.id in ("", name))]
        fitting.sort(key=lambda key: not key.id)
        return fitting[:_MAX_TRIED], named

    def _prove(self, token: str, key: VerificationKey, algorithm: str) -> dict[str, Any] | None:
        """Return the claims of a token that a key proves, None if another key may; raise `Refused` otherwise."""
        try:
            return self._jwt.decode(
                token,
                key.material,
                # An algorithm of this key, never one that only the token names: `_candidates` has chosen the key by it.
                algorithms=[algorithm],
                audience=self._settings.audience or None,
                issuer=self._settings.issuer or None,
                leeway=self._settings.leeway,
            )
        except (jwt.InvalidSignatureError, jwt.InvalidKeyError):
            return None
        except jwt.ExpiredSignatureError:
            raise Refused("token_expired") from None
        except jwt.ImmatureSignatureError:
            raise Refused("token_not_yet_valid") from None
        except jwt.InvalidAudienceError:
            raise bad_token("it is for another audience (claim aud; setting auth-audience)") from None
        except jwt.InvalidIssuerError:
            raise bad_token("it is of another issuer (claim iss; setting auth-issuer)") from None
        except jwt.MissingRequiredClaimError as error:
            raise bad_token(f"it has no claim {error.claim}") from None
        except (jwt.PyJWTError, *_MISFORMED):
            raise bad_token("its claims cannot be read") from None
