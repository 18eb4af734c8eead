"""Redis's memory: attackers do not fill it, and a Redis whose memory is used up does not stop present members."""

import asyncio
import contextlib
from typing import Any

import pytest

from tests.abuse.attacks import find
from tests.abuse.target import target
from tests.conftest import MakeRelay
from tests.fleet import Client, RedisServer, Relay, eventually

_MAXMEMORY = 100_000_000


def share(server: RedisServer) -> float:
    with server.client as client:
        info = client.info("memory")
    return float(info["used_memory"] / info["maxmemory"])


def set_maxmemory(server: RedisServer, size: int) -> None:
    with server.client as client:
        client.config_set("maxmemory", size)


async def memory_check(relay: Relay) -> dict[str, Any]:
    answer = await relay.get("/health")
    assert answer.status_code == 200
    return dict(answer.json()["checks"]["memory"])


async def talk(alice: Client, bob: Client, number: int) -> None:
    await alice.send({"message": number})
    assert (await bob.until(lambda event: "message" in event, 30))[-1]["message"] == number


async def bounded(relay: Relay, attack: str) -> bool:
    """Whether the attack has met its bound often."""
    if attack == "new-rooms":
        return await relay.metric("relay_errors_total", protocol="native", code="too_many_new_rooms") > 20
    return await relay.metric("relay_unstored_messages_total") > 5


@pytest.mark.parametrize("attack", ["new-rooms", "large-messages"])
async def test_attackers_of_one_address_use_a_part_of_the_memory_and_others_go_on(
    start: MakeRelay, own_redis: RedisServer, attack: str
) -> None:
    set_maxmemory(own_redis, _MAXMEMORY)
    limits = {"new_rooms_per_address": 100, "address_history_bytes": 3_000_000, "address_byte_rate": 2_000_000}
    relay = await start(redis_url=own_redis.url, quick={}, **limits)
    alice, bob = await Client.open(f"{relay.ws}/rooms/calm"), await Client.open(f"{relay.ws}/rooms/calm")
    async with target("127.0.0.1", relay.port) as attacked:
        attacking = asyncio.create_task(find()[attack].run(attacked))
        number = 0
        async with asyncio.timeout(150):
            while not await bounded(relay, attack):
                await talk(alice, bob, number)
                number += 1
                assert share(own_redis) < 0.8
                assert not attacking.done()
        attacking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await attacking
    newcomer = await Client.open(f"{relay.ws}/rooms/another")
    assert newcomer.welcome["type"] == "welcome"
    assert (await memory_check(relay))["ok"]
    await talk(alice, bob, number)
    assert "has used up its" in relay.logged


async def test_a_redis_whose_memory_is_used_up_serves_present_members(start: MakeRelay, own_redis: RedisServer) -> None:
    relay = await start(redis_url=own_redis.url, reconnect_grace=60)
    alice, bob, carol = [await Client.open(f"{relay.ws}/rooms/room") for _ in range(3)]
    await talk(alice, bob, 1)
    set_maxmemory(own_redis, 1_000)

    async def is_full() -> bool:
        return not (await memory_check(relay))["ok"]

    await eventually(is_full)
    assert "is used: clients can only come back" in (await memory_check(relay))["text"]
    # Messages, a goodbye, and the return of a client that lost its connection.
    await talk(alice, bob, 2)
    assert (await alice.ask({"type": "publish", "envelope": {"message": 3}}))["type"] == "ack"
    await carol.close()
    bob.lose()
    peer, key = bob.welcome["peer"], bob.welcome["resume"]
    back = await Client.open(f"{relay.ws}/rooms/room?peer={peer}", resume=key)
    assert back.welcome["resumed"]
    await talk(alice, back, 4)
    # Neither new members nor new rooms, with an error that says why.
    for room in ("room", "new"):
        late = await Client.open(f"{relay.ws}/rooms/{room}", welcome=False)
        assert (await late.next())["code"] == "memory_low"
        assert await late.closed() == 4008
    assert await relay.metric("relay_unstored_messages_total") >= 3
    # And back: a line in the log for each change.
    set_maxmemory(own_redis, _MAXMEMORY)

    async def is_ample() -> bool:
        return bool((await memory_check(relay))["ok"])

    await eventually(is_ample)
    assert (await Client.open(f"{relay.ws}/rooms/new")).welcome["type"] == "welcome"
    assert relay.logged.count("memory: ") == 2


async def test_new_rooms_are_refused_before_other_joins(start: MakeRelay, own_redis: RedisServer) -> None:
    relay = await start(redis_url=own_redis.url)
    alice, bob = [await Client.open(f"{relay.ws}/rooms/room") for _ in range(2)]
    with own_redis.client as client:

        async def is_low() -> bool:
            # Between the marks of the two levels. In Redis 6.2, a new connection has large buffers for a while.
            client.config_set("maxmemory", round(client.info("memory")["used_memory"] / 0.85))
            return "cannot open new rooms" in (await memory_check(relay))["text"]

        await eventually(is_low)
    late = await Client.open(f"{relay.ws}/rooms/new", welcome=False)
    assert (await late.next())["code"] == "memory_low"
    await late.closed()
    carol = await Client.open(f"{relay.ws}/rooms/room")
    assert carol.welcome["type"] == "welcome"
    await talk(alice, bob, 1)
    # A large message is delivered, and missing in a replay.
    before = await bob.ask({"type": "ping"})
    await alice.send({"message": "x" * 20_000})
    assert len((await bob.until(lambda event: "message" in event))[-1]["message"]) == 20_000
    bob.lose()
    url = f"{relay.ws}/rooms/room?peer={bob.welcome['peer']}&since={before['id']}"
    back = await Client.open(url, resume=bob.welcome["resume"])
    assert (back.welcome["recovered"], back.welcome["reason"]) == (False, "trimmed")
