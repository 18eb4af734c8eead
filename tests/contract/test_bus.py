"""The contract of `Bus`, for every backend."""

import asyncio
from typing import Any

import pytest

from relay.backend.presence import JoinAttempt, PresenceEntry
from relay.model.commands import NO_IDENTITY, Identity
from relay.model.envelope import MembershipVersion, MessageId
from relay.model.errors import NotMember, Refused, Replaced
from relay.model.events import Message
from tests.contract.conftest import LOG, FakeWorker, MakeWorker, join


def messages(events):
    return [event for event in events if isinstance(event, Message)]


async def test_an_envelope_reaches_every_subscriber_with_its_id_spliced_in(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    await a.bus.subscribe(["room"])
    await b.bus.subscribe(["room"])

    receipt = await a.publish("room", b'{"x":1}\n', to=(), channel="c\n\x1b")

    for worker in (a, b):
        await worker.received.until(messages)
        (message,) = messages(worker.received.events)
        assert message.id == receipt.id
        assert message.channel == "c\n\x1b"
        assert message.body == b'{"x":1,"from":"$server","id":"%s"' % str(receipt.id).encode()


async def test_ids_have_no_holes_and_all_workers_receive_one_order(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    await a.bus.subscribe(["room"])
    await b.bus.subscribe(["room"])

    await asyncio.gather(*[worker.publish("room") for worker in (a, b) for _ in range(50)])

    await a.received.until(lambda events: len(events) == 100)
    await b.received.until(lambda events: len(events) == 100)
    assert a.received.events == b.received.events
    ids = [event.id for event in a.received.events]
    assert [i.seq for i in ids] == list(range(ids[0].seq, ids[0].seq + 100))
    assert len({i.epoch for i in ids}) == 1


async def test_publishes_of_one_worker_keep_their_order(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    receipts = await asyncio.gather(*[worker.publish("room") for _ in range(100)])
    assert receipts == sorted(receipts, key=lambda receipt: receipt.id)


async def test_only_events_of_subscribed_rooms_are_delivered(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await worker.bus.subscribe(["two"])
    await worker.bus.unsubscribe(["two"])
    await worker.bus.subscribe(["one"])  # confirmed only after the end of the other
    await worker.publish("two")
    await worker.publish("three")
    await worker.publish("one")
    await worker.received.until(messages)
    assert [event.room for event in worker.received.events] == ["one"]


async def test_a_room_can_be_subscribed_to_again(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await worker.bus.subscribe(["room"])
    await worker.bus.unsubscribe(["room"])
    await worker.bus.subscribe(["room"])
    await worker.publish("room")
    await worker.received.until(messages)
    assert len(worker.received.events) == 1


async def test_addressing_an_absent_peer_sends_nothing_and_names_the_peer(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await worker.presence.join(JoinAttempt(room="room", peer="here", offered="", fresh="f"))
    await worker.bus.subscribe(["room"])
    with pytest.raises(Refused) as refused:
        await worker.publish("room", to=("here", "gone", "lost"))
    assert refused.value.code == "no_such_peer"
    assert refused.value.detail == {"peers": ["gone", "lost"]}
    receipt = await worker.publish("room", to=("here",))
    await worker.received.until(messages)
    assert [event.id for event in messages(worker.received.events)] == [receipt.id]


async def test_a_held_peer_can_be_addressed(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    joined = await worker.presence.join(JoinAttempt(room="room", peer="peer", offered="", fresh="f"))
    assert await worker.presence.leave(PresenceEntry("room", "peer", joined.generation), hold=30)
    await worker.publish("room", to=("peer",))


async def test_a_repeat_is_acknowledged_again_and_not_delivered(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    await a.bus.subscribe(["room"])
    first = await a.publish("room", key="k 1")
    again = await b.publish("room", key="k 1")
    assert (again.id, again.repeat) == (first.id, True)
    assert (await a.publish("room", sender="other", key="k 1")).repeat is False
    assert (await a.publish("elsewhere", key="k 1")).repeat is False
    last = await a.publish("room")
    await a.received.until(lambda events: events and events[-1].id == last.id)
    assert [event.id.seq - first.id.seq for event in a.received.events] == [0, 1, 2]


async def test_only_a_use_of_the_key_after_an_id_makes_a_repeat(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")

    async def publish(after: tuple[int, int] | None) -> Any:
        return await worker.publish("room", key="the answer's", identity=Identity("k", after))

    first = await publish(None)
    before = (first.id.epoch, first.id.seq - 1)
    assert (await publish(before)).id == first.id
    assert (await publish(None)).id == first.id
    second = await publish(tuple(first.id))
    assert (second.id.seq, second.repeat) == (first.id.seq + 1, False)
    # The key stands for the newest message that has it.
    for after in (None, before, tuple(first.id)):
        assert (await publish(after)).id == second.id
    # An id of another epoch says nothing of this one's messages.
    third = await publish((first.id.epoch + 1, 0))
    assert (third.id.seq, third.repeat) == (second.id.seq + 1, False)
    assert not (await worker.publish("room", key="k", identity=NO_IDENTITY)).repeat


async def test_a_repeat_is_recognised_although_its_receiver_has_left(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    joined = await worker.presence.join(JoinAttempt(room="room", peer="peer", offered="", fresh="f"))
    first = await worker.publish("room", to=("peer",), key="k")
    assert await worker.presence.leave(PresenceEntry("room", "peer", joined.generation))
    assert (await worker.publish("room", to=("peer",), key="k")).id == first.id


async def test_a_message_that_must_follow_another_is_refused_before_it(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await worker.bus.subscribe(["room"])
    for key in ("", "two"):
        with pytest.raises(Refused) as refused:
            await worker.publish("room", key=key, after="one")
        assert refused.value.code == "out_of_order"
    one = await worker.publish("room", key="one")
    two = await worker.publish("room", key="two", after="one")
    again = await worker.publish("room", key="two", after="forgotten")
    last = await worker.publish("room", after="two")
    assert (two.id.seq, again.id, last.id.seq) == (one.id.seq + 1, two.id, one.id.seq + 2)
    with pytest.raises(Refused):
        await worker.publish("room", sender="other", key="x", after="one")


async def test_a_key_of_an_earlier_holder_of_the_peer_id_silences_no_later_one(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    entry, joined = await join(worker)
    claimed = await worker.publish("room", sender="peer", key="k", generation=joined.generation)
    assert await worker.presence.leave(entry)
    _, later = await join(worker)
    own = {"sender": "peer", "generation": later.generation}
    with pytest.raises(Refused) as refused:
        await worker.publish("room", key="next", after="k", **own)
    assert refused.value.code == "out_of_order"
    first = await worker.publish("room", key="k", **own)
    assert (first.id > claimed.id, first.repeat) == (True, False)
    again = await worker.publish("room", key="k", **own)
    assert (again.id, again.repeat) == (first.id, True)
    assert not (await worker.publish("room", key="next", after="k", **own)).repeat


async def test_a_membership_keeps_its_keys_when_it_is_resumed_and_announced(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    entry, joined = await join(a)
    first = await a.publish("room", sender="peer", key="k", generation=joined.generation)
    assert await a.presence.leave(entry, hold=30)
    resumed, result = await join(b, offered="f1", fresh="f2")
    assert result.resumed
    assert (await b.publish("room", sender="peer", key="k", generation=result.generation)).id == first.id
    assert await b.presence.announce([resumed]) == []
    assert (await b.publish("room", sender="peer", key="k", generation=result.generation)).id == first.id


async def test_a_membership_that_is_older_than_the_epoch_has_keys_of_its_own(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    entry, joined = await join(worker)
    seen = joined.id._replace(seq=joined.id.seq + 100)
    assert (await worker.bus.replay("room", seen)).lost == "epoch"
    own = {"sender": "peer", "generation": joined.generation}
    first = await worker.publish("room", key="k", **own)
    assert first.id.epoch > entry.began.epoch
    assert (await worker.publish("room", key="k", **own)).id == first.id


async def test_keys_may_be_any_text(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    for key in ("é\n ☃", "a b", "a  b", "0 "):
        first = await worker.publish("room", key=key)
        assert (await worker.publish("room", key=key)).id == first.id
        assert not (await worker.publish("room", key=key + "2", after=key)).repeat


async def test_repeat_keys_are_bounded_in_number(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await worker.publish("room", key="first")
    await asyncio.gather(*[worker.publish("room", key=f"k{i}") for i in range(LOG.repeat_keys)])
    assert (await worker.publish("room", key=f"k{LOG.repeat_keys - 1}")).repeat is True
    assert (await worker.publish("room", key="first")).repeat is False


async def test_messages_that_are_not_stored_take_no_key_of_others(make_worker: MakeWorker) -> None:
    """Another client has used up its bytes: a message of before, sent again, must be known still."""
    worker = await make_worker("a")
    first = await worker.publish("room", key="first")
    await asyncio.gather(*[worker.publish("room", sender="busy", key=f"k{i}", stored=False) for i in range(150)])
    again = await worker.publish("room", key="first")
    assert (again.id, again.repeat) == (first.id, True)
    for number, stored in ((149, False), (149, True), (148, True)):
        again = await worker.publish("room", sender="busy", key=f"k{number}", stored=stored)
        assert (again.id.seq, again.repeat) == (first.id.seq + 1 + number, True)
    assert not (await worker.publish("room", sender="busy", key="late", after="k149", stored=False)).repeat


@pytest.mark.parametrize("backend", ["fakeredis", "redis"], indirect=True)
async def test_keys_of_messages_that_are_not_stored_are_bounded(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    await asyncio.gather(*[worker.publish("room", key=f"k{i}", stored=False) for i in range(150)])
    assert (await worker.publish("room", key="k50", stored=False)).repeat
    assert not (await worker.publish("room", key="k49", stored=False)).repeat
    # The oldest of the others go, and not the newest of these.
    await asyncio.gather(*[worker.publish("room", key=f"n{i}") for i in range(LOG.repeat_keys)])
    assert (await worker.publish("room", key="k149")).repeat


async def test_the_generation_of_a_publishing_member_is_checked(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    old = await worker.presence.join(JoinAttempt(room="room", peer="peer", offered="", fresh="f1"))
    new = await worker.presence.join(JoinAttempt(room="room", peer="peer", offered="f1", fresh="f2"))
    with pytest.raises(Replaced):
        await worker.publish("room", sender="peer", generation=old.generation)
    with pytest.raises(NotMember):
        await worker.publish("room", sender="peer", generation=new.generation + 1)
    with pytest.raises(NotMember):
        await worker.publish("room", sender="stranger", generation=1)
    await worker.publish("room", sender="peer", generation=new.generation)


async def admitted(worker: FakeWorker, peer: str = "peer", fresh: str = "f1", offered: str = "") -> dict[str, Any]:
    """Join, and return the fields of the member's publications that depend on it."""
    joined = await worker.presence.join(JoinAttempt(room="room", peer=peer, offered=offered, fresh=fresh))
    version = MembershipVersion(joined.generation, joined.id.epoch)
    return {"sender": peer, "generation": joined.generation, "version": version, "seen": joined.id}


async def test_a_member_publishes_in_sequence_on_both_paths(
    make_worker: MakeWorker,
) -> None:
    worker = await make_worker("a")
    await worker.bus.subscribe(["room"])
    first = await admitted(worker)
    second = await admitted(worker, "second")
    receipts = [await worker.publish("room", **claim) for claim in (second, first, second)]
    refreshed = first | {"version": receipts[1].version or first["version"]}
    receipts += [await worker.publish("room", **refreshed) for _ in range(3)]
    assert [receipt.id.seq for receipt in receipts] == [3, 4, 5, 6, 7, 8]
    await worker.received.until(lambda events: len(messages(events)) == 6)
    assert [event.id for event in messages(worker.received.events)] == [receipt.id for receipt in receipts]


@pytest.mark.parametrize("current", [True, False])
async def test_addressees_that_are_absent_are_named_and_leave_no_hole(make_worker: MakeWorker, current: bool) -> None:
    worker = await make_worker("a")
    await worker.bus.subscribe(["room"])
    claim = await admitted(worker)
    await admitted(worker, "second")
    if current:
        claim |= {"version": (await worker.publish("room", to=("second",), **claim)).version or claim["version"]}
    before = await worker.publish("room", to=("second", "peer"), **claim)
    for to in (("third",), ("second", "third", "peer")):
        with pytest.raises(Refused, match="no_such_peer") as caught:
            await worker.publish("room", to=to, **claim)
        assert caught.value.detail["peers"] == ["third"]
    after = await worker.publish("room", to=("second",), **claim)
    assert after.id.seq == before.id.seq + 1
    await worker.received.until(lambda events: events and events[-1].id == after.id)
    assert messages(worker.received.events)[-1].to == ("second",)


async def test_a_membership_that_was_taken_over_publishes_no_more(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    old = await admitted(a)
    await a.publish("room", **old)
    new = await admitted(b, fresh="f2", offered="f1")
    with pytest.raises(Replaced):
        await a.publish("room", **old)
    await b.publish("room", **new)


async def test_a_member_that_left_publishes_no_more(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    claim = await admitted(worker)
    await worker.publish("room", **claim)
    assert await worker.presence.leave(PresenceEntry("room", "peer", claim["generation"]))
    with pytest.raises(NotMember):
        await worker.publish("room", **claim)


@pytest.mark.parametrize("backend", ["fakeredis", "redis"], indirect=True)
async def test_a_member_of_a_room_whose_state_was_lost_is_checked_again(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    claim = await admitted(worker)
    first = await worker.publish("room", **claim)
    keys = worker.keys.of_room("room")
    await asyncio.sleep(0.002)  # epochs are milliseconds
    await worker.client.call("DEL", *keys)
    with pytest.raises(NotMember):
        await worker.publish("room", **claim)
    await worker.presence.announce([PresenceEntry("room", "peer", claim["generation"], "f1")])
    second = await worker.publish("room", **claim)
    assert second.id.epoch > first.id.epoch
    assert second.id.seq == 2  # the announcement is the first


@pytest.mark.parametrize("backend", ["fakeredis", "redis"], indirect=True)
async def test_a_room_has_one_counter_for_all_claimed_versions(make_worker: MakeWorker) -> None:
    """Whether the script refuses the message or the slow path sends it: the fast path undoes its count."""
    worker = await make_worker("a")
    meta = worker.keys.of_room("room")[0]
    claim = await admitted(worker)
    await admitted(worker, "second")  # the first one's version is no longer the room's
    late = await worker.publish("room", **claim)
    claim |= {"seen": late.id, "version": late.version}
    assert (await worker.publish("room", **claim)).id.seq == late.id.seq + 1
    assert await worker.presence.leave(PresenceEntry("room", "peer", claim["generation"]))
    with pytest.raises(NotMember):
        await worker.publish("room", **claim)
    assert len(await worker.client.call("HGETALL", meta)) == 2 * 2
    await worker.client.call("DEL", meta)
    with pytest.raises(NotMember):
        await worker.publish("room", **claim)
    assert not await worker.client.call("EXISTS", meta)


@pytest.mark.parametrize("backend", ["fakeredis", "redis"], indirect=True)
async def test_a_counter_at_zero_is_not_removed_as_a_stray_one(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    meta = worker.keys.of_room("room")[0]
    claim = await admitted(worker)
    # As in a new epoch without any message, under a version that a member already has.
    epoch, version = claim["seen"].epoch, claim["version"].number
    await worker.client.call("HSET", meta, version, 0)
    await worker.client.call("DEL", worker.keys.of_room("room")[3])
    receipt = await worker.publish("room", **claim | {"seen": MessageId(epoch, 0)})
    assert receipt.id == (epoch, 1)
    assert await worker.client.call("HGETALL", meta) == [b"e", b"%d" % epoch, b"%d" % version, b"1"]


@pytest.mark.parametrize("backend", ["fakeredis", "redis"], indirect=True)
async def test_a_state_that_went_back_leaves_no_hole_and_begins_a_new_epoch(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    claim = await admitted(worker)
    first = await worker.publish("room", **claim)
    ahead = MessageId(first.id.epoch, first.id.seq + 10)
    second = await worker.publish("room", **claim | {"seen": ahead})
    assert second.id.epoch > first.id.epoch
    assert second.id.seq == 1
    third = await worker.publish("room", **claim | {"seen": second.id, "version": second.version})
    assert third.id == (second.id.epoch, 2)


@pytest.mark.parametrize("backend", ["fakeredis", "redis"], indirect=True)
async def test_a_room_older_than_a_seen_event_begins_a_new_epoch(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    first = (await worker.publish("room")).id
    ahead = MessageId(first.epoch, first.seq + 10)
    second = (await worker.publish("room", seen=ahead)).id
    assert second.epoch > first.epoch
    assert second.seq == 1


async def test_a_bus_is_ready_once_it_has_received_its_own_probe(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    async with asyncio.timeout(5):
        while not worker.bus.health().ready:
            await asyncio.sleep(0.01)
    assert worker.bus.health().reachable
    assert worker.bus.health().problem == ""


async def test_a_member_proves_its_place_by_its_key_on_any_worker(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    await join(a, "alice", fresh="0a" * 32)

    async def publish(worker: FakeWorker, peer: str, proof: str, **more: Any) -> MessageId:
        return (await worker.publish("room", sender=peer, proof=proof, **more)).id

    first = await publish(b, "alice", "0a" * 32, key="k")
    # The key of a message is its sender's own.
    assert await publish(a, "alice", "0a" * 32, key="k") == first
    assert (await publish(a, "alice", "0a" * 32, after="k")).seq == first.seq + 1
    for peer, proof in (("alice", "0b" * 32), ("alice", "0a" * 31), ("bob", "0a" * 32)):
        with pytest.raises(NotMember):
            await publish(b, peer, proof)


async def test_a_held_member_proves_its_place_until_it_is_gone(make_worker: MakeWorker) -> None:
    worker = await make_worker("a")
    entry, _ = await join(worker, "alice", fresh="0a" * 32)
    await worker.presence.leave(entry, hold=60)
    await worker.publish("room", sender="alice", proof="0a" * 32)
    # Another key, once the client has come back with the first one.
    await join(worker, "alice", offered="0a" * 32, fresh="0b" * 32, derived="0c" * 32)
    with pytest.raises(NotMember):
        await worker.publish("room", sender="alice", proof="0a" * 32)
    await worker.publish("room", sender="alice", proof="0c" * 32)


async def test_a_kept_key_stays_that_of_the_place(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    generations = []
    for worker in (a, b, a):
        _, joined = await join(worker, "alice", offered="0a" * 32, fresh="0a" * 32, derived="0a" * 32)
        generations.append(joined.generation)
        await worker.publish("room", sender="alice", proof="0a" * 32)
    assert generations == sorted(set(generations))
