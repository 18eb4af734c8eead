"""Socket.IO clients of all versions in one Node process, which tests control by lines of JSON."""

import itertools
import os
from pathlib import Path
from typing import Any, Self

import pytest

from tests.conformance.programs import ClientProgram
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


class Node(ClientProgram):
    """A process that runs `socketio_clients.mjs`."""

    @classmethod
    async def start(cls) -> Self:
        require_packages("socket.io-client-4")
        return await cls.run([require("node"), str(HERE / "socketio_clients.mjs")])

    async def open(self, version: str, url: str, /, connect: bool = True, **options: Any) -> "SocketIO":
        """Open a client; version 0.9 has other names for transports, and takes the query in the address."""
        if version == "0.9":
            options["transports"] = [{"polling": "xhr-polling"}.get(name, name) for name in options["transports"]]
            url += f"?{options.pop('query')}" if "query" in options else ""
        client = SocketIO(self, self.new_name(), version)
        self.send({"do": "open", "client": client.name, "version": version, "url": url, "options": options})
        if connect:
            client.connected = await client.until("connect")
        return client


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
