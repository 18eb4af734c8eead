"""TURN credentials over HTTP."""

import time

import pytest

from relay.identity.grants import Grants, Right, RoomGrant
from tests.unit.http.conftest import FakeWorker, MakeSite, error_of

SECRET = "secret-secret-secret"
TOKEN = {"Authorization": f"Bearer {SECRET}"}
TURN = {"turn_servers": ("turn:t.example",), "turn_secret": "secret-of-the-turn-server", "turn_ttl": 600}


async def test_a_server_gets_a_credential_for_a_peer(site: MakeSite) -> None:
    here = site(admin_token=SECRET, ice_servers="stun:s.example", **TURN)
    answer = await here.get("/turn?peer=a%20b", headers=TOKEN)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    stun, turn = answer.json()["iceServers"]
    assert (stun, answer.json()["ttl"], turn["urls"]) == ({"urls": "stun:s.example"}, 600, ["turn:t.example"])
    ends, _, peer = turn["username"].partition(":")
    assert peer == "a%20b"
    assert abs(int(ends) - time.time() - 600) < 10
    assert TURN["turn_secret"] not in answer.text


async def test_without_a_peer_the_username_is_random(site: MakeSite) -> None:
    here = site(admin_token=SECRET, **TURN)
    answers = [(await here.get("/turn", headers=TOKEN)).json()["iceServers"][0]["username"] for _ in range(2)]
    assert len({name.partition(":")[2] for name in answers}) == 2


@pytest.mark.parametrize(
    ("settings", "headers", "error"),
    [
        ({}, TOKEN, (403, "forbidden")),
        ({"admin_token": SECRET}, {}, (401, "unauthorized")),
        ({"admin_token": SECRET}, {"Authorization": "Bearer wrong"}, (401, "unauthorized")),
    ],
)
async def test_a_token_is_needed(
    site: MakeSite, settings: dict[str, str], headers: dict[str, str], error: tuple[int, str]
) -> None:
    assert error_of(await site(**settings, **TURN).get("/turn", headers=headers)) == error
    # Nobody learns without one whether there are TURN servers.
    assert error_of(await site(**settings).get("/turn", headers=headers)) == error


async def test_without_turn_servers_there_is_nothing(site: MakeSite) -> None:
    here = site(admin_token=SECRET, ice_servers="stun:s.example")
    assert error_of(await here.get("/turn", headers=TOKEN)) == (404, "not_found")


@pytest.mark.parametrize(
    ("query", "code"), [("peer=a&peer=b", "bad_query"), ("peer=%00", "bad_peer"), ("peer=$server", "bad_peer")]
)
async def test_a_peer_id_is_a_name(site: MakeSite, query: str, code: str) -> None:
    assert error_of(await site(admin_token=SECRET, **TURN).get(f"/turn?{query}", headers=TOKEN)) == (400, code)


AUTH = {"auth": "optional", "auth_secret": "s" * 32}
TOKENS = {
    "own": Grants(subject="ann", peers="ann", rooms=[RoomGrant("lobby")]),
    "publisher": Grants(rooms=[RoomGrant("*", frozenset({Right.PUBLISH}))]),
}


@pytest.mark.parametrize(
    ("token", "query", "outcome"),
    [
        ("own", "", "ann"),
        ("own", "?peer=ann", "ann"),
        ("own", "?peer=ben", (403, "wrong_peer")),
        ("publisher", "", (403, "not_granted")),
        ("unknown", "", (401, "bad_token")),
        (None, "", (401, "token_required")),
    ],
)
async def test_the_holder_of_a_token_gets_a_credential_for_its_own_peer_id(
    site: MakeSite, token: str | None, query: str, outcome: object
) -> None:
    here = site(worker=FakeWorker(tokens=TOKENS), **AUTH, **TURN)
    answer = await here.get(f"/turn{query}", headers={"Authorization": f"Bearer {token}"} if token else {})
    if answer.status_code == 200:
        assert answer.json()["iceServers"][0]["username"].partition(":")[2] == outcome
    else:
        assert error_of(answer) == outcome
