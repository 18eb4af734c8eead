"""The hub over fake connections: which member is sent which event, and in which order."""

import pytest

from relay.gateways.native.gateway import NativeCodec
from relay.metrics import Metrics
from relay.model.codec import Frame
from relay.model.envelope import MessageId
from relay.model.errors import REPLACED, SUPERSEDED, CloseReason
from relay.model.events import (
    Gap,
    Loss,
    MemberChanged,
    MemberJoined,
    MemberLeft,
    Message,
    Replay,
    RoomEvent,
    TakenOver,
    Welcome,
)
from relay.rooms.connection import QueuedConnection, WireConnection
from relay.rooms.hub import Hub
from relay.rooms.member import Member
from relay.rooms.notices import PresenceNotices
from relay.rooms.registry import LocalRooms
from tests.unit.rooms.world import FakeConnection


class CountingCodec(NativeCodec):
    encoded = 0

    def encode(self, event) -> Frame:
        type(self).encoded += isinstance(event, Message)
        return super().encode(event)


class World:
    def __init__(self) -> None:
        self.later = []
        self.gaps = []
        self.metrics = Metrics()
        self.rooms = LocalRooms(self.metrics)
        self.notices = PresenceNotices(self.rooms, self.later.append)
        self.counts = []
        self.epochs = []
        self.joined = []
        self.hub = Hub(
            self.rooms,
            self.notices,
            self.metrics,
            on_gap=self.gaps.append,
            on_count=self.counts.append,
            on_new_epoch=self.epochs.append,
            on_joined=self.joined.append,
        )

    def stage(self, peer: str, **options) -> Member:
        member = Member(FakeConnection(), NativeCodec(), "room", peer, **options)
        self.rooms.stage(member)
        return member

    def admit(self, member: Member, seq: int, generation: int = 1) -> None:
        self.hub.admit(member, generation, Welcome("room", member.peer, an_id(seq), "key"), Replay(an_id(seq)))

    def resume(self, member: Member, since: int, *missed: RoomEvent) -> None:
        welcome = Welcome("room", member.peer, an_id(since), "key", resumed=True, recovered=True)
        self.hub.admit(member, 2, welcome, Replay(missed[-1].id if missed else an_id(since), missed))

    def recover(self, seq: int, *events: RoomEvent, lost: Loss = "", epoch: int = 1, read: bool = True) -> None:
        if read:
            self.hub.begin_reading("room")
        self.hub.recover("room", Replay(an_id(seq, epoch), events, lost))

    def add(self, peer: str, *, seq: int = 0, **options) -> Member:
        member = self.stage(peer, **options)
        self.admit(member, seq)
        return member

    def tick(self) -> None:
        while self.later:
            self.later.pop()()


def an_id(seq: int, epoch: int = 1) -> MessageId:
    return MessageId(epoch, seq)


def message(seq: int, sender: str = "s", to: tuple[str, ...] = (), channel: str = "", epoch: int = 1) -> Message:
    return Message(
        "room", an_id(seq, epoch), sender, to, channel, b'{"from":"%s","id":"%d-%d"' % (sender.encode(), epoch, seq)
    )


@pytest.fixture
def world() -> World:
    return World()


def test_a_message_reaches_all_but_its_sender_unless_the_sender_asks_for_an_echo(world: World) -> None:
    a, b, c = world.add("a"), world.add("b"), world.add("c", echo=True)
    world.hub.deliver([message(1, "a"), message(2, "c")])
    assert (a.connection.ids, b.connection.ids, c.connection.ids) == (["1-2"], ["1-1", "1-2"], ["1-1", "1-2"])


def test_a_frame_is_made_once_however_many_members_receive_it(world: World) -> None:
    CountingCodec.encoded = 0
    for number in range(20):
        member = Member(FakeConnection(), CountingCodec(), "room", f"p{number}")
        world.rooms.stage(member)
        world.admit(member, 0)
    world.hub.deliver([message(1)])
    assert CountingCodec.encoded == 1


def test_direct_messages_reach_only_their_addressees(world: World) -> None:
    a, b, c = world.add("a"), world.add("b"), world.add("c")
    world.hub.deliver([message(1, "a", to=("b", "elsewhere", "a"))])
    assert (a.connection.ids, b.connection.ids, c.connection.ids) == ([], ["1-1"], [])


def test_a_peer_that_joins_is_awaited(world: World) -> None:
    heard: list[str] = []
    stop = world.hub.await_arrival("room", "b", lambda: heard.append("nobody is here"))
    world.add("a")
    first = world.hub.await_arrival("room", "b", lambda: heard.append("first"))
    second = world.hub.await_arrival("room", "b", lambda: heard.append("second"))
    world.hub.deliver([MemberJoined("room", an_id(1), "c"), MemberJoined("room", an_id(2), "b")])
    assert heard == ["first", "second"]
    for end in (first, first, stop):
        end()
    world.hub.deliver([MemberLeft("room", an_id(3), "b"), MemberJoined("room", an_id(4), "b")])
    assert heard == ["first", "second", "second"]
    second()
    assert world.rooms["room"].arrivals is None


def test_channels_filter_messages(world: World) -> None:
    a, b = world.add("a"), world.add("b")
    a.channels = {"x"}
    world.hub.deliver([message(1, channel="x"), message(2, channel="y"), message(3)])
    assert (a.connection.ids, b.connection.ids) == (["1-1"], ["1-1", "1-2", "1-3"])


def test_events_of_rooms_without_members_here_are_ignored(world: World) -> None:
    world.hub.deliver([message(1)])
    assert world.rooms.names() == []


def test_events_before_the_welcome_follow_it_but_for_those_it_covers(world: World) -> None:
    world.add("old")
    new = world.stage("new")
    world.hub.deliver([message(1), message(2), message(3)])
    assert new.connection.frames == []
    world.admit(new, 2)
    world.hub.deliver([message(4)])
    assert [event.get("type", event["id"]) for event in new.connection.sent] == ["welcome", "1-3", "1-4"]


def test_a_welcome_ahead_of_the_room_is_not_followed_by_older_messages(world: World) -> None:
    world.add("old")
    new = world.stage("new")
    world.admit(new, 2)
    world.hub.deliver([message(1), MemberJoined("room", an_id(2), "new"), message(3)])
    assert new.connection.ids == ["1-3"]


def test_a_joining_member_is_replaced_like_any_other(world: World) -> None:
    ahead = world.add("p", seq=5)
    world.hub.deliver([TakenOver("room", an_id(6), "p", 2)])
    assert ahead.connection.reason is REPLACED
    assert world.rooms.names() == []


def test_joins_and_leaves_are_sent_in_batches_and_only_to_watchers(world: World) -> None:
    watcher, other = world.add("w", presence=True), world.add("o")
    world.hub.deliver(
        [MemberJoined("room", an_id(1), "a"), MemberJoined("room", an_id(2), "b"), MemberLeft("room", an_id(3), "c")]
    )
    assert len(watcher.connection.sent) == 1
    world.tick()
    assert watcher.connection.sent[1:] == [{"type": "presence", "joined": ["a", "b"], "left": ["c"], "id": "1-3"}]
    assert len(other.connection.sent) == 1


def test_a_join_is_sent_before_the_new_members_first_message(world: World) -> None:
    watcher = world.add("w", presence=True)
    world.hub.deliver([MemberJoined("room", an_id(1), "a"), message(2, "a")])
    assert [event.get("type", "envelope") for event in watcher.connection.sent] == ["welcome", "presence", "envelope"]
    world.tick()
    assert len(watcher.connection.sent) == 3


def test_changed_infos_are_sent_to_watchers_in_the_rooms_order(world: World) -> None:
    watcher, other = world.add("w", presence=True), world.add("o")
    changes = [MemberChanged("room", an_id(1), "o", b'{"n":1}'), MemberChanged("room", an_id(2), "o", b'{"n":2}')]
    world.hub.deliver([*changes, message(3, "o")])
    world.tick()
    assert watcher.connection.sent[1:] == [
        {"type": "presence", "joined": [], "left": [], "changed": ["o"], "info": {"o": {"n": 2}}, "id": "1-2"},
        {"from": "o", "id": "1-3"},
    ]
    assert len(other.connection.sent) == 1


def test_a_leave_and_a_join_of_one_peer_are_two_changes(world: World) -> None:
    watcher = world.add("w", presence=True)
    world.hub.deliver([MemberLeft("room", an_id(1), "a"), MemberJoined("room", an_id(2), "a")])
    world.tick()
    sent = [(event["left"], event["joined"]) for event in watcher.connection.sent[1:]]
    assert sent == [(["a"], []), ([], ["a"])]


def test_a_new_watcher_is_not_sent_its_own_join_nor_changes_that_its_list_has(world: World) -> None:
    world.add("first", presence=True)
    world.hub.deliver([MemberJoined("room", an_id(1), "second")])
    new = world.stage("new", presence=True)
    world.admit(new, 2)
    world.hub.deliver([MemberJoined("room", an_id(2), "new"), MemberJoined("room", an_id(3), "third")])
    world.tick()
    assert [event["joined"] for event in new.connection.sent[1:]] == [["third"]]


def test_a_takeover_closes_the_older_connection_alone(world: World) -> None:
    old = world.add("p")
    world.hub.deliver([TakenOver("room", an_id(1), "p", 1)])
    assert old.connection.reason is None
    world.hub.deliver([TakenOver("room", an_id(2), "p", 2)])
    assert old.connection.reason is REPLACED
    assert world.rooms.remove(old) is False


def test_a_connection_that_an_attempt_with_the_same_key_replaces_may_try_again(world: World) -> None:
    old = world.add("p")
    world.hub.deliver([TakenOver("room", an_id(1), "p", 2, repeated=True)])
    assert old.connection.reason is SUPERSEDED


@pytest.mark.parametrize(("key", "reason"), [("k1", SUPERSEDED), ("k2", REPLACED), ("", REPLACED)])
def test_the_same_on_one_worker(world: World, key: str, reason: CloseReason) -> None:
    old, new = world.add("p"), world.stage("p")
    old.resume, new.resume = key and "k1", key
    world.admit(new, 0, generation=2)
    assert old.connection.reason is reason


def test_a_resume_on_the_same_worker_replaces_the_old_connection(world: World) -> None:
    old = world.add("p")
    new = world.stage("p")
    world.admit(new, 0, generation=2)
    assert old.connection.reason is REPLACED
    world.hub.deliver([TakenOver("room", an_id(1), "p", 2), message(2)])
    assert new.connection.reason is None
    assert new.connection.ids == ["1-2"]


# Gaps.


def test_events_after_a_hole_wait_for_the_missing_ones(world: World) -> None:
    a, b = world.add("a"), world.add("b")
    world.hub.deliver([message(1)])
    world.hub.deliver([message(4), message(5)])
    assert a.connection.ids == ["1-1"]
    assert (world.gaps, world.hub.begin_reading("room")) == ([["room"]], an_id(1))
    world.recover(5, message(2), message(3), message(4), message(5))
    world.hub.deliver([message(6)])
    for member in (a, b):
        assert member.connection.ids == ["1-1", "1-2", "1-3", "1-4", "1-5", "1-6"]
    assert (world.gaps, world.hub.begin_reading("room")) == ([["room"]], None)


def test_replayed_events_that_arrive_once_more_are_not_sent_twice(world: World) -> None:
    a = world.add("a")
    world.hub.deliver([message(1), Gap(["room"]), message(2)])
    world.recover(4, message(2), message(3), message(4))
    world.hub.deliver([message(3), message(4), message(5)])
    assert a.connection.ids == ["1-1", "1-2", "1-3", "1-4", "1-5"]
    assert world.hub.begin_reading("room") is None


def test_a_gap_is_recovered_only_in_rooms_with_members(world: World) -> None:
    world.add("a")
    world.hub.deliver([Gap(["room", "elsewhere"])])
    assert world.gaps == [["room"]]
    assert world.metrics.registry.get_sample_value("relay_room_gaps_total") == 2


def test_a_gap_without_missing_events_is_invisible_to_members(world: World) -> None:
    a = world.add("a", presence=True)
    world.hub.deliver([message(1), Gap(["room"])])
    assert world.hub.begin_reading("room") == an_id(1)
    world.recover(1)
    assert len(a.connection.sent) == 2
    world.hub.deliver([message(2)])
    assert a.connection.ids == ["1-1", "1-2"]


def test_a_second_gap_during_a_recovery_is_recovered_too(world: World) -> None:
    a = world.add("a")
    world.hub.deliver([Gap(["room"])])
    assert world.hub.begin_reading("room") == an_id(0)
    world.hub.deliver([Gap(["room"]), message(3)])
    world.recover(1, message(1), read=False)
    assert world.hub.begin_reading("room") == an_id(1)
    world.recover(3, message(2), message(3))
    assert world.hub.begin_reading("room") is None
    assert a.connection.ids == ["1-1", "1-2", "1-3"]


def test_a_second_gap_during_a_recovery_is_recovered_even_if_no_event_follows(world: World) -> None:
    world.add("a")
    world.hub.deliver([Gap(["room"])])
    assert world.hub.begin_reading("room") == an_id(0)
    world.hub.deliver([Gap(["room"])])
    world.recover(1, message(1), read=False)
    assert (world.gaps, world.hub.begin_reading("room")) == ([["room"], ["room"]], an_id(1))


def test_a_gap_before_the_first_welcome_is_recovered_after_it(world: World) -> None:
    member = world.stage("a")
    world.hub.deliver([Gap(["room"])])
    assert world.gaps == []
    world.admit(member, 3)
    assert (world.gaps, world.hub.begin_reading("room")) == ([["room"]], an_id(3))


def test_lost_events_are_reported_with_the_reason(world: World) -> None:
    watcher, other = world.add("w", presence=True), world.add("o")
    world.hub.deliver([message(1), message(9)])
    world.recover(9, lost="trimmed")
    error, envelope = watcher.connection.sent[2:]
    assert error == {
        "type": "error", "code": "messages_lost", "text": error["text"], "reason": "trimmed", "id": "1-8",
    }  # fmt: skip
    assert envelope["id"] == "1-9"
    assert world.rooms["room"].changed == an_id(8)
    assert [event.get("code", event["id"]) for event in other.connection.sent[2:]] == ["messages_lost", "1-9"]


def test_a_new_epoch_is_reported_as_a_loss_and_delivery_goes_on_from_it(world: World) -> None:
    a = world.add("a")
    world.hub.deliver([message(7 - 6), message(1, epoch=2)])
    world.recover(2, lost="epoch", epoch=2)
    world.hub.deliver([message(2, epoch=2)])
    assert [event.get("code", event["id"]) for event in a.connection.sent[1:]] == ["1-1", "messages_lost", "2-1", "2-2"]


def test_a_state_that_went_back_is_reported_although_the_ids_have_no_hole(world: World) -> None:
    a = world.add("a")
    world.hub.deliver([message(seq) for seq in (1, 2, 3)])
    world.hub.deliver([Gap(["room"]), message(3, "x")])
    assert world.hub.begin_reading("room") == an_id(2)
    world.recover(5, message(3, "x"), message(4), message(5), read=False)
    codes = [event.get("code", event["id"]) for event in a.connection.sent[1:]]
    assert codes == ["1-1", "1-2", "1-3", "messages_lost", "1-4", "1-5"]


def test_replayed_events_that_arrive_once_more_during_a_second_recovery_are_no_loss(world: World) -> None:
    a = world.add("a")
    world.hub.deliver([message(1), Gap(["room"])])
    assert world.hub.begin_reading("room") == an_id(1)
    world.hub.deliver([Gap(["room"])])
    world.recover(3, message(2), message(3), read=False)
    world.hub.deliver([message(3), message(4)])
    world.recover(4, message(4))
    world.hub.deliver([message(5)])
    assert [event.get("code", event["id"]) for event in a.connection.sent[1:]] == ["1-1", "1-2", "1-3", "1-4", "1-5"]


def test_a_state_that_went_back_after_a_recovery_is_reported_too(world: World) -> None:
    a = world.add("a")
    world.hub.deliver([message(1), Gap(["room"])])
    world.recover(3, message(2), message(3))
    world.hub.deliver([Gap(["room"]), message(3, "x")])
    world.recover(4, message(3, "x"), message(4))
    codes = [event.get("code", event["id"]) for event in a.connection.sent[1:]]
    assert codes == ["1-1", "1-2", "1-3", "messages_lost", "1-4"]


def test_events_that_a_master_of_the_past_published_are_not_delivered(world: World) -> None:
    a = world.add("a")
    world.hub.deliver([message(seq) for seq in (1, 2, 3)])
    world.hub.deliver([message(3, "x"), message(4, "x"), message(5, "x")])
    assert world.hub.doubts_events("room")
    assert world.hub.begin_reading("room") == an_id(2)
    world.hub.deliver([message(4)])
    world.recover(4, message(3), message(4), read=False)
    assert not world.hub.doubts_events("room")
    world.hub.deliver([message(5)])
    assert [event.get("code", event["id"]) for event in a.connection.sent[1:]] == ["1-1", "1-2", "1-3", "1-4", "1-5"]
    assert [event["from"] for event in a.connection.sent[1:]].count("x") == 0


def test_nor_are_those_whose_ids_were_read_from_the_history(world: World) -> None:
    a = world.add("a")
    world.hub.deliver([message(1), Gap(["room"])])
    world.recover(3, message(2), message(3))
    world.hub.deliver([message(2), message(3, "x"), message(4, "x"), message(3, "x")])
    world.recover(4, message(3), message(4))
    world.hub.deliver([message(4), message(5)])
    assert [event.get("code", event["id"]) for event in a.connection.sent[1:]] == ["1-1", "1-2", "1-3", "1-4", "1-5"]
    assert [event["from"] for event in a.connection.sent[1:]].count("x") == 0


def test_nor_are_those_that_arrive_while_the_history_is_read(world: World) -> None:
    a = world.add("a")
    world.hub.deliver([message(1), Gap(["room"])])
    assert world.hub.begin_reading("room") == an_id(1)
    world.hub.deliver([message(1, "x"), message(2, "x")])
    world.recover(2, message(2), read=False)
    assert world.hub.begin_reading("room") is not None
    world.recover(2, message(1), message(2), read=False)
    world.hub.deliver([message(3)])
    assert [event.get("code", event["id"]) for event in a.connection.sent[1:]] == ["1-1", "1-2", "1-3"]
    assert [event["from"] for event in a.connection.sent[1:]].count("x") == 0


def test_a_state_that_went_back_while_the_history_was_read_is_reported(world: World) -> None:
    a = world.add("a")
    world.hub.deliver([message(seq) for seq in (1, 2, 3)])
    world.hub.deliver([Gap(["room"])])
    assert world.hub.begin_reading("room") == an_id(3)
    world.hub.deliver([message(2, "x"), message(3, "x")])
    world.recover(3, read=False)
    assert world.hub.begin_reading("room") == an_id(1)
    world.hub.deliver([message(4)])
    world.recover(3, message(2, "x"), message(3, "x"), read=False)
    codes = [event.get("code", event["id"]) for event in a.connection.sent[1:]]
    assert codes == ["1-1", "1-2", "1-3", "messages_lost", "1-4"]


def test_a_loss_ends_a_recovery_in_which_an_event_became_doubtful(world: World) -> None:
    a = world.add("a")
    world.hub.deliver([message(1), Gap(["room"])])
    assert world.hub.begin_reading("room") == an_id(1)
    world.hub.deliver([message(1, "x")])
    world.recover(1, lost="trimmed", read=False)
    assert [event.get("code", event["id"]) for event in a.connection.sent[1:]] == ["1-1", "messages_lost"]
    assert not world.hub.doubts_events("room")


def test_a_state_that_went_back_behind_a_hole_is_reported(world: World) -> None:
    a = world.add("a")
    world.hub.deliver([message(seq) for seq in (1, 2, 3)])
    world.hub.deliver([message(5), message(2, "x"), message(3, "x")])
    assert world.hub.begin_reading("room") == an_id(1)
    world.recover(5, message(2, "x"), message(3, "x"), message(4), message(5), read=False)
    codes = [event.get("code", event["id"]) for event in a.connection.sent[1:]]
    assert codes == ["1-1", "1-2", "1-3", "messages_lost", "1-4", "1-5"]


def test_events_behind_those_of_another_fleet_and_of_the_past_are_delivered(world: World) -> None:
    a = world.add("a")
    world.hub.deliver([message(1), message(1, "foreign", epoch=9), message(1, "x")])
    assert world.hub.begin_reading("room") == an_id(0)
    world.hub.deliver([message(2)])
    world.recover(1, message(1), read=False)
    assert [event["id"] for event in a.connection.sent[1:]] == ["1-1", "1-2"]


@pytest.mark.parametrize("first", ["event", "welcome"])
def test_a_late_join_among_events_of_another_fleet_is_not_doubted(world: World, first: str) -> None:
    a, foreign = world.stage("a"), message(1, "foreign", epoch=9)
    if first == "event":
        world.hub.deliver([foreign])
    world.admit(a, 3)
    # Redis has answered the join over another connection than the one over which its event comes.
    world.hub.deliver([message(2, "foreign", epoch=9), MemberJoined("room", an_id(3), "a"), message(4)])
    assert not world.hub.doubts_events("room")
    assert world.hub.begin_reading("room") == an_id(3)
    world.recover(4, message(4), read=False)
    assert [event.get("code", event["id"]) for event in a.connection.sent[1:]] == ["1-4"]


def test_without_a_history_a_loss_is_reported_only_if_ids_are_missing(world: World) -> None:
    a = world.add("a")
    world.hub.deliver([message(1), Gap(["room"]), message(2)])
    world.recover(2, lost="off")
    assert a.connection.ids == ["1-1", "1-2"]
    world.hub.deliver([Gap(["room"]), message(4)])
    world.recover(4, lost="off")
    assert [event.get("code", event["id"]) for event in a.connection.sent[3:]] == ["messages_lost", "1-4"]


def test_a_member_that_joined_after_the_loss_is_not_sent_an_error(world: World) -> None:
    world.add("old")
    world.hub.deliver([message(1), message(9)])
    new = world.stage("new")
    world.admit(new, 9)
    world.recover(9, lost="trimmed")
    world.hub.deliver([message(10)])
    assert [event.get("type", event["id"]) for event in new.connection.sent] == ["welcome", "1-10"]


def test_buffered_events_are_bounded_and_read_from_the_history_instead(world: World) -> None:
    a = world.add("a")
    world.hub.deliver([Gap(["room"])])
    world.hub.deliver([message(seq) for seq in range(1, 5003)])
    assert world.hub.begin_reading("room") == an_id(0)
    world.recover(5001, *[message(seq) for seq in range(1, 5002)], read=False)
    world.recover(5002, message(5002))
    assert a.connection.ids == [f"1-{seq}" for seq in range(1, 5003)]


# Resuming.


def test_missed_events_follow_the_welcome_as_they_would_have_been_delivered(world: World) -> None:
    world.add("old", seq=11)
    back = world.stage("back", presence=True)
    missed = [
        message(5, "back"),
        message(6, to=("other",)),
        message(7, to=("back",)),
        MemberJoined("room", an_id(8), "x"),
        MemberChanged("room", an_id(9), "x", b"{}"),
        TakenOver("room", an_id(10), "back", 2),
        MemberChanged("room", an_id(11), "back", b"{}"),
    ]
    world.resume(back, 4, *missed)
    world.hub.deliver([message(12)])
    assert [(event.get("type", "envelope"), event["id"]) for event in back.connection.sent] == [
        ("welcome", "1-4"), ("envelope", "1-7"), ("presence", "1-8"), ("presence", "1-9"), ("recovered", "1-11"),
        ("envelope", "1-12"),
    ]  # fmt: skip
    assert back.connection.sent[3]["info"] == {"x": {}}
    assert back.connection.sent[4]["replayed"] == 1


def test_events_that_arrive_while_the_history_is_read_follow_it_once(world: World) -> None:
    world.add("old")
    back = world.stage("back")
    world.hub.deliver([message(1), message(2), message(3)])
    world.resume(back, 0, message(1), message(2))
    world.hub.deliver([message(4)])
    assert [event["id"] for event in back.connection.sent[1:]] == ["1-1", "1-2", "1-2", "1-3", "1-4"]
    assert back.connection.sent[3]["type"] == "recovered"


def test_a_takeover_while_the_history_is_read_closes_the_older_connection(world: World) -> None:
    world.add("old")
    member = world.stage("p")
    world.hub.deliver([TakenOver("room", an_id(1), "p", 2)])
    world.admit(member, 0, generation=1)
    assert member.connection.reason is REPLACED


def test_a_callback_waits_until_its_id_is_delivered(world: World) -> None:
    world.add("a")
    called = []
    world.hub.when_delivered("room", an_id(2), lambda: called.append(2))
    world.hub.deliver([message(1)])
    assert called == []
    world.hub.deliver([message(2)])
    assert called == [2]
    world.hub.when_delivered("room", an_id(1), lambda: called.append(1))
    world.hub.when_delivered("elsewhere", an_id(9), lambda: called.append(9))
    assert called == [2, 1, 9]


@pytest.mark.parametrize("ends", [False, True])
def test_a_callback_that_fails_does_not_keep_the_others_of_its_room_waiting(world: World, ends: bool) -> None:
    """Each of them is an acknowledgement, perhaps of another client."""
    a, called = world.add("a"), []

    def fail() -> None:
        raise RuntimeError

    world.hub.when_delivered("room", an_id(1), fail)
    world.hub.when_delivered("room", an_id(1), lambda: called.append(1))
    if ends:
        world.rooms.remove(a)
    else:
        world.hub.deliver([message(1)])
    assert called == [1]


def test_waiting_callbacks_are_called_when_the_room_ends(world: World) -> None:
    a = world.add("a")
    called = []
    world.hub.when_delivered("room", an_id(9), lambda: called.append(9))
    assert world.rooms.remove(a)
    assert called == [9]
    assert world.metrics.registry.get_sample_value("relay_rooms") == 0
    assert world.metrics.registry.get_sample_value("relay_members") == 0


def test_messages_that_arrive_together_are_one_write_for_each_member(world: World) -> None:
    members = [world.add(peer) for peer in "abcde"]
    members[3].channels, members[4].echo = {"x"}, True
    world.hub.deliver([message(1)])
    world.hub.deliver([message(2, "a", channel="x"), message(3, "e"), message(4, "a")])
    assert [member.connection.ids[-3:] for member in members] == [
        ["1-1", "1-3"],
        ["1-2", "1-3", "1-4"],
        ["1-2", "1-3", "1-4"],
        ["1-2"],
        ["1-2", "1-3", "1-4"],
    ]
    assert [member.connection.batches for member in members] == [1, 1, 1, 1, 1]
    assert world.rooms.get("room").last == an_id(4)


@pytest.mark.parametrize(
    "second",
    [
        message(3),
        message(2, to=("b",)),
        message(1, epoch=2),
        MemberJoined("room", an_id(2), "z"),
        TakenOver("room", an_id(2), "z", 3),
    ],
    ids=["a hole", "a direct message", "a new epoch", "a join", "a takeover"],
)
def test_messages_that_arrive_with_other_events_are_written_one_by_one(world: World, second) -> None:
    members = [world.add(peer) for peer in "abcde"]
    world.hub.deliver([message(1), second])
    assert [member.connection.batches for member in members] == [0] * 5
    assert members[1].connection.ids[0] == "1-1"


def test_waiting_callbacks_are_called_after_a_burst(world: World) -> None:
    for peer in "abcde":
        world.add(peer)
    called = []
    world.hub.when_delivered("room", an_id(2), lambda: called.append(2))
    world.hub.deliver([message(1), message(2), message(3)])
    assert called == [2]


def test_a_fault_in_one_room_does_not_affect_others(world: World, monkeypatch, caplog) -> None:
    here = world.add("a")
    other = Member(FakeConnection(), NativeCodec(), "other", "b")
    world.rooms.stage(other)
    world.hub.admit(other, 1, Welcome("other", "b", an_id(0), "key"), Replay(an_id(0)))
    monkeypatch.setattr(here.connection, "write", None)
    elsewhere = Message("other", an_id(1), "s", (), "", b'{"from":"s","id":"1-1"')
    world.hub.deliver([message(1), elsewhere])
    assert other.connection.ids == ["1-1"]
    assert "was not delivered" in caplog.text


class FailingCodec(NativeCodec):
    def __init__(self) -> None:
        super().__init__()
        self.key = "failing"

    def encode(self, event) -> Frame:
        if isinstance(event, Message):
            raise ValueError(event)
        return super().encode(event)


@pytest.mark.parametrize("others", [1, 5])  # one by one, and all in one write
def test_a_message_that_a_codec_cannot_write_is_reported_to_its_clients_and_reaches_all_others(
    world: World, caplog, others: int
) -> None:
    failing = Member(FakeConnection(), FailingCodec(), "room", "failing")
    world.rooms.stage(failing)
    world.admit(failing, 0)
    members = [world.add(f"p{number}") for number in range(others)]
    world.hub.deliver([message(1), message(2)])
    assert [member.connection.ids for member in members] == [["1-1", "1-2"]] * others
    sent = [(event["code"], event["reason"], event["id"]) for event in failing.connection.sent[1:]]
    assert sent == [("messages_lost", "internal", "1-1"), ("messages_lost", "internal", "1-2")]
    assert caplog.text.count("codec failing cannot write") == 2


def test_a_replayed_message_that_a_codec_cannot_write_is_reported(world: World, caplog) -> None:
    back = Member(FakeConnection(), FailingCodec(), "room", "failing")
    world.rooms.stage(back)
    world.resume(back, 0, message(1))
    assert [event.get("reason") for event in back.connection.sent] == [None, "internal", None]
    assert "cannot write" in caplog.text


def test_connections_have_the_methods_that_a_member_writes_with() -> None:
    for connection in (WireConnection, QueuedConnection):
        assert {"write", "write_batch", "close"} <= set(dir(connection))


# Watchers on other workers: a room's members are pinged more often from then on.


def test_a_watcher_that_joins_elsewhere_is_noticed_although_a_member_here_has_its_peer_id(world: World) -> None:
    world.add("b")
    world.add("a", seq=1)
    # Its own join, which has told whether the room is watched.
    world.hub.deliver([MemberJoined("room", an_id(1), "a")])
    assert world.joined == []
    world.hub.deliver([MemberJoined("room", an_id(2), "a")])
    assert world.joined == ["room"]


def test_a_watcher_that_takes_a_member_over_elsewhere_is_noticed(world: World) -> None:
    world.add("b")
    world.add("a")
    world.hub.deliver([TakenOver("room", an_id(1), "a", 2)])
    assert [member.peer for member in world.rooms.members()] == ["b"]
    assert world.joined == ["room"]


@pytest.mark.parametrize(("welcome", "looked"), [(1, []), (0, ["room"])])
def test_an_arrival_ahead_of_the_welcome_may_be_that_of_another_client(
    world: World, welcome: int, looked: list[str]
) -> None:
    world.add("b")
    member = world.stage("a")
    world.hub.deliver([MemberJoined("room", an_id(1), "a")])
    assert world.joined == []
    world.admit(member, welcome)
    assert world.joined == looked


def test_an_arrival_is_noticed_although_the_join_of_its_peer_here_fails(world: World) -> None:
    world.add("b")
    member, other = world.stage("a"), world.stage("c")
    world.hub.deliver([MemberJoined("room", an_id(1), "a")])
    world.hub.withdraw(other)
    assert world.joined == []
    world.hub.withdraw(member)
    assert world.joined == ["room"]
