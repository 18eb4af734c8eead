"""Tokens are proven, or refused with a code: never a traceback, and never accepted without a key."""

import base64
import json
import time
import warnings
from collections.abc import Sequence
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.identity.claims import parse_rooms
from relay.identity.grants import Grants, Right
from relay.identity.keys import VerificationKey, keys_of_pem, keys_of_secrets, keys_of_set
from relay.identity.token_form import MAX_TOKEN, UnknownKey
from relay.identity.verifier import TokenVerifier, VerifierSettings
from relay.model.errors import Refused
from tests.tokens import SECRET, jwk, key_set, private_key, public_pem, signed, token

ALGORITHMS = ("RS256", "RS384", "PS256", "PS512", "ES256", "ES384", "ES512", "ES256K", "EdDSA")


def verifier(keys: Sequence[VerificationKey] | None = None, **options: Any) -> TokenVerifier:
    found = keys_of_secrets(SECRET) if keys is None else keys
    return TokenVerifier(lambda: found, VerifierSettings(**options))


def code_of(text: str, keys: Sequence[VerificationKey] | None = None, **options: Any) -> str:
    """The code of the refusal, "" for a token that is accepted."""
    try:
        assert isinstance(verifier(keys, **options).verify(text), Grants)
    except Refused as error:
        assert len(text) < 30 or text not in error.text
        return error.code
    return ""


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
def test_a_token_that_the_secret_signs_is_proven(alg: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = verifier().verify(token(alg=alg, rooms=["demo"], sub="alice"))
    assert found.allow(Right.JOIN, "demo")
    assert found.subject == "alice"
    assert code_of(token("another-secret-another-secret-another-secret-another-secret-another", alg=alg)) == "bad_token"


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_a_token_that_a_private_key_signs_is_proven(alg: str) -> None:
    text = signed(alg, rooms=["demo"])
    assert code_of(text, keys_of_pem(public_pem(alg))) == ""
    others = [one for one in ALGORITHMS if private_key(one) is not private_key(alg)]
    assert code_of(text, [key for one in others for key in keys_of_pem(public_pem(one))]) == "bad_token"


def test_the_end_has_the_leeway() -> None:
    end = int(time.time()) + 100
    assert verifier(leeway=10).verify(token(exp=end)).expires == end + 10


def test_times() -> None:
    now = int(time.time())
    assert code_of(token(exp=now - 5), leeway=10) == ""
    assert code_of(token(exp=now - 20), leeway=10) == "token_expired"
    assert code_of(token(exp=now - 5), leeway=0) == "token_expired"
    assert code_of(token(nbf=now + 5), leeway=10) == ""
    assert code_of(token(nbf=now + 20), leeway=10) == "token_not_yet_valid"
    # A token of the past is proven first: nobody learns by a guess which tokens were valid once.
    assert code_of(token(exp=now - 20, secret="x" * 40)) == "bad_token"
    # When it was made does not matter.
    assert code_of(token(iat=now + 1000)) == ""
    for exp in (None, "soon", [], {}, True, 1e400, 10**400, -5, now * 1000):
        assert code_of(jwt.encode({"exp": exp, "rooms": []}, SECRET)) in {"bad_token", "token_expired"}
    assert code_of(jwt.encode({"rooms": ["*"]}, SECRET)) == "bad_token"


def test_audience_and_issuer() -> None:
    options: dict[str, Any] = {"audience": ("relay", "other"), "issuer": ("https://a", "https://b")}
    good: dict[str, Any] = {"aud": "relay", "iss": "https://b"}
    assert code_of(token(**good), **options) == ""
    assert code_of(token(**{**good, "aud": ["x", "other"]}), **options) == ""
    for wrong in ({"aud": "x"}, {"aud": None}, {"aud": []}, {"aud": [5]}, {"aud": {}}, {"iss": "https://c"},
                  {"iss": None}, {"iss": "https://"}, {"iss": ["https://a"]}):  # fmt: skip
        claims = {
            name: value for name, value in {**good, **wrong, "exp": time.time() + 60}.items() if value is not None
        }
        text = jwt.api_jws.encode(json.dumps(claims).encode(), SECRET, "HS256")
        assert code_of(text, **options) == "bad_token", wrong
    # A token for another program, where the relay has no audience.
    assert code_of(token(aud="other-program")) == "bad_token"
    assert code_of(token(iss="anybody")) == ""


def forged(header: dict[str, Any] | str, payload: dict[str, Any] | None = None, signature: bytes = b"x" * 32) -> str:
    """A token with this header and an arbitrary signature."""
    text = header if isinstance(header, str) else json.dumps(header)
    claims = json.dumps(payload or {"exp": time.time() + 60, "admin": True})
    parts = [text.encode(), claims.encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


@pytest.mark.parametrize(
    "alg", ["none", "None", "NONE", "nOnE", "", None, 5, [], {}, True, "HS257", "HS256 ", "dir", "RSA-OAEP"]
)
def test_other_algorithms_prove_nothing(alg: Any) -> None:
    for signature in (b"", b"x", b"x" * 32):
        assert code_of(forged({"alg": alg, "typ": "JWT"}, signature=signature)) == "bad_token"
    assert code_of(jwt.encode({"exp": time.time() + 60}, None, "none")) == "bad_token"


@pytest.mark.parametrize("alg", ["RS256", "ES256", "EdDSA"])
def test_a_public_key_is_no_secret(alg: str) -> None:
    """Algorithm confusion: the text of a public key, which anybody may have, as the secret of HS256."""
    pem = public_pem(alg)
    keys = [*keys_of_pem(pem), *keys_of_secrets(SECRET)]
    for secret in (pem, pem.strip(), pem.replace("\n", "\\n"), json.dumps(jwk(alg))):
        for hs in ("HS256", "HS384", "HS512"):
            header = {"alg": hs, "typ": "JWT"}
            signing = forged(header).rpartition(".")[0]
            algorithm = jwt.get_algorithm_by_name(hs)
            signature = algorithm.sign(signing.encode(), secret.encode())
            text = f"{signing}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
            assert code_of(text, keys) == "bad_token"
            assert code_of(text, keys_of_pem(pem)) == "bad_token"


@pytest.mark.parametrize("field", ["jku", "x5u", "jwk", "x5c", "x5t", "cty", "zip"])
def test_keys_in_a_token_are_not_read(field: str) -> None:
    value: Any = {"jwk": jwk("ES256"), "x5c": ["AAAA"]}.get(field, "http://127.0.0.1:9/keys")
    text = jwt.encode({"exp": time.time() + 60}, private_key("ES256"), "ES256", {field: value})
    assert code_of(text) == "bad_token"
    assert code_of(text, keys_of_pem(public_pem("ES384"))) == "bad_token"


def test_extensions_that_must_be_understood_are_refused() -> None:
    for headers in ({"crit": ["exp"], "exp": 5}, {"crit": []}, {"crit": 5}, {"crit": ["b64"], "b64": False}):
        text = jwt.api_jws.encode(json.dumps({"exp": time.time() + 60}).encode(), SECRET, "HS256", headers)
        assert code_of(text) == "bad_token"


def test_a_key_id_chooses_the_key() -> None:
    keys = keys_of_set(key_set(jwk("ES256", "one"), jwk("RS256", "two")))
    assert code_of(signed("ES256", "one"), keys) == ""
    assert code_of(signed("RS256", "two"), keys) == ""
    assert code_of(signed("ES256"), keys) == ""
    assert code_of(signed("ES256", "two"), keys) == "bad_token"
    with pytest.raises(UnknownKey):
        verifier(keys).verify(signed("ES256", "three"))
    # A key without an id proves tokens that name one.
    assert code_of(signed("ES256", "three"), [*keys, *keys_of_pem(public_pem("ES256"))]) == ""
    # No key set has secrets: nothing is fetched for such a token.
    with pytest.raises(Refused) as caught:
        verifier(keys).verify(jwt.encode({"exp": 5}, SECRET, headers={"kid": "three"}))
    assert not isinstance(caught.value, UnknownKey)
    assert code_of(forged({"alg": "ES256", "kid": 5}), keys) == "bad_token"
    assert code_of(forged({"alg": "ES256", "kid": "x" * 501}), keys) == "bad_token"


def test_several_secrets_are_tried() -> None:
    keys = keys_of_secrets(f"{'n' * 40} {SECRET}")
    assert code_of(token(), keys) == ""
    assert code_of(token("o" * 40), keys) == "bad_token"


def test_a_key_that_is_withdrawn_proves_nothing_more() -> None:
    keys = [*keys_of_secrets(SECRET)]
    one = TokenVerifier(lambda: keys, VerifierSettings())
    text = token()
    one.verify(text)
    keys.clear()
    with pytest.raises(Refused, match="bad_token"):
        one.verify(text)


def test_a_token_is_bounded() -> None:
    assert code_of(token(pad="x" * 5000)) == ""
    assert code_of(token(pad="x" * MAX_TOKEN)) == "bad_token"
    assert code_of("a" * 10_000_000) == "bad_token"


def test_default_rooms() -> None:
    found = verifier(default_rooms=parse_rooms("lobby")).verify(token(sub="auth0|x"))
    assert (found.allow(Right.JOIN, "lobby"), found.allow(Right.JOIN, "other")) == (True, False)


DEEP = "[" * 3000


@pytest.mark.parametrize(
    "header",
    [DEEP, "{" * 3000, '{"alg":' + DEEP, "5", '"x"', "null", "[]", "", "{", '{"alg":"HS256"', "\x00", "\xff", "NaN",
     '{"alg":"HS256","kid":null}', '{"alg":"HS256","kid":"\\ud800"}', '{"alg":"HS256","crit":["x"]}',
     '{"alg":"HS256","b64":false,"crit":["b64"]}', '{"alg":"HS256","x":' + "1" * 5000 + "}"],
)  # fmt: skip
def test_headers_of_any_form_are_refused(header: str) -> None:
    assert code_of(forged(header)) == "bad_token"


@pytest.mark.parametrize(
    "payload",
    [b"", b"[]", b"5", b"null", DEEP.encode(), b"\xff", b'{"exp":Infinity}', b'{"exp":NaN}', b'{"exp":1e400}',
     b'{"exp":' + b"9" * 5000 + b"}", b'{"exp":9999999999,"sub":"\\ud800"}', b'{"exp":9999999999,"nbf":Infinity}',
     b'{"exp":9999999999,"nbf":[]}', b'{"exp":9999999999,"nbf":{}}', b'{"exp":9e99,}',
     b'{"exp":9999999999,"info":' + DEEP.encode() + b"}",
     b'{"exp":9999999999,"sub":null}', b'{"exp":9999999999,"rooms":null}'],
)  # fmt: skip
def test_signed_claims_of_any_form_are_refused(payload: bytes) -> None:
    assert code_of(jwt.api_jws.encode(payload, SECRET, "HS256")) == "bad_token"


GOOD = {
    "HS256": token(rooms=["*"], sub="alice"),
    "RS256": signed("RS256", "one", rooms=["*"]),
    "ES256": signed("ES256", "two", rooms=["*"]),
    "EdDSA": signed("EdDSA", rooms=["*"]),
}
KEYS = [
    *keys_of_secrets(SECRET),
    *keys_of_set(key_set(jwk("RS256", "one"), jwk("ES256", "two"), jwk("EdDSA"))),
]
CHARACTERS = st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \n\x00é")


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(GOOD)), st.integers(0, 2000), st.integers(0, 3), st.text(CHARACTERS, max_size=6))
def test_a_changed_token_is_never_accepted(alg: str, position: int, removed: int, inserted: str) -> None:
    text = GOOD[alg]
    position %= len(text) + 1
    changed = text[:position] + inserted + text[position + removed :]
    if changed != text:
        assert code_of(changed, KEYS) in {"bad_token", "token_expired", "token_not_yet_valid"}


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["alg", "typ", "kid", "jku", "jwk", "x5c", "x5u", "crit", "b64", "zip", "enc"]),
        st.none() | st.booleans() | st.integers() | st.text(max_size=10) | st.lists(st.text(max_size=5), max_size=2)
        | st.sampled_from(["HS256", "RS256", "ES256", "EdDSA", "none", "one", "two"]),
    ),
    st.binary(max_size=80),
    st.sampled_from(sorted(GOOD)),
)  # fmt: skip
def test_a_token_with_any_header_is_never_accepted(header: dict[str, Any], signature: bytes, alg: str) -> None:
    assert code_of(forged(header, signature=signature), KEYS) == "bad_token"
    # With the claims and the signature of a good one.
    encoded = base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()
    _, claims, proof = GOOD[alg].split(".")
    assert code_of(f"{encoded}.{claims}.{proof}", KEYS) == "bad_token"


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_text_is_refused(data: bytes) -> None:
    assert code_of(data.decode("latin-1"), KEYS) == "bad_token"
    assert code_of(data.decode("utf-8", "surrogateescape"), KEYS) == "bad_token"
