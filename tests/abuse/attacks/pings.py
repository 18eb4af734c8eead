"""Pings and pongs at full speed; some clients read the answers, and some do not."""

import asyncio

from tests.abuse.attack import Attack
from tests.abuse.target import PING, PONG, Target, all_of, frame


async def _send(target: Target, number: int) -> None:
    reader, writer = await target.websocket(f"/rooms/pings-{number}")
    reading = asyncio.create_task(target.read_all(reader) if number % 3 else asyncio.sleep(3600))
    frames = frame(b"ping", PONG if number % 4 == 3 else PING) * 1000
    try:
        while not reading.done():
            await target.write(writer, frames)
    finally:
        reading.cancel()
        writer.transport.abort()


async def run(target: Target) -> None:
    await all_of(*(_send(target, number) for number in range(20)))


ATTACK = Attack(name="pings", says="Pings and pongs as fast as TCP takes them.", run=run)
