"""A message in fragments of two bytes, and in empty ones, that never ends."""

import asyncio

from tests.abuse.attack import Attack
from tests.abuse.target import TEXT, Target, all_of, frame

_PAYLOADS = (b"ab", b"")


async def _send(target: Target, number: int) -> None:
    reader, writer = await target.websocket(f"/rooms/fragments-{number}")
    reading = asyncio.create_task(target.read_all(reader))
    more = frame(_PAYLOADS[number % 2], 0, final=False) * 4000
    try:
        await target.write(writer, frame(b"a", TEXT, final=False))
        while not reading.done():
            await target.write(writer, more)
    finally:
        reading.cancel()
        writer.transport.abort()


async def run(target: Target) -> None:
    await all_of(*(_send(target, number) for number in range(20)))


ATTACK = Attack(name="fragments", says="A message in fragments of two bytes and of none, without end.", run=run)
