"""A client of the gateway over the memory backend, which speaks the wire by itself."""

import itertools
import json
from typing import Any

from relay.backend.memory.trees import MemoryTrees
from relay.gateways.base.join_request import CodecPair
from relay.gateways.firebase.codec import FirebaseCodec
from relay.gateways.firebase.places import Places
from relay.gateways.firebase.session import RoomConnection
from relay.gateways.firebase.sockets import FirebaseSocketSession
from relay.model.codec import Frame
from relay.rooms.worker import Worker
from tests.unit.gateways.base.fakes import FakeConnection, until

CODECS = CodecPair(FirebaseCodec(), FirebaseCodec())


class Page:
    """Sends requests, and keeps the frames that it gets."""

    def __init__(self, worker: Worker, namespace: str = "") -> None:
        self.worker = worker
        self.connection = FakeConnection()
        self.sockets: dict[str, FirebaseSocketSession] = {}
        ticket = worker.admissions.admit("here", "firebase")
        self.session = FirebaseSocketSession(
            RoomConnection(self.connection), worker, CODECS, ticket, Places(namespace), self.sockets
        )
        self._numbers = itertools.count(1)

    async def start(self, token: str = "", last: str = "") -> "Page":
        await self.session.start("relay.example:8888", token, self.session.id, last)
        return self

    @property
    def frames(self) -> list[Any]:
        return self.connection.events

    @property
    def pushes(self) -> list[tuple[str, str, Any]]:
        """The data that the relay has pushed: kind, path and value."""
        bodies = [frame["d"] for frame in self.frames if frame["t"] == "d" and "a" in frame["d"]]
        return [(body["a"], body["b"]["p"], body["b"].get("d")) for body in bodies]

    def take(self) -> list[tuple[str, str, Any]]:
        """Return the pushes so far, and forget them."""
        found = self.pushes
        self.frames.clear()
        return found

    def send(self, text: str | bytes) -> None:
        self.session.received(Frame(text.encode() if isinstance(text, str) else text))

    def request(self, action: str, path: str = "", **body: Any) -> int:
        number = next(self._numbers)
        self.send(json.dumps({"t": "d", "d": {"r": number, "a": action, "b": {"p": path, **body}}}))
        return number

    async def answer(self, number: int) -> Any:
        """Wait for the answer to a request, and return its body."""

        def found() -> list[Any]:
            return [frame["d"]["b"] for frame in self.frames if frame["d"].get("r") == number]

        await until(lambda: found() or self.connection.reason)
        assert self.connection.reason is None, self.connection.reason
        return found()[0]

    async def ask(self, action: str, path: str = "", **body: Any) -> str:
        """Send a request, and return the status of its answer."""
        status = (await self.answer(self.request(action, path, **body)))["s"]
        assert isinstance(status, str)
        return status


def recorded_end(worker: Worker, peer: str) -> int | None:
    """Return the end of rights with which changes are recorded; None if there are none."""
    trees = worker.trees._trees
    assert isinstance(trees, MemoryTrees)
    recorded = trees._rooms.prepared.get(("room", peer))
    return None if recorded is None else recorded.until
