"""Long polling of Firebase, as the library does it: each poll may reach another worker."""

import asyncio
import base64
import itertools
import json
import random
import re
from contextlib import suppress
from typing import Any, Self
from urllib.parse import urlsplit

import httpx2 as httpx

from tests.gateways.drivers.wires import Ended

_SEGMENT = 1840


class PollWire:
    """Long polling: one poll waits, and each message has a request of its own, over a connection of its own."""

    def __init__(self, http: str) -> None:
        self._http = http
        self._client = httpx.AsyncClient(timeout=90, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
        self._id = ""
        self._segments = itertools.count()
        self._next = 0
        self._early: dict[int, list[Any]] = {}
        self._inbox: asyncio.Queue[str | None] = asyncio.Queue()
        self._polls: set[asyncio.Task[None]] = set()
        self._ended = False
        self._patience: float | None = 60

    @classmethod
    async def open(cls, http: str, query: str = "") -> Self:
        wire = cls(http)
        try:
            await wire._ask(f"start=t&cb=1&v=5{query}")
        except Ended:
            await wire.drop()
            raise
        wire._poll("")
        return wire

    async def send(self, packet: str) -> None:
        text = base64.b64encode(packet.encode()).decode().translate(str.maketrans("+/=", "-_."))
        pieces = [text[at : at + _SEGMENT] for at in range(0, len(text), _SEGMENT)]
        for piece in pieces:
            if self._ended:
                raise Ended
            # As a page does, which has two requests open.
            while len(self._polls) > 1:
                await asyncio.wait(self._polls, return_when=asyncio.FIRST_COMPLETED)
            self._poll(f"&seg0={next(self._segments)}&ts0={len(pieces)}&d0={piece}")

    async def receive(self) -> str:
        async with asyncio.timeout(self._patience):
            found = await self._inbox.get()
        if found is None:
            self._inbox.put_nowait(None)
            raise Ended
        return found

    def wait_for(self, seconds: float | None) -> None:
        """Have `receive` wait for so long (None: for ever)."""
        self._patience = seconds

    async def close(self) -> None:
        with suppress(httpx.HTTPError):
            await self._client.post(f"{self._http}/.lp?disconn=t&id={self._id}&pw=-")
        await self.drop()

    def abort(self) -> None:
        """Lose the connection; `receive` raises `Ended`."""
        self._end()
        for poll in list(self._polls):
            poll.cancel()

    async def drop(self) -> None:
        self.abort()
        await asyncio.gather(*self._polls, return_exceptions=True)
        await self._client.aclose()

    async def lose(self) -> None:
        """Send a poll, and lose its connection: between two polls, nothing shows that a page is gone."""
        await self.drop()
        address = urlsplit(self._http)
        with suppress(OSError):  # the worker may be gone
            _, writer = await asyncio.open_connection(address.hostname, address.port)
            writer.write(f"GET /.lp?id={self._id}&pw=- HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
            writer.close()
            await writer.wait_closed()

    def _poll(self, segments: str) -> None:
        async def run() -> None:
            with suppress(Ended):
                await self._ask(f"id={self._id}&pw=-&ser={random.random()}{segments}")

        task = asyncio.create_task(run())
        self._polls.add(task)
        task.add_done_callback(self._polled)

    def _polled(self, task: "asyncio.Task[None]") -> None:
        self._polls.discard(task)
        if not self._polls and not self._ended:
            self._poll("")

    async def _ask(self, query: str) -> None:
        try:
            answer = await self._client.get(f"{self._http}/.lp?{query}")
        except httpx.HTTPError:
            self._end()
            raise Ended from None
        text = answer.text
        if found := re.search(r"pLPCommand\('start',\"([^\"]+)\"", text):
            self._id = found[1]
        if found := re.search(r"pRTLPCB\((\d+),(\[.*\])\);", text, re.DOTALL):
            self._early[int(found[1])] = json.loads(found[2])
        while (messages := self._early.pop(self._next, None)) is not None:
            self._next += 1
            for message in messages:
                self._inbox.put_nowait(json.dumps(message))
        if answer.status_code != 200 or text.endswith("pLPCommand('close');"):
            self._end()
            raise Ended

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._inbox.put_nowait(None)
