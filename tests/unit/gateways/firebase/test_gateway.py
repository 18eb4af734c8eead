"""The handshake."""

import asyncio

import pytest

from relay.config import Settings
from relay.gateways.firebase.gateway import FirebaseGateway
from relay.gateways.firebase.routes import state
from relay.rooms.worker import Worker
from tests.unit.gateways.base.fakes import AsgiClient, until

HOST = (b"host", b"demo.relay.example:8888")


async def hello(worker: Worker, settings: Settings, path: str) -> AsgiClient:
    client = AsgiClient(worker, path, headers=[HOST], state={"worker": worker, **state(worker)})
    serving = asyncio.ensure_future(FirebaseGateway(settings)(client.scope, client.receive, client.send))
    await until(lambda: client.events or client.refusal)
    client.serving = serving  # type: ignore[attr-defined]
    return client


async def leave(client: AsgiClient) -> None:
    client.leave()
    await client.serving  # type: ignore[attr-defined]


async def test_the_client_is_to_come_back_to_the_host_that_it_knows(worker: Worker) -> None:
    client = await hello(worker, worker.settings, "/.ws?v=5")
    assert client.events[0]["d"]["d"]["h"] == "demo.relay.example:8888"
    await leave(client)


@pytest.mark.parametrize("query", ["", "v=4", "v=5&s=session"])
async def test_other_versions_and_upgrades_are_refused(worker: Worker, query: str) -> None:
    client = await hello(worker, worker.settings, f"/.ws?{query}")
    assert client.refusal is not None
    assert client.refusal[0] == 400
    await client.serving  # type: ignore[attr-defined]


@pytest.mark.parametrize(("query", "room"), [("v=5", "demo"), ("v=5&ns=a%2Fb", "a%2Fb"), ("v=5&ns=", "demo")])
async def test_the_namespace_may_be_the_room(worker: Worker, query: str, room: str) -> None:
    settings = Settings(extensions={"firebase_room": "namespace"})
    client = await hello(worker, settings, f"/.ws?{query}")
    client.say(t="d", d={"r": 1, "a": "p", "b": {"p": "/x", "d": 1}})
    await until(lambda: len(client.events) == 2)
    assert (await worker.roster(room)).count == 1
    await leave(client)
