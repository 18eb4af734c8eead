"""The Python client: one room over one connection that is made anew whenever it is lost.

    async with join("ws://localhost:8888", "demo", peer="alice", presence=True) as room:
        await room.send({"channel": "chat", "message": "hello"})
        async for event in room:
            match event:
                case Envelope(): print(event.sender, event.data)
                case Joined() | Left(): print(room.members)
                case Lost(): print("something was missed:", event.reason)

What `send` returns from was taken by the relay, once, however often the connection broke meanwhile. What was said while
it was broken comes when it is back, once and in order; or `Lost` says that it cannot be had.
"""

from relay.client.connection import Options
from relay.client.errors import Closed, NotAcknowledged, QueueFull, Rejected
from relay.client.events import Envelope, Event, Interrupted, Joined, Left, Lost, Resumed
from relay.client.room import Room, join

__all__ = [
    "Closed",
    "Envelope",
    "Event",
    "Interrupted",
    "Joined",
    "Left",
    "Lost",
    "NotAcknowledged",
    "Options",
    "QueueFull",
    "Rejected",
    "Resumed",
    "Room",
    "join",
]
