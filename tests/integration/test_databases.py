"""Fleets with the same prefix in one Redis: databases separate them, and one that interferes is noticed."""

import asyncio

import pytest
import redis

from tests.conftest import MakeClient, MakeRelay
from tests.fleet import eventually


@pytest.mark.parametrize("databases", [(1, 2), (0, 3)])
async def test_databases_separate_fleets(start: MakeRelay, enter: MakeClient, redis_url, prefix, databases) -> None:
    relays = [
        await start(redis_url=f"{redis_url}/{database}", redis_prefix=prefix)
        for database in databases
        for _ in range(2)
    ]
    # Two members of each fleet, on two workers.
    members = [await enter(relay, f"/rooms/room?peer=p{number}") for number, relay in enumerate(relays)]
    for number in range(20):
        for peer, member in enumerate(members):
            await member.send({"n": [peer, number]})
    for member, other in zip(members, (1, 0, 3, 2), strict=True):
        heard = await member.until(lambda event: event.get("n", [0, 0])[1] == 19)
        assert [event["n"] for event in heard] == [[other, number] for number in range(20)]
        assert await member.all_up_to_now() == []
    for relay in relays:
        assert await relay.metric("relay_message_losses_total") == 0


@pytest.mark.parametrize("ahead", [-1000, 1000])
async def test_events_of_another_fleet_are_ignored_and_logged_once(
    start: MakeRelay, enter: MakeClient, redis_url, prefix, ahead
) -> None:
    relay = await start(redis_url=redis_url, redis_prefix=prefix)
    alice, bob = await enter(relay, "/rooms/room?peer=alice"), await enter(relay, "/rooms/room?peer=bob")
    await alice.send({"n": 0})
    first = await bob.next()
    epoch = int(first["id"].partition("-")[0])
    with redis.Redis.from_url(redis_url) as other:

        def foreign(seq: int) -> None:
            event_id = f"{epoch + ahead}-{seq}"
            other.publish(f"{prefix}:{{room}}", f'm {event_id} eve \n""\n{{"n":"x","from":"eve","id":"{event_id}"')

        foreign(7)
        await eventually(lambda: "events of another fleet" in relay.logged)
        for number in range(1, 200):
            foreign(7 + number)
            await alice.send({"n": number})
        heard = await bob.until(lambda event: event.get("n") == 199)
        assert [event["n"] for event in heard] == list(range(1, 200))
        # A member that comes meanwhile hears none of them either.
        carol = asyncio.create_task(enter(relay, "/rooms/room?peer=carol"))
        while not carol.done():
            foreign(1000)
            await asyncio.sleep(0)
        await alice.send({"n": "end"})
        assert [event["n"] for event in await (await carol).until(lambda event: event.get("n") == "end")] == ["end"]
    assert (await bob.next())["id"].startswith(f"{epoch}-")
    assert relay.logged.count("events of another fleet") == 1
    assert await relay.metric("relay_foreign_epochs_total") == 1
    assert await relay.metric("relay_message_losses_total") == 0


async def test_a_foreign_event_ahead_of_the_first_welcome_does_not_begin_an_epoch(
    start: MakeRelay, enter: MakeClient, redis_url, prefix
) -> None:
    first, second = [await start(redis_url=redis_url, redis_prefix=prefix) for _ in range(2)]
    alice = await enter(first, "/rooms/room?peer=alice")
    epoch = int(alice.welcome["id"].partition("-")[0])
    with redis.Redis.from_url(redis_url) as other:
        bob = asyncio.create_task(enter(second, "/rooms/room?peer=bob"))
        for seq in range(1, 2000):
            event_id = f"{epoch + 1000}-{seq}"
            other.publish(f"{prefix}:{{room}}", f'm {event_id} eve \n""\n{{"n":"x","from":"eve","id":"{event_id}"')
            if bob.done():
                break
            await asyncio.sleep(0)
    await bob
    await alice.send({"n": 1})
    [event] = await (await bob).until(lambda event: "n" in event)
    assert event["id"].startswith(f"{epoch}-")
    for relay in (first, second):
        assert await relay.metric("relay_message_losses_total") == 0
