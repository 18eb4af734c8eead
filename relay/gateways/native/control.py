"""Native commands of clients that have a say in a room (`kick`, `rules`, `close`, `move`), and events about them."""

from typing import Annotated, Final

from msgspec import Meta, Struct

from relay.model.commands import ChangeRules, CloseRoom, Kick, MoveMembers, RoomControl
from relay.model.envelope_head import MAX_ADDRESSEES, Key
from relay.model.errors import BadFrame, Refused
from relay.model.names import check_peer, check_room
from relay.model.rules import MAX_BAN, MAX_REASON, RuleChange, checked_change

Reason = Annotated[str, Meta(max_length=MAX_REASON)]
Peers = Annotated[list[str], Meta(min_length=1, max_length=MAX_ADDRESSEES)]


class _Command(Struct, tag_field="type", kw_only=True):
    key: Key = ""
    room: str = ""


class KickCommand(_Command, tag="kick"):
    """Put a peer out of the room; with `ban`, it may not come back for so many seconds."""

    peer: str
    reason: Reason = ""
    ban: Annotated[int, Meta(ge=0, le=MAX_BAN)] = 0


class RulesCommand(_Command, tag="rules"):
    """Change the rules of the room; without `set`, ask for them."""

    set: RuleChange | None = None


class CloseCommand(_Command, tag="close"):
    """End the room."""

    reason: Reason = ""


class MoveCommand(_Command, tag="move"):
    """Send members to another room: `peers`, or all."""

    to: str
    peers: Peers | None = None


ControlCommand = KickCommand | RulesCommand | CloseCommand | MoveCommand

CONTROL_COMMANDS: Final = frozenset({"kick", "rules", "close", "move"})
"""The types of these commands."""


def read_control(command: ControlCommand) -> RoomControl:
    """Return the command, with its names checked; raises `BadFrame`."""
    room, key = command.room, command.key
    try:
        match command:
            case KickCommand():
                return Kick(check_peer(command.peer), command.reason, command.ban, room, key)
            case RulesCommand():
                return ChangeRules(None if command.set is None else checked_change(command.set), room, key)
            case CloseCommand():
                return CloseRoom(command.reason, room, key)
            case MoveCommand():
                peers = None if command.peers is None else [check_peer(peer) for peer in command.peers]
                return MoveMembers(check_room(command.to), peers, room, key)
    except Refused as error:
        raise BadFrame(error.code, error.text, about=str(command.__struct_config__.tag), key=key) from None
