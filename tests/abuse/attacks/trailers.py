"""Bytes of HTTP that belong to no body: trailers, chunk sizes and extensions, headers; and bodies after the answer."""

import asyncio

from tests.abuse.attack import Attack
from tests.abuse.target import Target, all_of

_POST = b"POST /rooms/trailers/messages HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
_WITHOUT_END = [
    (_POST + b"0\r\n", b"".join(b"X-%d: %b\r\n" % (number, b"a" * 50) for number in range(1000))),
    (_POST, b"1;extension\r\nx\r\n" * 4000),
    (_POST + b"1;", b"a" * 65_536),
    (b"GET / HTTP/1.1\r\n", b"a: b\r\n" * 10_000),
    (b"GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000000\r\n\r\n", b"a" * 65_536),
    (b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 100000000000\r\n\r\n", b"a" * 65_536),
    (b"", b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n" * 1000),
]


async def _send(target: Target, number: int) -> None:
    reader, writer = await target.connect()
    reading = asyncio.create_task(target.read_all(reader))
    beginning, more = _WITHOUT_END[number % len(_WITHOUT_END)]
    try:
        await target.write(writer, beginning)
        while not reading.done():
            await target.write(writer, more)
    finally:
        reading.cancel()
        writer.transport.abort()


async def run(target: Target) -> None:
    await all_of(*(_send(target, number) for number in range(20)))


ATTACK = Attack(name="trailers", says="Requests with trailers, chunks, headers or bodies without end.", run=run)
