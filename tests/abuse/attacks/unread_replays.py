"""Members return for messages that they missed, and do not read them."""

import asyncio
import json

from tests.abuse.attack import Attack
from tests.abuse.target import Stream, Target, all_of, frame

_ROOMS = 19
_MESSAGE = frame('{"message":"' + "x" * 15_000 + '"}')
_MISSED = 120
"""Messages that each of them missed: a little less than a replay may have."""


async def _fill(target: Target, room: str) -> None:
    """Send the messages that the member of a room misses."""
    _, writer = await target.websocket(f"/rooms/{room}")
    for _ in range(_MISSED):
        await target.write(writer, _MESSAGE)
    await asyncio.sleep(0.5)
    writer.transport.abort()


async def _welcome(target: Target, path: str, resume: str = "") -> tuple[Stream, str, str]:
    """Join or resume, and read nothing but the welcome; returns the stream, the resume key and the id."""
    headers = f"Authorization: Resume {resume}\r\n" if resume else ""
    reader, writer = await target.websocket(path, headers=headers, greeted=False)
    _, data = await target.read_frame(reader)
    welcome = json.loads(data)
    if "resume" not in welcome:
        raise ConnectionRefusedError(welcome.get("code", "no welcome"))
    return (reader, writer), welcome["resume"], welcome["id"]


async def _come_back(target: Target, number: int) -> None:
    room, peer = f"unread-{number}", f"reader-{number}"
    (_, writer), resume, seen = await _welcome(target, f"/rooms/{room}?peer={peer}")
    writer.transport.abort()
    await _fill(target, room)
    while True:
        (_, writer), resume, _ = await _welcome(target, f"/rooms/{room}?peer={peer}&since={seen}", resume)
        await asyncio.sleep(1)
        writer.transport.abort()


async def run(target: Target) -> None:
    await all_of(*(_come_back(target, number) for number in range(_ROOMS)))


ATTACK = Attack(
    name="unread-replays",
    says="Members resume for 2 MB of missed messages each, again and again, and read none.",
    run=run,
)
