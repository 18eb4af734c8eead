"""Reading histories: each address at a rate, over a bus that a test answers for."""

import asyncio
from typing import Any

from relay.metrics import Metrics
from relay.model.envelope import MessageId
from relay.model.events import MemberJoined, Replay
from relay.rooms.history_reads import HistoryReads

SINCE = MessageId(1, 1)


class Desk:
    """A rate of 10 events a second; each room has as many events as its name says."""

    def __init__(self) -> None:
        self.now = 0.0
        self.read: list[str] = []
        self.metrics = Metrics()
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []
        bus: Any = self
        self.reads = HistoryReads(bus, rate=10, clock=lambda: self.now, metrics=self.metrics, sleep=self._sleep)

    async def replay(self, room: str, since: MessageId) -> Replay:
        self.read.append(room)
        events = [MemberJoined(room, MessageId(1, 2 + number), "p") for number in range(int(room))]
        return Replay(since, events=events)

    async def at(self, now: float) -> list[str]:
        """The rooms that were read up to this time."""
        self.now = now
        for due, waiting in self._sleepers:
            if due <= now and not waiting.done():
                waiting.set_result(None)
        for _ in range(5):
            await asyncio.sleep(0)
        return self.read

    async def _sleep(self, seconds: float) -> None:
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.now + seconds, waiting))
        await waiting


async def test_an_address_waits_once_its_rate_is_used_up_and_others_do_not() -> None:
    desk = Desk()
    await desk.reads.read("69", SINCE, "192.0.2.1")
    later = asyncio.create_task(desk.reads.read("1", SINCE, "192.0.2.1"))
    assert await desk.at(2) == ["69"]
    await desk.reads.read("3", SINCE, "192.0.2.2")
    await desk.reads.read("4", SINCE, "")
    assert await desk.at(2.09) == ["69", "3", "4"]
    assert await desk.at(2.11) == ["69", "3", "4", "1"]
    assert len((await later).events) == 1
    assert desk.metrics.registry.get_sample_value("relay_replay_waits_total") == 1


async def test_members_that_wait_together_are_read_for_at_the_rate() -> None:
    desk = Desk()
    await desk.reads.read("60", SINCE, "192.0.2.1")
    tasks = [asyncio.create_task(desk.reads.read("9", SINCE, "192.0.2.1")) for _ in range(3)]
    await desk.at(0)
    counts = [len(await desk.at(tenths / 10)) - 1 for tenths in range(50)]
    assert counts[-1] == 3
    assert [counts.index(number) for number in (1, 2, 3)] == sorted({counts.index(number) for number in (1, 2, 3)})
    await asyncio.gather(*tasks)
