"""A client that observes a room on a worker over the memory backend, through the commands that concern it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from relay.config import Settings
from relay.gateways.base.join_request import JoinRequest, ObserveRequest
from relay.model.errors import ROOM_FULL
from relay.rooms.observer import Sight
from relay.rooms.worker import Worker
from tests.unit.gateways.base.fakes import Client, until, until_members


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    async with Worker(Settings(observers_per_room=2, channels_per_room=2)) as worker:
        yield worker


async def observer(worker: Worker, sight: Sight = Sight.MEMBER, **options: Any) -> Client:
    client = Client(worker)
    await client.session.enter(lambda: ObserveRequest("room", sight, **options))
    return client


async def member(worker: Worker, peer: str) -> Client:
    client = Client(worker)
    await client.session.enter(lambda: JoinRequest("room", peer))
    return client


def frames(client: Client) -> list[dict[str, Any]]:
    return client.connection.events


async def test_the_welcome_names_neither_a_peer_nor_a_resume_key(worker: Worker) -> None:
    await member(worker, "a")
    client = await observer(worker, key="k")
    (welcome,) = frames(client)
    assert {name: welcome[name] for name in ("type", "observer", "room", "count", "key")} == {
        "type": "welcome", "observer": True, "room": "room", "count": 1, "key": "k",
    }  # fmt: skip
    assert welcome["members"] == [{"peer": "a"}]
    assert not {"peer", "resume", "first", "resumed"} & welcome.keys()


@pytest.mark.parametrize(
    "command",
    [
        {"channel": "c"},
        {"type": "publish", "envelope": {"x": 1}},
        {"type": "join", "room": "other"},
        {"type": "join", "room": "room"},
        {"type": "leave"},
        {"type": "subscribe", "channels": ["c"]},
        {"type": "unsubscribe"},
    ],
)
async def test_commands_of_members_are_refused_by_name(worker: Worker, command: dict[str, Any]) -> None:
    client = await observer(worker)
    client.send(key="k", **command)
    await until(lambda: len(frames(client)) == 2)
    error = frames(client)[1]
    assert (error["type"], error["code"], error["key"]) == ("error", "observing", "k")
    assert client.connection.reason is None
    assert (await worker.list_rooms()).rooms == []


async def test_a_ping_is_answered_with_the_newest_id(worker: Worker) -> None:
    client = await observer(worker)
    client.send(type="ping", key="1")
    assert frames(client)[1] == {"type": "pong", "id": "0-0", "key": "1"}
    await member(worker, "a")
    await until(lambda: len(frames(client)) == 3)
    client.send(type="ping", key="2")
    assert frames(client)[3] == {"type": "pong", "id": frames(client)[2]["id"], "key": "2"}
    client.send(type="ping", room="other")
    assert frames(client)[4]["code"] == "not_joined"


@pytest.mark.parametrize(("sight", "names"), [(Sight.COUNTS, []), (Sight.MEMBER, [{"peer": "a"}])])
async def test_the_member_list_is_within_the_sight(worker: Worker, sight: Sight, names: list[dict[str, str]]) -> None:
    await member(worker, "a")
    client = await observer(worker, sight, messages=sight is not Sight.COUNTS)
    client.send(type="presence", key="k")
    await until(lambda: len(frames(client)) == 2)
    assert (frames(client)[1]["count"], frames(client)[1]["members"]) == (1, names)
    client.send(type="presence", room="other")
    await until(lambda: len(frames(client)) == 3)
    assert frames(client)[2]["members"] == []


async def test_channels_restrict_the_observed_messages(worker: Worker) -> None:
    client, sender = await observer(worker, channels=["x"], presence=False), await member(worker, "a")
    sender.send(channel="y", n=1)
    sender.send(channel="x", n=2)
    await until(lambda: len(frames(client)) == 2)
    assert frames(client)[1]["n"] == 2
    refused = await observer(worker, channels=["1", "2", "3"])
    assert frames(refused)[0]["code"] == "too_many_channels"


async def test_one_observer_too_many_is_refused_and_may_try_again_later(worker: Worker) -> None:
    first, _ = await observer(worker), await observer(worker)
    refused = await observer(worker)
    error = frames(refused)[0]
    assert (error["code"], error["about"], refused.connection.reason) == ("too_many_observers", "join", ROOM_FULL)
    first.session.disconnected(1000, None)
    assert frames(await observer(worker))[0]["type"] == "welcome"


@pytest.mark.parametrize("code", [1000, 1006])
async def test_an_observation_ends_with_the_connection_and_is_not_held(worker: Worker, code: int) -> None:
    client, sender = await observer(worker), await member(worker, "a")
    client.session.disconnected(code, None)
    await asyncio.sleep(0)
    heard = len(frames(client))
    sender.send(n=1)
    sender.send(type="ping")
    await until(lambda: "pong" in sender.answers)
    assert len(frames(client)) == heard
    await until_members(worker, "room", {"a": False})


async def test_an_observer_counts_as_a_connection_and_is_drained_like_one(worker: Worker) -> None:
    client = await observer(worker)
    assert worker.health().connections == 1
    draining = asyncio.create_task(worker.drain())
    await until(lambda: client.connection.reason is not None)
    assert client.connection.reason is not None
    assert client.connection.reason.name == "going_away"
    client.session.disconnected(1001, "going_away")
    await draining
    assert worker.health().connections == 0
