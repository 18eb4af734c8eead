"""Questions for the longest list of members, in a room whose members have large infos."""

import asyncio
import json

from tests.abuse.attack import Attack
from tests.abuse.target import Target, all_of, frame

_INFO = frame(json.dumps({"type": "info", "info": {"text": "x" * 900}}))
_QUESTIONS = frame('{"type":"presence","limit":1000}') * 50


async def _ask(target: Target, number: int) -> None:
    reader, writer = await target.websocket(f"/rooms/lists?peer=p{number}")
    reading = asyncio.create_task(target.read_all(reader))
    try:
        await target.write(writer, _INFO)
        while not reading.done():
            await target.write(writer, _QUESTIONS)
    finally:
        reading.cancel()
        writer.transport.abort()


async def run(target: Target) -> None:
    await all_of(*(_ask(target, number) for number in range(20)))


ATTACK = Attack(name="lists", says="Requests for the longest list of members, as fast as the relay answers.", run=run)
