"""Thousands of listens of Firebase at paths of one tree, all of which hear of each change of it."""

import asyncio
import itertools
import json
from typing import Any

from tests.abuse.attack import Attack
from tests.abuse.target import Target, all_of, frame

_CONNECTIONS = 20
_LISTENS = 500
_ROOM = "listened"
_VALUE = {f"k{number}": number for number in range(_LISTENS)}


def _request(number: int, action: str, path: str, **body: Any) -> bytes:
    text = json.dumps({"t": "d", "d": {"r": number, "a": action, "b": {"p": f"/{_ROOM}{path}", **body}}})
    return frame(text)


async def _listen(target: Target, number: int) -> None:
    reader, writer = await target.websocket("/.ws?v=5", greeted=False)
    reading = asyncio.create_task(target.read_all(reader))
    numbers = itertools.count(1)
    try:
        for path in range(_LISTENS):
            await target.write(writer, _request(next(numbers), "q", f"/k{path}", h=""))
        while not reading.done():
            # A change of all paths, by the first of them; the others go on to ask for more listens than they may have.
            if number == 0:
                await target.write(writer, _request(next(numbers), "p", "", d=_VALUE | {"n": next(numbers)}))
            else:
                count = next(numbers)
                await target.write(writer, _request(count, "q", f"/more{count}", h=""))
    finally:
        reading.cancel()
        writer.transport.abort()


async def run(target: Target) -> None:
    await all_of(*(_listen(target, number) for number in range(_CONNECTIONS)))


ATTACK = Attack(
    name="firebase-listens",
    says="10,000 listens of Firebase over 20 connections, and changes that all of them hear of.",
    run=run,
)
