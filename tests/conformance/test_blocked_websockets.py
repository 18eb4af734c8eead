"""relay.js in Node where a network lets no WebSocket through: it goes on over HTTP, comes back, and loses nothing."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.blocking_network import BlockingNetwork
from tests.conformance.sio import require_packages
from tests.conftest import MakeFleet, MakeRelay
from tests.fleet import RedisServer, Relay, eventually, require

PROGRAM = Path(__file__).parent / "blocked.mjs"
PATIENT = {"reconnect_grace": 30}

Members = list[dict[str, Any]]


class Talk:
    """Three members of a room, in one process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def heard(self) -> Any:
        assert self._process.stdout is not None
        async with asyncio.timeout(60):
            return json.loads(await self._process.stdout.readline())

    async def ask(self, command: str = "look") -> Members:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n".encode())
        members: Members = await self.heard()
        return members

    async def until(self, condition: Callable[[Members], Any]) -> None:
        async def holds() -> bool:
            return bool(condition(await self.ask()))

        await eventually(holds, 60)

    async def all_over(self, transport: str) -> None:
        """Return when all members have this transport, and have been heard over it."""
        await self.until(lambda members: all(one["transport"] == transport for one in members))
        said = (await self.ask())[0]["said"]
        await self.until(lambda members: all(_has_heard(one, said) for one in members))

    async def leave(self) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write(b"leave\n")
        async with asyncio.timeout(60):
            return await self._process.wait()


@asynccontextmanager
async def talk_of(room: str, *urls: str) -> AsyncIterator[Talk]:
    command = [require("node"), str(PROGRAM), room, *urls]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=2**24)
    try:
        talk = Talk(process)
        assert await talk.heard() == "ready"
        yield talk
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _has_heard(member: dict[str, Any], more: int) -> bool:
    return all(len(heard) > more for heard in member["heard"].values())


async def check(talk: Talk) -> Members:
    """Let all fall silent; then nothing is missing, repeated or out of order, and nobody seemed to leave."""
    said = [one["said"] for one in await talk.ask("hush")]
    names = [f"member-{number}" for number in range(len(said))]

    def complete(members: Members) -> bool:
        return not any(one["waiting"] for one in members) and all(
            len(one["heard"].get(name, ())) >= said[number]
            for me, one in enumerate(members)
            for number, name in enumerate(names)
            if number != me
        )

    await talk.until(complete)
    members = await talk.ask()
    for me, one in enumerate(members):
        assert one["heard"] == {name: list(range(said[number])) for number, name in enumerate(names) if number != me}
        assert (one["failed"], one["duplicates"], sorted(one["members"])) == ([], 0, names)
        assert not [event for event in one["told"] if event[0] in {"leave", "error", "close"}]
        assert len([event for event in one["told"] if event[0] == "join"]) <= len(names)
    print(f"{said} said, each to be heard by {len(said) - 1}; {[one['resent'] for one in members]} sent again")
    return members


@pytest.mark.smoke
@pytest.mark.parametrize("resets", [False, True], ids=["refused", "reset"])
async def test_blocked_then_open_then_blocked(fleet_of: MakeFleet, resets: bool) -> None:
    require_packages("ws")
    relays = await fleet_of(2, **PATIENT)
    async with AsyncExitStack() as stack:
        ports = [relays[number % 2].port for number in range(3)]
        networks = [await stack.enter_async_context(BlockingNetwork(port, resets=resets)) for port in ports]
        talk = await stack.enter_async_context(talk_of("room", *[one.ws for one in networks]))
        await talk.ask("talk")
        await talk.all_over("http")
        assert all(network.refused for network in networks)
        for network in networks:
            network.open()
        await talk.all_over("websocket")
        for network in networks:
            network.block()
        await talk.all_over("http")
        members = await check(talk)
        assert [one["transports"] for one in members] == [["http", "websocket", "http"]] * 3
        assert await talk.leave() == 0
        # They have said goodbye over HTTP: nobody is held.
        assert (await relays[0].describe("room"))["count"] == 0


async def test_a_worker_that_is_killed_while_members_are_over_http(own_redis: RedisServer, start: MakeRelay) -> None:
    require_packages("ws")
    relays: list[Relay] = [await start(redis_url=own_redis.url, **PATIENT) for _ in range(2)]
    async with AsyncExitStack() as stack:
        # Each network leads to one worker, and to the other one once that is gone.
        networks = [await stack.enter_async_context(BlockingNetwork(relays[number % 2].port)) for number in range(3)]
        talk = await stack.enter_async_context(talk_of("room", *[one.ws for one in networks]))
        await talk.ask("talk")
        await talk.all_over("http")
        relays[0].signal(signal.SIGKILL)
        for network in networks:
            network.ports = [relays[1].port]
        await talk.until(lambda members: all(["resumed", True] in members[number]["told"] for number in (0, 2)))
        await talk.all_over("http")
        for network in networks:
            network.open()
        await talk.all_over("websocket")
        await check(talk)


async def test_a_relay_that_is_down_for_a_while_is_not_taken_for_a_blocked_network(
    own_redis: RedisServer, start: MakeRelay
) -> None:
    require_packages("ws")
    relay = await start(redis_url=own_redis.url, **PATIENT)
    async with BlockingNetwork(relay.port, blocking=False) as network, talk_of("room", network.ws, network.ws) as talk:
        await talk.ask("talk")
        await talk.all_over("websocket")
        relay.signal(signal.SIGKILL)
        await talk.until(lambda members: all(["reconnecting", "lost"] in one["told"] for one in members))
        again = await start(redis_url=own_redis.url, **PATIENT)
        network.ports = [again.port]
        await talk.all_over("websocket")
        await check(talk)


async def test_posts_reach_the_other_worker_of_a_port(own_redis: RedisServer, start: MakeRelay) -> None:
    """Workers behind one port forward posts to each other; each of them is killed once, and replaced."""
    require_packages("ws")
    relay = await start(redis_url=own_redis.url, workers=2, **PATIENT)
    async with BlockingNetwork(relay.port) as network, talk_of("room", *[network.ws] * 3) as talk:
        await talk.ask("talk")
        await talk.all_over("http")
        for killed in _workers_of(relay):
            os.kill(killed, signal.SIGKILL)
            await eventually(lambda: len(set(_workers_of(relay)) - {killed}) == 2, 30)  # noqa: B023
            await talk.all_over("http")
        members = await talk.ask()
        assert all(["resumed", True] in one["told"] for one in members)
        network.open()
        await talk.all_over("websocket")
        await check(talk)


def _workers_of(relay: Relay) -> list[int]:
    """The process ids of the workers behind a port."""
    supervisor = relay.process.pid
    return [int(pid) for pid in Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()]
