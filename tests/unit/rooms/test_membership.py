"""Joining and leaving over memory, with failures put in."""

import asyncio

import pytest

from relay.model.envelope import MessageId
from relay.model.errors import OutcomeUnknown, Refused, Unavailable
from relay.rooms.claim import Claim
from tests.unit.rooms.world import World


async def test_a_join_subscribes_first_and_once(world: World) -> None:
    await world.join("a")
    await world.join("b")
    assert world.bus.calls == ["subscribe"]
    assert world.presence.calls == ["join", "join"]


async def test_a_welcome_tells_whether_the_missed_messages_follow(world: World) -> None:
    first = await world.join("a")
    seen = MessageId.parse(first.connection.sent[0]["id"])
    assert "recovered" not in first.connection.sent[0]
    key = first.connection.sent[0]["resume"]
    other = await world.join("b")
    await world.publish(other, b'{"n":1}')
    await world.publish(other, b'{"n":2}')
    back = await world.join("a", offered=key, since=seen)
    welcome, *missed, recovered = back.connection.sent
    assert (welcome["resumed"], welcome["recovered"], welcome["id"]) == (True, True, str(seen))
    assert [event["n"] for event in missed] == [1, 2]
    assert (recovered["type"], recovered["replayed"], recovered["id"][-2:]) == ("recovered", 2, "-5")
    stranger = await world.join("c", since=seen)
    welcome = stranger.connection.sent[0]
    assert (welcome["recovered"], welcome["reason"], welcome["id"][-2:]) == (False, "not_resumed", "-6")
    assert world.metric("relay_resumes_total", outcome="recovered") == 1
    assert world.metric("relay_resumes_total", outcome="not_resumed") == 1


async def test_messages_from_before_a_peers_first_join_are_not_replayed_to_it(world: World) -> None:
    other = await world.join("other")
    early = MessageId.parse(other.connection.sent[0]["id"])
    first = await world.join("a")
    await world.publish(other, b'{"n":"for the first a"}')
    await world.membership.leave(first, hold=False)
    second = await world.join("a")
    key = second.connection.sent[0]["resume"]
    for _ in range(2):
        back = await world.join("a", offered=key, since=early)
        key = back.connection.sent[0]["resume"]
        assert [(event["type"], event["reason"]) for event in back.connection.sent] == [("welcome", "not_resumed")]
        await world.announce()


@pytest.mark.parametrize(("epochs", "seqs"), [(-1, 0), (1, 0), (0, 100)])
async def test_an_id_that_the_room_never_had_is_not_recovered_and_changes_nothing(
    world: World, epochs: int, seqs: int
) -> None:
    first = await world.join("a")
    welcome = first.connection.sent[0]
    seen = MessageId.parse(welcome["id"])
    since = MessageId(seen.epoch + epochs, seen.seq + seqs)
    back = await world.join("a", offered=welcome["resume"], since=since)
    welcome = back.connection.sent[0]
    assert (welcome["resumed"], welcome["recovered"], welcome["reason"]) == (True, False, "epoch")
    assert MessageId.parse(welcome["id"]).epoch == seen.epoch
    assert world.backend.room("room").epoch == seen.epoch


async def test_a_history_that_cannot_be_read_leaves_the_membership_to_be_resumed(world: World) -> None:
    first = await world.join("a")
    welcome = first.connection.sent[0]
    since = MessageId.parse(welcome["id"])
    world.bus.before["replay"] = [Unavailable()]
    with pytest.raises(Unavailable):
        await world.join("a", offered=welcome["resume"], since=since)
    await world.pass_time(0)
    assert await world.roster() == [("a", True)]
    again = await world.join("a", offered=welcome["resume"], since=since)
    assert again.connection.sent[0]["recovered"] is True


async def test_a_refused_join_leaves_nothing_behind(world: World) -> None:
    await world.join("a")
    with pytest.raises(Refused):
        await world.join("a")
    assert len(world.departures) == 0
    assert await world.roster() == [("a", False)]
    world.bus.before["subscribe"] = [Unavailable()]
    with pytest.raises(Unavailable):
        await world.join("x", room="alone")
    assert world.rooms.names() == ["room"]


async def test_a_join_whose_reply_was_lost_is_undone_when_redis_answers_again(world: World) -> None:
    world.presence.after["join"] = [OutcomeUnknown()]
    world.presence.before["leave"] = [Unavailable()]
    with pytest.raises(OutcomeUnknown):
        await world.join("a")
    assert await world.roster() == [("a", False)]
    await world.pass_time(0)
    assert await world.roster() == [("a", False)]
    await world.pass_time()
    assert await world.roster() == []
    assert len(world.departures) == 0


async def test_a_leave_ends_a_membership_at_once_and_a_lost_connection_after_the_grace_time(world: World) -> None:
    polite, lost = await world.join("polite"), await world.join("lost")
    await world.membership.leave(polite, hold=False)
    await world.membership.leave(lost, hold=True)
    assert await world.roster() == [("lost", True)]
    await world.pass_time(14.9)
    assert await world.roster() == [("lost", True)]
    await world.pass_time(0.1)
    assert await world.roster() == []
    assert world.rooms.get("room") is None
    assert "room" not in world.departures


async def test_without_a_grace_time_a_lost_connection_ends_the_membership_at_once() -> None:
    world = World(grace=0)
    lost = await world.join("lost")
    await world.membership.leave(lost, hold=True)
    assert await world.roster() == []


async def test_leaving_twice_is_leaving_once(world: World) -> None:
    member = await world.join("a")
    await world.membership.leave(member, hold=False)
    await world.membership.leave(member, hold=False)
    assert world.presence.calls.count("leave") == 1


async def test_a_member_that_resumed_stays_when_the_hold_of_its_old_connection_ends(world: World) -> None:
    member = await world.join("a")
    key = member.connection.sent[0]["resume"]
    await world.membership.leave(member, hold=True)
    back = await world.join("a", offered=key)
    assert back.connection.sent[0]["resumed"]
    await world.pass_time(20)
    assert await world.roster() == [("a", False)]
    assert len(world.departures) == 0


async def test_a_member_that_joins_while_all_are_announced_asks_for_one_more_round(world: World) -> None:
    first = await world.join("a")
    welcome = first.connection.sent[0]

    async def announce_and_lose_the_entry() -> None:
        await world.announce()
        del world.entries()["a"]

    world.bus.meanwhile["replay"] = announce_and_lose_the_entry
    await world.join("a", offered=welcome["resume"], since=MessageId.parse(welcome["id"]))
    assert world.announcer.needed
    await world.announce()
    assert not world.announcer.needed
    assert await world.roster() == [("a", False)]


async def test_a_resume_whose_reply_was_lost_does_not_cost_the_membership(world: World) -> None:
    first = await world.join("a")
    key = first.connection.sent[0]["resume"]
    await world.membership.leave(first, hold=True)
    world.presence.after["join"] = [OutcomeUnknown()]
    with pytest.raises(OutcomeUnknown):
        await world.join("a", offered=key)
    await world.pass_time(0)
    assert await world.roster() == [("a", True)]
    back = await world.join("a", offered=key)
    assert back.connection.sent[0]["resumed"] is True


async def test_a_member_that_cannot_be_welcomed_leaves(world: World, monkeypatch) -> None:
    await world.join("other")
    broken = world.member("broken")
    monkeypatch.setattr(broken.connection, "write", None)
    with pytest.raises(TypeError):
        await world.membership.join(broken, Claim(), since=None)
    assert not world.rooms.has(broken)
    await world.pass_time(0)
    assert await world.roster() == [("broken", True), ("other", False)]
    await world.pass_time(60)
    assert await world.roster() == [("other", False)]


async def test_a_moved_client_keeps_its_key_and_a_resume_only_join_makes_no_new_member(world: World) -> None:
    here = await world.join("p")
    key = here.connection.sent[0]["resume"]
    there = world.member("p", "there")
    await world.membership.join(there, Claim(moved_from=here), since=None)
    await world.membership.leave(there, hold=True)
    back = world.member("p", "there")
    await world.membership.join(back, Claim(key, resume_only=True), since=None)
    assert back.connection.sent[0]["resumed"]
    stranger = world.member("q", "there")
    with pytest.raises(Refused) as refused:
        await world.membership.join(stranger, Claim(key, resume_only=True), since=MessageId(1, 1))
    assert refused.value.code == "not_joined"
    assert await world.roster("there") == [("p", False)]
    assert world.metric("relay_resumes_total", outcome="not_resumed") == 1


async def test_a_move_that_is_repeated_keeps_the_membership_of_the_first_attempt(world: World) -> None:
    here = await world.join("p")
    world.presence.after["join"] = [OutcomeUnknown()]
    with pytest.raises(OutcomeUnknown):
        await world.membership.join(world.member("p", "there"), Claim(moved_from=here), since=None)
    again = world.member("p", "there")
    await world.membership.join(again, Claim(moved_from=here), since=None)
    await world.pass_time(0)
    assert await world.roster("there") == [("p", False)]
    await world.membership.leave(again, hold=True)
    back = world.member("p", "there")
    await world.membership.join(back, Claim(here.connection.sent[0]["resume"], resume_only=True), since=None)
    assert back.connection.sent[0]["resumed"]


async def test_a_cancelled_join_is_undone(world: World) -> None:
    never = asyncio.Event()
    world.presence.meanwhile["join"] = never.wait
    joining = asyncio.create_task(world.join("a"))
    while "join" not in world.presence.calls:
        await asyncio.sleep(0)
    joining.cancel()
    await asyncio.wait([joining])
    assert world.rooms.names() == []
    assert len(world.departures) == 1
    await world.pass_time(0)
    assert len(world.departures) == 0


@pytest.mark.parametrize("presence", [False, True])
async def test_a_member_that_missed_no_message_is_recovered_and_gets_a_list_of_the_changes(
    world: World, presence: bool
) -> None:
    before = await world.join("a", offered="key", presence=presence)
    await world.join("b")
    await asyncio.sleep(0)
    position = world.rooms.last("room")
    await world.membership.leave(before, hold=True)
    await world.join("c")
    state = world.backend.room("room")
    while state.history:
        state.forget_oldest(large=10**6)
    after = await world.join("a", offered="key", since=position, presence=presence)
    welcome, recovered, *lists = after.connection.sent
    assert (welcome["recovered"], welcome["id"], recovered["replayed"]) == (True, str(position), 0)
    assert recovered["id"] == str(world.backend.room("room").id)
    names = [[one["peer"] for one in listed["members"]] for listed in lists]
    assert names == ([["a", "b", "c"]] if presence else [])
    assert [listed["id"] for listed in lists] == [recovered["id"]] * presence


async def test_a_member_that_missed_only_returns_gets_no_list(world: World) -> None:
    before = await world.join("a", offered="key", presence=True)
    await world.join("b", offered="theirs")
    await asyncio.sleep(0)
    position = world.rooms.last("room")
    await world.membership.leave(before, hold=True)
    await world.join("b", offered="theirs")
    state = world.backend.room("room")
    while state.history:
        state.forget_oldest(large=10**6)
    after = await world.join("a", offered="key", since=position, presence=True)
    assert [frame["type"] for frame in after.connection.sent] == ["welcome", "recovered"]
    assert after.connection.sent[0]["recovered"] is True
