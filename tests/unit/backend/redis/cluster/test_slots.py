"""Hash slots; the expected ones are the answers of CLUSTER KEYSLOT of Redis 7.0."""

import pytest

from relay.backend.redis.cluster.slots import SLOTS, find_tag, slot_of_key, slot_of_tag


@pytest.mark.parametrize(
    ("key", "slot"),
    [
        ("", 0),
        ("123456789", 12_739),
        ("relay:{room}:meta", slot_of_tag("room")),
        ("relay:{room}", slot_of_tag("room")),
        ("{}x", slot_of_tag("{}x")),
        ("a{b", slot_of_tag("a{b")),
        ("a{{b}}c", slot_of_tag("{b")),
        ("a{b}{c}", slot_of_tag("b")),
    ],
)
def test_the_slot_of_a_key_is_that_of_its_first_tag(key: str, slot: int) -> None:
    assert slot_of_key(key) == slot


def test_a_tag_is_found_for_each_slot() -> None:
    for wanted in (0, SLOTS // 2, SLOTS - 1):
        tag = find_tag("n", wanted.__eq__)
        assert tag.startswith("n")
        assert slot_of_tag(tag) == wanted
