"""Every route of the application, asked by pages of several origins, with and without credentials."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2 as httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Match, WebSocketRoute

from relay import gateways
from relay.app import create_app
from relay.config import Settings

PAGE, OTHER, NULL = "https://page.example", "https://evil.example", "null"
COOKIES = "io=AAAAAAAAAAAAAAAAAAAAAA; session=secret"

HTTP = (
    "/", "/health", "/health/live", "/healthcheck", "/metrics", "/rooms", "/rooms/a", "/rooms/a/kick", "/rooms/a/move",
    "/publish", "/subjects/a", "/turn", "/openapi.json", "/demo", "/relay.js",
    "/relay.mjs", "/relay.d.ts", "/pages/style.css", "/pages/home.js", "/pages/demo.js", "/pages/icon.svg",
)  # fmt: skip
"""Paths outside all gateways."""

FOR_ALL = {"/openapi.json", "/relay.js", "/relay.mjs", "/relay.d.ts"}
"""Public files, for pages of all origins, also those that the setting does not list."""

OF_SESSIONS = (
    "/socket.io/?EIO=4&transport=polling",
    "/socket.io/?EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAAAA",
    "/socket.io/?EIO=9",
    "/socket.io/1/",
    f"/socket.io/1/xhr-polling/{'A' * 22}",
    "/rooms/a/messages",
    "/rooms/a/messages?peer=a&resume=AAAAAAAAAAAAAAAAAAAAAA&since=nothing",
    "/rooms/a/events?peer=a&resume=short",
    "/rooms/a/leave",
    "/signalr/negotiate",
    "/signalr",
    "/rooms/a/signalr?id=nothing",
    "/signalr/hubs",
    "/rooms/a/signalr/hubs/poll",
    "/websync.ashx?token=1",
    "/rooms/a/websync.ashx?token=1&jsonp=f",
)
"""Paths whose session is proven by an id in the URL."""

OF_GATEWAYS = (
    "/rooms/a/connect?previous=1", "/rooms/a/frames", "/rooms/a/frames?session=AAAAAAAAAAAAAAAAAAAAAA",
    "/peerjs", "/peerjs/", "/peerjs/id", "/peerjs/peers", "/peerjs/peerjs/id", "/peerjs/peerjs/peers",
    "/http-bind", "/a/id", "/a/peers", "/rooms/a/peerjs/id", "/rooms/a/peerjs/peers",
    "/peerjs/ann/token/id", "/peerjs/peerjs/ann/token/id", "/rooms/a/peerjs/ann/token/id",
    "/.lp?id=nothing", "/.lp?start=t&v=5&cb=1", "/a/b.json", "/a.json?print=loud",
)  # fmt: skip
"""Paths of gateways that are answered to pages without credentials."""

OF_XHR_SIGNALING = ("/Home/GetData", "/Home/PostData", "/rooms/a/Home/GetData", "/rooms/a/Home/PostData")
"""Paths whose cookie counts in requests of the same origin alone, to which browsers always show the response."""

WITHOUT_CREDENTIALS = (*HTTP, *OF_GATEWAYS, *OF_XHR_SIGNALING)

WEBSOCKETS = (
    "/", "/rooms/a", "/socket.io/?EIO=4&transport=websocket", f"/socket.io/1/websocket/{'A' * 22}",
    "/peerjs", "/peerjs/peerjs", "/rooms/a/peerjs", "/signalr", "/rooms/a/signalr",
    "/.ws?v=5",
)  # fmt: skip

SAME_ENDPOINT = (
    *(
        f"{room}/signalr{base}/{action}"
        for room in ("", "/rooms/a")
        for base in ("", "/hubs")
        for action in ("negotiate", "start", "connect", "reconnect", "poll", "send", "abort", "ping")
    ),
    "/signalr/js", "/rooms/a/signalr/hubs", "/rooms/a/signalr/js", "/rooms/a/signalr/negotiate",
    "/xmpp-websocket",
)  # fmt: skip
"""Paths of sessions, and of their WebSockets, whose application is that of others in these tables."""

SUBPROTOCOLS = ("sip",)
"""Those with a gateway of their own, at the first two of these paths."""

PROVEN_WEBSOCKETS = ("/signalr/connect", "/rooms/a/signalr/hubs/reconnect")
"""WebSockets that are refused (HTTP 400) without a token in the URL, which no page of another origin has."""


class Site:
    """The whole application of one worker, without a server."""

    def __init__(self, app: Starlette, state: dict[str, Any]) -> None:
        self.app = app
        self._state = state

    async def ask(self, method: str, path: str, **headers: str | None) -> httpx.Response:
        async def served(scope: Any, receive: Any, send: Any) -> None:
            await self.app({**scope, "state": dict(self._state)}, receive, send)

        sent = {name.replace("_", "-"): value for name, value in headers.items() if value is not None}
        transport = httpx.ASGITransport(served, client=("203.0.113.9", 1234))
        async with httpx.AsyncClient(transport=transport, base_url="http://relay.example") as client:
            return await client.request(method, path, headers=sent)

    async def open_socket(self, path: str, origin: str | None, *subprotocols: str) -> int:
        """Begin a WebSocket; returns the status of the handshake's answer."""
        sent: list[Any] = []

        async def receive() -> Any:
            accepted = any(one["type"] == "websocket.accept" for one in sent)
            return {"type": "websocket.disconnect", "code": 1000} if accepted else {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(message)

        target, _, query = path.partition("?")
        scope = {
            "type": "websocket", "path": target, "raw_path": target.encode(), "query_string": query.encode(),
            "headers": [] if origin is None else [(b"origin", origin.encode())], "subprotocols": [*subprotocols],
            "root_path": "",
            "client": ("203.0.113.9", 1234), "server": ("127.0.0.1", 8888), "scheme": "ws", "state": dict(self._state),
            "extensions": {"websocket.http.response": {}},
        }  # fmt: skip
        await self.app(scope, receive, send)
        return 101 if sent[0]["type"] == "websocket.accept" else int(sent[0]["status"])


@asynccontextmanager
async def site(*allowed: str) -> AsyncIterator[Site]:
    app = create_app(Settings(allowed_origins=allowed))
    async with app.router.lifespan_context(app) as state:
        assert state is not None
        yield Site(app, dict(state))


def cors_of(answer: httpx.Response) -> tuple[str | None, bool]:
    return (
        answer.headers.get("access-control-allow-origin"),
        answer.headers.get("access-control-allow-credentials") == "true",
    )


def test_the_tables_have_every_route() -> None:
    """A new route belongs into a table of this file; a new gateway's routes into `OF_SESSIONS` if it declares so."""
    app = create_app(Settings())
    scripts = ("/socket.io/socket.io.js", "/socket.io/socket.io.min.js")
    for kind, paths in (("http", (*WITHOUT_CREDENTIALS, *OF_SESSIONS, *SAME_ENDPOINT, *scripts)),
                        ("websocket", (*WEBSOCKETS, *SAME_ENDPOINT))):  # fmt: skip
        scopes = [
            {"type": kind, "path": path.partition("?")[0], "root_path": "", "method": "GET", "headers": []} | more
            for path in paths
            for more in ({}, {"subprotocols": [*SUBPROTOCOLS]})
        ]
        met = [route for route in app.routes if any(route.matches(dict(one))[0] is not Match.NONE for one in scopes)]
        kinds = [one for one in app.routes if isinstance(one, WebSocketRoute) == (kind == "websocket")]
        assert [one for one in kinds if one not in met] == []


def test_the_gateways_that_allow_credentials_declare_it() -> None:
    declared = {prefix for one in gateways.GATEWAYS.values() if one.credentials for prefix in one.prefixes}
    plain = {
        "/socket.io",
        "/signalr",
        "/rooms/{room}/signalr",
        "/rooms/{room}/events",
        "/rooms/{room}/messages",
        "/rooms/{room}/leave",
    }
    plain |= {"/websync.ashx", "/rooms/{room}/websync.ashx"}
    assert {one for one in declared if "/signalr/" not in one} == plain


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("cookie", [COOKIES, None])
async def test_with_all_origins_credentials_are_allowed_where_a_session_is_proven_alone(
    method: str, cookie: str | None
) -> None:
    async with site("*") as here:
        for origin in (PAGE, OTHER, NULL, None):
            for path in WITHOUT_CREDENTIALS:
                answer = await here.ask(method, path, Origin=origin, Cookie=cookie)
                assert cors_of(answer) == ("*", False), path
                assert "origin" not in answer.headers.get("vary", "").lower()
            for path in OF_SESSIONS:
                answer = await here.ask(method, path, Origin=origin, Cookie=cookie)
                assert cors_of(answer) == (origin, origin is not None), path
                assert "Origin" in answer.headers["vary"]
                # The cookie of SignalR is for programs, and for pages of the relay's own origin.
                sets = method == "POST" and path == "/signalr/negotiate" and origin is None
                assert ("set-cookie" in answer.headers) is sets


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_with_listed_origins_no_other_page_reads_a_response(method: str) -> None:
    async with site(PAGE) as here:
        for origin in (PAGE, OTHER, NULL, None):
            for path in (*WITHOUT_CREDENTIALS, *OF_SESSIONS):
                answer = await here.ask(method, path, Origin=origin, Cookie=COOKIES)
                if path in FOR_ALL and "access-control-allow-origin" in answer.headers and method == "GET":
                    assert cors_of(answer) == ("*", False)
                    continue
                credentials = origin == PAGE and path in OF_SESSIONS
                assert cors_of(answer) == (PAGE if origin == PAGE else None, credentials), (path, origin)
                assert "Origin" in answer.headers["vary"]


@pytest.mark.parametrize("path", [*WITHOUT_CREDENTIALS, *OF_SESSIONS])
async def test_preflight_requests_are_bounded_and_kept(path: str) -> None:
    async with site("*") as here:
        asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Private-Network": "true"}
        answer = await here.ask("OPTIONS", path, Origin=PAGE, **asked)
        assert answer.status_code in {200, 204}
        assert answer.headers["access-control-max-age"] == "7200"
        assert "access-control-allow-private-network" not in answer.headers
        long = "x" * 4000
        refused = await here.ask("OPTIONS", path, Origin=PAGE, Access_Control_Request_Headers=long, **asked)
        assert long not in str(refused.headers) + refused.text
    async with site(PAGE) as here:
        answer = await here.ask("OPTIONS", path, Origin=PAGE, **asked)
        assert answer.headers["access-control-allow-private-network"] == "true"


async def test_no_cookie_is_an_identity() -> None:
    async with site("*") as here:
        begun = (await here.ask("GET", OF_SESSIONS[0], Origin=PAGE)).text
        sid = begun.partition('"sid":"')[2].partition('"')[0]
        assert sid
        for name in ("io", "sid", "session", "JSESSIONID"):
            answer = await here.ask("POST", OF_SESSIONS[0], Origin=PAGE, Cookie=f"{name}={sid}")
            assert (answer.status_code, answer.json()["code"]) == (400, 2)


@pytest.mark.parametrize("path", [*WEBSOCKETS, *PROVEN_WEBSOCKETS])
async def test_the_handshake_of_a_websocket_is_on_the_same_list(path: str) -> None:
    for allowed, origins in ((("*",), (PAGE, OTHER, NULL, None)), ((PAGE,), (PAGE, None)), ((NULL,), (NULL, None))):
        async with site(*allowed) as here:
            for origin in (PAGE, OTHER, NULL, None):
                status = await here.open_socket(path, origin)
                served = 400 if path in PROVEN_WEBSOCKETS else 101
                assert status == (served if origin in origins else 403), (allowed, origin)


@pytest.mark.parametrize("path", WEBSOCKETS[:2])
async def test_the_handshake_of_a_subprotocol_is_on_the_same_list(path: str) -> None:
    async with site(PAGE) as here:
        for name in SUBPROTOCOLS:
            assert [await here.open_socket(path, origin, name) for origin in (PAGE, OTHER)] == [101, 403]
