"""Handshakes that return with the same resume key."""

import asyncio

from tests.abuse.attack import Attack
from tests.abuse.target import Target, all_of

_KEY = "an-attacker-returns-with-the-same-key-for-ever-and-ever"


async def _return(target: Target, number: int) -> None:
    headers = f"Sec-WebSocket-Protocol: relay.v1, resume.{_KEY}-{number}\r\n"
    while True:
        _, writer = await target.websocket(f"/rooms/same-key?peer=p{number}&presence=1", headers=headers)
        writer.transport.abort()
        await asyncio.sleep(0.01)


async def run(target: Target) -> None:
    await all_of(*(_return(target, number) for number in range(10)))


ATTACK = Attack(name="same-key", says="Handshakes that offer the same resume key again and again.", run=run)
