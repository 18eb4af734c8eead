"""Leases in several groups: one node that is away, one end for all, and members that are found in all of them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from relay.backend.presence import HeldMember, LeaseName, LeaseStatus, Touched
from relay.backend.redis.cluster.keys import GROUPS, ClusterKeys, group_of
from relay.backend.redis.cluster.leases import GroupedLeases, GroupedRegistration, by_group
from relay.backend.redis.cluster.refusals import ShardRefusals
from relay.backend.redis.cluster.slots import slot_of_tag
from relay.model.errors import Unavailable
from tests.unit.backend.redis.cluster.nodes import World


class Group:
    """The leases of one group, as the test sets them."""

    def __init__(self, lease: LeaseName) -> None:
        self.lease = lease
        self.ends: Any = ""
        self.found = LeaseStatus()
        self.calls: list[str] = []
        self.names: list[str] = []
        self.deadlines: dict[str, float] = {}
        self.members: list[HeldMember] = []
        self.silent = asyncio.Event()
        self.silent.set()
        self.error: Exception | None = None
        self.vacant: list[str] = []
        self.refused = ""

    async def renew(self) -> Any:
        self.calls.append("renew")
        self.names.append(str(self.lease))
        await self.silent.wait()
        if self.error is not None:
            raise self.error
        return self.ends

    async def leave_behind(self) -> None:
        self.calls.append("leave_behind")

    async def begin_anew(self, ended: str) -> None:
        self.calls.append(f"begin {ended}")
        self.names.append(str(self.lease))
        self.ends = ""

    async def status(self) -> LeaseStatus:
        self.deadlines = dict.fromkeys(self.found.dead, 1.0)
        return self.found

    async def has_died(self, lease: str, within: float) -> bool:
        return bool(self.members)

    async def adopt(self, lease: str) -> AsyncIterator[Sequence[HeldMember]]:
        await self.silent.wait()
        if self.error is not None:
            raise self.error
        for member in self.members:
            yield [member]

    async def forget(self, lease: str) -> None:
        self.calls.append(f"forget {lease}")

    async def retire(self) -> None:
        if self.error is not None:
            raise self.error
        self.calls.append("retire")

    @property
    def has_vacant(self) -> bool:
        return bool(self.vacant)

    async def touch(self, rooms: Any, left: Any) -> Touched:
        if self.error is not None:
            raise self.error
        if self.refused in rooms:
            raise Unavailable().because("NOREPLICAS")
        vacant, self.vacant = self.vacant, []
        return Touched([*rooms], [*rooms], vacant)


class Desk:
    def __init__(self, number: int = 3) -> None:
        self.lease = LeaseName("w")
        self.groups = [Group(self.lease) for _ in range(number)]
        groups: Any = self.groups
        self.looked = 0
        self.world = World()
        self.refusals = ShardRefusals(self.world.cluster, self.world.keys)
        self.leases = GroupedLeases(groups, self.lease, self.refusals, patience=0.02, look_after=self.look)

    def refusal(self, host: str) -> str:
        """Why a node refuses."""
        return self.refusals.of(self.world.cluster.nodes[host, 1])

    def look(self) -> None:
        self.looked += 1

    async def adopted(self, lease: str) -> list[str]:
        return [member.peer async for batch in self.leases.adopt(lease) for member in batch]


def held(peer: str) -> HeldMember:
    return HeldMember("room", peer, 1, 5.0)


async def test_a_heartbeat_renews_all_groups_and_finds_the_dead_of_all() -> None:
    desk = Desk()
    desk.groups[0].found = LeaseStatus("", ["x/1"])
    desk.groups[2].found = LeaseStatus("", ["x/1", "y/1"], ["y/1"])
    status = await desk.leases.beat()
    assert (status.ended, [*status.dead], {*status.retired}) == ("", ["x/1", "y/1"], {"y/1"})
    assert desk.looked == 1


async def test_a_node_that_is_away_keeps_no_other_group_from_being_renewed() -> None:
    desk = Desk()
    desk.groups[1].silent.clear()
    for _ in range(3):
        await desk.leases.beat()
    assert [len(group.calls) for group in desk.groups] == [3, 1, 3]
    desk.groups[1].error = Unavailable()
    desk.groups[1].silent.set()
    await desk.leases.beat()
    desk.groups[1].error = None
    await desk.leases.beat()
    assert desk.groups[1].calls == ["renew", "renew"]


async def test_an_outage_of_all_nodes_is_an_error() -> None:
    desk = Desk()
    for group in desk.groups:
        group.error = Unavailable()
    with pytest.raises(Unavailable):
        await desk.leases.beat()
    with pytest.raises(Unavailable):
        await desk.leases.retire()


async def test_a_lease_that_has_ended_in_one_group_is_followed_by_another_in_all() -> None:
    desk = Desk()
    first = str(desk.lease)
    desk.groups[1].ends = "lost"
    assert (await desk.leases.beat()).ended == "lost"
    assert str(desk.lease) != first
    assert desk.groups[0].calls == ["renew", "leave_behind", "begin lost"]
    assert desk.groups[1].calls == ["renew", "begin lost"]
    assert {group.names[-1] for group in desk.groups} == {str(desk.lease)}


async def test_a_late_reply_about_the_old_lease_does_not_count_for_the_new_one() -> None:
    desk = Desk()
    desk.groups[0].silent.clear()
    desk.groups[1].ends = "lapsed"
    await desk.leases.beat()
    assert desk.groups[0].calls == ["renew", "begin lapsed"]
    desk.groups[0].ends = "older"
    desk.groups[0].silent.set()
    await asyncio.sleep(0.01)
    assert desk.groups[0].names[-1] == str(desk.lease)


async def test_members_of_a_dead_worker_are_found_in_all_groups() -> None:
    desk = Desk()
    desk.groups[0].found = LeaseStatus("", ["x/1"])
    desk.groups[0].members = [held("ann"), held("ben")]
    desk.groups[2].members = [held("cid")]
    await desk.leases.beat()
    assert sorted(await desk.adopted("x/1")) == ["ann", "ben", "cid"]
    assert await desk.adopted("nobody") == []
    await desk.leases.forget("x/1")
    assert all("forget x/1" in group.calls for group in desk.groups)


async def test_a_group_that_fails_does_not_keep_the_others_from_being_taken_over() -> None:
    desk = Desk()
    desk.groups[0].found = LeaseStatus("", ["x/1"])
    desk.groups[0].members = desk.groups[1].members = [held("ann")]
    await desk.leases.beat()
    desk.groups[0].error = Unavailable()
    found = []
    with pytest.raises(Unavailable):
        async for batch in desk.leases.adopt("x/1"):
            found += batch
    assert [member.peer for member in found] == ["ann"]


async def test_a_worker_retires_where_it_can() -> None:
    desk = Desk()
    desk.groups[0].error = Unavailable()
    await desk.leases.retire()
    assert desk.groups[1].calls == ["retire"]


async def test_rooms_are_renewed_in_their_groups() -> None:
    desk = Desk(GROUPS)
    rooms = [f"room{number}" for number in range(20)]
    lost, again, *_ = await desk.leases.touch(dict.fromkeys(rooms, ""), ["gone"])
    assert sorted(lost) == sorted(again) == sorted(rooms)
    failing = group_of(slot_of_tag("room3"))
    desk.groups[failing].error = Unavailable()
    touched = await desk.leases.touch(dict.fromkeys([*rooms, "room3"], ""), ["room3", "gone"])
    its = [room for room in rooms if group_of(slot_of_tag(room)) == failing]
    assert sorted(touched.failed) == its
    assert sorted(touched.lost) == sorted({*rooms} - {*its})
    # To be left with the next round.
    assert touched.vacant == ["room3"]


async def test_rooms_of_a_group_at_several_nodes_are_renewed_node_by_node() -> None:
    desk = Desk(GROUPS)
    # Two rooms of the first group, whose lease is at one of the nodes.
    rooms = sorted((f"r{number}" for number in range(200) if group_of(slot_of_tag(f"r{number}")) == 0), key=slot_of_tag)
    first, last = rooms[0], rooms[-1]
    async with desk.world.cluster:
        await desk.world.become(a=(0, slot_of_tag(first)), b=(slot_of_tag(first) + 1, 16_383))
        desk.groups[0].refused = last
        touched = await desk.leases.touch({first: "", last: ""})
        assert (touched.lost, touched.failed) == ([first], [last])
        assert (desk.refusal("a"), desk.refusal("b")) == ("", "NOREPLICAS")
        desk.groups[0].refused = ""
        assert (await desk.leases.touch({first: "", last: ""})).failed == []
        assert desk.refusal("b") == ""


async def test_a_group_that_refuses_its_heartbeat_makes_its_node_refuse_until_it_takes_one() -> None:
    desk = Desk(GROUPS)
    async with desk.world.cluster:
        await desk.world.become(a=(0, 8191), b=(8192, 16_383))
        desk.groups[GROUPS - 1].error = Unavailable().because("NOREPLICAS")
        await desk.leases.beat()
        assert (desk.refusal("a"), desk.refusal("b")) == ("", "NOREPLICAS")
        desk.groups[GROUPS - 1].error = None
        await desk.leases.beat()
        assert desk.refusal("b") == ""


async def test_the_vacant_rooms_of_all_groups_are_told_once_also_if_one_group_is_away_meanwhile() -> None:
    desk = Desk(2)
    desk.groups[0].error = Unavailable()
    desk.groups[0].vacant, desk.groups[1].vacant = ["one"], ["two"]
    assert (await desk.leases.touch({})).vacant == ["two"]
    desk.groups[0].error = None
    assert (await desk.leases.touch({})).vacant == ["one"]
    assert list((await desk.leases.touch({})).vacant) == []


class Registered:
    def __init__(self) -> None:
        self.rooms: set[str] = set()
        self.calls: list[Any] = []

    def has(self, room: str) -> bool:
        return room in self.rooms

    def note(self, lease: str, rooms: list[str]) -> None:
        self.rooms |= {*rooms}

    def register(self, rooms: list[str]) -> None:
        self.calls += rooms

    def register_lease(self) -> None:
        self.calls.append("lease")

    def forget(self, rooms: Any = None) -> None:
        self.rooms -= self.rooms if rooms is None else {*rooms}

    def deadline_of(self, room: str) -> int:
        return 7


class Nodes:
    """A cluster in which each slot is at a node of its own, or all are at one."""

    def __init__(self, *, apart: bool) -> None:
        self.apart, self.called = apart, list[str]()

    def client_of(self, slot: int) -> int:
        return slot if self.apart else 0

    async def call(self, *command: Any) -> int:
        self.called.append(command[0])
        return 1


async def test_rooms_are_registered_in_their_groups_and_ahead_where_the_group_is_elsewhere() -> None:
    groups: Any = [Registered() for _ in range(GROUPS)]
    for apart, expected in ((False, []), (True, ["ZADD", "SADD"])):
        nodes: Any = Nodes(apart=apart)
        registration = GroupedRegistration(nodes, ClusterKeys("relay"), LeaseName("w"), groups)
        await registration.prepare("room")
        assert nodes.called == expected
    own = groups[group_of(slot_of_tag("room"))]
    registration.register(["room", "other"])
    registration.note("w/1", ["room", "other"])
    assert own.calls == ["lease", "room"]
    # Known by now.
    nodes.called.clear()
    await registration.prepare("room")
    assert nodes.called == []
    registration.forget(["room"])
    assert not own.has("room")
    registration.forget()
    assert not any(group.rooms for group in groups)
    assert registration.deadline_of("room") == 7


def test_rooms_by_group() -> None:
    found = by_group(["a", "b", "a2"])
    assert {room for its in found.values() for room in its} == {"a", "b", "a2"}
    assert all(group_of(slot_of_tag(room)) == number for number, its in found.items() for room in its)
