"""The rooms whose events are not in the queue yet."""

import asyncio

import pytest

from relay.backend.webhooks import Outboxes


async def test_rooms_are_taken_in_the_order_in_which_they_were_noted() -> None:
    outboxes = Outboxes()
    outboxes.note(["a", "b", "a", "c"])
    assert (outboxes.take(2), len(outboxes)) == (["a", "b"], 1)
    assert all(room in outboxes for room in "abc")
    assert outboxes.moved([]) == ["a", "b"]
    assert ("a" in outboxes, "c" in outboxes) == (False, True)


async def test_a_room_that_has_more_or_is_noted_meanwhile_stays() -> None:
    outboxes = Outboxes()
    outboxes.note(["a", "b", "c"])
    outboxes.take(3)
    outboxes.note(["b"])
    assert outboxes.moved(["a"]) == ["c"]
    assert sorted(outboxes.take(3)) == ["a", "b"]


async def test_waiting_ends_with_a_room() -> None:
    outboxes = Outboxes()
    waiting = asyncio.ensure_future(outboxes.wait())
    await asyncio.sleep(0)
    outboxes.note([])
    await asyncio.sleep(0)
    assert not waiting.done()
    outboxes.note(["a"])
    await waiting
    outboxes.take(1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await outboxes.wait()
