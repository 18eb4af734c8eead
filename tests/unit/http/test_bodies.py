"""How bodies are read; the tests of their routes have the errors of each field."""

import pytest
from starlette.requests import Request

from relay.http.bodies import KickBody, checked_rooms, read_body
from relay.model.errors import RelayError


async def read(body: bytes, *, kind: bytes = b"application/json", limit: int = 1000) -> KickBody:
    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    request = Request({"type": "http", "headers": [(b"content-type", kind)]}, receive)
    return await read_body(request, KickBody, limit)


async def test_a_body_is_read() -> None:
    assert await read(b'{"peer":"p"}') == KickBody("p")
    assert await read(b'{"peer":"p","subject":null}', kind=b"application/json; charset=utf-8") == KickBody("p")


async def test_whole_numbers_may_have_a_point() -> None:
    assert (await read(b'{"ban":60.0}')).ban == 60
    with pytest.raises(RelayError, match="ban is a whole number"):
        await read(b'{"ban":60.5}')


async def test_lone_surrogates_are_replaced() -> None:
    assert (await read(rb'{"reason":"\ud83d"}')).reason == "\ufffd"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "bad_json"),
        (b"{", "bad_json"),
        (b'{"reason":"\xff"}', "bad_json"),
        (rb'{"reason":"\ud83d","ban":"x"}', "bad_body"),
        (b"[]", "bad_body"),
        (b'{"x":1}', "bad_body"),
        (b'{"reason":"' + b"x" * 1000 + b'"}', "too_large"),
        (b'{"x":' * 400, "bad_json"),
    ],
)
async def test_a_body_that_is_wrong(body: bytes, code: str) -> None:
    with pytest.raises(RelayError) as refused:
        await read(body, limit=5000 if b"x" * 5 not in body else 1000)
    assert refused.value.code == code


async def test_another_type_is_refused_unread() -> None:
    with pytest.raises(RelayError, match="bad_content_type"):
        await read(b"{}", kind=b"text/plain")


def test_the_first_name_that_is_wrong_is_told_by_its_place() -> None:
    assert checked_rooms(["a", "a%20b"]) == ["a", "a%20b"]
    with pytest.raises(RelayError, match=r"room 2 of the list: .* write a%20b"):
        checked_rooms(["a", "a b", ""])
