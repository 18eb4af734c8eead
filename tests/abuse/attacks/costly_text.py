"""JSON that is slow to read: brackets near the bound of nesting, lists where a name is expected, escapes."""

import asyncio
import itertools

from tests.abuse.attack import Attack
from tests.abuse.target import Target, all_of, frame

_SIZE = 1_500_000


def _repeated(part: bytes) -> bytes:
    return b",".join([part] * (_SIZE // (len(part) + 1)))


_TEXTS = [
    frame(text)
    for text in (
        b'{"a":%b%b%b}' % (b"[" * 200, _repeated(b"[" * 50 + b"]" * 50), b"]" * 200),
        b'{"a":[%b],"b":[%b]}' % (_repeated(b'""'), b",".join([b"[]"] * 300)),
        b'{"a":%b}' % (b"[" * _SIZE),
        b'{"channel":[%b]}' % _repeated(b"1"),
        b'{"to":[%b]}' % _repeated(b'"a"'),
        b"{%b}" % _repeated(b'"to":["a"]'),
        b'{"a":"\\ud83d%b' % (b"\\n" * (_SIZE // 2)),
        b'{"type":"subscribe","channels":[%b]}' % _repeated(b'"a"'),
    )
]


async def _send(target: Target, number: int) -> None:
    reader, writer = await target.websocket(f"/rooms/costly-{number}")
    reading = asyncio.create_task(target.read_all(reader))
    try:
        for text in itertools.cycle(_TEXTS[number % len(_TEXTS) :] + _TEXTS[: number % len(_TEXTS)]):
            await target.write(writer, text)
    finally:
        reading.cancel()
        writer.transport.abort()


async def run(target: Target) -> None:
    await all_of(*(_send(target, number) for number in range(20)))


ATTACK = Attack(name="costly-text", says="Large messages of JSON that is slow to read.", run=run)
