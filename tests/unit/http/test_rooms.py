"""Lists of rooms and members, and publishing over HTTP."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2 as httpx
import pytest

from relay.model.errors import Refused
from relay.model.events import Present, Roster
from tests.unit.http.conftest import FakeWorker, MakeSite, Site, error_of

TOKEN = {"Authorization": "Bearer secret"}
JSON = {"Content-Type": "application/json"}

# One room.


async def test_empty_room(site: MakeSite) -> None:
    answer = await site().get("/rooms/lobby")
    assert answer.status_code == 200
    assert answer.json() == {"room": "lobby", "present": False, "count": 0, "members": []}
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("settings", "headers", "listed"),
    [({}, {}, True), ({"admin_token": "secret"}, {}, False), ({"admin_token": "secret"}, TOKEN, True)],
)
async def test_members_need_the_token_when_one_is_set(
    site: MakeSite, settings: dict[str, str], headers: dict[str, str], listed: bool
) -> None:
    worker = FakeWorker(present=Roster(3, [Present("a"), Present("b", held=True)]))
    answer = (await site(worker=worker, **settings).get("/rooms/lobby", headers=headers)).json()
    members = answer.pop("members", None)
    assert answer == {"room": "lobby", "present": True, "count": 3}
    assert worker.limits == [None if listed else 0]
    assert members == ([{"peer": "a"}, {"peer": "b", "held": True}] if listed else None)


async def test_members_have_their_infos(site: MakeSite) -> None:
    worker = FakeWorker(present=Roster(1, [Present("a", info='{"name":"Zoë"}'.encode())]))
    answer = (await site(worker=worker).get("/rooms/lobby")).json()
    assert answer["members"] == [{"peer": "a", "info": {"name": "Zoë"}}]


async def test_a_list_of_members_may_be_longer_or_shorter(site: MakeSite) -> None:
    worker = FakeWorker()
    for limit in (1, 1000):
        assert (await site(worker=worker).get(f"/rooms/lobby?limit={limit}")).status_code == 200
    assert worker.limits == [1, 1000]
    for text in ("0", "1001", "-1", "x", "", "1&limit=2"):
        assert error_of(await site(worker=worker).get(f"/rooms/lobby?limit={text}")) == (400, "bad_query")


async def test_a_wrong_token_differs_from_no_token(site: MakeSite) -> None:
    answer = await site(admin_token="secret").get("/rooms/a", headers={"Authorization": "Bearer guess"})
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
    here = site(admin_token="secret")
    answer = await here.get("/rooms", headers=headers)
    assert error_of(answer) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert here.worker.refused("unauthorized") == 1


async def test_no_rooms(site: MakeSite) -> None:
    answer = await site(admin_token="secret").get("/rooms", headers=TOKEN)
    assert answer.json() == {"rooms": [], "next": None, "total": 0}


@pytest.mark.parametrize("limit", [1, 7, 100, 1000])
async def test_pages_follow_each_other(site: MakeSite, limit: int) -> None:
    rooms = MANY[:30] if limit < 100 else MANY
    here = site(worker=FakeWorker(listed=rooms), admin_token="secret")
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
    here = site(worker=FakeWorker(listed=MANY[:100]), admin_token="secret")
    page = (await here.get("/rooms", headers=TOKEN)).json()
    assert len(page["rooms"]) == 100
    assert page["next"] is None


async def test_after_a_room_that_has_gone(site: MakeSite) -> None:
    here = site(worker=FakeWorker(listed=[("a", 1), ("c", 1)]), admin_token="secret")
    page = (await here.get("/rooms?after=b", headers=TOKEN)).json()
    assert [one["room"] for one in page["rooms"]] == ["c"]


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=-1", "limit=", "limit=1e2", "limit=%2B5", "limit=%D9%A5", "limit=5&limit=5",
     "limit=" + "9" * 4000, "after=", "after=a%2Fb", "after=%00", "after=%F0%9F%98%80", "after=%ED%A0%80"],
)  # fmt: skip
async def test_bad_page(site: MakeSite, query: str) -> None:
    here = site(admin_token="secret")
    assert error_of(await here.get_path("/rooms")) == (401, "unauthorized")
    assert error_of(await here.get(f"/rooms?{query}", headers=TOKEN)) == (400, "bad_query")


# Publishing.


async def post(here: Site, body: Any = b"{}", path: str = "/rooms/lobby", **headers: str) -> httpx.Response:
    return await here.request("POST", path, content=body, headers=TOKEN | JSON | headers)


async def test_publish(site: MakeSite) -> None:
    here = site(admin_token="secret")
    answer = await post(here, b' {"message": 1} ')
    assert (answer.status_code, answer.json()) == (200, {"id": "7-1", "repeat": False})
    assert here.worker.published == [("lobby", b' {"message": 1} ')]


async def test_publishing_is_off_without_an_admin_token(site: MakeSite) -> None:
    answer = await post(site())
    assert error_of(answer) == (403, "forbidden")
    assert "admin-token" in answer.json()["error"]["text"]


async def test_publishing_needs_the_token(site: MakeSite) -> None:
    here = site(admin_token="secret")
    assert error_of(await post(here, Authorization="Bearer guess")) == (401, "unauthorized")
    assert not here.worker.published


async def test_the_token_is_checked_first(site: MakeSite) -> None:
    answer = await site(admin_token="secret").request("POST", "/rooms/{}", content=b"")
    assert error_of(answer) == (401, "unauthorized")


@pytest.mark.parametrize(("origin", "code"), [("https://a.example", None), ("https://b.example", "bad_origin")])
async def test_pages_of_other_origins_publish_nothing(site: MakeSite, origin: str, code: str | None) -> None:
    here = site(admin_token="secret", allowed_origins=("https://a.example",))
    answer = await post(here, Origin=origin)
    assert (answer.status_code == 200) if code is None else (error_of(answer) == (403, code))
    assert (await here.get("/rooms/lobby", headers=TOKEN | {"Origin": origin})).status_code == 200


async def test_publish_to_a_bad_room(site: MakeSite) -> None:
    assert error_of(await post(site(admin_token="secret"), path="/rooms/a%0Ab")) == (400, "bad_room")


async def test_publish_another_type(site: MakeSite) -> None:
    answer = await post(site(admin_token="secret"), **{"Content-Type": "text/plain"})
    assert error_of(answer) == (415, "bad_content_type")


@pytest.mark.parametrize("size", [256, 257])
@pytest.mark.parametrize("chunked", [False, True])
async def test_publish_up_to_the_limit(site: MakeSite, size: int, chunked: bool) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b" " * 100
        yield b" " * (size - 100)

    here = site(admin_token="secret", max_message=256)
    answer = await post(here, chunks() if chunked else b" " * size)
    if size > 256:
        assert error_of(answer) == (413, "too_large")
    else:
        assert answer.status_code == 200
    assert len(here.worker.published) == (size <= 256)


async def test_refused_envelope(site: MakeSite) -> None:
    here = site(worker=FakeWorker(failure=Refused("reserved_field")), admin_token="secret")
    assert error_of(await post(here)) == (400, "reserved_field")
