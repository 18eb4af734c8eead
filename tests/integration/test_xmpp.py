"""Clients of XMPP beside others in one room, on two workers; and requests over BOSH that reach the other worker."""

import asyncio
import json
from typing import Any
from urllib.parse import unquote

from tests.conftest import MakeFleet, MakeRelay
from tests.fleet import Relay
from tests.gateways.driver import ClientDriver, Heard
from tests.gateways.drivers.bosh import BoshDriver, BoshWire
from tests.gateways.drivers.native import NativeDriver
from tests.gateways.drivers.socketio import SocketIODriver
from tests.gateways.drivers.xmpp import C, XmppDriver, code_of

ROOM = "mixed"
HISTORY = '<history maxstanzas="256"/>'


async def test_members_of_four_kinds_exchange_envelopes(pair: tuple[Relay, Relay]) -> None:
    drivers: dict[str, ClientDriver] = {
        "native": NativeDriver(),
        "socketio": SocketIODriver(4, polling=False),
        "xmpp": XmppDriver(),
        "bosh": BoshDriver(),
    }
    for number, driver in enumerate(drivers.values()):
        await driver.open(pair[number % 2], ROOM)
    for speaker in drivers:
        data: Any = {"from": speaker, "sdp": "v=0\r\n☃ <&>"}
        await drivers[speaker].send(data)
        for name, driver in drivers.items():
            if name != speaker:
                while not isinstance(event := await driver.next(), Heard):
                    pass
                assert event.data == data, name
    for driver in drivers.values():
        await driver.close()


async def test_an_envelope_is_the_body_and_the_container(pair: tuple[Relay, Relay]) -> None:
    native, xmpp = NativeDriver(), XmppDriver()
    await native.open(pair[0], ROOM)
    await xmpp.open(pair[1], ROOM)
    await native.send({"sdp": 1})
    while (element := await xmpp.read()).tag != f"{C}message":
        pass
    container = element.find("{urn:xmpp:json:0}json")
    body = element.find(f"{C}body")
    assert body is not None
    assert container is not None
    assert json.loads(str(body.text)) == json.loads(str(container.text)) == {"message": {"sdp": 1}}
    assert element.find("{urn:xmpp:sid:0}stanza-id") is not None
    await native.close()
    await xmpp.close()


async def test_requests_of_one_session_reach_any_worker_behind_the_port(start: MakeRelay, redis_url: str) -> None:
    """Each request has a connection of its own, which the kernel gives to any of the workers."""
    relay = await start(redis_url=redis_url, workers=2)
    wire = BoshWire(relay.http, wait=0, fresh=True)
    await wire.begin(polls=False)
    for number in range(20):
        content = f'<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="X-{number}"/>' * (number < 8)
        answer = await wire.ask("", content)
        assert answer.get("type") is None, number
    assert (await wire.ask('type="terminate"')).get("type") == "terminate"
    assert (await wire.ask()).get("condition") == "item-not-found"
    assert await relay.metric("relay_forwarded_requests_total", outcome="answered") > 0
    await wire.drop()


async def test_a_session_ends_with_its_worker(fleet_of: MakeFleet) -> None:
    """Its client begins anew elsewhere, and gets all that it missed from the history of the room."""
    victim, other = await fleet_of(2)
    witness, client = NativeDriver(), BoshDriver()
    await witness.open(other, ROOM)
    peer = (await client.open(victim, ROOM)).peer
    nick = unquote(peer)
    assert str(await witness.next()) == f"Arrived(peer='{peer}')"
    victim.process.kill()
    wire = client.wire
    await wire.stop()
    wire.url = f"{other.http}/http-bind"
    ended = await wire.ask()
    assert (ended.get("type"), ended.get("condition")) == ("terminate", "item-not-found")
    await witness.send("missed")
    await client.log_in(other)
    entered = f'<x xmlns="http://jabber.org/protocol/muc">{HISTORY}</x>'
    enter = f'<presence xmlns="jabber:client" id="join" to="{ROOM}@conference.localhost/{nick}">{entered}</presence>'
    await client.write(enter)
    first = await client.read()
    # Until the old member departs, which may be so already, its nick is that of a member which could come back.
    refused = code_of(first)
    assert refused in {"peer_taken", ""}
    assert str(await witness.next()) == f"Departed(peer='{peer}')"
    if refused:
        await client.write(enter)
        first = await client.read()
    elements = [first]
    while elements[-1].find(f"{C}subject") is None:
        elements.append(await client.read())
    assert json.loads(str(elements[-2].findtext(f"{C}body"))) == {"message": "missed"}
    assert elements[-2].find("{urn:xmpp:sid:0}stanza-id") is not None
    await witness.close()
    await client.close()


async def test_a_request_that_is_cut_is_sent_again(pair: tuple[Relay, Relay]) -> None:
    """The connection is lost while the request waits; the copy gets the answer, once."""
    native = NativeDriver()
    await native.open(pair[1], ROOM)
    client = BoshDriver()
    await client.open(pair[0], ROOM)
    wire = client.wire
    await wire.stop()
    body = wire.body()
    lost = asyncio.create_task(wire.post(body))
    await asyncio.sleep(0)
    lost.cancel()
    await asyncio.gather(lost, return_exceptions=True)
    await native.send("kept")
    answer = await wire.post(body)
    while not answer.findall(f"{C}message"):
        answer = await wire.ask()
    assert len(answer.findall(f"{C}message")) == 1
    await client.close()
    await native.close()
