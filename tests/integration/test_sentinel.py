"""A master that fails, with real sentinels: members stay, and their messages arrive afterwards."""

import asyncio
import signal
from collections.abc import AsyncIterator

import pytest

from tests.conftest import MakeClient, MakeRelay
from tests.fleet import Client, Relay, eventually
from tests.sentinels import SentinelSet, connections, follow

pytestmark = [pytest.mark.gateways, pytest.mark.timeout(240)]

SETTINGS = {"publish_timeout": 3, "reconnect_grace": 60}


@pytest.fixture
async def sentinels() -> AsyncIterator[SentinelSet]:
    sentinels = SentinelSet()
    try:
        yield await sentinels.start()
    finally:
        sentinels.close()


async def said(client: Client, text: str) -> str:
    """Publish until Redis has taken the message; return its id."""

    async def taken() -> str:
        answer = await client.ask({"type": "publish", "envelope": {"message": text}})
        return str(answer.get("id", ""))

    return str(await eventually(taken, 60))


async def hears(client: Client, text: str) -> bool:
    return bool(await client.until(lambda event: event.get("message") == text, 60))


async def talk(client: Client, other: Client, relays: list[Relay], text: str) -> None:
    await said(client, text)
    assert await hears(other, text)
    for relay in relays:
        await eventually(relay.healthy, 60)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_room_goes_on_with_the_master_that_takes_over(
    start: MakeRelay, enter: MakeClient, sentinels: SentinelSet, number: signal.Signals
) -> None:
    relays = [await start(redis_url=sentinels.url, **SETTINGS) for _ in range(2)]
    ann, ben = [
        await enter(relay, f"/rooms/room?peer={name}") for relay, name in zip(relays, ("ann", "ben"), strict=True)
    ]
    await talk(ann, ben, relays, "before")
    sentinels.master.signal(number)
    await sentinels.failed_over()
    await talk(ann, ben, relays, "after")
    await talk(ben, ann, relays, "answer")
    for relay in relays:
        assert {member["peer"] for member in (await relay.describe("room"))["members"]} == {"ann", "ben"}
    sentinels.master.signal(signal.SIGCONT)


async def test_a_master_that_is_demoted_is_left_at_once(
    start: MakeRelay, enter: MakeClient, sentinels: SentinelSet
) -> None:
    relays = [await start(redis_url=sentinels.url, **SETTINGS) for _ in range(2)]
    ann, ben = [
        await enter(relay, f"/rooms/room?peer={name}") for relay, name in zip(relays, ("ann", "ben"), strict=True)
    ]
    await talk(ann, ben, relays, "before")
    before = [await connections(relay) for relay in relays]
    await sentinels.ask_for_failover()
    await sentinels.failed_over()
    for relay, number in zip(relays, before, strict=True):
        await follow(relay, number)
    await talk(ann, ben, relays, "after")
    await talk(ben, ann, relays, "answer")


async def told(client: Client, text: str) -> list[str]:
    """The reports of losses that a client gets until it hears this message, whose sender says it again and again."""
    events = await client.until(lambda event: event.get("message") == text, 60)
    return [event["reason"] for event in events if event.get("code") == "messages_lost"]


@pytest.mark.parametrize("durability", ["redis", "replicas=1"])
async def test_members_are_told_once_of_events_that_a_lagging_replica_lacks_and_others_of_nothing(
    start: MakeRelay, enter: MakeClient, sentinels: SentinelSet, durability: str
) -> None:
    relays = [await start(redis_url=sentinels.url, durability=durability, **SETTINGS) for _ in range(2)]
    busy = [await enter(relays[number % 2], f"/rooms/busy?peer=p{number}") for number in range(4)]
    quiet = [await enter(relays[number % 2], f"/rooms/quiet?peer=p{number}") for number in range(2)]
    await said(busy[0], "before")
    await said(quiet[0], "before")
    for client in (*busy[1:], quiet[1]):
        assert await hears(client, "before")
    # Without a wait, the replica might lack that as well.
    with sentinels.master.client as master:
        master.wait(1, 5000)
    await asyncio.to_thread(sentinels.master.refuse_replicas)
    answer = await busy[0].ask({"type": "publish", "key": "lost", "envelope": {"message": "lost"}})
    assert answer.get("code", "ack") == ("ack" if durability == "redis" else "outcome_unknown")
    for client in busy[1:]:
        # All have heard it, and know more than the replica.
        assert await hears(client, "lost")
    sentinels.master.kill()
    await sentinels.failed_over()
    if durability != "redis":
        # The old master comes back as a replica: without one, nothing is acknowledged.
        await asyncio.to_thread(sentinels.master.start, sentinels.replica)
    again = await eventually(lambda: acknowledged(busy[0], "lost"), 60)
    assert again
    await said(busy[0], "after")
    await said(quiet[0], "after")
    for client in busy[1:]:
        # Told before it comes again.
        assert await told(client, "lost") == ["epoch"]
        assert await told(client, "after") == []
    assert await told(quiet[1], "after") == []


async def acknowledged(client: Client, text: str) -> bool:
    """Whether a message that is sent again under its key is acknowledged."""
    answer = await client.ask({"type": "publish", "key": text, "envelope": {"message": text}})
    return answer.get("type") == "ack"
