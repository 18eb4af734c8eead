"""A page of Firebase without the library: over a WebSocket, or by polls, each of which may reach another worker."""

import asyncio
import base64
import itertools
import json
import random
import re
from contextlib import suppress
from typing import Any, Self

import httpx2 as httpx

from tests.gateways.drivers.wires import Ended, SocketWire

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


class FirebasePage:
    """Keeps the value at its path up to date, as the library does. `session` is the id of its last connection."""

    def __init__(self) -> None:
        self.wire: SocketWire | PollWire | None = None
        self.session = ""
        self.value: Any = None
        self.revoked = False
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def connect(self, relay: Any, *, polls: bool, patient: bool = False) -> None:
        """Connect, as one that comes back does if it was connected before; raises `Ended`.

        Unless the page is `patient`, the connection ends when nothing comes for a while.
        """
        query = f"&ls={self.session}" if self.session else ""
        if polls:
            self.wire = await PollWire.open(relay.http, query)
        else:
            self.wire = await SocketWire.open(relay, f"/.ws?v=5{query}")
        hello = json.loads(await self.wire.receive())
        if patient:
            self.wire.wait_for(None)
        self.session = hello["d"]["d"]["s"]
        self._reading = asyncio.create_task(self._read(self.wire))

    async def ended(self) -> None:
        """Return when the connection has ended."""
        if self._reading is not None:
            await asyncio.wait([self._reading])

    async def ask(self, action: str, path: str, **body: Any) -> str:
        """Send a request, and return the status of its answer; raises `Ended`."""
        assert self.wire is not None
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        text = json.dumps({"t": "d", "d": {"r": number, "a": action, "b": {"p": path, **body}}}, separators=(",", ":"))
        await self.wire.send(text)
        return str((await answer)["s"])

    async def lose(self) -> None:
        """Lose the connection without a word."""
        wire, self.wire = self.wire, None
        if wire is not None:
            await wire.drop()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        self._fail()

    async def close(self) -> None:
        """Say goodbye."""
        if self.wire is not None:
            await self.wire.close()
        await self.lose()

    async def _read(self, wire: SocketWire | PollWire) -> None:
        try:
            while True:
                self._take(json.loads(await wire.receive())["d"])
        except (Ended, TimeoutError):
            self._fail()

    def _fail(self) -> None:
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(Ended())
                answer.exception()
        self._answers.clear()

    def _take(self, body: Any) -> None:
        if "r" in body:
            self._answers.pop(body["r"]).set_result(body["b"])
        elif body.get("a") == "d":
            self._set(body["b"]["p"], body["b"]["d"])
        elif body.get("a") == "m":
            for path, value in body["b"]["d"].items():
                self._set(f"{body['b']['p']}/{path}", value)
        elif body.get("a") == "c":
            self.revoked = True

    def _set(self, path: str, value: Any) -> None:
        keys = [key for key in path.split("/") if key]
        self.value = _with(self.value, keys, value)

    def at(self, path: str) -> Any:
        """Return the value at a path, as far as the page knows it."""
        found = self.value
        for key in path.split("/"):
            found = found.get(key) if isinstance(found, dict) else None
        return found


def _with(node: Any, keys: list[str], value: Any) -> Any:
    if not keys:
        return value
    children = dict(node) if isinstance(node, dict) else {}
    child = _with(children.get(keys[0]), keys[1:], value)
    children[keys[0]] = child
    kept = {key: one for key, one in children.items() if one is not None and one != {}}
    return kept or None
