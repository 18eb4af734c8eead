"""Arguments of pages, read as JavaScript takes them."""

import pytest
from msgspec import Raw

from relay.gateways.socketio.apps.rmc3.arguments import (
    AskedRoom,
    SessionKind,
    argument,
    is_true,
    read_arguments,
    read_extra,
    read_object,
    read_room,
    read_session,
    read_text,
)
from relay.gateways.socketio.errors import BadEvent
from relay.gateways.socketio.parser import IncomingEvent


@pytest.mark.parametrize(
    ("value", "text"), [(b'"r"', "r"), (b"7", "7"), (b"1.5", "1.5"), (b"true", "true"), (b"null", ""), (b'""', "")]
)
def test_names_are_text(value: bytes, text: str) -> None:
    assert read_text(value) == text


@pytest.mark.parametrize("value", [b"[]", b"{}", b'"%b"' % (b"x" * 2000)])
def test_other_values_are_no_names(value: bytes) -> None:
    with pytest.raises(BadEvent, match="bad_event"):
        read_text(value)


def test_arguments_that_are_missing_are_null() -> None:
    values = read_arguments(IncomingEvent("x", [b'"a"', b"{}"]))
    assert [argument(values, at) for at in range(3)] == [b'"a"', b"{}", b"null"]
    assert read_arguments(IncomingEvent("x", [])) == []


@pytest.mark.parametrize("value", [b"null", b"[]", b"1", b'"x"'])
def test_only_an_object_has_fields(value: bytes) -> None:
    with pytest.raises(BadEvent):
        read_object(value)


def test_a_room_is_read_within_its_bounds() -> None:
    text = b'{"sessionid":7,"session":{"oneway":true},"extra":null,"identifier":"x","password":42,"streams":[1]}'
    asked = read_room(text)
    assert asked == AskedRoom("7", b'{"oneway":true}', b"{}", "x", "42")
    assert "42" not in repr(asked)
    for bad in (b'{"session":{"x":"%b"}}' % (b"y" * 2000), b'{"identifier":"%b"}' % (b"y" * 101), b'{"sessionid":{}}'):
        with pytest.raises(BadEvent):
            read_room(bad)
    with pytest.raises(BadEvent):
        read_extra(b'"%b"' % (b"x" * 20_000))


@pytest.mark.parametrize(
    ("session", "oneway"),
    [
        (b'{"oneway":true}', True),
        (b'{"broadcast":true}', True),
        (b'{"oneway":"true"}', False),
        (b"{}", False),
        (b"1", False),
    ],
)
def test_a_session_is_oneway_if_it_says_true(session: bytes, *, oneway: bool) -> None:
    assert read_session(session).is_oneway is oneway
    assert SessionKind().is_oneway is False


@pytest.mark.parametrize(
    ("value", "true"),
    [(b"true", True), (b"1", True), (b'"x"', True), (b"{}", True), (b"false", False), (b"0", False), (b'""', False)],
)
def test_truth_is_that_of_javascript(value: bytes, *, true: bool) -> None:
    assert is_true(Raw(value)) is true
    assert not is_true(None)
