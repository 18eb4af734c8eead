"""Presence notices: gathered, and sent together to the watchers of a room."""

from relay.gateways.native.gateway import NativeCodec
from relay.metrics import Metrics
from relay.model.codec import Frame
from relay.model.envelope import MessageId
from relay.model.events import MemberJoined, MemberLeft
from relay.rooms.member import Member
from relay.rooms.notices import PresenceNotices
from relay.rooms.registry import LocalRooms
from relay.rooms.room import LocalRoom
from tests.unit.rooms.world import FakeConnection


class CountingCodec(NativeCodec):
    def __init__(self) -> None:
        super().__init__()
        self.encoded = 0

    def encode(self, event) -> Frame:
        self.encoded += 1
        return super().encode(event)


class Desk:
    def __init__(self, rate: float = 1e9) -> None:
        self.rooms, self.later, self.codec = LocalRooms(Metrics()), [], CountingCodec()
        self.now, self.metrics = 0.0, Metrics()
        self.notices = PresenceNotices(
            self.rooms, self.later.append, rate=rate, clock=lambda: self.now, metrics=self.metrics
        )
        self._seq = 0

    def watch(self, peer: str, room: str = "room", *, presence: bool = True) -> Member:
        member = Member(FakeConnection(), self.codec, room, peer, presence=presence)
        self.rooms.stage(member)
        self.rooms[room].promote(member)
        return member

    def join(self, peer: str, room: str = "room") -> None:
        self._seq += 1
        self.notices.add(self.rooms[room], MemberJoined(room, MessageId(1, self._seq), peer))

    def leave(self, peer: str, room: str = "room") -> None:
        self._seq += 1
        self.notices.add(self.rooms[room], MemberLeft(room, MessageId(1, self._seq), peer))

    def pass_time(self) -> None:
        self.now += 0.02
        due, self.later[:] = list(self.later), []
        for callback in due:
            callback()


def changes(member: Member) -> list[tuple[list[str], list[str]]]:
    return [(event["joined"], event["left"]) for event in member.connection.sent]


def test_changes_are_sent_together_in_a_frame_that_is_made_once() -> None:
    desk = Desk()
    first, second, other = desk.watch("a"), desk.watch("b"), desk.watch("c", presence=False)
    for peer in "xyz":
        desk.join(peer)
    assert (changes(first), len(desk.later)) == ([], 1)
    desk.pass_time()
    assert changes(first) == changes(second) == [(["x", "y", "z"], [])]
    assert (changes(other), desk.codec.encoded) == ([], 1)


def test_rooms_without_watchers_gather_nothing() -> None:
    desk = Desk()
    desk.watch("a", presence=False)
    desk.join("x")
    assert desk.later == []


def test_several_rooms_share_one_timer() -> None:
    desk = Desk()
    here, there = desk.watch("a"), desk.watch("a", "there")
    desk.join("x")
    desk.join("y", "there")
    assert len(desk.later) == 1
    desk.pass_time()
    assert (changes(here), changes(there)) == ([(["x"], [])], [(["y"], [])])
    desk.leave("x")
    desk.pass_time()
    assert changes(here)[1:] == [([], ["x"])]


def test_a_peer_that_leaves_and_joins_is_two_changes() -> None:
    desk = Desk()
    watcher = desk.watch("a")
    desk.leave("x")
    desk.join("x")
    desk.pass_time()
    assert changes(watcher) == [([], ["x"]), (["x"], [])]


def test_flushed_changes_are_not_sent_again() -> None:
    desk = Desk()
    watcher = desk.watch("a")
    desk.join("x")
    room = desk.rooms.get("room")
    assert isinstance(room, LocalRoom)
    desk.notices.flush(room)
    desk.pass_time()
    assert changes(watcher) == [(["x"], [])]


def test_a_room_that_ended_meanwhile_is_passed_over() -> None:
    desk = Desk()
    watcher = desk.watch("a")
    desk.join("x")
    desk.rooms.remove(watcher)
    desk.pass_time()
    assert changes(watcher) == []


def test_flips_of_a_peer_do_not_reach_the_watchers_of_a_large_room() -> None:
    desk = Desk(rate=5000)
    watchers = [desk.watch(f"w{number}") for number in range(500)]
    for number in range(100):
        desk.join(f"x{number % 3}")
        desk.leave(f"x{number % 3}")
        desk.pass_time()
    desk.join("y")
    for _ in range(10):
        desk.pass_time()
    assert {str(changes(watcher)) for watcher in watchers} == {str([(["y"], [])])}


def test_watchers_of_a_large_room_are_sent_no_more_than_the_rate_and_the_final_state() -> None:
    desk = Desk(rate=1000)
    watchers = [desk.watch(f"w{number}") for number in range(100)]
    for number in range(100):
        desk.join(f"x{number}")
        desk.pass_time()
    for _ in range(10):
        desk.pass_time()
    told = changes(watchers[0])
    # In two seconds, one frame each tenth of a second.
    assert 15 <= len(told) <= 23
    assert [peer for joined, _ in told for peer in joined] == [f"x{number}" for number in range(100)]
    assert desk.metrics.presence_delays._value.get() >= 10


def test_small_rooms_are_told_with_the_next_notice() -> None:
    desk = Desk(rate=5000)
    watchers = [desk.watch(f"w{number}") for number in range(40)]
    for number in range(5):
        desk.join(f"x{number}")
        desk.pass_time()
    assert changes(watchers[0]) == [([f"x{number}"], []) for number in range(5)]


def test_while_changes_wait_the_newest_id_is_the_one_before_them() -> None:
    desk = Desk(rate=1)
    watcher, other = desk.watch("a"), desk.watch("b", presence=False)
    room = desk.rooms["room"]
    desk.join("x")
    room.last = MessageId(1, 1)
    assert desk.notices.newest_id(watcher) == MessageId(1, 1)
    desk.join("y")
    room.last = MessageId(1, 2)
    assert desk.notices.newest_id(watcher) == MessageId(1, 1)
    assert desk.notices.newest_id(other) == MessageId(1, 2)
    assert changes(watcher) == [(["x"], [])]
