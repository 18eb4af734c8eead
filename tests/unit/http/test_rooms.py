"""Lists of rooms and members, and publishing over HTTP."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2 as httpx
import pytest

from relay.identity.grants import Grants, Right, RoomGrant
from relay.model.errors import Refused
from relay.model.events import Present, Roster
from relay.model.names import SERVER
from relay.model.room_list import RoomQuery
from relay.model.rules import RoomRules, RuleChange
from tests.unit.http.conftest import FakeRules, FakeWorker, MakeSite, Site, error_of

SECRET = "secret-secret-secret"
TOKEN = {"Authorization": f"Bearer {SECRET}"}
JSON = {"Content-Type": "application/json"}

# One room.


async def test_empty_room(site: MakeSite) -> None:
    answer = await site().get("/rooms/lobby")
    assert answer.status_code == 200
    rules = {"max_members": None, "locked": False, "password": False, "ttl": None, "history": True}
    assert answer.json() == {"room": "lobby", "present": False, "count": 0, "rules": rules}
    here = site(admin_token=SECRET)
    assert (await here.get("/rooms/lobby", headers=TOKEN)).json()["members"] == []
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("settings", "headers", "listed"),
    [({}, {}, False), ({}, TOKEN, False), ({"admin_token": SECRET}, {}, False), ({"admin_token": SECRET}, TOKEN, True)],
)
async def test_names_of_members_need_the_token(
    site: MakeSite, settings: dict[str, str], headers: dict[str, str], listed: bool
) -> None:
    worker = FakeWorker(present=Roster(3, [Present("a"), Present("b", held=True)]))
    answer = (await site(worker=worker, **settings).get("/rooms/lobby", headers=headers)).json()
    members = answer.pop("members", None)
    # The owner is named where members are.
    assert ("owner" in answer.pop("rules")) == listed
    assert answer == {"room": "lobby", "present": True, "count": 3}
    assert worker.limits == [None if listed else 0]
    assert members == ([{"peer": "a"}, {"peer": "b", "held": True}] if listed else None)


async def test_members_have_their_infos(site: MakeSite) -> None:
    worker = FakeWorker(present=Roster(1, [Present("a", info='{"name":"Zoë"}'.encode())]))
    answer = (await site(worker=worker, admin_token=SECRET).get("/rooms/lobby", headers=TOKEN)).json()
    assert answer["members"] == [{"peer": "a", "info": {"name": "Zoë"}}]


async def test_a_list_of_members_may_be_longer_or_shorter(site: MakeSite) -> None:
    worker = FakeWorker()
    for limit in (1, 1000):
        here = site(worker=worker, admin_token=SECRET)
        assert (await here.get(f"/rooms/lobby?limit={limit}", headers=TOKEN)).status_code == 200
    assert worker.limits == [1, 1000]
    for text in ("0", "1001", "-1", "x", "", "1&limit=2"):
        assert error_of(await site(worker=worker).get(f"/rooms/lobby?limit={text}")) == (400, "bad_query")


async def test_a_wrong_token_differs_from_no_token(site: MakeSite) -> None:
    answer = await site(admin_token=SECRET).get("/rooms/a", headers={"Authorization": "Bearer guess"})
    assert error_of(answer) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["a%3Ab", "a:b"])
async def test_a_name_may_be_escaped(site: MakeSite, path: str) -> None:
    assert (await site().get(f"/rooms/{path}")).json()["room"] == "a:b"


@pytest.mark.parametrize(
    ("path", "room"),
    [
        ("a%2Fb", "a%2Fb"),
        ("a%20b", "a%20b"),
        ("%7Ba%7D", "%7Ba%7D"),
        ("%F0%9F%98%80", "%F0%9F%98%80"),
        ("%24server", "%24server"),
        ("a%2520b", "a%2520b"),
    ],
)
async def test_a_name_may_be_any_text(site: MakeSite, path: str, room: str) -> None:
    answer = await site().get(f"/rooms/{path}")
    assert (answer.status_code, answer.json()["room"]) == (200, room)


NO_NAMES = ["", ".", "..", "a%00b", "a%0Ab", "a%0A", "%zz", "a%", "%FF", "%EF%BF%BD", "x" * 256]


@pytest.mark.parametrize("name", NO_NAMES)
async def test_bad_room(site: MakeSite, name: str) -> None:
    here = site()
    assert error_of(await here.get_path(f"/rooms/{name}")) == (400, "bad_room")
    assert here.worker.refused("bad_room") == 1


@pytest.mark.parametrize("path", ["/rooms/a/b", "/rooms/a//", "/rooms/../health", "/rooms/a%2Fb/events"])
async def test_nothing_below_a_room(site: MakeSite, path: str) -> None:
    assert error_of(await site().get_path(path)) == (404, "not_found")


@pytest.mark.parametrize("query", [b"x=%FF", b"x=\xff", b"x=" + b"1" * 40_000])
async def test_bad_query(site: MakeSite, query: bytes) -> None:
    assert error_of(await site().get_path("/rooms/a", query)) == (400, "bad_query")


# All rooms.

MANY = [(f"room{number:04}", number) for number in range(1205)]


async def test_the_list_is_off_without_an_admin_token(site: MakeSite) -> None:
    answer = await site().get("/rooms", headers=TOKEN)
    assert error_of(answer) == (403, "forbidden")
    assert "admin-token" in answer.json()["error"]["text"]


@pytest.mark.parametrize("authorization", [None, "Bearer guess", "Bearer", "Basic c2VjcmV0", "secret", "Bearer \xff"])
async def test_list_needs_the_token(site: MakeSite, authorization: str | None) -> None:
    headers = [] if authorization is None else [(b"authorization", authorization.encode("latin-1"))]
    here = site(admin_token=SECRET)
    answer = await here.get("/rooms", headers=headers)
    assert error_of(answer) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert here.worker.refused("unauthorized") == 1


async def test_no_rooms(site: MakeSite) -> None:
    answer = await site(admin_token=SECRET).get("/rooms", headers=TOKEN)
    assert answer.json() == {"rooms": [], "next": None, "total": 0}


async def test_an_incomplete_list_says_so(site: MakeSite) -> None:
    worker = FakeWorker(listed=[("a", 1)], missing="10.0.0.7:6379: connection refused")
    answer = await site(worker=worker, admin_token=SECRET).get("/rooms", headers=TOKEN)
    assert answer.json() == {
        "rooms": [{"room": "a", "members": 1}],
        "next": None,
        "total": 1,
        "incomplete": True,
        "reason": "10.0.0.7:6379: connection refused",
    }


@pytest.mark.parametrize("limit", [1, 7, 100, 1000])
async def test_pages_follow_each_other(site: MakeSite, limit: int) -> None:
    rooms = MANY[:30] if limit < 100 else MANY
    here = site(worker=FakeWorker(listed=rooms), admin_token=SECRET)
    seen: list[tuple[str, int]] = []
    after = ""
    while after is not None:
        query = f"?limit={limit}" + (f"&after={after}" if after else "")
        page = (await here.get(f"/rooms{query}", headers=TOKEN)).json()
        assert page["total"] == len(rooms)
        assert 0 < len(page["rooms"]) <= limit
        seen += [(one["room"], one["members"]) for one in page["rooms"]]
        after = page["next"]
    assert seen == rooms


async def test_page_that_ends_with_the_list_has_no_next(site: MakeSite) -> None:
    here = site(worker=FakeWorker(listed=MANY[:100]), admin_token=SECRET)
    page = (await here.get("/rooms", headers=TOKEN)).json()
    assert len(page["rooms"]) == 100
    assert page["next"] is None


async def test_after_a_room_that_has_gone(site: MakeSite) -> None:
    here = site(worker=FakeWorker(listed=[("a", 1), ("c", 1)]), admin_token=SECRET)
    page = (await here.get("/rooms?after=b", headers=TOKEN)).json()
    assert [one["room"] for one in page["rooms"]] == ["c"]


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("", RoomQuery()),
        ("prefix=main%20h&limit=7", RoomQuery("main%20h", "", 7)),
        ("prefix=.&cursor=a%2520b", RoomQuery(".", "a%20b")),
        ("prefix=&after=a", RoomQuery("", "a")),
        ("cursor=b&after=a", RoomQuery("", "b")),
    ],
)
async def test_a_page_is_asked_for_by_prefix_and_cursor(site: MakeSite, query: str, asked: RoomQuery) -> None:
    here = site(admin_token=SECRET)
    assert (await here.get(f"/rooms?{query}", headers=TOKEN)).status_code == 200
    assert here.worker.queries == [asked]


@pytest.mark.parametrize(
    "query",
    [
        "prefix=%00",
        "prefix=" + "x" * 256,
        "prefix=a&prefix=b",
        "cursor=a%2Fb",
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=",
        "limit=1e2",
        "limit=%2B5",
        "limit=%D9%A5",
        "limit=5&limit=5",
        "limit=" + "9" * 4000,
        "after=",
        "after=a%2Fb",
        "after=%00",
        "after=%F0%9F%98%80",
        "after=%ED%A0%80",
    ],
)
async def test_bad_page(site: MakeSite, query: str) -> None:
    here = site(admin_token=SECRET)
    assert error_of(await here.get_path("/rooms")) == (401, "unauthorized")
    assert error_of(await here.get(f"/rooms?{query}", headers=TOKEN)) == (400, "bad_query")


# Publishing.


async def post(here: Site, body: Any = b"{}", path: str = "/rooms/lobby", **headers: str) -> httpx.Response:
    return await here.request("POST", path, content=body, headers=TOKEN | JSON | headers)


async def test_publish(site: MakeSite) -> None:
    here = site(admin_token=SECRET)
    answer = await post(here, b' {"message": 1} ')
    assert (answer.status_code, answer.json()) == (200, {"id": "7-1", "repeat": False})
    assert here.worker.published == [("lobby", b' {"message": 1} ')]


async def test_publishing_is_off_without_an_admin_token(site: MakeSite) -> None:
    answer = await post(site())
    assert error_of(answer) == (403, "forbidden")
    assert "admin-token" in answer.json()["error"]["text"]


async def test_publishing_needs_the_token(site: MakeSite) -> None:
    here = site(admin_token=SECRET)
    assert error_of(await post(here, Authorization="Bearer guess")) == (401, "unauthorized")
    assert not here.worker.published


async def test_the_token_is_checked_first(site: MakeSite) -> None:
    answer = await site(admin_token=SECRET).request("POST", "/rooms/{}", content=b"")
    assert error_of(answer) == (401, "unauthorized")


@pytest.mark.parametrize(("origin", "code"), [("https://a.example", None), ("https://b.example", "bad_origin")])
async def test_pages_of_other_origins_publish_nothing(site: MakeSite, origin: str, code: str | None) -> None:
    here = site(admin_token=SECRET, allowed_origins=("https://a.example",))
    answer = await post(here, Origin=origin)
    assert (answer.status_code == 200) if code is None else (error_of(answer) == (403, code))
    assert (await here.get("/rooms/lobby", headers=TOKEN | {"Origin": origin})).status_code == 200


async def test_publish_to_a_bad_room(site: MakeSite) -> None:
    assert error_of(await post(site(admin_token=SECRET), path="/rooms/a%0Ab")) == (400, "bad_room")


async def test_publish_another_type(site: MakeSite) -> None:
    answer = await post(site(admin_token=SECRET), **{"Content-Type": "text/plain"})
    assert error_of(answer) == (415, "bad_content_type")


@pytest.mark.parametrize("size", [256, 257])
@pytest.mark.parametrize("chunked", [False, True])
async def test_publish_up_to_the_limit(site: MakeSite, size: int, chunked: bool) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b" " * 100
        yield b" " * (size - 100)

    here = site(admin_token=SECRET, max_message=256)
    answer = await post(here, chunks() if chunked else b" " * size)
    if size > 256:
        assert error_of(answer) == (413, "too_large")
    else:
        assert answer.status_code == 200
    assert len(here.worker.published) == (size <= 256)


async def test_refused_envelope(site: MakeSite) -> None:
    here = site(worker=FakeWorker(failure=Refused("reserved_field")), admin_token=SECRET)
    assert error_of(await post(here)) == (400, "reserved_field")


# Tokens of clients.

AUTH = {"auth_secret": "s" * 32}
GRANTS = {
    "seer": Grants(rooms=(RoomGrant("lobby", frozenset({Right.PRESENCE})),)),
    "member": Grants(rooms=(RoomGrant("lobby", frozenset({Right.JOIN})),)),
    "sender": Grants(rooms=(RoomGrant("lobby", frozenset({Right.PUBLISH})),)),
    "stranger": Grants(rooms=(RoomGrant("other"),)),
    "operator": Grants(admin=True),
}


def bearing(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


@pytest.mark.parametrize(
    ("token", "required", "optional"),
    [
        ("", (401, "token_required"), "count"),
        ("unknown", (401, "bad_token"), (401, "bad_token")),
        ("stranger", (403, "not_granted"), (403, "not_granted")),
        ("member", "count", "count"),
        ("seer", "names", "names"),
        ("operator", "names", "names"),
        (SECRET, "names", "names"),
    ],
)
async def test_a_token_shows_a_room_as_far_as_it_grants(
    site: MakeSite, token: str, required: object, optional: object
) -> None:
    for auth, expected in (("required", required), ("optional", optional)):
        worker = FakeWorker(present=Roster(1, [Present("a")]), tokens=GRANTS)
        answer = await site(worker=worker, admin_token=SECRET, auth=auth, **AUTH).get(
            "/rooms/lobby", headers=bearing(token)
        )
        if isinstance(expected, tuple):
            assert error_of(answer) == expected
            assert answer.headers.get("www-authenticate") == ("Bearer" if expected[0] == 401 else None)
        else:
            assert answer.json()["count"] == 1
            assert ("members" in answer.json()) is (expected == "names")


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("", (401, "token_required")),
        ("unknown", (401, "bad_token")),
        ("member", (403, "not_granted")),
        ("stranger", (403, "not_granted")),
        ("sender", None),
        ("operator", None),
        (SECRET, None),
    ],
)
async def test_a_token_may_grant_to_publish(site: MakeSite, token: str, expected: tuple[int, str] | None) -> None:
    for auth in ("required", "optional"):
        worker = FakeWorker(tokens=GRANTS)
        here = site(worker=worker, admin_token=SECRET, auth=auth, **AUTH)
        answer = await here.request("POST", "/rooms/lobby", headers=bearing(token) | JSON, content=b'{"message":"x"}')
        if expected:
            assert error_of(answer) == expected
        assert len(worker.published) == (expected is None)


@pytest.mark.parametrize(
    ("token", "expected"),
    [("", (401, "token_required")), ("seer", (403, "not_granted")), ("operator", None), (SECRET, None)],
)
async def test_the_list_of_rooms_is_for_operators(site: MakeSite, token: str, expected: tuple[int, str] | None) -> None:
    worker = FakeWorker(tokens=GRANTS)
    answer = await site(worker=worker, admin_token=SECRET, auth="required", **AUTH).get(
        "/rooms", headers=bearing(token)
    )
    assert expected is None or error_of(answer) == expected
    assert (answer.status_code == 200) is (expected is None)


@pytest.mark.parametrize(
    ("token", "body", "expected"),
    [
        ("sender", b'{"message":"x","to":"bob"}', (403, "not_granted")),
        ("direct", b'{"message":"x"}', (403, "not_granted")),
        ("direct", b'{"message":"x","to":["bob"]}', "ann"),
        ("operator", b'{"message":"x","to":"bob"}', SERVER),
        (SECRET, b'{"message":"x"}', SERVER),
        ("direct", b"{", (400, "bad_json")),
    ],
)
async def test_a_client_publishes_under_its_own_name_and_only_as_far_as_its_token_grants(
    site: MakeSite, token: str, body: bytes, expected: object
) -> None:
    direct = Grants(peers="ann", rooms=(RoomGrant("lobby", frozenset({Right.SEND_DIRECT})),))
    worker = FakeWorker(tokens=GRANTS | {"direct": direct})
    here = site(worker=worker, admin_token=SECRET, auth="required", **AUTH)
    answer = await here.request("POST", "/rooms/lobby", headers=bearing(token) | JSON, content=body)
    if isinstance(expected, tuple):
        assert error_of(answer) == expected
    else:
        assert worker.senders == [expected]


# Rules.

ALL = {"max_members": None, "locked": False, "password": False, "ttl": None, "history": True, "owner": None}


async def put(here: Site, body: Any, path: str = "/rooms/a%20b", **headers: str) -> httpx.Response:
    return await here.request("PUT", path, json=body, headers=TOKEN | headers)


async def test_rules_are_changed_and_all_of_them_are_told(site: MakeSite) -> None:
    worker = FakeWorker(rules=FakeRules(RoomRules(locked=True, password=True, owner="p")))
    answer = await put(site(worker=worker, admin_token=SECRET), {"locked": True, "password": "secret-word"})
    assert answer.json() == {"room": "a%20b", "rules": ALL | {"locked": True, "password": True, "owner": "p"}}
    assert worker.rules.done == [("change", "a%20b", RuleChange(locked=True, password="secret-word"), True)]
    worker.uncounted.add("a%20b")
    assert error_of(await put(site(worker=worker, admin_token=SECRET), {})) == (429, "too_many_new_rooms")
    worker.uncounted.clear()
    # To derive a key from a password is much work, which is counted.
    await put(site(worker=worker, admin_token=SECRET), {"locked": True})
    assert worker.charged == [("", "127.0.0.1", 25)]


@pytest.mark.parametrize(
    ("body", "code", "part"),
    [
        ({"lock": True}, "bad_body", "the value has no field lock"),
        ({"locked": 1}, "bad_body", "locked is true or false"),
        ({"max_members": -1}, "bad_body", "max_members"),
        ({"ttl": 10**9}, "bad_body", "ttl"),
        ({"password": "secret-word" * 20}, "bad_body", "password is text of at most 128 characters"),
        ({"owner": "a b"}, "bad_peer", "a%20b"),
        ([], "bad_body", "an object"),
    ],
)
async def test_wrong_rules_are_refused_with_the_field(site: MakeSite, body: Any, code: str, part: str) -> None:
    here = site(admin_token=SECRET)
    answer = await put(here, body)
    assert error_of(answer) == (400, code)
    assert part in answer.json()["error"]["text"]
    assert "secret-word" not in answer.text
    assert not here.worker.rules.done


@pytest.mark.parametrize(("method", "path"), [("PUT", "/rooms/a"), ("DELETE", "/rooms/a"), ("POST", "/rooms")])
async def test_rules_need_the_token_and_an_allowed_origin(site: MakeSite, method: str, path: str) -> None:
    body = {"rooms": [{"room": "a"}]} if method == "POST" else {}
    for here, headers, expected in (
        (site(), TOKEN, (403, "forbidden")),
        (site(admin_token=SECRET), {}, (401, "unauthorized")),
        (site(admin_token=SECRET), {"Authorization": "Bearer guess"}, (401, "unauthorized")),
        (site(admin_token=SECRET, allowed_origins=("https://a.example",)), TOKEN | {"Origin": "https://b.example"},
         (403, "bad_origin")),
    ):  # fmt: skip
        answer = await here.request(method, path, json=body, headers=headers)
        assert error_of(answer) == expected
        assert not here.worker.rules.done


def holding(**grants: Any) -> FakeWorker:
    """A worker for which the token `t` grants this."""
    return FakeWorker(tokens={"t": Grants(**grants)})


HOLDER = {"Authorization": "Bearer t"}


async def test_a_token_of_a_client_is_enough_where_it_grants_the_right(site: MakeSite) -> None:
    worker = holding(rooms=(RoomGrant("team-*", frozenset({Right.LOCK})),))
    here = site(worker=worker, auth="optional", **AUTH)
    assert (await here.request("PUT", "/rooms/team-1", json={"locked": True}, headers=HOLDER)).status_code == 200
    for method, path in (("PUT", "/rooms/other"), ("DELETE", "/rooms/team-1"), ("GET", "/rooms")):
        answer = await here.request(method, path, json={"locked": True}, headers=HOLDER)
        assert error_of(answer) == (403, "not_granted")
    rooms = [{"room": "team-2", "rules": {"ttl": 60}}, {"room": "other"}]
    made = (await here.request("POST", "/rooms", json={"rooms": rooms}, headers=HOLDER)).json()["rooms"]
    assert made[0] == {"room": "team-2", "rules": ALL}
    assert (made[1]["room"], made[1]["error"]["code"]) == ("other", "not_granted")
    assert [call[1] for call in worker.rules.done] == ["team-1", "team-2"]


async def test_rooms_are_made_and_each_that_cannot_be_made_has_its_error(site: MakeSite) -> None:
    here = site(admin_token=SECRET)
    rooms = [{"room": "a"}, {"room": "reserved"}, {"room": "c", "rules": {"locked": True}}]
    answer = await here.request("POST", "/rooms", json={"rooms": rooms}, headers=TOKEN)
    assert answer.status_code == 200
    assert [one.get("error", {}).get("code") for one in answer.json()["rooms"]] == [None, "bad_room", None]
    assert here.worker.refused("bad_room") == 1
    assert here.worker.rules.done == [
        ("change", "a", RuleChange(), True),
        ("change", "c", RuleChange(locked=True), True),
    ]


@pytest.mark.parametrize(
    ("rooms", "code", "part"),
    [
        ([], "bad_body", "rooms is a list of at least 1 item"),
        ([{"room": "a"}] * 101, "bad_body", "at most 100 items"),
        ([{"room": "a"}, {"room": "b c"}], "bad_room", "room 2 of the list: the room name is not in its escaped form"),
        ([{"room": "a", "rules": {"owner": "a b"}}], "bad_peer", "room 1 of the list: the peer id is not in"),
        ([{"rules": {}}], "bad_body", "room is missing"),
        ([{"room": "a", "rules": {"ttl": "x"}}], "bad_body", "rules.ttl"),
    ],
)
async def test_a_list_that_is_wrong_makes_no_room(site: MakeSite, rooms: Any, code: str, part: str) -> None:
    here = site(admin_token=SECRET)
    answer = await here.request("POST", "/rooms", json={"rooms": rooms}, headers=TOKEN)
    assert error_of(answer) == (400, code)
    assert part in answer.json()["error"]["text"]
    assert not here.worker.rules.done


async def test_a_room_is_closed_with_a_reason(site: MakeSite) -> None:
    here = site(admin_token=SECRET)
    answer = await here.request("DELETE", "/rooms/a%20b?reason=at%20night", headers=TOKEN)
    assert answer.json() == {"room": "a%20b", "members": 3}
    assert here.worker.rules.done == [("close", "a%20b", "at night")]
    answer = await here.request("DELETE", f"/rooms/a?reason={'x' * 201}", headers=TOKEN)
    assert error_of(answer) == (400, "bad_query")
