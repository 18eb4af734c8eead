"""The handshakes of SIP clients."""

import asyncio

import pytest

from relay.config import Settings
from relay.gateways.sip.gateway import STATE, SipGateway
from relay.gateways.sip.login import Logins
from relay.rooms.worker import Worker
from tests.sip_client import Sip, SipAgent
from tests.unit.gateways.base.fakes import AsgiClient, until, until_members


@pytest.mark.parametrize(
    ("path", "parameters", "room"),
    [("/", {}, "default"), ("/?room=a%20b", {}, "a%20b"), ("/?room=", {}, "default"), ("/rooms/c", {"room": "c"}, "c")],
)
async def test_the_room_is_that_of_the_path(path: str, parameters: dict[str, str], room: str) -> None:
    settings = Settings(default_room="default")
    async with Worker(settings, {"sip": []}) as worker:
        client = AsgiClient(worker, path, subprotocols=["sip"], path_params=parameters, headers=[(b"host", b"x:8888")])
        client.scope["state"][STATE] = Logins(worker)
        served = asyncio.create_task(SipGateway(settings)(client.scope, client.receive, client.send))
        agent = SipAgent("alice")
        text = agent.request("REGISTER", "sip:x", to=agent.address, more=(f"Contact: <{agent.contact}>",))
        client.from_client.put_nowait({"type": "websocket.receive", "text": text, "bytes": None})
        await until(lambda: len(client.sent) == 2)
        assert client.sent[0] == {"type": "websocket.accept", "subprotocol": "sip", "headers": []}
        assert Sip(client.sent[1]["text"]).status == 200
        await until_members(worker, room, {"alice": False})
        client.leave()
        await served
        await until_members(worker, room, {})


async def test_a_bad_room_is_refused_with_a_status() -> None:
    async with Worker(Settings(), {"sip": ["bad_room"]}) as worker:
        client = AsgiClient(worker, "/rooms/x", subprotocols=["sip"], path_params={"room": "\0"})
        await SipGateway(Settings())(client.scope, client.receive, client.send)
        assert client.refusal is not None
        assert client.refusal[0] == 400
