"""What every bus does."""

import asyncio
from typing import Any

import pytest

from relay.backend.presence import JoinAttempt, PresenceEntry
from relay.model.envelope import MembershipVersion, MessageId
from relay.model.errors import NotMember, Refused, Replaced
from relay.model.events import Message
from tests.contract.conftest import LOG, FakeWorker, MakeWorker


def messages(heard):
    return [event for event in heard if isinstance(event, Message)]


async def test_an_envelope_reaches_every_subscriber_with_its_id_spliced_in(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    await a.bus.subscribe(["room"])
    await b.bus.subscribe(["room"])

    receipt = await a.say("room", b'{"x":1}\n', to=(), channel="c\n\x1b")

    for worker in (a, b):
        await worker.ear.until(messages)
        (message,) = messages(worker.ear.heard)
        assert message.id == receipt.id
        assert message.channel == "c\n\x1b"
        assert message.body == b'{"x":1,"from":"$server","id":"%s"' % str(receipt.id).encode()


async def test_ids_count_without_holes_and_all_hear_one_order(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    await a.bus.subscribe(["room"])
    await b.bus.subscribe(["room"])

    await asyncio.gather(*[worker.say("room") for worker in (a, b) for _ in range(50)])

    await a.ear.until(lambda heard: len(heard) == 100)
    await b.ear.until(lambda heard: len(heard) == 100)
    assert a.ear.heard == b.ear.heard
    ids = [event.id for event in a.ear.heard]
    assert [i.seq for i in ids] == list(range(ids[0].seq, ids[0].seq + 100))
    assert len({i.epoch for i in ids}) == 1


async def test_publishes_of_one_worker_keep_their_order(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    receipts = await asyncio.gather(*[worker.say("room") for _ in range(100)])
    assert receipts == sorted(receipts, key=lambda receipt: receipt.id)


async def test_rooms_do_not_hear_each_other_and_unsubscribed_ones_fall_silent(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await worker.bus.subscribe(["two"])
    await worker.bus.unsubscribe(["two"])
    await worker.bus.subscribe(["one"])  # confirmed only after the end of the other
    await worker.say("two")
    await worker.say("three")
    await worker.say("one")
    await worker.ear.until(messages)
    assert [event.room for event in worker.ear.heard] == ["one"]


async def test_a_room_subscribed_to_again_is_heard_again(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await worker.bus.subscribe(["room"])
    await worker.bus.unsubscribe(["room"])
    await worker.bus.subscribe(["room"])
    await worker.say("room")
    await worker.ear.until(messages)
    assert len(worker.ear.heard) == 1


async def test_addressing_somebody_absent_sends_nothing_and_names_them(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await worker.presence.join(JoinAttempt(room="room", peer="here", offered="", fresh="f"))
    await worker.bus.subscribe(["room"])
    with pytest.raises(Refused) as refused:
        await worker.say("room", to=("here", "gone", "lost"))
    assert refused.value.code == "no_such_peer"
    assert refused.value.detail == {"peers": ["gone", "lost"]}
    receipt = await worker.say("room", to=("here",))
    await worker.ear.until(messages)
    assert [event.id for event in messages(worker.ear.heard)] == [receipt.id]


async def test_a_held_peer_can_be_addressed(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    given = await worker.presence.join(JoinAttempt(room="room", peer="peer", offered="", fresh="f"))
    assert await worker.presence.leave(PresenceEntry("room", "peer", given.generation), hold=30)
    await worker.say("room", to=("peer",))


async def test_a_repeat_is_acknowledged_again_and_not_delivered(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    await a.bus.subscribe(["room"])
    first = await a.say("room", key="k 1")
    again = await b.say("room", key="k 1")
    assert (again.id, again.repeat) == (first.id, True)
    assert (await a.say("room", sender="other", key="k 1")).repeat is False
    assert (await a.say("elsewhere", key="k 1")).repeat is False
    last = await a.say("room")
    await a.ear.until(lambda heard: heard and heard[-1].id == last.id)
    assert [event.id.seq - first.id.seq for event in a.ear.heard] == [0, 1, 2]


async def test_a_repeat_is_one_though_the_addressee_has_left_meanwhile(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    given = await worker.presence.join(JoinAttempt(room="room", peer="peer", offered="", fresh="f"))
    first = await worker.say("room", to=("peer",), key="k")
    assert await worker.presence.leave(PresenceEntry("room", "peer", given.generation))
    assert (await worker.say("room", to=("peer",), key="k")).id == first.id


async def test_what_comes_after_something_is_not_sent_before_it(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await worker.bus.subscribe(["room"])
    for key in ("", "two"):
        with pytest.raises(Refused) as refused:
            await worker.say("room", key=key, after="one")
        assert refused.value.code == "out_of_order"
    one = await worker.say("room", key="one")
    two = await worker.say("room", key="two", after="one")
    again = await worker.say("room", key="two", after="forgotten")
    last = await worker.say("room", after="two")
    assert (two.id.seq, again.id, last.id.seq) == (one.id.seq + 1, two.id, one.id.seq + 2)
    with pytest.raises(Refused):
        await worker.say("room", sender="other", key="x", after="one")


async def test_keys_are_told_apart_whatever_they_are_made_of(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    for key in ("é\n ☃", "a b", "a  b", "0 "):
        first = await worker.say("room", key=key)
        assert (await worker.say("room", key=key)).id == first.id
        assert not (await worker.say("room", key=key + "2", after=key)).repeat


async def test_repeat_keys_are_bounded_in_number(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await worker.say("room", key="first")
    await asyncio.gather(*[worker.say("room", key=f"k{i}") for i in range(LOG.repeat_keys)])
    assert (await worker.say("room", key=f"k{LOG.repeat_keys - 1}")).repeat is True
    assert (await worker.say("room", key="first")).repeat is False


async def test_a_member_is_vouched_for_by_its_generation(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    old = await worker.presence.join(JoinAttempt(room="room", peer="peer", offered="", fresh="f1"))
    new = await worker.presence.join(JoinAttempt(room="room", peer="peer", offered="f1", fresh="f2"))
    with pytest.raises(Replaced):
        await worker.say("room", sender="peer", generation=old.generation)
    with pytest.raises(NotMember):
        await worker.say("room", sender="peer", generation=new.generation + 1)
    with pytest.raises(NotMember):
        await worker.say("room", sender="stranger", generation=1)
    await worker.say("room", sender="peer", generation=new.generation)


async def admitted(worker: FakeWorker, peer: str = "peer", fresh: str = "f1", offered: str = "") -> dict[str, Any]:
    """Join, and return what a member's publications say of it."""
    given = await worker.presence.join(JoinAttempt(room="room", peer=peer, offered=offered, fresh=fresh))
    version = MembershipVersion(given.generation, given.id.epoch)
    return {"sender": peer, "generation": given.generation, "version": version, "seen": given.id}


async def test_a_place_that_stands_publishes_in_sequence_looked_at_or_not(
    make_worker: MakeWorker,
) -> None:
    worker = await make_worker("a")
    await worker.bus.subscribe(["room"])
    first = await admitted(worker)
    second = await admitted(worker, "second")
    receipts = [await worker.say("room", **claim) for claim in (second, first, second)]
    refreshed = first | {"version": receipts[1].version or first["version"]}
    receipts += [await worker.say("room", **refreshed) for _ in range(3)]
    assert [receipt.id.seq for receipt in receipts] == [3, 4, 5, 6, 7, 8]
    await worker.ear.until(lambda heard: len(messages(heard)) == 6)
    assert [event.id for event in messages(worker.ear.heard)] == [receipt.id for receipt in receipts]


async def test_a_place_that_was_taken_over_publishes_no_more_though_it_did_before(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    old = await admitted(a)
    await a.say("room", **old)
    new = await admitted(b, fresh="f2", offered="f1")
    with pytest.raises(Replaced):
        await a.say("room", **old)
    await b.say("room", **new)


async def test_a_place_that_was_given_up_publishes_no_more(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    claim = await admitted(worker)
    await worker.say("room", **claim)
    assert await worker.presence.leave(PresenceEntry("room", "peer", claim["generation"]))
    with pytest.raises(NotMember):
        await worker.say("room", **claim)


@pytest.mark.parametrize("backend", ["fakeredis", "redis"], indirect=True)
async def test_a_place_in_a_state_that_was_lost_is_looked_at_anew(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    claim = await admitted(worker)
    first = await worker.say("room", **claim)
    keys = worker.keys.of_room("room")
    await asyncio.sleep(0.002)  # epochs are milliseconds
    await worker.client.call("DEL", *keys)
    with pytest.raises(NotMember):
        await worker.say("room", **claim)
    await worker.presence.announce([PresenceEntry("room", "peer", claim["generation"], "f1")])
    second = await worker.say("room", **claim)
    assert second.id.epoch > first.id.epoch
    assert second.id.seq == 2  # the announcement is the first


@pytest.mark.parametrize("backend", ["fakeredis", "redis"], indirect=True)
async def test_a_room_has_one_counter_whatever_is_claimed(make_worker: MakeWorker) -> None:
    """Refused, or looked at closely and then sent: what the short way counted by mistake is taken back."""
    worker = await make_worker("a")
    meta = worker.keys.of_room("room")[0]
    claim = await admitted(worker)
    await admitted(worker, "second")  # the first one's version is no longer the room's
    late = await worker.say("room", **claim)
    claim |= {"seen": late.id, "version": late.version}
    assert (await worker.say("room", **claim)).id.seq == late.id.seq + 1
    assert await worker.presence.leave(PresenceEntry("room", "peer", claim["generation"]))
    with pytest.raises(NotMember):
        await worker.say("room", **claim)
    assert len(await worker.client.call("HGETALL", meta)) == 2 * 2
    await worker.client.call("DEL", meta)
    with pytest.raises(NotMember):
        await worker.say("room", **claim)
    assert not await worker.client.call("EXISTS", meta)


@pytest.mark.parametrize("backend", ["fakeredis", "redis"], indirect=True)
async def test_a_counter_at_nothing_is_not_taken_for_a_stray_one(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    meta = worker.keys.of_room("room")[0]
    claim = await admitted(worker)
    # As in a new epoch in which nothing was said yet, under a version that somebody already has.
    epoch, version = claim["seen"].epoch, claim["version"].number
    await worker.client.call("HSET", meta, version, 0)
    await worker.client.call("DEL", worker.keys.of_room("room")[3])
    receipt = await worker.say("room", **claim | {"seen": MessageId(epoch, 0)})
    assert receipt.id == (epoch, 1)
    assert await worker.client.call("HGETALL", meta) == [b"e", b"%d" % epoch, b"%d" % version, b"1"]


@pytest.mark.parametrize("backend", ["fakeredis", "redis"], indirect=True)
async def test_a_state_that_went_back_leaves_no_hole_and_begins_a_new_epoch(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    claim = await admitted(worker)
    first = await worker.say("room", **claim)
    ahead = MessageId(first.id.epoch, first.id.seq + 10)
    second = await worker.say("room", **claim | {"seen": ahead})
    assert second.id.epoch > first.id.epoch
    assert second.id.seq == 1
    third = await worker.say("room", **claim | {"seen": second.id, "version": second.version})
    assert third.id == (second.id.epoch, 2)


@pytest.mark.parametrize("backend", ["fakeredis", "redis"], indirect=True)
async def test_a_state_older_than_what_was_seen_begins_a_new_epoch(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    first = (await worker.say("room")).id
    ahead = MessageId(first.epoch, first.seq + 10)
    second = (await worker.say("room", seen=ahead)).id
    assert second.epoch > first.epoch
    assert second.seq == 1


async def test_it_is_ready_once_it_has_heard_itself(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    async with asyncio.timeout(5):
        while not worker.bus.health().ready:
            await asyncio.sleep(0.01)
    assert worker.bus.health().reachable
    assert worker.bus.health().problem == ""
