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
    def __init__(self) -> None:
        self.rooms, self.later, self.codec = LocalRooms(Metrics()), [], CountingCodec()
        self.notices = PresenceNotices(self.rooms, self.later.append)
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
        while self.later:
            self.later.pop()()


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


def test_what_was_flushed_is_not_sent_again() -> None:
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
