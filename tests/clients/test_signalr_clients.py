"""signalrcore in Python: JSON and MessagePack, on two workers."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.clients.builds import built
from tests.conformance.programs import ClientProgram
from tests.fleet import Client, Proxy, Relay

MakeFleet = Callable[..., Awaitable[list[Relay]]]

# The first test builds the program.
pytestmark = pytest.mark.timeout(2400)

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


async def happening(program: ClientProgram, what: str) -> dict[str, object]:
    """The next happening of this kind; the client may report attempts that fail before it."""
    while (happened := await program.next("ann", 60))["what"] != what:
        assert happened["what"] in {"connect", "disconnect", "close", "event", "ack"}, happened
    return happened


@pytest.mark.parametrize("packed", [False, True], ids=["json", "messagepack"])
async def test_signalrcore_comes_back_by_itself(packed: bool, fleet_of: MakeFleet, program: ClientProgram) -> None:
    """Its worker is killed; another one has its place, by the key in its address, and the messages that it missed."""
    here, there = await fleet_of(2, reconnect_grace=60)
    room = next(_rooms)
    ben = await Client.open(f"{there.ws}/rooms/{room}?peer=ben&presence=1")
    async with Proxy(here.port) as proxy:
        place = "presence=0&peer=ann&resume=a-key-of-the-client-0123456789"
        url = f"http://127.0.0.1:{proxy.port}/rooms/{room}/signalr?{place}"
        program.send({"do": "open", "client": "ann", "url": url, "packed": packed})
        assert await program.next("ann") == {"what": "connect"}
        await ben.ask({"message": "before"})
        assert (await happening(program, "event"))["args"][0]["message"] == "before"  # type: ignore[index]
        here.process.kill()
        await ben.ask({"message": "missed"})
        proxy.lead_to(there.port)
        heard = ""
        while heard != "missed":
            heard = (await happening(program, "event"))["args"][0]["message"]  # type: ignore[index]
        program.send({"do": "invoke", "client": "ann", "mark": 1, "name": "Send", "args": [{"message": "back"}]})
        events = await ben.until(lambda event: event.get("message") == "back")
        assert events[-1]["from"] == "ann"
        assert not [event for event in events if event.get("left") == ["ann"]]
    await ben.close()
