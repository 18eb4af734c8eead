"""The admin token, and the brake on guessing it."""

import logging

import pytest

from relay.identity.admin import AdminToken
from relay.model.errors import Refused
from tests.tokens import token as user_token

TOKEN = "s3cret-s3cret-s3cret"
ALICE, BOB = "192.0.2.1", "2001:db8::/64"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def admin(token: str = TOKEN, *, attempts: int = 10, clock: Clock | None = None) -> AdminToken:
    return AdminToken(token, attempts=attempts, clock=clock or Clock())


def code_of(token: AdminToken, address: str, offered: str) -> str:
    """Return the error code for a token, "" if it is the right one."""
    try:
        assert token.check(address, f"Bearer {offered}")
    except Refused as error:
        return error.code
    return ""


@pytest.mark.parametrize("header", [f"Bearer {TOKEN}", f"bearer  {TOKEN} "])
def test_the_admin_token_matches(header: str) -> None:
    assert admin().check(ALICE, header)


@pytest.mark.parametrize("header", [None, "", TOKEN, f"Basic {TOKEN}", "Bearer"])
def test_a_request_without_a_bearer_token_has_none(header: str | None) -> None:
    assert not admin().check(ALICE, header)
    assert admin().check(ALICE, header, otherwise=TOKEN)


@pytest.mark.parametrize(
    "header", ["Bearer ", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}t", "Bearer \xe9", "Bearer \ud800"]
)
def test_another_token_is_refused(header: str) -> None:
    with pytest.raises(Refused, match="unauthorized"):
        admin().check(ALICE, header, otherwise=TOKEN)


@pytest.mark.parametrize("other", ["", TOKEN[:-1], "\xe9"])
def test_another_token_in_another_part_is_refused(other: str) -> None:
    with pytest.raises(Refused, match="unauthorized"):
        admin().check(ALICE, None, otherwise=other)


@pytest.mark.parametrize("header", [None, "Bearer ", f"Bearer {TOKEN}"])
def test_without_an_admin_token_in_the_settings_no_request_has_it(header: str | None) -> None:
    assert not admin("").check(ALICE, header, otherwise="")
    assert admin().is_set
    assert not admin("").is_set


def test_an_address_that_guesses_gets_no_more_answers_for_a_while() -> None:
    clock = Clock()
    token = admin(attempts=3, clock=clock)
    assert [code_of(token, ALICE, f"guess-{number}") for number in range(5)] == [
        *["unauthorized"] * 3, *["too_many_attempts"] * 2,
    ]  # fmt: skip
    # Not even whether a token is the right one.
    assert code_of(token, ALICE, TOKEN) == "too_many_attempts"
    assert token.check(ALICE, None) is False
    clock.now += 20
    assert code_of(token, ALICE, TOKEN) == ""
    assert code_of(token, ALICE, "guess-5") == "unauthorized"
    assert code_of(token, ALICE, "guess-6") == "too_many_attempts"


def test_guesses_lock_out_no_other_address() -> None:
    token = admin(attempts=3)
    for number in range(10):
        code_of(token, ALICE, f"guess-{number}")
    assert code_of(token, BOB, TOKEN) == ""
    assert code_of(token, BOB, "guess-0") == "unauthorized"


def test_a_program_with_an_old_token_guesses_nothing() -> None:
    token = admin(attempts=2)
    assert {code_of(token, ALICE, "old-token") for _ in range(100)} == {"unauthorized"}
    assert code_of(token, ALICE, TOKEN) == ""
    # Of another address, it is a guess once.
    assert code_of(token, BOB, "old-token") == "unauthorized"
    assert code_of(token, BOB, "guess") == "unauthorized"
    assert code_of(token, BOB, "old-token") == "too_many_attempts"


def test_lines_are_logged_and_none_has_a_token(caplog: pytest.LogCaptureFixture) -> None:
    token = admin(attempts=1000)
    with caplog.at_level(logging.WARNING):
        for number in range(50):
            code_of(token, f"192.0.2.{number % 5}\n", f"guess-{number}")
    assert [len(caplog.records), "guess" in caplog.text, "\\x0a" in caplog.text] == [5, False, True]


def test_a_token_of_a_user_is_no_attempt_where_users_have_some() -> None:
    beside = AdminToken(TOKEN, attempts=1, clock=Clock(), beside_users=True)
    for number in range(5):
        assert not beside.check(ALICE, f"Bearer {user_token(sub=str(number))}")
    assert beside.check(ALICE, f"Bearer {TOKEN}")
    assert code_of(beside, ALICE, "guess") == "unauthorized"
    assert code_of(beside, ALICE, TOKEN) == "too_many_attempts"
    # It is for others to judge.
    assert not beside.check(ALICE, f"Bearer {user_token()}")
    assert code_of(admin(), ALICE, user_token()) == "unauthorized"


def test_an_admin_token_may_have_the_form_of_a_user_token() -> None:
    text = user_token()
    assert AdminToken(text, attempts=1, clock=Clock(), beside_users=True).check(ALICE, f"Bearer {text}")
