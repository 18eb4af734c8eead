"""Measures the parts of a message's cost, to compare two versions of the code on a noisy machine: `make bench-parts`.

Two parts that repeat to a few percent: the worker's Python from a client's frame to the members' sockets, with nothing
behind the sockets; and Redis alone, fed with the commands of a worker, beside the least that it could be asked for.
"""

import asyncio
import hashlib
import json
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from threading import Thread

import hiredis
import uvloop

from relay.backend.redis.bus import RedisBus
from relay.backend.redis.client import RedisClient
from relay.backend.redis.clock import RedisClock
from relay.backend.redis.connection import RedisConnection, pack
from relay.backend.redis.fence import fenced
from relay.backend.redis.keys import Keys
from relay.backend.redis.line import Line
from relay.backend.redis.scripts import CHANNEL, PUBLISH_TOGETHER, with_fence
from relay.config import Settings
from relay.gateways.base.join_request import CodecPair
from relay.gateways.base.session import WebSocketSession
from relay.gateways.native.gateway import NativeCodec
from relay.model.envelope import MembershipVersion, MessageId
from relay.model.events import Replay, Welcome
from relay.rooms.connection import WireConnection
from relay.rooms.keepalive import Keepalive, KeepaliveTiming
from relay.rooms.member import Member
from relay.rooms.throttle import Throttle
from relay.rooms.worker import Worker
from relay.wire.limits import WireLimits
from relay.wire.websocket import WebSocketProtocol
from tests.bench.accounting import cpu_seconds
from tests.bench.run import wait_for
from tests.ports import free_port

ROOMS, MEMBERS, ROUNDS, REPEATS, TOGETHER = 50, 2, 300, 5, 24
KEYS = Keys("relay")
DIALECT = CodecPair(NativeCodec(), NativeCodec(tagged=True))
TOGETHER_SHA = PUBLISH_TOGETHER.sha.encode()
CHANNEL_SHA = CHANNEL.sha.encode()
FENCED = with_fence(PUBLISH_TOGETHER)
NOTHING = hashlib.sha1(b"return 1", usedforsecurity=False).hexdigest()
ENVELOPE = json.dumps({"sender": "c1", "channel": "bench", "message": "x" * 350}, separators=(",", ":")).encode()
PLACE, FENCE = MessageId(1_700_000_000_000, 10), MembershipVersion(1_700_000_000_000_000, 1_700_000_000_000)
MASK = b"\x37\xfa\x21\x3d"
FRAME = b"\x81\xfe" + len(ENVELOPE).to_bytes(2, "big") + MASK + bytes(b ^ MASK[i % 4] for i, b in enumerate(ENVELOPE))


class Nowhere:
    """A transport that keeps what was written until the next turn."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def is_closing(self) -> bool:
        return False

    def set_protocol(self, protocol: object) -> None: ...

    def set_write_buffer_limits(self, high: int) -> None: ...


class Socket:
    """The parts of a redis-py connection that `RedisConnection` uses."""

    def __init__(self) -> None:
        self.transport = Nowhere()
        self._writer, self._reader = self, None


class Stage:
    """A worker with all members joined, without real sockets or Redis connections."""

    def __init__(self) -> None:
        rates = {"message_rate": 1e6, "byte_rate": 10**9, "address_byte_rate": 10**9, "address_history_bytes": 10**12}
        self.worker = Worker(Settings(redis_url="redis://localhost:1", **rates))
        bus = self.worker._parts.backend.bus
        assert isinstance(bus, RedisBus)
        assert isinstance(bus._lines, Line)
        assert isinstance(bus._client, RedisClient)
        self.bus, self.client = bus, bus._client
        self.client._loop = asyncio.get_running_loop()
        self.client._clock = RedisClock(self.client._loop.time, timeout=5)
        wires = Socket()
        self.pipe = wires.transport
        self.transports = [self.pipe]
        self.link = RedisConnection(wires, lambda replies: self.client._pending.resolve(replies), lambda: None)  # type: ignore[arg-type]
        self.client._connection = self.link
        self.ear = RedisConnection(Socket(), bus._lines.subscriber._receive, lambda: None)  # type: ignore[arg-type]
        limits = WireLimits(1 << 20, 1 << 16, Keepalive(KeepaliveTiming(1000, 1000, 1000)), Throttle(), set())
        self.members = [self._member(f"bench{i // MEMBERS}", f"peer{i:012}", limits) for i in range(ROOMS * MEMBERS)]
        self.seq = {KEYS.channel(member.room): PLACE.seq for member, _ in self.members}

    async def subscribe(self) -> None:
        """Subscribe as joining does, with made-up confirmations of Redis."""
        rooms = {member.room for member, _ in self.members}
        subscribing = asyncio.create_task(self.bus.subscribe(rooms))
        await asyncio.sleep(0)
        for channel in self.seq:
            self.ear.data_received(pack("subscribe", channel, "1"))
        await subscribing

    def _member(self, room: str, peer: str, limits: WireLimits) -> tuple[Member, WebSocketProtocol]:
        self.transports.append(Nowhere())
        protocol = WebSocketProtocol(self.transports[-1], limits, None)  # type: ignore[arg-type]
        ticket = self.worker.admissions.admit("-", "native")
        connection = WireConnection(protocol, limit=1 << 20, metrics=ticket.metrics, buffering=ticket)
        session = WebSocketSession(connection, self.worker, DIALECT, ticket)
        protocol.attach(session)
        member = Member(connection, DIALECT.own, room, peer)
        member.version = FENCE
        self.worker._parts.hub.rooms.stage(member)
        self.worker._parts.hub.admit(member, 1, Welcome(room, peer, PLACE, ""), Replay(PLACE))
        session._rooms.own_room, session._inbox.exclusive = room, False
        session._rooms.add(member)
        return member, protocol

    async def turn(self, senders: Sequence[WebSocketProtocol], each: int = 1) -> tuple[float, float, float]:
        """Each sender sends so many messages; returns the seconds until Redis, for replies, and for delivery."""
        began = time.perf_counter()
        for protocol in senders:
            for _ in range(each):
                protocol.data_received(FRAME)
        await asyncio.sleep(0)  # the link writes at the end of the turn
        sent = time.perf_counter()
        replies, heard = self._answers_of_redis()
        for transport in self.transports:
            transport.written.clear()
        asked = time.perf_counter()
        self.link.data_received(replies)
        answered = time.perf_counter()
        for piece in heard:
            self.ear.data_received(piece)
        return sent - began, answered - asked, time.perf_counter() - answered

    def _answers_of_redis(self) -> tuple[bytes, list[bytes]]:
        reader, replies, heard = hiredis.Reader(), [], []
        reader.feed(b"".join(self.pipe.written))
        while (command := reader.gets()) is not False:
            if command[1] == CHANNEL_SHA:  # The first message in a channel has the channel noted.
                replies.append(b":1\r\n")
                continue
            # No message has a key. Behind the keys stand the number of rooms, three more arguments, and the rooms.
            assert command[1] == TOGETHER_SHA
            at = 7 + int(command[2])
            replies.append(b"*%d\r\n" % int(command[at - 4]))
            for _ in range(int(command[at - 4])):
                channel, number = command[at].decode(), int(command[at + 2])
                self.seq[channel] += number
                # Nobody else publishes, so the worker knows the ids.
                assert int(command[at + 3]) == self.seq[channel]
                replies.append(b":%d\r\n" % self.seq[channel])
                heard += [pack("message", channel, text) for text in command[at + 5 : at + 5 + number]]
                at += 5 + number
        pieces = [b"".join(heard[i : i + TOGETHER]) for i in range(0, len(heard), TOGETHER)]
        return b"".join(replies), pieces


async def python_parts() -> None:
    """Microseconds of Python for one message: each member sends one, one member of each room, or one sends ten."""
    for title, members, each in (("each sends one", MEMBERS, 1), ("one sends one", 1, 1), ("one sends ten", 1, 10)):
        stage = Stage()
        await stage.subscribe()
        senders = [protocol for number, (_, protocol) in enumerate(stage.members) if number % MEMBERS < members]
        messages = len(senders) * each
        turns = [await stage.turn(senders, each) for _ in range(ROUNDS)]
        delivered = stage.worker.metrics.of("native").messages_out - len(stage.members)  # less the welcomes
        assert delivered == ROUNDS * messages * (MEMBERS - 1)
        # The fastest tenth shows the cost of the code; slower turns were disturbed by other work of the machine.
        parts = [sorted(turn[i] for turn in turns)[ROUNDS // 10] / messages * 1e6 for i in range(3)]
        names = ("from the socket to Redis", "Redis's answer", "from Redis to the sockets")
        print(f"Python, {ROOMS} rooms of {MEMBERS}, {title}: {sum(parts):.1f} µs a message, of which")
        for name, part in zip(names, parts, strict=True):
            print(f"  {part:5.1f}  {name}")


@contextmanager
def redis_of_our_own() -> Iterator[tuple[int, int]]:
    """Start a Redis that writes nothing to disk; gives its process id and port."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, text=True)
        try:
            wait_for(process, port, "Redis")
            yield process.pid, port
        finally:
            process.terminate()
            process.wait()


class Client:
    """Sends packed commands and waits for all replies."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.reader = hiredis.Reader()

    def drain(self) -> None:
        """Read to the end and discard everything."""
        while self.socket.recv(1 << 20):
            pass

    def ask(self, packed: bytes, answers: int) -> list[object]:
        self.socket.sendall(packed)
        got: list[object] = []
        while len(got) < answers:
            answer = self.reader.gets()
            if answer is False:
                self.reader.feed(self.socket.recv(1 << 16))
            elif isinstance(answer, hiredis.ReplyError):
                raise RuntimeError(str(answer))
            else:
                got.append(answer)
        return got


@dataclass(frozen=True)
class Script:
    """A way to publish `each` messages in every room, with so many `rooms` in a call, with the history or without."""

    each: int = 1
    rooms: int = 1
    log: bool = False
    sha: str = PUBLISH_TOGETHER.sha

    def commands(self, turn: int) -> list[bytes]:
        """The commands of one turn; as its texts have their ids, each turn has commands of its own."""
        first, packed = PLACE.seq + turn * self.each + 1, []
        ids = [b"%d-%d" % (PLACE.epoch, first + number) for number in range(self.each)]
        texts = [b'm %b peer \n"bench"\n%b,"from":"peer","id":"%b"' % (one, ENVELOPE[:-1], one) for one in ids]
        head = (FENCE.number, self.each, first + self.each - 1, f"{PLACE.epoch}-{first - 1} 0 - {'1 ' * self.each}")
        for at in range(0, ROOMS, self.rooms):
            some = [f"bench{number}" for number in range(at, min(at + self.rooms, ROOMS))]
            keys = [key for room in some for key in KEYS.of_room(room)[:4]]
            common = (len(some), 1000 if self.log else 0, "3600000 150000 10000 120000 0 ", 0)
            rooms = [argument for room in some for argument in (KEYS.channel(room), *head, *texts)]
            packed.append(pack("EVALSHA", self.sha, len(keys), *keys, *common, *rooms))
        return packed


@dataclass(frozen=True)
class Fenced(Script):
    """The same where another Redis may take the part of this one: each call has a fence, far in the future here."""

    sha: str = FENCED.sha

    def commands(self, turn: int) -> list[bytes]:
        fence = round((time.time() + 3600) * 1000)
        return [fenced(command) + b"$13\r\n%d\r\n" % fence for command in super().commands(turn)]


class Plain(Script):
    """The least that Redis could be asked for."""

    def commands(self, turn: int) -> list[bytes]:
        text = b'peer \n"bench"\n%b,"from":"peer","id":"' % ENVELOPE[:-1]
        return [pack("PUBLISH", KEYS.channel(f"bench{number}"), text) for number in range(ROOMS)]


SCRIPTS = {
    "as it is": Script(),
    "as it is, with a fence": Fenced(),
    "as it is, with the log": Script(log=True),
    "two messages of a room in one call": Script(each=2),
    "ten messages of a room in one call": Script(each=10),
    "sixteen rooms in one call": Script(rooms=16),
    "eight rooms in one call, two messages of each": Script(each=2, rooms=8),
    "the same, with a fence": Fenced(each=2, rooms=8),
    "eight rooms in one call, two messages of each, with the log": Script(each=2, rooms=8, log=True),
    "a script that does nothing": Script(sha=NOTHING),
    "a plain PUBLISH, without id or check": Plain(),
}
"""Alternative ways, by name: first the worker's own, for one message and for several."""


def redis_parts() -> None:
    """Microseconds of Redis for one message, with one subscriber."""
    rooms = [f"bench{number}" for number in range(ROOMS)]
    with redis_of_our_own() as (process, port):
        client, ear = Client(port), Client(port)
        for source in (PUBLISH_TOGETHER.source, FENCED.source, "return 1"):
            client.ask(pack("SCRIPT", "LOAD", source), 1)
        ear.ask(pack("SUBSCRIBE", *map(KEYS.channel, rooms)), ROOMS)
        Thread(target=ear.drain, daemon=True).start()
        costs: dict[str, list[float]] = {}
        for _ in range(REPEATS):
            for name, script in SCRIPTS.items():
                for room in rooms:
                    meta, _, _, log, *_ = KEYS.of_room(room)
                    client.ask(
                        pack("DEL", meta, log) + pack("HSET", meta, "e", FENCE.epoch, FENCE.number, PLACE.seq), 2
                    )
                turns = [script.commands(turn) for turn in range(ROUNDS)]
                before = cpu_seconds([process])
                for packed in turns:
                    client.ask(b"".join(packed), len(packed))
                messages = ROUNDS * ROOMS * script.each
                costs.setdefault(name, []).append((cpu_seconds([process]) - before) / messages * 1e6)
    print("Redis, µs a message, the median of rounds and the least:")
    for name, cost in costs.items():
        print(f"  {median(cost):5.1f} {min(cost):5.1f}  {name}")


if __name__ == "__main__":
    uvloop.run(python_parts())
    redis_parts()
