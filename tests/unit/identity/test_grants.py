"""Grants: which rights a client has, in which rooms, and under which peer id."""

import pytest

from relay.identity.grants import ADMIN, GUEST, OF_MEMBERS, Grants, Right, RoomGrant
from relay.model.errors import Refused
from relay.model.rules import RuleChange

GRANTS = Grants(
    rooms=(
        RoomGrant("demo", frozenset({Right.JOIN}), RuleChange(locked=True)),
        RoomGrant("team-*", OF_MEMBERS | {Right.KICK}),
        RoomGrant("team-a", frozenset({Right.LOCK}), RuleChange(max_members=2)),
    )
)


def test_the_rights_of_all_fitting_rooms_add_up() -> None:
    assert [right for right in Right if GRANTS.allow(right, "demo")] == [Right.JOIN]
    assert GRANTS.allow(Right.KICK, "team-a")
    assert GRANTS.allow(Right.LOCK, "team-a")
    assert not GRANTS.allow(Right.LOCK, "team-b")
    assert not GRANTS.allow(Right.JOIN, "demo2")
    assert not Grants().allow(Right.JOIN, "demo")


def test_a_right_that_is_missing_is_refused_with_its_name() -> None:
    GRANTS.require(Right.JOIN, "demo")
    with pytest.raises(Refused, match="publish") as caught:
        GRANTS.require(Right.PUBLISH, "demo")
    assert caught.value.code == "not_granted"


def test_guests_have_the_rights_of_members_and_admins_all_rights() -> None:
    assert {right for right in Right if GUEST.allow(right, "any")} == OF_MEMBERS
    assert all(ADMIN.allow(right, "any") for right in Right)
    assert GUEST.anonymous
    assert not ADMIN.anonymous


def test_the_first_rules_for_a_room_count() -> None:
    assert GRANTS.rules("demo") == RuleChange(locked=True)
    assert GRANTS.rules("team-a") == RuleChange(max_members=2)
    assert GRANTS.rules("team-b") is None


@pytest.mark.parametrize(
    ("peers", "asked", "found"),
    [("*", "", "new"), ("*", "bob", "bob"), ("alice", "", "alice"), ("alice", "alice", "alice"), ("a-*", "", "a-new"),
     ("a-*", "a-1", "a-1"), ("a*b*", "", "anewb")],
)  # fmt: skip
def test_the_peer_id(peers: str, asked: str, found: str) -> None:
    assert Grants(peers=peers).peer(asked, lambda: "new") == found


@pytest.mark.parametrize(("peers", "asked"), [("alice", "bob"), ("a-*", "b-1"), ("*20", "a%20")])
def test_another_peer_id_is_refused(peers: str, asked: str) -> None:
    with pytest.raises(Refused) as caught:
        Grants(peers=peers).peer(asked, lambda: "new")
    assert caught.value.code == "wrong_peer"
