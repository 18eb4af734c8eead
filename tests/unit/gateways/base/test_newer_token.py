"""The end of memberships and views by a newer token that grants less; `test_session_tokens` has whole sessions."""

from types import SimpleNamespace
from typing import Any

import pytest

from relay.gateways.base.guard import Guard
from relay.gateways.base.join_request import ObserveRequest
from relay.gateways.base.newer_token import end_lost_rights, no_presence
from relay.gateways.base.observed_room import ObservedRoom
from relay.identity.grants import Grants, Right, RoomGrant
from relay.model.commands import Leave
from relay.model.errors import Refused
from relay.rooms.observer import Sight


class Rooms:
    """The rooms of a client, and a worker, which note their calls."""

    own_room = "own"

    def __init__(self, *rooms: str) -> None:
        self.done: list[Any] = []
        self.members = [SimpleNamespace(room=room, presence=True) for room in rooms]

    def memberships(self) -> list[Any]:
        return self.members

    def leave(self, left: Any, *, hold: bool = False) -> None:
        self.done.append(left.room if isinstance(left, Leave) else f"{left.room} at once")

    def hide_presence(self, member: Any) -> None:
        self.done.append(f"nothing of {member.room}")


def after(rooms: Any, *grants: RoomGrant) -> tuple[bool, list[Any]]:
    """Return whether the client may stay, and its errors, each with the command and the room."""
    told: list[Any] = []

    def tell(error: Refused, about: str) -> None:
        assert error.code == "not_granted"
        told.append((about, error.detail["room"]))

    return end_lost_rights(Guard(Grants(rooms=grants)), rooms, rooms, tell), told


def test_nothing_ends_that_is_granted() -> None:
    rooms = Rooms("own", "other")
    assert after(rooms, RoomGrant("*")) == (True, [])
    assert rooms.done == []


def test_a_room_that_is_not_granted_any_more_is_left() -> None:
    rooms = Rooms("own", "other")
    assert after(rooms, RoomGrant("own")) == (True, [("refresh", "other")])
    assert rooms.done == ["other"]


def test_without_its_own_room_a_client_may_not_stay() -> None:
    rooms = Rooms("own", "other")
    assert after(rooms, RoomGrant("other")) == (False, [("refresh", "own")])
    assert rooms.done == ["own at once"]


def test_without_the_right_to_see_members_a_client_sees_none_any_more() -> None:
    rooms = Rooms("own")
    assert after(rooms, RoomGrant("own", frozenset({Right.JOIN}))) == (True, [("presence", "own")])
    assert rooms.done == ["nothing of own"]
    rooms.members[0].presence = False
    assert after(rooms, RoomGrant("own", frozenset({Right.JOIN}))) == (True, [])


@pytest.mark.parametrize(
    ("can", "stays"),
    [({Right.OBSERVE, Right.PRESENCE}, True), ({Right.OBSERVE}, False), ({Right.JOIN, Right.PRESENCE}, False)],
)
def test_an_observer_stays_if_it_may_see_all_that_it_has_seen(can: set[Right], stays: bool) -> None:
    rooms = ObservedRoom.__new__(ObservedRoom)
    rooms.own_room, rooms._request = "own", ObserveRequest("own", Sight.MEMBER)
    assert after(rooms, RoomGrant("own", frozenset(can))) == (stays, [] if stays else [("refresh", "own")])


def test_the_error_about_presence_names_the_missing_right() -> None:
    error = no_presence("own")
    assert (error.code, error.detail) == ("not_granted", {"room": "own"})
    assert "presence" in error.text
