"""Socket.IO clients for the tests that show each packet, over WebSocket or long polling."""

import asyncio
import json
from typing import Any, Self

import httpx2 as httpx
from websockets.asyncio.client import ClientConnection, connect

from tests.fleet import Relay


class Packets:
    """One session; `next` returns the next Socket.IO packet, and answers pings."""

    def __init__(self, namespace: str = "") -> None:
        self.prefix = namespace + "," if namespace else ""
        self.entered: dict[str, Any] = {}
        self.offset = ""

    async def send(self, packet: str | bytes) -> None:
        raise NotImplementedError

    async def raw(self) -> str | bytes:
        raise NotImplementedError

    async def next(self) -> Any:
        while True:
            packet = await self.raw()
            if packet == "2":
                await self.send("3")
            elif isinstance(packet, str) and packet.startswith(f'42{self.prefix}["relay:position"'):
                [_, self.offset] = self._read(packet, "42")
            elif packet != "6":
                return packet

    async def enter(self, **auth: Any) -> Self:
        await self.send(f"40{self.prefix}{json.dumps(auth)}")
        self.entered = self._read(await self.next(), "40")
        return self

    async def emit(self, *values: Any) -> None:
        await self.send(f"42{self.prefix}{json.dumps(values)}")

    async def ask(self, *values: Any) -> Any:
        """Emit, and return the acknowledgement, which must be the next packet."""
        await self.send(f"42{self.prefix}7{json.dumps(values)}")
        [answer] = self._read(await self.next(), f"43{self.prefix}7", "")
        return answer

    async def event(self) -> list[Any]:
        """Return the next event: its name, its arguments, and the offset that follows it, if it has one."""
        event: list[Any] = self._read(await self.next(), "42")
        if event[0] in {"presence", "error"}:
            return event
        [_, self.offset] = self._read(await self.raw(), "42")
        return [*event, self.offset]

    def _read(self, packet: Any, head: str, prefix: str | None = None) -> Any:
        head += self.prefix if prefix is None else prefix
        assert isinstance(packet, str), packet
        assert packet.startswith(head), packet
        return json.loads(packet.removeprefix(head) or "{}")


class OverWebSocket(Packets):
    def __init__(self, socket: ClientConnection, namespace: str = "") -> None:
        super().__init__(namespace)
        self.socket = socket

    @classmethod
    async def open(cls, relay: Relay, namespace: str = "", query: str = "EIO=4", **options: Any) -> Self:
        url = f"{relay.ws}/socket.io/?{query}&transport=websocket"
        socket = await connect(url, compression=None, ping_interval=None, proxy=None, **options)
        client = cls(socket, namespace)
        try:
            assert str(await client.raw())[0] == "0"
        except BaseException:
            client.lose()
            raise
        return client

    async def send(self, packet: str | bytes) -> None:
        await self.socket.send(packet)

    async def raw(self) -> str | bytes:
        async with asyncio.timeout(10):
            return await self.socket.recv()

    def lose(self) -> None:
        self.socket.transport.abort()


class OverPolling(Packets):
    def __init__(self, relay: Relay, namespace: str = "") -> None:
        super().__init__(namespace)
        self._http = httpx.AsyncClient(base_url=relay.http, timeout=10)
        self._packets: list[str] = []
        self.url = "/socket.io/?EIO=4&transport=polling"

    @classmethod
    async def open(cls, relay: Relay, namespace: str = "", headers: dict[str, str] | None = None) -> Self:
        client = cls(relay, namespace)
        try:
            answer = await client.get(headers=headers)
            assert answer.status_code == 200, answer.text
        except BaseException:
            await client.close()
            raise
        client.url += "&sid=" + json.loads(answer.text[1:])["sid"]
        return client

    async def get(self, **options: Any) -> httpx.Response:
        return await self._http.get(self.url, **options)

    async def post(self, body: str | bytes, **options: Any) -> httpx.Response:
        return await self._http.post(self.url, content=body, **options)

    async def send(self, packet: str | bytes) -> None:
        assert (await self.post(packet)).text == "ok"

    async def raw(self) -> str | bytes:
        if not self._packets:
            answer = await self.get()
            assert answer.status_code == 200, answer.text
            self._packets = answer.text.split("\x1e")
        return self._packets.pop(0)

    async def close(self) -> None:
        await self._http.aclose()
