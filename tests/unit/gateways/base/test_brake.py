"""A brake: it stops reading while the client is above its rate, and refuses nothing."""

import asyncio

import pytest

from relay.config import Settings
from relay.gateways.base.brake import Brake
from relay.rooms.worker import Worker


class Reading:
    """A connection that only records whether it is read."""

    def __init__(self) -> None:
        self.calls: list[bool] = []
        self.changed = asyncio.Event()

    def __call__(self, *, paused: bool) -> None:
        self.calls.append(paused)
        self.changed.set()


@pytest.mark.parametrize("late", [0, 20])
async def test_reading_stops_above_the_rate_and_goes_on_when_all_packets_are_paid_for(late: int) -> None:
    async with Worker(Settings(message_rate=200)) as worker:
        ticket, reading = worker.admissions.admit("here", "socketio"), Reading()
        brake = Brake(ticket, reading)
        for _ in range(100):
            brake.count(10)
        assert reading.calls == []
        for _ in range(330):
            brake.count(10)
        assert reading.calls == [True]
        for _ in range(late):
            brake.count(10)
        async with asyncio.timeout(5):
            while reading.calls == [True]:
                reading.changed.clear()
                await reading.changed.wait()
        assert reading.calls == [True, False]
        assert ticket.pace().wait == 0
        assert worker.metrics.of("socketio").delays == 1


async def test_packets_that_only_count_with_their_bytes_are_many() -> None:
    async with Worker(Settings(message_rate=1)) as worker:
        reading = Reading()
        brake = Brake(worker.admissions.admit("here", "socketio"), reading)
        for _ in range(1000):
            brake.count(0, least=0)
        assert reading.calls == []
        brake.count(100_000_000, least=0)
        assert reading.calls == [True]
        brake.stop()
        brake.stop()
