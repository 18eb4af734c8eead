"""Values that clients read."""

from typing import Any

import msgspec
import pytest

from relay.gateways.firebase.places import TreePlace
from relay.gateways.firebase.values import knows, plain, shallow, value_of
from relay.model.envelope import BEFORE_ALL
from relay.model.tree import hash_of, leaves_of, sorted_leaves
from relay.model.tree_changes import TreePart

ROOM = TreePlace("room", "")


def part(value: Any, members: int = 0) -> TreePart:
    return TreePart(sorted_leaves(leaves_of(value, "")), BEFORE_ALL, BEFORE_ALL, members)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", "text"),
        ({".value": 1, ".priority": 2}, 1),
        ({"a": {".value": 1, ".priority": 2}, ".priority": "p"}, {"a": 1}),
        ({"0": "x", "1": "y"}, ["x", "y"]),
        ({"0": "x", "2": "z"}, ["x", None, "z"]),
        ({"0": "x", "9": "z"}, {"0": "x", "9": "z"}),
        ({"1": "x"}, [None, "x"]),
        ({"0": "x", "a": "y"}, {"0": "x", "a": "y"}),
        ({"01": "x"}, {"01": "x"}),
        ({"999999999": "x"}, {"999999999": "x"}),
        (None, None),
    ],
)
def test_plain_values_have_no_priorities_and_arrays_as_firebase_has_them(value: Any, expected: Any) -> None:
    read = value_of(part(value), ROOM)
    assert msgspec.json.decode(msgspec.json.encode(plain(read))) == expected


def test_a_shallow_value_names_its_children() -> None:
    assert shallow(value_of(part({"a": {"b": 1}, "c": 2, ".priority": 3}), ROOM)) == {"a": True, "c": True}
    assert shallow(value_of(part({".value": 1, ".priority": 3}), ROOM)) == 1
    assert shallow(None) is None


def test_a_room_without_a_tree_tells_whether_it_has_members() -> None:
    assert value_of(part(None, members=1), ROOM) is True
    assert value_of(part(None), ROOM) is None
    assert value_of(part(None, members=1), TreePlace("room", "below")) is None


def test_a_client_knows_the_value_by_its_hash() -> None:
    assert knows(part({"a": 1}), ROOM, hash_of({"a": 1}))
    assert not knows(part({"a": 1}), ROOM, "")
    assert knows(part(None, members=2), ROOM, hash_of(True))
    assert knows(part(None, members=2), ROOM, "")
