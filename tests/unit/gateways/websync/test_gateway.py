import json
from typing import Any

import pytest

from tests.unit.gateways.websync.site import CHANNEL, Page, seed, site


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "601::bad_json"), (b"no JSON", "601::bad_json"), (b"{}", "601::bad_json"), (b"\xff", "601::bad_json"),
        (b"[]", "602::no_messages"), (b"[" * 300 + b"]" * 300, "601::bad_json"),
    ],
)  # fmt: skip
async def test_bodies_without_messages(body: bytes, error: str) -> None:
    async with site() as here:
        response = await here.ask(body)
        [reply] = json.loads(response.body)
        assert (response.status, reply["successful"]) == (400, False)
        assert reply["error"].startswith(error)


@pytest.mark.parametrize("part", [1, None, "x", {}, {"channel": 5}, {"id": "9"}])
async def test_a_request_of_one_bad_message(part: Any) -> None:
    async with site() as here:
        response = await here.ask(json.dumps([part]).encode())
        [reply] = json.loads(response.body)
        assert reply["successful"] is False


async def test_a_body_that_is_too_large() -> None:
    async with site(max_message=1024) as here:
        response = await here.ask(b"[" + b" " * 100_000 + b"]")
        assert response.status == 413
        assert b"too_large" in response.body


async def test_a_large_message_is_read_in_its_turn() -> None:
    async with site() as here:
        page = Page(here)
        await page.join()
        data = seed("x" * 50_000)
        assert (await page.publish(data))["successful"]
        [delivery] = await page.hear()
        assert len(delivery["data"]["text"]) > 50_000


async def test_the_shared_channel_is_a_setting() -> None:
    async with site(extensions={"websync_channel": "/lobby"}) as here:
        page = Page(here)
        await page.handshake()
        await page.send(page.message("/meta/subscribe", subscription=["/lobby"]))
        await here.worker.publish_from_server("default", b'{"message":1,"channel":"c"}')
        [delivery] = await page.hear()
        assert (delivery["channel"], delivery["data"]["username"]) == ("/lobby", "$server")


async def test_pages_of_other_origins_send_credentials() -> None:
    async with site() as here:
        origin = "https://page.example"
        response = await here.ask(
            b"", method="OPTIONS", origin=origin, access_control_request_method="POST",
            access_control_request_headers="content-type,x-fm-domainkey",
        )  # fmt: skip
        assert response.status == 204
        assert response.headers["access-control-allow-origin"] == origin
        assert response.headers["access-control-allow-credentials"] == "true"
        assert "x-fm-domainkey" in response.headers["access-control-allow-headers"]


async def test_a_full_room_lets_a_client_try_again_later() -> None:
    async with site(members_per_room=1) as here:
        await Page(here).join()
        assert (await Page(here).handshake())["error"].startswith("607::room_full")


async def test_a_connect_is_alone_in_its_request() -> None:
    async with site() as here:
        page = Page(here)
        await page.join()
        replies = await page.send(page.connect(), page.message(CHANNEL, data=1))
        assert [one["successful"] for one in replies] == [False, True]


async def test_a_client_that_leaves_is_gone_at_once() -> None:
    async with site() as here:
        page = Page(here)
        await page.join()
        request, task = page.start(page.connect())
        [reply] = await page.send(page.message("/meta/disconnect"))
        assert reply["successful"]
        await task
        assert request.response.status == 200
        assert await here.peers() == {}


async def test_refusals_are_counted() -> None:
    async with site() as here:
        page = Page(here)
        await page.join()
        await page.send(page.message("chat", data=1))
        metrics = here.worker.metrics.of("websync")
        assert metrics.messages_in >= 4
