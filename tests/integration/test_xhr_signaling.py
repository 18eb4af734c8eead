"""XHR-Signaling on two workers and a real Redis: the requests of a page reach either, or one that stops."""

import asyncio
import json
from typing import Any

import httpx2 as httpx

from tests.conftest import MakeClient, MakeFleet, MakeRelay
from tests.fleet import RedisServer, Relay, eventually
from tests.gateways.drivers.xhr_signaling import FORM, form
from tests.integration.test_plain_http import forwarding
from tests.ports import free_port

ROOM = "/rooms/room"


class Page:
    """A page whose requests reach any worker, as those behind a load balancer do: the origin is that of the page.

    A page with a key of its own has that in the query.
    """

    def __init__(self, query: str = "") -> None:
        self.query = query
        self.cookie = ""
        self.seen: list[str] = []
        self.repeats = 0

    async def get(self, relay: Relay) -> Any:
        """Poll once; returns the envelope, None without one, or for one that the page has had."""
        row = (await self._ask(relay, "GetData", "undefined")).json()
        if not row or row["ID"] in self.seen:
            self.repeats += bool(row)
            return None
        self.seen.append(row["ID"])
        return json.loads(row["Message"])

    async def hear(self, relay: Relay) -> Any:
        """Poll until there is an envelope."""
        return await eventually(lambda: self.get(relay))

    async def post(self, relay: Relay, envelope: Any) -> None:
        assert (await self._ask(relay, "PostData", json.dumps(envelope))).json() is True

    @property
    def peer(self) -> str:
        return self.cookie.partition("=")[2].rpartition(".")[0]

    async def _ask(self, relay: Relay, action: str, message: str) -> httpx.Response:
        headers = {"Sec-Fetch-Site": "same-origin", "Content-Type": FORM, "Cookie": self.cookie}
        sent = {name: value for name, value in headers.items() if value}
        async with httpx.AsyncClient(timeout=60) as client:
            url = f"{relay.http}{ROOM}/Home/{action}{self.query}"
            response = await client.post(url, content=form(message).encode(), headers=sent)
        assert response.status_code == 200, response.text
        if "set-cookie" in response.headers:
            self.cookie = response.headers["set-cookie"].partition(";")[0]
        return response


async def test_posts_and_polls_reach_any_worker(pair: tuple[Relay, Relay], enter: MakeClient) -> None:
    here, there = pair
    bob, page = await enter(there, f"{ROOM}?peer=bob"), Page()
    await page.get(here)
    for number, relay in enumerate((here, there)):
        await page.post(relay, {"channel": "c", "message": number, "sender": "page"})
        heard = await bob.next()
        assert (heard["from"], heard["message"]) == (page.peer, number)
    await bob.send({"channel": "c", "message": "from bob"})
    # Its own messages as well, in one order, from whichever worker.
    for relay, expected in ((here, 0), (there, 1), (here, "from bob")):
        assert (await page.hear(relay))["message"] == expected
    assert {member["peer"] for member in (await here.describe("room"))["members"]} == {"bob", page.peer}


async def test_polls_are_forwarded_to_the_worker_with_the_place(
    redis_server: RedisServer, start: MakeRelay, prefix: str, enter: MakeClient
) -> None:
    common = {"redis_url": redis_server.url, "redis_prefix": prefix}
    here, there = [await start(**common, **forwarding(free_port())) for _ in range(2)]
    bob, page = await enter(there, f"{ROOM}?peer=bob&presence=1"), Page()
    await page.get(here)
    assert (await bob.next())["joined"] == [page.peer]
    waiting = asyncio.create_task(page.get(there))
    await bob.ask({"message": 1})
    assert (await waiting)["message"] == 1
    await page.post(there, {"message": 2})
    assert (await bob.next())["message"] == 2
    assert (await page.hear(there))["message"] == 2
    # The place did not move, so that nobody has seen anything of it.
    assert not [event for event in await bob.all_up_to_now() if event.get("type") == "presence"]


async def test_a_place_with_a_key_of_its_own_stays_on_one_of_the_workers_behind_a_port(
    redis_server: RedisServer, start: MakeRelay, prefix: str, enter: MakeClient
) -> None:
    relay = await start(redis_url=redis_server.url, redis_prefix=prefix, workers=2)
    bob, page = await enter(relay, f"{ROOM}?peer=bob&presence=1"), Page("?peer=page&resume=0123456789abcdef")
    await page.get(relay)
    assert (await bob.next())["joined"] == ["page"]
    for number in range(20):
        await bob.ask({"message": number})
    # Each request has a connection of its own, which the system gives to either worker.
    assert [(await page.hear(relay))["message"] for _ in range(20)] == list(range(20))
    assert page.repeats == 0
    assert not [event for event in await bob.all_up_to_now() if event.get("type") == "presence"]


async def test_a_page_goes_on_when_its_worker_stops(fleet_of: MakeFleet, enter: MakeClient) -> None:
    here, there = await fleet_of(2, reconnect_grace=60.0)
    bob, page = await enter(there, f"{ROOM}?peer=bob&presence=1"), Page()
    await page.get(here)
    assert (await bob.next())["joined"] == [page.peer]
    # The worker stops before this poll has come, or answers it; the page asks the other worker in both cases.
    waiting = asyncio.create_task(page.get(here))
    assert await here.terminate() == 0
    [answer] = await asyncio.gather(waiting, return_exceptions=True)
    assert answer is None or isinstance(answer, httpx.TransportError)
    for number in range(3):
        await bob.ask({"message": number})
    assert [(await page.hear(there))["message"] for _ in range(3)] == [0, 1, 2]
    assert not [event for event in await bob.all_up_to_now() if event.get("type") == "presence"]


async def test_ids_do_not_repeat_after_a_restart(start: MakeRelay) -> None:
    page = Page()
    for _ in range(2):
        relay = await start()
        page.cookie = ""
        for number in range(3):
            await page.post(relay, {"message": number})
        for number in range(3):
            assert (await page.hear(relay))["message"] == number
        assert await relay.terminate() == 0
    assert len(set(page.seen)) == 6
