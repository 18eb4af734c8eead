"""The hub over fake connections: who is told what, and in which order."""

import json

import pytest

from relay.gateways.native.gateway import NativeCodec
from relay.metrics import Metrics
from relay.model.codec import Batch, Frame
from relay.model.envelope import MessageId
from relay.model.errors import REPLACED
from relay.model.events import (
    Gap,
    Loss,
    MemberJoined,
    MemberLeft,
    Message,
    Present,
    Replay,
    RoomEvent,
    Roster,
    TakenOver,
    Welcome,
)
from relay.rooms.connection import QueuedConnection, WireConnection
from relay.rooms.hub import Hub
from relay.rooms.member import Member


class FakeConnection:
    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.batches = 0
        self.reason = None

    def write(self, frame: Frame) -> None:
        self.frames.append(frame)

    def write_batch(self, batch: Batch) -> None:
        self.batches += 1
        self.frames += batch.frames

    def close(self, reason) -> None:
        self.reason = reason

    @property
    def told(self) -> list[dict]:
        return [json.loads(frame.data) for frame in self.frames]

    @property
    def ids(self) -> list[str]:
        return [event["id"] for event in self.told if "type" not in event]


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
        self.hub = Hub(self.metrics, later=self.later.append, on_gap=self.gaps.append)

    def expect(self, peer: str, **options) -> Member:
        member = Member(FakeConnection(), NativeCodec(), "room", peer, **options)
        self.hub.expect(member)
        return member

    def admit(self, member: Member, seq: int, generation: int = 1) -> None:
        self.hub.admit(member, generation, Welcome("room", member.peer, ident(seq), "key"), Replay(ident(seq)))

    def readmit(self, member: Member, since: int, *missed: RoomEvent) -> None:
        welcome = Welcome("room", member.peer, ident(since), "key", resumed=True, recovered=True)
        self.hub.admit(member, 2, welcome, Replay(missed[-1].id if missed else ident(since), missed))

    def repair(
        self, seq: int, *events: RoomEvent, lost: Loss = "", roster: Roster | None = None, epoch: int = 1, ask=True
    ) -> None:
        if ask:
            self.hub.missing_from("room")
        self.hub.repair("room", Replay(ident(seq, epoch), events, lost), roster)

    def add(self, peer: str, *, seq: int = 0, **options) -> Member:
        member = self.expect(peer, **options)
        self.admit(member, seq)
        return member

    def tick(self) -> None:
        while self.later:
            self.later.pop()()


def ident(seq: int, epoch: int = 1) -> MessageId:
    return MessageId(epoch, seq)


def message(seq: int, sender: str = "s", to: tuple[str, ...] = (), channel: str = "", epoch: int = 1) -> Message:
    return Message(
        "room", ident(seq, epoch), sender, to, channel, b'{"from":"%s","id":"%d-%d"' % (sender.encode(), epoch, seq)
    )


@pytest.fixture
def world() -> World:
    return World()


def test_all_but_the_sender_hear_unless_it_asks_for_an_echo(world: World) -> None:
    a, b, c = world.add("a"), world.add("b"), world.add("c", echo=True)
    world.hub.deliver([message(1, "a"), message(2, "c")])
    assert (a.connection.ids, b.connection.ids, c.connection.ids) == (["1-2"], ["1-1", "1-2"], ["1-1", "1-2"])


def test_a_frame_is_made_once_however_many_receive_it(world: World) -> None:
    CountingCodec.encoded = 0
    for number in range(20):
        member = Member(FakeConnection(), CountingCodec(), "room", f"p{number}")
        world.hub.expect(member)
        world.admit(member, 0)
    world.hub.deliver([message(1)])
    assert CountingCodec.encoded == 1


def test_direct_messages_reach_only_whom_they_name(world: World) -> None:
    a, b, c = world.add("a"), world.add("b"), world.add("c")
    world.hub.deliver([message(1, "a", to=("b", "elsewhere", "a"))])
    assert (a.connection.ids, b.connection.ids, c.connection.ids) == ([], ["1-1"], [])


def test_channels_filter_what_is_heard(world: World) -> None:
    a, b = world.add("a"), world.add("b")
    a.channels = {"x"}
    world.hub.deliver([message(1, channel="x"), message(2, channel="y"), message(3)])
    assert (a.connection.ids, b.connection.ids) == (["1-1"], ["1-1", "1-2", "1-3"])


def test_rooms_nobody_here_is_in_are_passed_over(world: World) -> None:
    world.hub.deliver([message(1)])
    assert world.hub.names() == []


def test_what_comes_before_the_welcome_is_kept_and_what_the_welcome_covers_is_not_told(world: World) -> None:
    world.add("old")
    new = world.expect("new")
    world.hub.deliver([message(1), message(2), message(3)])
    assert new.connection.frames == []
    world.admit(new, 2)
    world.hub.deliver([message(4)])
    assert [event.get("type", event["id"]) for event in new.connection.told] == ["welcome", "1-3", "1-4"]


def test_a_welcome_ahead_of_the_room_is_not_followed_by_older_messages(world: World) -> None:
    world.add("old")
    new = world.expect("new")
    world.admit(new, 2)
    world.hub.deliver([message(1), MemberJoined("room", ident(2), "new"), message(3)])
    assert new.connection.ids == ["1-3"]


def test_somebody_on_the_way_in_is_replaced_like_anybody(world: World) -> None:
    ahead = world.add("p", seq=5)
    world.hub.deliver([TakenOver("room", ident(6), "p", 2)])
    assert ahead.connection.reason is REPLACED
    assert world.hub.names() == []


def test_joins_and_leaves_are_told_in_batches_and_only_to_those_who_asked(world: World) -> None:
    watcher, other = world.add("w", presence=True), world.add("o")
    world.hub.deliver(
        [MemberJoined("room", ident(1), "a"), MemberJoined("room", ident(2), "b"), MemberLeft("room", ident(3), "c")]
    )
    assert len(watcher.connection.told) == 1
    world.tick()
    assert watcher.connection.told[1:] == [{"type": "presence", "joined": ["a", "b"], "left": ["c"], "id": "1-3"}]
    assert len(other.connection.told) == 1


def test_a_join_is_told_before_the_newcomers_first_message(world: World) -> None:
    watcher = world.add("w", presence=True)
    world.hub.deliver([MemberJoined("room", ident(1), "a"), message(2, "a")])
    assert [event.get("type", "envelope") for event in watcher.connection.told] == ["welcome", "presence", "envelope"]
    world.tick()
    assert len(watcher.connection.told) == 3


def test_who_leaves_and_comes_back_within_a_batch_is_told_of_as_both(world: World) -> None:
    watcher = world.add("w", presence=True)
    world.hub.deliver([MemberLeft("room", ident(1), "a"), MemberJoined("room", ident(2), "a")])
    world.tick()
    told = [(event["left"], event["joined"]) for event in watcher.connection.told[1:]]
    assert told == [(["a"], []), ([], ["a"])]


def test_a_newcomer_is_not_told_of_itself_nor_of_what_its_list_holds(world: World) -> None:
    world.add("first", presence=True)
    world.hub.deliver([MemberJoined("room", ident(1), "second")])
    new = world.expect("new", presence=True)
    world.admit(new, 2)
    world.hub.deliver([MemberJoined("room", ident(2), "new"), MemberJoined("room", ident(3), "third")])
    world.tick()
    assert [event["joined"] for event in new.connection.told[1:]] == [["third"]]


def test_a_takeover_closes_the_older_connection_alone(world: World) -> None:
    old = world.add("p")
    world.hub.deliver([TakenOver("room", ident(1), "p", 1)])
    assert old.connection.reason is None
    world.hub.deliver([TakenOver("room", ident(2), "p", 2)])
    assert old.connection.reason is REPLACED
    assert world.hub.remove(old) is False


def test_coming_back_to_the_same_worker_replaces_the_old_connection(world: World) -> None:
    old = world.add("p")
    new = world.expect("p")
    world.admit(new, 0, generation=2)
    assert old.connection.reason is REPLACED
    world.hub.deliver([TakenOver("room", ident(1), "p", 2), message(2)])
    assert new.connection.reason is None
    assert new.connection.ids == ["1-2"]


# What may be missing.


def test_what_follows_a_hole_waits_for_what_was_missed(world: World) -> None:
    a, b = world.add("a"), world.add("b")
    world.hub.deliver([message(1)])
    world.hub.deliver([message(4), message(5)])
    assert a.connection.ids == ["1-1"]
    assert (world.gaps, world.hub.missing_from("room")) == ([["room"]], ident(1))
    world.repair(5, message(2), message(3), message(4), message(5))
    world.hub.deliver([message(6)])
    for member in (a, b):
        assert member.connection.ids == ["1-1", "1-2", "1-3", "1-4", "1-5", "1-6"]
    assert (world.gaps, world.hub.missing_from("room")) == ([["room"]], None)


def test_what_was_replayed_and_comes_once_more_is_not_told_twice(world: World) -> None:
    a = world.add("a")
    world.hub.deliver([message(1), Gap(["room"]), message(2)])
    world.repair(4, message(2), message(3), message(4))
    world.hub.deliver([message(3), message(4), message(5)])
    assert a.connection.ids == ["1-1", "1-2", "1-3", "1-4", "1-5"]
    assert world.hub.missing_from("room") is None


def test_a_gap_is_asked_about_only_where_somebody_is(world: World) -> None:
    world.add("a")
    world.hub.deliver([Gap(["room", "elsewhere"])])
    assert world.gaps == [["room"]]
    assert world.metrics.registry.get_sample_value("relay_room_gaps_total") == 2


def test_a_gap_in_which_nothing_was_said_is_told_to_nobody(world: World) -> None:
    a = world.add("a", presence=True)
    world.hub.deliver([message(1), Gap(["room"])])
    assert world.hub.missing_from("room") == ident(1)
    world.repair(1)
    assert len(a.connection.told) == 2
    world.hub.deliver([message(2)])
    assert a.connection.ids == ["1-1", "1-2"]


def test_another_gap_while_one_is_mended_is_mended_too(world: World) -> None:
    a = world.add("a")
    world.hub.deliver([Gap(["room"])])
    assert world.hub.missing_from("room") == ident(0)
    world.hub.deliver([Gap(["room"]), message(3)])
    world.repair(1, message(1), ask=False)
    assert world.hub.missing_from("room") == ident(1)
    world.repair(3, message(2), message(3))
    assert world.hub.missing_from("room") is None
    assert a.connection.ids == ["1-1", "1-2", "1-3"]


def test_another_gap_while_one_is_mended_is_asked_about_also_when_nothing_follows(world: World) -> None:
    world.add("a")
    world.hub.deliver([Gap(["room"])])
    assert world.hub.missing_from("room") == ident(0)
    world.hub.deliver([Gap(["room"])])
    world.repair(1, message(1), ask=False)
    assert (world.gaps, world.hub.missing_from("room")) == ([["room"], ["room"]], ident(1))


def test_a_gap_before_the_first_welcome_is_asked_about_after_it(world: World) -> None:
    member = world.expect("a")
    world.hub.deliver([Gap(["room"])])
    assert world.gaps == []
    world.admit(member, 3)
    assert (world.gaps, world.hub.missing_from("room")) == ([["room"]], ident(3))


def test_what_cannot_be_had_back_is_told_with_the_reason_and_a_fresh_list(world: World) -> None:
    watcher, other = world.add("w", presence=True), world.add("o")
    world.hub.deliver([message(1), message(9)])
    world.repair(9, lost="trimmed", roster=Roster(1, [Present("w")], ident(9)))
    error, members, envelope = watcher.connection.told[2:]
    assert error == {
        "type": "error", "code": "messages_lost", "text": error["text"], "reason": "trimmed", "id": "1-8",
    }  # fmt: skip
    assert (members["members"], envelope["id"]) == ([{"peer": "w"}], "1-9")
    assert [event.get("code", event["id"]) for event in other.connection.told[2:]] == ["messages_lost", "1-9"]


def test_a_new_epoch_is_told_as_a_loss_and_gone_on_from(world: World) -> None:
    a = world.add("a")
    world.hub.deliver([message(7 - 6), message(1, epoch=2)])
    world.repair(2, lost="epoch", epoch=2)
    world.hub.deliver([message(2, epoch=2)])
    assert [event.get("code", event["id"]) for event in a.connection.told[1:]] == ["1-1", "messages_lost", "2-1", "2-2"]


def test_a_state_that_went_back_is_told_though_the_ids_have_no_hole_by_now(world: World) -> None:
    a = world.add("a")
    world.hub.deliver([message(seq) for seq in (1, 2, 3)])
    world.hub.deliver([Gap(["room"]), message(3, "x")])
    world.repair(5, message(4), message(5))
    codes = [event.get("code", event["id"]) for event in a.connection.told[1:]]
    assert codes == ["1-1", "1-2", "1-3", "messages_lost", "1-4", "1-5"]


def test_what_was_replayed_and_comes_once_more_while_another_gap_is_mended_is_no_loss(world: World) -> None:
    a = world.add("a")
    world.hub.deliver([message(1), Gap(["room"])])
    assert world.hub.missing_from("room") == ident(1)
    world.hub.deliver([Gap(["room"])])
    world.repair(3, message(2), message(3), ask=False)
    world.hub.deliver([message(3), message(4)])
    world.repair(4, message(4))
    world.hub.deliver([message(5)])
    assert [event.get("code", event["id"]) for event in a.connection.told[1:]] == ["1-1", "1-2", "1-3", "1-4", "1-5"]


def test_a_state_that_went_back_after_a_repair_is_told_too(world: World) -> None:
    a = world.add("a")
    world.hub.deliver([message(1), Gap(["room"])])
    world.repair(3, message(2), message(3))
    world.hub.deliver([Gap(["room"]), message(3, "x")])
    world.repair(4, message(4))
    codes = [event.get("code", event["id"]) for event in a.connection.told[1:]]
    assert codes == ["1-1", "1-2", "1-3", "messages_lost", "1-4"]


def test_without_a_log_only_what_is_missing_is_told(world: World) -> None:
    a = world.add("a")
    world.hub.deliver([message(1), Gap(["room"]), message(2)])
    world.repair(2, lost="off")
    assert a.connection.ids == ["1-1", "1-2"]
    world.hub.deliver([Gap(["room"]), message(4)])
    world.repair(4, lost="off")
    assert [event.get("code", event["id"]) for event in a.connection.told[3:]] == ["messages_lost", "1-4"]


def test_who_came_in_after_what_was_lost_is_not_troubled_with_it(world: World) -> None:
    world.add("old")
    world.hub.deliver([message(1), message(9)])
    new = world.expect("new")
    world.admit(new, 9)
    world.repair(9, lost="trimmed")
    world.hub.deliver([message(10)])
    assert [event.get("type", event["id"]) for event in new.connection.told] == ["welcome", "1-10"]


def test_held_events_are_bounded_and_read_back_instead(world: World) -> None:
    a = world.add("a")
    world.hub.deliver([Gap(["room"])])
    world.hub.deliver([message(seq) for seq in range(1, 5003)])
    assert world.hub.missing_from("room") == ident(0)
    world.repair(5001, *[message(seq) for seq in range(1, 5002)], ask=False)
    world.repair(5002, message(5002))
    assert a.connection.ids == [f"1-{seq}" for seq in range(1, 5003)]


# Coming back.


def test_what_a_member_missed_follows_its_welcome_as_it_would_have_heard_it(world: World) -> None:
    world.add("old", seq=9)
    back = world.expect("back", presence=True)
    missed = [
        message(5, "back"),
        message(6, to=("other",)),
        message(7, to=("back",)),
        MemberJoined("room", ident(8), "x"),
        TakenOver("room", ident(9), "back", 2),
    ]
    world.readmit(back, 4, *missed)
    world.hub.deliver([message(10)])
    assert [(event.get("type", "envelope"), event["id"]) for event in back.connection.told] == [
        ("welcome", "1-4"), ("envelope", "1-7"), ("presence", "1-8"), ("recovered", "1-9"), ("envelope", "1-10"),
    ]  # fmt: skip
    assert back.connection.told[3]["replayed"] == 1


def test_what_comes_while_the_log_is_read_follows_it_once(world: World) -> None:
    world.add("old")
    back = world.expect("back")
    world.hub.deliver([message(1), message(2), message(3)])
    world.readmit(back, 0, message(1), message(2))
    world.hub.deliver([message(4)])
    assert [event["id"] for event in back.connection.told[1:]] == ["1-1", "1-2", "1-2", "1-3", "1-4"]
    assert back.connection.told[3]["type"] == "recovered"


def test_who_is_taken_over_while_the_log_is_read_is_replaced(world: World) -> None:
    world.add("old")
    member = world.expect("p")
    world.hub.deliver([TakenOver("room", ident(1), "p", 2)])
    world.admit(member, 0, generation=1)
    assert member.connection.reason is REPLACED


def test_an_acknowledgement_waits_for_what_comes_before_it(world: World) -> None:
    world.add("a")
    passed = []
    world.hub.when_delivered("room", ident(2), lambda: passed.append(2))
    world.hub.deliver([message(1)])
    assert passed == []
    world.hub.deliver([message(2)])
    assert passed == [2]
    world.hub.when_delivered("room", ident(1), lambda: passed.append(1))
    world.hub.when_delivered("elsewhere", ident(9), lambda: passed.append(9))
    assert passed == [2, 1, 9]


def test_those_who_wait_are_not_forgotten_with_the_room(world: World) -> None:
    a = world.add("a")
    passed = []
    world.hub.when_delivered("room", ident(9), lambda: passed.append(9))
    assert world.hub.remove(a)
    assert passed == [9]
    assert world.metrics.registry.get_sample_value("relay_rooms") == 0
    assert world.metrics.registry.get_sample_value("relay_members") == 0


def test_messages_that_come_together_leave_in_one_write_for_each_who_hears_all(world: World) -> None:
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
    assert world.hub.get("room").last == ident(4)


@pytest.mark.parametrize(
    "second",
    [
        message(3),
        message(2, to=("b",)),
        message(1, epoch=2),
        MemberJoined("room", ident(2), "z"),
        TakenOver("room", ident(2), "z", 3),
    ],
    ids=["a hole", "a direct message", "a new epoch", "a join", "a takeover"],
)
def test_what_comes_together_with_anything_else_is_told_one_by_one(world: World, second) -> None:
    members = [world.add(peer) for peer in "abcde"]
    world.hub.deliver([message(1), second])
    assert [member.connection.batches for member in members] == [0] * 5
    assert members[1].connection.ids[0] == "1-1"


def test_those_who_wait_are_called_after_a_burst(world: World) -> None:
    for peer in "abcde":
        world.add(peer)
    passed = []
    world.hub.when_delivered("room", ident(2), lambda: passed.append(2))
    world.hub.deliver([message(1), message(2), message(3)])
    assert passed == [2]


def test_a_fault_in_one_room_is_not_the_others(world: World, monkeypatch, caplog) -> None:
    here = world.add("a")
    other = Member(FakeConnection(), NativeCodec(), "other", "b")
    world.hub.expect(other)
    world.hub.admit(other, 1, Welcome("other", "b", ident(0), "key"), Replay(ident(0)))
    monkeypatch.setattr(here.connection, "write", None)
    elsewhere = Message("other", ident(1), "s", (), "", b'{"from":"s","id":"1-1"')
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
def test_what_a_codec_cannot_write_its_members_are_told_and_nobody_else_has_less(
    world: World, caplog, others: int
) -> None:
    failing = Member(FakeConnection(), FailingCodec(), "room", "failing")
    world.hub.expect(failing)
    world.admit(failing, 0)
    members = [world.add(f"p{number}") for number in range(others)]
    world.hub.deliver([message(1), message(2)])
    assert [member.connection.ids for member in members] == [["1-1", "1-2"]] * others
    told = [(event["code"], event["reason"], event["id"]) for event in failing.connection.told[1:]]
    assert told == [("messages_lost", "internal", "1-1"), ("messages_lost", "internal", "1-2")]
    assert caplog.text.count("codec failing: a message cannot be written") == 2


def test_what_cannot_be_replayed_is_told_as_well(world: World, caplog) -> None:
    back = Member(FakeConnection(), FailingCodec(), "room", "failing")
    world.hub.expect(back)
    world.readmit(back, 0, message(1))
    assert [event.get("reason") for event in back.connection.told] == [None, "internal", None]
    assert "cannot be written" in caplog.text


def test_connection_is_what_a_member_writes_to() -> None:
    for connection in (WireConnection, QueuedConnection):
        assert {"write", "write_batch", "close"} <= set(dir(connection))
