"""The largest message that is allowed, but for its last byte, on each connection; and frames that nobody reads."""

import asyncio

from tests.abuse.attack import Attack
from tests.abuse.target import Target, all_of, frame

_MESSAGE = frame('{"message":"' + "x" * 2_400_000 + '"}')
_SMALL = frame("{}") * 60_000


async def _send(target: Target, number: int) -> None:
    reader, writer = await target.websocket(f"/rooms/unfinished-{number}")
    reading = asyncio.create_task(target.read_all(reader))
    try:
        await target.write(writer, _SMALL[:-1] if number % 4 == 3 else _MESSAGE[:-1])
        await reading
    finally:
        reading.cancel()
        writer.transport.abort()


async def run(target: Target) -> None:
    await all_of(*(_send(target, number) for number in range(100)))


ATTACK = Attack(
    name="unfinished", says="Large messages without their last byte, over 100 connections.", run=run, connections=100
)
