"""Copies of rules: made, followed, given back."""

import asyncio
from typing import Any

import pytest

from relay.backend.rules import StoredRules, write_rules
from relay.model.envelope import MessageId
from relay.model.errors import Unavailable
from relay.model.events import RulesChanged
from relay.model.rules import RoomRules
from relay.rooms.rule_copies import RuleCopies
from relay.tasks import BackgroundTasks

OLD, NEW = StoredRules(version=1, max_members=3), StoredRules(version=2, locked=True)


class FakeStore:
    def __init__(self) -> None:
        self.rules: dict[str, StoredRules] = {}
        self.kept: dict[str, StoredRules] = {}
        self.restored: list[str] = []
        self.failures = 0

    async def read(self, room: str) -> StoredRules | None:
        return self.rules.get(room)

    def restore(self, room: str, rules: StoredRules) -> Any:
        self.restored.append(room)
        known = self.rules.get(room)
        future: asyncio.Future[StoredRules] = asyncio.get_running_loop().create_future()
        if self.failures:
            self.failures -= 1
            future.set_exception(Unavailable())
            return future
        if known is None or known.version < rules.version:
            self.rules[room] = rules
        future.set_result(self.rules[room])
        return future

    def keep(self, room: str, rules: StoredRules | None) -> None:
        if rules is None:
            del self.kept[room]
        else:
            self.kept[room] = rules


class Scene:
    def __init__(self) -> None:
        self.store, self.tasks = FakeStore(), BackgroundTasks()
        self.ours, self.occupied = {"r"}, {"r"}
        self.newer: list[tuple[str, RoomRules]] = []
        self.copies = RuleCopies(
            self.store,
            self.tasks,
            is_ours=lambda room: room in self.ours,
            has_members=lambda room: room in self.occupied,
            on_newer=lambda room, rules: self.newer.append((room, rules)),
        )

    def note(self, rules: StoredRules, room: str = "r") -> bool:
        return self.copies.note(RulesChanged(room, MessageId(1, 1), rules.public, stored=write_rules(rules)))

    async def finish(self) -> None:
        async with asyncio.timeout(5):
            while len(self.tasks):
                await asyncio.sleep(0)


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_a_copy_follows_the_events(scene: Scene) -> None:
    scene.copies.learn("r", OLD)
    assert scene.store.kept == {"r": OLD}
    assert scene.note(NEW)
    assert not scene.note(OLD)
    assert scene.copies.get("r") == NEW
    assert scene.copies.version("r") == 2
    assert len(scene.copies) == 1


async def test_members_are_told_of_rules_that_a_join_has_brought_first(scene: Scene) -> None:
    scene.copies.learn("r", OLD)
    scene.copies.learn("r", NEW)
    assert scene.note(NEW)
    # The bans have changed, and nothing that members see.
    assert not scene.note(StoredRules(version=3, locked=True, made=True))


async def test_rules_of_other_rooms_are_not_kept(scene: Scene) -> None:
    assert scene.note(OLD, "elsewhere")
    assert len(scene.copies) == 0


async def test_a_copy_ends_with_the_last_one_here(scene: Scene) -> None:
    scene.copies.learn("r", OLD)
    scene.copies.drop(["r", "other"])
    assert scene.store.kept
    scene.occupied.clear()
    scene.ours.clear()
    scene.copies.drop(["r"])
    assert not scene.store.kept
    scene.copies.forget("r")
    assert scene.copies.version("r") == 0


async def test_rules_are_given_back_and_newer_ones_taken_over(scene: Scene) -> None:
    scene.copies.learn("r", OLD)
    scene.copies.restore_all()
    assert scene.store.restored == ["r"]
    await scene.finish()
    assert scene.store.rules == {"r": OLD}
    scene.store.rules["r"] = NEW
    await scene.copies.restore("r")
    assert scene.copies.get("r") == NEW
    assert scene.newer == [("r", NEW.public)]
    assert not scene.note(NEW)


@pytest.mark.parametrize(("failures", "restored"), [(2, True), (5, False)])
async def test_an_attempt_that_fails_is_repeated(
    scene: Scene, failures: int, restored: bool, caplog: pytest.LogCaptureFixture
) -> None:
    scene.copies.learn("r", OLD)
    scene.store.failures = failures
    scene.copies.refresh(["r"])
    await scene.finish()
    assert bool(scene.store.rules) is restored
    assert ("could not be given back" in caplog.text) is not restored


async def test_rules_are_read_where_there_is_no_copy(scene: Scene) -> None:
    scene.store.rules |= {"r": OLD, "elsewhere": NEW}
    scene.copies.refresh(["r", "elsewhere"])
    await scene.finish()
    assert scene.copies.get("r") == OLD
    assert len(scene.copies) == 1
    assert scene.copies.is_ours("r")


async def test_with_observers_alone_a_copy_only_counts_when_data_was_lost(scene: Scene) -> None:
    """The rules may have ended with the last member, on another worker."""
    scene.occupied.clear()
    scene.copies.learn("r", OLD)
    assert (scene.copies.version("r"), scene.store.kept) == (0, {})
    scene.copies.restore_all()
    await scene.finish()
    assert scene.store.rules == {"r": OLD}
    scene.occupied.add("r")
    scene.copies.learn("r", NEW)
    assert (scene.copies.version("r"), scene.store.kept) == (2, {"r": NEW})
    scene.occupied.clear()
    scene.copies.drop(["r"])
    assert (scene.copies.version("r"), scene.store.kept, len(scene.copies)) == (0, {}, 1)
