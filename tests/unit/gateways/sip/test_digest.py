"""Passwords of SIP users, and the answers to challenges."""

import re
import time

import pytest

from relay.fleet_key import FleetKey
from relay.gateways.sip.digest import NONCE_LIFE, Challenges, mint, password
from relay.gateways.sip.errors import SipRefused
from relay.gateways.sip.fields import Parameters, read_credentials
from relay.model.errors import Refused
from tests.sip_client import digest_answer
from tests.tokens import SECRET

LATER = int(time.time()) + 3600


def answer(challenges: Challenges, username: str, secret: str) -> Parameters:
    line = digest_answer(challenges.header(), username, secret)
    return read_credentials(line.removeprefix("Authorization: "))[2]


@pytest.fixture
def challenges() -> Challenges:
    return Challenges(FleetKey(["a fleet secret of the tests"]), ["another", SECRET], 10)


def test_a_user_with_its_password(challenges: Challenges) -> None:
    made = mint(SECRET, "room é", "alice", LATER)
    assert made["username"] == f"{LATER}.alice"
    given = answer(challenges, made["username"], made["password"])
    login = challenges.check(given, "REGISTER", "room é")
    assert (login.user, login.expires) == ("alice", LATER)
    # Any worker of the fleet has the same key, and checks the nonce.
    other = Challenges(FleetKey(["a fleet secret of the tests"]), [SECRET], 10)
    assert other.check(given, "REGISTER", "room é") == login


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
    given = answer(challenges, f"{LATER + later}.{user}", password(SECRET, "room", "alice", LATER))
    with pytest.raises(SipRefused) as refused:
        challenges.check(given, method, room)
    assert (refused.value.code, refused.value.detail) == ("bad_challenge", {})


def test_an_old_nonce_is_stale_and_a_foreign_one_is_none(challenges: Challenges) -> None:
    made = mint(SECRET, "room", "alice", LATER)
    given = answer(challenges, made["username"], made["password"])
    with pytest.raises(SipRefused) as refused:
        challenges.check(given, "REGISTER", "room", time.time() + NONCE_LIFE + 5)
    assert refused.value.detail == {"stale": True}
    foreign = Challenges(FleetKey(["the secret of another fleet"]), [SECRET], 10)
    given = answer(foreign, made["username"], made["password"])
    with pytest.raises(SipRefused) as refused:
        challenges.check(given, "REGISTER", "room")
    assert refused.value.detail == {}


def test_a_password_ends(challenges: Challenges) -> None:
    made = mint(SECRET, "room", "alice", int(time.time()) - 60)
    given = answer(challenges, made["username"], made["password"])
    with pytest.raises(Refused, match="expired"):
        challenges.check(given, "REGISTER", "room")


@pytest.mark.parametrize(
    "given",
    [{}, {"username": "alice"}, {"username": ".a"}, {"username": "9" * 30 + ".a"}, {"username": "1.a", "nonce": "é"}],
)
def test_answers_that_are_none(challenges: Challenges, given: Parameters) -> None:
    with pytest.raises(SipRefused):
        challenges.check(given, "REGISTER", "room")


def test_challenges() -> None:
    key = FleetKey(["a fleet secret of the tests"])
    assert Challenges(key, [], 0).header() == 'Bearer realm="relay"'
    shown = Challenges(key, [SECRET], 0).header(stale=True)
    assert re.fullmatch(r'Digest realm="relay", nonce="[\w=-]{44}", algorithm=MD5, qop="auth", stale=true', shown)
