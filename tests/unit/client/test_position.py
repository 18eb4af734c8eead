"""What the relay says, and what is made of it."""

import pytest

from relay.client.events import Envelope, Joined, Left, Lost, Resumed
from relay.client.position import RoomPosition
from relay.model.envelope import MessageId


def welcome(ident: str = "5-2", **more):
    return {"type": "welcome", "peer": "me", "id": ident, "resume": "next"} | more


def listed(*peers: str, count: int | None = None):
    return {"members": [{"peer": peer} for peer in peers], "count": len(peers) if count is None else count}


@pytest.fixture
def place() -> RoomPosition:
    place = RoomPosition()
    assert place.welcome(welcome(**listed("me", "a"))) == []
    return place


def test_a_first_welcome_gives_a_place_a_key_and_who_is_there() -> None:
    place = RoomPosition()
    own = place.resume
    assert len(own) >= 20
    assert not place.known
    place.welcome(welcome(**listed("me", "a")))
    assert (place.known, place.peer, place.id, place.resume, place.members) == (
        True, "me", MessageId(5, 2), "next", {"me", "a"},
    )  # fmt: skip


def test_who_is_first_is_told_on_arrival_and_not_on_return() -> None:
    place = RoomPosition()
    place.welcome(welcome(first=True))
    place.welcome(welcome(first=False, recovered=True))
    assert place.first


def test_envelopes_advance_the_place_and_come_once(place: RoomPosition) -> None:
    frame = {"from": "a", "id": "5-4", "x": 1}
    assert place.hear(frame) == [Envelope(MessageId(5, 4), "a", frame)]
    assert place.hear(frame) == []
    assert place.hear({"from": "a", "id": "5-3"}) == []
    assert (place.id, place.duplicates) == (MessageId(5, 4), 2)


@pytest.mark.parametrize("kind", ["ack", "pong", "recovered"])
def test_answers_advance_the_place(place: RoomPosition, kind: str) -> None:
    place.hear({"type": kind, "id": "5-9", "replayed": 0})
    assert place.id == MessageId(5, 9)


def test_who_comes_and_goes_is_told_and_kept(place: RoomPosition) -> None:
    assert place.hear({"type": "presence", "joined": ["b"], "left": ["a"], "id": "5-3"}) == [Left("a"), Joined("b")]
    assert place.hear({"type": "presence", "joined": ["b"], "left": ["b"], "id": "5-5"}) == [Left("b"), Joined("b")]
    assert (place.members, place.id) == ({"me", "b"}, MessageId(5, 5))


def test_coming_back_without_loss_keeps_the_place_until_what_was_missed_has_come(place: RoomPosition) -> None:
    assert place.welcome(welcome(recovered=True, **listed("me", "z"))) == []
    assert (place.id, place.members) == (MessageId(5, 2), {"me", "a"})
    place.hear({"from": "a", "id": "5-3"})
    assert place.hear({"type": "presence", "joined": ["z"], "left": ["a"], "id": "5-4"}) == [Left("a"), Joined("z")]
    assert place.hear({"type": "recovered", "id": "5-5", "replayed": 1}) == [Resumed(1)]


def test_coming_back_with_a_loss_is_told_with_who_came_and_went(place: RoomPosition) -> None:
    frame = welcome("4-1", recovered=False, reason="epoch", **listed("me", "b"))
    assert place.welcome(frame) == [Lost("epoch"), Left("a"), Joined("b")]
    assert (place.id, place.members) == (MessageId(4, 1), {"me", "b"})


def test_a_list_that_was_cut_short_takes_nobody_away(place: RoomPosition) -> None:
    place.welcome(welcome("5-9", recovered=False, reason="trimmed", **listed("b", count=101)))
    assert place.members == {"me", "a", "b"}


def test_a_loss_while_connected_is_told_and_the_list_follows(place: RoomPosition) -> None:
    assert place.hear({"type": "error", "code": "messages_lost", "reason": "epoch", "id": "6-0"}) == [Lost("epoch")]
    assert place.id == MessageId(6, 0)
    assert place.hear({"type": "presence", "id": "6-0", **listed("me")}) == [Left("a")]


@pytest.mark.parametrize("frame", [{"type": "later"}, {"type": "error", "code": "x"}, {"id": 1, "from": "a"}, {}])
def test_what_is_not_known_is_passed_over(place: RoomPosition, frame) -> None:
    assert place.hear(frame) == []


def test_after_a_loss_the_room_goes_on_wherever_the_relay_says(place: RoomPosition) -> None:
    place.hear({"type": "error", "code": "messages_lost", "reason": "epoch", "id": "4-8"})
    assert place.id == MessageId(4, 8)
    assert place.hear({"from": "a", "id": "4-9"})


def test_a_place_taken_over_by_a_late_attempt_is_taken_back_once(place: RoomPosition) -> None:
    assert not place.take_back()
    place.unanswered()
    place.welcome(welcome(recovered=True, resume="newer"))
    assert place.take_back()
    assert place.resume == "next"
    assert not place.take_back()


def test_a_late_attempt_with_an_older_key_is_not_the_one(place: RoomPosition) -> None:
    place.unanswered()
    for key in ("newer", "newest"):
        place.welcome(welcome(recovered=True, resume=key))
    assert not place.take_back()
    assert place.resume == "newest"
