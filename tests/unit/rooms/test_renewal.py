"""Renewing the rooms' time to live, a share each round."""

import asyncio

import pytest

from relay.backend.presence import HeldMember, Touched
from relay.model.errors import OutcomeUnknown, RelayError, Unavailable
from relay.rooms.renewal import RoomRenewal
from tests.unit.rooms.world import World


class FakeLeases:
    def __init__(self) -> None:
        self.touched: list[tuple[list[str], list[str]]] = []
        self.failures: list[Exception] = []
        self.lost: set[str] = set()
        self.rich: set[str] = set()
        self.reported: list[str] = []
        self.vacant: list[str] = []
        self.away: asyncio.Event | None = None
        self.failed: set[str] = set()

    async def touch(self, rooms, left=()) -> Touched:
        if self.away is not None:
            await self.away.wait()
        if self.failures:
            raise self.failures.pop()
        if rooms or left:
            self.touched.append((list(rooms), list(left)))
        vacant, self.vacant = self.vacant, []
        return Touched(
            [room for room in rooms if room in self.lost],
            [room for room in rooms if room in self.rich],
            vacant,
            [room for room in rooms if room in self.failed],
        )


def renewal_of(world: World, leases: FakeLeases, rounds: float) -> RoomRenewal:
    return RoomRenewal(
        world.rooms,
        world.departures,
        leases,
        rounds=rounds,
        metrics=world.metrics,
        on_lost=leases.reported.append,
    )


async def test_a_room_that_has_lost_the_entry_of_a_connected_member_for_some_rounds_is_reported(world: World) -> None:
    leases = FakeLeases()
    for room in ("lost", "whole"):
        await world.join(room=room)
    world.rooms.stage(world.member(room="joining"))
    world.departures.take_over([HeldMember("departing", "p", 1, 1.0)])
    await asyncio.sleep(0)
    leases.lost = {"lost", "departing", "joining"}
    renewal = renewal_of(world, leases, 8)
    await renewal.renew([])
    for _ in range(3):
        await renewal.renew([])
    rounds = [number for number in range(9) if not await renewal.renew([]) and leases.reported]
    assert (leases.reported[:1], set(leases.reported)) == (["lost"], {"lost"})
    assert rounds[0] < 6


async def test_a_room_whose_events_are_not_in_the_queue_is_not_given_up(world: World) -> None:
    leases, unmoved = FakeLeases(), {"room"}
    renewal = RoomRenewal(world.rooms, world.departures, leases, rounds=2, metrics=world.metrics, unmoved=unmoved)
    await renewal.renew(["room", "other"])
    unmoved.clear()
    await renewal.renew(["room"])
    assert leases.touched == [([], ["other"]), ([], ["room"])]


async def test_a_member_that_left_or_was_announced_meanwhile_was_not_lost(world: World) -> None:
    leases, later = FakeLeases(), {}
    for room in ("left", "announced", "again"):
        later[room] = await world.join(room=room)
    await asyncio.sleep(0)
    leases.lost = set(later)
    renewal = renewal_of(world, leases, 2)
    await renewal.renew([])
    await renewal.renew([])
    leases.lost.remove("announced")
    await world.membership.leave(later["left"], hold=False)
    await world.membership.leave(later["again"], hold=False)
    await world.join(room="again")
    await renewal.renew([])
    leases.lost = {"announced"}
    await renewal.renew([])
    assert leases.reported == []


async def test_every_room_is_renewed_once_in_half_of_its_time_evenly(world: World) -> None:
    leases = FakeLeases()
    for number in range(60):
        world.rooms.stage(world.member(room=f"r{number}"))
    world.departures.take_over([HeldMember(f"r{number}", "p", 1, 1.0) for number in range(50, 100)])
    renewal = renewal_of(world, leases, rounds=40)
    for _ in range(20):
        await renewal.renew([])
    sizes = [len(rooms) for rooms, _ in leases.touched]
    assert (sum(sizes), max(sizes)) == (100, 5)
    assert {room for rooms, _ in leases.touched for room in rooms} == {f"r{number}" for number in range(100)}
    assert world.metric("relay_room_ttl_renewals_total") == 100


async def test_a_room_that_begins_at_any_time_is_renewed_within_half_of_its_time(world: World) -> None:
    leases, began, renewed = FakeLeases(), dict[str, int](), dict[str, int]()
    renewal = renewal_of(world, leases, rounds=40)
    for number in range(100):
        world.rooms.stage(world.member(room=f"old{number}"))
    for number in range(80):
        world.rooms.stage(world.member(room=f"new{number}"))
        began[f"new{number}"] = number
        await renewal.renew([])
        for room in leases.touched[-1][0]:
            renewed.setdefault(room, number)
    waited = [renewed.get(room, 80) - number for room, number in began.items() if number < 60]
    assert max(waited) <= 20


async def test_rooms_that_stay_when_most_others_end_are_renewed_within_half_of_their_time(world: World) -> None:
    leases = FakeLeases()
    renewal = renewal_of(world, leases, rounds=40)
    members = [world.member(room=f"r{number}") for number in range(100)]
    for member in members:
        world.rooms.stage(member)
    for _ in range(21):
        await renewal.renew([])
    for member in members[:90]:
        world.rooms.remove(member)
    leases.touched.clear()
    for _ in range(21):
        await renewal.renew([])
    assert {room for rooms, _ in leases.touched for room in rooms} == {f"r{number}" for number in range(90, 100)}


async def test_observers_renew_no_room_and_do_not_keep_one_from_being_left(world: World) -> None:
    leases = FakeLeases()
    await world.observe(room="observed")
    world.rooms.stage(world.member(room="joined"))
    renewal = renewal_of(world, leases, rounds=2)
    for _ in range(3):
        await renewal.renew(["observed", "joined"])
    assert leases.touched == [(["joined"], ["observed"])] * 3


async def test_nothing_is_sent_without_rooms(world: World) -> None:
    leases = FakeLeases()
    await renewal_of(world, leases, 60).renew([])
    assert leases.touched == []


async def test_rooms_that_fell_idle_are_left_unless_they_have_members_again(world: World) -> None:
    leases = FakeLeases()
    world.rooms.stage(world.member(room="back"))
    world.departures.take_over([HeldMember("held", "p", 1, 1.0)])
    await renewal_of(world, leases, 6000).renew(["left", "back", "held"])
    assert leases.touched == [([], ["left"])]


async def test_a_room_that_was_to_be_left_in_a_round_that_failed_is_left_in_the_next_one(world: World) -> None:
    leases = FakeLeases()
    renewal = renewal_of(world, leases, 6000)
    leases.failures = [OutcomeUnknown(), Unavailable()]
    for idle in (["left", "back"], ["other"]):
        with pytest.raises(RelayError):
            await renewal.renew(idle)
    world.rooms.stage(world.member(room="back"))
    await renewal.renew([])
    await renewal.renew([])
    assert leases.touched == [([], ["left", "other"])]


async def test_rooms_that_a_takeover_has_registered_are_left_unless_they_have_members(world: World) -> None:
    leases = FakeLeases()
    world.rooms.stage(world.member(room="here"))
    world.departures.take_over([HeldMember("held", "p", 1, 1.0)])
    renewal = renewal_of(world, leases, 6000)
    leases.vacant = ["gone", "here", "held"]
    await renewal.renew([])
    await renewal.renew([])
    assert leases.touched == [([], ["gone"])]


async def test_rooms_of_a_round_that_failed_are_renewed_with_the_next_ones(world: World) -> None:
    leases = FakeLeases()
    for number in range(60):
        world.rooms.stage(world.member(room=f"r{number}"))
    renewal = renewal_of(world, leases, rounds=40)
    leases.failures = [Unavailable() for _ in range(8)]
    for _ in range(8):
        with pytest.raises(Unavailable):
            await renewal.renew([])
    for _ in range(12):
        await renewal.renew([])
    sizes = [len(rooms) for rooms, _ in leases.touched]
    assert {room for rooms, _ in leases.touched for room in rooms} == {f"r{number}" for number in range(60)}
    assert max(sizes) <= 3 + 16


async def test_a_room_that_the_backend_wants_again_is_renewed_in_the_next_round_unless_nobody_is_in_it(
    world: World,
) -> None:
    leases = FakeLeases()
    for room in ("one", "two", "left"):
        await world.join(room=room)
    member = world.rooms.first_member("left")
    assert member is not None
    leases.rich = {"one", "left"}
    renewal = renewal_of(world, leases, rounds=2)
    await renewal.renew([])
    leases.rich, leases.touched = set(), []
    await world.membership.leave(member, hold=False)
    renewal._owed = -10.0
    await renewal.renew([])
    assert leases.touched == [(["one"], [])]


async def test_a_round_looks_at_few_rooms_however_many_there_are(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    leases, looks = FakeLeases(), list[str]()
    for number in range(1000):
        world.rooms.stage(world.member(room=f"r{number}"))
    world.departures.take_over([HeldMember(f"held{number}", "p", 1, 1.0) for number in range(1000)])
    renewal = renewal_of(world, leases, rounds=400)
    await renewal.renew([])
    original = renewal._is_occupied

    def look(room: str) -> bool:
        looks.append(room)
        return original(room)

    monkeypatch.setattr(renewal, "_is_occupied", look)
    await renewal.renew([])
    assert len(leases.touched[-1][0]) == 10
    assert len(set(looks)) == 10


async def test_a_member_that_joins_observers_renews_its_room_within_half_of_its_time(world: World) -> None:
    leases = FakeLeases()
    await world.observe(room="observed")
    renewal = renewal_of(world, leases, rounds=8)
    for _ in range(9):
        await renewal.renew([])
    assert leases.touched == []
    world.rooms.stage(world.member(room="observed"))
    for _ in range(4):
        await renewal.renew([])
    assert leases.touched == [(["observed"], [])]


async def test_rooms_that_have_ended_are_forgotten(world: World) -> None:
    leases = FakeLeases()
    renewal = renewal_of(world, leases, rounds=8)
    staged = [world.member(room=f"r{number}") for number in range(3)]
    for member in staged:
        world.rooms.stage(member)
    await renewal.renew([])
    world.rooms.stage(soon := world.member(room="soon"))
    for member in (*staged, soon):
        world.rooms.remove(member)
    assert world.rooms.begun == {}
    for _ in range(8):
        await renewal.renew([])
    assert (leases.touched, renewal._queue) == ([], {})


async def test_rooms_that_fail_alone_are_renewed_again_and_those_of_others_are_not(world: World) -> None:
    leases = FakeLeases()
    for room in ("refused", "whole"):
        await world.join(room=room)
    renewal = renewal_of(world, leases, 2)
    leases.failed = {"refused"}
    before = renewals(world)
    await renewal.renew([])
    assert renewals(world) == before + 1
    renewal = renewal_of(world, leases, 1e9)
    leases.touched.clear()
    world.rooms.begun.update({"refused": None, "whole": None})
    await renewal.renew([], 5 * 10**8)
    leases.failed.clear()
    for _ in range(2):
        await renewal.renew([])
    assert [rooms for rooms, _ in leases.touched] == [["refused", "whole"], ["refused"]]


def renewals(world: World) -> float:
    """How many renewals of rooms were counted."""
    return world.metrics.room_ttl_renewals._value.get()
