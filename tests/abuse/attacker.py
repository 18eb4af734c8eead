"""Runs one attack in a process of its own, with a low priority: `python -m tests.abuse.attacker NAME HOST PORT`.

It writes a line when it begins. It ends when its standard input does, and then writes the cost of the attack as a line
of JSON.
"""

import asyncio
import contextlib
import json
import os
import sys
from collections import Counter

from tests.abuse.attack import Attack
from tests.abuse.attacks import find
from tests.abuse.target import Target, target

_PAUSE = 0.1
"""Seconds after which an attack that the relay ended begins again."""


async def insist(attack: Attack, one: Target, ends: Counter[str]) -> None:
    """Run an attack, and run it again whenever it ends, until it is cancelled; count how it ended."""
    while True:
        try:
            await attack.run(one)
            ends["done"] += 1
        except (OSError, EOFError) as error:
            ends[f"{type(error).__name__}: {error}" if isinstance(error, ConnectionRefusedError) else "closed"] += 1
        one.close()
        await asyncio.sleep(_PAUSE)


async def main(name: str, host: str, port: int) -> None:
    attack = find()[name]
    ends: Counter[str] = Counter()
    print("begins", flush=True)
    async with target(host, port, connections=attack.connections) as one:
        running = asyncio.create_task(insist(attack, one, ends))
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(sys.stdin, ended.set)
        await asyncio.wait({running, asyncio.create_task(ended.wait())}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        costs = {"bytes": one.bytes_sent, "opened": one.opened, "peak": one.peak, "ends": dict(ends.most_common(5))}
    print(json.dumps(costs))


if __name__ == "__main__":
    os.nice(10)
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
