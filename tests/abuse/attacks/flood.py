"""Messages at full speed."""

import asyncio

from tests.abuse.attack import Attack
from tests.abuse.target import Target, all_of, frame

_MESSAGES = frame('{"message":"' + "x" * 100 + '"}') * 100


async def _flood(target: Target, number: int) -> None:
    reader, writer = await target.websocket(f"/rooms/flood-{number}")
    reading = asyncio.create_task(target.read_all(reader))
    try:
        while not reading.done():
            await target.write(writer, _MESSAGES)
    finally:
        reading.cancel()
        writer.transport.abort()


async def run(target: Target) -> None:
    await all_of(*(_flood(target, number) for number in range(20)))


ATTACK = Attack(name="flood", says="Small messages as fast as TCP takes them.", run=run)
