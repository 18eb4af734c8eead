"""Makes tokens for trials and tests; in operation, the application's own server makes them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from relay.identity.claims import read_claims
from relay.identity.keys import UNREADABLE, algorithms_of
from relay.identity.token_form import MAX_TOKEN
from relay.model.errors import NotAllowed, Refused


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that signs tokens: its algorithm, its material as PyJWT takes it, and its id ("" for none)."""

    algorithm: str
    material: Any = field(repr=False)
    id: str = ""


def signing_secret(text: str) -> SigningKey:
    """Return the first of the secrets in the setting `auth-secret`; the others are older."""
    return SigningKey("HS256", text.split()[0].encode())


def signing_pem(pem: bytes, name: str = "") -> SigningKey:
    """Return the private key in PEM text; raise `NotAllowed` with the reason."""
    try:
        private = load_pem_private_key(pem, password=None)
    except UNREADABLE:
        raise NotAllowed("it has no private key (PEM) without a password") from None
    # The first one is that which most issuers use: RS256 of an RSA key.
    return SigningKey(algorithms_of(private.public_key())[0], private, name)


def mint(claims: Mapping[str, Any], key: SigningKey) -> str:
    """Return a token with these claims; raise `NotAllowed` for claims that the relay would refuse."""
    try:
        read_claims(claims, leeway=0)
    except Refused as error:
        raise NotAllowed(error.text) from None
    token = jwt.encode(dict(claims), key.material, key.algorithm, headers={"kid": key.id} if key.id else None)
    if len(token) > MAX_TOKEN:
        raise NotAllowed(f"the token has {len(token)} bytes, and at most {MAX_TOKEN} are allowed; grant patterns")
    return token
