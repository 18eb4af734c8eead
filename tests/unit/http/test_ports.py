"""The paths that the public port, the admin port and the unix socket serve."""

import pytest

from relay.config import Settings
from relay.http.ports import AdminPort, may_see_metrics
from tests.unit.http.conftest import MakeSite, error_of


@pytest.mark.parametrize(
    ("admin_port", "server", "expected"),
    [
        (0, ("127.0.0.1", 8888), True),
        (0, None, True),
        (9100, ("127.0.0.1", 8888), False),
        (9100, ("127.0.0.1", 9100), True),
        (9100, ("/run/relay/0", None), True),
        (9100, None, True),
    ],
)
def test_metrics_are_served_on_one_port(admin_port: int, server: object, expected: bool) -> None:
    assert may_see_metrics({"server": server}, Settings(admin_listen=str(admin_port or ""))) is expected


async def test_with_an_admin_port_the_public_port_serves_no_metrics(site: MakeSite) -> None:
    here = site(admin_listen="9100")
    assert error_of(await here.get("/metrics")) == (404, "not_found")
    assert (await here.get("/metrics", port=9100)).status_code == 200


@pytest.mark.parametrize("path", ["/", "/rooms", "/rooms/a", "/openapi.json", "/nothing"])
async def test_the_admin_port_serves_nothing_else(site: MakeSite, path: str) -> None:
    assert error_of(await site(admin_listen="9100").get(path, port=9100)) == (404, "not_found")


@pytest.mark.parametrize("port", [8888, 9100])
async def test_both_ports_serve_health(site: MakeSite, port: int) -> None:
    assert (await site(admin_listen="9100").get("/health", port=port)).status_code == 200
    assert (await site(admin_listen="9100").get("/health/live", port=port)).status_code == 200


async def test_no_websockets_on_the_admin_port() -> None:
    sent = []
    called = []

    async def app(scope: object, receive: object, send: object) -> None:
        called.append(scope)

    async def send(message: object) -> None:
        sent.append(message)

    guard = AdminPort(app, 9100)
    await guard({"type": "websocket", "path": "/", "server": ("127.0.0.1", 9100)}, None, send)  # type: ignore[arg-type]
    assert [message["type"] for message in sent] == ["websocket.close"]  # type: ignore[index]
    assert not called
    await guard({"type": "websocket", "path": "/", "server": ("127.0.0.1", 8888)}, None, send)  # type: ignore[arg-type]
    assert len(called) == 1
