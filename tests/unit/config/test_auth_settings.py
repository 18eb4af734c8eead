"""The settings of tokens."""

from typing import Any

import pytest

from relay.config import SettingsError, load
from relay.config.auth_settings import weakness

SECRET = "0123456789abcdef0123456789abcdef"


def problem(**flags: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(flags, {})
    return str(caught.value)


def settings(**flags: str) -> Any:
    return load(flags, {}).settings


def test_tokens_are_off_unless_asked_for() -> None:
    found = settings()
    assert (found.auth, found.url_tokens, found.auth_leeway) == ("off", "off", 10.0)


@pytest.mark.parametrize("auth", ["optional", "required"])
def test_tokens_need_a_key(auth: str) -> None:
    assert "without a key" in problem(auth=auth)
    for key in ({"auth_secret": SECRET}, {"auth_key": "/key.pem"}, {"auth_jwks": "https://issuer.example.com/keys"}):
        assert settings(auth=auth, **key).auth == auth


@pytest.mark.parametrize("secret", [SECRET[1:], SECRET + " ", f"{SECRET}  {SECRET}", "é" * 40, f"{SECRET} short"])
def test_a_secret_that_is_too_short_or_has_other_characters_is_refused_and_not_shown(secret: str) -> None:
    text = problem(auth_secret=secret)
    assert "32 to 500" in text
    assert secret not in text
    settings(auth_secret=f"{SECRET} {'x' * 500} {SECRET}")


def test_a_secret_has_one_purpose() -> None:
    assert "auth_secret" in problem(auth_secret=f"{'n' * 40} {SECRET}", admin_token=SECRET)
    assert "auth_secret" in problem(auth_secret=SECRET, fleet_secret=SECRET)


def test_the_place_of_a_key_set_is_checked() -> None:
    assert settings(auth_jwks="https://issuer.example.com/keys").auth_jwks == "https://issuer.example.com/keys"
    assert "this machine alone" in problem(auth_jwks="http://issuer.example.com/keys")


def test_default_rooms() -> None:
    assert settings(auth_default_rooms="lobby,team-*")
    assert "'joyn', and there are only" in problem(auth_default_rooms='[{"room":"*","can":["joyn"]}]')


def test_a_secret_with_few_characters_is_weak() -> None:
    assert weakness(SECRET) == ""
    assert "1 different" in weakness("x" * 40)
