"""A storm of WebSync requests: connects, batches of a hundred messages, and handshakes, without waiting for answers."""

import asyncio
import itertools
import json
from typing import Any

from tests.abuse.attack import Attack
from tests.abuse.target import Stream, Target, all_of

_CONNECTIONS = 20
_BATCH = 100
_PATH = "/rooms/storm/websync.ashx?token=1&src=js"
_HANDSHAKE = [
    {
        "channel": "/meta/handshake",
        "id": "1",
        "version": "1.0",
        "minimumVersion": "1.0",
        "supportedConnectionTypes": ["long-polling"],
    }
]


def _request(target: Target, messages: list[dict[str, Any]]) -> bytes:
    body = json.dumps(messages).encode()
    head = f"POST {_PATH} HTTP/1.1\r\nHost: {target.host}:{target.port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def _shake_hands(target: Target, stream: Stream) -> dict[str, Any]:
    """Send a handshake; returns the fields that each message of the client has."""
    reader, writer = stream
    await target.write(writer, _request(target, _HANDSHAKE))
    head = await reader.readuntil(b"\r\n\r\n")
    [length] = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
    [reply] = json.loads(await reader.readexactly(length))
    if not reply["successful"]:
        raise ConnectionRefusedError(reply["error"])
    return {"clientId": reply["clientId"], "ext": {"fm.sessionId": reply["ext"]["fm.sessionId"]}}


async def _storm(target: Target, number: int) -> None:
    reader, writer = stream = await target.connect()
    named = await _shake_hands(target, stream)
    reading = asyncio.create_task(target.read_all(reader))
    ids = itertools.count(2)
    try:
        while not reading.done():
            match number % 4:
                case 0:
                    # Each one ends the one before: a client that is caught in a storm does that.
                    messages = [{"channel": "/meta/connect", "connectionType": "long-polling"}]
                case 1:
                    messages = [{"channel": "/chat", "data": {"username": 1, "text": "x" * 100}}] * _BATCH
                case 2:
                    records = [{"key": f"k{next(ids)}", "value": "v"}]
                    messages = [
                        {"channel": "/meta/bind", "binding": records},
                        {"channel": "/meta/subscribe", "subscription": ["/chat", "/fm/subscribers/chat"]},
                    ] * (_BATCH // 2)
                case _:
                    messages = _HANDSHAKE
            sent = [{**named, **message, "id": str(next(ids))} for message in messages]
            await target.write(writer, _request(target, sent))
    finally:
        reading.cancel()
        writer.transport.abort()


async def run(target: Target) -> None:
    await all_of(*(_storm(target, number) for number in range(_CONNECTIONS)))


ATTACK = Attack(
    name="websync-requests",
    says="WebSync connects, batches of 100 messages, subscriptions and handshakes, without waiting for answers.",
    run=run,
)
