"""The commands of clients that have a say in a room, as events of Socket.IO clients."""

import json
from typing import Any

import pytest

from relay.gateways.socketio.apps.application import Acknowledgement
from relay.gateways.socketio.apps.control import CONTROL_NOTICES
from relay.gateways.socketio.encoders import OutgoingEvent
from relay.model import events
from relay.model.commands import ChangeRules, CloseRoom, Kick, MoveMembers
from relay.model.envelope import MessageId
from relay.model.errors import BadFrame
from relay.model.rules import RoomRules, RuleChange
from tests.unit.gateways.socketio.apps.test_relay import application, emitted, message

ID = MessageId(5, 6)
ALL = {"max_members": None, "locked": False, "password": False, "ttl": None, "history": True, "owner": None}


@pytest.mark.parametrize(
    ("values", "command"),
    [
        (["relay:kick", {"peer": "a b", "reason": "r", "ban": 5}], Kick("a%20b", "r", 5, key="ack:7")),
        (["relay:rules"], ChangeRules(key="ack:7")),
        (["relay:rules", {"locked": True}], ChangeRules(RuleChange(locked=True), key="ack:7")),
        (["relay:rules", {"owner": "a b"}], ChangeRules(RuleChange(owner="a%20b"), key="ack:7")),
        (["relay:close"], CloseRoom(key="ack:7")),
        (["relay:close", {"reason": "r"}], CloseRoom("r", key="ack:7")),
        (["relay:move", {"to": "a b"}], MoveMembers("a%20b", key="ack:7")),
        (["relay:move", {"to": "y", "peers": ["p", "a b"]}], MoveMembers("y", ["p", "a%20b"], key="ack:7")),
    ],
)
def test_commands(values: list[Any], command: object) -> None:
    assert application().command(emitted(*values, number="7")) == command
    # They need not be among the events that clients may emit.
    assert application(allowed=set()).command(emitted(*values, number="7")) == command


@pytest.mark.parametrize(
    ("values", "code", "part"),
    [
        (["relay:kick"], "bad_event", "relay:kick takes one object"),
        (["relay:kick", "p"], "bad_event", "an object"),
        (["relay:kick", {"peer": "p"}, 1], "bad_event", "relay:kick takes one object"),
        (["relay:kick", {"peer": ""}], "bad_peer", "empty"),
        (["relay:rules", {"lock": True}], "bad_event", "has no field lock"),
        (["relay:move", {"to": "y", "peers": []}], "bad_event", "peers"),
        (["relay:move", {"to": ".."}], "bad_room", ".."),
    ],
)
def test_a_wrong_command_is_refused_with_its_number(values: list[Any], code: str, part: str) -> None:
    with pytest.raises(BadFrame) as refused:
        application().command(emitted(*values, number="7"))
    assert (refused.value.code, refused.value.key) == (code, "ack:7")
    assert part in refused.value.text


@pytest.mark.parametrize("name", sorted(CONTROL_NOTICES - {"relay:rules"}))
def test_clients_do_not_emit_the_events_of_the_relay(name: str) -> None:
    with pytest.raises(BadFrame, match="reserved_event"):
        application().command(emitted(name, {}))


def test_an_envelope_does_not_pass_for_an_event_of_the_relay() -> None:
    for name in CONTROL_NOTICES:
        (packet,) = application().packets(message(json.dumps({"event": name, "args": [{}]}).encode()))
        assert isinstance(packet, OutgoingEvent)
        assert packet.name == b'"message"'


@pytest.mark.parametrize(
    ("event", "name", "value"),
    [
        (
            events.RulesChanged("a%20b", ID, RoomRules(locked=True, owner="c%20d"), "c%20d"),
            "relay:rules",
            {"room": "a b", "rules": ALL | {"locked": True, "owner": "c d"}, "by": "c d"},
        ),
        (events.RulesChanged("x", ID, RoomRules()), "relay:rules", {"room": "x", "rules": ALL}),
        (events.Kicked("x", ID, "c%20d", "w"), "relay:kicked", {"room": "x", "peer": "c d", "reason": "w"}),
        (events.RoomClosed("x", ID), "relay:closed", {"room": "x", "reason": ""}),
        (events.Moved("x", ID, "a%20b"), "relay:moved", {"room": "x", "to": "a b"}),
    ],
)
def test_events(event: Any, name: str, value: dict[str, Any]) -> None:
    (packet,) = application().packets(event)
    assert isinstance(packet, OutgoingEvent)
    assert json.loads(packet.name) == name
    assert [json.loads(one) for one in packet.arguments] == [value]


def test_answers_are_acknowledgements() -> None:
    (rules,) = application().packets(events.CurrentRules("a%20b", RoomRules(owner="c%20d"), "ack:7"))
    assert rules == Acknowledgement("7", [{"room": "a b", "rules": ALL | {"owner": "c d"}}])
    (done,) = application().packets(events.Done("x", "move", 3, "ack:7"))
    assert done == Acknowledgement("7", [{"count": 3}])
    assert application().packets(events.Done("x", "move", 3)) == ()
