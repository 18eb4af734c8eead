"""The claims of a token, and the grants that are made of them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.identity.claims import MAX_PATTERN, MAX_ROOMS, parse_rooms, read_claims
from relay.identity.grants import OF_MEMBERS, Grants, Right, RoomGrant, TokenLimits
from relay.model.errors import NotAllowed, Refused
from relay.model.rules import RuleChange


def grants(**claims: Any) -> Grants:
    return read_claims({"exp": 1000, **claims}, leeway=10)


def refusal(**claims: Any) -> str:
    with pytest.raises(Refused) as caught:
        grants(**claims)
    assert caught.value.code == "bad_token"
    assert caught.value.text.startswith("the token is not valid: ")
    return caught.value.text


def test_a_token_without_other_claims_grants_nothing() -> None:
    found = grants(iat=5, jti="x", unknown={"a": 1})
    assert found == Grants(rooms=(), expires=1010)
    assert not found.allow(Right.JOIN, "demo")


def test_all_claims() -> None:
    found = grants(
        sub="alice*",
        rooms=["demo", {"room": "team/*", "can": ["join", "kick"], "rules": {"locked": True, "max_members": 3}}],
        info={"name": "Alice"},
        limits={"message_rate": 5, "rooms": 2},
        admin=False,
    )
    assert found.rooms == (
        RoomGrant("demo", OF_MEMBERS),
        RoomGrant("team%2F*", frozenset({Right.JOIN, Right.KICK}), RuleChange(locked=True, max_members=3)),
    )
    assert (found.subject, found.peers, found.info) == ("alice*", "alice*", b'{"name":"Alice"}')
    assert found.limits == TokenLimits(5, 2)
    assert found.allow(Right.KICK, "team%2Fa")
    assert not found.allow(Right.PUBLISH, "team%2Fa")
    assert found.allow(Right.PUBLISH, "demo")
    assert found.rules("team%2Fa") == RuleChange(locked=True, max_members=3)


def test_an_admin_may_do_everything() -> None:
    assert all(grants(admin=True).allow(right, "any") for right in Right)


def test_a_subject_becomes_an_escaped_name() -> None:
    found = grants(sub="auth0|ab c")
    assert (found.subject, found.peers) == ("auth0|ab c", "auth0%7Cab%20c")
    assert found.peer("", lambda: "new") == "auth0%7Cab%20c"
    assert grants().peers == "*"


def test_rooms_of_the_setting_are_for_tokens_without_the_claim() -> None:
    default = parse_rooms("lobby, team-*")
    assert read_claims({"exp": 1}, leeway=0, default_rooms=default).rooms == default
    assert read_claims({"exp": 1, "rooms": []}, leeway=0, default_rooms=default).rooms == ()
    assert read_claims({"exp": 1, "rooms": ["a"]}, leeway=0, default_rooms=default).rooms == (RoomGrant("a"),)


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": None}, "exp"), ({"exp": "5"}, "exp"), ({"exp": True}, "exp"), ({"exp": 1e13}, "exp"),
        ({"exp": float("nan")}, "exp"), ({"exp": float("inf")}, "exp"), ({"exp": -1}, "exp"),
        ({"sub": 5}, "sub"), ({"sub": "a" * 256}, "sub"), ({"sub": "a\n"}, "sub"), ({"sub": "$server"}, "sub"),
        ({"sub": "\ud800"}, "sub"), ({"sub": "*" + "a" * MAX_PATTERN}, "sub"), ({"sub": "*a" * 9}, "sub"),
        ({"rooms": "demo"}, "rooms"), ({"rooms": {"room": "demo"}}, "rooms"), ({"rooms": [5]}, "rooms"),
        ({"rooms": [""]}, "rooms"), ({"rooms": ["."]}, "rooms"), ({"rooms": ["a\x00"]}, "rooms"),
        ({"rooms": ["r"] * (MAX_ROOMS + 1)}, "rooms"), ({"rooms": [{"can": ["join"]}]}, "room"),
        ({"rooms": [{"room": "a", "cann": []}]}, "cann"), ({"rooms": [{"room": "a", "can": "join"}]}, "can"),
        ({"rooms": [{"room": "a", "can": ["join", "publsh"]}]}, "'publsh', and there are only join, publish,"),
        ({"rooms": [{"room": "a", "can": ["\n" * 50]}]}, "\\n"), ({"rooms": [{"room": "a", "can": [5]}]}, "can"),
        ({"rooms": [{"room": "a", "rules": {"lockd": True}}]}, "lockd"),
        ({"rooms": [{"room": "a", "rules": {"max_members": -1}}]}, "rules"),
        ({"info": "text"}, "info"), ({"info": [1]}, "info"), ({"info": {"a": "x" * 1100}}, "info"),
        ({"info": {"a": "\ud800"}}, "info"), ({"info": {"a": [[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]}}, "info"),
        ({"limits": 5}, "limits"), ({"limits": {"rate": 5}}, "rate"), ({"limits": {"rooms": 0}}, "rooms"),
        ({"limits": {"message_rate": 0.5}}, "message_rate"), ({"limits": {"rooms": True}}, "rooms"),
        ({"admin": 1}, "admin"), ({"admin": "true"}, "admin"),
    ],
)  # fmt: skip
def test_claims_of_another_form_are_refused_with_their_name(claims: dict[str, Any], reason: str) -> None:
    text = refusal(**claims)
    assert reason in text
    assert len(text) < 600


def test_a_room_without_rights_grants_nothing() -> None:
    assert not grants(rooms=[{"room": "*", "can": []}]).allow(Right.JOIN, "demo")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["exp", "sub", "rooms", "info", "limits", "admin"]), values))
def test_no_claims_cause_another_error(claims: dict[str, Any]) -> None:
    try:
        assert isinstance(read_claims(claims, leeway=0), Grants)
    except Refused as error:
        assert error.code == "bad_token"


@pytest.mark.parametrize(
    ("text", "rooms"),
    [
        ("", ()), (" ", ()), ("demo", (RoomGrant("demo"),)), (" a b ,x*,", (RoomGrant("a%20b"), RoomGrant("x*"))),
        ('[{"room":"*","can":["join"]},"b"]', (RoomGrant("*", frozenset({Right.JOIN})), RoomGrant("b"))), ("[]", ()),
    ],
)  # fmt: skip
def test_the_setting_for_tokens_without_rooms(text: str, rooms: tuple[RoomGrant, ...]) -> None:
    assert parse_rooms(text) == rooms


@pytest.mark.parametrize(
    "text", [".", "[", "[1]", '[{"room":"a","can":["joyn"]}]', "[" * 5000, "a" * 256, "a," * 101 + "b"]
)
def test_a_setting_that_is_no_list_of_rooms_is_refused(text: str) -> None:
    with pytest.raises(NotAllowed) as caught:
        parse_rooms(text)
    assert "the token is not valid" not in str(caught.value)
