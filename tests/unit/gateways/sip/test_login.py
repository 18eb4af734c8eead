"""Users that log in with a password."""

import time

import pytest

from relay.config import Settings
from relay.gateways.sip.digest import mint
from relay.gateways.sip.errors import SipRefused
from relay.gateways.sip.fields import Parameters, read_credentials, read_uri
from relay.gateways.sip.login import Logins
from relay.identity.grants import Right
from relay.model.errors import Refused
from relay.rooms.worker import Worker
from tests.sip_client import digest_answer
from tests.tokens import SECRET

ROOM = "room%20%C3%A9"
URI = read_uri("sip:localhost")


def answer(logins: Logins, user: str, secret: str = SECRET) -> Parameters:
    made = mint(secret, "room é", user, int(time.time()) + 60)
    challenge = logins.challenges.header(ROOM, "here")
    line = digest_answer(challenge, made["username"], made["password"])
    return read_credentials(line.partition(": ")[2])[2]


async def test_a_password_grants_the_rights_of_members_in_its_room() -> None:
    logins = Logins(Worker(Settings(auth="required", auth_secret=SECRET)))
    grants = logins.grants(answer(logins, "ann é"), URI, ROOM, "ann%20%C3%A9", "here")
    assert grants.peer("", str) == "ann%20%C3%A9"
    assert all(grants.allow(right, "room%20%C3%A9") for right in (Right.JOIN, Right.PUBLISH, Right.SEND_DIRECT))
    assert not grants.allow(Right.JOIN, "other")
    assert not grants.allow(Right.KICK, "room%20%C3%A9")
    assert grants.expires is not None
    with pytest.raises(Refused, match="another user"):
        logins.grants(answer(logins, "ben"), URI, ROOM, "ann%20%C3%A9", "here")


async def test_clients_that_guess_are_slowed_down() -> None:
    logins = Logins(Worker(Settings(auth="required", auth_secret=SECRET, token_attempts=2)))
    codes = []
    for number in range(4):
        with pytest.raises(Refused) as refused:
            logins.grants(
                answer(logins, "ann", f"a wrong secret {number} of 32 bytes or more"), URI, ROOM, "ann", "here"
            )
        codes.append(refused.value.code)
    assert codes == ["bad_challenge", "bad_challenge", "too_many_attempts", "too_many_attempts"]
    # Another address is not.
    with pytest.raises(SipRefused):
        logins.grants(answer(logins, "ann", "x" * 40), URI, ROOM, "ann", "there")
