"""Notices of a room, told and carried out in the room's order."""

from relay.backend.presence import JoinAttempt
from relay.backend.rules import Change, Kicking
from relay.model.errors import KICKED, ROOM_CLOSED, CloseReason
from relay.model.events import Kicked, Moved, Replay, RulesChanged, Welcome
from relay.model.rules import RoomRules
from relay.rooms.member import Member
from relay.rooms.observer import Sight
from relay.rooms.room_notices import is_for
from tests.unit.rooms.world import World


class FakeHost:
    def __init__(self) -> None:
        self.calls: list[tuple[str, object]] = []

    def put_out(self, member: Member, reason: CloseReason) -> None:
        self.calls.append((member.peer, reason))

    def moved(self, member: Member, room: str) -> None:
        self.calls.append((member.peer, room))


def types(member: Member) -> list[str]:
    return [event.get("type", "message") for event in member.connection.sent]


async def test_all_hear_of_rules_and_only_of_news() -> None:
    world = World()
    member, observer = await world.join(), await world.observe(Sight.EVERYTHING)
    await world.store.change("room", Change(set="l=1"))
    await world.store.change("room", Change(set="a=1"))
    await world.settle()
    assert types(member) == ["welcome", "rules"]
    assert types(observer) == ["welcome", "rules"]
    assert member.connection.sent[1]["rules"]["locked"] is True


async def test_presence_comes_before_a_notice() -> None:
    world = World()
    watcher = await world.join("w", presence=True)
    await world.join("p")
    await world.store.change("room", Change(set="l=1"))
    await world.settle()
    assert types(watcher) == ["welcome", "presence", "rules"]


async def test_a_kicked_member_hears_it_and_is_out_and_the_others_see_it_leave() -> None:
    world = World()
    watcher, bad = await world.join("w", presence=True), await world.join("bad")
    bad.host = host = FakeHost()
    await world.store.kick(Kicking(room="room", peer="bad", reason="noise"))
    await world.settle()
    assert types(bad) == ["welcome", "kicked"]
    assert host.calls == [("bad", KICKED)]
    assert not world.rooms.has(bad)
    world.notices.flush_all()
    assert types(watcher) == ["welcome", "presence", "kicked", "presence"]
    assert watcher.connection.sent[-1]["left"] == ["bad"]


async def test_a_later_membership_is_not_meant_by_a_kick() -> None:
    world = World()
    member = await world.join()
    world.hub.deliver([Kicked("room", world.backend.room("room").next_id(), "p", "", member.generation - 1)])
    assert member.connection.reason is None
    assert world.rooms.has(member)


async def test_a_closed_room_puts_all_out() -> None:
    world = World()
    members = [await world.join(peer) for peer in "pq"]
    await world.store.change("room", Change(set="l=1"))
    await world.store.close("room", reason="over")
    await world.settle()
    assert [member.connection.reason for member in members] == [ROOM_CLOSED, ROOM_CLOSED]
    assert types(members[0])[-1] == "closed"
    assert world.copies.version("room") == 0


async def test_a_member_that_is_kicked_before_its_welcome_is_out_after_it() -> None:
    world = World()
    member = world.member("late")
    await world.subscriptions.stage(member)
    result = await world.presence.join(JoinAttempt(room="room", peer="late", offered="", fresh="f"))
    await world.store.kick(Kicking(room="room", peer="late"))
    await world.settle()
    welcome = Welcome("room", "late", result.id, "key")
    world.hub.admit(member, result.generation, welcome, Replay(result.id))
    assert types(member)[-1] == "kicked"
    assert member.connection.reason is KICKED


async def test_the_named_members_are_moved() -> None:
    world = World()
    p, q = await world.join("p"), await world.join("q")
    p.host = q.host = host = FakeHost()
    await world.store.move("room", "other", ["q"])
    await world.settle()
    assert types(p) == ["welcome"]
    assert types(q) == ["welcome", "move"]
    assert host.calls == [("q", "other")]
    everybody = Moved("room", world.rooms.last("room"), "other")
    assert is_for(everybody, p)


async def test_rules_that_came_by_no_event_are_told_with_the_last_id() -> None:
    world = World()
    member = await world.join()
    event = RulesChanged("room", world.rooms.last("elsewhere"), RoomRules(locked=True))
    world.hub.room_notices.tell(event)
    world.hub.room_notices.tell(RulesChanged("elsewhere", event.id, RoomRules()))
    assert member.connection.sent[-1]["id"] == str(world.rooms.last("room"))
