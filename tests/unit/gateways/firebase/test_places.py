"""Paths of clients, and channels."""

import pytest

from relay.gateways.firebase.places import Places, TreePlace
from relay.model.errors import Refused

BY_PATH, BY_NAMESPACE = Places(), Places("demo")


@pytest.mark.parametrize(
    ("key", "room"),
    [("room", "room"), ("é x", "%C3%A9%20x"), ("a%2Fb", "a%2Fb"), ("v1%2E0", "v1.0"), ("100%", "100%25"),
     ("a%20b", "a%2520b"), ("a%252Fb", "a%252Fb")],
)  # fmt: skip
def test_the_first_key_is_a_room_of_any_name(key: str, room: str) -> None:
    place = BY_PATH.find(f"/{key}/a/b")
    assert place == TreePlace(room, "a/b")
    assert BY_PATH.text(place.room, place.path) == f"{key}/a/b"
    assert BY_PATH.text(place.room, "") == key


@pytest.mark.parametrize("path", ["/", "", "/a%25b", "/..", "/" + "a" * 300])
def test_other_first_keys_are_refused(path: str) -> None:
    with pytest.raises(Refused):
        BY_PATH.find(path)


def test_a_namespace_is_a_room_with_all_paths() -> None:
    assert BY_NAMESPACE.find("/a/b") == TreePlace("demo", "a/b")
    assert BY_NAMESPACE.find("/") == TreePlace("demo", "")
    assert BY_NAMESPACE.text("demo", "a") == "a"


def test_channels_are_paths_and_that_of_the_room_has_its_name() -> None:
    assert BY_PATH.channel("a%20b", "") == "a b"
    assert BY_PATH.channel("room", "chat/x") == "chat/x"
    assert BY_NAMESPACE.channel("demo", "") == ""
    assert [BY_PATH.node("a%20b", channel) for channel in ("a b", "", "chat/x", "v1.0")] == ["", "", "chat/x", "v1%2E0"]
    assert BY_NAMESPACE.node("demo", "demo") == "demo"
