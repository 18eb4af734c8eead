"""The bytes that nobody has asked for yet, over all connections of a worker."""

import asyncio

from relay.wire.unfinished import UnfinishedMessages

HOUR = 3600.0


class FakeSender:
    """A connection that notes when it is held back, and that releases its bytes when it is given up."""

    def __init__(self, messages: UnfinishedMessages, address: str = "here") -> None:
        self.messages = messages
        self.address = address
        self.arriving = True
        self.paused: list[bool] = []
        self.closed = asyncio.Event()

    def hold_back(self, *, paused: bool) -> None:
        self.paused.append(paused)

    def give_up(self) -> None:
        self.closed.set()
        self.messages.release(self)


def bounded(limit: int, address_limit: int | None = None, *, largest: int = 1000) -> UnfinishedMessages:
    """Messages without a time limit."""
    return UnfinishedMessages(limit, HOUR, address_limit=address_limit, message_time=HOUR, largest=largest)


async def test_within_the_limit_nothing_happens() -> None:
    messages = bounded(100)
    senders = [FakeSender(messages) for _ in range(3)]
    for sender in senders:
        assert messages.keep(sender, 20)
        assert messages.keep(sender, 33)
    assert messages.total == 99
    for sender in senders:
        messages.release(sender)
        messages.release(sender)
    assert messages.total == 0
    assert [sender.paused for sender in senders] == [[], [], []]


async def test_beyond_the_limit_only_the_message_that_began_first_goes_on() -> None:
    messages = bounded(100)
    first, second, third = (FakeSender(messages) for _ in range(3))
    assert [messages.keep(sender, 40) for sender in (first, second, third)] == [True, True, False]
    assert [one.paused for one in (first, second, third)] == [[], [], [True]]
    assert not messages.keep(second, 80)
    assert messages.keep(first, 80)
    assert [one.paused for one in (first, second, third)] == [[], [True], [True]]
    messages.release(first)  # 120 are left: the second one goes on
    assert [one.paused for one in (second, third)] == [[True, False], [True]]
    messages.release(second)
    assert third.paused == [True, False]
    assert messages.total == 40


async def test_an_address_above_its_limit_does_not_hold_back_the_others() -> None:
    messages = bounded(100, 50)
    attackers, other = [FakeSender(messages, "there") for _ in range(3)], FakeSender(messages)
    assert [messages.keep(one, 20) for one in attackers] == [True, True, False]
    assert messages.keep(other, 39)
    messages.release(attackers[0])
    assert attackers[2].paused == [True, False]


async def test_a_worker_above_its_limit_holds_back_the_addresses_with_more_than_their_share() -> None:
    messages = bounded(100, 90)
    heavy, late, light = FakeSender(messages, "there"), FakeSender(messages, "there"), FakeSender(messages)
    assert messages.keep(heavy, 80)
    assert messages.keep(light, 30)
    assert not messages.keep(late, 5)
    messages.release(light)
    assert late.paused == [True, False]


async def test_the_connection_that_keeps_most_is_closed_where_new_ones_go_on_to_come() -> None:
    messages = bounded(1_000_000, 400_000, largest=0)
    senders = [FakeSender(messages) for _ in range(8)]
    for number, sender in enumerate(senders):
        messages.keep(sender, 100_000 + number)
    # Beyond the limit comes the size of a read, or half the limit.
    assert [one.closed.is_set() for one in senders] == [False] * 6 + [True] * 2
    assert messages.total < 400_000 + 262_144


async def test_the_largest_of_the_heaviest_address_is_closed_where_the_worker_is_full() -> None:
    messages = bounded(1_000_000, 900_000, largest=0)
    heavy = [FakeSender(messages, "there") for _ in range(4)]
    light = [FakeSender(messages, f"here {number}") for number in range(10)]
    for number, sender in enumerate(heavy):
        messages.keep(sender, 220_000 + number)
    for sender in light:
        messages.keep(sender, 80_000)
    assert [one.closed.is_set() for one in heavy] == [False, False, False, True]
    assert not any(one.closed.is_set() for one in light)


async def test_a_connection_that_is_closed_may_be_the_one_that_has_just_sent() -> None:
    messages = bounded(100, largest=0)
    other, sender = FakeSender(messages), FakeSender(messages)
    messages.keep(other, 1)
    assert messages.keep(sender, 400_000)
    assert sender.closed.is_set()
    assert messages.total == 1


async def test_a_message_that_takes_too_long_ends_its_connection_where_room_is_short() -> None:
    messages = UnfinishedMessages(limit=100, patience=0.05)
    slow, large = FakeSender(messages), FakeSender(messages)
    messages.keep(slow, 80)
    messages.keep(large, 80)
    async with asyncio.timeout(5):
        await slow.closed.wait()
    assert not large.closed.is_set()
    assert messages.total == 80
    assert large.paused == [True, False]
    messages.release(large)


async def test_a_message_that_does_not_go_on_ends_its_connection_also_where_there_is_room() -> None:
    messages = UnfinishedMessages(patience=HOUR, message_time=0.05)
    slow, waits = FakeSender(messages), FakeSender(messages)
    waits.arriving = False
    messages.keep(waits, 80)
    messages.keep(slow, 80)
    async with asyncio.timeout(5):
        await slow.closed.wait()
    assert not waits.closed.is_set()
    messages.release(waits)


async def test_a_large_message_has_more_time_as_long_as_it_arrives() -> None:
    messages = UnfinishedMessages(message_time=0.04)
    large, slow = FakeSender(messages), FakeSender(messages)
    messages.keep(slow, 10)
    for turn in range(1, 1_000):
        messages.keep(large, turn * 70_000)
        if slow.closed.is_set():
            break
        await asyncio.sleep(0.005)
    assert slow.closed.is_set()
    assert not large.closed.is_set()
    messages.release(large)
