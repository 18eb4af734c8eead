"""The commands kick, rules, close and move: which clients may give them, and their answers.

A client may if its token grants the right in the room, of which it need not be a member. The owner of a room may kick,
change the rules, and close the room, if the setting owner-rules allows it. Everybody in a room may ask for its
rules.
"""

from typing import Final

from relay.gateways.base.guard import Guard
from relay.gateways.base.joined_rooms import JoinedRooms
from relay.identity.grants import Right
from relay.model.commands import ChangeRules, CloseRoom, Kick, MoveMembers, RoomControl
from relay.model.errors import Refused
from relay.model.events import CurrentRules, Done
from relay.model.names import check_room
from relay.rooms.worker import Worker

_OF_OWNERS: Final = frozenset({Right.KICK, Right.LOCK, Right.CLOSE})


def right_of(command: RoomControl) -> Right | None:
    """Return the right that a command needs; None for a question."""
    match command:
        case Kick():
            return Right.KICK
        case ChangeRules():
            return None if command.change is None else Right.LOCK
        case CloseRoom():
            return Right.CLOSE
        case MoveMembers():
            return Right.MOVE


async def control(
    command: RoomControl, rooms: JoinedRooms, worker: Worker, guard: Guard | None, address: str = ""
) -> None:
    """Carry a command out, and answer; `address` is the one under which the client is counted.

    Raises `Refused` (`not_granted`, `not_owner`, `forbidden`, `not_joined`, `no_such_peer`, and the errors of rules),
    `Unavailable` or `OutcomeUnknown`.
    """
    room = command.room or rooms.own_room
    if not room:
        raise Refused("not_joined")
    by = _check(right_of(command), check_room(room), rooms, worker, guard)
    rules = worker.rules
    match command:
        case ChangeRules(change):
            current = await (rules.get(room) if change is None else rules.change(room, change, by=by))
            rooms.answer(CurrentRules(room, current, command.key))
        case Kick():
            if command.ban and guard is not None and not rooms.is_in(room):
                # A ban is stored also if there is no such room.
                await worker.count_room(room, guard.grants, address)
            kicked = await rules.kick(room, command.peer, reason=command.reason, ban=command.ban, by=by)
            # A ban counts also for a client that is not there now.
            if not kicked and not command.ban:
                raise Refused("no_such_peer", "no member of the room has this peer id", peers=[command.peer])
            rooms.answer(Done(room, "kick", int(kicked), command.key))
        case CloseRoom():
            rooms.answer(Done(room, "close", await rules.close(room, reason=command.reason), command.key))
        case MoveMembers():
            if command.to == room:
                raise Refused("already_joined", "the members are in this room already; to names another one")
            worker.check_unreserved(command.to)
            rooms.answer(Done(room, "move", await rules.move(room, command.to, command.peers), command.key))


def _check(right: Right | None, room: str, rooms: JoinedRooms, worker: Worker, guard: Guard | None) -> str:
    """Return the client's peer id in the room, "" if it is no member; raise `Refused` if it may not do this."""
    if right is None:
        if not rooms.is_in(room):
            raise Refused("not_joined", room=room)
        return ""
    peer = _peer(rooms, room)
    if guard is not None and guard.allows(right, room):
        return peer
    if right in _OF_OWNERS and worker.settings.owner_rules == "on":
        if worker.rules.is_owner(room, peer):
            return peer
        raise Refused("not_owner", room=room)
    if guard is not None:
        guard.grants.require(right, room)
    text = "this needs a token that grants it, and this relay reads none; the setting auth (RELAY_AUTH) turns tokens on"
    if right in _OF_OWNERS:
        text += ", and owner-rules (RELAY_OWNER_RULES) lets the owner of a room do it"
    raise Refused("forbidden", text)


def _peer(rooms: JoinedRooms, room: str) -> str:
    """Return the client's peer id in a room; "" for an observer, and for a client that is not there."""
    try:
        return rooms.member(room).peer
    except Refused:
        return ""
