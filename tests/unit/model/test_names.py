import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.errors import Refused
from relay.model.names import (
    MAX_ESCAPED,
    MAX_NAME,
    SERVER,
    check_peer,
    check_room,
    escape_peer,
    escape_room,
    escaped_prefix,
    percent_decoded,
    unescape,
)

ESCAPED = re.compile(r"(?:[A-Za-z0-9\-._~!*()+;=:@]|%[0-9A-F]{2})+")

PLAIN = ["a", "A-b.c_d~e", "room:1@x", "x" * 255, "...", "a..b", "-", "(*)!+;=:@", "demo"]

TEXTS = [
    (" ", "%20"),
    ("a b", "a%20b"),
    ("a%20b", "a%2520b"),
    ("a%", "a%25"),
    ("a~20b", "a~20b"),
    ("a/b", "a%2Fb"),
    ("../x", "..%2Fx"),
    ("{a}", "%7Ba%7D"),
    ("é", "%C3%A9"),
    ("e\u0301", "e%CC%81"),
    ("Привет", "%D0%9F%D1%80%D0%B8%D0%B2%D0%B5%D1%82"),
    ("\U0001f600", "%F0%9F%98%80"),
    ('a"b', "a%22b"),
    ("a'b", "a%27b"),
    ("a\\b", "a%5Cb"),
    ("a,b", "a%2Cb"),
    ("a?b#c&d", "a%3Fb%23c%26d"),
    ("\u202e", "%E2%80%AE"),
    ("я" * 255, "%D1%8F" * 255),
]
"""Texts and their escaped names, both of rooms and of peers; tests/unit/pages/client/names.test.mjs has the same."""

REFUSED_TEXTS = [
    "",
    "a\nb",
    "a\x00",
    "\x1b[2J",
    "\x7f",
    "\x85",
    "\ud83d",
    "a\ufffdb",
    "x" * 256,
    "я" * 256,
    "\U0001f600" * 171,
]

REFUSED_NAMES = [
    "",
    " ",
    "a b",
    "a/b",
    "é",
    "%",
    "%zz",
    "a%2",
    "a%41",
    "%e9",
    "%c3%a9",
    "%C3",
    "%FF",
    "%ED%A0%80",
    "%EF%BF%BD",
    "%00",
    "%0A",
    "x" * 256,
    "%20" * 256,
    "%F0%9F%98%80" * 171,
]

text = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\ufffd"), min_size=1, max_size=170)
peers = text.filter(lambda one: one != SERVER)
rooms = text.filter(lambda one: one not in {".", ".."})
almost_escaped = st.text(st.sampled_from("%%%0123ADEF2faz-./ é"), max_size=12) | st.text(max_size=12)


def refusal(function: Callable[[str], str], name: str) -> str:
    with pytest.raises(Refused) as refused:
        function(name)
    return refused.value.code


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("function", [escape_room, escape_peer, check_room, check_peer, unescape, percent_decoded])
def test_names_of_the_alphabet_stay_as_they_are(function: Callable[[str], str], name: str) -> None:
    assert function(name) == name


@pytest.mark.parametrize(("text", "escaped"), TEXTS)
def test_other_texts_are_percent_encoded(text: str, escaped: str) -> None:
    assert escape_room(text) == escape_peer(text) == escaped
    assert check_room(escaped) == check_peer(escaped) == escaped
    assert unescape(escaped) == percent_decoded(escaped) == text


@pytest.mark.parametrize("text", REFUSED_TEXTS)
def test_texts_that_are_refused(text: str) -> None:
    assert (refusal(escape_room, text), refusal(escape_peer, text)) == ("bad_room", "bad_peer")


@pytest.mark.parametrize("name", REFUSED_NAMES)
def test_escaped_names_that_are_refused(name: str) -> None:
    assert (refusal(check_room, name), refusal(check_peer, name)) == ("bad_room", "bad_peer")


@pytest.mark.parametrize("name", [".", "..", "%2E", "%2E%2E", "%2e%2e"])
def test_dots_are_no_rooms(name: str) -> None:
    assert refusal(check_room, name) == "bad_room"
    assert refusal(escape_room, percent_decoded(name)) == "bad_room"
    assert escape_peer(percent_decoded(name)) == percent_decoded(name)


def test_no_client_can_look_like_the_server() -> None:
    assert refusal(escape_peer, SERVER) == refusal(check_peer, SERVER) == refusal(check_peer, "%24server") == "bad_peer"
    assert escape_room(SERVER) == "%24server"


@pytest.mark.parametrize("part", ["%", "%zz", "a%2", "%FF", "%C3", "%ED%A0%80", "a%00%"])
def test_a_part_that_is_no_text_makes_no_name(part: str) -> None:
    assert refusal(escape_room, percent_decoded(part)) == "bad_room"


@given(rooms)
def test_every_room_name_can_be_read_back(text: str) -> None:
    escaped = escape_room(text)
    assert unescape(escaped) == percent_decoded(escaped) == text
    assert check_room(escaped) == escaped
    assert ESCAPED.fullmatch(escaped)
    assert len(escaped) <= MAX_ESCAPED


@given(peers)
def test_every_peer_id_can_be_read_back(text: str) -> None:
    escaped = escape_peer(text)
    assert unescape(escaped) == percent_decoded(escaped) == text
    assert check_peer(escaped) == escaped
    assert ESCAPED.fullmatch(escaped)


@given(almost_escaped)
def test_each_text_has_one_escaped_name(name: str) -> None:
    try:
        check_room(name)
    except Refused:
        return
    assert escape_room(unescape(name)) == name
    assert len(unescape(name)) <= MAX_NAME


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty; write a name"),
        ("..", "is .., which no client may use"),
        ("a\nb", "has U.000A, a control character, as character 2; take it out"),
        ("ab\ud83d", "has U.D83D, half a surrogate pair, as character 3"),
        ("50\ufffd", "has U.FFFD as character 3.* write %25 for a %"),
        ("x" * 256, "has 256 characters, and at most 255 are allowed"),
        ("😀" * 200, "has more than 2048 bytes"),
    ],
)
def test_the_error_says_which_character_is_wrong_and_what_to_write(text: str, words: str) -> None:
    with pytest.raises(Refused, match=f"bad_room: the room name {words}"):
        escape_room(text)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a b", "write a%20b"),
        ("a/b", "write a%2Fb"),
        ("%41", "write A"),
        ("%c3%a9", "write %C3%A9"),
        ("", "is empty"),
        ("%0A", "U.000A"),
    ],
)
def test_the_error_about_a_name_in_json_has_its_escaped_form(name: str, words: str) -> None:
    for check, subject in ((check_room, "the room name"), (check_peer, "the peer id")):
        with pytest.raises(Refused, match=f"{subject}.*{words}"):
            check(name)


@pytest.mark.parametrize(
    ("text", "escaped"),
    [("", ""), ("a", "a"), ("a b", "a%20b"), ("é", "%C3%A9"), (".", "."), ("..", ".."), ("a/", "a%2F")],
)
def test_a_prefix_of_a_name_is_the_prefix_of_its_escaped_name(text: str, escaped: str) -> None:
    assert escaped_prefix(text) == escaped
    assert escape_room(f"{text}c d").startswith(escaped)


@pytest.mark.parametrize("text", ["\n", "x" * 256, chr(0xD800), "\ufffd"])
def test_a_text_with_which_no_name_begins(text: str) -> None:
    with pytest.raises(Refused, match="bad_room"):
        escaped_prefix(text)
