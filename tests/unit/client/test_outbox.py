"""The queue of envelopes."""

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


NUMBERS: dict[str, int] = {}
"""The number of each envelope that was sent, by its key."""


def sent(outbox: Outbox) -> list[tuple[int, int | None]]:
    """Send; return the number of each envelope, and of the one that it names."""
    frames = [json.loads(frame) for frame in outbox.to_send()]
    NUMBERS.update({frame["key"]: frame["envelope"]["n"] for frame in frames})
    return [(frame["envelope"]["n"], NUMBERS[frame["after"]] if "after" in frame else None) for frame in frames]


async def test_a_window_is_sent_and_each_names_the_unacknowledged_one_before_it(outbox: Outbox) -> None:
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


async def test_after_a_retryable_error_it_and_all_after_it_are_sent_again(outbox: Outbox) -> None:
    items = [outbox.add({"n": n}) for n in range(3)]
    sent(outbox)
    assert outbox.refused(items[1].key, "unavailable", "")
    assert sent(outbox) == [(1, 0), (2, 1)]
    assert outbox.refused(items[2].key, "out_of_order", "")
    assert sent(outbox) == [(2, 1)]
    assert outbox.resent == 3


async def test_over_a_new_connection_all_are_sent_again(outbox: Outbox) -> None:
    items = [outbox.add({"n": n}) for n in range(2)]
    sent(outbox)
    outbox.acknowledged(items[0].key, ID)
    outbox.rewind()
    assert sent(outbox) == [(1, None)]


async def test_a_refused_envelope_is_no_longer_named(outbox: Outbox) -> None:
    items = [outbox.add({"n": n}) for n in range(3)]
    sent(outbox)
    assert not outbox.refused(items[0].key, "no_such_peer", "not here")
    with pytest.raises(Rejected, match="no_such_peer"):
        await items[0].done
    outbox.refused(items[1].key, "out_of_order", "")
    assert sent(outbox) == [(1, None), (2, 1)]
    assert not outbox.refused("unknown", "unavailable", "")


async def test_the_queue_is_bounded(outbox: Outbox) -> None:
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


async def test_at_the_end_all_futures_fail(outbox: Outbox) -> None:
    item, waited_for = outbox.add({}), outbox.add({})
    waiting = asyncio.ensure_future(waited_for.done)
    outbox.fail(Rejected("over", ""))
    with pytest.raises(Rejected):
        await waiting
    assert item.done.done()
    assert len(outbox) == 0


async def test_a_burst_of_errors_pauses_once(outbox: Outbox) -> None:
    items = [outbox.add({"n": n}) for n in range(3)]
    sent(outbox)
    assert [outbox.refused(item.key, "unavailable", "") for item in items] == [True, False, False]
    sent(outbox)
    outbox.acknowledged(items[0].key, ID)
    assert [outbox.refused(item.key, "out_of_order", "") for item in items[1:]] == [False, False]
    assert sent(outbox) == [(1, None), (2, 1)]
    assert outbox.refused(items[2].key, "out_of_order", "")


async def test_an_envelope_given_up_while_others_are_sent_is_not_sent(outbox: Outbox) -> None:
    items = [outbox.add({"n": n}) for n in range(3)]
    frames = outbox.to_send()
    assert json.loads(next(frames))["key"] == items[0].key
    assert not outbox.give_up(items[1]).possibly_sent
    assert [json.loads(frame)["key"] for frame in frames] == [items[2].key]


async def test_an_envelope_may_have_its_own_key(outbox: Outbox) -> None:
    assert outbox.add({"key": "mine"}).key == "mine"
    assert outbox.add({"key": ""}).key
    for bad in ("mine", 5, "x" * 65):
        with pytest.raises(Rejected, match="bad_envelope"):
            outbox.add({"key": bad})
    assert len(outbox) == 2


@pytest.mark.parametrize("name", ["from", "id", "room", "type"])
async def test_fields_that_the_relay_adds_are_refused(outbox: Outbox, name: str) -> None:
    with pytest.raises(Rejected, match="reserved_field"):
        outbox.add({name: None})


async def test_callers_that_wait_for_space_take_turns(outbox: Outbox) -> None:
    items = [outbox.add({"n": n}) for n in range(5)]
    taken: list[int] = []

    async def add(n: int) -> None:
        await outbox.wait_for_space()
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


async def test_an_envelope_that_nests_too_deep_is_refused_before_it_is_sent(outbox: Outbox) -> None:
    deep: list[object] = []
    for _ in range(254):
        deep = [deep]
    assert outbox.add({"a": deep})
    for levels in (1, 50_000):
        for _ in range(levels):
            deep = [deep]
        with pytest.raises(Rejected, match="bad_json: nested more than 256 levels"):
            outbox.add({"a": deep})
    while deep:  # else the interpreter itself frees it by recursion
        [deep] = deep
    assert len(outbox) == 1


async def test_an_answer_about_an_unknown_envelope_changes_nothing(outbox: Outbox) -> None:
    outbox.add({"n": 1})
    outbox.acknowledged("unknown", ID)
    assert not outbox.refused("unknown", "no_such_peer", "")
    assert len(outbox) == 1


async def test_a_cancelled_future_is_left_alone(outbox: Outbox) -> None:
    first, second, third = outbox.add({}), outbox.add({}), outbox.add({})
    for item in (first, second, third):
        item.done.cancel()
    outbox.acknowledged(first.key, ID)
    outbox.refused(second.key, "no_such_peer", "")
    outbox.fail(Rejected("over", ""))
    assert third.done.cancelled()
