"""Large messages to many rooms: the history of each room stores as many as it can."""

import asyncio
import json

from tests.abuse.attack import Attack
from tests.abuse.target import Target, all_of, frame

_ROOMS = 30
_MESSAGE = "x" * 1_000_000


async def _fill(target: Target, number: int) -> None:
    reader, writer = await target.websocket(f"/rooms/large-{number}")
    reading = asyncio.create_task(target.read_all(reader))
    rooms = [f"large-{number}-{count}" for count in range(_ROOMS)]
    try:
        for room in rooms:
            await target.write(writer, frame(json.dumps({"type": "join", "room": room})))
        while not reading.done():
            for room in rooms:
                command = {"type": "publish", "room": room, "envelope": {"message": _MESSAGE}}
                await target.write(writer, frame(json.dumps(command)))
    finally:
        reading.cancel()
        writer.transport.abort()


async def run(target: Target) -> None:
    await all_of(*(_fill(target, number) for number in range(20)))


ATTACK = Attack(name="large-messages", says="Messages of 1 MB to 600 rooms, as fast as TCP takes them.", run=run)
