"""Patterns of names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.identity.patterns import MAX_STARS, escape_pattern, matches
from relay.model.errors import Refused
from relay.model.names import escape_peer, escape_room


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("demo", "demo", True), ("demo", "demo2", False), ("*", "x/y", True), ("**", "x", True),
        ("team-*", "team-a", True), ("team-*", "team-", True), ("team-*", "a-team-b", False),
        ("*-a", "team-a", True), ("*-a", "team-ab", False),
        ("a*b*c", "abc", True), ("a*b*c", "axbybzc", True), ("a*b*c", "acb", False), ("a*a", "a", False),
        ("é/*", "é/x", True), ("é*", "e", False), ("*.", "a.", True), ("..*", "..a", True),
        # A star ends at whole characters, and not inside their encoding.
        ("*20b", "a b", False), ("*A9", "é", False), ("*9", "é", False), ("a*20b", "a b", False),
        # The characters of other patterns stand for themselves.
        ("[ab]", "a", False), ("[ab]*", "[ab]c", True), ("a?", "ab", False), ("a.", "ab", False),
    ],
)  # fmt: skip
def test_a_pattern_matches_names(pattern: str, name: str, expected: bool) -> None:
    assert matches(escape_pattern(pattern, escape_room), escape_room(name)) is expected


@pytest.mark.parametrize("pattern", ["", ".", "..", "a\n*", "*\ud800", "a" * 256, "*" + "a" * 255])
def test_a_pattern_that_is_in_no_name_is_refused(pattern: str) -> None:
    with pytest.raises(Refused):
        escape_pattern(pattern, escape_room)


def test_a_pattern_with_many_stars_is_refused() -> None:
    escape_pattern("a*" * MAX_STARS, escape_room)
    with pytest.raises(ValueError, match="stars"):
        escape_pattern("a*" * (MAX_STARS + 1), escape_room)


def test_many_stars_take_no_time() -> None:
    pattern = escape_pattern("*a" * MAX_STARS + "b", escape_peer)
    assert not matches(pattern, "a" * 2000)


parts = st.text("ab0é %", min_size=1, max_size=8)


@given(st.lists(parts, min_size=2, max_size=4), st.text("ab0*é %", max_size=8))
def test_the_text_in_place_of_a_star_does_not_matter(around: list[str], middle: str) -> None:
    assert matches(escape_pattern("*".join(around), escape_peer), escape_peer(middle.join(around)))
