"""The bytes of messages that are not complete yet, over all connections of a worker."""

import asyncio

from relay.wire.unfinished import UnfinishedMessages


class FakeSender:
    """A connection that notes when it is held back, and that releases its bytes when it is given up."""

    def __init__(self, messages: UnfinishedMessages) -> None:
        self.messages = messages
        self.paused: list[bool] = []
        self.closed = asyncio.Event()

    def hold_back(self, *, paused: bool) -> None:
        self.paused.append(paused)

    def give_up(self) -> None:
        self.closed.set()
        self.messages.release(self)


async def test_within_the_limit_nothing_happens() -> None:
    messages = UnfinishedMessages(limit=100, patience=60)
    senders = [FakeSender(messages) for _ in range(3)]
    for sender in senders:
        messages.add(sender, 20)
        messages.add(sender, 13)
    assert messages.total == 99
    for sender in senders:
        messages.release(sender)
        messages.release(sender)
    assert messages.total == 0
    assert [sender.paused for sender in senders] == [[], [], []]


async def test_beyond_the_limit_only_the_message_that_began_first_goes_on() -> None:
    messages = UnfinishedMessages(limit=100, patience=60)
    first, second, third = (FakeSender(messages) for _ in range(3))
    for sender in (first, second, third):
        messages.add(sender, 40)
    assert [one.paused for one in (first, second, third)] == [[], [], [True]]
    messages.add(second, 40)
    messages.add(first, 40)
    assert [one.paused for one in (first, second, third)] == [[], [True], [True]]
    messages.release(first)  # 120 are left: the second one goes on
    assert [one.paused for one in (second, third)] == [[True, False], [True]]
    messages.release(second)
    assert third.paused == [True, False]
    assert messages.total == 40


async def test_a_message_that_takes_too_long_ends_its_connection_where_room_is_short() -> None:
    messages = UnfinishedMessages(limit=100, patience=0.05)
    slow, large = FakeSender(messages), FakeSender(messages)
    messages.add(slow, 80)
    messages.add(large, 80)
    async with asyncio.timeout(5):
        await slow.closed.wait()
    assert not large.closed.is_set()
    assert messages.total == 80
    assert large.paused == [True, False]


async def test_a_slow_message_stays_where_there_is_room() -> None:
    messages = UnfinishedMessages(limit=100, patience=0.02)
    slow, other = FakeSender(messages), FakeSender(messages)
    messages.add(slow, 80)
    messages.add(other, 80)
    messages.release(other)
    await asyncio.sleep(0.1)
    assert not slow.closed.is_set()
