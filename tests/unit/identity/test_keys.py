"""The keys that prove tokens."""

import contextlib
import datetime
from typing import Any

import jwt
import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from relay.identity.keys import MAX_KEYS, MAX_SET, keys_of_pem, keys_of_secrets, keys_of_set
from relay.model.errors import NotAllowed
from tests.tokens import SECRET, jwk, key_set, private_key, private_pem, public_pem

RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")


def test_a_secret_proves_the_algorithms_that_it_is_long_enough_for() -> None:
    found = keys_of_secrets(f"{'a' * 32} {'b' * 48} {'c' * 64}")
    assert [key.algorithms for key in found] == [("HS256",), ("HS256", "HS384"), ("HS256", "HS384", "HS512")]
    assert keys_of_secrets("") == ()
    assert SECRET not in repr(keys_of_secrets(SECRET))


@pytest.mark.parametrize(
    ("alg", "algorithms"),
    [("RS256", RSA), *[(alg, (alg,)) for alg in ("ES256", "ES384", "ES512", "ES256K", "EdDSA")]],
)
def test_a_public_key_proves_the_algorithms_of_its_kind(alg: str, algorithms: tuple[str, ...]) -> None:
    [of_pem] = keys_of_pem(public_pem(alg))
    assert (of_pem.algorithms, of_pem.id) == (algorithms, "")
    [of_set] = keys_of_set(key_set(jwk(alg, "one")))
    assert (of_set.algorithms, of_set.id) == ((alg,), "one")
    unnamed = jwk(alg)
    del unnamed["alg"]
    assert keys_of_set(key_set(unnamed))[0].algorithms == algorithms


def certificate() -> str:
    key, now = private_key("ES256"), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "issuer")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def test_pem_text_may_have_several_keys_and_certificates() -> None:
    text = f"Issuer: me\n{public_pem('RS256')}\n{certificate()}{public_pem('EdDSA')}"
    assert [key.algorithms for key in keys_of_pem(text)] == [RSA, ("ES256",), ("EdDSA",)]
    # As files of variables have it.
    assert [key.algorithms for key in keys_of_pem(text.replace("\n", "\\n"))] == [RSA, ("ES256",), ("EdDSA",)]


def weak_rsa() -> Any:
    return rsa.generate_private_key(65537, 1024).public_key()


def other_kind() -> Any:
    numbers = dsa.DSAParameterNumbers(p=2**1023 + 1155, q=2**159 + 219, g=2)
    return dsa.DSAPublicNumbers(5, numbers).public_key()


@pytest.mark.parametrize("make", [weak_rsa, other_kind])
def test_keys_that_are_weak_or_unknown_are_refused(make: Any) -> None:
    with pytest.raises(NotAllowed):
        keys_of_pem(make().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no PEM"), ("ssh-rsa AAAA", "no PEM"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "cannot be read"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "cannot be read"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----" * 101, "more than"),
    ],
)  # fmt: skip
def test_text_without_readable_keys_is_refused(text: str, reason: str) -> None:
    with pytest.raises(NotAllowed, match=reason):
        keys_of_pem(text)


def test_a_private_key_is_refused_and_not_repeated() -> None:
    with pytest.raises(NotAllowed, match="private key") as caught:
        keys_of_pem(private_pem("ES256"))
    assert private_pem("ES256")[40:60] not in str(caught.value)


def test_a_key_set_is_read_without_keys_that_cannot_prove_a_signature() -> None:
    good = jwk("ES256", "good")
    more = [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "secret"},
        {**jwk("RS256", "encryption"), "use": "enc"},
        {**jwk("RS256", "operations"), "key_ops": ["encrypt"]},
        {**jwk("RS256", "other algorithm"), "alg": "RSA-OAEP"},
        {**jwk("ES256", "other curve"), "alg": "ES384"},
        {**jwk("ES256"), "kid": 5}, {**jwk("ES256"), "kid": "x" * 501},
        {"kty": "EC"}, {"kty": "EC", "crv": "P-256", "x": 5, "y": []}, {"kty": "RSA", "n": "AQ", "e": "AQ"},
        {"kty": "OKP", "crv": "X25519", "x": good["x"]}, {"kty": "new"}, {}, 5, None, "key", [],
    ]  # fmt: skip
    assert [key.id for key in keys_of_set(key_set(*more, good))] == ["good"]
    assert [key.id for key in keys_of_set(key_set({**good, "use": "sig", "key_ops": ["verify"], "x5c": ["?"]}))] == [
        "good"
    ]
    with pytest.raises(NotAllowed, match="none of its"):
        keys_of_set(key_set(*more))


def test_of_a_private_key_in_a_set_only_the_public_part_is_kept() -> None:
    private: dict[str, Any] = jwt.get_algorithm_by_name("ES256").to_jwk(private_key("ES256"), as_dict=True)
    private.pop("key_ops", None)
    [key] = keys_of_set(key_set(private))
    assert not hasattr(key.material, "private_numbers")


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"5", b"{}", b'{"keys":5}', b'{"keys":[]}', b'{"keys":{}}', b"\xff", b"[" * 5000, b" " * (MAX_SET + 1),
     b'{"keys":' + b"[" * 500 + b"]" * 500 + b"}"],
)  # fmt: skip
def test_other_texts_are_no_key_sets(text: bytes) -> None:
    with pytest.raises(NotAllowed):
        keys_of_set(text)


def test_only_the_first_keys_of_a_set_are_read() -> None:
    good = jwk("EdDSA")
    assert len(keys_of_set(key_set(*[{**good, "kid": str(number)} for number in range(MAX_KEYS + 1)]))) == MAX_KEYS


fields = st.sampled_from(["kty", "crv", "x", "y", "n", "e", "d", "alg", "use", "kid", "key_ops", "k", "p", "q"])
values = (
    st.none() | st.integers() | st.text(max_size=20) | st.lists(st.text(max_size=5), max_size=2)
    | st.sampled_from(["EC", "RSA", "OKP", "P-256", "Ed25519", "AQAB", "sig", "RS256", "ES256"])
)  # fmt: skip


@given(st.dictionaries(fields, values), st.sampled_from(["RS256", "ES256", "EdDSA"]))
def test_no_key_of_a_set_causes_another_error(changes: dict[str, Any], alg: str) -> None:
    with contextlib.suppress(NotAllowed):
        keys_of_set(msgspec.json.encode({"keys": [{**jwk(alg), **changes}]}))
