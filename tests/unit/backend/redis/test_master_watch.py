"""A worker leaves a master that the sentinels have replaced, though it goes on to answer."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from relay.backend.redis import master_watch
from relay.backend.redis.client import RedisClient
from relay.backend.redis.connection import Dialer
from relay.backend.redis.master_watch import MasterWatch
from relay.model.errors import OutcomeUnknown
from relay.tasks import KeptLoop
from tests.fleet import eventually
from tests.unit.backend.redis.conftest import ScriptedRedis
from tests.unit.backend.redis.test_sentinel import Sentinels, names, sentinels

__all__ = ["sentinels"]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(master_watch, "_INTERVAL", 0.02)


@pytest.fixture
async def old() -> AsyncIterator[ScriptedRedis]:
    old = ScriptedRedis()
    await old.start()
    yield old
    await old.stop()


def asked(sentinels: Sentinels) -> int:
    return sum(command[0] == b"SENTINEL" for one in sentinels.servers for command in one.commands)


async def test_a_master_of_the_past_is_left_although_it_answers(
    sentinels: Sentinels, server: ScriptedRedis, old: ScriptedRedis
) -> None:
    sentinels.say(names(old.port, 1), names(old.port, 1), None)
    dialer = Dialer(sentinels.url, timeout=5, name="test")
    async with RedisClient(dialer, timeout=5, waiting=10, on_reconnect=lambda: None) as client:
        await client.call("PING")
        watch = KeptLoop(MasterWatch(dialer, client.follow).run, "watch")
        try:
            before = asked(sentinels)
            await eventually(lambda: asked(sentinels) > before + 6)
            assert len(old.clients) == 1
            connections = sum(len(one.clients) for one in sentinels.servers[:2])
            old.answer = lambda command: None
            waits = client.call("GET", "key")
            await eventually(lambda: [b"GET", b"key"] in old.commands)
            sentinels.say(names(server.port, 2), names(server.port, 2), None)
            with pytest.raises(OutcomeUnknown, match="another Redis has become the master"):
                await waits
            assert await client.call("PING") == b"OK"
            assert len(server.clients) == 1
            # It asks over the connections that it has: those of the two dials are the only other ones.
            assert sum(len(one.clients) for one in sentinels.servers[:2]) <= connections + 2
        finally:
            await watch.stop()
            await dialer.close()


async def test_one_sentinel_of_three_does_not_move_a_worker(
    sentinels: Sentinels, server: ScriptedRedis, old: ScriptedRedis
) -> None:
    sentinels.say(names(old.port, 1), None, None)
    dialer = Dialer(sentinels.url, timeout=0.4, name="test")
    moved: list[object] = []
    sentinels.say(names(server.port, 2), None, None)
    watch = KeptLoop(MasterWatch(dialer, moved.append).run, "watch")
    try:
        await eventually(lambda: asked(sentinels) > 6)
        assert moved == []
    finally:
        await watch.stop()
        await dialer.close()


async def test_a_sentinel_that_was_restarted_is_asked_over_another_connection(
    sentinels: Sentinels, server: ScriptedRedis
) -> None:
    sentinels.say(names(server.port, 1), names(server.port, 1), names(server.port, 1))
    dialer = Dialer(sentinels.url, timeout=5, name="test")
    try:
        assert await dialer.agreed_master() == ("127.0.0.1", server.port)
        for one in sentinels.servers:
            one.hang_up()
        await asyncio.sleep(0)
        assert await dialer.agreed_master() == ("127.0.0.1", server.port)
    finally:
        await dialer.close()


async def test_without_sentinels_there_is_nobody_to_ask(server: ScriptedRedis) -> None:
    dialer = Dialer(server.url, timeout=5, name="test")
    assert not dialer.has_sentinels
    assert dialer.master == ""
    assert await dialer.agreed_master() is None
    await dialer.close()
