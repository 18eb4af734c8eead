"""A miniature relay with a working log, and connections that break at random."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.server import Request, Response, ServerConnection
from websockets.exceptions import ConnectionClosed

Json = dict[str, Any]


class Cut(Exception):
    """The connection is aborted here, without a close frame."""


@dataclass
class FaultyRelay:
    """One room with a history, and one client; each step fails with probability `fault_rate`."""

    draw: random.Random
    fault_rate: float
    log: list[Json] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)
    resume: set[str] = field(default_factory=set)
    faults: int = 0
    seq: int = 1
    sent_up_to: int = 0

    def fails_now(self, weight: float = 1.0) -> bool:
        fails = self.draw.random() < self.fault_rate * weight
        self.faults += fails
        return fails

    def cut_at_random(self, weight: float = 1.0) -> None:
        if self.fails_now(weight):
            raise Cut

    def publish(self, sender: str, envelope: Json) -> str:
        self.seq += 1
        ident = f"7-{self.seq}"
        self.log.append({**envelope, "from": sender, "id": ident})
        return ident

    # The connection.

    def check(self, _: ServerConnection, request: Request) -> Response | None:
        if self.fails_now():
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
                await self.send_news(socket)
        except Cut:
            socket.transport.abort()
        except ConnectionClosed:
            pass

    async def welcome(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        offered = socket.request.headers["Sec-WebSocket-Protocol"].split("resume.")[1]
        if self.resume:
            assert offered in self.resume, "the last key that the relay issued, or the one before it"
        key = f"key-{self.draw.random()}"
        self.resume = {offered, key}
        self.cut_at_random(4)
        since = socket.request.path.partition("since=7-")[2]
        welcome = {"type": "welcome", "peer": "me", "resume": key, "id": f"7-{since or self.seq}"}
        await socket.send(json.dumps(welcome | ({"recovered": True} if since else {})))
        self.sent_up_to = int(since) if since else self.seq
        if since:
            replayed = await self.send_news(socket)
            await socket.send(json.dumps({"type": "recovered", "id": f"7-{self.sent_up_to}", "replayed": replayed}))

    async def send_news(self, socket: ServerConnection) -> int:
        """Send the messages that others published since the last time."""
        count = 0
        while self.sent_up_to < self.seq:
            event = self.log[self.sent_up_to - 1]
            self.sent_up_to += 1
            if event["from"] != "me":
                self.cut_at_random()
                await socket.send(json.dumps(event))
                count += 1
        return count

    def answers(self, command: Json) -> Iterator[Json]:
        if command["type"] == "ping":
            yield {"type": "pong", "id": f"7-{self.sent_up_to}"}
            return
        key, envelope = command["key"], command["envelope"]
        self.cut_at_random()
        error = {"type": "error", "about": "envelope", "key": key, "text": ""}
        if self.fails_now():
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
        self.cut_at_random()
        if self.fails_now():
            yield error | {"code": "outcome_unknown"}
            return
        # An acknowledgement comes in the room's order: older events go first.
        yield from self.older(int(self.keys[key][2:]))
        yield {"type": "ack", "key": key, "id": self.keys[key]}

    def older(self, seq: int) -> Iterator[Json]:
        while self.sent_up_to < seq:
            event = self.log[self.sent_up_to - 1]
            self.sent_up_to += 1
            if event["from"] != "me":
                yield event
