"""The paths that the public port and the admin port serve."""

import pytest

from relay.config import ListenAddress
from relay.http.ports import AdminPort, on_admin_port
from tests.unit.http.conftest import MakeSite, error_of

ADMIN = ListenAddress("127.0.0.1", 9100)


@pytest.mark.parametrize(
    ("admin", "server", "expected"),
    [
        (None, ("127.0.0.1", 8888), False),
        (None, None, False),
        (ADMIN, ("127.0.0.1", 8888), False),
        (ADMIN, ("127.0.0.1", 9100), True),
        (ADMIN, ("/run/relay/0", None), False),
        (ADMIN, None, False),
    ],
)
def test_the_admin_port_is_known_by_its_number(admin: ListenAddress | None, server: object, expected: bool) -> None:
    assert on_admin_port({"server": server}, admin) is expected


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

    guard = AdminPort(app, ADMIN)
    await guard({"type": "websocket", "path": "/", "server": ("127.0.0.1", 9100)}, None, send)  # type: ignore[arg-type]
    assert [message["type"] for message in sent] == ["websocket.close"]  # type: ignore[index]
    assert not called
    await guard({"type": "websocket", "path": "/", "server": ("127.0.0.1", 8888)}, None, send)  # type: ignore[arg-type]
    assert len(called) == 1
