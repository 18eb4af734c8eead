"""The application of one worker: the parts that its lifespan opens, and its routes and middleware."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from relay.app import create_app, fixed_first
from relay.config import Settings
from relay.paths import RoomRoute
from relay.rooms.worker import Worker


@asynccontextmanager
async def opened(**settings: Any) -> AsyncIterator[tuple[Starlette, httpx.AsyncClient]]:
    """An application with its lifespan, as a server would run it, and a client from 127.0.0.1."""
    app = create_app(Settings(**settings))
    async with app.router.lifespan_context(app) as state:
        assert state is not None

        async def served(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "state": dict(state)}, receive, send)

        transport = httpx.ASGITransport(served, client=("127.0.0.1", 1234))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8888") as client:
            yield app, client


async def test_the_lifespan_opens_a_worker_that_is_ready() -> None:
    async with opened() as (app, client):
        assert isinstance(app.state.worker, Worker)
        health = (await client.get("/health")).json()
        assert health["ready"]
        assert health["worker"] == app.state.worker.id


@pytest.mark.parametrize("path", ["/", "/health", "/metrics", "/openapi.json", "/relay.js", "/rooms/a", "/demo"])
async def test_it_has_the_routes_of_every_edge(path: str) -> None:
    async with opened() as (_, client):
        assert (await client.get(path)).status_code == 200


async def test_a_slash_too_many_is_no_redirect_to_a_host_of_the_request() -> None:
    async with opened() as (_, client):
        answer = await client.get("/health/", headers={"Host": "evil.example"})
        assert answer.status_code == 404
        assert "location" not in answer.headers
        assert answer.json()["error"]["code"] == "not_found"


@pytest.mark.parametrize(("proxies", "scheme"), [((), "http"), (("127.0.0.1",), "https"), (("10.0.0.0/8",), "http")])
async def test_only_trusted_proxies_are_believed(proxies: tuple[str, ...], scheme: str) -> None:
    async with opened(trusted_proxies=proxies) as (_, client):
        page = await client.get("/", headers={"Accept": "text/html", "X-Forwarded-Proto": "https"})
        assert f"{'wss' if scheme == 'https' else 'ws'}://localhost:8888" in page.text


OWN = (
    "/health", "/health/live", "/metrics", "/turn", "/openapi.json", "/rooms", "/rooms/a", "/rooms/a/events",
    "/rooms/a/x", "/subjects/a", "/publish", "/relay.js", "/relay.mjs", "/demo", "/pages/home.js", "/socket.io/",
    "/socket.io/socket.io.js", "/peerjs", "/peerjs/peerjs/id", "/peerjs/id", "/any/id", "/any/peers", "/any/id/below",
    "/Home/GetData", "/signalr/hubs", "/websync.ashx", "/http-bind", "/xmpp-websocket", "/sip", "/.ws", "/.lp",
)  # fmt: skip
"""Paths of the relay, of today and to come: no file has them."""


@pytest.fixture
def static(tmp_path: Path) -> str:
    """A folder in which every path of the relay is a file, or as many as can be."""
    for path in OWN:
        file = tmp_path / path.strip("/")
        if not any(parent.is_file() for parent in file.parents) and not file.is_dir():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("a file of the page")
    (tmp_path / "demo.html").write_text("a file of the page")
    return str(tmp_path)


@pytest.mark.parametrize("path", [*OWN, "/"])
async def test_a_file_hides_no_path_of_the_relay(static: str, path: str) -> None:
    async with opened(static=static) as (_, client), opened() as (_, other):
        for method in ("GET", "POST", "OPTIONS"):
            here, without = [await one.request(method, path) for one in (client, other)]
            assert here.status_code == without.status_code
            assert "a file of the page" not in here.text


async def test_files_are_served_at_all_other_paths(static: str) -> None:
    async with opened(static=static) as (_, client):
        assert (await client.get("/demo.html")).text == "a file of the page"
        missing = await client.get("/missing.html")
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize("pages", ["on", "off"])
@pytest.mark.parametrize("accept", ["text/html", "*/*", "application/json"])
async def test_the_index_of_the_folder_replaces_the_page(static: str, pages: str, accept: str) -> None:
    (Path(static) / "index.html").write_text("the page")
    async with opened(static=static, pages=pages) as (_, client):
        assert (await client.get("/", headers={"Accept": accept})).text == "the page"
        assert ((await client.get("/demo")).text == "a file of the page") == (pages == "off")


async def test_files_count_for_the_rate_of_an_address(static: str) -> None:
    async with opened(static=static, http_rate=1) as (_, client):
        answers = await asyncio.gather(*[client.get("/demo.html") for _ in range(20)])
    assert {answer.status_code for answer in answers} == {200, 429}
    assert {one.json()["error"]["code"] for one in answers if one.status_code == 429} == {"too_many_requests"}


def test_a_route_of_a_gateway_that_begins_with_a_parameter_takes_no_path_of_others() -> None:
    async def endpoint(request: Any) -> Any:
        raise AssertionError

    routes = [Route("/{key}/id", endpoint), Route("/a", endpoint), Route("/{path:path}", endpoint), RoomRoute(endpoint)]
    assert [route.path for route in fixed_first(routes)] == ["/a", "/rooms/{room}", "/{key}/id", "/{path:path}"]
