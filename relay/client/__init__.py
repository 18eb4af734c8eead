"""The Python client: one room over one connection, which is made again whenever it is lost.

    async with join("ws://localhost:8888", "demo", peer="alice", presence=True) as room:
        await room.send({"channel": "chat", "message": "hello"})
        async for event in room:
            match event:
                case Envelope(): print(event.sender, event.data)
                case Joined() | Left(): print(room.members)
                case Lost(): print("events were missed:", event.reason)

An envelope for which `send` returned was accepted by the relay, once, however often the connection was lost meanwhile.
Events that were missed while it was lost arrive after it is back, once and in order; or `Lost` says that they cannot.
"""

from relay.client.errors import Closed, NotAcknowledged, QueueFull, Rejected
from relay.client.events import (
    Changed,
    Counted,
    Envelope,
    Event,
    Interrupted,
    Joined,
    Left,
    Lost,
    MemberKicked,
    MoveAsked,
    NewRules,
    NoToken,
    Resumed,
    RoomEnded,
    Unreadable,
)
from relay.client.options import Options
from relay.client.room import Room, join, observe
from relay.model.names import escape_peer, unescape
from relay.model.rules import RoomRules, RuleChange

__all__ = [
    "Changed",
    "Closed",
    "Counted",
    "Envelope",
    "Event",
    "Interrupted",
    "Joined",
    "Left",
    "Lost",
    "MemberKicked",
    "MoveAsked",
    "NewRules",
    "NoToken",
    "NotAcknowledged",
    "Options",
    "QueueFull",
    "Rejected",
    "Resumed",
    "Room",
    "RoomEnded",
    "RoomRules",
    "RuleChange",
    "Unreadable",
    "escape_peer",
    "join",
    "observe",
    "unescape",
]
