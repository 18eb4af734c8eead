"""Frames about the room itself, read into events."""

from typing import Any

import pytest

from relay.client.events import MemberKicked, MoveAsked, NewRules, Notice, RoomEnded, notice_in, rules_in
from relay.model.rules import RoomRules, shown_rules


@pytest.mark.parametrize(
    ("frame", "event"),
    [
        ({"type": "rules", "rules": {}}, NewRules(RoomRules())),
        ({"type": "rules", "rules": {"locked": True}, "by": "a"}, NewRules(RoomRules(locked=True), "a")),
        ({"type": "kicked", "peer": "a"}, MemberKicked("a")),
        ({"type": "kicked", "peer": "a", "reason": "rude"}, MemberKicked("a", "rude")),
        ({"type": "closed", "reason": "late"}, RoomEnded("late")),
        ({"type": "move", "to": "main%20hall"}, MoveAsked("main hall")),
    ],
)
def test_each_frame_is_an_event(frame: dict[str, Any], event: Notice) -> None:
    assert notice_in(frame | {"id": "1-2"}) == event


def test_rules_are_read_as_the_relay_shows_them() -> None:
    for rules in (RoomRules(), RoomRules(max_members=2, locked=True, password=True, ttl=9, history=False, owner="a")):
        assert rules_in({"rules": shown_rules(rules)}) == rules
    assert rules_in({"rules": {"of_a_later_relay": 1}}) == RoomRules()


@pytest.mark.parametrize(
    "frame", [{"type": "rules"}, {"type": "rules", "rules": {"locked": 7}}, {"type": "kicked"}, {"type": "move"}]
)
def test_a_frame_without_its_fields_cannot_be_read(frame: dict[str, Any]) -> None:
    with pytest.raises((KeyError, ValueError)):
        notice_in(frame)
