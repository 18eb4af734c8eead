"""Ends the TCP servers of tests."""

import asyncio
from collections.abc import Callable, Set
from typing import Any, Final

_TURNS: Final = 10

_NOTHING: Final = frozenset[asyncio.Task[Any]]()


async def end_server(
    server: asyncio.Server, abort: Callable[[], object], serving: Set["asyncio.Task[Any]"] = _NOTHING
) -> None:
    """Close a server with all its connections; `abort` aborts those that there are, which ends the tasks in `serving`.

    A connection that was accepted just now gets its transport in a later turn of the event loop, and an aborted one is
    closed in a later one. A transport that is open when the loop ends is a warning, and so fails some test.
    """
    # It accepts no more. One that is closed refuses a transport to a connection that it has accepted.
    for one in server.sockets:
        asyncio.get_running_loop().remove_reader(one.fileno())
    await _in_turns(abort)
    server.close()
    # One of them may have begun to connect to another server in these turns.
    while serving:
        abort()
        await asyncio.wait(serving, timeout=0.1)
    await _in_turns(abort)
    await server.wait_closed()


async def _in_turns(abort: Callable[[], object]) -> None:
    for _ in range(_TURNS):
        abort()
        await asyncio.sleep(0)
