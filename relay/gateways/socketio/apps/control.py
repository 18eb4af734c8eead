"""Socket.IO events of clients that have a say in a room (`relay:kick`, `relay:rules`, …), and the events about them.

They have names of the relay's own, as pages use words like `kick` for events among themselves. Each command has one
object at most, and is acknowledged.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct, structs

from relay.gateways.socketio.encoders import OutgoingEvent
from relay.gateways.socketio.errors import BadEvent
from relay.model import events
from relay.model.commands import ChangeRules, CloseRoom, Kick, MoveMembers, RoomControl
from relay.model.envelope_head import MAX_ADDRESSEES
from relay.model.errors import Refused
from relay.model.explanations import explain
from relay.model.names import escape_peer, escape_room, unescape
from relay.model.rules import MAX_BAN, MAX_REASON, RoomRules, RuleChange, shown_rules

Reason = Annotated[str, Meta(max_length=MAX_REASON)]


class _Kick(Struct):
    peer: str
    reason: Reason = ""
    ban: Annotated[int, Meta(ge=0, le=MAX_BAN)] = 0


class _Close(Struct):
    reason: Reason = ""


class _Move(Struct):
    to: str
    peers: Annotated[list[str], Meta(min_length=1, max_length=MAX_ADDRESSEES)] | None = None


_kick_decoder = msgspec.json.Decoder(_Kick)
_rules_decoder = msgspec.json.Decoder(RuleChange)
_close_decoder = msgspec.json.Decoder(_Close)
_move_decoder = msgspec.json.Decoder(_Move)
_json = msgspec.json.Encoder()


def _kick(data: bytes, key: str) -> Kick:
    kick = _kick_decoder.decode(data)
    return Kick(escape_peer(kick.peer), kick.reason, kick.ban, key=key)


def _rules(data: bytes, key: str) -> ChangeRules:
    change = _rules_decoder.decode(data) if data else None
    if change is not None and change.owner:
        change = structs.replace(change, owner=escape_peer(change.owner))
    return ChangeRules(change, key=key)


def _close(data: bytes, key: str) -> CloseRoom:
    return CloseRoom(_close_decoder.decode(data).reason if data else "", key=key)


def _move(data: bytes, key: str) -> MoveMembers:
    move = _move_decoder.decode(data)
    peers = None if move.peers is None else [escape_peer(peer) for peer in move.peers]
    return MoveMembers(escape_room(move.to), peers, key=key)


_READERS: Final[Mapping[str, Callable[[bytes, str], RoomControl]]] = {
    "relay:kick": _kick,
    "relay:rules": _rules,
    "relay:close": _close,
    "relay:move": _move,
}

CONTROL_EVENTS: Final = frozenset(_READERS)
"""The names of the commands."""

CONTROL_NOTICES: Final = frozenset({"relay:rules", "relay:kicked", "relay:closed", "relay:moved"})
"""The names of the events that only the relay emits."""


def read_control(name: str, data: bytes, key: str) -> RoomControl:
    """Read a command; `data` is the JSON of its arguments. Raises `BadEvent`."""
    try:
        return _READERS[name](data, key)
    except msgspec.MsgspecError as error:
        text = f"{name} takes one object: {explain(error)}"
        raise BadEvent("bad_event", text, about="event", key=key) from None
    except Refused as error:
        raise BadEvent(error.code, error.text, about="event", key=key) from None


def control_event(event: events.RoomNotice) -> OutgoingEvent:
    """Write the event that tells a client of a change of its room."""
    room = unescape(event.room)
    match event:
        case events.RulesChanged():
            by = {"by": unescape(event.by)} if event.by else {}
            return _event("relay:rules", {"room": room, "rules": rules_as_text(event.rules), **by})
        case events.Kicked():
            return _event("relay:kicked", {"room": room, "peer": unescape(event.peer), "reason": event.reason})
        case events.RoomClosed():
            return _event("relay:closed", {"room": room, "reason": event.reason})
        case events.Moved():
            return _event("relay:moved", {"room": room, "to": unescape(event.to)})


def rules_as_text(rules: RoomRules) -> dict[str, Any]:
    """Return rules for a client whose names are text."""
    return shown_rules(rules) | {"owner": unescape(rules.owner) or None}


def _event(name: str, value: dict[str, Any]) -> OutgoingEvent:
    return OutgoingEvent(b'"%b"' % name.encode(), [_json.encode(value)])
