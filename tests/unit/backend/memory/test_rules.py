"""Rules in memory, in which time passes as the test says; tests/contract has the rest."""

from relay.backend.memory.presence import MemoryPresence
from relay.backend.memory.rules import MemoryRoomRules
from relay.backend.memory.state import MemoryRooms
from relay.backend.presence import JoinAttempt, LeaseName, PresenceEntry
from relay.backend.rules import Change, StoredRules
from relay.backend.settings import HistorySettings, RoomSettings


class Scene:
    def __init__(self) -> None:
        self.now = 100.0
        settings = RoomSettings(rules_ttl=50)
        self.rooms = MemoryRooms(lambda: self.now, lambda: self.now, HistorySettings())
        self.rules = MemoryRoomRules(self.rooms, settings)
        self.presence = MemoryPresence(self.rooms, LeaseName("w"), settings)


async def test_rules_are_forgotten_some_time_after_the_last_member_has_left() -> None:
    scene = Scene()
    joined = await scene.presence.join(JoinAttempt(room="r", peer="p", offered="", fresh="f"))
    await scene.rules.change("r", Change(set="l=1"))
    scene.now += 1000
    assert await scene.rules.read("r") is not None
    await scene.presence.leave(PresenceEntry("r", "p", joined.generation))
    scene.now += 49
    assert await scene.rules.read("r") is not None
    scene.now += 2
    assert await scene.rules.read("r") is None


async def test_rules_of_rooms_that_nobody_joined_do_not_pile_up() -> None:
    scene = Scene()
    for number in range(100):
        await scene.rules.change(f"r{number}", Change(set="t=5"), create=True)
    scene.now += 60
    scene.rooms.forget_expired()
    assert not scene.rooms.rules
    assert not scene.rooms.rule_ends


async def test_older_rules_are_not_restored() -> None:
    scene = Scene()
    rules = await scene.rules.change("r", Change(set="l=1"), create=True)
    assert await scene.rules.restore("r", StoredRules(version=1)) == rules
    newer = StoredRules(version=rules.version + 1, max_members=2)
    assert await scene.rules.restore("r", newer) == newer
