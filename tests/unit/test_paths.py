"""Routes below /rooms/ split the path before they decode it."""

from typing import Any
from urllib.parse import unquote

import pytest
from starlette.routing import Match

from relay.model.errors import Refused
from relay.paths import PathPrefixes, RoomRoute, RoomWebSocketRoute, SubjectRoute, raw_path, room_in


def scope_of(raw: bytes | None, path: str = "", kind: str = "http", **more: Any) -> dict[str, Any]:
    return {"type": kind, "method": "GET", "path": path, **({} if raw is None else {"raw_path": raw}), **more}


async def endpoint(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError


ROUTES = {"http": RoomRoute(endpoint, methods=["GET"]), "websocket": RoomWebSocketRoute(endpoint)}
EVENTS = {"http": RoomRoute(endpoint, "/events"), "websocket": RoomWebSocketRoute(endpoint, "/events")}


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    ("raw", "room"),
    [
        (b"/rooms/a", "a"),
        (b"/rooms/a%2Fevents", "a%2Fevents"),
        (b"/rooms/a%2fevents", "a%2Fevents"),
        (b"/rooms/a%20b", "a%20b"),
        (b"/rooms/a%2520b", "a%2520b"),
        (b"/rooms/%61", "a"),
        (b"/rooms/a%3Ab", "a:b"),
        (b"/rooms/%D1%8F", "%D1%8F"),
        ("/rooms/я".encode(), "%D1%8F"),
        (b"/rooms/events", "events"),
        (b"/rooms/'", "%27"),
    ],
)
def test_a_segment_names_the_room(kind: str, raw: bytes, room: str) -> None:
    scope = scope_of(raw, "/ignored", kind)
    match, child = ROUTES[kind].matches(scope)
    assert match is Match.FULL
    assert room_in(child) == room
    assert EVENTS[kind].matches(scope)[0] is Match.NONE


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_a_slash_begins_the_path_below_the_room(kind: str) -> None:
    for raw, name in ((b"/rooms/a/events", "a"), (b"/rooms/a%2Fb/events", "a%2Fb")):
        scope = scope_of(raw, "/rooms/x", kind)
        match, child = EVENTS[kind].matches(scope)
        assert match is Match.FULL
        assert room_in(child) == name
        assert ROUTES[kind].matches(scope)[0] is Match.NONE


@pytest.mark.parametrize(
    "raw", [b"/rooms/a/b", b"/rooms/a//", b"/rooms/../health", b"/rooms", b"/rooms%2Fa", b"//rooms/a"]
)
def test_other_paths(raw: bytes) -> None:
    for kind in ("http", "websocket"):
        assert ROUTES[kind].matches(scope_of(raw, "/rooms/a", kind))[0] is Match.NONE


@pytest.mark.parametrize("raw", [b"/rooms/", b"/rooms/.", b"/rooms/%2E%2e", b"/rooms/%", b"/rooms/%zz", b"/rooms/%FF"])
def test_a_segment_that_names_no_room(raw: bytes) -> None:
    match, child = ROUTES["http"].matches(scope_of(raw))
    assert match is Match.FULL
    with pytest.raises(Refused, match="room name"):
        room_in(child)


def test_more_parameters_are_decoded_as_well() -> None:
    route = RoomRoute(endpoint, "/{key}/id")
    match, child = route.matches(scope_of(b"/rooms/a%2Fb/c%2Fd/id"))
    assert (match, child["path_params"]) == (Match.FULL, {"room": "a/b", "key": "c/d"})


def test_a_wrong_method_still_matches_in_part() -> None:
    assert ROUTES["http"].matches(scope_of(b"/rooms/a%2Fb") | {"method": "PUT"})[0] is Match.PARTIAL


def test_other_scopes_do_not_match() -> None:
    assert ROUTES["http"].matches({"type": "lifespan"})[0] is Match.NONE
    assert ROUTES["http"].matches(scope_of(b"/rooms/a", kind="websocket"))[0] is Match.NONE


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/rooms/a b", "/rooms/a%20b"),
        ("/rooms/a%20b", "/rooms/a%2520b"),
        ("/rooms/я", "/rooms/%D1%8F"),
        ("/rooms/a/b", "/rooms/a/b"),
        ("/rooms/\udcff", "/rooms/%ED%B3%BF"),
    ],
)
def test_a_server_without_a_raw_path(path: str, expected: str) -> None:
    assert raw_path(scope_of(None, path)) == expected


@pytest.mark.parametrize("path", ["/rooms/\ufffd", "/rooms/a\nb"])
def test_text_that_another_server_could_not_decode_names_no_room(path: str) -> None:
    match, child = ROUTES["http"].matches(scope_of(None, path))
    assert match is Match.FULL
    with pytest.raises(Refused, match="room name"):
        room_in(child)


@pytest.mark.parametrize("raw", [b"/base/rooms/a", b"/rooms/a"])
def test_the_root_path_is_taken_off(raw: bytes) -> None:
    assert raw_path(scope_of(raw, "/base/rooms/a", root_path="/base")) == "/rooms/a"
    assert raw_path(scope_of(b"/baser/x", root_path="/base")) == "/baser/x"


@pytest.mark.parametrize(
    ("raw", "below"),
    [
        ("/chat", True),
        ("/chat/", True),
        ("/chat/a", True),
        ("/chatter", False),
        ("/a/chat", False),
        ("/rooms/a/chat", True),
        ("/rooms/a/chat/b", True),
        ("/rooms/a%2Fb/chat", True),
        ("/rooms/a/b/chat", False),
        ("/rooms/a%2Fchat", False),
        ("/rooms/a/chatter", False),
        ("/rooms//chat", True),
        ("/rooms/chat", False),
        ("/v1.0/chat", True),
        ("/v1x0/chat", False),
        ("/other/ends/here", False),
    ],
)
def test_a_prefix_may_have_any_segment(raw: str, below: bool) -> None:
    prefixes = PathPrefixes(["/chat", "/rooms/{room}/chat", "/v1.0/{version}"])
    assert prefixes.match(scope_of(raw.encode(), unquote(raw))) is below


@pytest.mark.parametrize(
    ("raw", "below"),
    [("/a/id", True), ("/a%2Fb/id", True), ("/a/id/x", True), ("/a/b", False), ("/rooms/id", False),
     ("/roomsx/id", True), ("/.well-known/id", False), ("/xwell-known/id", True)],
)  # fmt: skip
def test_a_prefix_of_any_first_segment_leaves_the_relay_its_own(raw: str, below: bool) -> None:
    assert PathPrefixes(["/{key}/id"]).match(scope_of(raw.encode(), unquote(raw))) is below


def test_without_prefixes_no_path_matches() -> None:
    assert not PathPrefixes([]).match(scope_of(b"/a", "/a"))


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_a_slash_at_the_end_counts_for_nothing(kind: str) -> None:
    match, child = ROUTES[kind].matches(scope_of(b"/rooms/a%2Fb/", "/rooms/x", kind))
    assert match is Match.FULL
    assert room_in(child) == "a%2Fb"


@pytest.mark.parametrize(
    ("raw", "subject"),
    [(b"/subjects/a", "a"), (b"/subjects/a%2Fb", "a/b"), (b"/subjects/auth0%7C5/", "auth0|5"), (b"/subjects/", "")],
)
def test_a_subject_is_the_text_of_one_segment(raw: bytes, subject: str) -> None:
    match, child = SubjectRoute(endpoint).matches(scope_of(raw))
    assert (match, child["path_params"]) == (Match.FULL, {"subject": subject})


@pytest.mark.parametrize("raw", [b"/subjects", b"/subjects/a/b", b"/rooms/a"])
def test_other_paths_are_those_of_no_subject(raw: bytes) -> None:
    assert SubjectRoute(endpoint).matches(scope_of(raw))[0] is Match.NONE
