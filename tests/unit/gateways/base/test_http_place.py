from typing import Any

import pytest
from starlette.types import Scope

from relay.config import Settings
from relay.gateways.base.gateway import TokenFields
from relay.gateways.base.http_place import MAX_WAIT, PlaceQuery, last_event_id, with_key
from relay.model.envelope import MessageId
from relay.model.errors import Refused
from relay.rooms.worker import Worker

TOKENS = TokenFields(bearer=True, query="token")


def scope(query: str, **headers: str) -> Scope:
    return {
        "type": "http",
        "query_string": query.encode(),
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
        "path_params": {"room": "a room"},
        "state": {"worker": Worker(Settings())},
    }


def test_a_request_to_join() -> None:
    query = PlaceQuery(
        scope(
            "peer=al%20ice&resume=0123456789abcdef&presence=1&echo=1&channel=a&channel=b&info={}&password=p&since=1-2"
        ),
        TOKENS,
    )
    request = query.join_request(query.since())
    assert (request.room, request.peer) == ("a%20room", "al%20ice")
    assert (request.resume, request.own_key, request.since) == ("0123456789abcdef", True, MessageId(1, 2))
    assert (request.presence, request.echo, request.channels, request.password) == (True, True, ["a", "b"], "p")
    assert with_key(request, "other") is request
    assert query.proven_place().name == "a%20room al%20ice 0123456789abcdef"


def test_a_client_without_a_key_gets_one() -> None:
    query = PlaceQuery(scope("peer="), TOKENS)
    assert query.names_peer
    assert not PlaceQuery(scope(""), TOKENS).names_peer
    assert with_key(query.join_request(None), "key").resume == "key"
    with pytest.raises(Refused, match="peer and resume"):
        query.proven_place()


@pytest.mark.parametrize(("text", "seconds"), [("", 25), ("0", 0), ("7", 7), ("9999", MAX_WAIT)])
def test_wait(text: str, seconds: float) -> None:
    assert PlaceQuery(scope(f"wait={text}"), TOKENS).wait() == seconds


@pytest.mark.parametrize("text", ["-1", "1.5", "²", "99999", "x"])
def test_a_wait_that_is_none(text: str) -> None:
    with pytest.raises(Refused, match="bad_query"):
        PlaceQuery(scope(f"wait={text}"), TOKENS).wait()


@pytest.mark.parametrize("query", ["resume=short", f"resume={'x' * 65}"])
def test_keys_that_are_too_short_or_too_long(query: str) -> None:
    with pytest.raises(Refused, match="bad_query"):
        PlaceQuery(scope(query), TOKENS)


def test_other_parameters_are_bounded() -> None:
    with pytest.raises(Refused, match="bad_query"):
        _ = PlaceQuery(scope(f"after={'x' * 65}"), TOKENS).after
    with pytest.raises(Refused, match="bad_password"):
        PlaceQuery(scope(f"peer=a&password={'x' * 5000}"), TOKENS).join_request(None)


def test_the_last_event_id() -> None:
    assert last_event_id(scope("", last_event_id="17-4")) == "17-4"
    assert last_event_id(scope("")) == ""


def test_no_repr_has_a_secret() -> None:
    request: Any = PlaceQuery(scope("peer=a&password=secret"), TOKENS).join_request(None)
    assert "secret" not in repr(request)
