"""A client's newer token, which may grant less than the one before: rights that it does not grant end at once."""

from collections.abc import Callable

from relay.gateways.base.guard import Guard
from relay.gateways.base.joined_rooms import JoinedRooms
from relay.gateways.base.observed_room import ObservedRoom
from relay.identity.grants import Right
from relay.model.commands import Leave
from relay.model.errors import Refused
from relay.rooms.worker import Worker

Tell = Callable[[Refused, str], None]
"""Sends the client an error about a command."""


def end_lost_rights(guard: Guard, rooms: JoinedRooms, worker: Worker, tell: Tell) -> bool:
    """End the memberships and events that the token does not grant any more; returns whether the client may stay.

    A client that may not be in one of its rooms leaves that room; if that is its own room, it may not stay. A client
    that may not see members gets no joins and leaves any more. An observer stays only if it keeps its whole sight.
    """
    if isinstance(rooms, ObservedRoom):
        if rooms.may_go_on(guard.observe):
            return True
        tell(_not_granted(Right.OBSERVE, rooms.own_room), "refresh")
        return False
    for member in rooms.memberships():
        if not guard.allows(Right.JOIN, member.room):
            tell(_not_granted(Right.JOIN, member.room), "refresh")
            if member.room == rooms.own_room:
                # At once, and not held when the connection is closed: the client may not come back.
                worker.leave(member, hold=False)
                return False
            rooms.leave(Leave(member.room))
        elif member.presence and not guard.allows(Right.PRESENCE, member.room):
            worker.hide_presence(member)
            tell(no_presence(member.room), "presence")
    return True


def no_presence(room: str) -> Refused:
    """Return the error for a client that asked for a room's presence, and only gets the rest."""
    text = f"the token does not grant {Right.PRESENCE} in this room; joins and leaves are not sent"
    return Refused("not_granted", text, room=room)


def _not_granted(right: Right, room: str) -> Refused:
    return Refused("not_granted", f"the newer token does not grant {right} in this room as before", room=room)
