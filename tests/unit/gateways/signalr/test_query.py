from typing import Any

import pytest

from relay.config import Settings
from relay.gateways.signalr.query import HubQuery
from relay.model.commands import Tracking
from relay.model.errors import Refused
from relay.rooms.worker import Worker


def query(text: str, **params: str) -> HubQuery:
    scope: Any = {
        "type": "http", "headers": [], "query_string": text.encode(), "path_params": params,
        "state": {"worker": Worker(Settings())},
    }  # fmt: skip
    return HubQuery(scope, "default")


def test_the_room() -> None:
    assert query("").place.place.room == "default"
    assert query("room=a b").place.place.room == "a%20b"
    assert query("room=other", room="of path").place.place.room == "of%20path"
    with pytest.raises(Refused):
        query("room=..")


def test_the_request() -> None:
    request = query("peer=ann&echo=1").join_request("ben", Tracking.WRITTEN)
    assert (request.peer, request.echo, request.presence, request.tracking) == ("ben", True, True, Tracking.WRITTEN)
    assert not query("presence=0").join_request("", Tracking.NONE).presence


@pytest.mark.parametrize(("text", "version"), [("", 0), ("negotiateVersion=1", 1), ("negotiateVersion=99", 1)])
def test_versions(text: str, version: int) -> None:
    assert query(text).version == version
    assert query(text).id is None


@pytest.mark.parametrize("text", ["negotiateVersion=", "negotiateVersion=-1", "negotiateVersion=11111"])
def test_versions_that_are_none(text: str) -> None:
    with pytest.raises(Refused):
        assert query(text).version
