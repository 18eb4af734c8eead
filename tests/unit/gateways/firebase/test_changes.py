"""Changes that clients ask for."""

import pytest

from relay.gateways.firebase.changes import Disconnects, merge_change, set_change
from relay.gateways.firebase.errors import FirebaseRefused
from relay.gateways.firebase.places import Places, TreePlace
from relay.model.errors import Refused

PLACES = Places()


def test_a_new_child_may_be_a_message_and_a_removal_is_none() -> None:
    place = TreePlace("room", "chat/-K")
    assert set_change(PLACES, place, 1, shareable=True).channel == "chat"
    assert set_change(PLACES, place, 1, shareable=True).shareable
    assert not set_change(PLACES, place, None, shareable=True).shareable
    assert not set_change(PLACES, TreePlace("room", ""), 1, shareable=True).shareable
    assert not set_change(PLACES, TreePlace("room", "a/.priority"), 1, shareable=True).shareable


def test_an_update_writes_each_of_its_paths() -> None:
    change = merge_change(TreePlace("room", "a"), {"b/c": 1, "d": None})
    assert [(write.path, write.leaves) for write in change.writes] == [("a/b/c", {"a/b/c": b"1"}), ("a/d", {})]


def test_a_later_write_for_the_end_replaces_those_at_and_below_its_path() -> None:
    disconnects = Disconnects()

    def put(path: str, value: object = 1) -> None:
        place = TreePlace("room", path)
        disconnects.put([(place, set_change(PLACES, place, value, shareable=False))])

    for path in ("a/b", "a/c", "d"):
        put(path)
    put("a")
    assert [change.writes[0].path for change in disconnects.changes("room")] == ["d", "a"]
    for number in range(30):
        put(f"n{number}")
    with pytest.raises(FirebaseRefused):
        put("one more")
    assert len(disconnects.changes("room")) == 32
    disconnects.cancel(TreePlace("room", ""))
    assert disconnects.take("room") == []


def test_the_paths_of_an_update_count_together() -> None:
    below = {str(number): 1 for number in range(300)}
    assert len(merge_change(TreePlace("room", "a"), {"k" * 700: below}).writes) == 1
    with pytest.raises(Refused, match="tree_full"):
        merge_change(TreePlace("room", "a"), {"k" * 700: below, "l" * 700: below})


def test_the_paths_of_prepared_changes_count() -> None:
    disconnects, place = Disconnects(), TreePlace("room", "k" * 700)
    change = set_change(PLACES, place, {str(number): 1 for number in range(100)}, shareable=False)
    assert change.size < 2000
    with pytest.raises(FirebaseRefused):
        disconnects.put([(place, change)])
