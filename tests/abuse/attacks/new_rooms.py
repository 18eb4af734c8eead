"""New rooms, one after the other: each join and leave of a room that does not exist leaves something in Redis."""

import asyncio
import itertools
import json

from tests.abuse.attack import Attack
from tests.abuse.target import Target, all_of, frame

_PAIRS = 50
"""Rooms that one connection opens and leaves in one write."""


async def _open_rooms(target: Target, number: int) -> None:
    reader, writer = await target.websocket(f"/rooms/opener-{number}")
    reading = asyncio.create_task(target.read_all(reader))
    names = (f"new-{number}-{count}" for count in itertools.count())
    try:
        while not reading.done():
            for name in itertools.islice(names, _PAIRS):
                join, leave = {"type": "join", "room": name, "presence": True}, {"type": "leave", "room": name}
                await target.write(writer, frame(json.dumps(join)) + frame(json.dumps(leave)))
    finally:
        reading.cancel()
        writer.transport.abort()


async def run(target: Target) -> None:
    await all_of(*(_open_rooms(target, number) for number in range(20)))


ATTACK = Attack(name="new-rooms", says="Joins and leaves of rooms that do not exist, without a pause.", run=run)
