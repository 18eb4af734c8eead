"""Frames of the relay, and the events that the client makes of them."""

import pytest

from relay.client.events import Changed, Counted, Envelope, Joined, Left, Lost, Resumed
from relay.client.position import RoomPosition
from relay.model.envelope import MessageId


def welcome(ident: str = "5-2", **more):
    return {"type": "welcome", "peer": "me", "id": ident, "resume": "next"} | more


def listed(*peers: str, count: int | None = None):
    return {"members": [{"peer": peer} for peer in peers], "count": len(peers) if count is None else count}


@pytest.fixture
def position() -> RoomPosition:
    position = RoomPosition()
    assert position.welcome(welcome(**listed("me", "a"))) == []
    return position


def test_a_first_welcome_gives_an_id_a_key_and_the_members() -> None:
    position = RoomPosition()
    own = position.resume
    assert len(own) >= 20
    assert not position.known
    position.welcome(welcome(**listed("me", "a")))
    assert (position.known, position.peer, position.id, position.resume, position.members) == (
        True, "me", MessageId(5, 2), "next", {"me", "a"},
    )  # fmt: skip


def test_first_is_decided_by_the_first_welcome() -> None:
    position = RoomPosition()
    position.welcome(welcome(first=True))
    position.welcome(welcome(first=False, recovered=True))
    assert position.first


def test_envelopes_advance_the_id_and_come_once(position: RoomPosition) -> None:
    frame = {"from": "a", "id": "5-4", "x": 1}
    assert position.receive(frame) == [Envelope(MessageId(5, 4), "a", frame)]
    assert position.receive(frame) == []
    assert position.receive({"from": "a", "id": "5-3"}) == []
    assert (position.id, position.duplicates) == (MessageId(5, 4), 2)


@pytest.mark.parametrize("kind", ["ack", "pong", "recovered"])
def test_answers_advance_the_id(position: RoomPosition, kind: str) -> None:
    position.receive({"type": kind, "id": "5-9", "replayed": 0})
    assert position.id == MessageId(5, 9)


def test_members_that_join_and_leave_are_events(position: RoomPosition) -> None:
    assert position.receive({"type": "presence", "joined": ["b"], "left": ["a"], "id": "5-3"}) == [
        Left("a"),
        Joined("b"),
    ]
    assert position.receive({"type": "presence", "joined": ["b"], "left": ["b"], "id": "5-5"}) == [
        Left("b"),
        Joined("b"),
    ]
    assert (position.members, position.id) == ({"me", "b"}, MessageId(5, 5))


def test_infos_come_with_members_and_change(position: RoomPosition) -> None:
    def presence(ident: str, joined=(), left=(), **more):
        return position.receive({"type": "presence", "joined": [*joined], "left": [*left], "id": ident} | more)

    assert presence("5-3", ["b"], info={"b": {"n": 1}}) == [Joined("b", {"n": 1})]
    assert presence("5-4", changed=["a", "b", "me"], info={"a": {}, "b": None, "me": {"n": 0}}) == [
        Changed("a", {}),
        Changed("b", None),
    ]
    assert position.infos == {"a": {}, "me": {"n": 0}}
    # The member list of a large room did not name this one.
    assert presence("5-5", changed=["z"], info={"z": {"n": 2}}) == [Joined("z", {"n": 2})]
    assert presence("5-6", left=["a"]) == [Left("a")]
    assert position.infos == {"me": {"n": 0}, "z": {"n": 2}}


def test_a_list_replaces_infos(position: RoomPosition) -> None:
    members = [{"peer": "me", "info": {"n": 0}}, {"peer": "a", "info": {"n": 1}}, {"peer": "b", "info": {"n": 2}}]
    frame = {"type": "presence", "members": members, "count": 3, "id": "5-3"}
    assert position.receive(frame) == [Changed("a", {"n": 1}), Joined("b", {"n": 2})]
    assert position.receive(frame) == []
    assert position.receive(frame | {"members": [{"peer": "a"}, {"peer": "me"}], "count": 2}) == [
        Left("b"),
        Changed("a", None),
    ]
    assert position.infos == {}


def test_a_recovered_welcome_changes_nothing_until_the_missed_events_have_come(position: RoomPosition) -> None:
    assert position.welcome(welcome(recovered=True, **listed("me", "z"))) == []
    assert (position.id, position.members) == (MessageId(5, 2), {"me", "a"})
    position.receive({"from": "a", "id": "5-3"})
    assert position.receive({"type": "presence", "joined": ["z"], "left": ["a"], "id": "5-4"}) == [
        Left("a"),
        Joined("z"),
    ]
    assert position.receive({"type": "recovered", "id": "5-5", "replayed": 1}) == [Resumed(1)]


def test_a_welcome_after_a_loss_says_so_and_lists_the_members(position: RoomPosition) -> None:
    frame = welcome("4-1", recovered=False, reason="epoch", **listed("me", "b"))
    assert position.welcome(frame) == [Lost("epoch"), Left("a"), Joined("b")]
    assert (position.id, position.members) == (MessageId(4, 1), {"me", "b"})


def test_a_list_that_was_cut_short_removes_no_member(position: RoomPosition) -> None:
    position.welcome(welcome("5-9", recovered=False, reason="trimmed", **listed("b", count=101)))
    assert position.members == {"me", "a", "b"}


def test_a_loss_while_connected_is_an_event_and_the_list_follows(position: RoomPosition) -> None:
    assert position.receive({"type": "error", "code": "messages_lost", "reason": "epoch", "id": "6-0"}) == [
        Lost("epoch")
    ]
    assert position.id == MessageId(6, 0)
    assert position.receive({"type": "presence", "id": "6-0", **listed("me")}) == [Left("a")]


@pytest.mark.parametrize("frame", [{"type": "later"}, {"type": "error", "code": "x"}, {"id": 1, "from": "a"}, {}])
def test_unknown_frames_are_ignored(position: RoomPosition, frame) -> None:
    assert position.receive(frame) == []


def test_after_a_loss_the_room_continues_at_the_id_of_the_relay(position: RoomPosition) -> None:
    position.receive({"type": "error", "code": "messages_lost", "reason": "epoch", "id": "4-8"})
    assert position.id == MessageId(4, 8)
    assert position.receive({"from": "a", "id": "4-9"})


def test_a_membership_taken_over_by_a_late_attempt_is_taken_back_once(position: RoomPosition) -> None:
    assert not position.take_back()
    position.note_unanswered()
    position.welcome(welcome(recovered=True, resume="newer"))
    assert position.take_back()
    assert position.resume == "next"
    assert not position.take_back()


def test_a_late_attempt_with_an_older_key_does_not_count(position: RoomPosition) -> None:
    position.note_unanswered()
    for key in ("newer", "newest"):
        position.welcome(welcome(recovered=True, resume=key))
    assert not position.take_back()
    assert position.resume == "newest"


def observing(ident: str = "5-2", **more):
    return {"type": "welcome", "observer": True, "id": ident, "count": 0} | more


def test_an_observer_has_the_members_and_no_peer_id() -> None:
    position = RoomPosition()
    assert position.welcome(observing(**listed("a", "b"))) == []
    assert (position.known, position.peer, position.members, position.count) == (True, "", {"a", "b"}, 2)
    assert position.receive({"type": "presence", "joined": ["c"], "left": ["a", "b"], "id": "5-5"}) == [
        Left("a"), Left("b"), Joined("c"),
    ]  # fmt: skip
    assert (position.members, position.count) == ({"c"}, 1)


def test_an_observer_that_returns_has_missed_something() -> None:
    position = RoomPosition()
    position.welcome(observing("0-0", **listed()))
    assert position.welcome(observing("5-9", **listed("a"))) == [Lost("not_resumed"), Joined("a")]
    assert position.id == MessageId(5, 9)
    assert position.welcome(observing("4-1", **listed("a"))) == [Lost("not_resumed")]
    assert position.id == MessageId(4, 1)


def test_an_observer_without_names_gets_numbers() -> None:
    position = RoomPosition()
    assert position.welcome(observing(count=3)) == []
    assert position.count == 3
    frame = {"type": "presence", "present": True, "members": [], "count": 2, "id": "5-7"}
    assert position.receive(frame) == [Counted(2)]
    assert position.receive(frame) == []
    assert position.welcome(observing(count=4)) == [Lost("not_resumed"), Counted(4)]


def test_the_count_follows_the_list_and_the_changes(position: RoomPosition) -> None:
    assert position.count == 2
    position.receive({"type": "presence", "joined": ["b", "c"], "left": ["a"], "id": "5-5"})
    assert position.count == 3
    position.receive({"type": "presence", "present": True, **listed("me", count=200), "id": "5-6"})
    assert position.count == 200


def test_servers_for_webrtc_are_those_of_the_newest_frame() -> None:
    position = RoomPosition()
    assert position.ice_servers == ()
    position.welcome(welcome(iceServers=[{"urls": "stun:a"}]))
    assert position.ice_servers == ({"urls": "stun:a"},)
    assert position.receive({"type": "ice", "iceServers": [{"urls": "turn:b"}], "ttl": 60}) == []
    assert position.ice_servers == ({"urls": "turn:b"},)
    position.welcome(welcome())
    assert position.ice_servers == ()
