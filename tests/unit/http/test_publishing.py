"""Publishing one envelope to many rooms."""

from typing import Any

import httpx2 as httpx
import pytest

from relay.identity.grants import Grants, Right, RoomGrant
from relay.model.errors import BadFrame
from tests.unit.http.conftest import FakeWorker, MakeSite, Site, error_of

SECRET = "secret-secret-secret"
TOKEN = {"Authorization": f"Bearer {SECRET}"}
JSON = {"Content-Type": "application/json"}


async def publish(here: Site, rooms: Any, envelope: Any, **headers: str) -> httpx.Response:
    body = {"rooms": rooms, "envelope": envelope}
    return await here.request("POST", "/publish", json=body, headers=TOKEN | headers)


async def test_each_room_has_its_receipt_or_its_error_in_order(site: MakeSite) -> None:
    here = site(admin_token=SECRET)
    answer = await publish(here, ["b", "reserved", "a%20b", "b"], {"message": 1})
    assert answer.status_code == 200
    first, refused, last = answer.json()["rooms"]
    assert first == {"room": "b", "id": "7-1", "repeat": False}
    assert (refused["room"], refused["error"]["code"]) == ("reserved", "bad_room")
    assert last == {"room": "a%20b", "id": "7-2", "repeat": False}
    assert [room for room, _ in here.worker.published] == ["b", "a%20b"]
    assert here.worker.refused("bad_room") == 1


async def test_the_envelope_is_published_byte_for_byte(site: MakeSite) -> None:
    here = site(admin_token=SECRET)
    body = b'{"rooms":["a"],"envelope": {"message" : 1.50} }'
    assert (await here.request("POST", "/publish", content=body, headers=TOKEN | JSON)).status_code == 200
    assert here.worker.published == [("a", b'{"message" : 1.50}')]


async def test_a_token_of_a_client_publishes_where_it_grants_it(site: MakeSite) -> None:
    worker = FakeWorker(tokens={"t": Grants(subject="ann", peers="ann", rooms=(RoomGrant("a*"),))})
    here = site(worker=worker, auth="optional", auth_secret="s" * 32)
    answer = await publish(here, ["a", "b", "ab"], {}, Authorization="Bearer t")
    assert [one.get("error", {}).get("code") for one in answer.json()["rooms"]] == [None, "not_granted", None]
    assert [room for room, _ in worker.published] == ["a", "ab"]
    assert worker.senders == ["ann", "ann"]


async def test_a_holder_that_is_banned_from_a_room_publishes_to_the_others(site: MakeSite) -> None:
    worker = FakeWorker(tokens={"t": Grants(subject="ann", peers="ann", rooms=(RoomGrant("*"),))}, bans={("b", "ann")})
    here = site(worker=worker, auth="optional", auth_secret="s" * 32)
    answer = await publish(here, ["a", "b"], {}, Authorization="Bearer t")
    assert [one.get("error", {}).get("code") for one in answer.json()["rooms"]] == [None, "banned"]
    alone = await here.request("POST", "/rooms/b", json={}, headers={"Authorization": "Bearer t"})
    assert error_of(alone) == (403, "banned")
    assert [room for room, _ in worker.published] == ["a"]


async def test_a_message_to_some_peers_needs_the_right_to_send_directly(site: MakeSite) -> None:
    rooms = (RoomGrant("a", frozenset({Right.PUBLISH})), RoomGrant("b", frozenset({Right.SEND_DIRECT})))
    here = site(worker=FakeWorker(tokens={"t": Grants(rooms=rooms)}), auth="optional", auth_secret="s" * 32)
    for envelope, codes in (({}, [None, "not_granted"]), ({"to": "p"}, ["not_granted", None])):
        answer = await publish(here, ["a", "b"], envelope, Authorization="Bearer t")
        assert [one.get("error", {}).get("code") for one in answer.json()["rooms"]] == codes


@pytest.mark.parametrize(
    ("body", "status", "code", "part"),
    [
        (b'{"rooms":[],"envelope":{}}', 400, "bad_body", "rooms is a list of at least 1 item"),
        (b'{"rooms":["a"]}', 400, "bad_body", "envelope is missing"),
        (b'{"rooms":["a","b c"],"envelope":{}}', 400, "bad_room", "room 2 of the list"),
        (b'{"rooms":["a"],"envelope":{},"to":1}', 400, "bad_body", "has no field to"),
        (b'{"rooms":["a"],"envelope":{}', 400, "bad_json", "not complete"),
        (b'{"rooms":["a"],"envelope":"\xff"}', 400, "bad_json", "UTF-8"),
        (b"[" * 600, 400, "bad_json", "levels"),
        (b'{"rooms":["a"],"envelope":{"x":"' + b"x" * 300 + b'"}}', 413, "too_large", "at most 256"),
    ],
)
async def test_a_wrong_request_publishes_nothing(
    site: MakeSite, body: bytes, status: int, code: str, part: str
) -> None:
    here = site(admin_token=SECRET, max_message=256)
    answer = await here.request("POST", "/publish", content=body, headers=TOKEN | JSON)
    assert error_of(answer) == (status, code)
    assert part in answer.json()["error"]["text"]
    assert not here.worker.published


async def test_a_hundred_rooms_are_the_most(site: MakeSite) -> None:
    here = site(admin_token=SECRET)
    assert len((await publish(here, [f"r{n}" for n in range(100)], {})).json()["rooms"]) == 100
    assert error_of(await publish(here, [f"r{n}" for n in range(101)], {})) == (400, "bad_body")


async def test_an_envelope_that_cannot_be_read_is_an_error_of_the_request(site: MakeSite) -> None:
    worker = FakeWorker(failure=BadFrame("reserved_field"))
    assert error_of(await publish(site(worker=worker, admin_token=SECRET), ["a"], {"id": 1})) == (400, "reserved_field")


async def test_publishing_needs_the_token_an_allowed_origin_and_json(site: MakeSite) -> None:
    assert error_of(await publish(site(), ["a"], {})) == (403, "forbidden")
    here = site(admin_token=SECRET, allowed_origins=("https://a.example",))
    assert error_of(await here.request("POST", "/publish", json={})) == (401, "unauthorized")
    assert error_of(await publish(here, ["a"], {}, Origin="https://b.example")) == (403, "bad_origin")
    answer = await here.request("POST", "/publish", content=b"{}", headers=TOKEN | {"Content-Type": "text/plain"})
    assert error_of(answer) == (415, "bad_content_type")
