import pytest

from relay.model.errors import Refused
from relay.model.names import check_peer, check_room

BAD = [
    "",
    " ",
    "a b",
    "a/b",
    "{a}",
    "a}b",
    "a\nb",
    "a\x00",
    "\x1b[2J",
    "a%2Fb",
    "é",
    "\U0001f600",
    'a"b',
    "a'b",
    "a\\b",
    "a,b",
]


@pytest.mark.parametrize("name", ["a", "A-b.c_d~e", "room:1@x", "x" * 128, "...", "a..b", "-", "(*)!+;=:@"])
def test_room_names_that_are_allowed(name: str) -> None:
    assert check_room(name) == name


@pytest.mark.parametrize("name", [*BAD, ".", "..", "x" * 129])
def test_room_names_that_are_not_allowed(name: str) -> None:
    with pytest.raises(Refused) as refused:
        check_room(name)
    assert refused.value.code == "bad_room"


@pytest.mark.parametrize("name", [*BAD, "$server", "x" * 65])
def test_peer_ids_that_are_not_allowed(name: str) -> None:
    with pytest.raises(Refused) as refused:
        check_peer(name)
    assert refused.value.code == "bad_peer"
