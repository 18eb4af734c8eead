"""Packets of Socket.IO that are no messages: acknowledgements, pings, and namespaces that are entered and left."""

import asyncio
from typing import Final

from tests.abuse.attack import Attack
from tests.abuse.target import BINARY, Target, all_of, frame

_PAYLOADS: Final = (
    frame("43[]") * 200,
    frame("461-[]") + frame(b"", BINARY),
    frame("3") * 200,
    frame("6") * 200,
    frame("40/rooms/packets,") + frame("41/rooms/packets,"),
    frame('451-["x",{"_placeholder":true,"num":0},' + "[" * 100 + "]" * 100 + "]") + frame(b"x", BINARY),
)


async def _send(target: Target, number: int) -> None:
    reader, writer = await target.websocket("/socket.io/?EIO=4&transport=websocket")
    reading = asyncio.create_task(target.read_all(reader))
    try:
        await target.write(writer, frame("40"))
        await asyncio.sleep(0.2)
        while not reading.done():
            await target.write(writer, _PAYLOADS[number % len(_PAYLOADS)])
    finally:
        reading.cancel()
        writer.transport.abort()


async def run(target: Target) -> None:
    await all_of(*(_send(target, number) for number in range(18)))


ATTACK = Attack(name="packets", says="Packets of Socket.IO that are no messages, as fast as TCP takes them.", run=run)
