"""URLs, bounds, and the parameters of a client's URL."""

from typing import Any

import pytest

from relay.client import Closed, Options, join, observe
from relay.client.options import RoomRequest, base_url, base_urls
from relay.client.position import RoomPosition


async def test_a_password_in_the_url_is_not_shown() -> None:
    with pytest.raises(Closed) as closed:
        async with join("ws://me:secret@127.0.0.1:1", "r", options=Options(connect_timeout=0.1)):
            pass
    assert "secret" not in str(closed.value)


@pytest.mark.parametrize("name", ["outgoing", "window", "incoming"])
def test_every_queue_is_bounded(name: str) -> None:
    with pytest.raises(ValueError):
        Options(**{name: 0})


@pytest.mark.parametrize(
    "url", ["localhost:8888", "ftp://localhost", "ws://", "ws://host:port", "ws://host/?peer=a", "ws://host/#a", []]
)
def test_a_bad_url_is_refused_at_once(url: Any) -> None:
    with pytest.raises(ValueError):
        join(url, "r")


@pytest.mark.parametrize(
    ("url", "base"),
    [("ws://h", "ws://h"), ("http://h:1/", "ws://h:1"), ("https://h/x/", "wss://h/x"), ("wss://h", "wss://h")],
)
def test_http_urls_become_websocket_urls(url: str, base: str) -> None:
    assert base_url(url) == base


def test_the_url_asks_for_a_peer_id_first_and_for_missed_events_later() -> None:
    position, request = RoomPosition(), RoomRequest("a:b", "me", presence=True, echo=True, channels=("c", "d e"))
    url = request.url("ws://h", position)
    assert url == "ws://h/rooms/a%3Ab?channel=c&channel=d+e&peer=me&presence=1&echo=1"
    position.welcome({"peer": "given", "id": "1-2", "resume": "key"})
    assert RoomRequest("r").url("ws://h", position) == "ws://h/rooms/r?peer=given&since=1-2"
    assert RoomRequest("r").url("ws://h", RoomPosition()) == "ws://h/rooms/r"


def test_names_of_any_text_are_encoded_once() -> None:
    position, request = RoomPosition(), RoomRequest("a/b %20", "я")
    assert request.url("ws://h", position) == "ws://h/rooms/a%2Fb%20%2520?peer=%D1%8F"
    position.welcome({"peer": "%D1%8F", "id": "1-2", "resume": "key"})
    assert request.url("ws://h", position) == "ws://h/rooms/a%2Fb%20%2520?peer=%D1%8F&since=1-2"
    assert RoomRequest("\ud83d").url("ws://h", RoomPosition()) == "ws://h/rooms/%ED%A0%BD"


def test_the_url_of_an_observer_has_nothing_of_a_member_and_no_token() -> None:
    position, request = RoomPosition(), RoomRequest("r", channels=("c",), observe="all", token="s3cret")
    position.welcome({"observer": True, "id": "1-2", "count": 0})
    assert request.url("ws://h", position) == "ws://h/rooms/r?channel=c&observe=all"
    assert "s3cret" not in repr(request)


def test_an_observer_selects_something() -> None:
    with pytest.raises(ValueError, match="presence, messages or both"):
        observe("ws://h", "r", presence=False, messages=False)


def test_a_url_may_end_with_the_path_of_the_room_that_is_joined() -> None:
    for url in ("ws://host/rooms/a%20b", "ws://host/rooms/a%20b/", "ws://host"):
        assert base_urls(url, "a b") == ["ws://host"]
    assert base_urls("ws://host/relay/rooms/a", "a") == ["ws://host/relay"]
    with pytest.raises(ValueError, match="names the room 'a', and the call 'b'; write ws://host, without the room"):
        base_urls(["ws://host", "ws://host/rooms/a"], "b")
