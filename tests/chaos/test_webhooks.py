"""Webhooks, counted under faults: each join and leave reaches the receiver while the queue holds."""

import asyncio
import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from websockets.exceptions import WebSocketException

from tests.fleet import QUICK, Client, RedisServer, Relay, eventually
from tests.webhook_receiver import HookReceiver

ROOMS, VISITORS = 12, 8
"""Rooms, and clients that come and go in each of them at the same time as those of the others."""


@dataclass
class Visits:
    """The clients that were members for certain: each has its own peer id, and comes once."""

    draw: random.Random
    relays: list[Relay]
    joined: set[tuple[str, str]] = field(default_factory=set)
    number: int = 0

    async def visit(self, room: str) -> None:
        """Join at some worker, stay for a moment, and leave or vanish."""
        self.number += 1
        peer = f"p{self.number}"
        relay = self.draw.choice([one for one in self.relays if one.process.poll() is None])
        with suppress(OSError, TimeoutError, WebSocketException):
            client = await Client.open(f"{relay.ws}/rooms/{room}?peer={peer}")
            if client.welcome.get("type") != "welcome":
                return
            self.joined.add((room, peer))
            await asyncio.sleep(self.draw.uniform(0, 0.3))
            if self.draw.random() < 0.5:
                client.lose()
            else:
                await client.close()

    async def go_on(self, room: str, ended: asyncio.Event) -> None:
        """One visit after the other, until the faults are over."""
        while not ended.is_set():
            await self.visit(room)
            await asyncio.sleep(0.02)


@pytest.fixture
async def receiver() -> AsyncIterator[HookReceiver]:
    async with HookReceiver() as receiver:
        yield receiver


@pytest.fixture
async def arena(receiver: HookReceiver) -> AsyncIterator[tuple[RedisServer, list[Relay]]]:
    """Three workers over a Redis that keeps its data when it is killed."""
    redis = RedisServer(persistent=True).start()
    relays = [_worker(redis, receiver) for _ in range(3)]
    await asyncio.gather(*[one.ready() for one in relays])
    yield redis, relays
    for one in relays:
        one.close()
    redis.close()


def _worker(redis: RedisServer, receiver: HookReceiver) -> Relay:
    return Relay(redis_url=redis.url, webhook_timeout=0.5, handshake_rate=10_000, **QUICK, **receiver.settings)


async def test_no_join_and_no_leave_is_missing(arena: tuple[RedisServer, list[Relay]], receiver: HookReceiver) -> None:
    redis, relays = arena
    visits, ended = Visits(random.Random(7), relays), asyncio.Event()
    rooms = [f"room{number}" for number in range(ROOMS)]
    async with asyncio.TaskGroup() as group:
        for room in rooms:
            for _ in range(VISITORS):
                group.create_task(visits.go_on(room, ended))
        await asyncio.sleep(0.7)
        relays[0].signal(signal.SIGKILL)
        relays[0] = await _worker_again(relays[0], redis, receiver)
        await receiver.close()
        await asyncio.sleep(0.7)
        redis.kill()
        await asyncio.sleep(0.3)
        await asyncio.to_thread(redis.start)
        relays[1].signal(signal.SIGKILL)
        await asyncio.sleep(1)
        await receiver.open()
        await asyncio.sleep(0.5)
        relays[2].signal(signal.SIGKILL)
        relays[2] = await _worker_again(relays[2], redis, receiver)
        ended.set()

    def told(kind: str) -> set[tuple[str, str]]:
        return {(event["room"], event["peer"]) for event in receiver.events if event["type"] == kind}

    assert len(visits.joined) > 100
    with suppress(TimeoutError):
        await receiver.until(lambda: visits.joined <= told("joined") & told("left"), 15)
    assert not visits.joined - told("joined")
    assert not visits.joined - told("left")
    assert not [event for event in receiver.events if event["type"] == "events_dropped"]
    _check_order(receiver)
    await eventually(lambda: _closed(receiver, rooms))


async def _worker_again(old: Relay, redis: RedisServer, receiver: HookReceiver) -> Relay:
    old.close()
    return _worker(redis, receiver)


def _check_order(receiver: HookReceiver) -> None:
    """The first deliveries are in the order of each room, and each room opens and closes in turn."""
    positions, turns = defaultdict[str, list[tuple[int, int]]](list), defaultdict[str, list[str]](list)
    for event in receiver.events:
        epoch, seq = event["position"].split("-")
        positions[event["room"]].append((int(epoch), int(seq)))
        if event["type"].startswith("room_"):
            turns[event["room"]].append(event["type"])
    assert not [room for room, found in positions.items() if found != sorted(found)]
    for room, kinds in turns.items():
        assert kinds == ["room_opened", "room_closed"] * (len(kinds) // 2) + ["room_opened"] * (len(kinds) % 2), room


def _closed(receiver: HookReceiver, rooms: list[str]) -> bool:
    counts = Counter((event["room"], event["type"]) for event in receiver.events)
    return all(counts[room, "room_opened"] == counts[room, "room_closed"] > 0 for room in rooms)


@pytest.mark.gateways
async def test_an_overflow_while_the_sender_is_killed_is_counted(receiver: HookReceiver, redis_url: str) -> None:
    """Each event was told, or is in the number of those that were dropped; a repeat may be counted twice."""
    prefix, visits = f"relay:overflow{time.time_ns() % 10**9}", 80
    common = {"redis_url": redis_url, "redis_prefix": prefix, "webhook_queue": 100, "webhook_batch": 20}
    relays = [Relay(**common, **QUICK, **receiver.settings) for _ in range(2)]
    try:
        await asyncio.gather(*[one.ready() for one in relays])
        receiver.status = 500
        for number in range(visits):
            client = await Client.open(f"{relays[number % 2].ws}/rooms/r{number}?peer=p")
            await client.close()
        await receiver.until(lambda: receiver.requests)
        relays[0].signal(signal.SIGKILL)
        receiver.status = 204
        await receiver.until(lambda: _accounted(receiver) >= 4 * visits)
    finally:
        for one in relays:
            one.close()
    told = [event for event in receiver.events if event["type"] == "events_dropped"]
    assert told
    assert 4 * visits - 200 <= sum(event["count"] for event in told) <= 4 * visits


def _accounted(receiver: HookReceiver) -> int:
    return sum(event.get("count", 1) for event in receiver.events)
