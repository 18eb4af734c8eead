"""Rooms in memory: what is forgotten, and when."""

import pytest

from relay.backend.memory.presence import MemoryLeases, MemoryPresence
from relay.backend.memory.state import MemoryRooms
from relay.backend.presence import LeaseName, Terms
from relay.limits import LogTerms
from relay.model.envelope import BEFORE_ALL
from relay.model.errors import Refused
from relay.model.events import MemberJoined

TERMS = Terms(10, 15, 0.5, 3600, 3600, 100, 100)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_a_silent_room_forgets_its_log_though_somebody_is_in_it() -> None:
    clock = Clock()
    rooms = MemoryRooms(clock, clock, LogTerms(age=60))
    presence, leases = MemoryPresence(rooms, LeaseName("w"), TERMS), MemoryLeases(rooms, LeaseName("w"), TERMS)
    await presence.join("room", "peer", offered="", fresh="f", roster=False)
    state = rooms.room("room")
    for _ in range(3):
        rooms.emit(MemberJoined("room", state.next_id(), "x"))
    clock.now += 59
    await leases.beat()
    assert len(state.log) == 4
    clock.now += 5
    await leases.beat()
    assert len(state.log) == 0
    assert state.id > BEFORE_ALL
    assert "peer" in state.places


async def test_who_only_comes_back_begins_no_room() -> None:
    clock = Clock()
    rooms = MemoryRooms(clock, clock, LogTerms())
    presence = MemoryPresence(rooms, LeaseName("w"), TERMS)
    with pytest.raises(Refused) as refused:
        await presence.join("room", "peer", offered="f", fresh="g", roster=False, back=True)
    assert refused.value.code == "not_joined"
    assert rooms.peek("room") is None
