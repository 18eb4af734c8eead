"""One fault at a time, and its effects for clients and operators."""

import asyncio
import signal
import time

import pytest
from websockets.exceptions import InvalidStatus

from tests import redis_user
from tests.chaos.network import Network
from tests.conftest import MakeClient, MakeRelay
from tests.fleet import QUICK, Client, Proxy, RedisServer, Relay, eventually

LONGER = max(QUICK["worker_lease"], QUICK["reconnect_grace"])

COUNTED = """
for _, field in ipairs(redis.call('HKEYS', 'relay:{room}:meta')) do
  if field ~= 'e' then return redis.call('HINCRBY', 'relay:{room}:meta', field, 1) end
end"""
"""Counts a message in a room as if one had been published, without delivering it."""


async def present(relay: Relay, room: str = "room") -> dict[str, bool]:
    answer = await relay.describe(room)
    return {member["peer"]: member.get("held", False) for member in answer.get("members", ())}


async def shows(relay: Relay, expected: dict[str, bool]) -> bool:
    return await present(relay) == expected


async def talks(a: Client, b: Client) -> bool:
    """Whether a message of one client reaches the other."""
    mark = str(time.monotonic())
    await a.send({"mark": mark})
    try:
        await b.until(lambda event: event.get("mark") == mark, timeout=0.5)
    except TimeoutError:
        return False
    return True


async def told_of_leaves(watcher: Client, count: int) -> list[str]:
    left: list[str] = []
    while len(left) < count:
        left += (await watcher.until(lambda event: event.get("left")))[-1]["left"]
    return sorted(left)


# Workers.


async def test_a_killed_worker_leaves_no_ghosts(pair, enter: MakeClient) -> None:
    watcher = await enter(pair[0], "/rooms/room?peer=w&presence=1")
    for number in range(20):
        await enter(pair[1], f"/rooms/room?peer=p{number}")
    began = time.monotonic()
    pair[1].signal(signal.SIGKILL)
    assert await told_of_leaves(watcher, 20) == sorted(f"p{n}" for n in range(20))
    took = time.monotonic() - began
    print(f"leaves told {took:.2f} s after the kill")
    assert took <= LONGER + 1
    assert await present(pair[0]) == {"w": False}
    assert await pair[0].metric("relay_adopted_members_total") == 20


async def test_a_client_of_a_killed_worker_comes_back_unnoticed(
    start: MakeRelay, enter: MakeClient, redis_url, prefix
) -> None:
    settings = {"redis_url": redis_url, "redis_prefix": prefix, "worker_lease": 1.0, "reconnect_grace": 3.0}
    a, b = await start(**settings), await start(**settings)
    watcher, lost = await enter(a, "/rooms/room?peer=w&presence=1"), await enter(b, "/rooms/room?peer=p")
    await watcher.next()
    b.signal(signal.SIGKILL)
    back = await enter(a, "/rooms/room?peer=p", resume=lost.welcome["resume"])
    assert back.welcome["resumed"] is True
    assert await talks(back, watcher)
    # The dead worker's lease expires, and its member has moved, so there is nothing to adopt.
    await eventually(lambda: "died without ending its lease; this worker took over 0 of its members" in a.logged)
    assert await watcher.all_up_to_now() == []
    assert await present(a) == {"w": False, "p": False}


async def test_a_worker_that_was_paused_past_its_lease_disturbs_no_member(pair, enter: MakeClient) -> None:
    watcher = await enter(pair[0], "/rooms/room?peer=w&presence=1")
    moved, stayed = await enter(pair[1], "/rooms/room?peer=moved"), await enter(pair[1], "/rooms/room?peer=stayed")
    await watcher.until(lambda event: "stayed" in event["joined"])
    pair[1].signal(signal.SIGSTOP)
    back = await enter(pair[0], "/rooms/room?peer=moved", resume=moved.welcome["resume"])
    assert back.welcome["resumed"] is True
    assert await told_of_leaves(watcher, 1) == ["stayed"]
    pair[1].signal(signal.SIGCONT)
    # It finds its lease lapsed: the member that stayed joins again, and the one that moved keeps its new entry.
    assert (await watcher.until(lambda event: event.get("joined")))[-1]["joined"] == ["stayed"]
    assert await moved.closed() == 4500
    await eventually(lambda: shows(pair[1], {"w": False, "moved": False, "stayed": False}))
    assert await talks(back, stayed)
    assert await talks(stayed, back)
    assert await pair[1].metric("relay_lease_lapses_total") == 1


async def test_a_client_that_connects_to_a_starting_worker_waits_for_it(
    start: MakeRelay, own_redis: RedisServer
) -> None:
    """A load balancer sends clients as soon as the port is open, and prefers a worker without connections."""
    own_redis.signal(signal.SIGSTOP)
    relay = await start(ready=False, redis_url=own_redis.url)

    async def is_open() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        except ConnectionRefusedError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    await eventually(is_open)
    coming = asyncio.create_task(Client.open(f"{relay.ws}/rooms/room"))
    answered, _ = await asyncio.wait([coming], timeout=0.5)
    own_redis.signal(signal.SIGCONT)
    assert not answered
    client = await coming
    assert client.welcome["type"] == "welcome"
    await client.close()


# Redis.


async def test_redis_killed_and_restarted_empty(start: MakeRelay, enter: MakeClient, own_redis: RedisServer) -> None:
    a, b = await start(redis_url=own_redis.url), await start(redis_url=own_redis.url)
    alice, bob = await enter(a, "/rooms/room?peer=alice&presence=1"), await enter(b, "/rooms/room?peer=bob")
    await alice.next()
    own_redis.kill()
    await eventually(lambda: a.healthy(503))
    assert (await a.get("/health/live")).status_code == 200
    began = time.monotonic()
    await alice.send({"n": 1, "key": "k"})
    error = (await alice.until(lambda event: event.get("key") == "k"))[-1]
    assert (error["type"], error["code"]) == ("error", "unavailable")
    assert time.monotonic() - began < QUICK["publish_timeout"] + 1
    with pytest.raises(InvalidStatus) as refused:
        await enter(a)
    assert refused.value.response.status_code == 503
    own_redis.start()
    await eventually(a.healthy)
    await eventually(b.healthy)
    await eventually(lambda: shows(a, {"alice": False, "bob": False}))
    await eventually(lambda: talks(alice, bob))
    await eventually(lambda: talks(bob, alice))
    assert await a.metric("relay_room_gaps_total") >= 1
    assert await a.metric("relay_redis_reconnects_total") >= 2
    for relay in (a, b):
        assert relay.logged.count("lost the connection") == 2  # commands, and the subscription


async def test_redis_that_answers_nothing_for_a_while(
    start: MakeRelay, enter: MakeClient, own_redis: RedisServer
) -> None:
    relay = await start(redis_url=own_redis.url)
    alice, bob = await enter(relay, "/rooms/room?peer=alice"), await enter(relay, "/rooms/room?peer=bob")
    own_redis.signal(signal.SIGSTOP)
    began = time.monotonic()
    await alice.send({"n": 1, "key": "k"})
    error = (await alice.until(lambda event: event.get("key") == "k"))[-1]
    assert error["code"] == "outcome_unknown"
    assert time.monotonic() - began < QUICK["publish_timeout"] + 1
    await eventually(lambda: relay.healthy(503))
    own_redis.signal(signal.SIGCONT)
    await eventually(relay.healthy)
    await eventually(lambda: talks(alice, bob))
    # Sending with the same key again settles the unknown outcome.
    assert (await alice.ask({"n": 2}))["type"] == "ack"
    await alice.send({"n": 1, "key": "k"})
    assert (await alice.until(lambda event: event.get("key") == "k"))[-1]["type"] == "ack"


async def test_a_dropped_subscriber_shows_as_a_gap_and_heals(start: MakeRelay, enter: MakeClient, own_redis) -> None:
    relay = await start(redis_url=own_redis.url)
    alice, bob = await enter(relay, "/rooms/room?peer=alice"), await enter(relay, "/rooms/room?peer=bob&presence=1")
    killed, _, _ = own_redis.client.transaction(
        lambda pipe: (pipe.client_kill_filter(_type="pubsub"), pipe.eval(COUNTED, 0), pipe.ping())
    )
    assert killed == 1
    # The history does not have it, so it is lost.
    error, members = (await bob.until(lambda event: event.get("members")))[-2:]
    assert (error["code"], error["reason"]) == ("messages_lost", "trimmed")
    assert members["count"] == 2
    await eventually(lambda: talks(alice, bob))
    assert await relay.metric("relay_room_gaps_total") >= 1


async def test_a_flushed_redis_is_filled_again(start: MakeRelay, enter: MakeClient, own_redis: RedisServer) -> None:
    relays = [await start(redis_url=own_redis.url) for _ in range(2)]
    alice, bob = await enter(relays[0], "/rooms/room?peer=alice"), await enter(relays[1], "/rooms/room?peer=bob")
    await alice.ask({"type": "info", "info": {"name": "Alice"}})
    own_redis.client.flushall()
    assert (await alice.ask({"n": 1}))["type"] == "ack"  # at once, whichever worker announces the members
    await eventually(lambda: shows(relays[1], {"alice": False, "bob": False}))
    await eventually(lambda: talks(bob, alice))
    assert (await bob.ask({"type": "presence"}))["members"][0] == {"peer": "alice", "info": {"name": "Alice"}}
    back = await enter(relays[0], "/rooms/room?peer=bob", resume=bob.welcome["resume"])
    assert back.welcome["resumed"] is True


async def test_starting_without_redis(start: MakeRelay, enter: MakeClient, own_redis: RedisServer) -> None:
    own_redis.kill()
    relay = await start(redis_url=own_redis.url, ready=False)
    await eventually(lambda: relay.healthy(503), 20)
    assert (await relay.get("/health/live")).status_code == 200
    health = (await relay.get("/health")).json()
    assert health["checks"]["redis"]["ok"] is False
    assert "connect" in health["checks"]["redis"]["text"].lower()
    with pytest.raises(InvalidStatus) as refused:
        await enter(relay)
    assert refused.value.response.status_code == 503
    assert "retry-after" in refused.value.response.headers
    own_redis.start()
    await relay.ready()
    assert (await enter(relay)).welcome["type"] == "welcome"
    assert relay.logged.count("cannot reach Redis") == 2  # commands, and the subscription; not once per attempt


# The network in between.


async def test_a_deaf_subscription_turns_health_red_and_is_rebuilt(
    start: MakeRelay, enter: MakeClient, own_redis
) -> None:
    async with Proxy(own_redis.port) as proxy:
        relay = await start(redis_url=proxy.url)
        alice, bob = await enter(relay, "/rooms/room?peer=alice"), await enter(relay, "/rooms/room?peer=bob")
        proxy.deaf_subscriptions = True
        began = time.monotonic()
        await eventually(lambda: relay.healthy(503))
        assert time.monotonic() - began < QUICK["probe_timeout"] + 0.3
        health = (await relay.get("/health")).json()
        assert health["checks"]["redis"]["ok"] is True
        assert health["checks"]["subscription"]["ok"] is False
        # Health turns red at once, and the worker connects again at its next probe.
        await eventually(lambda: "subscription deaf" in relay.logged)
        proxy.deaf_subscriptions = False
        await eventually(relay.healthy)
        await eventually(lambda: talks(alice, bob))


async def test_of_several_workers_behind_one_port_a_deaf_one_is_replaced(
    start: MakeRelay, own_redis: RedisServer
) -> None:
    async with Proxy(own_redis.port) as proxy:
        relay = await start(redis_url=proxy.url, workers=2)
        before = {worker["worker"] for worker in (await relay.get("/health")).json()["workers"]}
        assert len(before) == 2
        proxy.deaf_subscriptions = True
        await eventually(lambda: relay.healthy(503))
        await eventually(lambda: relay.logged.count("a new one starts") >= 2, 30)
        proxy.deaf_subscriptions = False
        await eventually(relay.healthy, 30)
        after = {worker["worker"] for worker in (await relay.get("/health")).json()["workers"]}
        assert len(after) == 2
        assert not before & after


async def test_a_worker_that_stays_deaf_sends_its_clients_elsewhere(
    start: MakeRelay, enter: MakeClient, own_redis
) -> None:
    async with Proxy(own_redis.port) as proxy:
        relay = await start(redis_url=proxy.url, probe_timeout=0.3)
        alice = await enter(relay)
        proxy.deaf_subscriptions = True
        assert await alice.closed(20) == 1001


async def test_cut_connections_to_redis_heal_without_news(
    start: MakeRelay, enter: MakeClient, own_redis: RedisServer
) -> None:
    async with Proxy(own_redis.port) as proxy:
        relay = await start(redis_url=proxy.url)
        alice, bob = await enter(relay, "/rooms/room?peer=alice"), await enter(relay, "/rooms/room?peer=bob")
        proxy.refusing = True
        proxy.cut()
        await eventually(lambda: relay.healthy(503))
        proxy.refusing = False
        await eventually(relay.healthy)
        await eventually(lambda: talks(alice, bob))
        assert await shows(relay, {"alice": False, "bob": False})


async def test_a_command_held_up_on_the_way_to_redis_has_no_effect_after_it_was_given_up(
    start: MakeRelay, enter: MakeClient, own_redis
) -> None:
    async with Network(own_redis.port) as network:
        # Long enough that no member is taken over or leaves, however busy the machine is.
        settings = {"worker_lease": 20, "reconnect_grace": 20, "publish_timeout": 1, "probe_timeout": 3}
        cut_off = await start(redis_url=redis_user.url(network.port), **settings)
        other = await start(redis_url=own_redis.url, **settings)
        watcher = await enter(other, "/rooms/room?peer=w&presence=1")
        # Keeps the worker subscribed to the room: otherwise the join below could already fail at the subscription.
        await enter(cut_off, "/rooms/room?peer=s")
        lost = await enter(cut_off, "/rooms/room?peer=p")
        await watcher.until(lambda event: "p" in event.get("joined", ()))
        lost.lose()
        await eventually(lambda: shows(other, {"w": False, "s": False, "p": True}))
        network.blacken()
        key = lost.welcome["resume"]
        refused = await enter(cut_off, "/rooms/room?peer=p", resume=key)
        assert refused.welcome["code"] == "outcome_unknown"
        back = await enter(other, "/rooms/room?peer=p", resume=key)
        assert back.welcome["resumed"] is True
        network.lighten()
        await eventually(cut_off.healthy)
        assert await talks(back, watcher)
        late = await enter(cut_off, "/rooms/room?peer=q&presence=1")
        await late.close()
        assert await talks(back, watcher)
        assert await shows(other, {"w": False, "s": False, "p": False})


async def test_an_outage_longer_than_lease_and_grace_is_no_leave(
    start: MakeRelay, enter: MakeClient, own_redis
) -> None:
    async with Proxy(own_redis.port) as proxy:
        # The lease is longer than two seconds, the longest time between two attempts to reach Redis.
        relays = [await start(redis_url=proxy.url, worker_lease=3) for _ in range(2)]
        watcher, other = (
            await enter(relays[0], "/rooms/room?peer=w&presence=1"),
            await enter(relays[1], "/rooms/room?peer=o"),
        )
        await watcher.next()
        proxy.refusing = True
        proxy.cut()
        leases = [key for key in own_redis.client.zrange("relay:workers", 0, -1)]
        assert len(leases) == 2

        def both_ran_out() -> bool:
            now = own_redis.client.time()[0]
            return all(own_redis.client.zscore("relay:workers", lease) / 1000 + 1 < now for lease in leases)

        await eventually(both_ran_out)
        proxy.refusing = False
        await asyncio.gather(*[eventually(relay.healthy) for relay in relays])
        await eventually(lambda: talks(other, watcher))
        await eventually(lambda: relays_lapsed(relays))
        assert not [event for event in await watcher.all_up_to_now() if event.get("left")]
        assert await present(relays[0]) == {"w": False, "o": False}


async def relays_lapsed(relays: list[Relay]) -> bool:
    return all([await relay.metric("relay_lease_lapses_total") == 1 for relay in relays])
