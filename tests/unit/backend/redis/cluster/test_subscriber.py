"""Subscriptions at one node of a cluster: they go when their slot goes."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from relay.backend.redis.cluster.slots import slot_of_key
from relay.backend.redis.cluster.subscriber import ShardSubscriber, Subscription
from relay.backend.redis.connection import Dialer
from relay.model.errors import Unavailable
from tests.unit.backend.redis.conftest import ScriptedRedis, array


def confirm(command: list[bytes]) -> bytes | None:
    if command[0] == b"SSUBSCRIBE":
        return b"*3\r\n$10\r\nssubscribe\r\n$%d\r\n%b\r\n:1\r\n" % (len(command[1]), command[1])
    if command[0] == b"SUNSUBSCRIBE":
        return b"*3\r\n$12\r\nsunsubscribe\r\n$%d\r\n%b\r\n:0\r\n" % (len(command[1]), command[1])
    return b"+OK\r\n"


class Desk:
    def __init__(self, server: ScriptedRedis) -> None:
        self.arrivals: list[tuple[bytes, bytes | None]] = []
        self.moved: list[int] = []
        server.answer = confirm
        self.server = server
        self.subscriber = ShardSubscriber(
            Dialer(server.url, timeout=5, name="test"),
            timeout=5,
            on_arrivals=self.arrivals.extend,
            on_reconnect=lambda: None,
            on_moved=self.moved.append,
        )

    def push(self, payload: bytes) -> None:
        for writer in self.server.clients:
            writer.write(payload)

    async def until(self, condition) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.005)


@pytest.fixture
async def desk(server: ScriptedRedis) -> AsyncIterator[Desk]:
    desk = Desk(server)
    async with desk.subscriber:
        yield desk


async def test_each_channel_has_a_command_and_messages_arrive(desk: Desk) -> None:
    await desk.subscriber.subscribe(["r:{a}", "r:{b}"])
    subscribed = [command for command in desk.server.commands if command[0] == b"SSUBSCRIBE"]
    assert sorted(subscribed) == [[b"SSUBSCRIBE", b"r:{a}"], [b"SSUBSCRIBE", b"r:{b}"]]
    desk.push(array(b"smessage", b"r:{a}", b"x"))
    await desk.until(lambda: desk.arrivals)
    assert desk.arrivals == [(b"r:{a}", b"x")]


async def test_a_slot_that_the_node_has_lost_is_told(desk: Desk) -> None:
    await desk.subscriber.subscribe(["r:{a}"])
    desk.push(b"*3\r\n$12\r\nsunsubscribe\r\n$5\r\nr:{a}\r\n:0\r\n")
    await desk.until(lambda: desk.moved)
    assert desk.moved == [slot_of_key("r:{a}")]
    # One that is not subscribed any more has ended by itself.
    desk.subscriber.unsubscribe(["r:{a}"])
    desk.push(b"*3\r\n$12\r\nsunsubscribe\r\n$5\r\nr:{a}\r\n:0\r\n")
    desk.push(b"-MOVED 77 h:1\r\n")
    await desk.until(lambda: len(desk.moved) == 2)
    assert desk.moved[1:] == [77]


async def test_a_subscription_that_goes_on_at_another_node_shows_a_gap_there(desk: Desk, server: ScriptedRedis) -> None:
    await desk.subscriber.subscribe(["r:{a}"])
    given = desk.subscriber.give_up(["r:{a}"])
    assert given == {"r:{a}": Subscription(was_confirmed=True)}
    await desk.until(lambda: server.commands[-1][0] == b"SUNSUBSCRIBE")
    assert desk.moved == []
    desk.subscriber.go_on(given)
    await desk.until(lambda: desk.arrivals)
    assert desk.arrivals == [(b"r:{a}", None)]


async def test_a_subscriber_that_waits_gets_its_confirmation_from_the_other_node(desk: Desk) -> None:
    await desk.subscriber.subscribe(["r:{x}"])
    waiting = asyncio.get_running_loop().create_future()
    desk.subscriber.go_on({"r:{a}": Subscription(waiting=waiting)})
    async with asyncio.timeout(5):
        await waiting
    # It was not confirmed before, so nothing can have been missed.
    assert desk.arrivals == []


async def test_a_confirmation_that_another_node_is_to_give_outlives_this_node(
    desk: Desk, server: ScriptedRedis
) -> None:
    server.answer = lambda command: None
    other = Desk(server)
    server.answer = lambda command: None
    async with other.subscriber:
        waiting = asyncio.get_running_loop().create_future()
        other.subscriber.go_on({"r:{a}": Subscription(waiting=waiting)})
        given = other.subscriber.give_up(["r:{a}"])
        assert given == {"r:{a}": Subscription(waiting=waiting)}
    assert not waiting.done()
    desk.subscriber.go_on(given)
    # That one ends the wait when it closes, or when the time is over.
    await desk.subscriber.__aexit__(None, None, None)
    assert isinstance(waiting.exception(), Unavailable)


async def test_a_confirmation_that_was_given_up_does_not_hide_the_next_one(desk: Desk, server: ScriptedRedis) -> None:
    server.answer = lambda command: None
    earlier, later = (asyncio.get_running_loop().create_future() for _ in range(2))
    desk.subscriber.go_on({"r:{a}": Subscription(waiting=earlier)})
    earlier.cancel()
    desk.subscriber.go_on({"r:{a}": Subscription(waiting=later)})
    assert desk.subscriber.give_up(["r:{a}"]) == {"r:{a}": Subscription(waiting=later)}


async def test_any_other_error_begins_the_connection_anew(desk: Desk) -> None:
    await desk.subscriber.subscribe(["r:{a}"])
    desk.push(b"-CLUSTERDOWN Hash slot not served\r\n")
    await desk.until(lambda: desk.arrivals)
    assert (desk.arrivals, desk.moved) == ([(b"r:{a}", None)], [])
