"""The health check of a SignalMaster."""

import httpx2 as httpx
import pytest
from starlette.applications import Starlette

from relay.gateways.socketio.apps.signalmaster import healthcheck


class FakeWorker:
    def __init__(self, *, ready: bool) -> None:
        self.ready = ready


@pytest.mark.parametrize(("ready", "status"), [(True, 200), (False, 503)])
async def test_the_status_says_whether_clients_may_come(ready: bool, status: int) -> None:
    app = Starlette(routes=[healthcheck.route()])

    async def site(scope: object, receive: object, send: object) -> None:
        assert isinstance(scope, dict)
        await app({**scope, "state": {"worker": FakeWorker(ready=ready)}}, receive, send)  # type: ignore[arg-type]

    async with httpx.AsyncClient(transport=httpx.ASGITransport(site), base_url="http://relay") as client:
        for method in ("GET", "HEAD"):
            answer = await client.request(method, "/healthcheck")
            assert (answer.status_code, answer.content, answer.headers["cache-control"]) == (status, b"", "no-store")
        assert (await client.post("/healthcheck")).status_code == 405
