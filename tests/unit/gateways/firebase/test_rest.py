"""The REST interface."""

import json
from typing import Any

import pytest

from relay.config import Settings
from relay.limits import Pace
from relay.model.rules import RuleChange
from relay.model.tree import hash_of
from relay.rooms.worker import Worker
from tests.tokens import SECRET, token
from tests.unit.gateways.firebase.page import Page
from tests.unit.gateways.firebase.site import Site, site

BUSY = {"message_rate": 10_000, "byte_rate": 1_000_000_000, "address_byte_rate": 1_000_000_000}


async def test_values_are_written_read_updated_and_removed() -> None:
    async with site() as here:
        assert await here.value("GET", "/room/a.json") is None
        assert await here.value("PUT", "/room/a.json?ns=demo", {"b": 1, "c": {"d": "x"}}) == {"b": 1, "c": {"d": "x"}}
        assert await here.value("PATCH", "/room/a.json", {"b": 2, "c/e": True}) == {"b": 2, "c/e": True}
        assert await here.value("GET", "/room/a.json") == {"b": 2, "c": {"d": "x", "e": True}}
        assert await here.value("GET", "/room/a/c/d.json") == "x"
        name = (await here.value("POST", "/room/list.json", "first"))["name"]
        assert len(name) == 20
        assert await here.value("GET", f"/room/list/{name}.json") == "first"
        assert await here.value("DELETE", "/room/a.json") is None
        assert await here.value("GET", "/room.json") == {"list": {name: "first"}}
        assert (await here.worker.roster("room")).count == 0


async def test_posts_have_keys_that_sort_by_time() -> None:
    async with site() as here:
        first = (await here.value("POST", "/room.json", 1))["name"]
        assert first < (await here.value("POST", "/room.json", 1))["name"] or first[:8] >= "-N"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("shallow=true", {"a": True, "list": True}),
        ("print=pretty", {"a": 1, "list": ["x", "y"]}),
        ("format=export", {"a": {".value": 1, ".priority": 5}, "list": {"0": "x", "1": "y"}}),
    ],
)
async def test_the_query_says_how_a_value_is_written(query: str, expected: Any) -> None:
    async with site() as here:
        await here.value("PUT", "/room.json", {"a": {".value": 1, ".priority": 5}, "list": ["x", "y"]})
        assert await here.value("GET", f"/room.json?{query}") == expected


async def test_a_silent_request_has_no_body() -> None:
    async with site() as here:
        for method in ("PUT", "GET"):
            response = await here.ask(method, "/room/x.json?print=silent", b"1" if method == "PUT" else b"")
            assert (response.status, response.body) == (204, b"")
        assert await here.value("GET", "/room/x.json") == 1


async def test_a_post_may_stand_for_another_method() -> None:
    async with site() as here:
        await here.value("POST", "/room/x.json", {"a": 1}, x_http_method_override="PATCH")
        assert await here.value("GET", "/room.json") == {"x": {"a": 1}}
        assert await here.refused("POST", "/room/x.json", b"1", x_http_method_override="BREW") == "bad_method"


async def test_an_etag_makes_a_write_conditional() -> None:
    async with site() as here:
        first = await here.ask("GET", "/room/x.json", x_firebase_etag="true")
        assert first.headers["etag"] == "null_etag"
        assert (await here.ask("PUT", "/room/x.json", b"1", if_match="null_etag")).status == 200
        stale = await here.ask("PUT", "/room/x.json", b"2", if_match="null_etag")
        assert (stale.status, stale.body) == (412, b"1")
        assert (await here.ask("PUT", "/room/x.json", b"2", if_match=stale.headers["etag"])).status == 200
        assert (await here.ask("DELETE", "/room/x.json", if_match=stale.headers["etag"])).status == 412
        assert await here.value("GET", "/room/x.json") == 2


@pytest.mark.parametrize(
    ("method", "body", "headers", "status"),
    [
        ("GET", b"", {}, 200),
        ("PUT", b"1", {"if_match": "null_etag"}, 412),
        ("PUT", b"1", {"if_match": hash_of("x" * 1000)}, 200),
        ("PUT", b'{".sv":{"increment":1}}', {}, 200),
    ],
)
async def test_each_read_of_a_value_counts_against_the_rates(
    method: str, body: bytes, headers: dict[str, str], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site() as here:
        await here.value("PUT", "/room/x.json", "x" * 1000)
        counted: list[float] = []
        count = Pace.count

        def counting(pace: Pace, size: int, **named: Any) -> float:
            counted.append(size)
            return count(pace, size, **named)

        monkeypatch.setattr(Pace, "count", counting)
        assert (await here.ask(method, "/room/x.json", body, **headers)).status == status
        assert 1000 <= sum(counted) < 2000


@pytest.mark.parametrize(
    ("method", "body"),
    [("PUT", b'{"a":{".sv":"timestamp"}}'), ("PATCH", b'{"a":1,"n":{".sv":{"increment":1}}}'), ("DELETE", b"")],
)
async def test_the_etag_after_a_write_is_that_of_the_written_value(
    method: str, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not that of a value which others have written since: the client would write over it by If-Match."""
    async with site() as here:
        await here.value("PUT", "/room/x.json", {"b": "before"})
        change, etags = here.worker.change_tree, list[str]()

        async def change_and_lose(*arguments: Any, **named: Any) -> Any:
            receipt = await change(*arguments, **named)
            monkeypatch.undo()
            etags.append((await here.ask("GET", "/room/x.json", x_firebase_etag="true")).headers["etag"])
            await here.value("PUT", "/room/x.json", "of another client")
            return receipt

        monkeypatch.setattr(here.worker, "change_tree", change_and_lose)
        written = await here.ask(method, "/room/x.json", body, x_firebase_etag="true")
        assert [written.headers["etag"]] == etags
        assert (await here.ask("PUT", "/room/x.json", b"2", if_match=written.headers["etag"])).status == 412


async def test_server_values_are_resolved() -> None:
    async with site() as here:
        for _ in range(2):
            await here.value("PATCH", "/room.json", {"n": {".sv": {"increment": 2}}, "at": {".sv": "timestamp"}})
        value = await here.value("GET", "/room.json")
        assert value["n"] == 4
        assert value["at"] > 1_600_000_000_000


async def test_members_of_the_room_are_told_and_reading_makes_no_member(worker: Worker) -> None:
    here, page = Site(worker), await Page(worker).start()
    assert await page.ask("p", "/room/mine", d=1) == "ok"
    assert await page.ask("q", "/room", h="") == "ok"
    page.take()
    await here.value("PUT", "/room/x/y.json", {"z": 1})
    assert await here.value("GET", "/room.json") == {"mine": 1, "x": {"y": {"z": 1}}}
    assert page.take() == [("d", "room/x/y", {"z": 1})]
    assert (await worker.roster("room")).count == 1
    page.session.disconnected(1000, None)


async def test_the_presence_check_sees_members_of_any_protocol() -> None:
    async with site() as here:
        page = await Page(here.worker).start()
        assert await here.value("GET", "/room.json") is None
        assert await page.ask("p", "/room/x", d=None) == "ok"
        assert await here.value("GET", "/room.json") is True
        assert await here.value("GET", "/room/x.json") is None
        page.session.disconnected(1000, None)


@pytest.mark.parametrize(
    ("method", "target", "body", "code"),
    [
        ("PUT", "/room/x.json", b"{", "bad_json"),
        ("PUT", "/room/x.json", b"", "bad_json"),
        ("PUT", "/room/x.json", b"[" * 300 + b"]" * 300, "bad_json"),
        ("PUT", "/room/x.json", b'{"a.b":1}', "bad_path"),
        ("PUT", "/room/x.json", b'{"":1}', "bad_path"),
        ("PUT", "/room/x.json", b"1e999", "bad_json"),
        ("PUT", "/room/" + "a/" * 20 + "x.json", b"1", "bad_path"),
        ("PUT", "/room/x.json", b'"' + b"x" * 300_000 + b'"', "tree_full"),
        ("PUT", "/room/x.json", b'"' + b"x" * 2_000_000 + b'"', "too_large"),
        ("PATCH", "/room/x.json", b"1", "bad_value"),
        ("PATCH", "/room/x.json", b'{"a":1,"a/b":2}', "bad_path"),
        ("PUT", "/.json", b"1", "bad_room"),
        ("GET", "/.json", b"", "bad_room"),
        ("GET", "/room/a%24b.json", b"", "bad_path"),
        ("GET", "/room.json?orderBy=%22$key%22", b"", "query_unsupported"),
        ("GET", "/room.json?print=loud", b"", "bad_query"),
        ("PATCH", "/room.json", b"{}", ""),
    ],
)
async def test_each_request_that_is_not_allowed_has_a_named_code(
    method: str, target: str, body: bytes, code: str
) -> None:
    async with site(**BUSY) as here:
        if code:
            assert await here.refused(method, target, body) == code
        else:
            assert (await here.ask(method, target, body)).status == 200


async def test_the_paths_of_the_relay_itself_are_no_values() -> None:
    async with site() as here:
        for target in ("/rooms/x.json", "/openapi.json", "/subjects/x.json"):
            assert (await here.ask("GET", target)).status == 404


async def test_beside_a_folder_of_files_a_request_names_the_namespace() -> None:
    async with Worker(Settings(static="/tmp")) as worker:
        here = Site(worker)
        assert (await here.ask("GET", "/manifest.json")).status == 404
        assert await here.value("GET", "/manifest.json?ns=demo") is None


async def test_rights_are_those_of_the_token() -> None:
    async with site(auth="required", auth_secret=SECRET, url_tokens="on") as here:
        mine = token(sub="ann", rooms=[{"room": "room"}])
        assert await here.refused("GET", "/room.json") == "token_required"
        assert await here.refused("PUT", "/room/x.json", b"1") == "token_required"
        assert await here.value("PUT", f"/room/x.json?auth={mine}", 1) == 1
        assert await here.value("GET", "/room/x.json", authorization=f"Bearer {mine}") == 1
        refused = await here.ask("GET", f"/other.json?auth={mine}")
        assert json.loads(refused.body)["error"] == "Permission denied"
        assert json.loads(refused.body)["code"] == "not_granted"
        reader = token(sub="bob", rooms=[{"room": "room", "can": ["join"]}])
        assert await here.value("GET", f"/room/x.json?auth={reader}") == 1
        assert await here.refused("PUT", f"/room/x.json?auth={reader}", b"2") == "not_granted"


async def test_tokens_in_urls_count_only_where_the_setting_allows_them() -> None:
    async with site(auth="required", auth_secret=SECRET, url_tokens="off") as here:
        assert await here.refused("GET", f"/room.json?auth={token(sub='ann', rooms=[{'room': 'room'}])}") == (
            "token_required"
        )


async def test_new_rooms_count_for_the_address() -> None:
    async with site(new_rooms_per_address=2, **BUSY) as here:
        await here.value("PUT", "/one/x.json", 1)
        await here.value("PUT", "/two/x.json", 1)
        assert await here.refused("PUT", "/three/x.json", b"1") == "too_many_new_rooms"
        assert await here.value("PUT", "/one/x.json", 2) == 2


async def test_locked_rooms_and_rooms_with_a_password_are_for_their_members() -> None:
    async with site() as here:
        page = await Page(here.worker).start()
        assert await page.ask("p", "/room/x", d=1) == "ok"
        await here.worker.rules.change("room", RuleChange(locked=True))
        assert await here.refused("GET", "/room/x.json") == "room_locked"
        assert await here.refused("DELETE", "/room/x.json") == "room_locked"
        page.session.disconnected(1000, None)


async def test_a_writer_that_may_not_read_is_refused_before_its_write_where_it_wants_an_etag() -> None:
    async with site(auth="required", auth_secret=SECRET, url_tokens="on") as here:
        writer = token(sub="ann", rooms=[{"room": "room", "can": ["publish"]}])
        assert await here.value("PUT", f"/room/x.json?auth={writer}", 1) == 1
        refused = await here.refused("PUT", f"/room/x.json?auth={writer}", b"2", x_firebase_etag="true")
        assert refused == "not_granted"
        reader = token(sub="bob", rooms=[{"room": "room", "can": ["join"]}])
        assert await here.value("GET", f"/room/x.json?auth={reader}") == 1


async def test_large_values_are_read_in_their_turn() -> None:
    async with site(**BUSY) as here:
        text = "x" * 100_000
        assert await here.value("PUT", "/room/x.json", text) == text
        assert await here.refused("PUT", "/room/x.json", b"[" * 100_000) == "bad_json"
