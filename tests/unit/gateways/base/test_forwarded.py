"""Which requests of other workers are accepted, and that the application sees no internal headers of clients."""

import asyncio
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from relay.fleet_key import FleetKey
from relay.gateways.base.forwarded import FORWARDED, GATE, ForwardedGate, ForwardedRequests, target_of
from relay.gateways.base.request_seal import RequestHead, Sealer, SealVerifier
from relay.metrics import Metrics
from relay.model.workers import LISTENER, Owner

KEY = FleetKey(["s" * 32])
ME = Owner(b"group1", 0)
Headers = list[tuple[bytes, bytes]]

HEADERS = [(b"host", b"relay.example"), (b"cookie", b"a=b"), (b"x-forwarded-for", b"9.9.9.9")]


class Site:
    """The middleware before an application that notes its calls."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.time = 100.0
        self.scopes: list[Scope] = []
        self.bodies: list[bytes] = []
        self.sent: list[Message] = []
        verifier = SealVerifier(KEY, ME, lambda: 1_000_000)
        self.gate = ForwardedGate(verifier, limit=1000, metrics=self.metrics, clock=lambda: self.time)
        self._middleware = ForwardedRequests(self._app)

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        if scope["type"] == "http":
            self.bodies.append((await receive())["body"])
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    async def request(self, listener: str, headers: Headers, body: bytes = b"hello", **scope: Any) -> int:
        """Make a request, and return the status of its answer; 0 for none."""
        messages: list[Message] = [
            {"type": "http.request", "body": body[:3], "more_body": True},
            {"type": "http.request", "body": body[3:]},
        ]

        async def receive() -> Message:
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            self.sent.append(message)

        self.sent.clear()
        full: dict[str, Any] = {
            "type": "http",
            "method": "POST",
            "raw_path": b"/socket.io/",
            "query_string": b"sid=x",
            "headers": headers,
            "client": ("10.5.5.5", 4000),
            "scheme": "http",
            "state": {LISTENER: listener, GATE: self.gate},
        }
        await self._middleware(full | scope, receive, send)
        return int(self.sent[0]["status"]) if self.sent and "status" in self.sent[0] else 0

    def refused(self, reason: str) -> float:
        return self.metrics.registry.get_sample_value("relay_forward_refusals_total", {"reason": reason}) or 0


def sealed(headers: Headers = HEADERS, body: bytes = b"hello", **more: Any) -> Headers:
    head = RequestHead(b"POST", b"/socket.io/?sid=x", headers)
    sealer = Sealer(more.pop("key", KEY), more.pop("receiver", ME), lambda: more.pop("now", 1_000_000))
    value = sealer.seal(head, address="10.1.2.3", scheme="https", body=body)
    return [*headers, (b"x-relay-forwarded", value)]


@pytest.mark.parametrize("listener", ["forwarding", "local"])
async def test_a_sealed_request_is_that_of_its_client(listener: str) -> None:
    site = Site()
    assert await site.request(listener, sealed(), client=None if listener == "local" else ("10.5.5.5", 1)) == 200
    scope = site.scopes[0]
    assert (scope["client"], scope["scheme"]) == (("10.1.2.3", 0), "https")
    assert scope["state"][FORWARDED]
    assert scope["headers"] == [(b"host", b"relay.example"), (b"cookie", b"a=b")]
    assert site.bodies == [b"hello"]


async def test_the_body_comes_once_and_then_the_clients_disconnect() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend([(await receive())["type"] for _ in range(2)])

    site = Site()
    site._middleware = ForwardedRequests(app)
    await site.request("forwarding", sealed())
    assert seen == ["http.request", "http.disconnect"]


async def test_headers_of_clients_that_only_workers_may_send_are_dropped() -> None:
    site = Site()
    headers = [*sealed(), (b"x-relay-client", b"1.2.3.4"), (b"x-relay-", b"")]
    assert await site.request("public", headers) == 200
    assert site.scopes[0]["headers"] == HEADERS
    assert site.scopes[0]["client"] == ("10.5.5.5", 4000)
    assert FORWARDED not in site.scopes[0]["state"]


async def test_they_are_dropped_from_websockets_and_without_a_known_listener() -> None:
    site = Site()
    for scope in ({"type": "websocket"}, {"type": "websocket", "state": {}}):
        await site.request("public", sealed(), **scope)
    assert [scope["headers"] for scope in site.scopes] == [HEADERS, HEADERS]


async def test_health_and_metrics_are_asked_for_over_the_unix_socket() -> None:
    site = Site()
    assert await site.request("local", HEADERS, client=None) == 200
    assert FORWARDED not in site.scopes[0]["state"]


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        (HEADERS, "unsigned"),
        ([*HEADERS, (b"x-relay-forwarded", b"")], "malformed"),
        ([*HEADERS, (b"x-relay-client", b"10.1.2.3")], "malformed"),
        ([*sealed(), sealed()[-1]], "malformed"),
        ([*sealed(), (b"x-relay-client", b"10.1.2.3")], "malformed"),
        (sealed(key=FleetKey(["t" * 32])), "bad_mac"),
        (sealed(receiver=Owner(b"group1", 1), key=FleetKey(["t" * 32])), "bad_mac"),
        ([*sealed(), (b"origin", b"https://evil")], "bad_mac"),
        (sealed(now=900_000), "expired"),
        (sealed(now=1_100_000), "expired"),
        (sealed(body=b"other"), "bad_body"),
        (sealed(body=b""), "bad_body"),
    ],
)
@pytest.mark.parametrize("listener", ["forwarding", "local"])
async def test_a_request_without_a_valid_seal_is_not_served(listener: str, headers: Headers, reason: str) -> None:
    if listener == "local" and reason == "unsigned":
        return  # those are served
    site = Site()
    assert await site.request(listener, headers) == 404
    assert site.scopes == []
    assert site.refused(reason) == 1
    assert dict(site.sent[0]["headers"])[b"connection"] == b"close"
    assert site.sent[1]["body"] == b""


async def test_a_request_for_a_worker_that_had_this_address_before(caplog: pytest.LogCaptureFixture) -> None:
    site = Site()
    assert await site.request("forwarding", sealed(receiver=Owner(b"group2", 0))) == 421
    assert (site.scopes, site.refused("misdirected"), site.refused("bad_mac")) == ([], 1, 0)
    assert not caplog.records  # it is no attack, and no fault


async def test_a_request_that_comes_again_is_not_served() -> None:
    site, headers = Site(), sealed()
    assert [await site.request("forwarding", headers) for _ in range(2)] == [200, 404]
    assert site.refused("replayed") == 1


@pytest.mark.parametrize("change", [{"method": "GET"}, {"raw_path": b"/metrics"}, {"query_string": b"sid=y"}])
async def test_a_changed_request_is_not_served(change: dict[str, Any]) -> None:
    site = Site()
    assert await site.request("forwarding", sealed(), **change) == 404
    assert site.refused("bad_mac") == 1


async def test_a_body_beyond_the_limit_is_not_served() -> None:
    site = Site()
    assert await site.request("forwarding", sealed(body=b"x" * 1001), b"x" * 1001) == 404
    assert site.refused("too_large") == 1


async def test_the_body_of_an_unsigned_request_is_not_read() -> None:
    site = Site()

    async def receive() -> Message:
        raise AssertionError("it was read")

    async def send(message: Message) -> None:
        site.sent.append(message)

    scope = {"type": "http", "method": "POST", "raw_path": b"/", "query_string": b"", "headers": HEADERS,
             "client": None, "state": {LISTENER: "forwarding", GATE: site.gate}}  # fmt: skip
    await ForwardedRequests(site._app)(scope, receive, send)
    assert site.sent[0]["status"] == 404


async def test_a_request_that_is_dropped_is_not_answered() -> None:
    site = Site()

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        site.sent.append(message)

    scope = {"type": "http", "method": "POST", "raw_path": b"/socket.io/", "query_string": b"sid=x",
             "headers": sealed(), "client": None, "state": {LISTENER: "forwarding", GATE: site.gate}}  # fmt: skip
    await ForwardedRequests(site._app)(scope, receive, send)
    assert (site.sent, site.scopes) == ([], [])


@pytest.mark.parametrize("listener", ["forwarding", "local"])
async def test_a_websocket_is_refused(listener: str) -> None:
    site = Site()
    await site.request(listener, sealed(), type="websocket")
    assert site.sent == [{"type": "websocket.close", "code": 1000, "reason": ""}]
    assert site.scopes == []


async def test_refusals_are_logged_once_a_minute_for_each_reason(caplog: pytest.LogCaptureFixture) -> None:
    site = Site()
    for later in (0, 30, 31):
        site.time += later
        await site.request("forwarding", HEADERS)
        await site.request("forwarding", [*HEADERS, (b"x-relay-forwarded", b"")])
    assert len(caplog.records) == 4
    assert "10.5.5.5" in caplog.text


async def test_the_lifespan_passes() -> None:
    called = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        called.set()

    await ForwardedRequests(app)({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert called.is_set()


def test_the_target_of_a_request() -> None:
    assert target_of({"raw_path": b"/a%2Fb", "query_string": b"c=d"}) == b"/a%2Fb?c=d"
    assert target_of({"raw_path": b"/a", "query_string": b""}) == b"/a"
