"""signalrcore in Python: JSON and MessagePack, on two workers."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.clients.builds import built
from tests.conformance.programs import ClientProgram
from tests.fleet import Client, Relay

MakeFleet = Callable[..., Awaitable[list[Relay]]]

_rooms = (f"signalrcore-{number}" for number in itertools.count())


@pytest.fixture
async def program() -> AsyncIterator[ClientProgram]:
    one = await ClientProgram.run(built("python-signalr"))
    yield one
    await one.close()


@pytest.mark.parametrize("packed", [False, True], ids=["json", "messagepack"])
async def test_signalrcore(packed: bool, fleet_of: MakeFleet, program: ClientProgram) -> None:
    here, there = await fleet_of(2)
    room = next(_rooms)
    ben = await Client.open(f"{there.ws}/rooms/{room}?peer=ben")
    url = f"{here.http}/rooms/{room}/signalr?presence=0&peer=ann"
    program.send({"do": "open", "client": "ann", "url": url, "packed": packed})
    assert await program.next("ann") == {"what": "connect"}
    data = {"snow": "\u2603", "deep": [[1.5], None]}
    program.send({"do": "invoke", "client": "ann", "mark": 1, "name": "Send", "args": [{"message": data}]})
    assert "id" in (await program.next("ann"))["answer"]
    assert (await ben.next())["message"] == data
    program.send({"do": "invoke", "client": "ann", "mark": 2, "name": "Nothing", "args": []})
    refused = await program.next("ann")
    assert refused.get("error", "").startswith("unknown_method: "), refused
    await ben.send({"message": "an answer"})
    assert (await program.next("ann"))["args"][0]["message"] == "an answer"
    program.send({"do": "stop", "client": "ann"})
    assert await program.next("ann") == {"what": "close"}
    await ben.close()
