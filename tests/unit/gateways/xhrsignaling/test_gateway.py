import asyncio

import msgspec
import pytest

from relay.gateways.xhrsignaling import places
from relay.gateways.xhrsignaling.form import MAX_FRAME
from tests.tokens import SECRET, token
from tests.unit.gateways.xhrsignaling.site import HOST, Page, answered, message, site

OTHER = "http://page.example"
KEY = "0123456789abcdef"


async def test_pages_hear_each_other_and_themselves_one_message_at_a_time() -> None:
    async with site() as here:
        ann, ben = Page(here), Page(here)
        assert [await ann.get(), await ben.get()] == [False, False]
        assert ann.peer != ben.peer
        assert await here.peers() == {ann.peer: False, ben.peer: False}
        for number in range(5):
            assert await ann.post(channel="c", message=number, sender="ann") is True
        for page in (ann, ben):
            rows = [await page.get() for _ in range(5)]
            assert [message(row) for row in rows] == [{"channel": "c", "message": n, "sender": "ann"} for n in range(5)]
            assert len({row["ID"] for row in rows}) == 5


async def test_a_poll_waits_for_the_next_message() -> None:
    async with site() as here:
        ann = Page(here)
        await ann.get()
        request, task = ann.start()
        await here.worker.publish_from_server("default", b'{"message":"late"}')
        assert message(await answered(request, task)) == {"message": "late"}


async def test_rooms_are_apart_and_each_has_a_cookie_of_its_own() -> None:
    async with site() as here:
        ann, ben = Page(here, "/rooms/a%20b/Home"), Page(here)
        await ann.get()
        await ben.get()
        await ben.post(message="not for ann")
        await ann.post(message="for a b")
        assert message(await ann.get()) == {"message": "for a b"}
        assert await here.peers("a%20b") == {ann.peer: False}


async def test_a_page_that_posts_first_is_a_member_too() -> None:
    async with site() as here:
        ann, ben = Page(here), Page(here)
        await ben.get()
        assert await ann.post(message="hello") is True
        assert list(await here.peers()) == [ben.peer, ann.peer] or await here.peers() == dict.fromkeys(
            (ann.peer, ben.peer), False
        )
        assert message(await ben.get()) == {"message": "hello"}


async def test_a_page_may_poll_and_post_at_once() -> None:
    async with site() as here:
        page = Page(here, origin=OTHER, query=f"?peer=ann&resume={KEY}")
        request, task = page.start()
        assert await page.post(message=1) is True
        first = await answered(request, task)
        assert message(first or await page.get()) == {"message": 1}
        assert await here.peers() == {"ann": False}


async def test_a_post_whose_place_has_ended_enters_again() -> None:
    async with site(reconnect_grace=0) as here:
        ann = Page(here)
        await ann.get()
        request, task = ann.start()
        await asyncio.sleep(0)
        request.drop()
        await task
        async with asyncio.timeout(5):
            while await here.peers():
                await asyncio.sleep(0.01)
        assert await ann.post(message="again") is True
        assert list(await here.peers()) == [ann.peer]


async def test_pages_of_another_origin_share_a_place_and_each_gets_every_message() -> None:
    async with site() as here:
        one, two = Page(here, origin=OTHER), Page(here, origin=OTHER)
        assert await one.get() is False
        polls = [one.start(), two.start()]
        await asyncio.sleep(0)
        assert await one.post(message=1) is True
        assert [message(await answered(*poll))["message"] for poll in polls] == [1, 1]
        assert (one.cookie, two.cookie) == ("", "")
        assert len(await here.peers()) == 1
        stranger = Page(here, origin="http://stranger.example")
        await stranger.get()
        assert len(await here.peers()) == 2


async def test_a_page_whose_browser_keeps_no_cookies_has_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_COOKIE_SECONDS", 0)
    async with site() as here:
        page = Page(here)
        assert await page.get() is False
        page.cookie = ""
        assert await page.post(message=1) is True
        page.cookie = ""
        assert message(await page.get()) == {"message": 1}
        assert len(await here.peers()) == 1


async def test_a_shared_place_leaves_at_once() -> None:
    async with site() as here:
        page = Page(here, origin=OTHER)
        await page.get()
        request, task = page.start()
        await asyncio.sleep(0)
        request.drop()
        await task
        async with asyncio.timeout(5):
            while await here.peers():
                await asyncio.sleep(0.01)


async def test_the_cookie_of_a_page_counts_in_no_request_of_another_origin() -> None:
    async with site() as here:
        ann = Page(here)
        await ann.get()
        forged = Page(here, origin=OTHER)
        forged.cookie = ann.cookie
        await forged.post(message="in the name of ann")
        row = await ann.get()
        assert message(row) == {"message": "in the name of ann"}
        assert len(await here.peers()) == 2


async def test_a_page_may_prove_its_place_in_the_address() -> None:
    async with site() as here:
        ann = Page(here, origin=OTHER, query=f"?peer=ann&resume={KEY}")
        assert await ann.get() is False
        assert await here.peers() == {"ann": False}
        assert await ann.post(message=1) is True
        assert message(await ann.get()) == {"message": 1}
        half = await here.ask("/Home/GetData?peer=ann")
        assert (half.status, b"bad_query" in half.body) == (400, True)


async def test_a_request_goes_to_the_worker_that_has_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    async with site() as here:
        page = Page(here, query="?peer=ann&resume=elsewhere")
        monkeypatch.setattr("relay.gateways.base.http_place._MIN_KEY", 1)
        monkeypatch.setattr(here.worker.session_ids, "owner", lambda _: None)
        polled = await here.ask("/Home/GetData?peer=ann&resume=elsewhere", **page.headers)
        posted = await here.ask("/Home/PostData?peer=ann&resume=elsewhere", '{"a":1}', **page.headers)
        # The other worker of the tests answers with the body of the request.
        assert b"undefined" in polled.body
        assert b'{"a":1}' in posted.body
        assert await here.peers() == {}


async def test_trouble_that_passes_is_an_answer_without_a_message() -> None:
    async with site(places_per_address=1) as here:
        ann, ben = Page(here), Page(here)
        await ann.get()
        assert await ben.get() is False
        refused = await here.ask("/Home/PostData", '{"a":1}', **ben.headers)
        assert (refused.status, b"too_many_places" in refused.body) == (409, True)
        assert await here.peers() == {ann.peer: False}


@pytest.mark.parametrize(
    ("text", "status", "code"),
    [
        ("no JSON", 400, "bad_json"),
        ("undefined", 400, "bad_json"),
        ("[1]", 400, "bad_envelope"),
        ('{"type":"leave"}', 400, "reserved_field"),
        ('{"from":"eve"}', 400, "reserved_field"),
        ('{"channel":"' + "x" * 3000 + '"}', 400, "bad_envelope"),
        ('{"to":"nobody"}', 404, "no_such_peer"),
        ('{"a":"' + "x" * 5000 + '"}', 413, "too_large"),
        ("x" * 20_000, 413, "too_large"),
    ],
)
async def test_posts_that_are_refused_reach_nobody(text: str, status: int, code: str) -> None:
    async with site(max_message=4096, send_buffer=65536) as here:
        ann, ben = Page(here), Page(here)
        await ann.get()
        await ben.get()
        refused = await here.ask("/Home/PostData", text, **ann.headers)
        assert (refused.status, msgspec.json.decode(refused.body)["error"]["code"]) == (status, code)
        await ann.post(still="here")
        assert message(await ben.get()) == {"still": "here"}


async def test_a_form_that_is_none_is_refused() -> None:
    async with site() as here:
        refused = await here.ask("/Home/PostData", "{}", content_type="text/plain", origin=f"http://{HOST}")
        assert refused.status == 415
        assert await here.peers() == {}


async def test_other_methods_and_large_polls_are_refused() -> None:
    async with site() as here:
        for path in ("/Home/GetData", "/Home/PostData"):
            assert (await here.ask(path, method="GET")).status == 405
        assert (await here.ask("/Home/GetData", "x" * MAX_FRAME)).status == 413
        assert (await here.ask("/rooms//Home/GetData")).status == 400


async def test_a_page_needs_a_token_where_auth_is_on() -> None:
    async with site(auth="required", auth_secret=SECRET, url_tokens="on") as here:
        refused = await here.ask("/Home/GetData", origin=f"http://{HOST}")
        assert (refused.status, b"token_required" in refused.body) == (401, True)
        able = token(sub="ann", rooms=[{"room": "default", "can": ["join"]}])
        page = Page(here, query=f"?token={able}")
        await page.get()
        assert await here.peers() == {"ann": False}
        silent = await here.ask(f"/Home/PostData?token={able}", '{"a":1}', **page.headers)
        assert (silent.status, b"not_granted" in silent.body) == (403, True)
