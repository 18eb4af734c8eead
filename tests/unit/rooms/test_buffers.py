"""Bytes that wait for clients: how they count, and which buffers are given up when there are too many."""

import asyncio
import logging

import pytest

from relay.metrics import Metrics
from relay.rooms.buffers import Buffer
from tests.unit.rooms.buffering import Client, make_buffers

REFERENCE = 64


class Owner:
    """Opens a buffer, and records whether it was given up."""

    def __init__(self, client: Client, size: int = 0) -> None:
        self.dropped = 0
        self.buffer: Buffer = client.buffer(self._drop)
        if size:
            self.buffer.keep(b"x" * size)

    def _drop(self) -> None:
        self.dropped += 1


async def turn() -> None:
    """Let the next turn of the event loop run."""
    await asyncio.sleep(0)


async def test_data_that_waits_for_several_clients_counts_once() -> None:
    client, data = Client(), b"x" * 1000
    buffers = [Owner(client).buffer for _ in range(50)]
    for buffer in buffers:
        buffer.keep(data)
    assert client.total == 1000 + 50 * REFERENCE
    for buffer in buffers[1:]:
        buffer.clear()
    assert client.total == 1000 + REFERENCE
    buffers[0].clear()
    assert client.total == 0


async def test_data_that_was_sent_counts_no_more() -> None:
    client = Client()
    buffer = Owner(client).buffer
    for size in (100, 200, 300):
        buffer.keep(b"x" * size)
    buffer.trim(500)
    assert (buffer.size, client.total) == (500, 500 + 2 * REFERENCE)
    buffer.trim(499)
    assert buffer.size == 500
    buffer.trim(300)
    assert buffer.size == 300
    buffer.trim(0)
    assert (buffer.size, client.total) == (0, 0)


async def test_bytes_that_have_arrived_count_until_the_buffer_is_cleared() -> None:
    client = Client()
    buffer = Owner(client).buffer
    buffer.grow(100)
    buffer.keep(b"x" * 10)
    buffer.grow(50)
    buffer.trim(0)
    assert (buffer.size, client.total) == (150, 150)
    buffer.clear()
    buffer.clear()
    assert (buffer.size, client.total) == (0, 0)
    buffer.keep(b"again")
    assert client.total == 5 + REFERENCE


async def test_the_largest_buffer_of_an_address_is_given_up_first() -> None:
    client = Client(address_limit=1000)
    small, large, medium = Owner(client, 200), Owner(client, 500), Owner(client, 300)
    assert client.total > 1000
    await turn()
    assert [one.dropped for one in (small, large, medium)] == [0, 1, 0]
    assert client.total == 500 + 2 * REFERENCE


async def test_as_many_are_given_up_as_it_takes_and_none_within_the_limit() -> None:
    client = Client(address_limit=1000)
    owners = [Owner(client, 400) for _ in range(5)]
    await turn()
    assert sum(one.dropped for one in owners) == 3
    await turn()
    assert sum(one.dropped for one in owners) == 3


async def test_no_other_address_is_concerned() -> None:
    client = Client(address_limit=1000)
    others = [Owner(Client(f"other-{number}", client.buffers), 900) for number in range(2)]
    owner = Owner(client, 1001)
    await turn()
    assert owner.dropped
    assert not any(other.dropped for other in others)


async def test_the_worker_gives_up_buffers_of_the_address_that_has_most() -> None:
    client = Client("many", address_limit=10_000, worker_limit=3000)
    many = [Owner(client, 500) for _ in range(4)]
    few = Owner(Client("few", client.buffers), 1000)
    await turn()
    assert sum(one.dropped for one in many) == 1
    assert not few.dropped
    assert client.total <= 3000


async def test_a_client_that_has_caught_up_meanwhile_is_not_given_up() -> None:
    client = Client(address_limit=1000)
    owner = Owner(client, 2000)
    owner.buffer.clear()
    await turn()
    assert not owner.dropped


async def test_dropped_buffers_are_counted_and_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    client = Client(buffers=make_buffers(address_limit=1000, worker_limit=1500, metrics=metrics))
    value = metrics.registry.get_sample_value
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            owner = Owner(client, 1100)
            assert value("relay_buffered_bytes") == 1100 + REFERENCE
            await turn()
            assert owner.dropped
    assert value("relay_dropped_buffers_total", {"scope": "address"}) == 2
    [line] = caplog.messages
    assert "clients of here" in line
    assert "address-buffer" in line
    Owner(client, 900)
    Owner(Client("other", client.buffers), 900)
    await turn()
    assert value("relay_dropped_buffers_total", {"scope": "worker"}) == 1
