"""The guard: which commands and requests a token allows, and in which form."""

import re
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

import relay
from relay.gateways.base.guard import Guard
from relay.gateways.base.join_request import JoinRequest, ObserveRequest, ResumeClaim
from relay.gateways.native.topics import PublishTopic
from relay.identity.grants import ADMIN, GUEST, Grants, Right, RoomGrant
from relay.model.commands import (
    AskPresence,
    Command,
    Detect,
    Join,
    Leave,
    Move,
    Ping,
    Publish,
    Refresh,
    SetInfo,
    Subscribe,
    Unsubscribe,
)
from relay.model.errors import Refused
from relay.rooms.observer import Sight


def of(room: str, *rights: Right, **fields: Any) -> Grants:
    return Grants(rooms=(RoomGrant(room, frozenset(rights)),), **fields)


def code_of(guard: Guard, command: Command, own_room: str = "own") -> str:
    try:
        guard.check(command, own_room)
    except Refused as error:
        return error.code
    return ""


def peers() -> Any:
    numbers = count(1)
    return lambda: f"peer{next(numbers)}"


NEEDED = [
    (Join("own"), Right.JOIN),
    (Move("own"), Right.JOIN),
    (Subscribe(["a"]), Right.JOIN),
    (Unsubscribe(None), Right.JOIN),
    (SetInfo(b"{}"), Right.JOIN),
    (Publish(b"{}"), Right.PUBLISH),
    (Publish(b"{}", to=("bob",)), Right.SEND_DIRECT),
    (AskPresence(), Right.PRESENCE),
    (Detect("name"), Right.PRESENCE),
]
FREE = [Leave(), Ping(), Refresh("token"), PublishTopic("topic", b"{}")]


@pytest.mark.parametrize(("command", "right"), NEEDED)
def test_each_command_needs_one_right_in_its_room(command: Command, right: Right) -> None:
    others = [one for one in Right if one is not right]
    for _ in range(2):
        assert code_of(Guard(of("own", right)), command) == ""
        assert code_of(Guard(of("own", *others)), command) == "not_granted"
        assert code_of(Guard(of("other", *Right)), command) == "not_granted"
        assert code_of(Guard(ADMIN), command) == code_of(Guard(GUEST), command) == ""


@pytest.mark.parametrize("command", FREE)
def test_some_commands_need_no_right(command: Command) -> None:
    assert code_of(Guard(Grants()), command) == ""


def test_every_command_is_in_one_of_these_tables() -> None:
    known = {type(command) for command, _ in NEEDED} | {type(command) for command in FREE}
    controls = {"Kick", "ChangeRules", "CloseRoom", "MoveMembers"}
    names = {kind.__name__ for kind in Command.__args__} - controls - {"GatewayCommand"}
    assert names <= {kind.__name__ for kind in known}


def test_a_command_may_name_another_room_than_the_own_one() -> None:
    guard = Guard(of("a*", Right.PUBLISH))
    assert code_of(guard, Publish(b"{}", room="abc")) == code_of(guard, Publish(b"{}"), "a") == ""
    assert code_of(guard, Publish(b"{}", room="b")) == code_of(guard, Publish(b"{}"), "b") == "not_granted"
    assert code_of(guard, Publish(b"{}", to=("bob",)), "a") == "not_granted"


def test_without_a_room_the_session_has_the_better_error() -> None:
    assert code_of(Guard(Grants()), Publish(b"{}"), "") == code_of(Guard(Grants()), AskPresence(), "") == ""


def test_a_guard_remembers_a_bounded_number_of_rooms() -> None:
    guard = Guard(of("*", Right.PUBLISH))
    for number in range(1000):
        guard.check(Publish(b"{}", room=str(number)), "own")
    assert len(guard._publish) <= 64


def test_a_join_that_asks_for_presence_without_the_right_is_a_join() -> None:
    join = Join("own", presence=True)
    assert Guard(of("own", Right.JOIN)).check(join, "") == structs.replace(join, presence=False)
    assert Guard(of("own", Right.JOIN, Right.PRESENCE)).check(join, "") == join


def test_a_join_may_name_only_a_peer_id_of_the_token() -> None:
    guard = Guard(of("own", Right.JOIN, subject="ann-*", peers="ann-*"))
    assert code_of(guard, Join("own", peer="ann-1")) == ""
    assert code_of(guard, Join("own", peer="bob")) == "wrong_peer"


def test_a_name_is_looked_for_among_rooms_only_where_presence_is_granted() -> None:
    guard = Guard(of("own", Right.PRESENCE))
    assert guard.check(Detect("own"), "own") == Detect("own")
    assert guard.check(Detect("other"), "own") == Detect("other", rooms=False)
    assert guard.check(Detect("\n"), "own") == Detect("\n")


# Entering.


def test_a_client_that_enters_gets_the_peer_id_of_its_token() -> None:
    grants = of("own", Right.JOIN)
    for subject, asked, peer in [
        ("", "", "peer1"),
        ("ann", "", "ann"),
        ("ann", "ann", "ann"),
        ("ann-*", "", "ann-peer1"),
    ]:
        guard = Guard(replace(grants, subject=subject, peers=subject or "*"))
        assert guard.admit(JoinRequest("own", asked), peers()).peer == peer
    with pytest.raises(Refused) as refused:
        Guard(replace(grants, peers="ann")).admit(JoinRequest("own", "bob"), peers())
    assert refused.value.code == "wrong_peer"


def test_a_client_needs_the_right_to_enter() -> None:
    with pytest.raises(Refused) as refused:
        Guard(of("own", *set(Right) - {Right.JOIN})).admit(JoinRequest("own"), peers())
    assert refused.value.code == "not_granted"


def test_presence_is_left_out_of_a_request_where_it_is_not_granted() -> None:
    request = JoinRequest("own", "ann", presence=True)
    assert not Guard(of("own", Right.JOIN)).admit(request, peers()).presence
    assert Guard(GUEST).admit(request, peers()).presence


@pytest.mark.parametrize(
    ("room", "peer", "kept"), [("own", "ann-1", True), ("own", "bob", False), ("other", "ann-1", False)]
)
def test_a_claim_that_the_token_does_not_allow_is_dropped(room: str, peer: str, kept: bool) -> None:
    guard = Guard(of("own", Right.JOIN, peers="ann-*"))
    claim = ResumeClaim(room, peer, "key", None)
    admitted = guard.admit(JoinRequest("own", claim=claim), peers())
    assert admitted.claim == (claim if kept else None)
    assert admitted.peer == (peer if kept else "ann-peer1")


# Observing.

ALL = ObserveRequest("own", Sight.COUNTS)


@pytest.mark.parametrize(
    ("grants", "request_", "sight", "presence"),
    [
        (GUEST, replace(ALL, messages=False), Sight.COUNTS, True),
        (ADMIN, ALL, Sight.EVERYTHING, True),
        (of("own", Right.OBSERVE, Right.PRESENCE), ALL, Sight.MEMBER, True),
        (of("own", Right.OBSERVE), ALL, Sight.MEMBER, False),
        (of("own", Right.OBSERVE), replace(ALL, messages=False), Sight.COUNTS, True),
        (of("own", Right.OBSERVE, Right.PRESENCE), replace(ALL, presence=False), Sight.MEMBER, False),
    ],
)
def test_an_observer_has_the_sight_that_its_token_grants(
    grants: Grants, request_: ObserveRequest, sight: Sight, presence: bool
) -> None:
    allowed = Guard(grants).observe(request_)
    assert (allowed.sight, allowed.presence) == (sight, presence)


def test_observing_needs_a_right_of_its_own() -> None:
    with pytest.raises(Refused) as refused:
        Guard(of("own", *set(Right) - {Right.OBSERVE})).observe(ALL)
    assert refused.value.code == "not_granted"


# A newer token.


@pytest.mark.parametrize(
    ("newer", "code"),
    [
        (Grants(subject="ann"), ""),
        (Grants(subject="bob"), "wrong_peer"),
        (Grants(), "wrong_peer"),
        (GUEST, "token_required"),
    ],
)
def test_a_newer_token_has_the_same_subject(newer: Grants, code: str) -> None:
    guard = Guard(Grants(subject="ann"))
    if not code:
        guard.check_successor(newer)
        return
    with pytest.raises(Refused) as refused:
        guard.check_successor(newer)
    assert refused.value.code == code


def test_no_other_part_of_the_gateways_checks_rights() -> None:
    """`room_control` asks the guard, as the owner of a room may do things that its token does not grant."""
    checking = {
        path.name
        for path in (Path(relay.__file__).parent / "gateways").rglob("*.py")
        if re.search(r"\.(require|allow)\(", path.read_text())
    }
    assert checking == {"guard.py", "room_control.py"}
