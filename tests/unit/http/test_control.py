"""Kicks and moves over HTTP."""

from typing import Any

import httpx2 as httpx
import pytest

from relay.model.errors import Unavailable
from tests.unit.http.conftest import FakeRules, FakeWorker, MakeSite, Site, error_of

SECRET = "secret-secret-secret"
TOKEN = {"Authorization": f"Bearer {SECRET}"}


async def post(here: Site, path: str, body: Any, **headers: str) -> httpx.Response:
    return await here.request("POST", path, json=body, headers=TOKEN | headers)


async def test_a_peer_is_kicked(site: MakeSite) -> None:
    here = site(admin_token=SECRET)
    answer = await post(here, "/rooms/a%2Fb/kick", {"peer": "c%20d", "reason": "noise", "ban": 60})
    assert answer.json() == {"room": "a%2Fb", "kicked": True}
    assert here.worker.rules.done == [("kick", "a%2Fb", "c%20d", "", "noise", 60)]


async def test_a_subject_is_kicked(site: MakeSite) -> None:
    here = site(admin_token=SECRET)
    assert (await post(here, "/rooms/a/kick", {"subject": "user 7"})).status_code == 200
    assert here.worker.rules.done == [("kick", "a", "", "user 7", "", 0)]


@pytest.mark.parametrize("body", [{"peer": "p"}, {"subject": "s"}])
async def test_nobody_to_kick_is_not_found(site: MakeSite, body: Any) -> None:
    here = site(worker=FakeWorker(rules=FakeRules(kicked=False)), admin_token=SECRET)
    answer = await post(here, "/rooms/a/kick", body)
    assert error_of(answer) == (404, "no_such_peer")
    assert "to" not in answer.json()["error"]["text"].split()


async def test_a_ban_needs_nobody_to_be_there(site: MakeSite) -> None:
    here = site(worker=FakeWorker(rules=FakeRules(kicked=False)), admin_token=SECRET)
    answer = await post(here, "/rooms/a/kick", {"subject": "s", "ban": 60})
    assert answer.json() == {"room": "a", "kicked": False}


async def test_members_are_moved(site: MakeSite) -> None:
    here = site(admin_token=SECRET)
    answer = await post(here, "/rooms/a/move", {"to": "b%20c", "peers": ["p", "q"]})
    assert answer.json() == {"room": "a", "to": "b%20c", "moved": 2}
    assert (await post(here, "/rooms/a/move", {"to": "d"})).status_code == 200
    assert here.worker.rules.done == [("move", "a", "b%20c", ["p", "q"]), ("move", "a", "d", None)]


async def test_members_are_not_moved_to_where_they_are(site: MakeSite) -> None:
    here = site(admin_token=SECRET)
    assert error_of(await post(here, "/rooms/a/move", {"to": "a"})) == (409, "already_joined")
    assert not here.worker.rules.done


async def test_members_are_not_moved_to_a_room_that_cannot_be(site: MakeSite) -> None:
    here = site(admin_token=SECRET)
    assert error_of(await post(here, "/rooms/a/move", {"to": "reserved"})) == (400, "bad_room")
    assert not here.worker.rules.done


@pytest.mark.parametrize(
    ("command", "body", "code", "part"),
    [
        ("kick", {}, "bad_body", "either peer, or subject"),
        ("kick", {"peer": "p", "subject": "s"}, "bad_body", "either peer, or subject"),
        ("kick", {"peer": "a b"}, "bad_peer", "a%20b"),
        ("kick", {"peer": "p", "raeson": ""}, "bad_body", "has no field raeson"),
        ("kick", {"peer": "p", "ban": -1}, "bad_body", "ban is a whole number, at least 0"),
        ("kick", {"peer": "p", "reason": "x" * 201}, "bad_body", "reason is text of at most 200 characters"),
        ("kick", {"subject": "x" * 256}, "bad_body", "subject"),
        ("move", {}, "bad_body", "to is missing"),
        ("move", {"to": "b c"}, "bad_room", "b%20c"),
        ("move", {"to": "b", "peers": []}, "bad_body", "peers"),
        ("move", {"to": "b", "peers": ["a b"]}, "bad_peer", "a%20b"),
    ],
)
async def test_a_wrong_body_is_refused_with_the_field(
    site: MakeSite, command: str, body: Any, code: str, part: str
) -> None:
    here = site(admin_token=SECRET)
    answer = await post(here, f"/rooms/a/{command}", body)
    assert error_of(answer) == (400, code)
    assert part in answer.json()["error"]["text"]
    assert not here.worker.rules.done


@pytest.mark.parametrize("command", ["kick", "move"])
async def test_control_needs_the_token_and_an_allowed_origin(site: MakeSite, command: str) -> None:
    path, origin = f"/rooms/a/{command}", {"Origin": "https://b.example"}
    assert error_of(await post(site(), path, {})) == (403, "forbidden")
    here = site(admin_token=SECRET, allowed_origins=("https://a.example",))
    assert error_of(await here.request("POST", path, json={})) == (401, "unauthorized")
    assert error_of(await post(here, path, {}, **origin)) == (403, "bad_origin")
    assert error_of(await here.request("GET", path)) == (405, "bad_method")


async def test_a_redis_that_is_away_is_told(site: MakeSite) -> None:
    worker = FakeWorker(rules=FakeRules(failure=Unavailable()))
    answer = await post(site(worker=worker, admin_token=SECRET), "/rooms/a/kick", {"peer": "p"})
    assert error_of(answer) == (503, "unavailable")
    assert answer.headers["retry-after"] == "2"
