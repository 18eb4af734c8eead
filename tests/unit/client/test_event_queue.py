"""The bounded queue of events, and its end."""

import asyncio

from relay.client.event_queue import EventQueue
from relay.client.events import Joined

A, B, C = Joined("a"), Joined("b"), Joined("c")


async def test_events_come_in_order_and_a_full_queue_holds_the_reader_back() -> None:
    queue = EventQueue(1)
    await queue.put(A)
    second = asyncio.create_task(queue.put(B))
    await asyncio.sleep(0)
    assert not second.done()
    assert [await queue.get(), await queue.get()] == [A, B]


async def test_the_end_comes_after_the_waiting_events_and_reaches_every_caller() -> None:
    queue = EventQueue(2)
    await queue.put(A)
    queue.close()
    assert [await queue.get(), await queue.get(), await queue.get()] == [A, None, None]
    queue = EventQueue(2)
    waiting = [asyncio.create_task(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)
    queue.close()
    assert await asyncio.gather(*waiting) == [None, None, None]


async def test_a_full_queue_ends_as_well() -> None:
    queue = EventQueue(1)
    await queue.put(A)
    queue.close()
    assert [await queue.get(), await queue.get()] == [A, None]


async def test_draining_lets_the_reader_go_on() -> None:
    queue = EventQueue(1)
    await queue.put(A)
    queue.drain()
    for event in (A, B, C):
        await queue.put(event)
    assert await queue.get() == A
