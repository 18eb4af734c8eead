"""Messages of Firebase in parts, over WebSockets and in the segments of polls, of which the last one never comes."""

import asyncio
import base64
import itertools
import random
import re

from tests.abuse.attack import Attack
from tests.abuse.target import Target, all_of, frame

_CONNECTIONS = 20
_PART = frame("x" * 16_000)
_SMALL = frame("x") * 1000
_DATA = base64.b64encode(b"x" * 1380).decode()
_SEGMENTS = 4


async def _send_parts(target: Target, number: int) -> None:
    reader, writer = await target.websocket("/.ws?v=5", greeted=False)
    reading = asyncio.create_task(target.read_all(reader))
    try:
        await target.write(writer, frame("999999"))
        while not reading.done():
            await target.write(writer, _SMALL if number % 4 else _PART)
    finally:
        reading.cancel()
        writer.transport.abort()


async def _send_segments(target: Target) -> None:
    """Begin a session, and send segments of one message, some of them too early."""
    reader, writer = await target.connect()
    host = f"Host: {target.host}:{target.port}"
    await target.write(writer, f"GET /.lp?start=t&cb=1&v=5 HTTP/1.1\r\n{host}\r\n\r\n".encode())
    begun = (await reader.readuntil(b"]);")).decode()
    found = re.search(r"pLPCommand\('start',\"([^\"]+)\"", begun)
    if found is None:
        raise ConnectionRefusedError(begun[:60])
    reading = asyncio.create_task(target.read_all(reader))
    numbers = itertools.count()
    try:
        while not reading.done():
            ahead = random.choice((0, 0, 0, 50))
            fields = "".join(
                f"&seg{one}={next(numbers) + ahead}&ts{one}=999999&d{one}={_DATA}" for one in range(_SEGMENTS)
            )
            await target.write(writer, f"GET /.lp?id={found[1]}&pw=-{fields} HTTP/1.1\r\n{host}\r\n\r\n".encode())
    finally:
        reading.cancel()
        writer.transport.abort()


async def run(target: Target) -> None:
    sockets = [_send_parts(target, number) for number in range(_CONNECTIONS // 2)]
    await all_of(*sockets, *(_send_segments(target) for _ in range(_CONNECTIONS // 2)))


ATTACK = Attack(
    name="firebase-parts",
    says="Messages of Firebase in 999,999 parts, over WebSockets and in the segments of polls, that never end.",
    run=run,
)
