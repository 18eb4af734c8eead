"""Connections that send nothing, or a part of a head, and are opened again when the relay closes them."""

import asyncio

from tests.abuse.attack import Attack
from tests.abuse.target import Target, all_of

_COUNT = 1500


async def _hold(target: Target, number: int) -> None:
    # Not all at once: the attacker's own kernel has a queue of connections, too.
    await asyncio.sleep(number / 500)
    while True:
        reader, writer = await target.connect()
        try:
            if number % 2:
                await target.write(writer, b"GET / HTTP/1.1\r\nX: ")
            await target.read_all(reader)
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()
        await asyncio.sleep(0.1)


async def run(target: Target) -> None:
    await all_of(*(_hold(target, number) for number in range(_COUNT)))


ATTACK = Attack(name="silent", says="1,500 connections that send nothing or half a head.", run=run, connections=_COUNT)
