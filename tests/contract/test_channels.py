"""The contract of `RecentChannels`, for every backend."""

import time

import pytest

from relay.backend.channels import MOST_CHANNELS
from relay.backend.redis.clock import RedisClock
from tests.contract.conftest import MakeWorker


async def test_a_channel_is_known_to_all_workers(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    for channel in ("chess", "a b", "☃" * 600, "\ud800"):
        a.channels.note("room", channel)
        # After the reply to a later command, Redis has it.
        await a.presence.roster("room", 0)
        assert await b.channels.used("room", channel)
        assert not await b.channels.used("room", channel + "x")
        assert not await b.channels.used("elsewhere", channel)


async def test_the_channels_that_were_used_last_are_remembered(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    for number in range(2 * MOST_CHANNELS):
        worker = a if number % 2 else b
        worker.channels.note("room", f"c{number}")
        await worker.presence.roster("room", 0)
    used = {number for number in range(2 * MOST_CHANNELS) if await a.channels.used("room", f"c{number}")}
    assert len(used) == MOST_CHANNELS
    # Those that are noted in one moment have no order.
    assert set(range(MOST_CHANNELS + 20, 2 * MOST_CHANNELS)) <= used


@pytest.mark.parametrize("backend", ["fakeredis", "redis", "cluster"], indirect=True)
async def test_a_worker_whose_estimate_of_the_time_is_late_does_not_lose_its_channels(
    make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine, a worker reads the time of Redis late, and takes it for one of the past."""
    a, b = await make_worker("a"), await make_worker("b")
    for number in range(MOST_CHANNELS):
        b.channels.note("room", f"c{number}")
    await b.presence.roster("room", 0)
    monkeypatch.setattr(RedisClock, "now", property(lambda clock: round(time.time() * 1000) - 900))
    a.channels.note("room", "new")
    await a.presence.roster("room", 0)
    assert await a.channels.used("room", "new")
