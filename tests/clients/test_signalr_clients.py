"""SignalR clients in other languages, on two workers: signalrcore in Python, and Microsoft's client in Java."""

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


@pytest.fixture
async def java() -> AsyncIterator[ClientProgram]:
    one = await ClientProgram.run(built("java-signalr"))
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


async def asked(program: ClientProgram, client: str, name: str, *args: object, **more: object) -> object:
    """The result of a call, ahead of which nothing else may happen to the client."""
    program.send({"do": "invoke", "client": client, "mark": 1, "name": name, "args": args, **more})
    answer = await program.next(client)
    assert answer["what"] == "ack", answer
    return answer["answer"]


async def happened(program: ClientProgram, client: str, name: str) -> list[object]:
    """The arguments with which the relay calls this method next."""
    event = await program.next(client)
    assert (event["what"], event["name"]) == ("event", name), event
    args: list[object] = event["args"]
    return args


TRANSPORTS = pytest.mark.parametrize("transport", ["websocket", "polling"])


@TRANSPORTS
async def test_java(transport: str, fleet_of: MakeFleet, java: ClientProgram) -> None:
    """Every hub method, and every method of the client, between two clients on two workers."""
    here, there = await fleet_of(2)
    room, other = next(_rooms), next(_rooms)
    for client, relay in (("ann", here), ("ben", there)):
        url = f"{relay.http}/rooms/{room}/signalr?peer={client}"
        java.send({"do": "open", "client": client, "url": url, "transport": transport})
        assert await java.next(client) == {"what": "connect", "id": client}
    assert await happened(java, "ann", "joined") == ["ben", room]

    data = {"snow": "\u2603", "deep": [[1.5], None]}
    assert "id" in await asked(java, "ann", "Send", {"message": data})  # type: ignore[operator]
    [heard] = await happened(java, "ben", "onMessageReceived")
    assert {"from": "ann", "message": data}.items() <= heard.items()  # type: ignore[attr-defined]
    java.send({"do": "send", "client": "ben", "name": "send", "args": ["text"]})
    assert (await happened(java, "ann", "onMessageReceived"))[0]["message"] == "text"  # type: ignore[index]
    assert "id" in await asked(java, "ann", "SendTo", "ben", {"message": "to ben"})  # type: ignore[operator]
    assert (await happened(java, "ben", "onMessageReceived"))[0]["message"] == "to ben"  # type: ignore[index]

    present = await asked(java, "ann", "Presence")
    assert [member["peer"] for member in present["members"]] == ["ann", "ben"]  # type: ignore[index]
    joined = await asked(java, "ben", "JoinRoom", other)
    assert (joined["room"], joined["count"]) == (other, 1)  # type: ignore[index]
    assert (await asked(java, "ann", "JoinRoom", other))["count"] == 2  # type: ignore[index]
    assert (await happened(java, "ben", "joined"))[1] == other
    await asked(java, "ann", "Send", {"message": "elsewhere"}, other)
    [heard] = await happened(java, "ben", "onMessageReceived")
    assert {"room": other, "message": "elsewhere"}.items() <= heard.items()  # type: ignore[attr-defined]
    assert await asked(java, "ann", "LeaveRoom", other, void=True) is None
    assert (await happened(java, "ben", "left"))[1] == other

    java.send({"do": "invoke", "client": "ann", "mark": 2, "name": "Nothing", "args": []})
    assert (await java.next("ann"))["error"].startswith("unknown_method: ")
    java.send({"do": "stop", "client": "ann"})
    assert await java.next("ann") == {"what": "close"}
    assert await happened(java, "ben", "left") == ["ann", room]


@TRANSPORTS
async def test_java_starts_again_after_its_worker_was_killed(
    transport: str, fleet_of: MakeFleet, java: ClientProgram
) -> None:
    """The library keeps the cookie of its first negotiation: the client has its place again, and the missed events."""
    here, there = await fleet_of(2, reconnect_grace=60)
    room = next(_rooms)
    ben = await Client.open(f"{there.ws}/rooms/{room}?peer=ben&presence=1")
    async with Proxy(here.port) as proxy:
        url = f"http://127.0.0.1:{proxy.port}/rooms/{room}/signalr?peer=ann&presence=0"
        java.send({"do": "open", "client": "ann", "url": url, "transport": transport})
        assert await java.next("ann") == {"what": "connect", "id": "ann"}
        await ben.ask({"message": "before"})
        assert (await happened(java, "ann", "onMessageReceived"))[0]["message"] == "before"  # type: ignore[index]
        here.process.kill()
        proxy.lead_to(there.port)
        await ben.ask({"message": "missed"})
        heard, back = list[str](), False
        while "missed" not in heard or not back:
            event = await java.next("ann", 60)
            back |= event["what"] == "connect"
            if event["what"] == "event":
                heard.append(event["args"][0]["message"])
        # Of a worker that was killed, the last message may come again.
        assert heard in (["missed"], ["before", "missed"])
        await asked(java, "ann", "Send", {"message": "back"})
        events = await ben.until(lambda event: event.get("message") == "back")
        assert events[-1]["from"] == "ann"
        assert not [event for event in events if event.get("left") == ["ann"]]
    await ben.close()
