"""A master that fails, with real sentinels: members stay, and their messages arrive afterwards."""

import signal
from collections.abc import AsyncIterator

import pytest

from tests.conftest import MakeClient, MakeRelay
from tests.fleet import Client, Relay, eventually
from tests.sentinels import SentinelSet

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
    await sentinels.ask_for_failover()
    await sentinels.failed_over()
    await talk(ann, ben, relays, "after")
    await talk(ben, ann, relays, "answer")
