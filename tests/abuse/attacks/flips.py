"""Members that join and leave a room all the time, before its watchers."""

import asyncio

from tests.abuse.attack import Attack
from tests.abuse.target import Target, all_of, frame

_WATCHERS = 10
_FLIPS = (frame('{"type":"join","room":"flips"}') + frame('{"type":"leave","room":"flips"}')) * 10


async def _watch(target: Target, number: int) -> None:
    reader, _ = await target.websocket(f"/rooms/flips?peer=w{number}&presence=1")
    await target.read_all(reader)


async def _flip(target: Target, number: int) -> None:
    reader, writer = await target.websocket(f"/rooms/flipper-{number}?peer=flipper-{number}")
    reading = asyncio.create_task(target.read_all(reader))
    try:
        while not reading.done():
            await target.write(writer, _FLIPS)
    finally:
        reading.cancel()
        writer.transport.abort()


async def run(target: Target) -> None:
    await all_of(
        *(_watch(target, number) for number in range(_WATCHERS)),
        *(_flip(target, number) for number in range(_WATCHERS)),
    )


ATTACK = Attack(name="flips", says="Joins and leaves of one room without end, before its watchers.", run=run)
