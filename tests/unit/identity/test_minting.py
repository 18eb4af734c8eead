"""Making tokens."""

import time

import jwt
import pytest

from relay.identity.grants import Right
from relay.identity.keys import keys_of_pem, keys_of_secrets
from relay.identity.minting import mint, signing_pem, signing_secret
from relay.identity.verifier import TokenVerifier, VerifierSettings
from relay.model.errors import NotAllowed
from tests.tokens import SECRET, private_pem, public_pem

CLAIMS = {"exp": int(time.time()) + 3600, "rooms": ["demo"]}


def test_the_first_secret_signs() -> None:
    key = signing_secret(f"{SECRET} {'o' * 40}")
    assert SECRET not in repr(key)
    verifier = TokenVerifier(lambda: keys_of_secrets(SECRET), VerifierSettings())
    assert verifier.verify(mint(CLAIMS, key)).allow(Right.JOIN, "demo")


@pytest.mark.parametrize(("alg", "used"), [("RS512", "RS256"), ("ES384", "ES384"), ("EdDSA", "EdDSA")])
def test_a_private_key_signs_with_the_algorithm_of_its_kind(alg: str, used: str) -> None:
    made = mint(CLAIMS, signing_pem(private_pem(alg).encode(), "one"))
    assert jwt.get_unverified_header(made) == {"alg": used, "kid": "one", "typ": "JWT"}
    TokenVerifier(lambda: keys_of_pem(public_pem(alg)), VerifierSettings()).verify(made)


@pytest.mark.parametrize("pem", [b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"])
def test_text_without_a_private_key_is_refused(pem: bytes) -> None:
    with pytest.raises(NotAllowed):
        signing_pem(pem)
    with pytest.raises(NotAllowed):
        signing_pem(public_pem("ES256").encode())


def test_claims_that_the_relay_would_refuse_are_refused() -> None:
    for claims in ({"rooms": ["demo"]}, {**CLAIMS, "rooms": [{"room": "a", "can": ["fly"]}]}):
        with pytest.raises(NotAllowed):
            mint(claims, signing_secret(SECRET))
    with pytest.raises(NotAllowed, match="bytes"):
        mint({**CLAIMS, "rooms": ["r" * 200] * 100}, signing_secret(SECRET))
