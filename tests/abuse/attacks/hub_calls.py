"""Messages of SignalR clients, a thousand in each frame: calls that fail, calls with long answers, and no calls."""

import asyncio
from typing import Final

from tests.abuse.attack import Attack
from tests.abuse.target import BINARY, Target, all_of, frame

_IN_A_FRAME: Final = 1000


def _records(record: str) -> bytes:
    return frame((record + "\x1e") * _IN_A_FRAME)


_JSON: Final = frame('{"protocol":"json","version":1}\x1e')
_PACKED: Final = frame('{"protocol":"messagepack","version":1}\x1e')
_PAYLOADS: Final = (
    (_JSON, _records('{"type":1,"target":"Nothing","arguments":[],"invocationId":"0"}')),
    (_JSON, _records('{"type":1,"target":"Presence","arguments":[],"invocationId":"0"}')),
    (_JSON, _records('{"type":4,"target":"Send","arguments":[1],"invocationId":"0"}')),
    (_JSON, _records('{"type":6}')),
    (_JSON, _records('{"type":1,"target":"Send","arguments":[' + "[" * 200 + "]" * 200 + "]}")),
    # Pings of three bytes; then an array that says that it is long.
    (_PACKED, frame(b"\x02\x91\x06" * _IN_A_FRAME, BINARY)),
    (_PACKED, frame(b"\x06\xdd\xff\xff\xff\xff\x01", BINARY)),
)
"""Handshakes, and the frames that follow without a pause."""
_CONNECTIONS: Final = 14


async def _send(target: Target, number: int) -> None:
    handshake, payload = _PAYLOADS[number % len(_PAYLOADS)]
    while True:
        reader, writer = await target.websocket(f"/rooms/hub-calls-{number}/signalr", greeted=False)
        reading = asyncio.create_task(target.read_all(reader))
        try:
            await target.write(writer, handshake)
            while not reading.done():
                await target.write(writer, payload)
        finally:
            reading.cancel()
            writer.transport.abort()


async def run(target: Target) -> None:
    await all_of(*(_send(target, number) for number in range(_CONNECTIONS)))


ATTACK = Attack(
    name="hub-calls",
    says="SignalR messages, a thousand in a frame: calls that fail, long answers, pings and broken MessagePack.",
    run=run,
)
