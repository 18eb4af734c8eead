"""Where a client's token is read, and where it is not."""

from typing import Any

import pytest

from relay.config import Settings
from relay.gateways import GATEWAYS
from relay.gateways.base.credentials import read_password, read_token
from relay.gateways.base.gateway import TokenFields
from relay.model.errors import Refused
from relay.rooms.worker import Worker

ALL = TokenFields(bearer=True, subprotocol=True, query="token", body="a field")
SECRET = "s" * 32


def worker(auth: str = "required", url_tokens: str = "on") -> Worker:
    return Worker(Settings(auth=auth, auth_secret=SECRET if auth != "off" else "", url_tokens=url_tokens))


def scope(
    worker: Worker,
    *,
    authorization: str | None = None,
    subprotocols: tuple[str, ...] = (),
    query: str = "",
    password: str | None = None,
) -> dict[str, Any]:
    given = {b"authorization": authorization, b"relay-password": password}
    headers = [(name, value.encode()) for name, value in given.items() if value is not None]
    return {
        "headers": headers,
        "subprotocols": list(subprotocols),
        "query_string": query.encode(),
        "state": {"worker": worker},
    }


def test_a_token_is_read_in_each_place_that_the_protocol_has() -> None:
    served = worker()
    assert read_token(scope(served, authorization="Bearer a.b.c"), ALL) == "a.b.c"
    assert read_token(scope(served, authorization="bearer  a.b.c "), ALL) == "a.b.c"
    assert read_token(scope(served, subprotocols=("relay.v1", "token.a.b.c")), ALL) == "a.b.c"
    assert read_token(scope(served, query="x=1&token=a.b.c"), ALL) == "a.b.c"
    assert read_token(scope(served), ALL, "a.b.c") == "a.b.c"
    assert read_token(scope(served), ALL) == ""


def test_it_is_read_nowhere_else() -> None:
    everywhere = scope(worker(), authorization="Bearer x", subprotocols=("token.x",), query="token=x")
    assert read_token(everywhere, TokenFields()) == ""
    assert read_token(scope(worker(), query="token=x"), TokenFields(query="access_token")) == ""


def test_of_several_tokens_the_first_place_counts() -> None:
    served = worker()
    both = {"subprotocols": ("token.two",), "query": "token=three"}
    assert read_token(scope(served, authorization="Bearer one", **both), ALL, "zero") == "zero"  # type: ignore[arg-type]
    assert read_token(scope(served, authorization="Bearer one", **both), ALL) == "one"  # type: ignore[arg-type]
    assert read_token(scope(served, **both), ALL) == "two"  # type: ignore[arg-type]


@pytest.mark.parametrize("authorization", ["Resume key", "Basic dTpw", "Bearer", "Bearer ", ""])
def test_other_credentials_are_no_token(authorization: str) -> None:
    assert read_token(scope(worker(), authorization=authorization, subprotocols=("resume.key",)), ALL) == ""


def test_a_token_in_the_url_is_read_only_where_the_setting_allows_it() -> None:
    assert read_token(scope(worker(url_tokens="off"), query="token=x"), ALL) == ""


def test_with_auth_off_no_token_is_read() -> None:
    everywhere = scope(worker("off"), authorization="Bearer x", subprotocols=("token.x",), query="token=x%FF&&")
    assert read_token(everywhere, ALL, "x") == ""


def test_every_protocol_of_every_gateway_says_where_its_tokens_are() -> None:
    for gateway in GATEWAYS.values():
        assert set(gateway.tokens) == set(gateway.protocols), gateway.name


# Passwords.


@pytest.mark.parametrize("password", ["s3cret", "é ☃", "x" * 128])
def test_a_password_is_in_a_header_or_a_subprotocol(password: str) -> None:
    import base64

    encoded = base64.urlsafe_b64encode(password.encode()).decode().rstrip("=")
    served = worker()
    assert read_password(scope(served, password=password)) == password
    assert read_password(scope(served, subprotocols=("relay.v1", f"password.{encoded}"))) == password


def test_most_clients_have_no_password() -> None:
    served = worker()
    assert read_password(scope(served, query="password=x")) == read_password(scope(served, password="")) == ""


@pytest.mark.parametrize("password", ["x" * 129, "\udcff"])
def test_a_password_that_no_room_has_is_refused(password: str) -> None:
    given = scope(worker())
    given["headers"] = [(b"relay-password", password.encode("utf-8", "surrogateescape"))]
    with pytest.raises(Refused) as refused:
        read_password(given)
    assert refused.value.code == "bad_password"
