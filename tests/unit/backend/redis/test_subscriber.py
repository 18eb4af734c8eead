import asyncio

import pytest

from relay.backend.redis.connection import Dialer
from relay.backend.redis.subscriber import Subscriber
from relay.model.errors import Unavailable
from tests.unit.backend.redis.conftest import ScriptedRedis, server, stand_still

__all__ = ["server"]


def confirm(command: list[bytes]) -> bytes:
    """Confirm like Redis does: one reply per channel."""
    kind = command[0].lower()
    return b"".join(b"*3\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n:1\r\n" % (len(kind), kind, len(c), c) for c in command[1:])


def message(channel: bytes, payload: bytes) -> bytes:
    return b"*3\r\n$7\r\nmessage\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" % (len(channel), channel, len(payload), payload)


class Ear:
    def __init__(self, server: ScriptedRedis, timeout: float = 5) -> None:
        self.batches: list[list] = []
        self.reconnects: list[int] = []
        self.subscriber = Subscriber(
            Dialer(server.url, timeout=timeout, name="test"),
            timeout=timeout,
            on_arrivals=lambda batch: self.batches.append(list(batch)),
            on_reconnect=lambda: self.reconnects.append(1),
        )

    async def until(self, count: int) -> None:
        async with asyncio.timeout(5):
            while sum(len(batch) for batch in self.batches) < count:
                await asyncio.sleep(0.005)


async def test_a_subscription_counts_only_when_it_is_confirmed(server: ScriptedRedis) -> None:
    server.answer = lambda command: None
    ear = Ear(server, timeout=0.2)
    async with ear.subscriber:
        with pytest.raises(Unavailable):
            await ear.subscriber.subscribe(["a"])
        server.answer = confirm
        await ear.subscriber.subscribe(["b"])


async def test_callers_that_wait_no_more_are_forgotten_while_nothing_is_confirmed(server: ScriptedRedis) -> None:
    server.answer = lambda command: None
    ear = Ear(server, timeout=0.1)
    async with ear.subscriber:
        callers = [asyncio.create_task(ear.subscriber.subscribe(["a", "b"])) for _ in range(3)]
        await asyncio.sleep(0)
        callers[0].cancel()
        await asyncio.wait(callers)
        assert (ear.subscriber._confirming, len(ear.subscriber._deadlines)) == ({}, 0)


async def test_a_caller_that_waits_when_the_subscriber_closes_gets_an_error(server: ScriptedRedis) -> None:
    server.answer = lambda command: None
    ear = Ear(server, timeout=60)
    async with ear.subscriber:
        caller = asyncio.create_task(ear.subscriber.subscribe(["a"]))
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        with pytest.raises(Unavailable):
            await caller


async def test_each_caller_waits_for_itself(server: ScriptedRedis) -> None:
    server.answer = lambda command: None
    ear = Ear(server, timeout=0.5)
    async with ear.subscriber:
        callers = [asyncio.create_task(ear.subscriber.subscribe(["a", "b"])) for _ in range(3)]
        await asyncio.sleep(0)
        callers[0].cancel()
        await asyncio.wait(callers)
        assert callers[0].cancelled()
        for caller in callers[1:]:
            assert isinstance(caller.exception(), Unavailable)
        server.answer = confirm
        callers = [asyncio.create_task(ear.subscriber.subscribe(["a", "b"])) for _ in range(3)]
        await asyncio.sleep(0)
        callers[0].cancel()
        await asyncio.gather(*callers[1:])


async def test_a_confirmation_that_a_worker_reads_late_counts(server: ScriptedRedis) -> None:
    server.answer = confirm
    ear = Ear(server, timeout=0.3)
    async with ear.subscriber:
        await ear.subscriber.subscribe(["a"])
        waiting = asyncio.ensure_future(ear.subscriber.subscribe(["b"]))
        await asyncio.sleep(0)
        stand_still()
        await waiting


async def test_messages_that_arrive_together_are_delivered_together(server: ScriptedRedis) -> None:
    server.answer = confirm
    ear = Ear(server)
    async with ear.subscriber:
        await ear.subscriber.subscribe(["a", "b"])
        server.clients[0].write(message(b"a", b"1") + message(b"b", b"2") + message(b"a", b"3"))
        await ear.until(3)
    assert ear.batches == [[(b"a", b"1"), (b"b", b"2"), (b"a", b"3")]]


async def test_a_lost_connection_is_opened_again_and_shows_as_a_gap(server: ScriptedRedis) -> None:
    server.answer = confirm
    ear = Ear(server)
    async with ear.subscriber:
        await ear.subscriber.subscribe(["a", "b"])
        server.answer = lambda command: confirm(command) + message(b"a", b"after")
        server.hang_up()
        await ear.until(3)
    arrivals = [arrival for batch in ear.batches for arrival in batch]
    assert arrivals == [(b"a", None), (b"b", None), (b"a", b"after")]
    assert ear.reconnects == [1]


async def test_unsubscribed_channels_are_not_subscribed_again(server: ScriptedRedis) -> None:
    server.answer = confirm
    ear = Ear(server)
    async with ear.subscriber:
        await ear.subscriber.subscribe(["a", "b"])
        ear.subscriber.unsubscribe(["a"])
        server.hang_up()
        await ear.until(1)
    assert server.commands[-1] == [b"SUBSCRIBE", b"b"]


async def test_a_confirmation_that_comes_after_the_end_of_the_subscription_does_not_count(
    server: ScriptedRedis,
) -> None:
    """As of all rooms that are left while a worker connects again."""
    server.answer = lambda command: None
    ear = Ear(server)
    async with ear.subscriber:
        ear.subscriber.add("a")
        async with asyncio.timeout(5):
            while [b"SUBSCRIBE", b"a"] not in server.commands:
                await asyncio.sleep(0.005)
        ear.subscriber.unsubscribe(["a"])
        server.subscribers()[0].write(confirm([b"SUBSCRIBE", b"a"]))
        server.answer = confirm
        await ear.subscriber.subscribe(["b"])
        assert ear.subscriber._confirmed == {b"b"}
        await ear.subscriber.subscribe(["a"])
        server.subscribers()[0].write(message(b"a", b"1"))
        await ear.until(1)
    # No gap is shown.
    assert ear.batches == [[(b"a", b"1")]]


async def test_many_channels_are_subscribed_in_batches(server: ScriptedRedis) -> None:
    server.answer = confirm
    ear = Ear(server)
    async with ear.subscriber:
        await ear.subscriber.subscribe([f"c{number}" for number in range(1200)])
    sizes = [len(command) - 1 for command in server.commands if command[0] == b"SUBSCRIBE"]
    assert sizes == [512, 512, 176]


@pytest.mark.parametrize("reply", [b"-ERR no\r\n", b"+OK\r\n", b"*1\r\n$1\r\nx\r\n", b"garbage\r\n"])
async def test_an_unexpected_reply_ends_the_connection_and_not_the_subscriber(
    server: ScriptedRedis, reply: bytes
) -> None:
    server.answer = confirm
    ear = Ear(server)
    async with ear.subscriber:
        await ear.subscriber.subscribe(["a"])
        server.clients[0].write(reply)
        await ear.until(1)
        assert ear.batches == [[(b"a", None)]]
        assert not ear.subscriber.loop.problem


async def test_a_refused_subscription_fails_at_once_and_is_asked_for_ever_less_often(
    server: ScriptedRedis, caplog
) -> None:
    server.answer = lambda command: b"-NOPERM No permissions to access a channel\r\n"
    ear = Ear(server)
    async with ear.subscriber:
        ear.subscriber.add("probe")
        with pytest.raises(Unavailable) as raised:
            await ear.subscriber.subscribe(["a", "b"])
        assert raised.value.text == Unavailable().text
        await asyncio.sleep(2)
        assert ear.subscriber.report.startswith(
            "the Redis user lacks a permission (NOPERM No permissions to access a channel); "
        )
        assert len(server.subscribers()) <= 10
        assert len(caplog.records) == 1
        assert "NOPERM No permissions" in caplog.text
        server.answer = confirm
        async with asyncio.timeout(5):
            while ear.subscriber.report:
                await asyncio.sleep(0.01)
    assert ear.reconnects == []
