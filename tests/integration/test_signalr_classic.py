"""SignalR 2.x on two workers and a real Redis: requests reach either, and bad input harms no one else."""

import asyncio
import json
from typing import Any
from urllib.parse import quote, urlencode

import httpx2 as httpx
import pytest

from tests.conftest import MakeClient, MakeFleet, MakeRelay
from tests.fleet import Client, RedisServer, Relay
from tests.gateways.driver import Closed, Heard, Refused
from tests.gateways.drivers.signalr_classic import (
    HUB,
    ClassicDriver,
    ClassicEventsDriver,
    ClassicPollDriver,
    ClassicSocketDriver,
)
from tests.integration.test_plain_http import forwarding
from tests.ports import free_port

DRIVERS = [ClassicSocketDriver, ClassicEventsDriver, ClassicPollDriver]
drivers = pytest.mark.parametrize("make", DRIVERS, ids=lambda make: make.transport)


def call(**fields: Any) -> str:
    return json.dumps({"H": HUB, "M": "Send", "A": ['{"message":1}'], "I": 1} | fields)


CALLS = {
    "no JSON": ("{", "bad_json"),
    "a list": ("[]", "bad_command"),
    "text": ('"x"', "bad_command"),
    "nothing": ("", "bad_json"),
    "keepalive": ("{}", "bad_command"),
    "no hub": ('{"M":"Send","A":[],"I":1}', "bad_command"),
    "hub is a number": (call(H=1), "bad_command"),
    "long hub": (call(H="x" * 300), "bad_command"),
    "no method": ('{"H":"webrtchub3","A":[],"I":1}', "bad_command"),
    "arguments are no list": (call(A={}), "bad_command"),
    "too many arguments": (call(A=[0] * 65), "bad_command"),
    "number is a list": (call(I=[]), "bad_command"),
    "long number": (call(I="1" * 65), "bad_command"),
    "unknown hub": (call(H="nope"), ""),
    "unknown method": (call(M="nope"), ""),
    "no argument": (call(A=[]), ""),
    "too deep": (call(A=["[" * 300]).replace('"' + "[" * 300 + '"', "[" * 300 + "]" * 300), "bad_json"),
    "half a surrogate pair": (call(A=['{"message":1}', "\ud800"]), ""),
    "too large": (call(A=["x" * 5000]), "too_large"),
}
"""Calls that are refused: the text, and the code of the error; "" for those in the original's words."""


@pytest.fixture
async def relay(fleet_of: MakeFleet) -> Relay:
    [relay] = await fleet_of(1, max_message=4096)
    return relay


@drivers
async def test_each_bad_call_is_answered_and_nobody_else_disturbed(
    make: type[ClassicDriver], relay: Relay, enter: MakeClient
) -> None:
    witness = await enter(relay, "/rooms/room")
    ann, ben = make(), ClassicSocketDriver()
    for driver in (ann, ben):
        await driver.open(relay, "room")
    for name, (text, code) in CALLS.items():
        await ann.call(text)
        if code:
            assert await ann.next() == Refused(code), name
        else:
            assert await ann.error() == {"I": "1"}, name
        await ann.send(name)
        assert await ben.next() == Heard(name)
        assert (await witness.next())["message"] == name
    for driver in (ann, ben):
        await driver.close()


async def test_a_binary_frame_is_answered(relay: Relay) -> None:
    ann = ClassicSocketDriver()
    await ann.open(relay, "room")
    await ann.call(b"\x00\xff")
    assert await ann.next() == Refused("binary_frame")
    await ann.close()


REQUESTS = {
    "token of nobody": ({"connectionToken": "x.y.z"}, "bad_connection_token"),
    "no token": ({"connectionToken": ""}, "bad_connection_token"),
    "long token": ({"connectionToken": "x" * 9000}, "bad_connection_token"),
    "hubs are no JSON": ({"connectionData": "["}, "bad_query"),
    "hubs are numbers": ({"connectionData": "[1]"}, "bad_query"),
    "unknown hub": ({"connectionData": '[{"name":"nope"}]'}, "no_such_hub"),
    "too many hubs": ({"connectionData": json.dumps([{"name": HUB}] * 65)}, "bad_query"),
    "cursor of the original": ({"messageId": "d-B1E8,1|C"}, "bad_query"),
    "long query": ({"groupsToken": "x" * 33_000}, "bad_query"),
    "many parameters": ({f"p{number}": "1" for number in range(1100)}, "bad_query"),
    "another room": ({"room": "other"}, "bad_query"),
    "callback": ({"callback": "alert(1)"}, "bad_callback"),
    "transport": ({"transport": "foreverFrame"}, "unknown_transport"),
}
"""Requests that are refused: their parameters beside those of a good one, and the code of the error."""


@pytest.mark.parametrize("action", ["connect", "reconnect", "poll"])
async def test_each_bad_request_is_answered_and_the_page_goes_on(action: str, relay: Relay) -> None:
    ann, ben = ClassicPollDriver(), ClassicSocketDriver()
    for driver in (ann, ben):
        await driver.open(relay, "room")
    for name, (changed, code) in REQUESTS.items():
        if name == "cursor of the original" and action == "connect":
            continue
        answer = await ann.ask("POST", action, **changed)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, code), name
        await ben.send(name)
        assert await ann.next() == Heard(name)
    answer = await ann.ask("POST", "poll", {"messageId": "x" * 9000})
    assert answer.status_code == 413
    await ben.send("last")
    assert await ann.next() == Heard("last")
    for driver in (ann, ben):
        await driver.close()


async def test_a_bad_handshake_is_refused_ahead_of_the_upgrade(relay: Relay) -> None:
    for query in ("connectionToken=x", "", "connectionData=x"):
        url = f"{relay.ws}/signalr/connect?transport=webSockets&{query}"
        with pytest.raises(Exception, match="HTTP 400"):
            await Client.open(url, welcome=False)


@drivers
async def test_a_place_is_taken_back_at_another_replica_with_all_missed_messages(
    make: type[ClassicDriver], fleet_of: MakeFleet, enter: MakeClient
) -> None:
    pair = await fleet_of(2, reconnect_grace=30)
    bob, ann = await enter(pair[1], "/rooms/room?peer=bob&presence=1"), make()
    opened = await ann.open(pair[0], "room")
    assert (await bob.next())["joined"] == [opened.peer]
    for number, relay in enumerate((pair[1], pair[0], pair[1])):
        await ann.drop()
        await bob.ask({"message": number})
        assert (await ann.open(relay, "room")).peer == opened.peer
        assert await ann.next() == Heard(number)
    assert not [event for event in await bob.all_up_to_now() if event.get("joined") or event.get("left")]
    await ann.close()
    assert (await bob.until(lambda event: event.get("left")))[-1]["left"] == [opened.peer]


@drivers
async def test_calls_and_the_goodbye_reach_any_worker(
    make: type[ClassicDriver], pair: tuple[Relay, Relay], enter: MakeClient
) -> None:
    bob, ann = await enter(pair[1], "/rooms/room?peer=bob&presence=1"), make()
    opened = await ann.open(pair[0], "room")
    await bob.until(lambda event: event.get("joined"))
    answer = await ann.ask("POST", "send", {"data": call(I=7)}, at=pair[1])
    assert answer.json() == {"I": "7"}
    assert (await bob.next())["from"] == opened.peer
    assert (await ann.ask("GET", "start", at=pair[1])).json() == {"Response": "started"}
    assert (await ann.ask("POST", "abort", at=pair[1])).status_code == 200
    assert (await bob.until(lambda event: event.get("left")))[-1]["left"] == [opened.peer]
    if make is not ClassicPollDriver:
        # Its own call, and the end of its connection.
        assert [await ann.next() for _ in range(2)] == [Heard(1), Closed()]
    await ann.drop_quietly()


async def test_polls_are_forwarded_to_the_worker_with_the_place(
    redis_server: RedisServer, start: MakeRelay, prefix: str, enter: MakeClient
) -> None:
    common = {"redis_url": redis_server.url, "redis_prefix": prefix}
    here, there = [await start(**common, **forwarding(free_port())) for _ in range(2)]
    bob, ann = await enter(there, "/rooms/room?peer=bob&presence=1"), ClassicPollDriver()
    opened = await ann.open(here, "room")
    assert (await bob.next())["joined"] == [opened.peer]
    waiting = asyncio.create_task(ann.ask("POST", "poll", {"messageId": ann.cursor}, at=there))
    await bob.ask({"message": 1})
    assert json.loads((await waiting).json()["M"][0]["A"][0])["message"] == 1
    # The place did not move, so that nobody has seen anything of it.
    assert not [event for event in await bob.all_up_to_now() if event.get("type") == "presence"]
    await ann.close()


async def test_the_workers_behind_one_port_serve_any_request(
    redis_server: RedisServer, start: MakeRelay, prefix: str, enter: MakeClient
) -> None:
    relay = await start(redis_url=redis_server.url, redis_prefix=prefix, workers=2)
    bob = await enter(relay, "/rooms/room?peer=bob&presence=1")
    pages = [make() for make in DRIVERS for _ in range(2)]
    opened = [await page.open(relay, "room") for page in pages]
    await bob.ask({"message": "for all"})
    for page in pages:
        assert await page.next() == Heard("for all")
    for page in pages:
        await page.close()
    left: list[str] = []
    while len(left) < len(pages):
        left += (await bob.until(lambda event: event.get("left")))[-1]["left"]
    assert sorted(left) == sorted(one.peer for one in opened)


async def test_a_page_asks_for_its_peer_id_and_takes_no_place_by_that(relay: Relay) -> None:
    async with httpx.AsyncClient(base_url=relay.http) as client:
        fields = []
        for _ in range(2):
            answer = await client.get(f"/signalr/negotiate?clientProtocol=2.1&peer={quote('ann é')}")
            fields.append(answer.json())
        assert {one["ConnectionId"] for one in fields} == {"ann é"}
        answers = []
        for one in fields:
            query = urlencode({"transport": "longPolling", "connectionToken": one["ConnectionToken"]})
            answers.append((await client.post(f"/signalr/connect?{query}")).json())
        assert answers[0]["S"] == 1
        assert answers[1]["E"].startswith("peer_taken: ")


@drivers
async def test_a_request_that_arrives_at_another_worker_after_the_goodbye_does_not_join(
    make: type[ClassicDriver], fleet_of: MakeFleet, enter: MakeClient
) -> None:
    pair = await fleet_of(2, reconnect_grace=30)
    bob, ann = await enter(pair[1], "/rooms/room?peer=bob&presence=1"), make()
    await ann.open(pair[0], "room")
    await bob.until(lambda event: event.get("joined"))
    assert (await ann.ask("POST", "abort")).status_code == 200
    await bob.until(lambda event: event.get("left"))
    for action in ("reconnect", "connect"):
        for transport in ("longPolling", "serverSentEvents"):
            answer = await ann.ask("POST", action, at=pair[1], transport=transport)
            assert (answer.status_code, answer.json()["error"]["code"]) == (409, "not_joined"), (action, transport)
        with pytest.raises(Exception, match="HTTP 409"):
            await Client.open(pair[1].ws + ann._path(action, transport="webSockets"), welcome=False)
    assert not [event for event in await bob.all_up_to_now() if event.get("joined")]
    await ann.drop_quietly()
