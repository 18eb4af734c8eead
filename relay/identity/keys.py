"""The keys that prove tokens: read from a secret, from PEM, or from a JSON Web Key Set (RFC 7517).

A key proves the algorithms of its kind alone, and no token changes that: a secret HS, an RSA key RS and PS, a key of a
curve the one algorithm of this curve. So no public key is ever used as a secret (algorithm confusion), and `none`
proves nothing.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate

from relay.model.errors import NotAllowed
from relay.model.json_text import nests_deeper

MAX_SET: Final = 1_048_576
"""Bytes of a key set, or of PEM text."""

MAX_KEYS: Final = 100
"""Keys of one source that are read."""

_MAX_ID: Final = 500
"""Characters of the id of a key."""

_MAX_NESTING: Final = 16

_RSA_BITS: Final = (2048, 8192)
"""Size of an RSA key: a smaller one can be broken, a larger one takes too long."""

_HASH_BYTES: Final = {"HS256": 32, "HS384": 48, "HS512": 64}
_OF_RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_OF_CURVES: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512", "secp256k1": "ES256K"}

ALGORITHMS: Final = frozenset({*_HASH_BYTES, *_OF_RSA, *_OF_CURVES.values(), "EdDSA"})
"""Every algorithm that some key may prove."""

_BLOCK: Final = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,40})-----.+?-----END \1-----", re.DOTALL)

UNREADABLE: Final = (
    jwt.PyJWTError, UnsupportedAlgorithm, ValueError, TypeError, KeyError, AttributeError, OverflowError,
)  # fmt: skip
"""Errors of the libraries for keys that they cannot read; a key set may contain anything."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """One key: the algorithms that it proves, its id ("" for none), and its material as PyJWT takes it."""

    algorithms: tuple[str, ...]
    material: Any = field(repr=False)
    id: str = ""


def keys_of_secrets(text: str) -> Sequence[VerificationKey]:
    """Return a key for each of the secrets, which spaces separate; raise `NotAllowed` for a text that is no secret."""
    return tuple(map(_secret_key, text.split()))


def _secret_key(secret: str) -> VerificationKey:
    try:
        material = jwt.get_algorithm_by_name("HS256").prepare_key(secret)
    except jwt.PyJWTError:
        raise NotAllowed("it is a public key, which anybody may have, and no secret") from None
    return VerificationKey(tuple(name for name, size in _HASH_BYTES.items() if len(material) >= size), material)


def keys_of_pem(text: str) -> Sequence[VerificationKey]:
    """Return the public keys and those of the certificates in PEM text; raise `NotAllowed` with the reason.

    A newline may be written as a backslash and an n, as in files of variables.
    """
    blocks = list(_BLOCK.finditer(text.replace("\\n", "\n")))
    if not blocks:
        raise NotAllowed("it has no PEM text (-----BEGIN PUBLIC KEY-----)")
    if len(blocks) > MAX_KEYS:
        raise NotAllowed(f"it has more than {MAX_KEYS} keys")
    return tuple(_pem_key(block[1], block[0].encode()) for block in blocks)


def _pem_key(kind: str, pem: bytes) -> VerificationKey:
    if "PRIVATE KEY" in kind:
        raise NotAllowed(
            "it has a private key, and the relay needs none: make its public key with openssl pkey -in KEY -pubout"
        )
    try:
        key = load_pem_x509_certificate(pem).public_key() if kind == "CERTIFICATE" else load_pem_public_key(pem)
    except UNREADABLE:
        raise NotAllowed(f"its {kind} cannot be read") from None
    return VerificationKey(algorithms_of(key), key)


def keys_of_set(text: bytes) -> Sequence[VerificationKey]:
    """Return the public keys of a key set that prove signatures; those that the relay cannot use are left out.

    Raises `NotAllowed` if the text is no key set, or if there is no key that can be used.
    """
    if len(text) > MAX_SET:
        raise NotAllowed(f"it has more than {MAX_SET} bytes")
    if nests_deeper(text, _MAX_NESTING):
        raise NotAllowed(f"it nests more than {_MAX_NESTING} levels deep")
    try:
        found = msgspec.json.decode(text, type=dict[str, Any]).get("keys")
    except ValueError:
        raise NotAllowed("it is not a JSON object") from None
    if not isinstance(found, list):
        raise NotAllowed('it has no list of keys: {"keys":[…]}')
    keys = [key for one in found[:MAX_KEYS] if (key := _set_key(one)) is not None]
    if not keys:
        raise NotAllowed(f"none of its {len(found)} keys is a public key for signatures that the relay knows")
    return tuple(keys)


def _set_key(one: Any) -> VerificationKey | None:
    """Return a key of a set, None for one that cannot be used: a secret, a key for encryption, or a kind unknown."""
    if not isinstance(one, dict) or not _proves_signatures(one):
        return None
    name, wanted = one.get("kid", ""), one.get("alg")
    if not isinstance(name, str) or len(name) > _MAX_ID:
        return None
    try:
        # The algorithm of the set is checked below: PyJWT refuses a key whose algorithm it does not know.
        material: Any = jwt.PyJWK({field: value for field, value in one.items() if field != "alg"}).key
        # Of a private key, which does not belong here, only the public part.
        public = material.public_key() if hasattr(material, "public_key") else material
        algorithms = algorithms_of(public)
    except UNREADABLE:
        return None
    if wanted is not None:
        algorithms = tuple(name for name in algorithms if name == wanted)
    return VerificationKey(algorithms, public, name) if algorithms else None


def _proves_signatures(one: Mapping[str, Any]) -> bool:
    operations = one.get("key_ops")
    # A secret in a document that others read would be none.
    return (
        one.get("kty") in ("RSA", "EC", "OKP")
        and one.get("use", "sig") == "sig"
        and (operations is None or (isinstance(operations, list) and "verify" in operations))
    )


def algorithms_of(key: object) -> tuple[str, ...]:
    """Return the algorithms that a public key proves; raise `NotAllowed` for a key of another kind."""
    if isinstance(key, RSAPublicKey):
        least, most = _RSA_BITS
        if not least <= key.key_size <= most:
            raise NotAllowed(f"its RSA key has {key.key_size} bits, and {least} to {most} are allowed")
        return _OF_RSA
    if isinstance(key, Ed25519PublicKey | Ed448PublicKey):
        return ("EdDSA",)
    if isinstance(key, EllipticCurvePublicKey) and key.curve.name in _OF_CURVES:
        return (_OF_CURVES[key.curve.name],)
    raise NotAllowed("it has a key that is not RSA, of a curve of NIST, secp256k1, Ed25519 or Ed448")
