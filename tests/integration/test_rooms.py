"""Two workers over a real Redis: envelopes, addresses, channels, order."""

import asyncio
import json

import pytest
from websockets.asyncio.client import connect

from tests.conftest import MakeClient, MakeFleet, MakeRelay
from tests.fleet import Relay, eventually


@pytest.fixture(params=["own", "other"])
async def pair(request: pytest.FixtureRequest, fleet_of: MakeFleet) -> tuple[Relay, Relay]:
    """Two workers, on the relay's own server and on one that knows nothing of the relay."""
    first, second = await fleet_of(2, server=request.param)
    return first, second


def envelopes(events):
    return [event for event in events if "type" not in event]


async def test_an_envelope_goes_to_the_other_worker_byte_for_byte(pair, enter: MakeClient) -> None:
    alice, bob = await enter(pair[0], "/rooms/room?peer=alice"), await enter(pair[1])
    await alice.send('{ "sender" : 1,\n "channel":"c", "message": {"x":[1, 2.50]} } ')
    text = await bob.raw()
    assert text.startswith('{ "sender" : 1,\n "channel":"c", "message": {"x":[1, 2.50]},"from":"alice","id":"')
    assert text.endswith('"}')


async def test_the_default_room_is_a_room(pair, enter: MakeClient) -> None:
    alice, bob = await enter(pair[0], "/"), await enter(pair[1], "/rooms/default")
    await alice.send({"message": 1})
    assert (await bob.next())["from"] == alice.welcome["peer"]


async def test_a_message_of_a_client_that_leaves_at_once_is_delivered(pair, enter: MakeClient) -> None:
    listener = await enter(pair[0], "/rooms/room?peer=l")
    for number in range(5):
        url = f"{pair[1].ws}/rooms/room"
        async with connect(url, compression=None, proxy=None) as passer_by:
            for part in range(20):
                await passer_by.send(json.dumps({"n": number, "part": part}))
    heard = await listener.until(lambda event: (event.get("n"), event.get("part")) == (4, 19))
    assert len(heard) == 100


async def test_all_members_on_all_workers_hear_one_order(pair, enter: MakeClient) -> None:
    clients = [await enter(pair[number % 2], "/rooms/room?echo=1") for number in range(6)]

    async def talk(client) -> None:
        for number in range(40):
            await client.send({"n": number})

    await asyncio.gather(*[talk(client) for client in clients])
    heard = [[await client.next() for _ in range(240)] for client in clients]
    assert all(one == heard[0] for one in heard)
    ids = [int(event["id"].split("-")[1]) for event in heard[0]]
    assert ids == list(range(ids[0], ids[0] + 240))
    for client in clients:
        own = [event["n"] for event in heard[0] if event["from"] == client.welcome["peer"]]
        assert own == list(range(40))


async def test_the_sender_does_not_hear_itself_unless_it_asks(pair, enter: MakeClient) -> None:
    quiet, echo = await enter(pair[0]), await enter(pair[0], "/rooms/room?echo=1")
    await quiet.send({"n": 1})
    await echo.send({"n": 2})
    assert [(await echo.next())["n"] for _ in range(2)] == [1, 2]
    assert (await quiet.next())["n"] == 2


async def test_direct_messages(pair, enter: MakeClient) -> None:
    a, b, c = [await enter(pair[i % 2], f"/rooms/room?peer={name}") for i, name in enumerate("abc")]
    await a.send({"to": "b", "n": 1})
    await a.send({"to": ["b", "c"], "n": 2})
    await a.send({"n": 3})
    assert [(await b.next())["n"] for _ in range(3)] == [1, 2, 3]
    assert [(await c.next())["n"] for _ in range(2)] == [2, 3]


async def test_addressing_an_absent_peer(pair, enter: MakeClient) -> None:
    a, b = await enter(pair[0]), await enter(pair[1], "/rooms/room?peer=b")
    await a.send({"to": ["b", "nobody"], "n": 1, "key": "k"})
    error = await a.next()
    assert (error["code"], error["about"], error["key"]) == ("no_such_peer", "envelope", "k")
    assert error["peers"] == ["nobody"]
    await a.send({"n": 2})
    assert (await b.next())["n"] == 2


async def test_channels(pair, enter: MakeClient) -> None:
    a, b = await enter(pair[0]), await enter(pair[1], "/rooms/room?channel=x&channel=y")
    for channel in "zxy":  # in this order: a heard message shows that the others have gone by
        await a.send({"channel": channel})
    assert [(await b.next())["channel"] for _ in range(2)] == ["x", "y"]
    assert (await b.ask({"type": "subscribe", "channels": ["z"]}))["channels"] == ["x", "y", "z"]
    assert (await b.ask({"type": "unsubscribe", "channels": ["x", "y"]}))["channels"] == ["z"]
    await a.send({"channel": "x"})
    await a.send({"channel": "z"})
    assert (await b.next())["channel"] == "z"
    assert (await b.ask({"type": "unsubscribe"}))["channels"] is None
    await a.send({"nothing": 1})
    assert "nothing" in await b.next()


async def test_an_acknowledgement_comes_after_all_that_was_before_it(pair, enter: MakeClient) -> None:
    a, b = await enter(pair[0]), await enter(pair[1])
    for number in range(50):
        await b.send({"n": number})
        await a.send({"key": f"k{number}"})
    events = await a.until(lambda event: event.get("key") == "k49")
    # An ack may arrive late, but never early: a client that resumes from its id would miss the events before it.
    for at, event in enumerate(events):
        if event.get("type") == "ack":
            assert all(position(event) < position(later) for later in events[at:] if "type" not in later)


def position(event) -> int:
    return int(event["id"].split("-")[1])


async def test_the_same_key_is_delivered_once_and_acknowledged_again(pair, enter: MakeClient) -> None:
    a, b = await enter(pair[0], "/rooms/room?peer=a"), await enter(pair[1])
    first = await a.ask({"n": 1})
    a.lose()
    again = await enter(pair[1], "/rooms/room?peer=a", resume=a.welcome["resume"])
    assert (await again.ask({"n": 1}))["id"] == first["id"]
    await again.send({"n": 2})
    assert [(await b.next())["n"] for _ in range(2)] == [1, 2]


async def test_a_key_of_an_earlier_holder_of_the_peer_id_is_new_to_a_later_one(pair, enter: MakeClient) -> None:
    """Otherwise the earlier one could keep messages of the later one from being delivered, with an acknowledgement."""
    a, b = await enter(pair[0], "/rooms/room?peer=a"), await enter(pair[1])
    first = await a.ask({"n": 1, "key": "k"})
    await a.close()

    async def gone() -> bool:  # other servers answer a close before they tell of it
        return bool((await pair[0].get("/rooms/room")).json()["count"] == 1)

    await eventually(gone)
    later = await enter(pair[1], "/rooms/room?peer=a")
    assert (await later.ask({"n": 2, "key": "k"}))["id"] != first["id"]
    assert [(await b.next())["n"] for _ in range(2)] == [1, 2]


async def test_more_rooms_over_one_connection(pair, enter: MakeClient) -> None:
    a, b = await enter(pair[0], "/rooms/one?peer=a"), await enter(pair[1], "/rooms/two?peer=b&presence=1")
    welcome = await a.ask({"type": "join", "room": "two"})
    assert (welcome["type"], welcome["room"], welcome["peer"]) == ("welcome", "two", "a")
    assert (await b.next())["joined"] == ["a"]
    await a.send({"type": "publish", "room": "two", "envelope": {"n": 1}})
    assert (await b.next())["from"] == "a"
    await b.send({"n": 2})
    assert (await a.next())["room"] == "two"
    assert (await a.ask({"type": "join", "room": "two"}))["code"] == "already_joined"
    assert (await a.ask({"type": "leave", "room": "two"}))["type"] == "left"
    assert (await b.next())["left"] == ["a"]
    assert (await a.ask({"type": "publish", "room": "two", "envelope": {}}))["code"] == "not_joined"
    assert (await a.ask({"type": "leave"}))["type"] == "left"
    assert (await a.ask({"n": 1}))["code"] == "not_joined"


async def test_ping_tells_the_newest_id(pair, enter: MakeClient) -> None:
    a, b = await enter(pair[0]), await enter(pair[1])
    ack = await a.ask({"n": 1})
    await b.next()
    assert (await b.ask({"type": "ping"}))["id"] == ack["id"]
    assert (await a.ask({"type": "ping"}))["id"] == ack["id"]


@pytest.mark.parametrize("path", ["/rooms/a%3Ab", "/rooms/a:b"])
async def test_escaped_names_are_the_same_names(pair, enter: MakeClient, path: str) -> None:
    assert (await enter(pair[0], path)).welcome["room"] == "a:b"


async def test_one_worker_in_memory_does_the_same(start: MakeRelay, enter: MakeClient) -> None:
    relay: Relay = await start()
    a, b = await enter(relay, "/rooms/room?peer=a&presence=1"), await enter(relay, "/rooms/room?peer=b")
    assert (await a.next())["joined"] == ["b"]
    ack = await b.ask({"to": "a", "n": 1})
    assert (await a.next())["id"] == ack["id"]
    await b.close()
    assert (await a.next())["left"] == ["b"]


async def test_posts_of_a_server_reach_the_members(fleet_of: MakeFleet, enter: MakeClient) -> None:
    import httpx2 as httpx

    admin, other = await fleet_of(2)
    a = await enter(other)
    async with httpx.AsyncClient() as http:
        answer = await http.post(f"{admin.http}/rooms/room", json={"message": "hi"}, headers=admin.authorised)
    assert answer.status_code == 200
    message = await a.next()
    assert (message["message"], message["from"], message["id"]) == ("hi", "$server", answer.json()["id"])
