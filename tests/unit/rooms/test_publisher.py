"""Publishing over memory: the outcome, and its consequences."""

import asyncio

import pytest

from relay.backend.presence import TooLate
from relay.ids import fingerprint
from relay.model.commands import NO_IDENTITY, Identity, Publish
from relay.model.errors import REPLACED, RelayError, Replaced, Unavailable
from relay.rooms.claim import Claim
from tests.unit.rooms.world import World


async def test_a_publisher_without_an_entry_is_announced_and_publishes(world: World) -> None:
    member = await world.join("a")
    del world.entries()["a"]
    receipt = await world.publish(member)
    assert receipt.id.seq == 3  # the join, the join once more, the message
    assert await world.roster() == [("a", False)]


async def test_an_announcement_that_fails_is_the_outcome(world: World) -> None:
    member = await world.join("a")
    del world.entries()["a"]
    world.presence.before["announce"] = [Unavailable()]
    assert isinstance(await world.publish(member), Unavailable)


async def test_a_member_whose_announcement_has_no_effect_does_not_get_not_joined(world: World, monkeypatch) -> None:
    """An announcement that fails inside Redis for this room alone raises nothing."""
    member = await world.join("a")
    del world.entries()["a"]

    async def announce(entries):
        return []

    monkeypatch.setattr(world.presence, "announce", announce)
    assert isinstance(await world.publish(member), Unavailable)


async def test_messages_that_come_while_their_member_is_announced_stay_behind_the_earlier_ones(
    world: World, monkeypatch
) -> None:
    member, announce, answer = await world.join("a"), world.presence.announce, asyncio.Event()
    del world.entries()["a"]

    async def announce_and_wait(entries):
        result = await announce(entries)
        # Redis has the entry from here on, and its reply is on the way.
        await answer.wait()
        return result

    monkeypatch.setattr(world.presence, "announce", announce_and_wait)
    first = asyncio.create_task(world.publish(member))
    while "a" not in world.entries():
        await asyncio.sleep(0)
    second = asyncio.create_task(world.publish(member))
    await asyncio.sleep(0)
    answer.set()
    assert (await first).id < (await second).id
    # And the next ones do not wait any more.
    assert (await world.publish(member)).id > (await second).id


async def test_messages_of_a_member_whose_announcement_has_a_fault_are_refused(
    world: World, monkeypatch, caplog
) -> None:
    member = await world.join("a")
    del world.entries()["a"]
    world.presence.before["announce"] = [RuntimeError("defect")]
    assert isinstance(await world.publish(member), Unavailable)
    assert "defect" in caplog.text
    assert (await world.publish(member)).id


async def test_a_publisher_whose_worker_stood_still_waits_for_the_next_heartbeat(world: World, monkeypatch) -> None:
    monkeypatch.setattr("relay.rooms.announcer._PAUSE", 0)
    member = await world.join("a")
    del world.entries()["a"]
    world.presence.before["announce"] = [TooLate(), TooLate()]
    assert (await world.publish(member)).id
    del world.entries()["a"]
    world.presence.before["announce"] = [TooLate()] * 100
    assert isinstance(await world.publish(member), TooLate)


async def test_a_publisher_that_leaves_meanwhile_is_not_announced_again(world: World, monkeypatch) -> None:
    monkeypatch.setattr("relay.rooms.announcer._PAUSE", 0)
    member = await world.join("a")
    del world.entries()["a"]
    world.presence.before["announce"] = [TooLate()]
    publishing = asyncio.create_task(world.publish(member))
    while world.presence.before["announce"]:
        await asyncio.sleep(0)
    await world.membership.leave(member, hold=False)
    assert isinstance(await publishing, Replaced)
    assert await world.roster() == []


async def test_a_publisher_that_was_taken_over_is_closed(world: World) -> None:
    member = await world.join("a")
    world.entries()["a"].generation += 1
    assert isinstance(await world.publish(member), Replaced)
    assert member.connection.reason is REPLACED


async def test_a_publisher_that_left_before_it_was_announced_stays_away(world: World) -> None:
    member = await world.join("a")
    del world.entries()["a"]
    publishing = asyncio.ensure_future(world.publish(member))
    await asyncio.sleep(0)
    await world.membership.leave(member, hold=True)
    assert isinstance(await publishing, RelayError)
    assert await world.roster() == []


async def test_one_message_in_sixteen_is_measured(world: World) -> None:
    member = await world.join("a")
    await asyncio.sleep(0)
    for _ in range(33):
        await world.publish(member)
    await asyncio.sleep(0)
    assert world.metric("relay_publish_duration_seconds_count") == 2
    assert world.metric("relay_delivery_duration_seconds_count") == 2


async def test_a_key_is_remembered_only_of_messages_that_are_to_be_sent_once(world: World) -> None:
    member = await world.join("a")
    receipts = []
    for identity in (None, None, NO_IDENTITY, NO_IDENTITY, Identity("k"), Identity("other")):
        world.publisher.publish(member, Publish(b"{}", key="k", identity=identity), receipts.append)
    assert [receipt.repeat for receipt in receipts] == [False, True, False, False, True, False]


async def test_a_server_gets_the_receipt_or_the_error(world: World) -> None:
    member = await world.join("a")
    await asyncio.sleep(0)
    receipt = await world.publisher.publish_from_server("room", Publish(b'{"n":1}'))
    await asyncio.sleep(0)
    assert member.connection.sent[1]["from"] == "$server"
    assert member.connection.sent[1]["id"] == str(receipt.id)
    with pytest.raises(RelayError) as refused:
        await world.publisher.publish_from_server("room", Publish(b"{}", to=("nobody",)))
    assert refused.value.code == "no_such_peer"


async def test_an_outcome_for_a_server_that_gave_up_is_ignored(world: World, monkeypatch) -> None:
    callbacks = []
    monkeypatch.setattr(world.bus._inner, "publish", lambda publication, done: callbacks.append(done))
    publishing = asyncio.create_task(world.publisher.publish_from_server("room", Publish(b"{}")))
    await asyncio.sleep(0)
    publishing.cancel()
    await asyncio.wait([publishing])
    callbacks[0](Unavailable())


async def test_a_post_is_published_although_the_place_has_moved_to_another_worker(world: World) -> None:
    member = world.member("a")
    await world.membership.join(member, Claim("its own key", own_key=True), since=None)
    world.entries()["a"].generation += 1
    receipt = await world.publisher.publish_by_key("room", "a", fingerprint("its own key"), Publish(b"{}"))
    assert not receipt.repeat
    assert member.connection.reason is REPLACED


async def test_one_message_at_a_time_is_timed_and_one_in_sixteen_at_most(world: World, monkeypatch) -> None:
    member = await world.join("a")
    counts = world.metrics.publish_seconds._counts
    held = []
    publish = world.bus.publish
    monkeypatch.setattr(world.bus, "publish", lambda publication, done: held.append((publication, done)))
    for _ in range(48):
        world.publisher.publish(member, Publish(b"{}"), lambda _: None)
    for publication, done in held:
        publish(publication, done)
    assert sum(counts) == 1
    monkeypatch.setattr(world.bus, "publish", publish)
    for _ in range(16):
        await world.publish(member)
    assert sum(counts) == 2
    monkeypatch.setattr(world.bus, "publish", lambda publication, done: done(Unavailable()))
    for _ in range(20):
        world.publisher.publish(member, Publish(b"{}"), lambda _: None)
    monkeypatch.setattr(world.bus, "publish", publish)
    for _ in range(16):
        await world.publish(member)
    assert sum(counts) == 3
