"""Where pages find the client's script."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from relay import gateways
from relay.config import Settings
from relay.gateways.socketio import script
from relay.rooms.worker import Worker


def pages(**settings: str) -> TestClient:
    app = Starlette(routes=script.routes(Settings(extensions=settings), "/socket.io"))
    return TestClient(app, follow_redirects=False)


@pytest.mark.parametrize("name", ["socket.io.js", "socket.io.min.js"])
def test_a_page_is_redirected_to_where_the_operator_has_it(name: str) -> None:
    answer = pages(socketio_client_url="https://cdn.example/socket.io.js?v=4").get(f"/socket.io/{name}")
    assert (answer.status_code, answer.headers["location"]) == (302, "https://cdn.example/socket.io.js?v=4")
    assert answer.headers["access-control-allow-origin"] == "*"


def test_without_the_setting_there_is_none_which_counts_as_a_refusal_of_the_gateway() -> None:
    settings = Settings()
    worker = Worker(settings, gateways.error_codes(settings))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[Mapping[str, object]]:
        yield {"worker": worker}

    with TestClient(Starlette(routes=script.routes(settings, "/socket.io"), lifespan=lifespan)) as client:
        answer = client.get("/socket.io/socket.io.js")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_client_script")
    labels = {"protocol": "socketio", "code": "no_client_script"}
    assert worker.metrics.registry.get_sample_value("relay_errors_total", labels) == 1
