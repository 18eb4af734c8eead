"""Trees of rooms, for the sessions of a worker."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from relay.backend.memory.trees import MemoryTrees
from relay.backend.memory.usage import MemoryAddressUsage
from relay.backend.presence import HeldMember
from relay.backend.trees import Ended
from relay.limits import Clock
from relay.model.errors import Refused, Replaced, Unavailable
from relay.model.tree_changes import PathWrite, Prepared, TreeChange
from relay.model.tree_envelopes import set_envelope
from relay.rooms import trees as module
from relay.rooms.fan_out import FanOut
from relay.rooms.quotas import Quotas
from relay.rooms.trees import RoomTrees
from tests.unit.rooms.world import World

CHANGE = TreeChange([PathWrite("a", {"a": b"1"})], set_envelope("a", 1))


class Refusing(MemoryTrees):
    """Fails as often as the test says, when changes are to be made at the end of a connection."""

    failures = 0
    cut_off = False
    """Whether the worker of the members fails, and another one does not."""

    def finish(self, room: str, ended: Sequence[Ended], **named: Any) -> Any:
        if self.failures or (self.cut_off and ended[0] != Ended(ended[0].peer, 0)):
            self.failures = max(0, self.failures - 1)
            failed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            failed.set_exception(Unavailable())
            return failed
        return super().finish(room, ended, **named)


@pytest.fixture
def backend(world: World) -> Refusing:
    return Refusing(world.backend)


@pytest.fixture
def trees(world: World, backend: Refusing) -> RoomTrees:
    clock: Clock = lambda: world.now  # noqa: E731
    fan_out = FanOut(rate=1000, clock=clock, metrics=world.metrics)
    usage = MemoryAddressUsage(lambda: 0.0)
    quotas = Quotas("trees", 10, usage, use="bytes of trees", setting="address-tree-bytes", length=60_000)
    return RoomTrees(backend, world.hub, world.announcer, fan_out, world.tasks, quotas, ttl=60)


async def leaves(trees: RoomTrees) -> Any:
    return (await trees.read("room", "")).leaves


async def test_a_writer_that_redis_has_lost_is_announced_and_writes(world: World, trees: RoomTrees) -> None:
    member = await world.join("a")
    del world.entries()["a"]
    await trees.write(member, CHANGE)
    assert await leaves(trees) == [("a", b"1")]
    assert await world.roster() == [("a", False)]


async def test_a_writer_that_was_taken_over_is_closed(world: World, trees: RoomTrees) -> None:
    member = await world.join("a")
    world.entries()["a"].generation += 1
    with pytest.raises(Replaced):
        await trees.write(member, CHANGE)
    assert member.connection.reason is not None


async def test_the_end_of_a_connection_is_written_also_after_redis_was_away(
    world: World, trees: RoomTrees, backend: Refusing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RETRY", 0)
    member = await world.join("a")
    await trees.prepare(member, Prepared([CHANGE]))
    backend.failures = 2
    trees.finish(member, Prepared([CHANGE]))
    await world.membership.leave(member, hold=False)
    async with asyncio.timeout(5):
        while len(world.tasks):
            await asyncio.sleep(0)
    assert await leaves(trees) == [("a", b"1")]


async def test_changes_that_were_made_for_a_client_that_is_back_are_not_made_again(
    world: World, trees: RoomTrees, backend: Refusing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last worker was cut off from Redis, and tries them again after it has written on another worker."""
    monkeypatch.setattr(module, "_RETRY", 0)
    member = await world.join("a")
    removal = Prepared([TreeChange([PathWrite("a", {})], set_envelope("a", None))])
    await trees.write(member, CHANGE)
    await trees.prepare(member, removal)
    backend.cut_off = True
    trees.finish(member, removal)
    # On the other worker.
    await trees.finish_last("room", "a")
    assert await leaves(trees) == []
    await world.membership.leave(member, hold=False)
    await trees.write_from_outside("room", CHANGE, "b", "")
    backend.cut_off = False
    async with asyncio.timeout(5):
        while len(world.tasks):
            await asyncio.sleep(0)
    assert await leaves(trees) == [("a", b"1")]


async def test_changes_without_a_right_are_forgotten_also_after_redis_was_away(
    world: World, trees: RoomTrees, backend: Refusing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RETRY", 0)
    member = await world.join("a")
    await trees.prepare(member, Prepared([CHANGE]))
    backend.failures = 1
    trees.finish(member, Prepared([CHANGE], until=1))
    await world.membership.leave(member, hold=False)
    async with asyncio.timeout(5):
        while len(world.tasks):
            await asyncio.sleep(0)
    await trees.finish_last("room", "a")
    assert await leaves(trees) == []


async def test_members_of_a_dead_worker_have_their_changes_made(world: World, trees: RoomTrees) -> None:
    member = await world.join("a")
    await trees.prepare(member, Prepared([CHANGE]))
    await trees.take_over([HeldMember("room", "a", member.generation, 5.0), HeldMember("other", "b", 1, 5.0)])
    assert await leaves(trees) == [("a", b"1")]


async def test_an_address_writes_so_many_bytes_and_may_remove_more(world: World, trees: RoomTrees) -> None:
    member = await world.join("a")
    member.address = "10.0.0.1"
    value = TreeChange([PathWrite("a", {"a": b"123456789"})], set_envelope("a", 123456789))
    await trees.write(member, value)
    with pytest.raises(Refused, match="too_many_tree_bytes"):
        await trees.write(member, value)
    with pytest.raises(Refused, match="too_many_tree_bytes"):
        await trees.write_from_outside("other", value, "b", "10.0.0.1")
    await trees.write_from_outside("other", value, "b", "10.0.0.2")
    await trees.write(member, TreeChange([PathWrite("a", {})], set_envelope("a", None)))
    assert await leaves(trees) == []
    with pytest.raises(Refused, match="too_many_tree_bytes"):
        await trees.prepare(member, Prepared([value]), grown=value.written_size)
    await trees.prepare(member, Prepared([]))


async def test_changes_that_take_redis_long_are_made_one_after_the_other(
    world: World, trees: RoomTrees, backend: Refusing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty of them at once would keep Redis from all others for as long as twenty take."""
    member, write, running = await world.join("a"), backend.write, list[int]()
    wide = TreeChange([PathWrite("a", {f"a/k{number}": b"1" for number in range(100)})], set_envelope("a", 1))

    async def slow(*arguments: Any, **named: Any) -> Any:
        running.append(1)
        assert len(running) == 1
        await asyncio.sleep(0)
        running.clear()
        return await write(*arguments, **named)

    monkeypatch.setattr(backend, "write", slow)
    await asyncio.gather(*(trees.write(member, wide) for _ in range(5)))
    async with asyncio.timeout(5), trees._turn:
        pass  # the rest is over
    monkeypatch.setattr(module, "_LONGEST_TURN", 0)
    async with trees._turn:
        with pytest.raises(Unavailable):
            await trees.write(member, wide)
        # Others do not wait.
        await trees.write(member, CHANGE)
    await trees.write(member, wide)


async def test_a_room_counts_the_frames_of_clients_that_listen_at_many_paths(
    world: World, trees: RoomTrees, monkeypatch: pytest.MonkeyPatch
) -> None:
    member, waited = await world.join("a"), list[float]()
    await trees.write(member, CHANGE)
    trees.note_frames("room", 1)
    assert world.hub.rooms.get("room").budget is None  # type: ignore[union-attr]
    trees.note_frames("room", 3001)

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    await trees.write(member, CHANGE)
    assert waited == [pytest.approx(2.0, abs=0.01)]
