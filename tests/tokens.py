"""Tokens of tests, signed with keys that only tests have."""

import time
from functools import cache
from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

SECRET = "secret-of-the-tests-0123456789abcdef-of-the-tests-0123456789abcdef"
"""The setting `auth-secret` of workers whose test names no other one; long enough for HS512."""


def token(secret: str = SECRET, *, ttl: float = 3600, alg: str = "HS256", **claims: Any) -> str:
    """Return a token with these claims; one that is None is left out."""
    claims = {"exp": int(time.time() + ttl), **claims}
    return jwt.encode({name: value for name, value in claims.items() if value is not None}, secret, alg)


@cache
def private_key(alg: str) -> Any:
    """A private key for an algorithm, the same one each time."""
    if alg.startswith(("RS", "PS")):
        return rsa.generate_private_key(65537, 2048)
    curves = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1, "ES256K": ec.SECP256K1}
    return ec.generate_private_key(curves[alg]()) if alg in curves else ed25519.Ed25519PrivateKey.generate()


def private_pem(alg: str) -> str:
    pem: bytes = private_key(alg).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem.decode()


def public_pem(alg: str) -> str:
    pem: bytes = private_key(alg).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem.decode()


def jwk(alg: str, name: str | None = None, *, key: Any = None, **more: Any) -> dict[str, Any]:
    """The public key for an algorithm, as a key set has it."""
    public = (key or private_key(alg)).public_key()
    found: dict[str, Any] = jwt.get_algorithm_by_name(alg).to_jwk(public, as_dict=True)
    found.pop("key_ops", None)
    return {**found, "alg": alg, **({"kid": name} if name else {}), **more}


def key_set(*keys: Any) -> bytes:
    return msgspec.json.encode({"keys": keys})


def signed(alg: str, name: str | None = None, *, key: Any = None, ttl: float = 3600, **claims: Any) -> str:
    """Return a token that a private key has signed; `name` is its key id."""
    claims = {"exp": int(time.time() + ttl), **claims}
    return jwt.encode(claims, key or private_key(alg), alg, headers={"kid": name} if name else None)
