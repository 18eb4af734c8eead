"""A relay in miniature, which keeps its promises however badly its connections do."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.server import Request, Response, ServerConnection
from websockets.exceptions import ConnectionClosed

Json = dict[str, Any]


class Cut(Exception):
    """The connection ends here, without a word."""


@dataclass
class SmallRelay:
    """One room with a log, and one client; `trouble` is how likely each step is to go wrong."""

    draw: random.Random
    trouble: float
    log: list[Json] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)
    resume: set[str] = field(default_factory=set)
    troubles: int = 0
    seq: int = 1
    now: ServerConnection | None = None
    told: int = 0

    def bad_luck(self, weight: float = 1.0) -> bool:
        unlucky = self.draw.random() < self.trouble * weight
        self.troubles += unlucky
        return unlucky

    def cut_perhaps(self, weight: float = 1.0) -> None:
        if self.bad_luck(weight):
            raise Cut

    def publish(self, sender: str, envelope: Json) -> str:
        self.seq += 1
        ident = f"7-{self.seq}"
        self.log.append({**envelope, "from": sender, "id": ident})
        return ident

    # The connection.

    def check(self, _: ServerConnection, request: Request) -> Response | None:
        if self.bad_luck():
            response = Response(503, "Service Unavailable", request.headers.__class__({"Content-Length": "0"}), b"")
            response.headers["Retry-After"] = "0"
            return response
        return None

    async def serve(self, socket: ServerConnection) -> None:
        try:
            await self.welcome(socket)
            while True:
                text = await socket.recv()
                for answer in self.answers(json.loads(text)):
                    await socket.send(json.dumps(answer))
                await self.tell(socket)
        except Cut:
            socket.transport.abort()
        except ConnectionClosed:
            pass

    async def welcome(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        offered = socket.request.headers["Sec-WebSocket-Protocol"].split("resume.")[1]
        if self.resume:
            assert offered in self.resume, "the last key it was given, or the one before that"
        key = f"key-{self.draw.random()}"
        self.resume = {offered, key}
        self.cut_perhaps(4)
        since = socket.request.path.partition("since=7-")[2]
        welcome = {"type": "welcome", "peer": "me", "resume": key, "id": f"7-{since or self.seq}"}
        await socket.send(json.dumps(welcome | ({"recovered": True} if since else {})))
        self.now = socket
        self.told = int(since) if since else self.seq
        if since:
            replayed = await self.tell(socket)
            await socket.send(json.dumps({"type": "recovered", "id": f"7-{self.told}", "replayed": replayed}))

    async def tell(self, socket: ServerConnection) -> int:
        """What others said since the last time."""
        count = 0
        while self.told < self.seq:
            event = self.log[self.told - 1]
            self.told += 1
            if event["from"] != "me":
                self.cut_perhaps()
                await socket.send(json.dumps(event))
                count += 1
        return count

    def answers(self, command: Json) -> Iterator[Json]:
        if command["type"] == "ping":
            yield {"type": "pong", "id": f"7-{self.told}"}
            return
        key, envelope = command["key"], command["envelope"]
        self.cut_perhaps()
        error = {"type": "error", "about": "envelope", "key": key, "text": ""}
        if self.bad_luck():
            yield error | {"code": self.draw.choice(["unavailable", "too_fast", "outcome_unknown"])}
            return
        if "after" in command and command["after"] not in self.keys:
            yield error | {"code": "out_of_order"}
            return
        if "refuse" in envelope:
            yield error | {"code": "no_such_peer"}
            return
        if key not in self.keys:
            self.keys[key] = self.publish("me", envelope)
        self.cut_perhaps()
        if self.bad_luck():
            yield error | {"code": "outcome_unknown"}
            return
        # An acknowledgement comes in order with what is heard; so what is older goes first.
        yield from self.older(int(self.keys[key][2:]))
        yield {"type": "ack", "key": key, "id": self.keys[key]}

    def older(self, seq: int) -> Iterator[Json]:
        while self.told < seq:
            event = self.log[self.told - 1]
            self.told += 1
            if event["from"] != "me":
                yield event
