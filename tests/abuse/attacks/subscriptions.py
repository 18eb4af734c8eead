"""Connections that subscribe to as many channels as they can."""

import asyncio
import json

from tests.abuse.attack import Attack
from tests.abuse.target import Target, all_of, frame

_CONNECTIONS = 20
_ROOMS = 31
_CHANNELS = 127


def _commands(number: int) -> bytes:
    """Join 31 rooms, and subscribe to 127 channels in each; the names of the channels differ."""
    commands = []
    for room in range(_ROOMS):
        names = [f"{number}-{room}-{channel}" for channel in range(_CHANNELS)]
        commands.append(frame(json.dumps({"type": "join", "room": f"sub-{number}-{room}"})))
        commands.append(frame(json.dumps({"type": "subscribe", "room": f"sub-{number}-{room}", "channels": names})))
    return b"".join(commands)


async def _subscribe(target: Target, number: int) -> None:
    reader, writer = await target.websocket(f"/rooms/sub-{number}")
    reading = asyncio.create_task(target.read_all(reader))
    try:
        while not reading.done():
            await target.write(writer, _commands(number))
            # The second time, each join is refused, and each subscription is for channels that are subscribed to.
            await asyncio.sleep(2)
    finally:
        reading.cancel()
        writer.transport.abort()


async def run(target: Target) -> None:
    await all_of(*(_subscribe(target, number) for number in range(_CONNECTIONS)))


ATTACK = Attack(name="subscriptions", says="31 rooms with 127 channels each, on every connection.", run=run)
