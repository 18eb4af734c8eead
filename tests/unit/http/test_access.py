"""Which requests are an operator's: of this machine, of the admin port, of a unix socket, or with the admin token."""

from typing import Any

import pytest

from relay.config import Settings
from relay.http.access import OperatorAccess
from tests.unit.http.conftest import DEAF, FakeWorker, MakeSite, error_of

TOKEN = "secret-secret-secret"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
STRANGER = {"client": "203.0.113.9", "host": "relay.example"}


def scope(client: str | None = "127.0.0.1", **changes: Any) -> dict[str, Any]:
    headers = {"host": "localhost:8888"} | changes.pop("headers", {})
    return {
        "client": None if client is None else (client, 4711),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "http_version": "1.1",
        "server": ("127.0.0.1", 8888),
        **changes,
    }


@pytest.mark.parametrize("client", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("host", ["localhost", "localhost:8888", "127.0.0.1:8888", "[::1]:8888", "127.1"])
def test_a_program_on_this_machine_is_an_operators(client: str, host: str) -> None:
    assert OperatorAccess(Settings()).is_local(scope(client, headers={"host": host}))


@pytest.mark.parametrize("client", [None, "", "10.0.0.7", "203.0.113.9", "2001:db8::1", "fe80::1%eth0", "unix"])
def test_another_machine_is_not(client: str | None) -> None:
    assert not OperatorAccess(Settings()).is_local(scope(client))


@pytest.mark.parametrize(
    "headers",
    [
        {"x-forwarded-for": "127.0.0.1"},
        {"x-forwarded-proto": "https"},
        {"x-forwarded-host": "localhost"},
        {"forwarded": "for=127.0.0.1"},
        {"via": "1.1 proxy"},
        {"x-real-ip": "127.0.0.1"},
        {"cf-connecting-ip": "127.0.0.1"},
        {"host": "relay.example"},
        {"host": "localhost.evil.example"},
        {"host": "evil.example:localhost"},
        {"host": ""},
        {"host": "10.0.0.1:8888"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_a_request_of_a_proxy_or_a_page_on_this_machine_is_not(headers: dict[str, str]) -> None:
    assert not OperatorAccess(Settings()).is_local(scope(headers=headers))


def test_a_browser_that_shows_the_address_itself_is_an_operators() -> None:
    for site in ("none", "same-origin"):
        assert OperatorAccess(Settings()).is_local(scope(headers={"sec-fetch-site": site}))


def test_nginx_speaks_http_1_0() -> None:
    assert not OperatorAccess(Settings()).is_local(scope(http_version="1.0"))


def test_where_a_proxy_on_this_machine_is_trusted_this_machine_is_the_proxy() -> None:
    assert not OperatorAccess(Settings(trusted_proxies=("127.0.0.0/8",))).is_local(scope())
    assert OperatorAccess(Settings(trusted_proxies=("10.0.0.0/8", "::1"))).is_local(scope())


def test_the_socket_of_a_worker_and_the_admin_port_are_internal() -> None:
    access = OperatorAccess(Settings(admin_listen="9100"))
    assert access.is_internal(scope(None, server=("/run/relay/0", None), state={"listener": "local"}))
    assert access.is_internal(scope("10.0.0.7", server=("10.0.0.1", 9100)))
    for listener in ("public", "forwarding"):
        assert not access.is_internal(scope(state={"listener": listener}))
    # Another server may serve strangers over a unix socket of its own.
    assert not access.is_internal(scope(None, server=("/run/proxy", None)))


# Metrics.


async def test_strangers_read_no_metrics_and_learn_which_setting_helps(site: MakeSite) -> None:
    for here in (site(), site(admin_token=TOKEN)):
        answer = await here.get("/metrics", **STRANGER)
        assert error_of(answer) == (403, "forbidden")
        for setting in ("admin-listen", "public-metrics", "admin token"):
            assert setting in answer.json()["error"]["text"]


@pytest.mark.parametrize(
    ("settings", "headers", "status"),
    [
        ({"public_metrics": "on"}, {}, 200),
        ({"public_metrics": "on", "admin_listen": "9100"}, {}, 200),
        ({"admin_token": TOKEN}, BEARER, 200),
        ({"admin_token": TOKEN}, {"Authorization": "Bearer other"}, 401),
        ({"admin_token": TOKEN, "admin_listen": "9100"}, BEARER, 404),
        ({}, BEARER, 403),
    ],
)
async def test_metrics_for_strangers(
    site: MakeSite, settings: dict[str, Any], headers: dict[str, str], status: int
) -> None:
    assert (await site(**settings).get("/metrics", headers=headers, **STRANGER)).status_code == status


# Health.


async def test_strangers_learn_which_checks_fail_and_nothing_else(site: MakeSite) -> None:
    here = site(worker=FakeWorker(DEAF), admin_token=TOKEN)
    answer = await here.get("/health", **STRANGER)
    assert (answer.status_code, answer.json()) == (
        503,
        {"status": "not_ready", "ready": False, "reasons": ["subscription"]},
    )
    assert (await site().get("/health", **STRANGER)).json() == {"status": "ready", "ready": True, "reasons": []}


async def test_a_token_shows_the_details_and_a_wrong_one_does_not_change_health(site: MakeSite) -> None:
    here = site(admin_token=TOKEN, token_attempts=2)
    assert (await here.get("/health", headers=BEARER, **STRANGER)).json()["worker"] == "w1"
    for number in range(5):
        answer = await here.get("/health", headers={"Authorization": f"Bearer {number}"}, **STRANGER)
        assert (answer.status_code, answer.json()["reasons"]) == (200, [])
