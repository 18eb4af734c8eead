"""Socket.IO clients that resume by `pid` and offset: every acknowledged message arrives once and in order."""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from tests.fleet import RedisServer, Relay, eventually
from tests.integration.socketio import OverPolling, OverWebSocket

GONE = Exception
"""The errors that a client may get when its worker or connection has ended; they depend on its library."""

ROOMS = 4
KINDS = (OverWebSocket, OverPolling, OverWebSocket)


class Guest:
    """One client, which numbers its events and keeps those it hears; it comes back by itself, to the next worker."""

    def __init__(
        self, kind: type[OverWebSocket] | type[OverPolling], relays: list[Relay], room: str, name: str
    ) -> None:
        self._kind = kind
        self._relays = relays
        self._turn = itertools.count(sum(map(ord, name)))
        self._space = f"/rooms/{room}"
        self._claim: dict[str, str] = {}
        self.name = name
        self.client: Any = None
        self.talking = True
        self.said = 0
        self.acknowledged: list[int] = []
        self.heard: dict[str, list[int]] = {}
        self.back = 0
        self.not_recovered = 0

    async def live(self) -> None:
        while True:
            with suppress(GONE):
                await self._stay(self._relays[next(self._turn) % len(self._relays)])
            await self.lose()
            await asyncio.sleep(0.05)

    async def talk(self) -> None:
        while self.talking:
            client = self.client
            if client is not None:
                self.said += 1
                with suppress(GONE):
                    await client.send(f'42{self._space},{self.said}["n","{self.name}",{self.said}]')
            await asyncio.sleep(0.02)

    async def lose(self) -> None:
        """Go without a word."""
        client, self.client = self.client, None
        if isinstance(client, OverWebSocket):
            client.lose()
        elif client is not None:
            await client.close()

    async def _stay(self, relay: Relay) -> None:
        client = await self._kind.open(relay, self._space)
        try:
            await client.enter(**self._claim)
            if self._claim:
                self.back += 1
                self.not_recovered += client.entered["pid"] != self._claim["pid"]
            self._claim |= {"pid": client.entered["pid"]}
            self.client = client
            while True:
                self._take(str(await client.next()))
        finally:
            if client.offset:
                self._claim["offset"] = client.offset
            self.client = client
            await self.lose()

    def _take(self, packet: str) -> None:
        head, _, rest = packet.partition(",")
        if head == f"43{self._space}":
            number, _, answer = rest.partition("[")
            if "error" not in answer:
                self.acknowledged.append(int(number))
        elif head == f"42{self._space}":
            event = json.loads(rest)
            if event[0] == "n":
                _, sender, number = event
                self.heard.setdefault(sender, []).append(number)
        elif packet.startswith("1"):
            raise ConnectionResetError


async def kill_a_worker(relays: list[Relay], redis: RedisServer, guests: list[Guest]) -> None:
    relays[0].process.kill()
    relays[0].close()
    relays[0] = Relay(redis_url=redis.url, reconnect_grace=10, port=relays[0].port)
    await relays[0].ready()


async def restart_redis(relays: list[Relay], redis: RedisServer, guests: list[Guest]) -> None:
    redis.kill()
    redis.start()
    for relay in relays:
        await relay.ready()


async def break_every_connection(relays: list[Relay], redis: RedisServer, guests: list[Guest]) -> None:
    for guest in guests:
        await guest.lose()


Fault = Callable[[list[Relay], RedisServer, list[Guest]], Awaitable[None]]


@pytest.mark.parametrize("fault", [kill_a_worker, restart_redis, break_every_connection])
async def test_acknowledged_events_are_heard_once_and_in_order(fault: Fault) -> None:
    redis = RedisServer(persistent=True).start()
    relays = [Relay(redis_url=redis.url, reconnect_grace=10) for _ in range(2)]
    guests = [
        Guest(kind, relays, f"room-{room}", f"{room}-{number}")
        for room in range(ROOMS)
        for number, kind in enumerate(KINDS)
    ]
    tasks: list[asyncio.Task[None]] = []
    try:
        for relay in relays:
            await relay.ready()
        tasks += [asyncio.create_task(guest.live()) for guest in guests]
        await eventually(lambda: all(guest.client for guest in guests), 20)
        tasks += [asyncio.create_task(guest.talk()) for guest in guests]
        await eventually(lambda: all(len(guest.acknowledged) > 10 for guest in guests), 30)
        before = {guest: len(guest.acknowledged) for guest in guests}
        await fault(relays, redis, guests)
        await eventually(lambda: all(len(guest.acknowledged) > before[guest] + 20 for guest in guests), 30)
        for guest in guests:
            guest.talking = False
        with suppress(TimeoutError):
            await eventually(lambda: not losses(guests), 10)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks or [asyncio.create_task(asyncio.sleep(0))])
        for relay in relays:
            relay.close()
        redis.close()
    counted = Counter(guests=len(guests), acknowledged=sum(len(guest.acknowledged) for guest in guests))
    counted["back"] = sum(guest.back for guest in guests)
    counted["not recovered"] = sum(guest.not_recovered for guest in guests)
    for guest in guests:
        for numbers in guest.heard.values():
            counted["repeated"] += len(numbers) - len(set(numbers))
            counted["out of order"] += numbers != sorted(numbers)
    print(f"{fault.__name__}: {dict(counted)}; lost {losses(guests)[:10]}")
    assert (losses(guests), counted["repeated"], counted["out of order"], counted["not recovered"]) == ([], 0, 0, 0)
    assert counted["back"] or fault is restart_redis


def losses(guests: list[Guest]) -> list[tuple[str, str, int]]:
    """The acknowledged messages that a member of the room has not received."""
    return [
        (guest.name, other.name, number)
        for guest in guests
        for other in guests
        if other is not guest and other.name.partition("-")[0] == guest.name.partition("-")[0]
        for number in set(guest.acknowledged) - set(other.heard.get(guest.name, ()))
    ]
