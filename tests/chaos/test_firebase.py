"""Firebase pages, by WebSocket and by polls, that come back after a fault: nothing lost, no ghost, whole listens."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from websockets.exceptions import WebSocketException

from tests.fleet import RedisServer, Relay, eventually
from tests.gateways.drivers.wires import Ended
from tests.integration.firebase import FirebasePage

GONE = (Ended, OSError, WebSocketException, TimeoutError)
"""The errors that a page may get when its worker or connection has ended."""

ROOMS = 3
PAGES = 4
MESSAGES = 20
SETTINGS: dict[str, Any] = {"worker_lease": 8, "probe_timeout": 3, "publish_timeout": 5}


class Person:
    """One page: it shows its place as long as it is there, and adds children, each until it is acknowledged."""

    def __init__(self, relays: list[Relay], room: str, number: int) -> None:
        self._relays = relays
        self._turn = itertools.count(number)
        self._polls = number % 4 > 1
        self._number = number
        self.room = room
        self.page = FirebasePage()
        self.added: list[str] = []
        self.connections = 0

    @property
    def place(self) -> str:
        return f"{self.room}/places/p{self._number}"

    async def live(self) -> None:
        while True:
            with suppress(*GONE):
                await self._stay(self._relays[next(self._turn) % len(self._relays)])
            await self.page.lose()
            await asyncio.sleep(0.05)

    async def _stay(self, relay: Relay) -> None:
        page = self.page
        await page.connect(relay, polls=self._polls)
        # A listen gives the whole value anew.
        assert await page.ask("q", f"/{self.room}", h="") == "ok"
        assert await page.ask("o", f"/{self.place}", d=None) == "ok"
        assert await page.ask("p", f"/{self.place}", d="here") == "ok"
        self.connections += 1
        while True:
            key = f"p{self._number}m{len(self.added)}"
            if len(self.added) < MESSAGES:
                # A page that gets no answer puts the same child again.
                assert await page.ask("p", f"/{self.room}/children/{key}", d=key) == "ok"
                self.added.append(key)
            else:
                assert await page.ask("s", "", c={}) == "ok"
                await asyncio.sleep(0.5)


async def kill_a_worker(relays: list[Relay], redis: RedisServer, people: list[Person]) -> None:
    relays[0].process.kill()
    relays[0].close()
    relays[0] = Relay(redis_url=redis.url, port=relays[0].port, **SETTINGS)
    await relays[0].ready()


async def break_all_connections(relays: list[Relay], redis: RedisServer, people: list[Person]) -> None:
    for person in people:
        if person.page.wire is not None:
            with suppress(*GONE):
                await person.page.wire.drop()


Fault = Callable[[list[Relay], RedisServer, list[Person]], Awaitable[None]]


def disagreements(people: list[Person], gone: list[Person]) -> list[str]:
    """Return how the values that the pages know differ from those that were written."""
    found: list[str] = []
    for person in people:
        room = [one for one in (*people, *gone) if one.room == person.room]
        known = person.page.at(f"{person.room}/children") or {}
        lost = {key for one in room for key in one.added} - known.keys()
        places = set(person.page.at(f"{person.room}/places") or {})
        wanted = {one.place.rpartition("/")[2] for one in room if one not in gone}
        if lost or any(key != value for key, value in known.items()):
            found.append(f"{person.place}: lost {sorted(lost)}")
        if places != wanted:
            found.append(f"{person.place}: ghosts {sorted(places - wanted)}, missing {sorted(wanted - places)}")
        if len(person.added) < MESSAGES:
            found.append(f"{person.place}: {len(person.added)} of {MESSAGES} children")
    return found


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", [kill_a_worker, break_all_connections])
async def test_pages_that_come_back_know_everything_and_show_no_ghost(fault: Fault) -> None:
    """A page of each room is gone for good with the fault: another worker makes the changes that it has prepared."""
    redis = RedisServer(persistent=True).start()
    relays = [Relay(redis_url=redis.url, **SETTINGS) for _ in range(2)]
    people = [Person(relays, f"room{room}", number) for room in range(ROOMS) for number in range(PAGES)]
    # Those with the number 0 begin on the worker that is killed.
    gone, stay = people[::PAGES], [one for number, one in enumerate(people) if number % PAGES]
    tasks: list[asyncio.Task[None]] = []
    try:
        for relay in relays:
            await relay.ready()
        tasks += [asyncio.create_task(person.live()) for person in people]
        await eventually(lambda: _all(person.connections for person in people), 60)
        for task, person in zip(tasks, people, strict=True):
            if person in gone:
                task.cancel()
        await fault(relays, redis, people)
        for person in gone:
            await person.page.lose()
        with suppress(TimeoutError):
            await eventually(lambda: _all([not disagreements(stay, gone)]), 120)
        assert disagreements(stay, gone) == []
        assert sum(len(person.added) for person in stay) == MESSAGES * len(stay)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks or [asyncio.create_task(asyncio.sleep(0))])
        for person in people:
            await person.page.lose()
        for relay in relays:
            relay.close()
        redis.close()


async def _all(values: Any) -> bool:
    return all(list(values))
