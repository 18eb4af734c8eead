"""The routes of all gateways together, and of those that are switched on."""

import re
from typing import Any

import httpx2 as httpx
import pytest
from starlette.routing import Match

from relay.app import create_app
from relay.config import Settings
from relay.gateways import GATEWAYS
from relay.gateways.composition import routes, state
from relay.gateways.native.streams import STATE
from relay.rooms.worker import Worker

PATHS = [
    ("websocket", "/", "NativeGateway"),
    ("websocket", "/rooms/name", "NativeGateway"),
    ("websocket", "/socket.io/", "SocketIOGateway"),
    ("websocket", "/socket.io/1/websocket/id", "V09Gateway"),
    ("http", "/socket.io/", "SocketIOGateway"),
    ("http", "/socket.io/1/", "V09Gateway"),
    ("websocket", "/peerjs", "PeerJSGateway"),
    ("websocket", "/peerjs/peerjs", "PeerJSGateway"),
    ("websocket", "/rooms/name/peerjs", "PeerJSGateway"),
    ("http", "/peerjs/id", "PeerJSGateway"),
    ("http", "/peerjs/peers", "PeerJSGateway"),
    ("http", "/peerjs/key/id", "PeerJSGateway"),
    ("http", "/key/id", "PeerJSGateway"),
    ("http", "/rooms/name/key/id", "PeerJSGateway"),
    ("http", "/rooms/name/key/peers", "PeerJSGateway"),
    ("http", "/rooms/name/events", "EventsEndpoint"),
    ("http", "/rooms/name/messages", "MessagesEndpoint"),
    ("http", "/rooms/name/leave", "LeaveEndpoint"),
    ("http", "/websync.ashx", "WebSyncEndpoint"),
    ("http", "/rooms/name/websync.ashx", "WebSyncEndpoint"),
    ("http", "/signalr/hubs", "ClassicGateway"),
    ("http", "/signalr/negotiate", "ClassicGateway"),
    ("http", "/rooms/name/signalr/hubs/poll", "ClassicGateway"),
    ("websocket", "/signalr/reconnect", "ClassicGateway"),
]


def with_gateways(*names: str) -> Settings:
    return Settings(extensions={"gateways": names})


def served(kind: str, path: str, settings: Settings) -> str | None:
    scope = {"type": kind, "path": path, "root_path": "", "method": "GET", "headers": []}
    found = [route for route in routes(settings) if route.matches(scope)[0] is Match.FULL]
    return type(found[0].app).__name__ if found else None  # type: ignore[attr-defined]


@pytest.mark.parametrize(("kind", "path", "endpoint"), [*PATHS, ("http", "/rooms/name", None), ("http", "/", None)])
def test_each_path_reaches_the_gateway_of_its_protocol(kind: str, path: str, endpoint: str | None) -> None:
    assert served(kind, path, Settings()) == endpoint


@pytest.mark.parametrize(("kind", "path", "endpoint"), PATHS)
def test_a_gateway_that_is_switched_off_has_no_routes(kind: str, path: str, endpoint: str) -> None:
    off = with_gateways("socketio" if endpoint == "NativeGateway" else "native")
    assert served(kind, path, off) is None


async def ask(settings: Settings, method: str, path: str, **headers: str) -> httpx.Response:
    app = create_app(settings)
    async with app.router.lifespan_context(app) as kept:
        assert kept is not None

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "state": dict(kept)}, receive, send)

        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://relay") as client:
            return await client.request(method, path, headers=headers)


async def test_requests_to_a_gateway_that_is_switched_off_are_not_found() -> None:
    for path in ("/socket.io/?EIO=4&transport=polling", "/socket.io/1/", "/socket.io/socket.io.js"):
        answer = await ask(with_gateways("native"), "GET", path, Origin="https://page.example")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
        assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
@pytest.mark.parametrize(
    "path",
    [
        *(path for kind, path, _ in PATHS if kind == "http"),
        "/socket.io/?EIO=4&transport=polling&sid=x",
        f"/socket.io/1/xhr-polling/{'x' * 22}",
    ],
)
async def test_pages_of_other_origins_reach_no_gateway(path: str, method: str) -> None:
    settings = Settings(allowed_origins=("https://page.example",))
    answer = await ask(settings, method, path, Origin="https://other.example")
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["x-content-type-options"] == "nosniff"
    preflight = {"Origin": "https://other.example", "Access-Control-Request-Method": method}
    assert "access-control-allow-origin" not in (await ask(settings, "OPTIONS", path, **preflight)).headers


@pytest.mark.parametrize("path", ["/", "/health", "/health/live", "/metrics", "/rooms", "/rooms/a", "/openapi.json",
    "/demo", "/relay.js", "/pages/demo.js", "/nothing", "/rooms/a/b", "/rooms/%00", "/socket.io/", "/socket.io/1/",
    "/socket.io/?EIO=4&transport=polling", "/socket.io/socket.io.js"])  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_no_answer_lets_a_browser_guess_its_type(path: str, method: str) -> None:
    answer = await ask(Settings(extensions={"socketio_client_url": "/x.js"}), method, path, Origin="https://a.example",
        **{"Access-Control-Request-Method": "GET"})  # fmt: skip
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_the_description_has_the_websockets_of_the_gateways_that_serve() -> None:
    assert (await ask(with_gateways("native"), "GET", "/")).json()["websocket"] == ["/", "/rooms/{room}"]
    assert (await ask(with_gateways("socketio"), "GET", "/")).json()["websocket"] == []


async def test_the_page_shows_how_to_use_the_gateways_that_serve() -> None:
    panels = {}
    for name in (
        "native",
        "socketio",
        "peerjs",
        "plainhttp",
        "xhrsignaling",
        "xmpp",
        "signalrclassic",
        "sip",
        "websync",
        "firebase",
        "*",
    ):
        names = (name,)
        page = (await ask(with_gateways(*names), "GET", "/", Accept="text/html")).text
        panels[names] = set(re.findall(r'data-tab="([^"]+)"', page))
    socketio = {"Socket.IO", "RTCMultiConnection 3", "SimpleWebRTC"}
    assert panels["socketio",] == socketio
    assert panels["peerjs",] == {"PeerJS"}
    assert panels["plainhttp",] == {"Plain HTTP"}
    assert panels["xhrsignaling",] == {"XHR-Signaling"}
    assert panels["xmpp",] == {"XMPP"}
    assert panels["signalrclassic",] == {"SignalR 2"}
    assert panels["sip",] == {"SIP"}
    assert panels["websync",] == {"WebSync"}
    others = {*socketio, "PeerJS", "Plain HTTP", "XHR-Signaling", "XMPP", "SignalR 2", "SignalR", "SIP", "WebSync"}
    others.add("Firebase")
    assert panels["native",] == panels["*",] - others
    assert "WebSocket" in panels["native",]


async def test_a_worker_keeps_the_state_of_the_gateways_that_serve() -> None:
    async with Worker(Settings()) as one, Worker(with_gateways("native")) as other:
        assert len(state(one)) == 12
        assert list(state(other)) == [STATE]
        assert set(GATEWAYS) > {"native"}
