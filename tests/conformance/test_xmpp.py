"""strophe.js 5, @xmpp/client and stanza in Node, unmodified, on two workers: rooms, private messages, IQs, nicks."""

import asyncio
import html
import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from relay.gateways.xmpp.declaration import GATEWAY
from tests.chaos.network import Network
from tests.conformance.programs import ClientProgram
from tests.conformance.sio import require_packages
from tests.conftest import MakeClient, MakeFleet
from tests.documentation import snippet
from tests.fleet import Proxy, Relay, eventually, require
from tests.tokens import SECRET, token

PROGRAM = Path(__file__).parent / "xmpp_clients.mjs"
LIBRARIES = ("strophe", "xmpp-client", "stanza")
ROOM = "talk@conference.localhost"


class Xmpp(ClientProgram):
    """A process that runs `xmpp_clients.mjs`."""

    async def until(self, client: str, what: str, **fields: Any) -> dict[str, Any]:
        """Return the next happening of this client that has these fields; others are passed over."""
        while True:
            happened = await self.next(client)
            assert happened["what"] != "failed" or what == "failed", happened
            if happened["what"] == what and fields.items() <= happened.items():
                return happened

    def do(self, client: str, what: str, **fields: Any) -> None:
        self.send({"do": what, "client": client, **fields})

    def begin(self, relay: Relay, library: str, name: str, **options: Any) -> None:
        self.do(name, "open", library=library, url=f"{relay.ws}/xmpp-websocket", **options)

    async def open(self, relay: Relay, library: str, name: str, **options: Any) -> dict[str, Any]:
        self.begin(relay, library, name, **options)
        return await self.until(name, "connected")

    async def enter(self, relay: Relay, library: str, name: str, room: str = ROOM, **options: Any) -> dict[str, Any]:
        """Open a client, and have it enter a room; its own presence is returned."""
        await self.open(relay, library, name, **options)
        return await self.join(name, room)

    async def join(self, name: str, room: str = ROOM, **options: Any) -> dict[str, Any]:
        self.do(name, "join", room=room, nick=name, **options)
        own = await self.until(name, "presence", **{"from": f"{room}/{name}"})
        if own["type"] != "error":
            # A join ends with the subject.
            assert (await self.until(name, "message"))["subject"] == ""
        return own

    async def hears(self, name: str, sender: str, body: str) -> dict[str, Any]:
        return await self.until(name, "message", **{"from": f"{ROOM}/{sender}", "body": body})


@pytest.fixture
async def node() -> AsyncIterator[Xmpp]:
    require_packages("strophe.js", "@xmpp/client", "stanza", "@xmldom/xmldom", "ws")
    program = await Xmpp.run([require("node"), str(PROGRAM)])
    yield program
    await program.close()


@pytest.mark.smoke
async def test_three_libraries_and_a_native_client_meet(
    node: Xmpp, pair: tuple[Relay, Relay], enter: MakeClient
) -> None:
    native = await enter(pair[1], "/rooms/talk?peer=nat&presence=1")
    for number, library in enumerate(LIBRARIES):
        own = await node.enter(pair[number % 2], library, library)
        assert "110" in own["codes"]
        assert (await native.next())["joined"] == [library]
        for before in LIBRARIES[:number]:
            await node.until(before, "presence", **{"from": f"{ROOM}/{library}", "type": ""})
    for speaker in LIBRARIES:
        node.do(speaker, "say", room=ROOM, body=f"from {speaker} ☃")
        # The speaker hears itself: by that it knows that all others do.
        heard = [await node.hears(name, speaker, f"from {speaker} ☃") for name in LIBRARIES]
        assert len({one["id"] for one in heard}) == 1
        envelope = await native.next()
        assert (envelope["message"], envelope["from"]) == (f"from {speaker} ☃", speaker)
    await native.send({"message": {"sdp": "v=0"}})
    for name in LIBRARIES:
        told = await node.until(name, "message", **{"from": f"{ROOM}/nat", "type": "groupchat"})
        assert json.loads(told["body"]) == {"message": {"sdp": "v=0"}}
    for name in LIBRARIES:
        node.do(name, "leave", room=ROOM, nick=name)
        await node.until(name, "presence", **{"from": f"{ROOM}/{name}", "type": "unavailable"})
        assert (await native.next())["left"] == [name]


async def test_private_messages_reach_one_occupant(node: Xmpp, pair: tuple[Relay, Relay], enter: MakeClient) -> None:
    native = await enter(pair[0], "/rooms/talk?peer=nat")
    for number, library in enumerate(LIBRARIES):
        await node.enter(pair[number % 2], library, library)
    for sender, receiver in zip(LIBRARIES, (*LIBRARIES[1:], LIBRARIES[0]), strict=True):
        node.do(sender, "tell", to=f"{ROOM}/{receiver}", body=f"psst, {receiver}")
        assert (await node.hears(receiver, sender, f"psst, {receiver}"))["type"] == "chat"
    node.do("strophe", "tell", to=f"{ROOM}/nat", body='{"channel":"c","message":1}')
    envelope = await native.next()
    assert (envelope["to"], envelope["channel"], envelope["message"], envelope["from"]) == ("nat", "c", 1, "strophe")
    await native.send({"to": "stanza", "message": "back"})
    assert json.loads((await node.until("stanza", "message", type="chat"))["body"])["message"] == "back"
    node.do("strophe", "say", room=ROOM, body="the end")
    for name in LIBRARIES:
        await node.hears(name, "strophe", "the end")


async def test_pings_are_answered_by_the_relay_and_by_other_occupants(node: Xmpp, pair: tuple[Relay, Relay]) -> None:
    for number, library in enumerate(LIBRARIES):
        await node.enter(pair[number % 2], library, library)
        for to in ("", "localhost", "conference.localhost", ROOM, f"{ROOM}/{library}", f"{ROOM}/strophe"):
            node.do(library, "ask", to=to)
            assert (await node.until(library, "answer"))["ok"], (library, to)
    for library, codes in (("strophe", True), ("xmpp-client", True), ("stanza", False)):
        for to, code in ((f"{ROOM}/nobody", "no_such_peer"), ("a@localhost.example", "unknown_domain")):
            node.do(library, "ask", to=to)
            answer = await node.until(library, "answer")
            assert (answer["ok"], answer.get("code")) == (False, code if codes else None)


async def test_a_nick_is_taken_and_changed(node: Xmpp, pair: tuple[Relay, Relay], enter: MakeClient) -> None:
    native = await enter(pair[0], "/rooms/talk?peer=taken&presence=1")
    await node.enter(pair[0], "strophe", "ann")
    await node.enter(pair[1], "xmpp-client", "ben")
    await node.open(pair[1], "strophe", "taken")
    refused = await node.join("taken")
    assert (refused["type"], refused["code"]) == ("error", "peer_taken")
    node.do("ben", "join", room=ROOM, nick="ben 2")
    await node.until("ben", "presence", **{"from": f"{ROOM}/ben", "codes": ["110", "303"]})
    await node.until("ben", "presence", **{"from": f"{ROOM}/ben 2", "codes": ["110"]})
    await node.until("ann", "presence", **{"from": f"{ROOM}/ben 2", "type": ""})
    await node.until("ann", "presence", **{"from": f"{ROOM}/ben", "codes": ["303"]})
    node.do("ben", "say", room=ROOM, body="renamed")
    assert (await node.hears("ann", "ben 2", "renamed"))["codes"] == []
    assert [one for one in node.heard("ann") if one["what"] == "presence"] == []
    events = await native.until(lambda event: event.get("message") == "renamed")
    assert {peer for event in events for peer in event.get("left", ())} == {"ben"}
    node.do("ben", "join", room=ROOM, nick="ann")
    assert (await node.until("ben", "presence", type="error"))["code"] == "peer_taken"


async def test_subjects(node: Xmpp, pair: tuple[Relay, Relay]) -> None:
    for number, library in enumerate(LIBRARIES):
        await node.enter(pair[number % 2], library, library)
    for library in LIBRARIES:
        node.do(library, "topic", room=ROOM, text=f"by {library}")
        for name in LIBRARIES:
            await node.until(name, "message", **{"from": f"{ROOM}/{library}", "subject": f"by {library}"})


async def test_the_password_of_plain_is_a_token(node: Xmpp, fleet_of: MakeFleet) -> None:
    (relay,) = await fleet_of(1, auth="required", auth_secret=SECRET)
    may = token(sub="Ann B", rooms=[{"room": "talk", "can": ["join", "publish", "presence"]}])
    for number, (library, refusal) in enumerate(
        (("strophe", "authfail"), ("xmpp-client", "failed"), ("stanza", "authfail"))
    ):
        for name, secret in (("none", ""), ("wrong", "nonsense")):
            node.begin(relay, library, f"{name}{number}", **({"user": "ann", "token": secret} if secret else {}))
            happened = await node.next(f"{name}{number}")
            while happened["what"] in {"connecting", "error", "disconnected"}:
                happened = await node.next(f"{name}{number}")
            assert happened["what"] == refusal, happened
            node.do(f"{name}{number}", "close")
    opened = await node.open(relay, "strophe", "strophe", user="ann", token=may)
    assert opened["jid"].startswith("\\41nn\\20\\42@localhost/")
    assert (await node.join("strophe"))["code"] == "wrong_peer"
    node.do("strophe", "join", room=ROOM, nick="Ann B")
    assert "110" in (await node.until("strophe", "presence", **{"from": f"{ROOM}/Ann B"}))["codes"]


async def test_rules_of_a_room(node: Xmpp, pair: tuple[Relay, Relay]) -> None:
    headers = pair[0].authorised
    async with httpx.AsyncClient(base_url=pair[0].http) as client:
        answer = await client.put("/rooms/talk", json={"password": "secret", "max_members": 1}, headers=headers)
    assert answer.status_code == 200, answer.text
    await node.open(pair[0], "strophe", "ann")
    assert (await node.join("ann"))["code"] == "password_required"
    assert (await node.join("ann", password="wrong"))["code"] == "bad_password"
    assert "110" in (await node.join("ann", password="secret"))["codes"]
    await node.open(pair[1], "strophe", "ben")
    assert (await node.join("ben", password="secret"))["code"] == "room_full"


async def test_a_lost_client_resumes_its_stream_on_another_worker(
    node: Xmpp, fleet_of: MakeFleet, enter: MakeClient
) -> None:
    """The worker of all clients is killed; Strophe comes back when the page connects, and the others by themselves."""
    libraries = ("strophe", "xmpp-client", "stanza")
    victim, other = await fleet_of(2, reconnect_grace=60.0)
    async with Proxy(victim.port) as proxy:
        native = await enter(other, "/rooms/talk?peer=nat&presence=1")
        for library in libraries:
            node.do(library, "open", library=library, url=f"ws://127.0.0.1:{proxy.port}/xmpp-websocket", resume=True)
            await node.until(library, "connected")
            await node.join(library)
            assert (await native.next())["joined"] == [library]
        await native.send({"message": "before"})
        for library in libraries:
            await node.until(library, "message", type="groupchat", **{"from": f"{ROOM}/nat"})
        victim.process.kill()
        proxy.lead_to(other.port)
        await node.until("strophe", "disconnected")
        await native.send({"message": "missed"})
        node.do("strophe", "again")
        assert (await node.until("strophe", "connected"))["resumed"]
        for library in libraries:
            # The others tell of both in any order.
            wanted = {"message"} if library == "strophe" else {"message", "resumed"}
            while wanted:
                happened = await node.next(library)
                assert happened["what"] != "connected"
                wanted.discard(happened["what"])
                assert json.loads(happened.get("body", '{"message": "missed"}'))["message"] == "missed"
        for library in libraries:
            node.do(library, "say", room=ROOM, body=f"{library} is back")
            assert (await native.next())["message"] == f"{library} is back"
            for name in libraries:
                await node.hears(name, library, f"{library} is back")


async def test_a_client_that_has_not_begun_is_sent_to_another_worker(node: Xmpp, pair: tuple[Relay, Relay]) -> None:
    """Its worker stops before it has read the first element; Strophe connects to the address that it is told."""
    stopping, other = pair
    async with Network(stopping.port) as network:
        network.delay = 1.0
        node.do("ann", "open", library="strophe", url=f"ws://127.0.0.1:{network.port}/xmpp-websocket")
        await eventually(partial(stopping.metric, "relay_connections", protocol="xmpp"))
        network.delay, network.target = 0.0, other.port
        await stopping.terminate()
        await node.until("ann", "redirect")
        await node.until("ann", "connected")
        assert await other.metric("relay_connections", protocol="xmpp") == 1


@pytest.mark.parametrize("name", ["xmpp-strophe", "xmpp-client", "the page at /"])
async def test_the_snippets_of_the_page(
    name: str, pair: tuple[Relay, Relay], enter: MakeClient, tmp_path: Path
) -> None:
    require_packages("strophe.js", "@xmpp/client", "@xmldom/xmldom", "ws")
    native = await enter(pair[1], "/rooms/lobby?peer=nat")
    packages = PROGRAM.parent / "node_modules"
    names, library = {
        "xmpp-strophe": ("{ Strophe, $pres, $msg }", "strophe.js/dist/strophe.node.esm.js"),
        "xmpp-client": ("{ client, xml }", "@xmpp/client/index.js"),
        "the page at /": ("{ Strophe }", "strophe.js/dist/strophe.node.esm.js"),
    }[name]
    head = [f"import ws from '{packages}/ws/wrapper.mjs';", "globalThis.WebSocket = ws;"]
    head.append(f"const {names} = await import('{packages / library}');")
    program = tmp_path / "page.mjs"
    if name == "the page at /":
        script = html.unescape(GATEWAY.snippets).rpartition("<script>")[2].partition("</script>")[0]
        text = script.replace("$ws", pair[0].ws)
    else:
        text = snippet(name).replace("localhost:8888", f"127.0.0.1:{pair[0].port}")
    program.write_text("\n".join([*head, text]))
    process = await asyncio.create_subprocess_exec(require("node"), str(program), stdout=asyncio.subprocess.PIPE)
    try:
        assert (await native.next())["message"].startswith("hello by")
        await native.send({"message": "hello yourself"})
        assert process.stdout is not None
        async with asyncio.timeout(10):
            async for line in process.stdout:
                if b"nat {" in line and b"hello yourself" in line:
                    break
    finally:
        process.kill()
        await process.wait()
