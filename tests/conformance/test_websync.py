"""WebSync, message by message, as its client needs it, in the order and with the bytes in which that client sends.

The client itself is in no registry. `tests/gateways/drivers/websync.py` writes the same requests as its version 4.2.0.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Final
from urllib.parse import quote

import httpx2 as httpx
import pytest

from tests.fleet import Relay
from tests.gateways.drivers.websync import CHANNEL, RECORDS, SUBSCRIBERS, WebSyncWire, written

ORIGIN: Final = "https://page.example"


@pytest.fixture(scope="module")
def relay() -> Iterator[Relay]:
    relay = Relay(websync_timeout=1)
    asyncio.run(relay.ready())
    yield relay
    relay.close()


@pytest.fixture
async def page(relay: Relay, request: pytest.FixtureRequest) -> AsyncIterator[WebSyncWire]:
    """A page that has joined the shared channel, in a room of its own."""
    wire = WebSyncWire()
    await wire.begin(f"{relay.http}/rooms/{quote(request.node.name, safe='')}")
    await wire.handshake(comes_back=False)
    await wire.post(wire.join())
    yield wire
    await wire.http.aclose()


def publication(wire: WebSyncWire, data: Any) -> dict[str, Any]:
    return wire.message(CHANNEL, data=data)


async def the_handshake_offers_the_features_that_the_client_needs(page: WebSyncWire) -> None:
    reply = await page.handshake(comes_back=False)
    assert reply["successful"] is True
    assert reply["version"] == reply["minimumVersion"] == "1.0"
    # A WebSocket of this client would not notice that its server is gone.
    assert reply["supportedConnectionTypes"] == ["long-polling"]
    assert reply["advice"] == {"reconnect": "retry", "interval": 0}
    assert reply["ext"]["fm.timeout"] == 1000
    # The client takes only ids in which a GUID occurs.
    for one in (reply["clientId"], reply["ext"]["fm.sessionId"]):
        assert [len(part) for part in one[:36].split("-")] == [8, 4, 4, 4, 12]


async def every_reply_repeats_its_id_in_the_answer_to_its_request(page: WebSyncWire) -> None:
    messages = [*page.join(), publication(page, 1), page.message("/meta/unbind", binding=[{"key": "x"}])]
    replies = await page.post(messages)
    assert [one["id"] for one in replies] == [one["id"] for one in messages]
    assert all(one["successful"] is True and one["clientId"] == page.client for one in replies)


async def a_bind_and_a_subscribe_are_repeated_in_their_replies(page: WebSyncWire) -> None:
    bound, subscribed = await page.post(page.join())
    assert bound["binding"] == [{"key": key, "value": value} for key, value in RECORDS.items()]
    assert subscribed["subscription"] == [CHANNEL, SUBSCRIBERS]
    assert subscribed["ext"] == {"fm.tag": "", "fm.subscribers": {CHANNEL: []}}


async def a_delivery_names_its_publisher(page: WebSyncWire) -> None:
    await page.post([publication(page, {"a": "/"})])
    [delivery] = await page.post([page.connect()])
    assert (delivery["channel"], delivery["data"]) == (CHANNEL, {"a": "/"})
    assert delivery["ext"] == {"fm.publishing": {"clientId": page.client, "boundRecords": RECORDS}}
    assert len(delivery["timestamp"]) == len("2026-11-28T12:00:00.00")


async def a_connect_has_deliveries_or_its_reply_and_never_both(page: WebSyncWire) -> None:
    await page.post([publication(page, number) for number in range(3)])
    assert {one["channel"] for one in await page.post([page.connect()])} == {CHANNEL}
    page.acknowledges = True
    connect = page.connect()
    assert await page.post([connect]) == [{"id": connect["id"], "channel": "/meta/connect", "successful": True}]


async def a_connect_that_is_sent_again_gets_the_same_deliveries(page: WebSyncWire) -> None:
    await page.post([publication(page, 1)])
    connect = page.connect()
    assert await page.post([connect]) == await page.post([connect])


async def a_publication_that_is_sent_again_is_published_once(page: WebSyncWire) -> None:
    message = publication(page, 1)
    for _ in range(2):
        assert (await page.post([message]))[0]["successful"]
    assert len(await page.post([page.connect()])) == 1


async def the_older_of_two_connects_ends(page: WebSyncWire) -> None:
    older, newer = [asyncio.create_task(page.post([page.connect()])) for _ in range(2)]
    for answer in await asyncio.gather(older, newer):
        assert [one["channel"] for one in answer] == ["/meta/connect"]


async def an_unknown_session_is_advised_to_send_a_handshake(page: WebSyncWire) -> None:
    page.client = page.client.replace("-", "0-", 1)
    for message in (page.connect(), page.message("/meta/subscribe", subscription=[CHANNEL]), publication(page, 1)):
        [reply] = await page.post([message])
        assert (reply["id"], reply["successful"], reply["advice"]) == (message["id"], False, {"reconnect": "handshake"})
        assert reply["error"].startswith("604::")


async def a_client_that_comes_back_gets_the_unacknowledged_messages(page: WebSyncWire) -> None:
    await page.post([publication(page, 1)])
    await page.post([page.connect()])
    before = page.client
    await page.handshake(comes_back=True)
    assert page.client == before
    await page.post(page.join())
    [delivery] = await page.post([page.connect()])
    assert delivery["data"] == 1


async def requests_of_other_origins_have_a_preflight_each(page: WebSyncWire) -> None:
    asked = {
        "Origin": ORIGIN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type",
    }  # fmt: skip
    preflight = await page.http.options(page.path, headers=asked)
    response = await page.http.post(page.path, content=written([page.connect()]), headers={"Origin": ORIGIN})
    for answer in (preflight, response):
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert answer.headers["access-control-allow-credentials"] == "true"
    assert preflight.headers["access-control-allow-headers"] == "content-type"


async def jsonp_has_the_array_in_a_guarded_call(page: WebSyncWire) -> None:
    content = quote(written([publication(page, 1)]))
    response = await page.http.get(
        f"{page.path}&method=POST&headers=%7B%7D&jsonp=parent.fm.jsonp._cb.cb0&content={content}"
    )
    call = "if(parent.fm.jsonp._cb.cb0)parent.fm.jsonp._cb.cb0("
    assert response.headers["content-type"].startswith("text/javascript")
    assert response.text.startswith(call)
    result = json.loads(response.text.removeprefix(call).removesuffix(");"))
    assert (result["statusCode"], result["content"][0]["successful"]) == (200, True)


async def the_socket_of_the_client_is_refused(page: WebSyncWire) -> None:
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    key = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    response: httpx.Response = await page.http.get(page.path, headers=upgrade | key)
    assert response.status_code in {403, 404}


CASES: Final[list[Callable[[WebSyncWire], Awaitable[None]]]] = [
    the_handshake_offers_the_features_that_the_client_needs,
    every_reply_repeats_its_id_in_the_answer_to_its_request,
    a_bind_and_a_subscribe_are_repeated_in_their_replies,
    a_delivery_names_its_publisher,
    a_connect_has_deliveries_or_its_reply_and_never_both,
    a_connect_that_is_sent_again_gets_the_same_deliveries,
    a_publication_that_is_sent_again_is_published_once,
    the_older_of_two_connects_ends,
    an_unknown_session_is_advised_to_send_a_handshake,
    a_client_that_comes_back_gets_the_unacknowledged_messages,
    requests_of_other_origins_have_a_preflight_each,
    jsonp_has_the_array_in_a_guarded_call,
    the_socket_of_the_client_is_refused,
]


@pytest.mark.parametrize("case", CASES, ids=[case.__name__ for case in CASES])
async def test_websync(case: Callable[[WebSyncWire], Awaitable[None]], page: WebSyncWire) -> None:
    await case(page)
