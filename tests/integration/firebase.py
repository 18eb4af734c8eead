"""A page of Firebase without the library: over a WebSocket, or by polls, each of which may reach another worker."""

import asyncio
import itertools
import json
from typing import Any

from tests.gateways.drivers.firebase_polls import PollWire
from tests.gateways.drivers.wires import Ended, SocketWire


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
