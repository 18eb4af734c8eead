"""The queue of a process without Redis: the parts that the contract tests do not see."""

from relay.backend.memory.webhooks import MemoryWebhookQueue
from relay.backend.settings import WebhookQueueSettings
from relay.backend.webhooks import Outboxes
from relay.model.envelope import MessageId
from relay.model.events import MemberJoined, MemberLeft


def queue_of(most: int, dropped: list[int]) -> MemoryWebhookQueue:
    return MemoryWebhookQueue(WebhookQueueSettings(most), lambda: 5.0, Outboxes(), on_dropped=dropped.append)


def join(queue: MemoryWebhookQueue, number: int) -> None:
    queue.add_join(MemberJoined("r", MessageId(1, number), f"p{number}"), first=False)


async def test_taken_events_are_not_dropped() -> None:
    dropped: list[int] = []
    queue = queue_of(3, dropped)
    for number in range(1, 4):
        join(queue, number)
    first = await queue.take(2)
    for number in range(4, 6):
        join(queue, number)
    assert sum(dropped) == 2
    second = await queue.take(5, done=first)
    assert first is not None
    assert second is not None
    assert [event.peer for event in (*first.events, *second.events)] == ["p1", "p2", "p5"]
    assert (second.dropped, second.queued) == (2, 1)


async def test_a_number_of_dropped_events_stays_until_it_was_told() -> None:
    queue = queue_of(1, [])
    for number in range(3):
        join(queue, number)
    first = await queue.take(1)
    join(queue, 4)
    join(queue, 5)
    again = await queue.take(1)
    assert first is not None
    assert again is not None
    assert (first.dropped, again.dropped, first.notice == again.notice) == (2, 2, True)
    last = await queue.take(1, done=again)
    assert last is not None
    assert last.dropped == 2
    assert last.notice


async def test_the_time_is_that_of_the_event() -> None:
    queue = queue_of(9, [])
    queue.add_leave(MemberLeft("r", MessageId(7, 8), "p"), last=True, reason="lost")
    batch = await queue.take(9)
    assert batch is not None
    left, closed = batch.events
    assert (left.id, left.time, left.reason, closed.type, closed.reason) == (
        "r/7-8/left",
        5000,
        "lost",
        "room_closed",
        "",
    )
