"""Members that read nothing, and others that send each of them messages of its own."""

import asyncio

from tests.abuse.attack import Attack
from tests.abuse.target import Target, all_of, frame

_SENDERS = 10
_READERS = 90


async def _stay(target: Target, number: int) -> None:
    """Join, and read no more than the buffer of the stream takes."""
    _, writer = await target.websocket(f"/rooms/unread-messages?peer=r{number}")
    await writer.wait_closed()


async def _send(target: Target, number: int) -> None:
    reader, writer = await target.websocket(f"/rooms/unread-messages?peer=s{number}")
    reading = asyncio.create_task(target.read_all(reader))
    count = number
    try:
        while not reading.done():
            count += _SENDERS
            await target.write(writer, frame(f'{{"to":"r{count % _READERS}","message":"{"x" * 500_000}"}}'))
    finally:
        reading.cancel()


async def run(target: Target) -> None:
    readers = [_stay(target, number) for number in range(_READERS)]
    await all_of(*readers, *(_send(target, number) for number in range(_SENDERS)))


ATTACK = Attack(
    name="unread-messages",
    says="90 members that read nothing are sent different messages of 500 KB.",
    run=run,
    connections=100,
)
