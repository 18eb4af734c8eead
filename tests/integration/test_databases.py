"""Fleets with the same prefix in different databases of one Redis have nothing to do with each other."""

import asyncio

import pytest

from tests.conftest import MakeClient, MakeRelay


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
        for member, peer in zip(members, ("p0", "p1", "p2", "p3"), strict=True):
            await member.send(message=f"{peer} {number}")
    for member, other in zip(members, ("p1", "p0", "p3", "p2"), strict=True):
        got = [await member.next(lambda frame: "message" in frame) for _ in range(20)]
        assert [frame["message"] for frame in got] == [f"{other} {number}" for number in range(20)]
    await asyncio.sleep(0.3)
    for relay in relays:
        assert await relay.metric("relay_message_losses_total") == 0
        assert await relay.metric("relay_room_gaps_total") == 0
