"""Requests to the local workers (all workers behind the same port), each over its own unix socket.

The kernel picks the worker that accepts a connection on the shared port. A reply that stands for the whole port is
therefore gathered from all of them.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

TIMEOUT: Final = 1.0
"""Seconds for the whole reply of a local worker."""

MAX_REPLY: Final = 4 * 1024 * 1024
"""Bytes of a reply; one with metrics has some 20,000."""

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3})(?: [^\r\n]*)?\r\n")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d{1,9}) *(?=\r\n)", re.IGNORECASE)


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
            return _read(await _exchange(socket, target))
    except TimeoutError:
        return NoReply(f"no answer within {seconds:g} s")
    except OSError as error:
        return NoReply(f"cannot be reached: {error.strerror or type(error).__name__}")
    except ValueError as error:
        return NoReply(str(error))


async def _exchange(socket: str, target: str) -> bytes:
    reader, writer = await asyncio.open_unix_connection(socket)
    try:
        writer.write(b"GET %s HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n" % target.encode("ascii"))
        reply = bytearray()
        # `Connection: close`: the reply ends with the connection.
        while chunk := await reader.read(65_536):
            reply += chunk
            if len(reply) > MAX_REPLY:
                raise ValueError(f"the answer is longer than {MAX_REPLY} bytes")
        return bytes(reply)
    finally:
        # Not `close`, which would wait for a worker that does not read.
        writer.transport.abort()


def _read(reply: bytes) -> WorkerReply:
    """Parse an HTTP response; ValueError if it is incomplete, or its body has not the announced length."""
    head, end, body = reply.partition(b"\r\n\r\n")
    status = _STATUS.match(head + b"\r\n")
    lengths = _LENGTH.findall(head + b"\r\n")
    if not (end and status and len(lengths) == 1 and int(lengths[0]) == len(body)):
        raise ValueError("the answer is incomplete")
    return WorkerReply(int(status[1]), body)
