"""Registrations of SIP: each connection registers, and removes its binding, without waiting for answers."""

import asyncio
import itertools

from tests.abuse.attack import Attack
from tests.abuse.target import Target, all_of, frame

_CONNECTIONS = 20
_HEADERS = "Sec-WebSocket-Protocol: sip\r\n"


def register(user: str, number: int, expires: int) -> str:
    """A REGISTER with a contact of its own."""
    return (
        f"REGISTER sip:localhost SIP/2.0\r\nVia: SIP/2.0/WS x.invalid;branch=z9hG4bK{number}\r\nMax-Forwards: 70\r\n"
        f"From: <sip:{user}@localhost>;tag=1\r\nTo: <sip:{user}@localhost>\r\nCall-ID: {user}\r\n"
        f"CSeq: {number} REGISTER\r\nContact: <sip:c{number}@x.invalid;transport=ws>;expires={expires}\r\n"
        "Content-Length: 0\r\n\r\n"
    )


async def _register(target: Target, connection: int) -> None:
    reader, writer = await target.websocket("/rooms/registrar", headers=_HEADERS, greeted=False)
    reading = asyncio.create_task(target.read_all(reader))
    try:
        for number in itertools.count(1):
            if reading.done():
                return
            # Each change of the contact is a leave and a join.
            await target.write(writer, frame(register(f"user{connection}", number, 600 * (number % 4 > 0))))
    finally:
        reading.cancel()
        writer.transport.abort()


async def run(target: Target) -> None:
    await all_of(*(_register(target, connection) for connection in range(_CONNECTIONS)))


ATTACK = Attack(
    name="sip-registrations",
    says="SIP clients that register one contact after the other, as fast as TCP takes it.",
    run=run,
)
