"""SimpleWebRTC pages on two workers over Redis, by the wire."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx2 as httpx
import pytest

from tests.conftest import MakeClient, MakeFleet, MakeRelay
from tests.fleet import RedisServer, Relay, eventually
from tests.gateways.drivers.socketio import length_first
from tests.integration.signalmaster import Page

VIDEO = {"screen": False, "video": True, "audio": False}
Pair = tuple[Relay, Relay]


class Stage:
    """Opens pages, and drops them at the end."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack

    async def page(self, relay: Relay, room: str = "", *, polls: bool = False, query: str = "") -> Page:
        page = await (Page.over_polls(relay) if polls else Page.over_websocket(relay, query))
        self._stack.push_async_callback(page.wire.drop)
        if room:
            assert (await page.ask("join", room))[0] is None
        return page


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        yield Stage(stack)


async def test_the_order_of_a_call_between_workers(pair: Pair, stage: Stage) -> None:
    a, b = await stage.page(pair[0]), await stage.page(pair[1])
    assert await a.ask("create", "room 1/é") == [None, "room 1/é"]
    assert await b.ask("create", "room 1/é") == ["taken"]
    assert await b.ask("join", "room 1/é") == [None, {"clients": {a.sid: VIDEO}}]
    await b.calls(a)
    for number in range(12):
        await b.emit("message", {"to": a.sid, "type": "candidate", "payload": number})
    assert [(await a.event())[1]["payload"] for _ in range(12)] == list(range(12))
    await b.emit("leave")
    assert await b.event() == ["remove", {"id": b.sid}]
    assert await a.event() == ["remove", {"id": b.sid}]


async def test_of_twenty_pages_that_create_a_room_at_once_one_does(pair: Pair, stage: Stage) -> None:
    pages = [await stage.page(pair[number % 2]) for number in range(20)]
    answers = await asyncio.gather(*[page.ask("create", "rush") for page in pages])
    assert sorted(map(str, answers)) == ["['taken']"] * 19 + ["[None, 'rush']"]
    assert (await pair[0].describe("rush"))["count"] == 1


async def test_of_twenty_pages_that_join_at_once_each_pair_calls_once(pair: Pair, stage: Stage) -> None:
    pages = [await stage.page(pair[number % 2]) for number in range(20)]
    answers = await asyncio.gather(*[page.ask("join", "crowd") for page in pages])
    called = [set(described["clients"]) for _, described in answers]
    assert sorted(map(len, called)) == list(range(20))
    for number, page in enumerate(pages):
        for other_number, other in enumerate(pages[:number]):
            assert (other.sid in called[number]) is not (page.sid in called[other_number])


async def test_messages_stay_in_their_room(pair: Pair, stage: Stage) -> None:
    a, b = await stage.page(pair[0], "one"), await stage.page(pair[1], "two")
    await b.emit("message", {"to": a.sid, "type": "offer", "payload": "from another room"})
    await b.emit("join", "one", number="6")
    assert (await b.next()).startswith("436[null")
    await b.calls(a)


async def test_a_lost_page_is_removed_at_once(fleet_of: MakeFleet, stage: Stage) -> None:
    here, there = await fleet_of(2, reconnect_grace=20)
    a, b = await stage.page(here, "r"), await stage.page(there, "r")
    await b.calls(a)
    await b.wire.drop()
    assert await a.event() == ["remove", {"id": b.sid}]
    assert (await here.describe("r"))["count"] == 1


async def test_a_page_that_falls_silent_is_removed_when_its_ping_is_overdue(fleet_of: MakeFleet, stage: Stage) -> None:
    here, there = await fleet_of(2, reconnect_grace=20, ping_interval=1, ping_timeout=3)
    witness = await stage.page(here, "r")
    silent = await stage.page(there, "r")
    await silent.calls(witness)

    async def ping() -> None:
        while True:
            await witness.wire.send("2")
            await asyncio.sleep(0.2)

    pinging = asyncio.create_task(ping())
    assert await witness.event() == ["remove", {"id": silent.sid}]
    pinging.cancel()


async def test_nobody_calls_a_page_whose_worker_was_killed(fleet_of: MakeFleet, stage: Stage) -> None:
    here, there, victim = await fleet_of(3, reconnect_grace=2)
    a, b = await stage.page(here, "r"), await stage.page(victim, "r")
    await b.calls(a)
    victim.process.kill()
    await eventually(lambda: _is_held(here, b.sid))
    c = await stage.page(there)
    assert await c.ask("join", "r") == [None, {"clients": {a.sid: VIDEO}}]
    assert await a.event() == ["remove", {"id": b.sid}]


async def _is_held(relay: Relay, peer: str) -> bool:
    members = (await relay.describe("r"))["members"]
    # A slow test may look after the end of the hold.
    return not any(one["peer"] == peer and not one.get("held") for one in members)


async def test_a_page_that_is_lost_together_with_the_data_of_redis(
    own_redis: RedisServer, start: MakeRelay, stage: Stage
) -> None:
    settings = {"redis_url": own_redis.url, "worker_lease": 1, "reconnect_grace": 1}
    here, victim = await start(**settings), await start(**settings)
    a, b = await stage.page(here, "r"), await stage.page(victim, "r")
    await b.calls(a)
    victim.process.kill()
    with own_redis.client as client:
        client.flushall()
    while (event := await a.event())[0] == "error":
        assert event[1]["code"] == "messages_lost"
    assert event == ["remove", {"id": b.sid}]
    c = await stage.page(here)
    assert await c.ask("join", "r") == [None, {"clients": {a.sid: VIDEO}}]


async def test_pages_that_poll(pair: Pair, stage: Stage) -> None:
    a, b = await stage.page(pair[0], "r", polls=True), await stage.page(pair[1], "r", polls=True)
    await b.calls(a)


async def test_the_id_that_all_members_know_does_not_let_them_speak_for_a_page(start: MakeRelay, stage: Stage) -> None:
    relay = await start(trusted_proxies="127.0.0.1")
    page = await stage.page(relay, "r", polls=True)
    url = f"{relay.http}/socket.io/?EIO=3&transport=polling&b64=1&sid={page.sid}"
    async with httpx.AsyncClient(timeout=10) as client:
        headers = {"X-Forwarded-For": "203.0.113.9"}
        for answer in (
            await client.post(url, content=length_first('42["leave"]'), headers=headers),
            await client.get(url, headers=headers),
        ):
            assert (answer.status_code, answer.json()["code"]) == (400, 1)
    assert (await relay.describe("r"))["count"] == 1


async def test_members_of_other_protocols_are_not_called_and_are_heard(
    pair: Pair, stage: Stage, enter: MakeClient
) -> None:
    native = await enter(pair[1], "/rooms/r?peer=nat")
    page = await stage.page(pair[0])
    assert await page.ask("join", "r") == [None, {"clients": {}}]
    await native.send({"channel": "chat", "message": {"type": "offer"}})
    name, envelope = await page.event()
    assert (name, envelope["from"], envelope["message"]) == ("relay", "nat", {"type": "offer"})
    assert (await page.ask("relay", {"channel": "chat", "message": "hi"}))[0] is None
    heard = await native.next()
    assert (heard["from"], heard["channel"], heard["message"]) == (page.sid, "chat", "hi")
    # A native member that speaks the channel is a page like any other.
    await page.emit("message", {"to": "nat", "type": "offer", "payload": 1})
    offer = await native.next()
    assert (offer["channel"], offer["message"]) == ("simplewebrtc", {"type": "offer", "payload": 1})
    await native.send({"to": page.sid, "channel": "simplewebrtc", "message": {"type": "answer", "payload": 2}})
    assert await page.event() == ["message", {"type": "answer", "payload": 2, "to": page.sid, "from": "nat"}]


async def test_bad_input_disturbs_nobody(pair: Pair, stage: Stage) -> None:
    a, b = await stage.page(pair[0], "r"), await stage.page(pair[1], "r")
    bad: list[list[Any]] = [
        ["message"], ["message", None], ["message", []], ["message", "x"], ["message", {"to": 7}], ["join"],
        ["join", {}], ["create", 7], ["chat"], ["relay", "x"], ["relay", {"type": "leave"}], ["constructor"],
        ["join", "\u0000"], ["message", {"to": "x" * 300}], ["relay:refresh", {}],
    ]  # fmt: skip
    for values in bad:
        await a.emit(*values)
        name, error = await a.event()
        assert name == "error", values
        assert error["code"] in {"bad_event", "bad_envelope", "reserved_field", "bad_room"}, values
    await a.emit("message", {"to": b.sid, "payload": "x" * 2_000_000})
    assert (await a.event())[1]["code"] == "too_large"
    await a.calls(b)


async def test_the_health_check(pair: Pair) -> None:
    answer = await pair[0].get("/healthcheck")
    assert (answer.status_code, answer.content) == (200, b"")
