"""`@microsoft/signalr` in Node: every transport and both protocols, on two workers, of which one may end."""

import asyncio
import html
import itertools
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.programs import ClientProgram
from tests.documentation import snippet
from tests.fleet import Client, Proxy, Relay, eventually, require
from tests.tokens import SECRET, token

HERE = Path(__file__).parent
WAYS = [
    ("websocket", False), ("websocket", True), ("sse", False), ("polling", False), ("polling", True),
]  # fmt: skip
_rooms = (f"signalr-{number}" for number in itertools.count())

MakeFleet = Callable[..., Awaitable[list[Relay]]]


class HubClient:
    """One client of the program."""

    def __init__(self, program: ClientProgram) -> None:
        self._program = program
        self.name = program.new_name()
        self._marks = itertools.count(1)

    async def open(self, url: str, transport: str = "websocket", **options: Any) -> dict[str, Any]:
        self.do("open", url=url, transport=transport, **options)
        return await self._program.next(self.name)

    def do(self, do: str, **command: Any) -> None:
        self._program.send({"do": do, "client": self.name, **command})

    async def until(self, what: str) -> dict[str, Any]:
        """The next happening of this kind; joins and leaves of others may come before it."""
        while True:
            happened = await self._program.next(self.name)
            if happened["what"] == what and happened.get("name") not in {"joined", "left"}:
                return happened
            assert happened.get("name") in {"joined", "left"} or happened["what"] == "disconnect", happened

    async def hear(self) -> Any:
        happened = await self.until("event")
        assert happened["name"] == "onMessageReceived", happened
        return happened["args"][0]["message"]

    async def hear_again(self, last: str) -> tuple[list[Any], list[str]]:
        """All messages up to the last one, and the ids with which the client has come back meanwhile."""
        heard, returned = list[Any](), list[str]()
        while not (returned and heard and heard[-1] == last):
            happened = await self._program.next(self.name)
            if happened["what"] == "reconnected":
                returned.append(happened["id"])
            elif happened["what"] == "event":
                heard.append(happened["args"][0]["message"])
            else:
                assert happened["what"] == "disconnect", happened
        return heard, returned

    async def invoke(self, name: str, *args: Any) -> dict[str, Any]:
        mark = next(self._marks)
        self.do("invoke", mark=mark, name=name, args=args)
        answer = await self.until("ack")
        assert answer["mark"] == mark
        return answer


@pytest.fixture
async def program() -> AsyncIterator[ClientProgram]:
    if not (HERE / "node_modules" / "@microsoft" / "signalr").is_dir():
        reason = "the node packages are not installed; `make test` installs them"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    one = await ClientProgram.run([require("node"), str(HERE / "signalr_clients.mjs")])
    yield one
    await one.close()


def ways(first: int = 1) -> Any:
    """All transports and protocols; `make test` has the first of them."""
    marks = [pytest.mark.smoke, pytest.mark.gateways]
    cases = [
        pytest.param(transport, packed, marks=marks if number < first else pytest.mark.gateways,
                     id=f"{transport}-{'messagepack' if packed else 'json'}")
        for number, (transport, packed) in enumerate(WAYS)
    ]  # fmt: skip
    return pytest.mark.parametrize(("transport", "packed"), cases)


@ways()
async def test_two_clients_on_two_workers(
    transport: str, packed: bool, pair: tuple[Relay, Relay], program: ClientProgram
) -> None:
    room, ann, ben = next(_rooms), HubClient(program), HubClient(program)
    found = await ann.open(f"{pair[0].http}/rooms/{room}/signalr?peer=ann", transport, packed=packed)
    assert (found["what"], found["id"]) == ("connect", "ann"), found
    assert (await ben.open(f"{pair[1].http}/rooms/{room}/signalr?peer=ben", transport, packed=packed))["id"] == "ben"
    data = {"snow": "é ☃ \U0001f600", "deep": [[[{}]], None, 1.5, False]}
    answer = await ann.invoke("Send", {"channel": "x", "message": data})
    assert "-" in answer["answer"]["id"]
    assert await ben.hear() == data
    ben.do("send", name="sendto", args=["ann", {"message": "for ann"}])
    assert await ann.hear() == "for ann"
    members = (await ben.invoke("Presence"))["answer"]["members"]
    assert {member["peer"] for member in members} == {"ann", "ben"}
    assert (await ann.invoke("Nothing"))["error"].startswith("unknown_method: ")
    ann.do("stream", name="Counter")
    assert (await ann.until("streamed"))["error"].startswith("streams_unsupported: ")
    ann.do("upload", mark=9, name="Send")
    assert (await ann.until("ack"))["error"].startswith("streams_unsupported: ")
    assert (await ann.invoke("JoinRoom", f"{room}-more"))["answer"]["room"] == f"{room}-more"
    assert (await ann.invoke("LeaveRoom", f"{room}-more"))["answer"] is None
    ann.do("stop")
    assert (await ann.until("close"))["error"] == ""

    async def gone() -> bool:
        return [one["peer"] for one in (await pair[1].describe(room))["members"]] == ["ben"]

    await eventually(gone)


@ways()
async def test_a_client_comes_back_to_another_worker_and_misses_nothing(
    transport: str, packed: bool, fleet_of: MakeFleet, program: ClientProgram
) -> None:
    """Its worker is stopped, and the next one killed; the client has its place and the missed events."""
    relays = await fleet_of(3, reconnect_grace=30)
    room, ann, ben = next(_rooms), HubClient(program), HubClient(program)
    await ben.open(f"{relays[2].http}/rooms/{room}/signalr?peer=ben&presence=0")
    async with Proxy(relays[0].port) as proxy:
        url = f"http://127.0.0.1:{proxy.port}/rooms/{room}/signalr?peer=ann&presence=0"
        assert (await ann.open(url, transport, packed=packed))["id"] == "ann"
        await ben.invoke("Send", {"message": "before"})
        assert await ann.hear() == "before"
        for number in range(2):
            if number == 0:
                assert await relays[0].terminate() == 0
            else:
                relays[1].process.kill()
            await ben.invoke("Send", {"message": f"missed {number}"})
            proxy.lead_to(relays[number + 1].port)
            await ben.invoke("Send", {"message": f"now {number}"})
            heard, returned = await ann.hear_again(f"now {number}")
            assert returned == ["ann"]
            # The events of the last second of a killed worker may come again, before those that were missed.
            assert heard[-2:] == [f"missed {number}", f"now {number}"]
            assert len(heard) == 2 or number == 1
            await ann.invoke("Send", {"message": number})
            assert await ben.hear() == number


@pytest.mark.gateways
async def test_skip_negotiation_tokens_and_refusals(fleet_of: MakeFleet, program: ClientProgram) -> None:
    [relay] = await fleet_of(1, auth="optional", auth_secret=SECRET)
    room = next(_rooms)
    url = f"{relay.http}/rooms/{room}/signalr"
    ann = HubClient(program)
    assert await ann.open(f"{url}?peer=ann", skip=True) == {"what": "connect", "id": ""}
    ben, granted = HubClient(program), token(sub="ben", rooms=[{"room": room}])
    assert (await ben.open(url, token=granted))["id"] == "ben"
    await ben.invoke("Send", {"message": 1})
    assert await ann.hear() == 1
    for query, given, error in (("peer=ann", "", "peer_taken"), ("peer=cat", granted, "wrong_peer")):
        refused = await HubClient(program).open(f"{url}?{query}", **({"token": given} if given else {}))
        assert refused["what"] == "failed"
        assert error in refused["error"]
    wrong = await HubClient(program).open(url, token="nonsense")
    assert "401" in wrong["error"]


@pytest.mark.gateways
async def test_the_relay_pings_often_enough(fleet_of: MakeFleet, program: ClientProgram) -> None:
    """A client that gives up after five seconds without a byte stays connected for longer than that."""
    [relay] = await fleet_of(1, ping_interval=0.5)
    ann = HubClient(program)
    await ann.open(f"{relay.http}/signalr", timeout=5000)

    async def pinged() -> bool:
        return await relay.metric("relay_sent_messages_total", protocol="signalr") > 14

    await eventually(pinged, 60)
    assert program.heard(ann.name) == []
    assert "answer" in await ann.invoke("Presence")


@pytest.mark.gateways
async def test_the_snippets_run(pair: tuple[Relay, Relay], program: ClientProgram) -> None:
    """That of the page in docs/, and that of the page at `/`."""
    shown = re.search(
        r'aria-label="SignalR"><code>(.*?)</code>',
        (await pair[0].get("/", headers={"Accept": "text/html"})).text,
        re.DOTALL,
    )
    assert shown is not None
    for code in (snippet("signalr").replace("http://localhost:8888", pair[0].http), html.unescape(shown[1])):
        ben = await Client.open(f"{pair[1].ws}/rooms/lobby?peer=ben")
        lines = f"import * as signalR from '@microsoft/signalr';\n{code}"
        node = [require("node"), "--input-type=module", "--eval", lines]
        process = await asyncio.create_subprocess_exec(*node, cwd=HERE, stdout=asyncio.subprocess.PIPE)
        try:
            assert process.stdout is not None
            assert (await ben.next())["message"] == "hello by SignalR"
            await ben.send({"message": "an answer"})
            async with asyncio.timeout(20):
                while b"an answer" not in await process.stdout.readline():
                    pass
        finally:
            process.kill()
            await process.wait()
            await ben.close()
