"""Rooms in memory: what is forgotten, and when."""

import pytest

from relay.backend.memory.presence import MemoryLeases, MemoryPresence
from relay.backend.memory.state import MemoryRooms
from relay.backend.presence import JoinAttempt, LeaseName
from relay.backend.settings import HistorySettings, LeaseSettings, RoomSettings
from relay.model.envelope import BEFORE_ALL
from relay.model.errors import Refused
from relay.model.events import MemberJoined

ROOMS, LEASE = RoomSettings(), LeaseSettings()


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_a_silent_room_forgets_its_log_though_somebody_is_in_it() -> None:
    clock = Clock()
    rooms = MemoryRooms(clock, clock, HistorySettings(ttl=60))
    presence, leases = MemoryPresence(rooms, LeaseName("w"), ROOMS), MemoryLeases(rooms, LeaseName("w"), LEASE)
    await presence.join(JoinAttempt(room="room", peer="peer", offered="", fresh="f"))
    state = rooms.room("room")
    for _ in range(3):
        rooms.emit(MemberJoined("room", state.next_id(), "x"))
    clock.now += 59
    await leases.beat()
    assert len(state.history) == 4
    clock.now += 5
    await leases.beat()
    assert len(state.history) == 0
    assert state.id > BEFORE_ALL
    assert "peer" in state.members


async def test_who_only_comes_back_begins_no_room() -> None:
    clock = Clock()
    rooms = MemoryRooms(clock, clock, HistorySettings())
    presence = MemoryPresence(rooms, LeaseName("w"), ROOMS)
    with pytest.raises(Refused) as refused:
        await presence.join(JoinAttempt(room="room", peer="peer", offered="f", fresh="g", resume_only=True))
    assert refused.value.code == "not_joined"
    assert rooms.peek("room") is None
