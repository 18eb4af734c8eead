"""The commands kick, rules, close and move, and the events about them, as native frames."""

import json
from typing import Any

import pytest

from relay.gateways.native.codec import NativeCodec
from relay.gateways.native.previous import MarkedFrame, MarkingCodec
from relay.model import events
from relay.model.codec import Frame
from relay.model.commands import ChangeRules, CloseRoom, Command, Kick, MoveMembers
from relay.model.envelope import MessageId
from relay.model.errors import BadFrame
from relay.model.rules import MAX_BAN, RoomRules, RuleChange

PLAIN, TAGGED = NativeCodec(), NativeCodec(tagged=True)
ID = MessageId(5, 6)


def decoded(text: str) -> Command:
    return PLAIN.decode(Frame(text.encode()))


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ('{"type":"kick","peer":"p"}', Kick("p")),
        (
            '{"type":"kick","peer":"a%20b","reason":"r","ban":60,"room":"x","key":"k"}',
            Kick("a%20b", "r", 60, "x", "k"),
        ),
        ('{"type":"rules"}', ChangeRules()),
        ('{"type":"rules","room":"x","key":"k"}', ChangeRules(None, "x", "k")),
        ('{"type":"rules","set":{"locked":true,"max_members":5}}', ChangeRules(RuleChange(locked=True, max_members=5))),
        ('{"type":"rules","set":{"owner":"a%20b","password":""}}', ChangeRules(RuleChange(owner="a%20b", password=""))),
        ('{"type":"close"}', CloseRoom()),
        ('{"type":"close","reason":"r","key":"k"}', CloseRoom("r", "", "k")),
        ('{"type":"move","to":"y"}', MoveMembers("y")),
        ('{"type":"move","to":"y","peers":["p","q"],"room":"x","key":"k"}', MoveMembers("y", ["p", "q"], "x", "k")),
    ],
)
def test_commands(text: str, command: Command) -> None:
    assert decoded(text) == command


@pytest.mark.parametrize(
    ("text", "code", "about", "part"),
    [
        ('{"type":"kick","key":"k"}', "bad_command", "kick", "peer is missing"),
        ('{"type":"kick","peer":"a b","key":"k"}', "bad_peer", "kick", "a%20b"),
        ('{"type":"kick","peer":"p","ban":-1,"key":"k"}', "bad_command", "kick", "ban"),
        (f'{{"type":"kick","peer":"p","ban":{MAX_BAN + 1},"key":"k"}}', "bad_command", "kick", "ban"),
        (f'{{"type":"close","reason":"{"x" * 201}","key":"k"}}', "bad_command", "close", "200 characters"),
        ('{"type":"rules","set":{"lock":true},"key":"k"}', "bad_command", "rules", "has no field lock"),
        ('{"type":"rules","set":{"ttl":-1},"key":"k"}', "bad_command", "rules", "set.ttl"),
        ('{"type":"rules","set":{"owner":"a b"},"key":"k"}', "bad_peer", "rules", "a%20b"),
        ('{"type":"move","to":"a b","key":"k"}', "bad_room", "move", "a%20b"),
        ('{"type":"move","to":"y","peers":[],"key":"k"}', "bad_command", "move", "at least 1 item"),
        ('{"type":"move","to":"y","peers":[".\\u0000"],"key":"k"}', "bad_peer", "move", "control character"),
    ],
)
def test_a_wrong_command_is_refused_with_its_name_and_key(text: str, code: str, about: str, part: str) -> None:
    with pytest.raises(BadFrame) as refused:
        decoded(text)
    assert (refused.value.code, refused.value.about, refused.value.key) == (code, about, "k")
    assert part in refused.value.text


ALL = {"max_members": None, "locked": False, "password": False, "ttl": None, "history": True, "owner": None}


@pytest.mark.parametrize(
    ("event", "frame"),
    [
        (
            events.RulesChanged("x", ID, RoomRules(locked=True, owner="p"), "p"),
            {"type": "rules", "rules": ALL | {"locked": True, "owner": "p"}, "by": "p", "id": "5-6"},
        ),
        (events.RulesChanged("x", ID, RoomRules()), {"type": "rules", "rules": ALL, "id": "5-6"}),
        (events.Kicked("x", ID, "p", "why"), {"type": "kicked", "peer": "p", "reason": "why", "id": "5-6"}),
        (events.Kicked("x", ID, "p"), {"type": "kicked", "peer": "p", "id": "5-6"}),
        (events.RoomClosed("x", ID, "why"), {"type": "closed", "reason": "why", "id": "5-6"}),
        (events.Moved("x", ID, "y"), {"type": "move", "to": "y", "id": "5-6"}),
        (events.CurrentRules("x", RoomRules(), "k"), {"type": "rules", "rules": ALL, "key": "k"}),
        (events.Done("x", "kick", 1, "k"), {"type": "done", "about": "kick", "count": 1, "key": "k"}),
    ],
)
def test_events(event: Any, frame: dict[str, Any]) -> None:
    assert json.loads(PLAIN.encode(event).data) == frame
    assert json.loads(TAGGED.encode(event).data) == frame | {"room": "x"}
    assert isinstance(MarkingCodec().encode(event), MarkedFrame) == ("id" in frame)


def test_no_password_is_shown() -> None:
    command = decoded('{"type":"rules","set":{"password":"secret-word"}}')
    assert "secret-word" not in repr(command)
