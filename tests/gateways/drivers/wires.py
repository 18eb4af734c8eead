"""The two ways on which packets of text travel: a WebSocket, and long polling."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol, Self

import httpx2 as httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.fleet import Relay

TIMEOUT = 10


class Ended(Exception):
    """The connection or the session has ended; the text, or the cause, says how."""


class TextWire(Protocol):
    """Carries packets of text."""

    async def send(self, packet: str) -> None: ...

    async def receive(self) -> str:
        """Return the next packet; raises `Ended`."""
        ...

    async def close(self) -> None: ...

    async def drop(self) -> None:
        """Lose the connection without a goodbye."""
        ...


class SocketWire:
    """Each packet is a WebSocket message."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._patience: float | None = TIMEOUT

    @classmethod
    async def open(cls, relay: Relay, path: str) -> Self:
        return cls(await connect(relay.ws + path, compression=None, ping_interval=None, proxy=None))

    def wait_for(self, seconds: float | None) -> None:
        """Have `receive` wait for so long (None: for ever)."""
        self._patience = seconds

    async def send(self, packet: str) -> None:
        await self._socket.send(packet)

    async def receive(self) -> str:
        try:
            async with asyncio.timeout(self._patience):
                return str(await self._socket.recv())
        except ConnectionClosed as closed:
            raise Ended from closed

    async def close(self) -> None:
        await self._socket.close()

    def abort(self) -> None:
        """Lose the connection; `receive` raises `Ended`."""
        self._socket.transport.abort()

    async def drop(self) -> None:
        self.abort()
        await self._socket.wait_closed()


class PollWire:
    """Packets are posted one by one; a response to a poll has several, which `split` takes apart."""

    def __init__(
        self, relay: Relay, path: str, *, split: Callable[[str], Sequence[str]], pack: Callable[[str], str] = str
    ) -> None:
        self._relay = relay
        self._http = httpx.AsyncClient(base_url=relay.http, timeout=TIMEOUT)
        self._split = split
        self._pack = pack
        self._packets: deque[str] = deque()
        self.path = path

    async def send(self, packet: str) -> None:
        """Post a packet. A response other than 200 is not looked at: the next poll says that the session has ended."""
        await self._http.post(self.path, content=self._pack(packet))

    async def receive(self) -> str:
        while not self._packets:
            try:
                response = await self._http.get(self.path)
            except httpx.TimeoutException:
                # No end: a busy worker, or a poll without an answer.
                raise
            except httpx.TransportError as error:
                raise Ended from error
            if response.status_code != 200:
                raise Ended(f"{response.status_code}: {response.text}")
            self._packets.extend(self._split(response.text))
        return self._packets.popleft()

    async def close(self) -> None:
        await self._http.aclose()

    async def drop(self) -> None:
        """Send a poll, and lose its connection."""
        await self._http.aclose()
        with suppress(OSError):  # the worker may be gone
            _, writer = await asyncio.open_connection("127.0.0.1", self._relay.port)
            writer.write(f"GET {self.path} HTTP/1.1\r\nHost: relay\r\n\r\n".encode())
            writer.close()
            await writer.wait_closed()
