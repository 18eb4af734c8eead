"""Requests about thousands of members, in batches that a part of Redis may hold up."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Final

_PATIENCE: Final = 0.5
"""Seconds that the next batch waits for the replies to one: a part of Redis that is away must not delay the others."""


async def run_in_batches(batches: Iterable[Coroutine[Any, Any, None]], between: Callable[[], Awaitable[None]]) -> None:
    """Run each batch, and `between` after it; return when all have ended, or raise the error of the first that failed.

    A batch that takes long, or has failed, does not keep the next ones from their turn. An error of `between` cancels
    what is under way.
    """
    tasks: list[asyncio.Future[None]] = []
    try:
        for batch in batches:
            tasks.append(asyncio.ensure_future(batch))
            await asyncio.wait(tasks[-1:], timeout=_PATIENCE)
            await between()
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
