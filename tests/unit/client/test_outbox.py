"""The queue of what is to be said."""

import asyncio
import json

import pytest

from relay.client.errors import NotAcknowledged, QueueFull, Rejected
from relay.client.outbox import Outbox
from relay.model.envelope import MessageId

ID = MessageId(1, 2)


@pytest.fixture
async def outbox() -> Outbox:
    return Outbox(size=5, window=3)


def sent(outbox: Outbox) -> list[tuple[int, int | None]]:
    """What is sent now: the number of each envelope, and of the one it comes after."""
    frames = [json.loads(frame) for frame in outbox.to_send()]
    number = {item.key: json.loads(item.envelope)["n"] for item in outbox._items.values()}
    return [(frame["envelope"]["n"], number[frame["after"]] if "after" in frame else None) for frame in frames]


async def test_a_window_of_them_goes_out_each_after_the_one_before_that_is_not_acknowledged(outbox: Outbox) -> None:
    items = [outbox.add({"n": n}) for n in range(5)]
    assert sent(outbox) == [(0, None), (1, 0), (2, 1)]
    assert sent(outbox) == []
    outbox.acknowledged(items[0].key, ID)
    assert await items[0].done == ID
    assert sent(outbox) == [(3, 2)]
    for item in items[1:4]:
        outbox.acknowledged(item.key, ID)
    assert sent(outbox) == [(4, None)]


@pytest.mark.parametrize("code", ["not_joined", "replaced", "internal"])
async def test_a_client_that_may_rejoin_sends_the_envelope_again(outbox: Outbox, code: str) -> None:
    item = outbox.add({"n": 0})
    sent(outbox)
    outbox.refused(item.key, code, "")
    assert not item.done.done()
    assert sent(outbox) == [(0, None)]


async def test_an_error_of_the_moment_sends_it_and_all_after_it_again(outbox: Outbox) -> None:
    items = [outbox.add({"n": n}) for n in range(3)]
    sent(outbox)
    assert outbox.refused(items[1].key, "unavailable", "")
    assert sent(outbox) == [(1, 0), (2, 1)]
    assert outbox.refused(items[2].key, "out_of_order", "")
    assert sent(outbox) == [(2, 1)]
    assert outbox.resent == 3


async def test_a_new_connection_sends_all_again(outbox: Outbox) -> None:
    items = [outbox.add({"n": n}) for n in range(2)]
    sent(outbox)
    outbox.acknowledged(items[0].key, ID)
    outbox.rewind()
    assert sent(outbox) == [(1, None)]


async def test_a_refusal_ends_one_and_what_follows_no_longer_waits_for_it(outbox: Outbox) -> None:
    items = [outbox.add({"n": n}) for n in range(3)]
    sent(outbox)
    assert not outbox.refused(items[0].key, "no_such_peer", "not here")
    with pytest.raises(Rejected, match="no_such_peer"):
        await items[0].done
    outbox.refused(items[1].key, "out_of_order", "")
    assert sent(outbox) == [(1, None), (2, 1)]
    assert not outbox.refused("unknown", "unavailable", "")


async def test_it_is_bounded(outbox: Outbox) -> None:
    for n in range(5):
        outbox.add({"n": n})
    with pytest.raises(QueueFull):
        outbox.add({"n": 5})


async def test_giving_up_says_whether_it_may_have_been_sent(outbox: Outbox) -> None:
    items = [outbox.add({"n": n}) for n in range(5)]
    sent(outbox)
    assert outbox.give_up(items[0]).possibly_sent
    assert not outbox.give_up(items[4]).possibly_sent
    assert len(outbox) == 3
    assert isinstance(outbox.give_up(items[4]), NotAcknowledged)


async def test_in_the_end_all_that_wait_are_told(outbox: Outbox) -> None:
    item, waited_for = outbox.add({}), outbox.add({})
    waiting = asyncio.ensure_future(waited_for.done)
    outbox.fail(Rejected("over", ""))
    with pytest.raises(Rejected):
        await waiting
    assert item.done.done()
    assert len(outbox) == 0


async def test_a_burst_of_errors_is_one_reason_to_wait(outbox: Outbox) -> None:
    items = [outbox.add({"n": n}) for n in range(3)]
    sent(outbox)
    assert [outbox.refused(item.key, "unavailable", "") for item in items] == [True, False, False]
    sent(outbox)
    outbox.acknowledged(items[0].key, ID)
    assert [outbox.refused(item.key, "out_of_order", "") for item in items[1:]] == [False, False]
    assert sent(outbox) == [(1, None), (2, 1)]
    assert outbox.refused(items[2].key, "out_of_order", "")


async def test_what_is_given_up_while_others_are_being_sent_is_not_sent(outbox: Outbox) -> None:
    items = [outbox.add({"n": n}) for n in range(3)]
    frames = outbox.to_send()
    assert json.loads(next(frames))["key"] == items[0].key
    assert not outbox.give_up(items[1]).possibly_sent
    assert [json.loads(frame)["key"] for frame in frames] == [items[2].key]


async def test_an_envelope_may_bring_a_key_of_its_own(outbox: Outbox) -> None:
    assert outbox.add({"key": "mine"}).key == "mine"
    assert outbox.add({"key": ""}).key
    for bad in ("mine", 5, "x" * 65):
        with pytest.raises(Rejected, match="bad_envelope"):
            outbox.add({"key": bad})
    assert len(outbox) == 2


@pytest.mark.parametrize("name", ["from", "id", "room", "type"])
async def test_what_the_relay_adds_is_not_sent(outbox: Outbox, name: str) -> None:
    with pytest.raises(Rejected, match="reserved_field"):
        outbox.add({name: None})


async def test_those_who_wait_for_space_take_turns(outbox: Outbox) -> None:
    items = [outbox.add({"n": n}) for n in range(5)]
    taken: list[int] = []

    async def add(n: int) -> None:
        await outbox.space()
        outbox.add({"n": n})
        taken.append(n)

    waiting = [asyncio.create_task(add(n)) for n in range(5, 8)]
    await asyncio.sleep(0)
    outbox.acknowledged(items[0].key, ID)
    await waiting[0]
    assert taken == [5]
    outbox.give_up(items[1])
    outbox.refused(items[2].key, "no_such_peer", "")
    await asyncio.gather(*waiting)
    assert taken == [5, 6, 7]
