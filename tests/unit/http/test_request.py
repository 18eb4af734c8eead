"""Reading queries, bodies and tokens of requests."""

import pytest
from starlette.requests import ClientDisconnect, Request

from relay.config import Settings
from relay.http.request import has_admin_token, read_choice, read_json, read_query
from relay.model.errors import Refused
from relay.rooms.worker import Worker


def request(
    query: bytes = b"", headers: dict[str, str] | None = None, chunks: tuple[bytes, ...] = (), worker: object = None
) -> Request:
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> dict[str, object]:
        return messages.pop(0)

    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": query, "headers": raw}
    return Request({**scope, "state": {"worker": worker}}, receive)


def refused(error: pytest.ExceptionInfo[Refused]) -> str:
    return error.value.code


@pytest.mark.parametrize(
    ("query", "values"),
    [
        (b"", {}),
        (b"limit=5", {"limit": "5"}),
        (b"limit=&after=a%3Ab+c", {"limit": "", "after": "a:b c"}),
        (b"other=1&other=2&limit=5", {"limit": "5"}),
        (b"after=%F0%9F%98%80", {"after": "\N{GRINNING FACE}"}),
        (b"after=%zz&&&=", {"after": "%zz"}),
    ],
)
def test_query(query: bytes, values: dict[str, str]) -> None:
    assert read_query(request(query), "limit", "after") == values


@pytest.mark.parametrize(
    "query",
    [b"limit=1&limit=2", b"x=%FF"],
    ids=["twice", "not UTF-8"],
)
def test_bad_query(query: bytes) -> None:
    with pytest.raises(Refused) as error:
        read_query(request(query), "limit", "after")
    assert refused(error) == "bad_query"


def test_choice() -> None:
    assert read_choice(request(), "scope", "all", "worker") == "all"
    assert read_choice(request(b"scope=worker"), "scope", "all", "worker") == "worker"
    for query in (b"scope=", b"scope=ALL", b"scope=x"):
        with pytest.raises(Refused) as error:
            read_choice(request(query), "scope", "all", "worker")
        assert refused(error) == "bad_query"


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8", "application/json;"])
async def test_body_in_chunks(kind: str) -> None:
    body = await read_json(request(headers={"Content-Type": kind}, chunks=(b"{", b"", b"}")), 2)
    assert body == b"{}"


@pytest.mark.parametrize("kind", [None, "", "text/plain", "application/jsonp", "application/x-www-form-urlencoded"])
async def test_body_of_another_type(kind: str | None) -> None:
    with pytest.raises(Refused) as error:
        await read_json(request(headers={} if kind is None else {"Content-Type": kind}), 2)
    assert refused(error) == "bad_content_type"


async def test_a_body_that_is_too_long_is_refused() -> None:
    with pytest.raises(Refused) as error:
        await read_json(request(headers={"Content-Type": "application/json"}, chunks=(b"xx", b"x")), 2)
    assert refused(error) == "too_large"


async def test_a_body_that_its_client_drops_has_no_answer() -> None:
    async def receive() -> dict[str, object]:
        return {"type": "http.disconnect"}

    asked = Request(request(headers={"Content-Type": "application/json"}).scope, receive)
    with pytest.raises(ClientDisconnect):
        await read_json(asked, 2)


@pytest.mark.parametrize(
    ("authorization", "token", "expected"),
    [
        ("Bearer secret", "secret", True),
        ("bearer  secret", "secret", True),
        ("", "secret", False),
        ("Basic dTpw", "secret", False),
        ("Resume abc", "secret", False),
        ("Bearer", "secret", False),
        ("Bearer secret", "", False),
        ("Bearer ", "", False),
    ],
)
def test_token(authorization: str, token: str, expected: bool) -> None:
    worker = Worker(Settings(admin_token=token))
    asked = request(headers={"Authorization": authorization} if authorization else {}, worker=worker)
    assert has_admin_token(asked) is expected


@pytest.mark.parametrize("given", ["wrong", "", "secre", "secret2", "\xe9"])
def test_wrong_token(given: str) -> None:
    with pytest.raises(Refused) as error:
        has_admin_token(
            request(headers={"Authorization": f"Bearer {given}"}, worker=Worker(Settings(admin_token="secret")))
        )
    assert refused(error) == "unauthorized"
