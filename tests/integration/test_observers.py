"""Observers on real workers: the events that they get, that members do not see them, and the effects of faults."""

import asyncio
import signal

import pytest

from relay.client import Closed, Counted, Envelope, Interrupted, Joined, Left, Lost, join, observe
from tests.conftest import MakeClient, MakeFleet, MakeRelay
from tests.fleet import ADMIN_TOKEN, Client, Proxy, Relay, eventually

TOKEN = {"additional_headers": {"Authorization": f"Bearer {ADMIN_TOKEN}"}}


@pytest.fixture
async def guarded(fleet_of: MakeFleet) -> list[Relay]:
    """Two workers over one Redis, with an admin token."""
    return await fleet_of(2)


def gist(events: list[dict]) -> list[object]:
    """The numbers of messages, and the peers of joins and leaves."""

    def changes(event: dict) -> list[str]:
        return [*event.get("joined", ()), *(f"-{peer}" for peer in event.get("left", ()))]

    return [event.get("n", changes(event)) for event in events]


async def observed(relay: Relay, room: str = "room") -> dict:
    return (await relay.get(f"/rooms/{room}", headers=TOKEN["additional_headers"])).json()


async def test_an_observer_sees_a_room_of_two_workers_and_is_in_no_list(guarded, enter: MakeClient) -> None:
    ann = await enter(guarded[0], "/rooms/room?peer=ann&presence=1")
    observer = await enter(guarded[1], "/rooms/room?observe=all", **TOKEN)
    assert (observer.welcome["observer"], observer.welcome["members"]) == (True, [{"peer": "ann"}])
    bob = await enter(guarded[1], "/rooms/room?peer=bob")
    await ann.send({"n": 1})
    await bob.next()
    await bob.send({"n": 2, "to": "ann"})
    await ann.until(lambda event: event.get("n") == 2)
    await bob.close()
    events = await observer.until(lambda event: event.get("left"))
    assert gist(events) == [["bob"], 1, 2, ["-bob"]]
    for relay in guarded:
        assert (await observed(relay))["members"] == [{"peer": "ann"}]
        assert await relay.metric("relay_observers") == (relay is guarded[1])
    observer.lose()
    await eventually(lambda: no_observers(guarded[1]))
    assert gist(await ann.all_up_to_now()) == [["-bob"]]


async def no_observers(relay: Relay) -> bool:
    return await relay.metric("relay_observers") == 0


async def test_without_the_token_an_observer_sees_numbers_alone(guarded, enter: MakeClient) -> None:
    ann = await enter(guarded[0], "/rooms/room?peer=ann")
    observer = await enter(guarded[1], "/rooms/room?observe=presence")
    assert (observer.welcome["count"], "members" in observer.welcome) == (1, False)
    bob = await enter(guarded[1], "/rooms/room?peer=bob")
    await ann.ask({"n": 1})
    first = await observer.next()
    assert (first["count"], first["members"]) == (2, [])
    assert (await observer.ask({"type": "presence"}))["members"] == []
    await bob.close()
    assert (await observer.next())["count"] == 1
    for query, options, code in (
        ("observe=all", {}, "unauthorized"),
        ("observe=presence", {"additional_headers": {"Authorization": "Bearer wrong"}}, "unauthorized"),
        ("observe=nothing", {}, "bad_query"),
    ):
        refused = await Client.open(f"{guarded[0].ws}/rooms/room?{query}", **options)
        assert (refused.welcome["code"], await refused.closed()) == (code, 4502)


async def test_the_count_of_a_busy_room_is_sent_once_a_second_at_most(guarded, enter: MakeClient) -> None:
    observer = await enter(guarded[0], "/rooms/room?observe=presence")
    crowd = await asyncio.gather(*[enter(guarded[n % 2]) for n in range(20)])
    counts = [event["count"] for event in await observer.until(lambda event: event["count"] == len(crowd))]
    assert len(counts) <= 3


async def test_one_observer_too_many_of_a_room_is_refused(start: MakeRelay, enter: MakeClient) -> None:
    relay = await start(observers_per_room=1)
    first = await enter(relay, "/rooms/room?observe=presence")
    refused = await enter(relay, "/rooms/room?observe=presence")
    assert (refused.welcome["code"], await refused.closed()) == ("too_many_observers", 4004)
    assert (await enter(relay, "/rooms/other?observe=presence")).welcome["observer"]
    assert (await enter(relay)).welcome["peer"]
    assert (await first.ask({"type": "ping"}))["type"] == "pong"


async def test_an_observer_counts_as_a_connection_of_its_address(start: MakeRelay, enter: MakeClient) -> None:
    relay = await start(connections_per_address=1)
    await enter(relay, "/rooms/room?observe=presence")
    with pytest.raises(Exception, match="429"):
        await enter(relay)


async def test_a_worker_that_stops_sends_its_observers_away(start: MakeRelay, enter: MakeClient) -> None:
    relay = await start()
    observer = await enter(relay, "/rooms/room?observe=presence")
    closed = asyncio.create_task(observer.closed())
    assert await relay.terminate() == 0
    assert await closed == 1001


async def test_an_observer_that_reads_too_slowly_is_closed_and_delays_nobody(
    start: MakeRelay, enter: MakeClient
) -> None:
    relay = await start(send_buffer=200_000, max_message=65_536)
    slow = await enter(relay, "/rooms/room?observe=all", **TOKEN)
    ann, bob = await enter(relay, "/rooms/room?peer=ann"), await enter(relay, "/rooms/room?peer=bob")
    slow.socket.transport.pause_reading()
    for n in range(400):
        await ann.ask({"n": n, "x": "x" * 30_000})
        assert (await bob.next())["n"] == n
        if await no_observers(relay):
            break
    else:
        pytest.fail("the slow observer was not closed")


# Faults.


async def test_the_observer_of_a_survivor_sees_a_killed_workers_members_leave(guarded, enter: MakeClient) -> None:
    observer = await enter(guarded[0], "/rooms/room?observe=presence", **TOKEN)
    await enter(guarded[1], "/rooms/room?peer=ann")
    assert (await observer.next())["joined"] == ["ann"]
    guarded[1].signal(signal.SIGKILL)
    assert gist(await observer.until(lambda event: event.get("left"))) == [["-ann"]]


async def test_the_observers_of_a_killed_worker_go_to_another(guarded) -> None:
    urls = [relay.ws for relay in guarded]
    async with join(urls[1], "room", peer="ann") as ann, observe(urls, "room", token=ADMIN_TOKEN) as observer:
        assert (observer.members, observer.count, observer.peer) == ({"ann"}, 1, "")
        await ann.send({"n": 1})
        assert isinstance(event := await anext(observer), Envelope)
        assert event.data["n"] == 1
        guarded[0].signal(signal.SIGKILL)
        assert isinstance(await anext(observer), Interrupted)
        async with join(urls[1], "room", peer="bob"):
            assert isinstance(await anext(observer), Lost)
            assert await anext(observer) == Joined("bob")
        assert await anext(observer) == Left("bob")


async def test_an_observer_gets_the_events_that_its_worker_missed_also_in_a_room_that_began_meanwhile(
    start: MakeRelay, enter: MakeClient, own_redis
) -> None:
    async with Proxy(own_redis.port) as proxy:
        settings = {"worker_lease": 20, "reconnect_grace": 20}
        cut_off = await start(redis_url=proxy.url, **settings)
        other = await start(redis_url=own_redis.url, **settings)
        observers = [await enter(cut_off, f"/rooms/{room}?observe=all", **TOKEN) for room in ("old", "new")]
        talkers = [await enter(other, "/rooms/old?peer=t")]
        await observers[0].next()
        proxy.refusing = True
        proxy.cut()
        talkers.append(await enter(other, "/rooms/new?peer=t"))
        for n in range(20):
            for talker in talkers:
                await talker.ask({"n": n})
        proxy.refusing = False
        for observer in observers:
            assert gist(await observer.until(lambda event: event.get("n") == 19)) == [*range(20)]
        # The first join of a room is not in its history: a list follows.
        listed = (await observers[1].until(lambda event: "members" in event))[-1]
        assert [member["peer"] for member in listed["members"]] == ["t"]


async def test_observers_keep_no_room_alive_and_see_it_begin_anew(
    start: MakeRelay, enter: MakeClient, own_redis
) -> None:
    relay = await start(redis_url=own_redis.url, redis_prefix="relay:p", room_state_ttl=2)
    observer = await enter(relay, "/rooms/room?observe=all", **TOKEN)
    redis = own_redis.client
    assert redis.keys("relay:p:{room}*") == [b"relay:p:{room}:watched"]
    for _ in range(2):
        client = await enter(relay, "/rooms/room?peer=ann")
        await client.ask({"n": 1})
        await client.close()
        assert gist(await observer.until(lambda event: event.get("left"))) == [["ann"], 1, ["-ann"]]
        await eventually(lambda: not redis.exists("relay:p:{room}:meta"))
    assert await relay.metric("relay_message_losses_total", reason="epoch") == 0


async def test_no_ghost_is_left_when_redis_loses_its_data_and_a_worker_dies(
    start: MakeRelay, enter: MakeClient, own_redis
) -> None:
    settings = {"redis_url": own_redis.url, "redis_prefix": "relay:p"}
    survivor, killed = await start(**settings), await start(**settings)
    ghost = await enter(killed, "/rooms/room?peer=ghost")
    observer = await enter(survivor, "/rooms/room?observe=presence", **TOKEN)
    counting = await enter(survivor, "/rooms/room?observe=presence")
    assert (observer.welcome["count"], counting.welcome["count"]) == (1, 1)
    killed.signal(signal.SIGKILL)
    assert await ghost.closed() == 1006
    own_redis.client.flushall()
    assert (await observer.next())["members"] == []
    assert (await counting.next())["count"] == 0


async def test_the_python_client_without_a_token_counts(guarded) -> None:
    with pytest.raises(Closed) as refused:
        await observe(guarded[0].ws, "room").__aenter__()
    assert refused.value.code == "unauthorized"
    async with observe(guarded[0].ws, "room", messages=False) as observer:
        assert (observer.count, observer.members) == (0, frozenset())
        async with join(guarded[1].ws, "room"):
            assert await anext(observer) == Counted(1)
        assert await anext(observer) == Counted(0)
