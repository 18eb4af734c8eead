"""The probe of a line: on which channel it is, and that the line says why it is deaf."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from relay.backend.redis.client import RedisClient
from relay.backend.redis.connection import Dialer
from relay.backend.redis.line import Line
from relay.backend.redis.subscriber import Arrival, Subscriber
from tests.unit.backend.redis.conftest import ScriptedRedis, stand_still


class Desk:
    """A Redis that hands each published probe to all subscribers, unless it is told not to."""

    def __init__(self, server: ScriptedRedis, client: RedisClient, dialer: Dialer) -> None:
        self.server = server
        self.echoes = True
        self.refusal = b""
        server.answer = self.answer
        subscriber = Subscriber(dialer, timeout=5, on_reconnect=lambda: None)
        self.line = Line(client, subscriber, probe="first", timeout=0.3)
        self.line.deliver(self.arrived)

    def answer(self, command: list[bytes]) -> bytes | None:
        if command[0] == b"SUBSCRIBE":
            each = b"*3\r\n$9\r\nsubscribe\r\n$%d\r\n%b\r\n:1\r\n"
            return b"".join(each % (len(channel), channel) for channel in command[1:])
        if command[0] == b"UNSUBSCRIBE":
            return b"*3\r\n$11\r\nunsubscribe\r\n$%d\r\n%b\r\n:0\r\n" % (len(command[1]), command[1])
        if command[0] == b"PUBLISH":
            if self.refusal:
                return self.refusal
            for writer in self.server.subscribers() if self.echoes else ():
                writer.write(b"*3\r\n$7\r\nmessage\r\n$%d\r\n%b\r\n$0\r\n\r\n" % (len(command[1]), command[1]))
            return b":1\r\n"
        return b"+OK\r\n"

    def arrived(self, line: Line, arrivals: Sequence[Arrival]) -> None:
        for channel, _ in arrivals:
            if channel == line.probe:
                line.heard()


@pytest.fixture
async def desk(server: ScriptedRedis) -> AsyncIterator[Desk]:
    dialer = Dialer(server.url, timeout=5, name="test")
    async with RedisClient(dialer, timeout=5, waiting=10, on_reconnect=lambda: None) as client:
        desk = Desk(server, client, dialer)
        async with desk.line:
            yield desk


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_line_is_ready_while_its_probe_comes_back(desk: Desk) -> None:
    assert desk.line.health().problem.startswith("own probe not heard yet")
    await until(lambda: desk.line.health().ready)
    desk.echoes = False
    await until(lambda: not desk.line.health().ready)
    assert "connected, but nothing arrives" in desk.line.health().problem


async def test_a_worker_that_stood_still_has_not_missed_its_probe(desk: Desk) -> None:
    await until(lambda: desk.line.health().ready)
    stand_still()
    # Asked ahead of everything that has arrived meanwhile, as by the handshake of a client.
    assert desk.line.health().ready
    # The wait for the answer to a probe, and for the probe itself, goes on as if nothing had been.
    await asyncio.sleep(0.4)
    assert desk.line.health().ready
    assert len(desk.server.clients) == 2


async def test_the_reason_of_a_refused_probe_is_told(desk: Desk) -> None:
    desk.refusal = b"-NOPERM no permission for the channel\r\n"
    await until(lambda: "NOPERM" in desk.line.health().problem)


async def test_the_probe_goes_to_another_channel(desk: Desk) -> None:
    await until(lambda: desk.line.health().ready)
    desk.line.probe_on("second")
    desk.line.probe_on("second")
    await until(lambda: [b"PUBLISH", b"second", b""] in desk.server.commands)
    await until(lambda: desk.line.health().ready)
    assert desk.server.commands.count([b"SUBSCRIBE", b"second"]) == 1
    assert [b"UNSUBSCRIBE", b"first"] in desk.server.commands


async def test_a_line_counts_for_how_long_its_redis_is_away_until_both_of_its_connections_are_back(desk: Desk) -> None:
    await until(lambda: desk.line.health().ready and desk.line.away == 0)
    heard = desk.line.health().heard
    assert heard is not None
    desk.server.hang_up()
    await desk.server.stop()
    await until(lambda: desk.line.away > heard)
    assert desk.line.away == desk.line.health().heard
    # Redis is back before the next probe is.
    desk.echoes = False
    await desk.server.start()
    await until(lambda: desk.line.away == 0)
