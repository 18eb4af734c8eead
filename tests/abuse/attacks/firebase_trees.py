"""Trees of Firebase: values as large as a tree may be, written and read again and again, along the deepest paths."""

import asyncio
import itertools
import json
from typing import Any

from tests.abuse.attack import Attack
from tests.abuse.target import Target, all_of, frame

_CONNECTIONS = 20
_WIDE = {f"k{number:04}": "x" * 40 for number in range(4000)}
_DEEP = "/".join([f"{number:03}" + "k" * 765 for number in range(15)])
_MANY = {f"a/b{number}/c": number for number in range(1000)}


def _requests(number: int) -> list[tuple[str, str, dict[str, Any]]]:
    """Action, path below the room, and the rest of the body of each request of one connection."""
    wide = [("p", "", {"d": _WIDE}), ("g", "", {"q": {}}), ("m", "/w", {"d": _MANY}), ("p", "", {"d": None})]
    deep = [("p", f"/{_DEEP}/{leaf}", {"d": leaf}) for leaf in range(20)] + [("g", "", {"q": {}})]
    listening = [("q", f"/k{one:04}", {"h": ""}) for one in range(100)] + [("p", "", {"d": _WIDE})] * 2
    changing = [("o", f"/k{one}", {"d": None}) for one in range(32)] + [("m", "", {"d": _MANY}), ("p", "", {"d": {}})]
    return [wide, deep, listening, changing][number % 4]


async def _write(target: Target, number: int) -> None:
    reader, writer = await target.websocket("/.ws?v=5", greeted=False)
    reading = asyncio.create_task(target.read_all(reader))
    room = f"trees{number // 4}"
    try:
        for count, (action, path, fields) in enumerate(itertools.cycle(_requests(number)), 1):
            if reading.done():
                return
            body = {"p": f"/{room}{path}", **fields}
            await target.write(writer, frame(json.dumps({"t": "d", "d": {"r": count, "a": action, "b": body}})))
    finally:
        reading.cancel()
        writer.transport.abort()


async def run(target: Target) -> None:
    await all_of(*(_write(target, number) for number in range(_CONNECTIONS)))


ATTACK = Attack(
    name="firebase-trees",
    says="Trees of Firebase of 256 KB and 15 keys deep, written, read and listened to without waiting for answers.",
    run=run,
)
