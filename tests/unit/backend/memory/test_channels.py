"""Recent channels in memory: bounded for each room, in number and time, and in the number of rooms."""

import pytest

from relay.backend.channels import MOST_CHANNELS
from relay.backend.memory import channels
from relay.backend.memory.channels import MemoryRecentChannels


async def test_the_channels_of_a_room_are_bounded_in_number_and_time() -> None:
    now = 100.0
    recent = MemoryRecentChannels(ttl=10, clock=lambda: now)
    for number in range(MOST_CHANNELS + 1):
        recent.note("room", str(number))
    assert [await recent.used("room", name) for name in ("0", "1", str(MOST_CHANNELS))] == [False, True, True]
    now += 11
    assert not await recent.used("room", "1")


async def test_the_rooms_that_used_a_channel_last_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "_MOST_ROOMS", 2)
    recent = MemoryRecentChannels(ttl=10, clock=lambda: 0.0)
    for room in ("a", "b", "a", "c"):
        recent.note(room, "chess")
    assert [await recent.used(room, "chess") for room in "abc"] == [True, False, True]
