"""Requests to the local workers (all workers behind the same port), each over its own unix socket.

The kernel picks the worker that accepts a connection on the shared port. A reply that stands for the whole port is
therefore gathered from all of them.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from relay.http_client import HttpError, connect

TIMEOUT: Final = 1.0
"""Seconds for the whole reply of a local worker."""

MAX_REPLY: Final = 4 * 1024 * 1024
"""Bytes of a reply; one with metrics has some 20,000."""


@dataclass(frozen=True, slots=True)
class WorkerReply:
    """Status and body of a local worker's reply."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class NoReply:
    """Why a local worker did not reply."""

    text: str


async def ask_all(sockets: Sequence[str], target: str, *, seconds: float = TIMEOUT) -> list[WorkerReply | NoReply]:
    """GET `target` from all local workers at once; the replies are in the order of `sockets`."""
    return await asyncio.gather(*(ask(socket, target, seconds=seconds) for socket in sockets))


async def ask(socket: str, target: str, *, seconds: float = TIMEOUT) -> WorkerReply | NoReply:
    """GET `target` from the server behind a unix socket; never raises for a server that fails."""
    try:
        async with asyncio.timeout(seconds):
            return await _exchange(socket, target)
    except TimeoutError:
        return NoReply(f"no answer within {seconds:g} s")
    except HttpError as error:
        return NoReply(str(error))


async def _exchange(socket: str, target: str) -> WorkerReply:
    connection = await connect(socket)
    try:
        request = b"GET %s HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n" % target.encode("ascii")
        response = await connection.exchange(request)
        return WorkerReply(response.status, await response.read(MAX_REPLY))
    finally:
        connection.abort()
