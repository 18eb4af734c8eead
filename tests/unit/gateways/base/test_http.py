"""Requests to gateways and the headers of their responses."""

import asyncio
from typing import Any

import pytest

from relay.config import Settings
from relay.gateways.base.http import GatewayResponses, HttpBody, HttpExchange
from relay.model.workers import LISTENER
from relay.rooms.buffers import FREE
from relay.rooms.connection import ABORT_EXTENSION
from relay.rooms.held_response import HOLD_EXTENSION
from relay.rooms.worker import Worker
from tests.unit.gateways.base.fakes import until
from tests.unit.gateways.base.http_fakes import Held, Request, scope

SETTINGS = Settings(allowed_origins=("https://good.example",))


def exchange(request: Request, method: str = "GET", *, credentials: bool = False, **headers: str) -> HttpExchange:
    responses = GatewayResponses(SETTINGS, session_header="x-session", credentials=credentials)
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpExchange(scope(method, "/", {}, fields), request.receive, request.send, responses)


@pytest.mark.parametrize("credentials", [True, False])
@pytest.mark.parametrize(("origin", "allowed"), [("https://good.example", True), ("https://bad.example", False)])
async def test_only_pages_of_allowed_origins_may_read_a_response(origin: str, allowed: bool, credentials: bool) -> None:
    request = Request()
    asked = exchange(
        request, "OPTIONS", credentials=credentials, origin=origin, access_control_request_headers="x-mine"
    )
    await asked.respond(HttpBody(b"", status=204))
    headers = request.response.headers
    assert headers.get("access-control-allow-origin") == (origin if allowed else None)
    assert headers.get("access-control-allow-credentials") == ("true" if allowed and credentials else None)
    assert headers.get("access-control-allow-methods") == ("GET, POST" if allowed else None)
    assert headers.get("access-control-allow-headers") == ("x-mine" if allowed else None)
    assert headers.get("vary") == "Origin"


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
        "vary": "Origin",
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


async def test_a_client_that_sends_a_large_body_while_it_waits_is_disconnected() -> None:
    for size, answers in ((FREE, ["late", "late"]), (FREE + 1, ["late", None])):
        # A part comes while a first result is awaited, and the rest with the second one.
        request = Request(b"x", complete=False)
        asked = exchange(request)
        asked.scope["extensions"] = {ABORT_EXTENSION: request.drop}
        for answer in answers:
            result: asyncio.Future[str] = asyncio.Future()
            asyncio.get_running_loop().call_later(0.02, lambda one: one.done() or one.set_result("late"), result)
            assert await asked.unless_dropped(result) == answer
            request.more(bytes(size - 1))


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
        async def forward(self, scope: Any, *_: Any, limit: int, body: bytes | None, arrived: Any) -> bool:
            calls.append((_[2], limit, body))
            return True

    request = Request(b"body")
    asked = exchange(request, "POST")
    asked.scope["state"] = {"forwarder": Forwarding()}
    assert await asked.forward("sid", limit=10)
    await asked.read_body(10)
    assert await asked.forward("sid", limit=10)
    assert calls == [("sid", 10, None), ("sid", 10, b"body")]


# Responses that the server hands over.


def held(worker: Worker, request: Request, **headers: str) -> tuple[HttpExchange, Held]:
    """A request whose server hands the response over."""
    asked, response = exchange(request, **headers), Held(request)
    asked.scope["state"] = {"worker": worker, LISTENER: "public"}
    asked.scope["extensions"] = {HOLD_EXTENSION: lambda: response}
    return asked, response


async def test_without_such_a_server_the_call_lasts_as_long_as_the_response() -> None:
    for extensions in ({}, {HOLD_EXTENSION: lambda: None}):
        request = Request()
        asked = exchange(request)
        asked.scope["extensions"] = extensions
        await asked.hold(asked.respond(HttpBody(b"here"), session_id="abc"))
        assert (request.response.body, request.response.ended) == (b"here", True)


async def test_a_held_response_comes_after_the_call_with_the_headers_of_its_request() -> None:
    request, ready = Request(), asyncio.get_running_loop().create_future()
    async with Worker(SETTINGS) as worker:
        asked, response = held(worker, request, origin="https://good.example")

        async def rest() -> None:
            text = await asked.unless_dropped(ready)
            assert text is not None
            await asked.respond(HttpBody(text), session_id="abc")

        await asked.hold(rest())
        asked.release()  # the endpoint does so when the call ends
        assert not request.response.status
        assert not asked.scope
        with pytest.raises(RuntimeError, match="before its response is held"):
            await asked.read_body(10)
        ready.set_result(b"x" * 100_000)
        await request.response.until(b"x" * 100_000)
        assert request.response.headers["access-control-allow-origin"] == "https://good.example"
        assert request.response.headers["x-session"] == "abc"
        assert response.callback is None
        assert not response.aborted


async def test_a_client_that_drops_a_held_response_ends_the_waiting() -> None:
    request, never = Request(), asyncio.get_running_loop().create_future()
    results: asyncio.Queue[object] = asyncio.Queue()
    async with Worker(SETTINGS) as worker:
        asked, response = held(worker, request)

        async def rest() -> None:
            results.put_nowait(await asked.unless_dropped(never))

        await asked.hold(rest())
        await asyncio.sleep(0)
        response.drop()
        async with asyncio.timeout(20):
            assert await results.get() is None
        assert never.cancelled()


async def test_an_error_aborts_a_held_response(caplog: pytest.LogCaptureFixture) -> None:
    request = Request()
    async with Worker(SETTINGS) as worker:
        asked, response = held(worker, request)

        async def rest() -> None:
            raise KeyError("bug")

        await asked.hold(rest())
        await until(lambda: response.aborted)
    assert "died of an unexpected error" in caplog.text


async def test_a_held_response_counts_for_the_address_until_the_client_has_read_it() -> None:
    request = Request()
    request.may_send.clear()
    async with Worker(SETTINGS) as worker:
        asked, response = held(worker, request)
        await asked.hold(asked.respond(HttpBody(b"x" * 100_000)))
        await until(lambda: worker.admissions.buffers.everything.total >= 100_000)
        request.may_send.set()
        await request.response.until(b"x" * 100_000)
        await until(lambda: not worker.admissions.buffers.everything.total)
        assert not response.aborted
