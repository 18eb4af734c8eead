"""The reference clients of docs/your-own-client.md: the page's programs run, and each rule of the page is kept."""

import asyncio
import functools
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from websockets.asyncio.server import ServerConnection, serve

from relay.client import Envelope, Lost, NotAcknowledged
from tests.chaos.members import JavaScriptReference, Node, PythonReference, Reference
from tests.conftest import MakeClient, MakeRelay
from tests.documentation import snippet
from tests.fleet import eventually, require

PROGRAMS = {
    "client.py": "reference-python",
    "own.py": "own-python",
    "client.mjs": "reference-javascript",
    "own.mjs": "own-javascript",
}


@functools.cache
def node() -> list[str]:
    """The command that runs Node with WebSocket, which is behind an option before version 22."""
    for command in ([require("node")], [require("node"), "--experimental-websocket"]):
        asked = subprocess.run([*command, "-p", "typeof WebSocket"], capture_output=True, text=True, check=False)
        if asked.stdout.strip() == "function":
            return command
    pytest.skip("this Node has no WebSocket")


@pytest.mark.parametrize("language", ["python", "javascript"])
async def test_the_programs_of_the_page(language: str, start: MakeRelay, enter: MakeClient, tmp_path: Path) -> None:
    relay = await start()
    for file, name in PROGRAMS.items():
        (tmp_path / file).write_text(snippet(name).replace("ws://localhost:8888", relay.ws))
    name, command = {"python": ("dora", [sys.executable, "own.py"]), "javascript": ("jan", [*node(), "own.mjs"])}[
        language
    ]
    bob = await enter(relay, "/rooms/demo?peer=bob&presence=1")
    process = await asyncio.create_subprocess_exec(
        *command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        assert (await bob.next(20))["joined"] == [name]
        message = await bob.next()
        assert (message["from"], message["message"]) == (name, "hello")
        await bob.send({"message": "hello yourself"})
        output = ""
        assert process.stdout is not None
        async with asyncio.timeout(10):
            while not all(text in output for text in ("members", "bob", "sent as", "hello yourself")):
                output += (await process.stdout.read(1000)).decode()
    finally:
        process.kill()
        _, errors = await process.communicate()
        print(errors.decode())


# A relay of which a test writes each answer.

Answers = Callable[["Script"], Awaitable[None]]


class Script:
    """One connection of a client, as the test sees it."""

    def __init__(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        self.socket = socket
        self.query = parse_qs(urlsplit(socket.request.path).query)
        self.key = next(
            text.strip().removeprefix("resume.")
            for text in socket.request.headers["Sec-WebSocket-Protocol"].split(",")
            if "resume." in text
        )

    async def say(self, **frame: Any) -> None:
        await self.socket.send(json.dumps(frame))

    async def welcome(self, id_: str, resume: str, **fields: Any) -> None:
        await self.say(type="welcome", peer="me", room="r", id=id_, resume=resume, resumed=False, first=True, **fields)

    async def asked(self) -> dict[str, Any]:
        """The next frame that is no ping."""
        while True:
            async with asyncio.timeout(10):
                frame: dict[str, Any] = json.loads(await self.socket.recv())
            if frame["type"] != "ping":
                return frame


class Scene:
    """A client and the scripted relay: each connection comes out of `next`."""

    def __init__(self, client: Reference, connections: asyncio.Queue[Script]) -> None:
        self.client = client
        self._connections = connections

    async def next(self) -> Script:
        async with asyncio.timeout(10):
            return await self._connections.get()

    async def event(self) -> Any:
        async with asyncio.timeout(10):
            return await anext(self.client)


@pytest.fixture(params=["python", "javascript"])
async def scene(request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    connections: asyncio.Queue[Script] = asyncio.Queue()

    async def take(socket: ServerConnection) -> None:
        connections.put_nowait(Script(socket))
        await socket.wait_closed()

    async with serve(take, "127.0.0.1", 0, subprotocols=None, select_subprotocol=lambda *_: "relay.v1") as server:
        urls = [f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"]
        async with Node() as process:
            client: Any = (
                PythonReference(urls, "r", "me")
                if request.param == "python"
                else JavaScriptReference(process, urls, "r", "me")
            )
            entering = asyncio.create_task(client.__aenter__())
            yield Scene(client, connections)
            entering.cancel()
            with suppress(asyncio.CancelledError):
                await entering
            await client.__aexit__()


async def test_a_client_comes_back_with_its_own_key_when_the_first_welcome_was_lost(scene: Scene) -> None:
    first = await scene.next()
    assert len(first.key) >= 22
    assert first.query["peer"] == ["me"]
    first.socket.transport.abort()
    second = await scene.next()
    assert (second.key, "since" in second.query) == (first.key, False)
    await second.welcome("5-1", "next")
    second.socket.transport.abort()
    third = await scene.next()
    assert (third.key, third.query["since"]) == ("next", ["5-1"])


async def test_a_slow_attempt_is_given_up_and_a_close_below_4500_is_not_the_end(scene: Scene) -> None:
    await scene.next()
    second = await scene.next()
    await second.socket.close(4005)
    third = await scene.next()
    assert "since" not in third.query
    await third.say(type="error", code="unavailable", text="", about="join")
    await third.socket.close(4003)
    third = await scene.next()
    assert "since" not in third.query
    await third.socket.close(4500)
    with pytest.raises(Exception, match="4500"):
        await scene.event()


async def test_the_position_follows_the_relays_ids_and_moves_backwards_only_after_a_loss(scene: Scene) -> None:
    relay = await scene.next()
    await relay.welcome("5-10", "k1")
    await relay.say(**{"from": "a", "id": "5-11", "n": 1})
    await relay.say(type="presence", joined=["b"], left=[], id="5-13")
    await relay.say(type="ack", id="5-2", key="of a repeated message")
    await relay.say(type="presence", present=False, count=0, id="0-0", room="another")
    await relay.say(**{"from": "a", "id": "5-11", "n": "a duplicate"})
    # All fields but `from` and `id` of an envelope are its sender's own.
    await relay.say(
        **{"from": "a", "id": "5-14", "code": "messages_lost", "reason": "x", "members": 7, "joined": ["z"]}
    )
    assert [(await scene.event()).id.seq for _ in range(2)] == [11, 14]
    relay.socket.transport.abort()
    relay = await scene.next()
    assert relay.query["since"] == ["5-14"]
    await relay.welcome("4-2", "k2", recovered=False, reason="epoch", members=[{"peer": "me"}], count=1)
    assert await scene.event() == Lost("epoch")
    await relay.say(type="error", code="messages_lost", text="", reason="trimmed", id="4-9")
    events = [await scene.event() for _ in range(2)]
    assert Lost("trimmed") in events
    await eventually(lambda: scene.client.members == {"me"})
    relay.socket.transport.abort()
    assert (await scene.next()).query["since"] == ["4-9"]
    assert scene.client.duplicates == 1


async def test_messages_are_sent_again_in_order_until_they_are_acknowledged(scene: Scene) -> None:
    relay = await scene.next()
    await relay.welcome("5-1", "k1")
    await eventually(lambda: scene.client.welcomes)
    sending = [asyncio.create_task(scene.client.send({"n": number}, timeout=20)) for number in range(3)]  # type: ignore[attr-defined]
    frames = [await relay.asked() for _ in range(3)]
    keys = [frame["key"] for frame in frames]
    assert [frame["envelope"]["n"] for frame in frames] == [0, 1, 2]
    assert [frame.get("after") for frame in frames] == [None, *keys[:2]]
    await relay.say(type="ack", key=keys[0], id="5-2")
    await relay.say(type="error", code="unavailable", text="", about="publish", key=keys[1])
    for _ in range(2):
        await relay.say(type="error", code="out_of_order", text="", about="publish", key=keys[2])
    again = [await relay.asked() for _ in range(2)]
    assert [(frame["key"], frame.get("after")) for frame in again] == [(keys[1], None), (keys[2], keys[1])]
    relay.socket.transport.abort()
    relay = await scene.next()
    await relay.welcome("5-2", "k2", recovered=True)
    assert [(await relay.asked())["key"] for _ in range(2)] == keys[1:]
    await relay.say(type="error", code="too_large", text="", about="publish", key=keys[1])
    await relay.say(type="ack", key=keys[2], id="5-3")
    results = await asyncio.gather(*sending, return_exceptions=True)
    assert [str(results[0]), type(results[1]), str(results[2])] == ["5-2", NotAcknowledged, "5-3"]


async def test_errors_about_many_messages_have_each_sent_again_once(scene: Scene) -> None:
    relay = await scene.next()
    await relay.welcome("5-1", "k1")
    await eventually(lambda: scene.client.welcomes)
    sending = [asyncio.create_task(scene.client.send({"n": number}, timeout=20)) for number in range(16)]  # type: ignore[attr-defined]
    keys = [(await relay.asked())["key"] for _ in range(16)]
    for key in keys:
        await relay.say(type="error", code="outcome_unknown", text="", about="publish", key=key)
    again, pings = list[str](), 0
    # Between two pings, more time passes than before messages are sent again.
    while len(again) < 16 or pings < 2:
        async with asyncio.timeout(10):
            frame = json.loads(await relay.socket.recv())
        if frame["type"] == "ping":
            pings = pings + 1 if again else 0
            await relay.say(type="pong", id="5-1")
        else:
            again.append(frame["key"])
    assert again == keys
    for key in keys:
        await relay.say(type="ack", key=key, id="5-2")
    await asyncio.gather(*sending)


async def test_a_client_that_hears_nothing_asks_and_then_connects_again(scene: Scene) -> None:
    relay = await scene.next()
    await relay.welcome("5-1", "k1")
    async with asyncio.timeout(10):
        assert json.loads(await relay.socket.recv())["type"] == "ping"
    await relay.say(type="pong", id="5-7")
    assert (await scene.next()).query["since"] == ["5-7"]


async def test_it_is_no_member_when_it_left_while_it_was_connecting(scene: Scene) -> None:
    relay = await scene.next()
    await relay.welcome("5-1", "k1")
    await relay.say(**{"from": "a", "id": "5-2"})
    assert isinstance(await scene.event(), Envelope)
    await scene.client.leave()  # type: ignore[attr-defined]
    async with asyncio.timeout(10):
        await relay.socket.wait_closed()
    assert relay.socket.close_code in {1000, 1005}
