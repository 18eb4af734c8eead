"""The loads: numbers of rooms and members, and rates."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["CALL_MESSAGES", "CHECKS", "QUICK", "RATES", "Shape", "shapes"]

# Tried in turn for the latency at a steady rate, until one is below a system's saturation.
RATES = (2000, 1000, 500, 200, 50)
CONNECTIONS = 10_000
SCALING_DELIVERIES = 4000
SPARE_FILES = 200
CALL_MESSAGES = 20


@dataclass(frozen=True, slots=True)
class Shape:
    """One load.

    `flood`: closed loop, `level` messages in flight per room. `steady`: open loop, `level` messages a second in all;
    `latency`: the same, at the first of RATES that the system holds. `idle`: connect, then nothing. `storm`: all
    connections drop and come back at once, beside rooms that talk. `calls`: connect, join, and CALL_MESSAGES messages
    in each room, at `level` messages a second in all. `generator` names one of the load generators in load/. With
    `apart`, Redis runs on the load generator's core, and always before it; otherwise on the server's. The generator
    waits for its core then, so latency counts from the send to the arrival in the kernel of the client.
    """

    key: str
    title: str
    kind: Literal["flood", "steady", "latency", "idle", "storm", "calls"]
    rooms: int
    members: int
    level: float = 0
    size: int = 400
    only: tuple[str, ...] = ()
    generator: str = "load.c"
    apart: bool = False

    @property
    def rounds(self) -> int:
        """The largest number of rounds: a crowd of thousands takes minutes and varies little."""
        return 2 if self.kind in ("idle", "storm") else 100


def flood(key: str, title: str, rooms: int, members: int, size: int = 400) -> Shape:
    """A closed loop with as many messages in flight in a room as it has members, at most ten."""
    return Shape(key, title, "flood", rooms, members, min(members, 10), size)


FLOODS = (
    flood("50x2", "50 rooms × 2", 50, 2),
    flood("20x10", "20 × 10", 20, 10),
    flood("1x200", "1 × 200", 1, 200),
    flood("1x2000", "1 × 2,000", 1, 2000),
    flood("2000x2-1k", "2,000 × 2, 1 KB", 2000, 2, 1024),
    flood("2000x2-4k", "2,000 × 2, 4 KB", 2000, 2, 4096),
)
REST = (
    Shape("latency", "2,000 messages/s, rooms of 4", "latency", 25, 4),
    Shape("latency-apart", "the same, Redis on a core of its own", "latency", 25, 4, apart=True),
    Shape("calls", f"250 calls of two, {CALL_MESSAGES} messages each", "calls", 250, 2, 1000),
    Shape("idle", "10,000 connections, rooms of 2", "idle", CONNECTIONS // 2, 2),
    Shape("storm", "10,000 come back at once", "storm", CONNECTIONS // 2, 2),
)
# The same open loop by both load generators.
CHECKED = ("relay", "socketio-ioredis", "socketio-uws", "ws", "nchan", "centrifugo")
CHECKS = tuple(
    Shape(f"check-{key}-{name}", f"{title}, by {name}", "steady", rooms, members, rate, only=CHECKED, generator=name)
    for key, title, rooms, members, rate in (
        ("50x2", "50 × 2, 4,000 messages/s", 50, 2, 4000),
        ("20x10", "20 × 10, 1,000 messages/s", 20, 10, 1000),
    )
    for name in ("load.c", "second.js")
)
QUICK = ("50x2", "20x10", "1x200")


def scaling(open_files: int) -> list[Shape]:
    """The same deliveries a second for every number of rooms and members: a constant cost shows as a flat line."""
    # The relay gives one address, here that of the load, three quarters of its connections.
    most = min(10_000, (open_files - SPARE_FILES) * 3 // 8)
    steady = [
        Shape(f"rooms-{rooms}", f"{rooms:,} rooms × 2", "steady", rooms, 2, SCALING_DELIVERIES)
        for rooms in (10, 100, 1000, most)
    ]
    for members in (2, 20, 200, 2000):
        rate = SCALING_DELIVERIES / (members - 1)
        title = f"{2000 // members:,} × {members:,}"
        steady.append(Shape(f"members-{members}", title, "steady", 2000 // members, members, rate))
    return [Shape(s.key, s.title, s.kind, s.rooms, s.members, s.level, s.size, ("relay",)) for s in steady]


def shapes(open_files: int) -> list[Shape]:
    """All loads that this machine's limit of open files allows."""
    return [*FLOODS, *REST, *CHECKS, *scaling(open_files)]
