"""The cases that Socket.IO clients of every language must pass. Each is a function of a `Stage`; `CASES` lists them.

A test file lists its libraries, makes one `Ground`, and runs the rows that `rows` returns. Each lack of a library is in
its own row of the table, with the reason.
"""

import base64
import itertools
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, Self

import pytest

from tests.chaos.network import Network
from tests.conformance.programs import ClientProgram, LanguageClient
from tests.fleet import Client, Relay

TRANSPORTS = ("websocket", "polling")

PATIENT = {"probe_timeout": 3.0, "publish_timeout": 5.0}
"""Settings for workers beside programs that start slowly and use the whole machine."""


@dataclass(frozen=True)
class Lack:
    """A case that a library cannot pass, and why.

    The test asserts that the case fails, so that nobody overlooks a version that can do it. With `asserted` false the
    test is skipped: there, several cases have one reason.
    """

    case: "Case"
    reason: str
    transports: Sequence[str] = TRANSPORTS
    asserted: bool = True

    def mark(self) -> pytest.MarkDecorator:
        if not self.asserted:
            return pytest.mark.skip(reason=self.reason)
        return pytest.mark.xfail(reason=self.reason, raises=(AssertionError, TimeoutError), strict=True)


@dataclass(frozen=True)
class Library:
    """A client library, and a function that returns the command of its program, or skips the test."""

    name: str
    command: Callable[[], Sequence[str]]
    lacks: Sequence[Lack] = ()

    def lack(self, case: "Case", transport: str) -> Lack | None:
        return next((one for one in self.lacks if one.case is case and transport in one.transports), None)


@dataclass(frozen=True)
class Stage:
    """Two workers, a room of the case's own, and a program of the library, whose clients use this transport."""

    program: ClientProgram
    workers: Sequence[Relay]
    room: str
    transport: str
    redis_url: str
    patience: float

    async def client(self, worker: int = 0, *, namespace: bool = False, port: int = 0) -> LanguageClient:
        """Open a client in the room, by the address or by the namespace."""
        base = f"http://127.0.0.1:{port}" if port else self.workers[worker].http
        url = base if namespace else f"{base}/?room={self.room}"
        name = f"/rooms/{self.room}" if namespace else "/"
        client = LanguageClient(self.program, self.patience)
        return await client.open(url, transports=[self.transport], namespace=name)

    async def native(self, worker: int = 1) -> Client:
        """Open a client of the relay's own protocol in the room."""
        return await Client.open(f"{self.workers[worker].ws}/rooms/{self.room}")


@dataclass
class Ground:
    """The common ground of one test file's cases: two workers over one Redis, and the started programs."""

    redis_url: str
    workers: Sequence[Relay] = ()
    _programs: dict[str, ClientProgram] = field(default_factory=dict)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    async def __aenter__(self) -> Self:
        settings: dict[str, Any] = {
            "redis_url": self.redis_url,
            "redis_prefix": "relay:languages",
            "reconnect_grace": 5.0,
        } | PATIENT
        self.workers = [Relay(**settings) for _ in range(2)]
        for worker in self.workers:
            await worker.ready()
        return self

    async def __aexit__(self, *_: object) -> None:
        for program in self._programs.values():
            await program.close()
        for worker in self.workers:
            worker.close()

    async def program(self, library: Library) -> ClientProgram:
        if library.name not in self._programs:
            self._programs[library.name] = await ClientProgram.run(library.command())
        return self._programs[library.name]

    async def stage(self, library: Library, transport: str, case: "Case") -> Stage:
        """A stage for one case. If a failure is expected, it waits only a short time for an event."""
        program, room = await self.program(library), f"room-{next(self._numbers)}"
        patience = 5 if library.lack(case, transport) else 30
        return Stage(program, self.workers, room, transport, self.redis_url, patience)


PLACEHOLDER = {"_placeholder": True, "num": 0}


def packed(data: bytes) -> dict[str, str]:
    return {"bytes": base64.b64encode(data).decode("ascii")}


async def envelope(client: Client) -> dict[str, Any]:
    return (await client.until(lambda event: "type" not in event))[-1]


async def handlers_get_the_arguments_that_were_emitted(stage: Stage) -> None:
    ann, ben, native = await stage.client(0), await stage.client(1), await stage.native()
    for name, args in (("one", [{"sdp": "v=0"}]), ("two", ["é ☃ \U0001f600", [1.5, None]])):
        ann.emit(name, *args)
        assert await ben.event() == (name, args)
        assert (await envelope(native))["args"] == args
        await native.send({"event": name, "args": args})
        for client in (ann, ben):
            assert await client.event() == (name, args)
    await native.send({"channel": "c", "message": 1})
    for client in (ann, ben):
        assert await client.event() == ("message", [{"channel": "c", "message": 1}])
        client.disconnect()
    await native.close()


async def events_without_arguments(stage: Stage) -> None:
    ann, ben, native = await stage.client(0), await stage.client(1), await stage.native()
    ann.emit("none")
    assert await ben.event() == ("none", [])
    assert (await envelope(native))["args"] == []
    await native.send({"event": "none", "args": []})
    for client in (ann, ben):
        assert await client.event() == ("none", [])
        client.disconnect()
    await native.close()


async def binary_data_goes_both_ways(stage: Stage) -> None:
    ann, ben, native = await stage.client(0), await stage.client(1), await stage.native()
    # Not of no bytes: python-socketio 4 reads those as None.
    for size in (1, 2, 3, 3000):
        data = packed((b"\xff\xef\x01" * size)[:size])
        ann.emit("one", data)
        assert await ben.event() == ("one", [data])
        assert (await envelope(native))["attachments"] == [data["bytes"]]
    for text in ("_-8BAg==\n", "/+8BAg"):
        await native.send({"event": "one", "args": [PLACEHOLDER], "attachments": [text]})
        for client in (ann, ben):
            assert await client.event() == ("one", [{"bytes": "/+8BAg=="}])
    for client in (ann, ben):
        client.disconnect()
    await native.close()


async def binary_data_of_every_byte(stage: Stage) -> None:
    ann, ben, native = await stage.client(0), await stage.client(1), await stage.native()
    for data in (packed(bytes([code])) for code in (0, 30, 127, 255)):
        ann.emit("one", data)
        assert await ben.event() == ("one", [data])
    every = packed(bytes(range(256)) * 10)
    ann.emit("one", every)
    assert await ben.event() == ("one", [every])
    await native.send({"event": "one", "args": [PLACEHOLDER], "attachments": [every["bytes"]]})
    for client in (ann, ben):
        assert await client.event() == ("one", [every])
        client.disconnect()
    await native.close()


async def binary_data_among_other_arguments(stage: Stage) -> None:
    ann, ben, native = await stage.client(0), await stage.client(1), await stage.native()
    data = packed(b"\xff\xef\x01")
    ann.emit("two", data, {"deep": [data]})
    assert await ben.event() == ("two", [data, {"deep": [data]}])
    assert (await envelope(native))["attachments"] == [data["bytes"], data["bytes"]]
    await native.send({"event": "two", "args": ["first", {"deep": PLACEHOLDER}], "attachments": [data["bytes"]]})
    for client in (ann, ben):
        assert await client.event() == ("two", ["first", {"deep": data}])
        client.disconnect()
    await native.close()


async def emits_are_acknowledged(stage: Stage) -> None:
    ann, native = await stage.client(0), await stage.native()
    for number in range(20):
        [answer] = await ann.ask("one", number)
        received = await envelope(native)
        assert (received["args"], received["id"]) == ([number], answer["id"])
    [first] = await ann.ask("one", "keyed", {"relay:key": "k"})
    [again] = await ann.ask("one", "keyed", {"relay:key": "k"})
    assert first == again
    [refused] = await ann.ask("relay:joined", 1)
    assert refused["error"]["code"] == "reserved_event"
    [last] = await ann.ask("one", "last")
    heard = [await envelope(native) for _ in range(2)]
    assert [one["args"] for one in heard] == [["keyed"], ["last"]]
    assert heard[-1]["id"] == last["id"]
    ann.disconnect()
    await native.close()


async def rooms_by_namespace(stage: Stage) -> None:
    ann, native = await stage.client(0, namespace=True), await stage.native()
    ann.emit("one", "by namespace")
    assert (await envelope(native))["args"] == ["by namespace"]
    await native.send({"event": "one", "args": ["back"]})
    assert await ann.event() == ("one", ["back"])
    [answer] = await ann.ask("two", "in a", "namespace")
    assert (await envelope(native))["id"] == answer["id"]
    ann.disconnect()
    await native.close()


async def rooms_by_join(stage: Stage) -> None:
    ann, native = await stage.client(0), await stage.native()
    [joined] = await ann.ask("join", f"{stage.room} two")
    assert joined["room"] == f"{stage.room} two"
    there = await Client.open(f"{stage.workers[1].ws}/rooms/{stage.room}%20two")
    ann.emit("one", "moved")
    assert (await envelope(there))["args"] == ["moved"]
    await native.send({"event": "one", "args": ["unheard"]})
    await there.send({"event": "one", "args": ["heard"]})
    assert await ann.event() == ("one", ["heard"])
    ann.disconnect()
    await native.close()
    await there.close()


async def a_client_comes_back_to_another_worker(stage: Stage) -> None:
    """The network leads to the second worker after a reset, as it does when the first one was killed."""
    async with Network(stage.workers[0].port) as network:
        ann, native = await stage.client(port=network.port), await stage.native()
        for number in range(3):
            await native.send({"event": "one", "args": [number]})
            assert await ann.event() == ("one", [number])
            # Its answer comes behind the position of the event, without which the client would hear the event again.
            await ann.ask("none")
            network.target = stage.workers[(number + 1) % 2].port
            network.reset()
            await ann.until("connect")
        assert await ann.ask("one", "back")
        assert [one for one in ann.heard() if one["what"] not in {"connect", "disconnect"}] == []
        ann.disconnect()
        await native.close()


async def a_client_goes_on_when_its_worker_is_killed(stage: Stage) -> None:
    settings: dict[str, Any] = {"redis_url": stage.redis_url, "redis_prefix": f"relay:{stage.room}"} | PATIENT
    with closing(Relay(**settings)) as first, closing(Relay(**settings)) as second:
        stage = replace(stage, workers=(await first.ready(), await second.ready()))
        async with Network(first.port) as network:
            ann, native = await stage.client(port=network.port), await stage.native()
            assert (await native.ask({"event": "one", "args": [1]}))["type"] == "ack"
            assert await ann.event() == ("one", [1])
            await ann.ask("none")
            assert (await envelope(native))["event"] == "none"
            network.target = second.port
            first.process.kill()
            await ann.until("connect")
            assert await ann.ask("one", "back")
            assert (await envelope(native))["args"] == ["back"]
            assert (await native.ask({"event": "one", "args": [2]}))["type"] == "ack"
            assert await ann.event() == ("one", [2])
            ann.disconnect()
            await native.close()


Case = Callable[[Stage], Awaitable[None]]

CASES: Sequence[Case] = (
    handlers_get_the_arguments_that_were_emitted,
    events_without_arguments,
    binary_data_goes_both_ways,
    binary_data_of_every_byte,
    binary_data_among_other_arguments,
    emits_are_acknowledged,
    rooms_by_namespace,
    rooms_by_join,
    a_client_comes_back_to_another_worker,
    a_client_goes_on_when_its_worker_is_killed,
)


def rows(libraries: Sequence[Library]) -> list[Any]:
    """Every case of each library over each transport, as parameters of a test."""
    return [
        pytest.param(
            library,
            transport,
            case,
            marks=[lack.mark()] if (lack := library.lack(case, transport)) else [],
            id=f"{library.name.replace(' ', '-')}-{transport}-{case.__name__}",
        )
        for library in libraries
        for transport in TRANSPORTS
        for case in CASES
    ]
