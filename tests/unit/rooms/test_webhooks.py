"""The loops of the webhook, over a queue in memory and a receiver that fails as it is told."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from relay.backend.memory.webhooks import MemoryWebhookQueue
from relay.backend.settings import WebhookQueueSettings
from relay.backend.webhooks import Outboxes, PartlyMoved, WebhookBatch
from relay.metrics import Metrics
from relay.model.envelope import MessageId
from relay.model.errors import Unavailable
from relay.model.events import MemberJoined, MemberLeft
from relay.rooms import webhooks
from relay.rooms.webhooks import Webhook, WebhookMover, WebhookSender
from relay.tasks import BackgroundTasks
from relay.webhooks.posted import Posted

ACCEPTED = Posted("accepted")
REFUSED = Posted("refused", "it answered with status 500")


class FakeReceiver:
    """Gives the outcomes that it has, then accepts all."""

    def __init__(self) -> None:
        self.outcomes: list[Posted] = []
        self.bodies: list[Any] = []
        self.closed = False
        self.released = asyncio.Event()
        self.released.set()

    async def post(self, body: bytes) -> Posted:
        self.bodies.append(json.loads(body)["events"])
        await self.released.wait()
        return self.outcomes.pop(0) if self.outcomes else ACCEPTED

    async def close(self) -> None:
        self.closed = True

    @property
    def ids(self) -> list[list[str]]:
        return [[event["id"] for event in body] for body in self.bodies]


class FakeQueue(MemoryWebhookQueue):
    """A queue that another worker may send from, or that fails."""

    def __init__(self, most: int = 100) -> None:
        super().__init__(WebhookQueueSettings(most), lambda: 5.0, Outboxes(), on_dropped=lambda _: None)
        self.failures: list[Exception] = []
        self.is_of_another = False
        self.moves: list[Sequence[str]] = []
        self.more: list[str] = []
        self.renewals = 0
        self.was_released = False

    async def move(self, rooms: Sequence[str]) -> Sequence[str]:
        if self.failures:
            raise self.failures.pop()
        self.moves.append(rooms)
        more, self.more = self.more, []
        return more

    async def take(self, most: int, *, done: WebhookBatch | None = None) -> WebhookBatch | None:
        if self.failures:
            raise self.failures.pop()
        return None if self.is_of_another else await super().take(most, done=done)

    async def renew(self) -> None:
        self.renewals += 1
        if self.failures:
            raise self.failures.pop()

    async def release(self) -> None:
        self.was_released = True

    def join(self, number: int) -> None:
        self.add_join(MemberJoined("r", MessageId(1, number), f"p{number}"), first=False)


class World:
    def __init__(self, *, batch: int = 10, most: int = 100, claim: float = 3) -> None:
        self.queue, self.receiver, self.metrics = FakeQueue(most), FakeReceiver(), Metrics()
        self.outboxes, self.moved = Outboxes(), list[str]()
        self.mover = WebhookMover(self.queue, self.outboxes, self.moved.append)
        self.sender = WebhookSender(
            self.queue,
            self.receiver,
            self.mover.added,
            batch=batch,
            claim=claim,
            wall_clock=lambda: 7.0,
            metrics=self.metrics,
        )

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0


async def test_events_are_sent_in_batches_and_removed_when_they_were_accepted() -> None:
    world = World(batch=2)
    for number in range(3):
        world.queue.join(number)
    assert [await world.sender.step() for _ in range(3)] == [0, 0, webhooks._POLL]
    assert world.receiver.ids == [["r/1-0/joined", "r/1-1/joined"], ["r/1-2/joined"]]
    assert world.value("relay_webhook_events_total") == 3
    assert world.value("relay_webhook_requests_total", outcome="accepted") == 2
    assert world.value("relay_webhook_queued_events") == 0


async def test_a_batch_that_fails_is_sent_again_before_all_others_and_after_growing_pauses() -> None:
    world = World(batch=1)
    world.queue.join(1)
    world.queue.join(2)
    world.receiver.outcomes = [REFUSED] * 9
    assert [await world.sender.step() for _ in range(9)] == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert world.value("relay_webhook_requests_total", outcome="refused") == 9
    assert world.value("relay_webhook_queued_events") == 2
    assert world.value("relay_webhook_oldest_event_age_seconds") == 2
    assert [await world.sender.step() for _ in range(3)] == [0, 0, webhooks._POLL]
    assert world.receiver.ids == [["r/1-1/joined"]] * 10 + [["r/1-2/joined"]]
    world.queue.join(3)
    world.receiver.outcomes = [REFUSED]
    assert await world.sender.step() == 0.5


async def test_an_event_that_is_in_the_queue_twice_is_sent_once() -> None:
    world = World(batch=3)
    for number in (1, 1, 2):
        world.queue.join(number)
    await world.sender.step()
    world.queue.join(2)
    assert [await world.sender.step() for _ in range(2)] == [0, webhooks._POLL]
    assert world.receiver.ids == [["r/1-1/joined", "r/1-2/joined"]]
    assert world.value("relay_webhook_events_total") == 2


async def test_dropped_events_are_told_once_they_were_accepted(caplog: pytest.LogCaptureFixture) -> None:
    world = World(most=2)
    for number in range(5):
        world.queue.join(number)
    world.receiver.outcomes = [REFUSED]
    for _ in range(3):
        await world.sender.step()
    world.queue.join(7)
    await world.sender.step()
    first, second, third = world.receiver.bodies
    assert (first[0]["count"], first[0]["id"]) == (3, second[0]["id"])
    assert [event["type"] for event in third] == ["joined"]
    assert "3 events were dropped" in caplog.text


async def test_a_worker_that_is_not_the_sender_sends_nothing() -> None:
    world = World()
    world.queue.join(1)
    world.queue.is_of_another = True
    assert await world.sender.step() == webhooks._FOLLOW
    assert not world.receiver.bodies


async def test_the_loop_outlives_redis_and_wakes_with_a_move(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "_AGAIN", 0.01)
    monkeypatch.setattr(webhooks, "_POLL", 100)
    monkeypatch.setattr(webhooks, "_FIRST_RETRY", 0.01)
    world, tasks = World(), BackgroundTasks()
    world.queue.failures = [Unavailable(), Unavailable()]
    world.receiver.outcomes = [REFUSED]
    webhook = Webhook(world.mover, world.sender, world.outboxes)
    webhook.start(tasks)
    async with asyncio.timeout(5):
        await asyncio.sleep(0.05)
        world.queue.join(1)
        world.outboxes.note(["r"])
        while len(world.receiver.bodies) < 2:
            await asyncio.sleep(0.01)
    await tasks.cancel()
    assert world.moved == ["r"]
    assert world.receiver.ids == [["r/1-1/joined"]] * 2


async def test_the_claim_is_renewed_while_a_request_takes_its_time() -> None:
    world = World(claim=0.03)
    world.queue.join(1)
    world.receiver.released.clear()
    step = asyncio.ensure_future(world.sender.step())
    async with asyncio.timeout(5):
        while world.queue.renewals < 3:
            await asyncio.sleep(0.01)
        world.queue.failures = [Unavailable()]
        while world.queue.failures:
            await asyncio.sleep(0.01)
    world.receiver.released.set()
    assert await step == 0


async def test_rooms_that_were_not_moved_stay_noted() -> None:
    world = World()
    world.outboxes.note(["a", "b"])
    world.queue.failures = [Unavailable()]
    assert not await world.mover.move()
    assert ("a" in world.outboxes, world.moved, world.mover.added.is_set()) == (True, [], False)
    world.queue.more = ["b"]
    assert await world.mover.move()
    assert (world.moved, "b" in world.outboxes, world.mover.added.is_set()) == (["a"], True, True)
    await world.mover.move()
    assert (world.moved, world.queue.moves) == (["a", "b"], [["a", "b"], ["b"]])


async def test_only_rooms_that_failed_stay_noted_when_the_others_were_moved() -> None:
    world = World()
    world.outboxes.note(["one", "two"])
    world.queue.failures.append(PartlyMoved(["two"]))
    assert not await world.mover.move()
    assert (world.moved, "two" in world.outboxes, world.mover.added.is_set()) == (["one"], True, True)


async def test_the_end_of_a_worker_moves_and_sends_all_and_lets_another_one_go_on() -> None:
    world = World(batch=1)
    for number in range(3):
        world.queue.join(number)
    world.outboxes.note([f"room{number}" for number in range(webhooks._ROOMS + 1)])
    await Webhook(world.mover, world.sender, world.outboxes).stop()
    assert len(world.queue.moves) == 2
    assert len(world.receiver.bodies) == 3
    assert (world.queue.was_released, world.receiver.closed) == (True, True)
    batch = await world.queue.take(5)
    assert batch is not None
    assert not batch.events


@pytest.mark.parametrize("failure", ["refuses", "is silent", "is for another worker"])
async def test_the_end_of_a_worker_does_not_wait_for_the_receiver(
    failure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "_LAST", 0.02)
    world = World()
    world.queue.join(1)
    if failure == "refuses":
        world.receiver.outcomes = [REFUSED]
    elif failure == "is silent":
        world.receiver.released.clear()
    else:
        world.queue.is_of_another = True
    async with asyncio.timeout(5):
        await Webhook(world.mover, world.sender, world.outboxes).stop()
    assert (world.queue.was_released, world.receiver.closed) == (True, True)
    world.queue.is_of_another = False
    batch = await world.queue.take(5)
    assert batch is not None
    assert len(batch.events) == 1


async def test_a_worker_that_ends_while_redis_is_away_closes_its_connection() -> None:
    world = World()
    world.queue.failures = [Unavailable()]
    with pytest.raises(Unavailable):
        await Webhook(world.mover, world.sender, world.outboxes).stop()
    assert world.receiver.closed


async def test_ids_are_remembered_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "_REMEMBERED", 2)
    world = World(batch=3)
    for number in range(3):
        world.queue.join(number)
    await world.sender.step()
    for number in range(3):
        world.queue.join(number)
    await world.sender.step()
    assert world.receiver.ids[1] == ["r/1-0/joined"]


def test_a_leave_of_the_last_member_closes_the_room() -> None:
    queue = FakeQueue()
    queue.add_leave(MemberLeft("r", MessageId(1, 1), "p"), last=True, reason="left")
    batch = asyncio.run(queue.take(5))
    assert batch is not None
    assert [event.type for event in batch.events] == ["left", "room_closed"]
