"""Short questions whose answers may cost Redis much: names of channels in a room with a full history."""

import asyncio
import json

from tests.abuse.attack import Attack
from tests.abuse.target import Stream, Target, all_of, frame

_ROOM = "/rooms/detection"
_FILLED = 600
_QUESTIONS = b"".join(frame(f'42{_ROOM},["presence","name{number}"]') for number in range(50))


async def _enter(target: Target) -> Stream:
    reader, writer = await target.websocket("/socket.io/?EIO=4&transport=websocket")
    await target.write(writer, frame(f"40{_ROOM},"))
    await target.read_frame(reader)
    return reader, writer


async def _ask(target: Target, *, fill: bool) -> None:
    reader, writer = await _enter(target)
    reading = asyncio.create_task(target.read_all(reader))
    try:
        for _ in range(_FILLED if fill else 0):
            await target.write(writer, frame(f"42{_ROOM},{json.dumps(['fill', 'x' * 4000])}"))
        while not reading.done():
            await target.write(writer, _QUESTIONS)
    finally:
        reading.cancel()
        writer.transport.abort()


async def run(target: Target) -> None:
    await all_of(*(_ask(target, fill=not number) for number in range(10)))


ATTACK = Attack(name="detection", says="31-byte questions about channels, in a room with a full history.", run=run)
