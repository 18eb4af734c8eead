"""Workers that stand still for a moment, as on a busy machine: their clients wait, and are not told of Redis."""

import asyncio
import signal

from tests.conftest import MakeRelay
from tests.fleet import QUICK, Client, Relay, eventually

LONGER = max(QUICK["worker_lease"], QUICK["probe_timeout"], QUICK["publish_timeout"]) + 0.5

CLIENTS = 10


async def joins(relay: Relay, round_: int) -> list[str]:
    """Let clients connect at the same time, each to a room of its own; return the types of their first frames."""
    clients = [Client.open(f"{relay.ws}/rooms/room{round_}-{number}") for number in range(CLIENTS)]
    opened = await asyncio.gather(*clients)
    for client in opened:
        client.lose()
    return [client.welcome["type"] for client in opened]


async def test_clients_that_come_to_a_worker_that_stands_still_wait_for_it(start: MakeRelay, redis_url, prefix) -> None:
    relay = await start(redis_url=redis_url, redis_prefix=prefix)
    for round_ in range(3):
        relay.signal(signal.SIGSTOP)
        coming = asyncio.create_task(joins(relay, round_))
        await asyncio.sleep(LONGER)
        relay.signal(signal.SIGCONT)
        # They are served ahead of the worker's own probe, and of the heartbeat that begins another lease.
        assert await coming == ["welcome"] * CLIENTS
    assert await relay.metric("relay_redis_reconnects_total") == 0
    assert "lease had lapsed" in relay.logged


async def test_a_message_of_a_member_whose_worker_stood_still_is_published(start: MakeRelay, redis_url, prefix) -> None:
    """The other worker has let the member leave meanwhile; the message comes ahead of the heartbeat."""
    settings = {"redis_url": redis_url, "redis_prefix": prefix}
    standing, other = await start(**settings), await start(**settings)
    listener = await Client.open(f"{other.ws}/rooms/room")
    for round_ in range(3):
        sender = await Client.open(f"{standing.ws}/rooms/room")
        standing.signal(signal.SIGSTOP)
        await eventually(lambda: _is_alone(other))
        for number in range(3):
            await sender.send({"message": [round_, number], "key": f"{round_}-{number}"})
        standing.signal(signal.SIGCONT)
        for number in range(3):
            heard = (await listener.until(lambda event: event.get("message") or event.get("code")))[-1]
            assert heard["message"] == [round_, number]
        answers = [event["type"] for event in await sender.all_up_to_now() if "key" in event]
        assert answers == ["ack"] * 3
        await sender.close()


async def _is_alone(relay: Relay) -> bool:
    return (await relay.describe("room"))["count"] == 1
