"""The contract of `RecentChannels`, for every backend."""

from relay.backend.channels import MOST_CHANNELS
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
    used = [number for number in range(2 * MOST_CHANNELS) if await a.channels.used("room", f"c{number}")]
    # Redis's time is estimated by each worker: two that were noted in one moment may change places.
    assert len(used) == MOST_CHANNELS
    assert set(range(MOST_CHANNELS + 20, 2 * MOST_CHANNELS - 20)) <= set(used)
