"""Ends the TCP servers of tests."""

import asyncio
from collections.abc import Callable
from typing import Final

_TURNS: Final = 10


async def end_server(server: asyncio.Server, abort: Callable[[], object]) -> None:
    """Close a server with all its connections; `abort` aborts those that there are.

    A connection that was accepted just now gets its transport in a later turn of the event loop, and an aborted one is
    closed in a later one. A transport that is open when the loop ends is a warning, and so fails some test.
    """
    server.close()
    for _ in range(_TURNS):
        abort()
        await asyncio.sleep(0)
    await server.wait_closed()
