"""Queries and bodies of requests, and their bounds."""

from collections.abc import Sequence
from typing import Any

import pytest

from relay.http_request import (
    MAX_PARAMETERS,
    MAX_QUERY,
    check_origin,
    client_address,
    counted_client,
    header,
    read_body,
    read_query,
)
from relay.model.errors import Refused
from relay.origins import AllowedOrigins


def query(text: bytes) -> list[tuple[str, str]]:
    return read_query({"type": "http", "query_string": text})


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        (b"", []),
        (b"a=1&b=%20&a=2&c", [("a", "1"), ("b", " "), ("a", "2"), ("c", "")]),
        (b"a=%F0%9F%98%80+x", [("a", "\N{GRINNING FACE} x")]),
        (b"a=%zz&&&=", [("a", "%zz"), ("", "")]),
        (b"a=" + b"1" * (MAX_QUERY - 2), [("a", "1" * (MAX_QUERY - 2))]),
    ],
    ids=["none", "repeated", "escaped", "odd", "longest"],
)
def test_query(text: bytes, pairs: list[tuple[str, str]]) -> None:
    assert query(text) == pairs


@pytest.mark.parametrize(
    "text",
    [b"x=%FF", b"x=\xff", b"x=%ED%A0%80", b"&".join([b"x=1"] * (MAX_PARAMETERS + 1)), b"x=" + b"1" * MAX_QUERY],
    ids=["escaped bytes", "bytes", "surrogate", "many", "long"],
)
def test_bad_query(text: bytes) -> None:
    with pytest.raises(Refused) as error:
        query(text)
    assert error.value.code == "bad_query"


class Chunks:
    """The `receive` of a request whose body comes in chunks; `messages` are those that are left."""

    def __init__(self, *chunks: bytes, dropped: bool = False) -> None:
        self.messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks
        ]
        self.messages.append({"type": "http.disconnect"} if dropped else {"type": "http.request"})

    async def __call__(self) -> dict[str, Any]:
        return self.messages.pop(0)


async def test_a_body_comes_in_chunks() -> None:
    assert await read_body(Chunks(b"ab", b"", b"c"), 3) == b"abc"
    assert await read_body(Chunks(), 3) == b""


async def test_a_body_of_a_dropped_request_is_none() -> None:
    assert await read_body(Chunks(b"ab", dropped=True), 3) is None


async def test_a_body_is_read_no_further_than_the_limit() -> None:
    chunks = Chunks(*[b"x" * 100] * 10)
    with pytest.raises(Refused) as error:
        await read_body(chunks, 256)
    assert error.value.code == "too_large"
    assert len(chunks.messages) == 8


def test_headers() -> None:
    scope = {"headers": [(b"a", b"\xe9"), (b"a", b"2")]}
    assert header(scope, b"a") == "é"
    assert header(scope, b"b") is None


@pytest.mark.parametrize(
    ("origin", "allowed", "refused"),
    [
        (None, ["https://page.example"], False),
        (b"https://page.example", ["https://page.example", "https://b.example"], False),
        (b"https://b.example", ["*"], False),
        (b"https://b.example", ["https://page.example"], True),
        (b"null", ["https://page.example"], True),
        (b"", ["https://page.example"], True),
        (b"https://page.example.evil", ["https://page.example"], True),
        (b"https://b.example", [], True),
    ],
)
def test_pages_of_other_origins_are_refused(origin: bytes | None, allowed: Sequence[str], refused: bool) -> None:
    scope = {"headers": [] if origin is None else [(b"origin", origin)]}
    if not refused:
        check_origin(scope, AllowedOrigins(allowed))
        return
    with pytest.raises(Refused, match="bad_origin"):
        check_origin(scope, AllowedOrigins(allowed))


def test_a_client_has_the_address_that_its_server_knows() -> None:
    assert client_address({"client": ("::1", 5)}) == "::1"
    assert client_address({"client": None}) == client_address({}) == ""
    assert counted_client({"client": ("2001:db8::7", 5)}) == "2001:db8::/64"
