"""Requests to gateways and the headers of their responses."""

import asyncio
from typing import Any

import pytest

from relay.config import Settings
from relay.gateways.base.http import GatewayResponses, HttpBody, HttpExchange
from relay.model.workers import LISTENER
from tests.unit.gateways.base.http_fakes import Request, scope

SETTINGS = Settings(allowed_origins=("https://good.example",))


def exchange(request: Request, method: str = "GET", **headers: str) -> HttpExchange:
    responses = GatewayResponses(SETTINGS, session_header="x-session")
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpExchange(scope(method, "/", {}, fields), request.receive, request.send, responses)


@pytest.mark.parametrize(("origin", "allowed"), [("https://good.example", True), ("https://bad.example", False)])
async def test_only_pages_of_allowed_origins_may_read_a_response(origin: str, allowed: bool) -> None:
    request = Request()
    asked = exchange(request, "OPTIONS", origin=origin, access_control_request_headers="x-mine")
    await asked.respond(HttpBody(b"", status=204))
    headers = request.response.headers
    assert headers.get("access-control-allow-origin") == (origin if allowed else None)
    assert headers.get("access-control-allow-credentials") == ("true" if allowed else None)
    assert headers.get("access-control-allow-methods") == ("GET, POST" if allowed else None)
    assert headers.get("access-control-allow-headers") == ("x-mine" if allowed else None)
    assert headers.get("vary") == ("Origin" if allowed else None)


async def test_every_response_is_kept_out_of_caches_and_guesses() -> None:
    request = Request()
    await exchange(request).respond(HttpBody(b"{}", b"application/json", 404), session_id="abc")
    assert request.response.status == 404
    assert request.response.headers == {
        "content-type": "application/json",
        "content-length": "2",
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "x-session": "abc",
    }


@pytest.mark.parametrize(("status", "wait"), [(429, "2"), (503, "2"), (403, None)])
async def test_a_client_that_may_try_again_is_asked_to_wait(status: int, wait: str | None) -> None:
    request = Request()
    await exchange(request).respond(HttpBody(b"", status=status))
    assert request.response.headers.get("retry-after") == wait


async def test_a_response_through_another_replica_does_not_name_the_session() -> None:
    """A load balancer would learn that the session is on the replica that has forwarded the request."""
    for listener, named in (("public", True), ("local", True), ("forwarding", False)):
        request = Request()
        one = exchange(request)
        one.scope["state"] = {LISTENER: listener}
        await one.respond(HttpBody(b""), session_id="abc")
        assert ("x-session" in request.response.headers) == named


async def test_without_a_header_for_it_no_response_names_the_session() -> None:
    request = Request()
    await HttpExchange(scope("GET", "/", {}), request.receive, request.send, GatewayResponses(SETTINGS)).respond(
        HttpBody(b""), session_id="abc"
    )
    assert "abc" not in request.response.headers.values()


@pytest.mark.parametrize(
    ("value", "media_type"),
    [("", b""), ("text/plain", b"text/plain"), ("Application/JSON ; charset=utf-8", b"application/json")],
)
async def test_the_media_type_has_no_parameters(value: str, media_type: bytes) -> None:
    assert exchange(Request(), content_type=value).media_type == media_type


async def test_a_body_is_read_once() -> None:
    asked = exchange(Request(b"abc"))
    assert [await asked.read_body(3), await asked.read_body(3)] == [b"abc", b"abc"]


async def test_waiting_ends_with_the_result_or_when_the_client_drops_the_request() -> None:
    loop = asyncio.get_running_loop()
    ready, later, never = loop.create_future(), loop.create_future(), loop.create_future()
    ready.set_result(1)
    loop.call_soon(later.set_result, 2)
    request = Request()
    asked = exchange(request)
    assert [await asked.unless_dropped(ready), await asked.unless_dropped(later)] == [1, 2]
    request.drop()
    assert await asked.unless_dropped(never) is None
    assert never.cancelled()


async def test_waiting_can_be_cancelled_from_outside() -> None:
    result = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(exchange(Request()).unless_dropped(result))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_request_is_forwarded_with_the_body_that_was_read() -> None:
    calls: list[tuple[Any, ...]] = []

    class Forwarding:
        async def forward(self, scope: Any, *_: Any, limit: int, body: bytes | None) -> bool:
            calls.append((_[2], limit, body))
            return True

    request = Request(b"body")
    asked = exchange(request, "POST")
    asked.scope["state"] = {"forwarder": Forwarding()}
    assert await asked.forward("sid", limit=10)
    await asked.read_body(10)
    assert await asked.forward("sid", limit=10)
    assert calls == [("sid", 10, None), ("sid", 10, b"body")]
