"""Asking the workers behind the same port, each over its own unix socket.

Which of them answers a request from outside is chance, so whatever is said for the port is gathered from all.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

TIMEOUT: Final = 1.0
"""Seconds for a sibling's whole answer."""

MAX_ANSWER: Final = 4 * 1024 * 1024

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3})(?: [^\r\n]*)?\r\n")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d{1,9}) *(?=\r\n)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class WorkerReply:
    """What a sibling answered."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class NoReply:
    """Why a sibling has not answered."""

    text: str


async def ask_all(sockets: Sequence[str], target: str, *, seconds: float = TIMEOUT) -> list[WorkerReply | NoReply]:
    """GET `target` from every sibling at once; the answers are in the order of `sockets`."""
    return await asyncio.gather(*(ask(socket, target, seconds=seconds) for socket in sockets))


async def ask(socket: str, target: str, *, seconds: float = TIMEOUT) -> WorkerReply | NoReply:
    """GET `target` from the server behind a unix socket."""
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
        answer = bytearray()
        while chunk := await reader.read(65_536):
            answer += chunk
            if len(answer) > MAX_ANSWER:
                raise ValueError(f"the answer is longer than {MAX_ANSWER} bytes")
        return bytes(answer)
    finally:
        writer.transport.abort()


def _read(answer: bytes) -> WorkerReply:
    """Take an HTTP answer apart; ValueError unless it is whole, with a body of the length it announces."""
    head, end, body = answer.partition(b"\r\n\r\n")
    status = _STATUS.match(head + b"\r\n")
    lengths = _LENGTH.findall(head + b"\r\n")
    if not (end and status and len(lengths) == 1 and int(lengths[0]) == len(body)):
        raise ValueError("the answer is not whole")
    return WorkerReply(int(status[1]), body)
