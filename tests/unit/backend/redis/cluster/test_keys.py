"""The keys that are not one room's, on a cluster."""

from collections import Counter

from relay.backend.redis.cluster.keys import GROUPS, ClusterKeys, group_of
from relay.backend.redis.cluster.slots import SLOTS, slot_of_key, slot_of_tag
from relay.backend.redis.keys import Keys
from tests.clusters import shares


def test_the_leases_of_a_group_are_in_one_slot_of_its_range() -> None:
    keys = ClusterKeys("relay")
    assert len(keys.lease_groups) == GROUPS
    for number, group in enumerate(keys.lease_groups):
        slots = {slot_of_key(key) for key in (group.workers, group.worker_rooms("w/1"), group.worker_index("w/1"))} | {
            slot_of_key(group.fleet_key)
        }
        assert len(slots) == 1
        assert group_of(*slots) == number
    assert len({group.workers for group in keys.lease_groups}) == GROUPS


def test_the_group_of_a_room_is_that_of_its_slot_and_its_own_keys_are_as_ever() -> None:
    keys = ClusterKeys("relay")
    for room in ("a", "b", "room-7"):
        group = keys.leases_of_room(room)
        assert group is keys.lease_groups[slot_of_tag(room) * GROUPS // SLOTS]
        assert group is keys.leases_of_key(keys.of_room(room)[0])
        assert group.of_room(room) == Keys("relay").of_room(room)


def test_the_rooms_whose_lease_is_at_a_neighboring_master_are_those_that_the_documentation_counts() -> None:
    """By the number of masters with equal shares: how many slots of one have their lease at another."""
    at = [slot_of_key(group.workers) for group in ClusterKeys("relay").lease_groups]
    counted = {}
    for masters in (2, 3, 4, 8, 16):
        owners = [number for number, (first, last) in enumerate(shares(masters)) for _ in range(first, last + 1)]
        pairs = Counter((owners[at[group_of(slot)]], owner) for slot, owner in enumerate(owners))
        counted[masters] = {pair: count for pair, count in pairs.items() if pair[0] != pair[1]}
    assert counted == {2: {}, 3: {(0, 1): 683, (1, 2): 342}, 4: {}, 8: {}, 16: {}}


def test_one_redis_has_one_group() -> None:
    keys = Keys("relay")
    assert [*keys.lease_groups] == [keys] == [keys.leases_of_room("a")]
    assert (keys.workers, keys.worker_rooms("w")) == ("relay:workers", "relay:worker:w:rooms")


def test_the_keys_of_a_node_are_in_its_slots() -> None:
    keys = ClusterKeys("relay")
    assert slot_of_key(keys.node_run("node3")) == slot_of_key(keys.node_probe("node3", "w/1")) == slot_of_tag("node3")
