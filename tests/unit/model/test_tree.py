"""Paths, leaves and hashes of trees."""

from typing import Any

import msgspec
import pytest

from relay.model.errors import Refused
from relay.model.tree import (
    MAX_DEPTH,
    MAX_KEY,
    MAX_LEAVES,
    has_increments,
    hash_of,
    holds,
    json_at,
    key_order,
    leaves_of,
    read_path,
    sorted_leaves,
    value_at,
    with_increments,
)


def test_paths_are_keys_between_slashes() -> None:
    assert read_path("/room/é x/-K/") == ("room", "é x", "-K")
    assert read_path("") == read_path("/") == ()
    assert read_path("a/.priority") == ("a", ".priority")


@pytest.mark.parametrize(
    "path",
    [
        "a.b",
        "a#",
        "$a",
        "[",
        "a]",
        "a\n",
        "\x7f",
        "a/.info",
        ".priority/a",
        "\ud800",
        "/".join("a" * 18),
        "k" * (MAX_KEY + 1),
    ],
)
def test_other_paths_are_refused(path: str) -> None:
    with pytest.raises(Refused, match="bad_path"):
        read_path(path)


def test_a_path_holds_itself_and_all_below() -> None:
    assert holds("", "a")
    assert holds("a", "a/b")
    assert holds("a/b", "a/b")
    assert not holds("a", "ab")
    assert not holds("a/b", "a")


@pytest.mark.parametrize(
    ("value", "leaves"),
    [
        (None, {}),
        ({}, {}),
        ([None, {"x": {}}], {}),
        ("é", {"p": '"é"'.encode()}),
        (0, {"p": b"0"}),
        ([1, [True]], {"p/0": b"1", "p/1/0": b"true"}),
        ({".value": 1, ".priority": "a"}, {"p": b"1", "p/.priority": b'"a"'}),
        ({"a": 1.5, ".priority": 2}, {"p/a": b"1.5", "p/.priority": b"2"}),
        ({".priority": 2}, {}),
        ({"t": {".sv": "timestamp"}}, {"p/t": b'{".sv":"timestamp"}'}),
    ],
)
def test_a_value_is_its_leaves(value: Any, leaves: dict[str, bytes]) -> None:
    assert leaves_of(value, "p") == leaves


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({"a.b": 1}, "bad_path"),
        ({"": 1}, "bad_path"),
        ({"a/b": 1}, "bad_path"),
        ({".sv": "other"}, "bad_value"),
        ({".sv": {"increment": 1}}, "bad_value"),
        ([1] * (MAX_LEAVES + 1), "too_large"),
    ],
)
def test_other_values_are_refused(value: Any, code: str) -> None:
    with pytest.raises(Refused) as refused:
        leaves_of(value, "p")
    assert refused.value.code == code


def test_a_tree_has_so_many_levels() -> None:
    deep: Any = 1
    for _ in range(MAX_DEPTH - 1):
        deep = {"a": deep}
    assert len(leaves_of(deep, "p")) == 1
    with pytest.raises(Refused, match="bad_path"):
        leaves_of({"a": deep}, "p")


def test_leaves_are_read_as_the_value_that_they_are() -> None:
    value = {"b": {"c": 1}, "a": {".value": "x", ".priority": 1}, "d": [True, {"e": "ü"}]}
    leaves = sorted_leaves(leaves_of(value, ""))
    assert msgspec.json.decode(json_at(leaves, "")) == {**value, "d": {"0": True, "1": {"e": "ü"}}}
    assert msgspec.json.decode(json_at(leaves, "d/1")) == {"e": "ü"}
    assert json_at(leaves, "b/c/x") == json_at(leaves, "none") == b"null"
    # The rest of a value that was removed is no value.
    assert value_at([("a/.priority", b"1")], "a") is None


def test_hashes_are_those_of_the_clients() -> None:
    assert hash_of(None) == hash_of({}) == hash_of({"a": {}}) == ""
    assert hash_of("a") != hash_of("b")
    assert hash_of(1) == hash_of(1.0) != hash_of("1")
    assert hash_of(True) != hash_of(1)
    leaves = sorted_leaves(leaves_of({"10": 1, "9": 2, "a": {".value": "x", ".priority": 1}}, ""))
    assert hash_of(value_at(leaves, "")) == hash_of({"a": {".value": "x", ".priority": 1}, "9": 2, "10": 1})
    assert hash_of({"a": {".value": "x", ".priority": 1}}) != hash_of({"a": "x"})


def test_children_are_in_the_order_of_numbers_and_then_of_text() -> None:
    keys = ["b", "10", "9", "a", "-1", "010", "99999999999"]
    assert sorted(keys, key=key_order) == ["-1", "9", "10", "010", "99999999999", "a", "b"]


def test_increments_are_added_to_the_present_value() -> None:
    value = {"a": {".sv": {"increment": 2}}, "b": [{".sv": {"increment": 0.5}}], "c": "x"}
    assert has_increments(value)
    assert not has_increments({"a": {".sv": "timestamp"}, "b": [1, None]})
    there: dict[str, object] = {"p/a": 3, "p/b/0": True}
    assert with_increments(value, "p", there.get) == {"a": 5, "b": [0.5], "c": "x"}


@pytest.mark.parametrize("priority", [{"a": 1}, True, [1], {".value": 1}, {".sv": {"increment": 1}}])
def test_a_priority_is_text_a_number_or_the_time(priority: Any) -> None:
    for value, path in (({"a": 1, ".priority": priority}, "p"), (priority, "p/.priority")):
        with pytest.raises(Refused, match="bad_value"):
            leaves_of(value, path)
    assert leaves_of({".sv": "timestamp"}, "p/.priority") == {"p/.priority": b'{".sv":"timestamp"}'}
    assert leaves_of(None, "p/.priority") == {}


@pytest.mark.parametrize("number", [10**400, -(10**309), float("inf"), float("nan")])
def test_a_number_is_one_of_a_page(number: float) -> None:
    with pytest.raises(Refused, match="bad_value"):
        leaves_of(number, "p")


def test_an_increment_beyond_a_double_is_refused() -> None:
    with pytest.raises(Refused, match="bad_value"):
        with_increments({".sv": {"increment": 10**400}}, "p", lambda _: 1.5)


def test_the_paths_of_the_leaves_count() -> None:
    """A long path is in each leaf below it: few bytes of a client would become many."""
    with pytest.raises(Refused, match="tree_full"):
        leaves_of({str(number): 1 for number in range(1000)}, "k" * 700)
