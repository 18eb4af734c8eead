"""Room rules on two workers, while Redis loses its data or goes back in time: nobody new comes into a locked room."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx2 as httpx
import pytest

from tests.conftest import MakeClient, MakeRelay
from tests.fleet import ADMIN_TOKEN, Client, RedisServer, Relay, eventually

ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}


async def rule(relay: Relay, room: str = "room", **rules: Any) -> None:
    async with httpx.AsyncClient(timeout=10) as client:
        answer = await client.put(f"{relay.http}/rooms/{room}", json=rules, headers=ADMIN)
    assert answer.status_code == 200, answer.text


async def outcome(relay: Relay, path: str, **options: Any) -> str:
    """The code with which a client is refused, "" for one that comes in; it leaves at once."""
    client = await Client.open(relay.ws + path, **options)
    code = client.welcome.get("code", "")
    client.lose()
    return code


class Strangers:
    """Clients that try to come into a room over all workers, all the time."""

    def __init__(self, relays: list[Relay], room: str = "room") -> None:
        self.relays, self.room = relays, room
        self.outcomes: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Strangers":
        self._tasks = [asyncio.create_task(self._try(relay)) for relay in self.relays for _ in range(2)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _try(self, relay: Relay) -> None:
        number = 0
        while True:
            number += 1
            path = f"/rooms/{self.room}?peer=stranger{number}"
            try:
                self.outcomes.append(await outcome(relay, path))
            except (OSError, TimeoutError):
                self.outcomes.append("unreachable")
            await asyncio.sleep(0.005)

    async def until_refused(self, times: int) -> None:
        """Wait until they have been refused by the lock so often from now on."""
        before = len(self.outcomes)
        try:
            await eventually(lambda: self.outcomes[before:].count("room_locked") >= times, 20)
        except TimeoutError:
            pytest.fail(f"since then: {Counter(self.outcomes[before:])}")
        assert "" not in self.outcomes, Counter(self.outcomes)


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis that keeps its data."""
    server = RedisServer(persistent=True).start()
    yield server
    server.close()


@pytest.fixture
async def pair(start: MakeRelay, own_redis: RedisServer) -> list[Relay]:
    settings = {"redis_url": own_redis.url, "owner_rules": "on", "handshake_rate": 1000, "http_rate": 1000}
    return list(await asyncio.gather(*[start(**settings) for _ in range(2)]))


async def test_rules_hold_on_every_worker(pair: list[Relay], enter: MakeClient) -> None:
    # Side by side, as workers take seconds to start.
    await asyncio.gather(
        locked_on_one_worker_and_so_on_the_other(pair, enter),
        a_password_is_the_same_everywhere(pair, enter),
        the_eldest_member_owns_the_room_when_the_owner_has_left(pair, enter),
    )


async def locked_on_one_worker_and_so_on_the_other(pair: list[Relay], enter: MakeClient) -> None:
    member = await enter(pair[0], "/rooms/room?peer=ann")
    await rule(pair[0], locked=True)
    await member.until(lambda event: event.get("type") == "rules" and event["rules"]["locked"])
    assert await outcome(pair[1], "/rooms/room?peer=late") == "room_locked"
    # A member that lost its connection comes back, also over the other worker.
    key = member.welcome["resume"]
    member.lose()
    back = await Client.open(f"{pair[1].ws}/rooms/room?peer=ann", resume=key)
    assert back.welcome["resumed"] is True
    await rule(pair[1], locked=False)
    await enter(pair[0], "/rooms/room?peer=late")
    await back.close()


async def a_password_is_the_same_everywhere(pair: list[Relay], enter: MakeClient) -> None:
    await enter(pair[0], "/rooms/secret?peer=ann")
    await rule(pair[1], "secret", password="geheim")
    assert await outcome(pair[0], "/rooms/secret?peer=late") == "password_required"
    for relay in pair:
        headers = {"additional_headers": {"Relay-Password": "falsch"}}
        assert await outcome(relay, "/rooms/secret", **headers) == "bad_password"
        headers = {"additional_headers": {"Relay-Password": "geheim"}}
        assert await outcome(relay, "/rooms/secret", **headers) == ""


async def the_eldest_member_owns_the_room_when_the_owner_has_left(pair: list[Relay], enter: MakeClient) -> None:
    ann = await enter(pair[0], "/rooms/owned?peer=ann")
    ben = await enter(pair[1], "/rooms/owned?peer=ben")
    cat = await enter(pair[0], "/rooms/owned?peer=cat")
    await ann.close()
    for client in (ben, cat):
        change = (await client.until(lambda event: event.get("type") == "rules"))[-1]
        assert change["rules"]["owner"] == "ben"


async def test_a_locked_room_stays_locked_when_redis_loses_its_data(
    pair: list[Relay], own_redis: RedisServer, enter: MakeClient
) -> None:
    member = await enter(pair[0], "/rooms/room?peer=ann&presence=1")
    await rule(pair[1], locked=True)
    await member.until(lambda event: event.get("type") == "rules" and event["rules"]["locked"])
    async with Strangers(pair) as strangers:
        await strangers.until_refused(4)
        for _ in range(3):
            await asyncio.to_thread(own_redis.client.flushall)
            await strangers.until_refused(8)
        # Only the rules: as a Redis does that evicts keys.
        await asyncio.to_thread(own_redis.client.delete, "relay:{room}:options")
        await strangers.until_refused(8)
    joined = [peer for event in await member.all_up_to_now() for peer in event.get("joined", ())]
    assert not [peer for peer in joined if peer.startswith("stranger")]
    await eventually(lambda: listed(pair[1]))


@pytest.mark.parametrize("empty", [False, pytest.param(True, marks=pytest.mark.gateways)])
async def test_a_locked_room_stays_locked_when_redis_comes_back_with_older_data(
    pair: list[Relay], own_redis: RedisServer, enter: MakeClient, empty: bool
) -> None:
    member = await enter(pair[0], "/rooms/room?peer=ann&presence=1")
    await asyncio.to_thread(own_redis.remember)
    await rule(pair[1], locked=True)
    await member.until(lambda event: event.get("type") == "rules" and event["rules"]["locked"])
    async with Strangers(pair) as strangers:
        await strangers.until_refused(4)
        own_redis.kill()
        if empty:
            own_redis.forget()
        else:
            await asyncio.to_thread(own_redis.go_back)
        await asyncio.to_thread(own_redis.start)
        await strangers.until_refused(8)
    await eventually(lambda: listed(pair[1]))


async def listed(relay: Relay) -> bool:
    return [one["peer"] for one in (await relay.describe("room"))["members"]] == ["ann"]
