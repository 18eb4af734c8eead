"""Attempts that are parked, lost and doubled, by clients that know the page docs/protocol.md alone.

`RELAY_ATTEMPTS` is the number of attempts (24 in the suite; 1,000 take some minutes).
"""

import asyncio
import collections
import contextlib
import json
import os
import random
import secrets
import signal
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from tests.conftest import MakeRelay
from tests.fleet import Json, RedisServer, Relay

ATTEMPTS = int(os.environ.get("RELAY_ATTEMPTS", "24"))
"""Attempts of each kind of fault, in all."""

_AT_ONCE = 60
"""Clients at the same time."""

_FINAL = frozenset({1000, 1002, 1007, 1009})
_PATIENCE = 15.0


class Attempt:
    """One WebSocket over a plain socket, so that it can be lost at any moment."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def connect(self) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._relay.port)

    def ask(self, path: str, key: str) -> None:
        """Send the request."""
        self.writer.write(
            f"GET {path} HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {'A' * 22}==\r\n"
            f"Sec-WebSocket-Protocol: relay.v1, resume.{key}\r\n\r\n".encode()
        )

    async def accepted(self) -> None:
        assert b" 101 " in (await self.reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0]

    async def frame(self) -> tuple[int, bytes]:
        head = await self.reader.readexactly(2)
        size = head[1] & 127
        if size == 126:
            (size,) = struct.unpack(">H", await self.reader.readexactly(2))
        return head[0] & 15, await self.reader.readexactly(size)

    async def next(self) -> Json | int:
        """The next event, or the close code at the end; 1006 for a lost connection."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                kind, data = await self.frame()
                if kind == 1:
                    return json.loads(data)
                if kind == 8:
                    return int.from_bytes(data[:2], "big") if data else 1005
        return 1006

    def reset(self) -> None:
        """Send RST. May be called again."""
        sock = self.writer.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
        self.writer.close()


@dataclass
class Visitor:
    """A client: its peer id, its key, and its position. It offers a key of its own at its first join."""

    fleet: list[Relay]
    room: str
    peer: str
    key: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    position: str = ""
    turn: int = 0
    others: list[Attempt] = field(default_factory=list)

    @property
    def path(self) -> str:
        since = f"&since={self.position}" if self.position else ""
        return f"/rooms/{self.room}?peer={self.peer}{since}"

    async def begin(self, moment: str = "asked", turn: int | None = None) -> Attempt:
        """Make an attempt up to this moment."""
        self.turn += 1
        attempt = Attempt(self.fleet[(self.turn if turn is None else turn) % len(self.fleet)])
        await attempt.connect()
        if moment != "connected":
            attempt.ask(self.path, self.key)
        if moment == "accepted":
            await attempt.accepted()
        return attempt

    async def settle(self) -> tuple[Attempt, Json] | int:
        """Attempt until one is welcomed, as the page says; returns the final close code if there is one."""
        async with asyncio.timeout(_PATIENCE):
            while True:
                attempt = await self.begin()
                try:
                    async with asyncio.timeout(3):
                        await attempt.accepted()
                        event = await attempt.next()
                        if isinstance(event, dict) and event["type"] == "welcome":
                            return attempt, event
                        while isinstance(event, dict):
                            event = await attempt.next()
                except (TimeoutError, OSError, asyncio.IncompleteReadError):
                    event = 1006
                attempt.reset()
                if event >= 4500 or event in _FINAL:
                    return event
                await asyncio.sleep(random.uniform(0, 0.05))

    async def come(self) -> str:
        """Come (back); check that the connection lives, and that it can be resumed. Returns "" if all is well."""
        settled = await self.settle()
        if isinstance(settled, int):
            return f"locked out ({settled})"
        live, welcome = settled
        if self.position and not welcome["resumed"]:
            return "membership lost"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.5):
                while isinstance(event := await live.next(), dict):
                    pass
                return f"closed ({event})"
        self.key, self.position = welcome["resume"], welcome["id"]
        live.reset()
        settled = await self.settle()
        if isinstance(settled, int):
            return f"locked out afterwards ({settled})"
        live, welcome = settled
        self.key, self.position = welcome["resume"], welcome["id"]
        live.reset()
        return "" if welcome["resumed"] else "membership lost afterwards"


async def in_groups(fleet: list[Relay], kind: str, play: Any, fault: Any = None) -> collections.Counter[str]:
    """Have `ATTEMPTS` visitors play, some at the same time; count what happened to them."""
    outcomes: collections.Counter[str] = collections.Counter()
    for start in range(0, ATTEMPTS, _AT_ONCE):
        visitors = [
            Visitor(fleet, f"{kind}-{number}", "v", turn=number)
            for number in range(start, min(start + _AT_ONCE, ATTEMPTS))
        ]
        for visitor in visitors:
            if random.random() < 0.8:
                # The others lose their first join.
                settled = await visitor.settle()
                assert not isinstance(settled, int)
                live, welcome = settled
                visitor.key, visitor.position = welcome["resume"], welcome["id"]
                visitor.others.append(live)
                if random.random() < 0.7:
                    live.reset()
        faulting = asyncio.create_task(fault()) if fault else None
        await asyncio.sleep(0.05)
        outcomes.update(await asyncio.gather(*[play(visitor) for visitor in visitors]))
        if faulting:
            await faulting
        for visitor in visitors:
            for attempt in visitor.others:
                attempt.reset()
    return outcomes


async def stopped(process: Any, seconds: float) -> None:
    process.signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        process.signal(signal.SIGCONT)


async def parked(visitor: Visitor, *, closed: float) -> str:
    """One or two attempts are given up while Redis or a worker stands still; the next one goes to another worker.

    `closed` is how many of them the client closes. A worker that stands still cannot know when a request has arrived:
    there, a client must close the connections that it gives up.
    """
    given_up = []
    for _ in range(random.randint(1, 2)):
        given_up.append(await visitor.begin())
        await asyncio.sleep(random.uniform(0.2, 0.6))
        if random.random() < closed:
            given_up[-1].reset()
    outcome = await visitor.come()
    for attempt in given_up:
        attempt.reset()
    return outcome


async def lost(visitor: Visitor) -> str:
    """An attempt is lost at some moment, and the next one follows at once on another worker."""
    moment = random.choice(["connected", "asked", "accepted", "welcomed"])
    attempt = await visitor.begin("accepted" if moment == "welcomed" else moment)
    if moment == "welcomed":
        await attempt.next()
    await asyncio.sleep(random.choice([0, 0, 0.001, 0.01]))
    attempt.reset()
    return await visitor.come()


async def doubled(visitor: Visitor) -> str:
    """Two or three attempts at once, on as many workers; the client goes on with the first welcome that it gets."""
    attempts = await asyncio.gather(*[
        visitor.begin("accepted", visitor.turn + number) for number in range(random.randint(2, 3))
    ])  # fmt: skip
    waiting = {asyncio.ensure_future(attempt.next()): attempt for attempt in attempts}
    winner = welcome = None
    async with asyncio.timeout(_PATIENCE):
        while waiting and winner is None:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for future in done:
                attempt, event = waiting.pop(future), future.result()
                if winner is None and isinstance(event, dict) and event["type"] == "welcome":
                    winner, welcome = attempt, event
                else:
                    attempt.reset()
    for future, attempt in waiting.items():
        future.cancel()
        attempt.reset()
    if winner is not None and welcome is not None:
        if visitor.position and not welcome["resumed"]:
            return "membership lost"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                while isinstance(event := await winner.next(), dict):
                    pass
                return f"closed ({event})"
        visitor.key, visitor.position = welcome["resume"], welcome["id"]
        winner.reset()
    return await visitor.come()


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    server = RedisServer().start()
    yield server
    server.close()


@pytest.fixture
async def three(own_redis: RedisServer, start: MakeRelay) -> list[Relay]:
    """Three workers, with times that a loaded machine keeps."""
    settings = {
        "worker_lease": 5.0,
        "reconnect_grace": 10.0,
        "publish_timeout": 5.0,
        "probe_timeout": 5.0,
        "connections_per_address": 5000,
        "handshake_rate": 5000,
    }
    # Not forked (tests/forks.py): with workers that are all ready at once, the order of attempts is sometimes undecided
    # on a busy machine, presumably as their estimates of Redis's clock are still wide.
    slow = {"environment": {"PYTHONDONTWRITEBYTECODE": "1"}}
    return [await start(redis_url=own_redis.url, **slow, **settings) for _ in range(3)]


@pytest.mark.timeout(900)
async def test_attempts_that_wait_for_a_stopped_redis(three: list[Relay], own_redis: RedisServer) -> None:
    outcomes = await in_groups(three, "redis", partial(parked, closed=0.7), lambda: stopped(own_redis, 1.5))
    assert outcomes == {"": ATTEMPTS}


@pytest.mark.timeout(900)
async def test_attempts_that_wait_for_a_stopped_worker(three: list[Relay]) -> None:
    outcomes = await in_groups(three, "worker", partial(parked, closed=1), lambda: stopped(three[0], 1.5))
    assert outcomes == {"": ATTEMPTS}


@pytest.mark.timeout(900)
async def test_attempts_that_are_lost(three: list[Relay]) -> None:
    assert await in_groups(three, "lost", lost) == {"": ATTEMPTS}


@pytest.mark.timeout(900)
async def test_attempts_that_are_doubled(three: list[Relay]) -> None:
    assert await in_groups(three, "doubled", doubled) == {"": ATTEMPTS}


async def test_a_copy_that_arrives_late_and_stays_open_costs_a_connection_and_no_membership(three: list[Relay]) -> None:
    visitor = Visitor(three, "copied", "v", turn=0)
    first = await visitor.settle()
    assert not isinstance(first, int)
    visitor.key, visitor.position = first[1]["resume"], first[1]["id"]
    first[0].reset()
    second = await visitor.settle()
    assert not isinstance(second, int)
    live, welcome = second
    # The same request once more, to another worker. It looks newer, and nobody closes it.
    copy = await visitor.begin()
    async with asyncio.timeout(_PATIENCE):
        while isinstance(code := await live.next(), dict):
            pass
        assert code == 4005
        visitor.key, visitor.position = welcome["resume"], welcome["id"]
        third = await visitor.settle()
        assert not isinstance(third, int)
        assert third[1]["resumed"]
        await copy.accepted()
        while isinstance(code := await copy.next(), dict):
            pass
    assert code == 4500
    for attempt in (live, third[0], copy):
        attempt.reset()
