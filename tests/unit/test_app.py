"""The application of one worker: what its lifespan opens, and its routes and middleware."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
        async with httpx.AsyncClient(transport=transport, base_url="http://relay:8888") as client:
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
        assert f"{'wss' if scheme == 'https' else 'ws'}://relay:8888" in page.text


def test_a_route_of_a_gateway_that_begins_with_a_parameter_takes_no_path_of_others() -> None:
    async def endpoint(request: Any) -> Any:
        raise AssertionError

    routes = [Route("/{key}/id", endpoint), Route("/a", endpoint), Route("/{path:path}", endpoint), RoomRoute(endpoint)]
    assert [route.path for route in fixed_first(routes)] == ["/a", "/rooms/{room}", "/{key}/id", "/{path:path}"]
