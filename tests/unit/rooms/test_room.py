"""The state of one room, without any I/O."""

import pytest

from relay.gateways.native.gateway import NativeCodec
from relay.model.envelope import BEFORE_ALL, MessageId
from relay.model.events import MemberJoined, Message, Replay, RoomEvent
from relay.rooms.member import Member
from relay.rooms.observer import Observer, Sight
from relay.rooms.room import NOT_BEGUN, LocalRoom
from tests.unit.rooms.world import FakeConnection


def at(seq: int, epoch: int = 1) -> MessageId:
    return MessageId(epoch, seq)


def message(seq: int, *, to: tuple[str, ...] = (), epoch: int = 1) -> Message:
    return Message("room", at(seq, epoch), "s", to, "", b"{}")


def member(peer: str, *, since: int | None = None, **options) -> Member:
    """A member; with `since`, one that was welcomed as of that id."""
    one = Member(FakeConnection(), NativeCodec(), "room", peer, **options)
    if since is not None:
        one.generation, one.since = 1, at(since)
    return one


@pytest.fixture
def room() -> LocalRoom:
    room = LocalRoom("room")
    room.begin_at(at(5))
    return room


# Members.


def test_a_room_is_empty_without_members_and_joining_members(room: LocalRoom) -> None:
    assert room.empty
    joining = member("a")
    room.joining[joining] = None
    assert not room.empty
    joining.generation = 1
    room.promote(joining)
    assert not room.empty
    assert room.remove(joining)
    assert room.empty


def test_a_member_counts_from_its_welcome_on(room: LocalRoom) -> None:
    joining = member("a")
    room.joining[joining] = None
    assert not room.has(joining)
    assert list(room.welcomed()) == []
    joining.generation = 1
    assert room.has(joining)
    assert list(room.welcomed()) == [joining]
    room.promote(joining)
    assert room.has(joining)
    assert list(room.welcomed()) == [joining]


def test_removing_a_replaced_member_does_not_remove_its_successor(room: LocalRoom) -> None:
    old, new = member("a", since=5), member("a", since=5)
    room.joining |= {old: None, new: None}
    room.promote(old)
    room.promote(new)
    assert not room.remove(old)
    assert room.has(new)
    staged = member("b")
    room.joining[staged] = None
    assert not room.remove(staged)


def test_only_members_that_asked_for_presence_watch_the_room(room: LocalRoom) -> None:
    watcher, other = member("a", since=5, presence=True), member("b", since=5)
    room.joining |= {watcher: None, other: None}
    room.promote(watcher)
    room.promote(other)
    assert list(room.watchers) == [watcher]
    room.remove(watcher)
    assert not room.watchers


def test_events_are_kept_for_members_that_wait_for_their_welcome(room: LocalRoom) -> None:
    staged, ahead, due = member("a"), member("b", since=6), member("c", since=5)
    room.joining |= {staged: None, ahead: None, due: None}
    assert room.offer_to_joining(message(6)) == [due]
    assert (staged.backlog, ahead.backlog, due.backlog) == ([message(6)], None, None)


def test_members_are_due_when_the_room_has_come_to_their_welcome(room: LocalRoom) -> None:
    staged, ahead = member("a"), member("b", since=6)
    room.joining |= {staged: None, ahead: None}
    assert room.due_for_promotion() == []
    room.last = at(6)
    assert room.due_for_promotion() == [ahead]


# Order.


@pytest.mark.parametrize(
    ("event", "expected"),
    [(message(6), True), (message(7), False), (message(5), True), (message(1, epoch=2), False)],
    ids=["the next", "after a hole", "one that the welcome covers", "of a new epoch"],
)
def test_the_next_event_follows_the_last_one(room: LocalRoom, event: RoomEvent, expected: bool) -> None:
    assert room.is_next(event) is expected


def test_every_event_is_next_in_a_room_that_has_no_position_yet() -> None:
    assert LocalRoom("room").is_next(message(9))


def test_after_an_event_that_is_new_no_replayed_one_can_follow(room: LocalRoom) -> None:
    room.replayed_to = room.last = at(8)
    assert room.is_next(message(7))
    assert room.is_next(message(9))
    assert not room.is_next(message(7))


def burst_room(members: int = 4) -> LocalRoom:
    room = LocalRoom("room")
    room.begin_at(at(5))
    for number in range(members):
        one = member(f"p{number}", since=5)
        room.joining[one] = None
        room.promote(one)
    return room


def test_messages_that_follow_each_other_are_a_burst() -> None:
    assert burst_room().burst([message(6), message(7)]) == [message(6), message(7)]


@pytest.mark.parametrize(
    "events",
    [
        [message(6), message(8)],
        [message(7), message(8)],
        [message(6), message(7, to=("a",))],
        [message(6), MemberJoined("room", at(7), "x")],
    ],
    ids=["a hole", "a hole before", "a direct message", "a join"],
)
def test_anything_else_is_no_burst(events: list[RoomEvent]) -> None:
    assert burst_room().burst(events) is None


def test_a_room_that_is_small_or_has_joining_members_or_a_gap_has_no_bursts() -> None:
    events = [message(6), message(7)]
    assert burst_room(3).burst(events) is None
    joining, gap = burst_room(), burst_room()
    joining.joining[member("x")] = None
    assert joining.burst(events) is None
    gap.buffer()
    assert gap.burst(events) is None


# Presence.


# Gaps.


def test_a_recovery_begins_with_the_first_buffered_event(room: LocalRoom) -> None:
    assert room.begin_reading() is None
    assert room.buffer(message(8))
    assert not room.buffer(message(9))
    assert room.recovering
    assert room.begin_reading() == at(5)


def test_a_recovery_without_a_loss_delivers_the_history_and_then_buffered_events(room: LocalRoom) -> None:
    room.buffer(message(8))
    recovery = room.end_recovery(Replay(at(7), [message(6), message(7)]))
    assert [event.id for event in recovery.events] == [at(6), at(7), at(8)]
    assert (recovery.lost, recovery.replayed, recovery.newest) == ("", 2, at(7))
    assert not room.recovering


def test_after_a_loss_the_room_resumes_ahead_of_the_events_that_can_be_delivered(room: LocalRoom) -> None:
    room.buffer(message(9))
    assert room.end_recovery(Replay(at(9), lost="trimmed")).resume_at == at(8)
    assert room.end_recovery(Replay(at(9), lost="trimmed")).resume_at == at(9)


def test_after_a_loss_a_room_never_resumes_behind_its_last_event(room: LocalRoom) -> None:
    assert room.end_recovery(Replay(at(3), lost="trimmed")).resume_at == at(5)


def test_a_new_epoch_is_resumed_from_its_beginning(room: LocalRoom) -> None:
    room.buffer(message(2, epoch=2))
    recovery = room.end_recovery(Replay(at(2, 2), [message(1, epoch=2), message(2, epoch=2)], "epoch"))
    assert (recovery.lost, recovery.resume_at) == ("epoch", at(0, 2))


def test_a_buffered_event_that_is_older_than_the_last_means_that_the_state_went_back(room: LocalRoom) -> None:
    room.buffer(message(5))
    assert room.end_recovery(Replay(at(6), [message(6)])).lost == "epoch"


@pytest.mark.parametrize(
    ("buffered", "newest", "lost"),
    [((), 5, ""), ((6, 7), 7, ""), ((6, 7), 6, ""), ((6,), 7, "off"), ((7,), 7, "off"), ((), 6, "off")],
)
def test_without_a_history_the_buffered_events_show_whether_one_is_missing(
    room: LocalRoom, buffered: tuple[int, ...], newest: int, lost: str
) -> None:
    room.buffer(*[message(seq) for seq in buffered])
    recovery = room.end_recovery(Replay(at(newest), lost="off"))
    assert recovery.lost == lost
    assert [event.id.seq for event in recovery.events] == list(buffered)


def test_a_gap_begins_a_recovery_unless_one_is_under_way(room: LocalRoom) -> None:
    assert room.suspect_gap(resubscribed=True)
    room.buffer()
    assert not room.suspect_gap(resubscribed=True)
    assert room.gap_suspected
    room.begin_reading()
    assert not room.gap_suspected
    assert not room.needs_recovery
    room.suspect_gap(resubscribed=True)
    room.end_recovery(Replay(at(5)))
    assert room.needs_recovery


def test_a_gap_before_the_first_welcome_is_remembered() -> None:
    room = LocalRoom("room")
    assert not room.suspect_gap(resubscribed=True)
    assert room.needs_recovery


@pytest.mark.parametrize("resubscribed", [True, False])
def test_after_a_gap_only_known_duplicates_of_the_same_subscription_are_expected(
    room: LocalRoom, resubscribed: bool
) -> None:
    room.buffer()
    recovery = room.end_recovery(Replay(at(7), (message(6), message(7))))
    room.last = at(7)
    room.expect_duplicates(recovery)
    room.suspect_gap(resubscribed=resubscribed)
    assert room.replayed_to == BEFORE_ALL
    assert room.repeats(message(7)) is not resubscribed
    assert not room.repeats(message(7, to=("p",)))
    assert room.doubts(message(5))


def test_buffered_events_are_bounded_and_are_read_from_the_history_then(room: LocalRoom) -> None:
    room.buffer(*[message(seq) for seq in range(7, 5007)])
    room.begin_reading()
    assert (len(room.buffered or ()), room.gap_suspected) == (5000, False)
    room.buffer(message(5007))
    assert (room.buffered, room.gap_suspected) == ([], True)


def test_an_event_is_of_use_while_it_can_be_buffered_or_delivered(room: LocalRoom) -> None:
    assert room.wants(message(6))
    assert not room.wants(message(5))
    room.buffer()
    assert room.wants(message(5))


# Observers.


def observer(sight: Sight = Sight.MEMBER) -> Observer:
    return Observer(FakeConnection(), NativeCodec(), "room", sight)


def test_a_room_with_observers_is_neither_empty_nor_has_it_members(room: LocalRoom) -> None:
    listening, counting = observer(), observer(Sight.COUNTS)
    for one in (listening, counting):
        room.stage(one)
        assert (room.empty, room.has_members) == (False, False)
        one.welcomed, one.since = True, at(5)
        room.promote(one)
    assert list(room.welcomed()) == [listening]
    assert list(room.watchers) == [listening]
    assert list(room.welcomed_members()) == []
    assert room.observers is not None
    assert room.observers.size == 2
    for one in (listening, counting):
        assert room.remove_observer(one)
        assert not room.remove_observer(one)
    assert (room.empty, room.observers) == (True, None)


def test_a_staged_observer_that_goes_leaves_nothing(room: LocalRoom) -> None:
    one = observer()
    room.stage(one)
    room.offer_to_joining(message(6))
    assert one.backlog == [message(6)]
    assert room.remove_observer(one)
    assert room.empty


@pytest.mark.parametrize(
    ("seq", "epoch", "anew"), [(1, 2, True), (2, 2, False), (1, 1, False), (7, 1, False), (1, 0, False)]
)
def test_only_the_first_event_of_a_later_epoch_begins_a_room_anew(
    room: LocalRoom, seq: int, epoch: int, anew: bool
) -> None:
    assert room.begins_anew(message(seq, epoch=epoch)) == anew


def test_a_room_with_members_or_a_suspected_gap_does_not_begin_anew(room: LocalRoom) -> None:
    joining = member("a")
    room.stage(joining)
    assert room.begins_anew(message(1, epoch=2))
    joining.generation, joining.since = 1, at(5)
    room.promote(joining)
    assert not room.begins_anew(message(1, epoch=2))
    room.remove(joining)
    room.suspect_gap(resubscribed=True)
    assert not room.begins_anew(message(1, epoch=2))


def test_a_room_that_has_not_begun_is_read_from_the_beginning_of_the_epoch_that_arrives() -> None:
    room = LocalRoom("room")
    room.begin_at(BEFORE_ALL)
    assert room.last == NOT_BEGUN
    assert room.suspect_gap(resubscribed=True)
    assert room.buffer()
    assert room.begin_reading() == NOT_BEGUN
    room.buffer(message(3, epoch=7))
    assert room.begin_reading() == at(0, epoch=7)


def test_events_of_an_epoch_that_redis_does_not_know_are_left_out_and_remembered(room: LocalRoom) -> None:
    room.buffer(message(9, epoch=7), message(5))
    assert room.begin_reading() == at(5)
    # The event that the history covers, too, is no step back in time, although it comes after a foreign one.
    recovery = room.end_recovery(Replay(at(5)))
    assert (list(recovery.events), recovery.lost, set(recovery.foreign)) == ([], "", {7})
    assert room.foreign == (7,)


def test_an_event_that_arrived_after_the_history_was_read_may_be_of_a_new_epoch(room: LocalRoom) -> None:
    room.buffer()
    assert room.begin_reading() == at(5)
    room.buffer(message(1, epoch=7))
    recovery = room.end_recovery(Replay(at(5)))
    assert (len(recovery.events), set(recovery.foreign)) == (1, set())
