import time

import pytest

from relay.backend.memory.presence import MemoryLeases, MemoryPresence
from relay.backend.memory.state import MemoryRooms
from relay.backend.presence import ADOPTION_BATCH, JoinAttempt, LeaseName, PresenceEntry
from relay.backend.settings import HistorySettings, LeaseSettings, RoomSettings
from relay.model.errors import Refused

LEASE = LeaseSettings(duration=10, interval=0.5, grace=15)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class World:
    def __init__(self) -> None:
        self.clock = Clock()
        self.rooms = MemoryRooms(self.clock, time.time, HistorySettings())

    def worker(self, name: str) -> tuple[MemoryPresence, MemoryLeases, LeaseName]:
        lease = LeaseName(name)
        return MemoryPresence(self.rooms, lease, RoomSettings()), MemoryLeases(self.rooms, lease, LEASE), lease


def attempt(room: str = "room", peer: str = "peer", **more) -> JoinAttempt:
    return JoinAttempt(room=room, peer=peer, **{"offered": "", "fresh": "f"} | more)


async def test_an_attempt_that_may_only_resume_creates_no_room() -> None:
    world = World()
    presence, _, _ = world.worker("w")
    with pytest.raises(Refused) as refused:
        await presence.join(attempt(offered="f", resume_only=True))
    assert refused.value.code == "not_joined"
    assert world.rooms.peek("room") is None


async def test_a_takeover_by_announcement_raises_the_generation() -> None:
    world = World()
    presence, _, _ = world.worker("w")
    joined = await presence.join(attempt())
    newer = PresenceEntry("room", "peer", joined.generation + 1, "g")
    assert list(await presence.announce([newer])) == []
    assert world.rooms.room("room").seq == joined.id.seq + 1
    assert list(await presence.announce([PresenceEntry("room", "peer", joined.generation, "f")])) != []


async def test_a_leave_is_refused_for_another_generation_key_lease_or_room() -> None:
    world = World()
    presence, _, _ = world.worker("w")
    other, _, _ = world.worker("other")
    joined = await presence.join(attempt())
    entry = PresenceEntry("room", "peer", joined.generation)
    assert not await other.leave(entry)
    assert not await presence.leave(PresenceEntry("elsewhere", "peer", joined.generation))
    assert not await presence.leave(PresenceEntry("room", "peer", joined.generation + 1))
    assert not await presence.leave(PresenceEntry("room", "peer", 0, "another key"))
    assert await presence.leave(PresenceEntry("room", "peer", 0, "f"))


async def test_a_hold_ends_a_grace_time_after_the_dead_worker_was_last_alive() -> None:
    world = World()
    presence, leases, lease = world.worker("dead")
    _, survivor, _ = world.worker("survivor")
    await leases.beat()
    for number in range(ADOPTION_BATCH + 1):
        await presence.join(attempt(room=f"room{number:03}"))
    world.clock.now += 12
    assert list((await survivor.beat()).dead) == [str(lease)]
    batches = [batch async for batch in survivor.adopt(str(lease))]
    assert [len(batch) for batch in batches] == [ADOPTION_BATCH, 1]
    assert {held.seconds for batch in batches for held in batch} == {15 + 0.5 - 12}


async def test_an_unknown_lease_has_nothing_to_adopt_and_forgetting_it_does_no_harm() -> None:
    world = World()
    presence, leases, _ = world.worker("w")
    await presence.join(attempt())
    assert [batch async for batch in leases.adopt("unknown")] == []
    await leases.forget("unknown")
    await leases.touch({"room": ""}, ["other"])


async def test_a_lease_that_never_began_cannot_be_retired() -> None:
    world = World()
    _, leases, lease = world.worker("w")
    await leases.retire()
    assert world.rooms.leases == {}
    await leases.beat()
    await leases.retire()
    _, survivor, _ = world.worker("survivor")
    status = await survivor.beat()
    assert (list(status.dead), set(status.retired)) == ([str(lease)], {str(lease)})
    await survivor.forget(str(lease))
    assert not (await survivor.beat()).dead
