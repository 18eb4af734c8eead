"""The attacked worker as an attack sees it: raw connections from the attacker's address, and a count of bytes sent."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Final

ATTACKER: Final = "127.0.0.3"
"""The address from which an attack connects, unless it names another one."""

_KEY: Final = b"dGhlIHNhbXBsZSBub25jZQ=="
_MASK: Final = b"\0\0\0\0"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
"""Opcodes of WebSocket frames (RFC 6455)."""

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class TooManyConnections(Exception):
    """An attack opened more connections than it may."""


def frame(payload: bytes | str, opcode: int = TEXT, *, final: bool = True) -> bytes:
    """One WebSocket frame of a client; its mask is zero, so that its payload stands in it as it is."""
    data = payload.encode() if isinstance(payload, str) else payload
    first = opcode | (0x80 if final else 0)
    if len(data) < 126:
        head = struct.pack("!BB", first, 0x80 | len(data))
    elif len(data) < 65_536:
        head = struct.pack("!BBH", first, 0x80 | 126, len(data))
    else:
        head = struct.pack("!BBQ", first, 0x80 | 127, len(data))
    return head + _MASK + data


class Target:
    """The worker at `host` and `port`; `url` and `ws` are its address for WebSockets, `http` that for requests.

    `bytes_sent`, `peak` (connections at the same time) and `opened` are the attacker's costs.
    """

    def __init__(self, host: str, port: int, *, address: str = ATTACKER, connections: int = 20) -> None:
        self.host = host
        self.port = port
        self.address = address
        self.url = self.ws = f"ws://{host}:{port}"
        self.http = f"http://{host}:{port}"
        self.bytes_sent = 0
        self.opened = 0
        self.peak = 0
        self._limit = connections
        self._open: set[asyncio.StreamWriter] = set()

    def sent(self, count: int) -> None:
        """Count bytes that the attack sent."""
        self.bytes_sent += count

    async def connect(self, address: str = "") -> Stream:
        """Open a TCP connection from the attacker's address, or from another one of this machine."""
        self._open = {writer for writer in self._open if not writer.is_closing()}
        if len(self._open) >= self._limit:
            raise TooManyConnections(f"more than {self._limit}")
        reader, writer = await asyncio.open_connection(self.host, self.port, local_addr=(address or self.address, 0))
        self._open.add(writer)
        self.opened += 1
        self.peak = max(self.peak, len(self._open))
        return reader, writer

    async def write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        """Send bytes, count them, and wait while the connection takes no more."""
        writer.write(data)
        self.sent(len(data))
        await writer.drain()
        # `drain` returns at once as long as the relay reads as fast as this writes.
        await asyncio.sleep(0)

    async def websocket(self, path: str = "/", *, address: str = "", headers: str = "", greeted: bool = True) -> Stream:
        """Open a WebSocket; ConnectionError if it is refused.

        `headers` are more lines of the request, each ended by CRLF. With `greeted`, return after the first frame.
        """
        reader, writer = await self.connect(address)
        head = (
            f"GET {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {_KEY.decode()}\r\n{headers}\r\n"
        )
        await self.write(writer, head.encode())
        try:
            answer = await reader.readuntil(b"\r\n\r\n")
            if b" 101 " not in answer.split(b"\r\n", 1)[0]:
                raise ConnectionRefusedError(answer.split(b"\r\n", 1)[0].decode(errors="replace"))
            if greeted:
                await self.read_frame(reader)
        except BaseException:
            writer.transport.abort()
            raise
        return reader, writer

    async def read_frame(self, reader: asyncio.StreamReader) -> tuple[int, bytes]:
        """Return the opcode and the payload of the next frame."""
        first, length = await reader.readexactly(2)
        if length == 126:
            [length] = struct.unpack("!H", await reader.readexactly(2))
        elif length == 127:
            [length] = struct.unpack("!Q", await reader.readexactly(8))
        return first & 15, await reader.readexactly(length)

    async def read_all(self, reader: asyncio.StreamReader) -> None:
        """Read and drop everything until the connection ends, or the attack is cancelled."""
        while await reader.read(65_536):
            pass

    def close(self) -> None:
        """Abort all connections."""
        for writer in self._open:
            writer.transport.abort()


async def all_of(*jobs: Coroutine[Any, Any, None]) -> None:
    """Run the parts of an attack at the same time; when one fails, cancel the others and raise its error."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def target(host: str, port: int, *, connections: int = 20) -> AsyncIterator[Target]:
    """A target whose connections end with the context."""
    one = Target(host, port, connections=connections)
    try:
        yield one
    finally:
        one.close()
