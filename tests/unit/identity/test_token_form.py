"""The form of a token."""

import pytest

from relay.identity.token_form import MAX_TOKEN, has_token_form
from tests.tokens import signed, token


def test_a_token_has_the_form() -> None:
    for one in (token(), token(alg="HS384"), token(alg="HS512"), signed("ES256"), signed("EdDSA")):
        assert has_token_form(one)


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a.b", "a.b.", "a.b.c.d", "a.b.c ", "a.b.=", "a b.c.d", "a.b.ab\n", "é.b.ab"]
)
def test_other_texts_do_not(text: str) -> None:
    assert not has_token_form(text)


def test_a_signature_has_one_spelling() -> None:
    assert has_token_form("a.b.AA")
    assert not has_token_form("a.b.AB")
    assert has_token_form("a.b.AAE")
    assert not has_token_form("a.b.AAF")
    assert not has_token_form("a.b.AAAAA")


def test_a_token_is_bounded() -> None:
    assert has_token_form("a" * (MAX_TOKEN - 5) + ".b.AA")
    assert not has_token_form("a" * (MAX_TOKEN - 4) + ".b.AA")
