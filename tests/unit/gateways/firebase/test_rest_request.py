"""Requests of the REST interface."""

from typing import Any

import pytest

from relay.config import Settings
from relay.gateways.firebase.places import TreePlace
from relay.gateways.firebase.rest_request import ValueRequest, read_request
from relay.model.errors import Refused


def read(method: str, target: str, **headers: str) -> ValueRequest:
    path, _, query = target.partition("?")
    scope: dict[str, Any] = {
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
    }
    return read_request(scope, Settings())


def test_a_path_is_that_of_the_tree() -> None:
    assert read("GET", "/room/a/b.json").place == TreePlace("room", "a/b")
    assert read("GET", "/my%20room/%C3%A9.json").place == TreePlace("my%20room", "é")
    assert read("GET", "/a%252Fb/c.json").place == TreePlace("a%2Fb", "c")


def test_a_stream_is_asked_for_by_its_media_type() -> None:
    assert read("GET", "/room.json", accept="text/event-stream").streams
    assert not read("PUT", "/room.json", accept="text/event-stream").streams


@pytest.mark.parametrize(
    ("method", "target", "headers", "code"),
    [
        ("BREW", "/room.json", {}, "bad_method"),
        ("POST", "/room.json", {"x_http_method_override": "BREW"}, "bad_method"),
        ("GET", "/room.json?equalTo=1", {}, "query_unsupported"),
        ("GET", "/room.json?print=x", {}, "bad_query"),
        ("PATCH", "/room.json", {"if_match": "x"}, "bad_query"),
        ("GET", "/room.json", {"host": "a b"}, "bad_query"),
        ("GET", "/room/%00.json", {}, "bad_path"),
    ],
)
def test_a_request_that_is_none_is_refused(method: str, target: str, headers: dict[str, str], code: str) -> None:
    with pytest.raises(Refused) as refused:
        read(method, target, **headers)
    assert refused.value.code == code
