"""A stand-in for Redis that a test controls: it answers, does not answer, or closes its connections."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import hiredis
import pytest

from relay.backend.presence import LeaseName
from relay.backend.redis.client import RedisClient
from relay.backend.redis.connection import Dialer
from relay.backend.redis.keys import Keys
from relay.backend.redis.leases import RedisLeases
from relay.backend.redis.presence import RedisPresence
from relay.backend.redis.registration import Registration
from relay.backend.redis.scripts import MEMORY, Script
from relay.backend.redis.tags import tags_of
from relay.backend.settings import BackendSettings, LeaseSettings, RoomSettings
from relay.fleet_key import FleetKey
from tests.tcp import end_server

Answer = Callable[[list[bytes]], bytes | None]


class ScriptedRedis:
    """Answers each command with `answer(command)`, or not at all if that is None; records commands, read by read."""

    def __init__(self) -> None:
        self.answer: Answer = lambda command: b"+OK\r\n"
        self.reads: list[list[list[bytes]]] = []
        self.clients: list[asyncio.StreamWriter] = []
        self._subscribers: dict[asyncio.StreamWriter, None] = {}
        self.resets = 0
        self.port = 0
        self._server: asyncio.Server | None = None

    @property
    def commands(self) -> list[list[bytes]]:
        return [command for read in self.reads for command in read]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def subscribers(self) -> list[asyncio.StreamWriter]:
        """The connections that ever subscribed to something."""
        return list(self._subscribers)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            await end_server(self._server, self.hang_up)
            self._server = None

    def hang_up(self) -> None:
        clients, self.clients = self.clients, []
        for writer in clients:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.clients.append(writer)
        parser = hiredis.Reader()
        try:
            while data := await reader.read(65536):
                parser.feed(data)
                read = []
                while (command := parser.gets()) is not False:
                    read.append(command)
                    if command[0] == b"SUBSCRIBE":
                        self._subscribers[writer] = None
                    reply = b"+OK\r\n" if command[0] == b"CLIENT" else self.answer(command)
                    if reply is not None:
                        writer.write(reply)
                # A read may end within a command: then its beginning alone has arrived.
                if read:
                    self.reads.append(read)
        except ConnectionError:
            self.resets += 1
        finally:
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[ScriptedRedis]:
    server = ScriptedRedis()
    await server.start()
    yield server
    await server.stop()


Replies = dict[Script, Callable[[list[bytes]], bytes]]


class World:
    """Presence and leases of one worker over a `ScriptedRedis`."""

    def __init__(self, client: RedisClient, server: ScriptedRedis) -> None:
        self.client = client
        self.server = server
        self.lease = LeaseName("w")
        keys = Keys("relay")
        settings = BackendSettings(RoomSettings(), LeaseSettings(duration=10, interval=0.5, grace=15))
        self.registration = Registration(client, keys, self.lease, settings)
        self.presence = RedisPresence(client, keys, self.lease, settings.rooms, self.registration, tags_of(FleetKey()))
        self.leases = RedisLeases(client, keys, self.lease, settings, self.registration)

    def answer(self, replies: Replies, **others: bytes) -> None:
        """Answer scripts by `replies`, other commands by their names, and all else with OK.

        The set of rooms has all that are registered, and there are no other leases, unless `others` say so.
        """
        others = {"SCARD": b":1000000\r\n", "ZRANGE": b"*0\r\n"} | others
        replies = {MEMORY: lambda command: b"*2\r\n:0\r\n:0\r\n"} | replies
        by_sha = {script.sha.encode(): reply for script, reply in replies.items()}

        def answer(command: list[bytes]) -> bytes:
            if command[0] == b"EVALSHA":
                return by_sha[command[1]](command)
            return others.get(command[0].decode(), b"+OK\r\n")

        self.server.answer = answer

    def sent(self, name: bytes) -> list[list[bytes]]:
        return [command for command in self.server.commands if command[0] == name]


@pytest.fixture
async def world(server: ScriptedRedis) -> AsyncIterator[World]:
    dialer = Dialer(server.url, timeout=5, name="test")
    async with RedisClient(dialer, timeout=5, waiting=1000, on_reconnect=lambda: None) as client:
        yield World(client, server)


def stand_still() -> None:
    """Hold this process, and so the event loop, for longer than the timeouts of these tests."""
    time.sleep(1.0)


def array(*items: bytes) -> bytes:
    return b"*%d\r\n" % len(items) + b"".join(b"$%d\r\n%b\r\n" % (len(item), item) for item in items)


def dead(name: bytes, deadline: bytes) -> Callable[[list[bytes]], bytes]:
    """The reply to a heartbeat that finds one dead lease."""
    return lambda command: b"*4\r\n:0\r\n" + array(name, deadline) + b":1700000000000\r\n:0\r\n"
