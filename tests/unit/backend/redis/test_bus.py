import asyncio
import contextlib
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.awake import AwakeTime
from relay.backend.redis.bus import RedisBus, decode
from relay.backend.redis.client import RedisClient
from relay.backend.redis.connection import Dialer
from relay.backend.redis.line import Line
from relay.backend.redis.scripts import ALL
from relay.backend.redis.subscriber import Subscriber
from relay.backend.settings import RedisSettings, RoomSettings
from relay.metrics import Metrics
from relay.model.commands import Publish
from relay.model.envelope import MembershipVersion, MessageId
from relay.model.errors import OutcomeUnknown, Unavailable
from relay.model.events import Gap, MemberJoined, MemberLeft, Message, TakenOver
from relay.model.publication import Publication
from tests.unit.backend.redis.conftest import ScriptedRedis, server
from tests.unit.backend.redis.test_subscriber import confirm, message

__all__ = ["server"]

ID = MessageId(7, 8)


@pytest.mark.parametrize(
    ("payload", "event"),
    [
        (b'm 7-8 p \n""\n{"a":1', Message("r", ID, "p", (), "", b'{"a":1')),
        (b'm 7-8 p \n"" \n{"a":1', Message("r", ID, "p", (), "", b'{"a":1')),
        (b'm 7-8 p \n"c" \n{"a":1', Message("r", ID, "p", (), "c", b'{"a":1')),
        (b'm 7-8 p q,r\n"c\\n"\n{"a":\n1', Message("r", ID, "p", ("q", "r"), "c\n", b'{"a":\n1')),
        (b"j 7-8 p", MemberJoined("r", ID, "p")),
        (b"l 7-8 p", MemberLeft("r", ID, "p")),
        (b"t 7-8 p 9", TakenOver("r", ID, "p", 9)),
    ],
)
def test_payloads_decode_to_events(payload: bytes, event: object) -> None:
    assert decode("r", payload) == event


def test_a_message_that_an_older_worker_let_through_is_not_understood() -> None:
    nested = b'm 7-8 p \n""\n{"a":' + b"[" * 255 + b"]" * 255
    assert isinstance(decode("r", nested), Message)
    with pytest.raises(ValueError, match="nested"):
        decode("r", nested.replace(b"[]", b"[[]]"))


def test_the_nesting_of_a_message_is_counted_by_the_worker_of_its_sender_alone() -> None:
    deep = b'{"a":' + b"[" * 256 + b"]" * 256
    event = decode("r", b'm 7-8 p \n"" \n' + deep)
    assert isinstance(event, Message)
    assert event.body == deep
    with pytest.raises(ValueError, match="nested"):
        decode("r", b'm 7-8 p \n""\n' + deep)


@given(st.binary(max_size=60) | st.binary(max_size=40).map(lambda tail: b"m 1-1 " + tail))
def test_any_other_payload_is_a_value_error_at_worst(payload: bytes) -> None:
    with contextlib.suppress(ValueError):
        decode("r", payload)


class Told(AwakeTime):
    """Its reading is that of another clock."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self.read = clock  # type: ignore[method-assign]


@contextlib.asynccontextmanager
async def bus_over(
    server: ScriptedRedis,
    sink=lambda batch: None,
    timeout: float = 0.2,
    clock=time.monotonic,
    probe_timeout: float = 30,
):
    dialer = Dialer(server.url, timeout=timeout, name="test")
    client = RedisClient(dialer, timeout=timeout, waiting=10, on_reconnect=lambda: None)
    settings = RedisSettings(server.url, timeout=timeout, probe_timeout=probe_timeout)
    subscriber = Subscriber(dialer, timeout=timeout, on_reconnect=lambda: None)
    line = Line(client, subscriber, probe="relay:worker:w:probe", timeout=probe_timeout, awake=Told(clock))
    bus = RedisBus(sink, client, line, settings, RoomSettings(), metrics=Metrics(), clock=clock)
    async with client, bus:
        yield bus


async def test_a_room_whose_subscription_was_not_confirmed_is_not_subscribed_again(server: ScriptedRedis) -> None:
    def answer(command: list[bytes]) -> bytes | None:
        if command[0] == b"SUBSCRIBE":
            return None if b"relay:{deaf}" in command else confirm(command)
        return b"+OK\r\n"

    server.answer = answer
    async with bus_over(server) as bus:
        await bus.subscribe(["heard"])
        with pytest.raises(Unavailable):
            await bus.subscribe(["deaf"])
        before = len(server.commands)
        server.hang_up()
        async with asyncio.timeout(5):
            while not any(command[0] == b"SUBSCRIBE" for command in server.commands[before:]):
                await asyncio.sleep(0.005)
        again = {
            channel for command in server.commands[before:] if command[0] == b"SUBSCRIBE" for channel in command[1:]
        }
        assert b"relay:{heard}" in again
        assert b"relay:{deaf}" not in again


def publication(**more) -> Publication:
    return Publication(Publish(b"{}"), "room", "peer", **more)


async def test_a_publication_that_meets_a_redis_without_scripts_is_sent_again(server: ScriptedRedis) -> None:
    replies = [b"-NOSCRIPT No matching script\r\n", b"*3\r\n$4\r\nsent\r\n$3\r\n1-1\r\n$1\r\n7\r\n"]
    server.answer = lambda command: (
        confirm(command) if command[0] == b"SUBSCRIBE" else replies.pop(0) if command[0] == b"EVALSHA" else b"+OK\r\n"
    )
    async with bus_over(server, timeout=5) as bus:
        outcome: asyncio.Future = asyncio.get_running_loop().create_future()
        bus.publish(publication(), outcome.set_result)
        receipt = await outcome
    assert (receipt.id, receipt.version) == (MessageId(1, 1), MembershipVersion(7, 1))
    assert [command[0] for command in server.commands].count(b"SCRIPT") == 2 * len(ALL)


@pytest.mark.parametrize("reply", [b"*1\r\n$4\r\nwhat\r\n", b":1\r\n", b"-ERR x script: 5f, on @user_script:1.\r\n"])
async def test_a_reply_that_is_no_result_of_the_script_has_an_unknown_outcome(
    server: ScriptedRedis, reply: bytes, caplog
) -> None:
    server.answer = lambda command: (
        confirm(command) if command[0] == b"SUBSCRIBE" else reply if command[0] == b"EVALSHA" else b"+OK\r\n"
    )
    async with bus_over(server, timeout=5) as bus:
        outcome: asyncio.Future = asyncio.get_running_loop().create_future()
        bus.publish(publication(), outcome.set_result)
        error = await outcome
    assert isinstance(error, OutcomeUnknown)
    assert error.text == "the relay's request failed inside Redis; it may have been carried out in part"
    assert "Redis answered with an error" in caplog.text


async def test_gaps_come_ahead_of_later_events_and_unreadable_payloads_are_logged(
    server: ScriptedRedis, caplog
) -> None:
    server.answer = lambda command: confirm(command) if command[0] == b"SUBSCRIBE" else b"+OK\r\n"
    batches, changed = [], asyncio.Event()

    def sink(batch) -> None:
        batches.append(list(batch))
        changed.set()

    async with bus_over(server, sink, timeout=5) as bus:
        await bus.subscribe(["a", "b"])
        (subscription,) = [client for client in server.clients if client in server.subscribers()]
        subscription.write(
            confirm([b"subscribe", b"relay:{a}", b"relay:{b}"])
            + message(b"relay:{b}", b"j 7-8 p")
            + message(b"relay:{b}", b"unreadable")
            + confirm([b"subscribe", b"relay:{a}"])
        )
        async with asyncio.timeout(5):
            await changed.wait()
    assert batches == [[Gap(["a", "b"]), MemberJoined("b", ID, "p"), Gap(["a"])]]
    assert "room b: an event was not understood" in caplog.text


async def test_a_bus_is_ready_only_while_its_own_probe_comes_back_and_its_tasks_run(server: ScriptedRedis) -> None:
    now = [100.0]
    silent = [True]
    probes: list[bytes] = []

    def answer(command: list[bytes]) -> bytes:
        if command[0] == b"SUBSCRIBE":
            return confirm(command)
        if command[0] == b"PUBLISH":
            probes.append(command[1])
        if command[0] == b"PUBLISH" and not silent[0]:
            server.subscribers()[-1].write(message(command[1], command[2]))
        return b":1\r\n"

    server.answer = answer
    async with bus_over(server, timeout=5, clock=lambda: now[0], probe_timeout=0.3) as bus:
        await eventually(lambda: server.subscribers() and bus.health().reachable)
        assert bus.health().problem == "own probe not heard yet: connected, but nothing arrives; connecting again"
        silent[0] = False
        await eventually(lambda: bus.health().ready)
        silent[0] = True
        count = len(server.subscribers())
        now[0] += 1
        health = bus.health()
        assert (health.ready, health.heard, health.problem.partition(":")[0]) == (
            False,
            1.0,
            "own probe not heard for 1.0 s",
        )
        # Deaf though Redis answers: the subscription is given up, and opened again.
        asked = len(probes)
        await eventually(lambda: len(probes) > asked)

        def opened_again() -> bool:
            # The bus notes the answer to its probe at some time of its own: the clock goes on until it has.
            now[0] += 1
            return len(server.subscribers()) > count

        await eventually(opened_again)
        silent[0] = False
        await eventually(lambda: bus.health().ready)
        task = next(task for task in asyncio.all_tasks() if task.get_name() == "bus probe")
        task.cancel()
        await asyncio.wait([task])
        assert (bus.health().ready, bus.health().problem) == (False, "bus probe has ended")


async def test_a_worker_that_stood_still_keeps_its_subscription(server: ScriptedRedis) -> None:
    now, probes = [100.0], []

    def answer(command: list[bytes]) -> bytes:
        if command[0] == b"PUBLISH":
            probes.append(command[1])
            # Redis answers the command first: until its message arrives, the bus has not heard this probe.
            asyncio.get_running_loop().call_soon(server.subscribers()[-1].write, message(command[1], command[2]))
        return confirm(command) if command[0] == b"SUBSCRIBE" else b":1\r\n"

    server.answer = answer
    async with bus_over(server, timeout=5, clock=lambda: now[0], probe_timeout=0.3) as bus:
        await eventually(lambda: bus.health().ready)
        for _ in range(3):
            asked = len(probes)
            now[0] += 60
            await eventually(lambda count=asked: len(probes) > count + 1)
        assert bus.health().ready
        assert len(server.subscribers()) == 1


async def test_a_probe_that_redis_refuses_is_reported_and_the_subscription_is_left_alone(server: ScriptedRedis) -> None:
    def answer(command: list[bytes]) -> bytes:
        if command[0] == b"SUBSCRIBE":
            return confirm(command)
        return b"-NOPERM No permissions to access a channel\r\n" if command[0] == b"PUBLISH" else b":1\r\n"

    server.answer = answer
    async with bus_over(server, timeout=5, clock=time.monotonic, probe_timeout=0.3) as bus:
        await asyncio.sleep(1)
        assert len(server.subscribers()) == 1
        assert bus.health().problem.startswith(
            "own probe not heard yet: the Redis user lacks a permission (NOPERM No permissions to access a channel); "
        )


async def test_a_probe_that_cannot_be_published_is_tried_again(server: ScriptedRedis) -> None:
    probes = []

    def answer(command: list[bytes]) -> bytes | None:
        if command[0] == b"PUBLISH":
            probes.append(1)
            return b"-OOM no\r\n" if len(probes) == 1 else b":1\r\n"
        return confirm(command) if command[0] == b"SUBSCRIBE" else b"+OK\r\n"

    server.answer = answer
    async with bus_over(server, timeout=5, probe_timeout=0.06):
        await eventually(lambda: len(probes) > 2)


async def eventually(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)
