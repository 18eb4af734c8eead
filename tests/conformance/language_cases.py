"""The cases that clients of every language must pass: each is a function of a `Stage`, and `CASES` lists them.

A test file for a language makes a `Library`, starts its program, and runs each case with it.
"""

import base64
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.chaos.network import Network
from tests.conformance.programs import ClientProgram, LanguageClient
from tests.fleet import Client, Relay


@dataclass(frozen=True)
class Library:
    """A client library, and the command that runs its program."""

    name: str
    command: Sequence[str]
    transports: Sequence[str] = ("websocket", "polling")


@dataclass(frozen=True)
class Stage:
    """Two workers, a room of the case's own, and a program of the library, whose clients use these transports."""

    program: ClientProgram
    workers: Sequence[Relay]
    room: str
    transports: Sequence[str]

    async def client(self, worker: int = 0, *, namespace: bool = False, port: int = 0) -> LanguageClient:
        """Open a client in the room, by the address or by the namespace."""
        base = f"http://127.0.0.1:{port}" if port else self.workers[worker].http
        url = base if namespace else f"{base}/?room={self.room}"
        name = f"/rooms/{self.room}" if namespace else "/"
        return await LanguageClient(self.program).open(url, transports=self.transports, namespace=name)

    async def native(self, worker: int = 1) -> Client:
        """Open a client of the relay's own protocol in the room."""
        return await Client.open(f"{self.workers[worker].ws}/rooms/{self.room}")


async def envelope(client: Client) -> dict[str, Any]:
    return (await client.until(lambda event: "type" not in event))[-1]


async def handlers_get_the_arguments_that_were_emitted(stage: Stage) -> None:
    ann, ben, native = await stage.client(0), await stage.client(1), await stage.native()
    for name, args in (("one", [{"sdp": "v=0"}]), ("two", ["é ☃ \U0001f600", [1.5, None]]), ("none", [])):
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


async def binary_data_goes_both_ways(stage: Stage) -> None:
    ann, ben, native = await stage.client(0), await stage.client(1), await stage.native()
    # Not of no bytes: python-socketio 4 reads those as None.
    for size in (1, 2, 3, 3000):
        data = {"bytes": base64.b64encode((b"\xff\xef\x01" * size)[:size]).decode("ascii")}
        ann.emit("two", data, {"deep": [data]})
        assert await ben.event() == ("two", [data, {"deep": [data]}])
        assert (await envelope(native))["attachments"] == [data["bytes"], data["bytes"]]
    placeholder = {"_placeholder": True, "num": 0}
    for text in ("_-8BAg==\n", "/+8BAg"):
        await native.send({"event": "one", "args": [placeholder], "attachments": [text]})
        for client in (ann, ben):
            assert await client.event() == ("one", [{"bytes": "/+8BAg=="}])
    for client in (ann, ben):
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
    [refused] = await ann.ask("error", 1)
    assert refused["error"]["code"] == "reserved_event"
    [last] = await ann.ask("one", "last")
    heard = [await envelope(native) for _ in range(2)]
    assert [one["args"] for one in heard] == [["keyed"], ["last"]]
    assert heard[-1]["id"] == last["id"]
    ann.disconnect()
    await native.close()


async def rooms_by_namespace_and_by_join(stage: Stage) -> None:
    ann, native = await stage.client(0, namespace=True), await stage.native()
    ann.emit("one", "by namespace")
    assert (await envelope(native))["args"] == ["by namespace"]
    await native.send({"event": "one", "args": ["back"]})
    assert await ann.event() == ("one", ["back"])
    [answer] = await ann.ask("two", "in a", "namespace")
    assert (await envelope(native))["id"] == answer["id"]
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
            network.target = stage.workers[(number + 1) % 2].port
            network.reset()
            await ann.until("connect")
        assert await ann.ask("one", "back")
        assert [one for one in ann.heard() if one["what"] not in {"connect", "disconnect"}] == []
        ann.disconnect()
        await native.close()


Case = Callable[[Stage], Awaitable[None]]

CASES: Sequence[Case] = (
    handlers_get_the_arguments_that_were_emitted,
    binary_data_goes_both_ways,
    emits_are_acknowledged,
    rooms_by_namespace_and_by_join,
    a_client_comes_back_to_another_worker,
)
