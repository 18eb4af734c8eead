"""Passwords of SIP users, and the answers to challenges."""

import re
import time
from dataclasses import replace

import pytest

from relay.fleet_key import FleetKey
from relay.gateways.sip.digest import NONCE_LIFE, Challenges, LoginRequest, mint, password
from relay.gateways.sip.errors import SipRefused
from relay.gateways.sip.fields import Parameters, read_credentials, read_uri
from relay.model.errors import Refused
from tests.sip_client import digest_answer
from tests.tokens import SECRET

LATER = int(time.time()) + 3600
ASKED = LoginRequest("REGISTER", read_uri("sip:localhost"), "room", "192.0.2.1")
USER = mint(SECRET, "room", "alice", LATER)


def answer(
    challenges: Challenges, user: dict[str, str] | None = None, asked: LoginRequest = ASKED, count: int = 1
) -> Parameters:
    """Return the answer of a client at this address to a new challenge in this room."""
    made = user or USER
    header = challenges.header(asked.room, asked.address)
    return credentials(header, made["username"], made["password"], count=count)


def credentials(header: str, username: str, secret: str, count: int = 1) -> Parameters:
    line = digest_answer(header, username, secret, count=count)
    return read_credentials(line.removeprefix("Authorization: "))[2]


@pytest.fixture
def challenges() -> Challenges:
    return fleet_member()


def fleet_member() -> Challenges:
    """Return the challenges of one worker of the fleet."""
    return Challenges(FleetKey(["a fleet secret of the tests"]), ["another", SECRET], 10)


def refused(
    challenges: Challenges, given: Parameters, asked: LoginRequest = ASKED, now: float | None = None
) -> SipRefused:
    with pytest.raises(SipRefused) as found:
        challenges.check(given, asked, now)
    assert found.value.code == "bad_challenge"
    return found.value


def test_a_user_with_its_password(challenges: Challenges) -> None:
    asked = replace(ASKED, room="room%20%C3%A9")
    made = mint(SECRET, "room é", "alice", LATER)
    assert made["username"] == f"{LATER}.alice"
    given = answer(challenges, made, asked)
    login = challenges.check(given, asked)
    assert (login.user, login.expires) == ("alice", LATER)
    # Any worker of the fleet has the same key, and checks the nonce.
    assert fleet_member().check(given, asked) == login


@pytest.mark.parametrize(
    ("room", "user", "later", "method"),
    [
        ("other", "alice", 0, "REGISTER"),
        ("room", "bob", 0, "REGISTER"),
        ("room", "alice", 1, "REGISTER"),
        ("room", "alice", 0, "INVITE"),
    ],
)
def test_a_password_counts_for_its_room_user_and_time(
    challenges: Challenges, room: str, user: str, later: int, method: str
) -> None:
    asked = replace(ASKED, room=room, method=method)
    made = {"username": f"{LATER + later}.{user}", "password": password(SECRET, "room", "alice", LATER)}
    assert refused(challenges, answer(challenges, made, asked), asked).detail == {}


@pytest.mark.parametrize(
    "uri", ["sip:other", "sip:alice@localhost", "sips:localhost", "sip:localhost:99", "tel:+1", "é"]
)
def test_an_answer_is_of_one_request_uri(challenges: Challenges, uri: str) -> None:
    """Its MAC has the parameter `uri`, and no other part of the request."""
    given = answer(challenges)
    if uri.startswith("sip"):
        refused(challenges, given, replace(ASKED, uri=read_uri(uri)))
    refused(challenges, given | {"uri": uri})
    assert challenges.check(given, replace(ASKED, uri=read_uri("sip:LOCALHOST;transport=ws"))).user == "alice"


def test_an_answer_counts_once(challenges: Challenges) -> None:
    header = challenges.header("room", ASKED.address)
    first, second, third = [credentials(header, USER["username"], USER["password"], count) for count in (1, 2, 3)]
    challenges.check(first, ASKED)
    assert refused(challenges, first).detail == {"stale": True}
    challenges.check(third, ASKED)
    # One that comes late is not told from one that was recorded.
    assert refused(challenges, second).detail == {"stale": True}
    # The count is under the MAC.
    assert refused(challenges, third | {"nc": "00000009"}).detail == {}


def test_a_wrong_answer_uses_nothing_up(challenges: Challenges) -> None:
    header = challenges.header("room", ASKED.address)
    refused(challenges, credentials(header, USER["username"], "wrong"))
    challenges.check(credentials(header, USER["username"], USER["password"]), ASKED)


def test_a_nonce_is_for_one_room_and_address(challenges: Challenges) -> None:
    given = answer(challenges)
    assert refused(challenges, given, replace(ASKED, address="192.0.2.2")).detail == {"stale": True}
    other = replace(ASKED, room="other")
    made = mint(SECRET, "other", "alice", LATER)
    given = credentials(challenges.header("room", ASKED.address), made["username"], made["password"])
    assert refused(challenges, given, other).detail == {"stale": True}


def test_an_old_nonce_and_one_of_another_fleet_are_stale(challenges: Challenges) -> None:
    given = answer(challenges)
    assert refused(challenges, given, now=time.time() + NONCE_LIFE + 5).detail == {"stale": True}
    foreign = Challenges(FleetKey(["the secret of another fleet"]), [SECRET], 10)
    assert refused(challenges, answer(foreign)).detail == {"stale": True}
    # A client without the password does not learn that.
    wrong = {"username": USER["username"], "password": "wrong"}
    assert refused(challenges, answer(foreign, wrong)).detail == {}


@pytest.mark.parametrize("nonce", ["é", "AAAA", "A" * 44, "A" * 4000, "A" * 43 + "="])
def test_text_that_is_no_nonce(challenges: Challenges, nonce: str) -> None:
    header = f'Digest realm="relay", nonce="{nonce}"'
    assert refused(challenges, credentials(header, USER["username"], USER["password"])).detail == {"stale": True}


def test_a_password_ends(challenges: Challenges) -> None:
    made = mint(SECRET, "room", "alice", int(time.time()) - 60)
    with pytest.raises(Refused, match="expired"):
        challenges.check(answer(challenges, dict(made)), ASKED)


@pytest.mark.parametrize(
    "changed",
    [
        {"username": "alice"}, {"username": ".a"}, {"username": "9" * 30 + ".a"}, {"username": "1."},
        {"realm": "other"}, {"realm": ""}, {"qop": "auth-int"}, {"qop": ""}, {"algorithm": "SHA-256"},
        {"nonce": ""}, {"cnonce": ""}, {"nc": ""}, {"nc": "1"}, {"nc": "00000000"}, {"nc": "0000000g"}, {"uri": ""},
    ],
)  # fmt: skip
def test_answers_that_are_none(challenges: Challenges, changed: Parameters) -> None:
    assert refused(challenges, answer(challenges) | changed).detail == {}
    refused(challenges, {})


def test_challenges() -> None:
    key = FleetKey(["a fleet secret of the tests"])
    assert Challenges(key, [], 0).header("room", "here") == 'Bearer realm="relay"'
    shown = Challenges(key, [SECRET], 0).header("room", "here", stale=True)
    assert re.fullmatch(r'Digest realm="relay", nonce="[\w=-]{44}", algorithm=MD5, qop="auth", stale=true', shown)
