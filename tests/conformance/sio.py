"""Socket.IO clients of all versions in one Node process, which tests control by lines of JSON."""

import asyncio
import itertools
import json
import os
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pytest

from tests.fleet import require

HERE = Path(__file__).parent
WEBSOCKET = {"transports": ["websocket"]}
POLLING = {"transports": ["polling"]}
UPGRADE: dict[str, Any] = {"transports": ["polling", "websocket"]}


def require_packages(*names: str) -> None:
    """Skip without these packages; in CI, fail."""
    if not all((HERE / "node_modules" / name).is_dir() for name in names):
        reason = "the node packages are not installed; `make test` installs them"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


class Node:
    """A process that runs `socketio_clients.mjs`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._queues: dict[str, asyncio.Queue[dict[str, Any]]] = defaultdict(asyncio.Queue)
        self._reader = asyncio.create_task(self._read())
        self._names = itertools.count()

    @classmethod
    async def start(cls) -> Self:
        require_packages("socket.io-client-4")
        pipe = asyncio.subprocess.PIPE
        command = [require("node"), str(HERE / "socketio_clients.mjs")]
        return cls(await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=2**24))

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            event = json.loads(line)
            self._queues[event.pop("client")].put_nowait(event)

    def send(self, command: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")

    async def next(self, client: str) -> dict[str, Any]:
        async with asyncio.timeout(15):
            return await self._queues[client].get()

    def heard(self, client: str) -> list[dict[str, Any]]:
        """Return all events that have arrived and were not read."""
        queue = self._queues[client]
        return [queue.get_nowait() for _ in range(queue.qsize())]

    async def open(self, version: str, url: str, /, connect: bool = True, **options: Any) -> "SocketIO":
        """Open a client; version 0.9 has other names for transports, and takes the query in the address."""
        if version == "0.9":
            options["transports"] = [{"polling": "xhr-polling"}.get(name, name) for name in options["transports"]]
            url += f"?{options.pop('query')}" if "query" in options else ""
        client = SocketIO(self, f"client{next(self._names)}", version)
        self.send({"do": "open", "client": client.name, "version": version, "url": url, "options": options})
        if connect:
            client.connected = await client.until("connect")
        return client

    async def close(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        self._reader.cancel()
        await asyncio.wait([self._reader])


class SocketIO:
    """One client of the process."""

    def __init__(self, node: Node, name: str, version: str) -> None:
        self._node = node
        self._marks = itertools.count(1)
        self.name = name
        self.version = version
        self.connected: dict[str, Any] = {}
        self.joined: list[str] = []

    async def next(self) -> dict[str, Any]:
        """Return the next event, but no `relay:position`; a `relay:joined` event only adds to `joined`."""
        while True:
            event = await self._node.next(self.name)
            if event["what"] != "event" or event["name"] not in {"relay:joined", "relay:position"}:
                return event
            if event["name"] == "relay:joined":
                self.joined.append(event["args"][0]["room"])

    async def until(self, what: str) -> dict[str, Any]:
        """Return the next event of this kind; only upgrades and reconnections may come before it."""
        while True:
            event = await self.next()
            if event["what"] == what:
                return event
            assert event["what"] in {"upgrade", "disconnect", "connect_error"}, event

    async def event(self) -> tuple[str, list[Any]]:
        """Return the next Socket.IO event."""
        event = await self.until("event")
        return event["name"], event["args"]

    def emit(self, *args: Any) -> None:
        self._node.send({"do": "emit", "client": self.name, "args": args})

    async def ask(self, *args: Any) -> list[Any]:
        """Emit, and return the arguments of the acknowledgement."""
        self._node.send({"do": "emit", "client": self.name, "args": args, "ack": next(self._marks)})
        return (await self.until("ack"))["answer"]

    def do(self, name: str) -> None:
        self._node.send({"do": name, "client": self.name})

    def heard(self) -> list[dict[str, Any]]:
        return self._node.heard(self.name)
