"""Workers that stand still for a moment, as on a busy machine: their clients wait, and are not told of Redis."""

import asyncio
import signal

from tests.conftest import MakeRelay
from tests.fleet import QUICK, Client, Relay

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
