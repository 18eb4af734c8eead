import asyncio
import time
from dataclasses import replace
from types import TracebackType
from typing import Self

import pytest

from relay.backend.factory import Backend, backend_settings, build_backend
from relay.backend.memory.bus import MemoryBus
from relay.backend.presence import JoinAttempt
from relay.backend.redis.bus import RedisBus
from relay.backend.redis.client import RedisClient
from relay.backend.redis.leases import RedisLeases
from relay.backend.redis.presence import RedisPresence
from relay.backend.settings import BackendSettings, RedisSettings
from relay.config import Settings
from relay.fleet_key import FleetKey
from relay.metrics import Metrics
from relay.model.commands import Publish
from relay.model.events import MemberJoined, Message
from relay.model.publication import Publication
from tests.unit.backend.redis.conftest import ScriptedRedis, server
from tests.unit.backend.redis.test_subscriber import confirm

__all__ = ["server"]


def build(settings: BackendSettings, sink=lambda batch: None, metrics: Metrics | None = None) -> Backend:
    return build_backend(
        settings, worker="w", sink=sink, fleet_key=FleetKey(), metrics=metrics or Metrics(), clock=time.monotonic
    )


def test_the_settings_of_the_relay_reach_the_backend() -> None:
    settings = backend_settings(
        Settings(
            redis_url="redis://h",
            redis_password="secret",
            redis_prefix="p",
            publish_timeout=1,
            probe_timeout=3,
            members_per_room=4,
            presence_list_limit=5,
            history_size=7,
            history_ttl=8,
            send_buffer=2048,
            worker_lease=9,
            reconnect_grace=10,
        ),
        heartbeat_interval=0.25,
    )
    assert settings.redis == RedisSettings("redis://h", "secret", "p", timeout=1, probe_timeout=3)
    assert (settings.rooms.members, settings.rooms.roster) == (4, 5)
    history = settings.rooms.history
    assert (history.size, history.ttl, history.replay_bytes) == (7, 8, 1024)
    assert (settings.lease.duration, settings.lease.interval, settings.lease.grace) == (9, 0.25, 10)


def test_without_a_redis_url_the_backend_is_in_memory() -> None:
    assert backend_settings(Settings(), heartbeat_interval=1).redis is None
    assert isinstance(build(BackendSettings()).bus, MemoryBus)


async def test_the_parts_in_memory_share_one_state() -> None:
    events, delivered = [], asyncio.Event()

    def sink(batch) -> None:
        events.extend(batch)
        delivered.set()

    async with build(BackendSettings(), sink) as backend:
        await backend.bus.subscribe(["room"])
        joined = await backend.presence.join(JoinAttempt(room="room", peer="peer", offered="", fresh="f"))
        outcome = []
        publication = Publication(Publish(b"{}", to=("peer",)), "room", "peer", joined.generation)
        backend.bus.publish(publication, outcome.append)
        await delivered.wait()
        assert not (await backend.leases.beat()).dead
    assert [type(event) for event in events] == [MemberJoined, Message]
    assert outcome[0].id == events[1].id


async def test_the_parts_over_redis_share_one_client_and_count_failures(server: ScriptedRedis) -> None:
    def answer(command: list[bytes]) -> bytes:
        if command[0] == b"SUBSCRIBE":
            return confirm(command)
        return b"-ERR no\r\n" if command[0] == b"DEL" else b"+OK\r\n"

    server.answer = answer
    metrics = Metrics()
    backend = build(BackendSettings(redis=RedisSettings(server.url, timeout=5)), metrics=metrics)
    assert isinstance(backend.bus, RedisBus)
    assert isinstance(backend.presence, RedisPresence)
    assert isinstance(backend.leases, RedisLeases)
    client = backend.parts[0]
    assert isinstance(client, RedisClient)
    async with backend:
        await client.call("PING")
        assert client.reachable
        with pytest.raises(Exception, match="unavailable"):
            await client.call("DEL", "x")
        server.hang_up()
        async with asyncio.timeout(5):
            while metrics.registry.get_sample_value("relay_redis_reconnects_total") != 2:
                await asyncio.sleep(0.005)
    assert metrics.registry.get_sample_value("relay_redis_errors_total") == 1


class Part:
    def __init__(self, log: list[str], name: str, error: Exception | None = None) -> None:
        self.log, self.name, self.error = log, name, error

    async def __aenter__(self) -> Self:
        self.log.append(f"open {self.name}")
        if self.error:
            raise self.error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.log.append(f"close {self.name}")


def backend_of(*parts: Part) -> Backend:
    return replace(build(BackendSettings()), parts=parts)


async def test_parts_are_opened_in_order_and_closed_in_reverse() -> None:
    log: list[str] = []
    async with backend_of(Part(log, "a"), Part(log, "b")):
        assert log == ["open a", "open b"]
    assert log == ["open a", "open b", "close b", "close a"]


async def test_a_part_that_does_not_open_closes_those_before_it() -> None:
    log: list[str] = []
    with pytest.raises(OSError, match="no"):
        async with backend_of(Part(log, "a"), Part(log, "b", OSError("no")), Part(log, "c")):
            pass
    assert log == ["open a", "open b", "close a"]
