"""The address of a client behind load balancers."""

from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from relay.http.proxies import TrustedProxies

_PROXIES = ("10.0.0.0/8", "2001:db8:ffff::/48", "::ffff:172.16.0.0/108")


async def _scope_behind(
    peer: str | None, *forwarded: str, kind: str = "http", proto: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return the scope of a request that came from `peer` with these lines of headers, behind the middleware."""
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    async def unused(*_: object) -> Any:
        raise AssertionError

    headers = [(b"x-forwarded-for", line.encode("latin-1")) for line in forwarded]
    headers += [(b"x-forwarded-proto", line.encode("latin-1")) for line in proto]
    client = None if peer is None else (peer, 50_000)
    scope = {"type": kind, "client": client, "scheme": "ws" if kind == "websocket" else "http", "headers": headers}
    await TrustedProxies(app, _PROXIES)(scope, unused, unused)
    return dict(seen[0])


async def _client_behind(peer: str | None, *forwarded: str) -> str | None:
    client = (await _scope_behind(peer, *forwarded))["client"]
    return None if client is None else str(client[0])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.0.0.1", "192.0.2.7", "192.0.2.7"),
        ("10.0.0.1", "192.0.2.7:5678", "192.0.2.7"),
        ("10.0.0.1", " 192.0.2.7 ", "192.0.2.7"),
        ("10.0.0.1", '"[2001:db8:0:1::7]:5678"', "2001:db8:0:1::7"),
        ("10.0.0.1", "2001:0DB8:0:1:0:0:0:7%eth0", "2001:db8:0:1::7"),
        ("10.0.0.1", "0300.0.2.7", "192.0.2.7"),
        ("10.0.0.1", "3221225991", "192.0.2.7"),
        ("10.0.0.1", "::ffff:c000:207", "192.0.2.7"),
        # Of several entries, the last one that is none of a proxy.
        ("10.0.0.1", "203.0.113.9, 192.0.2.7", "192.0.2.7"),
        ("10.0.0.1", "203.0.113.9,192.0.2.7,10.0.0.2", "192.0.2.7"),
        ("10.0.0.1", "203.0.113.9, 192.0.2.7 ,\t10.0.0.2:80, [2001:db8:ffff::1]:443", "192.0.2.7"),
        ("10.0.0.1", "192.0.2.7, ::ffff:10.0.0.2, ::ffff:a00:3", "192.0.2.7"),
        ("10.0.0.1", "192.0.2.7, 172.16.0.4", "192.0.2.7"),
        ("10.0.0.1", "192.0.2.7,, ,10.0.0.2,", "192.0.2.7"),
        # All of them are proxies.
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        # An entry that is no address: the client counts as the hop that named it.
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.7, unknown", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.7, _hidden, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "x" * 60_000, "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        # Spellings of the proxy's own address.
        ("::ffff:10.0.0.1", "192.0.2.7", "192.0.2.7"),
        ("2001:db8:ffff::1%eth0", "192.0.2.7", "192.0.2.7"),
        ("172.16.0.4", "192.0.2.7", "192.0.2.7"),
        # Others are not believed, even where their address contains that of a proxy.
        ("203.0.113.9", "192.0.2.7", "203.0.113.9"),
        ("2002:a00:1::1", "192.0.2.7", "2002:a00:1::1"),
        ("64:ff9b::a00:1", "192.0.2.7", "64:ff9b::a00:1"),
        ("10.0.0.1", "192.0.2.7, 2002:a00:1::1", "2002:a00:1::1"),
        (None, "192.0.2.7", None),
    ],
)
async def test_the_client_has_the_last_address_that_is_none_of_a_proxy(
    peer: str | None, forwarded: str, client: str | None
) -> None:
    assert await _client_behind(peer, forwarded) == client


async def test_several_lines_of_the_header_are_one_list() -> None:
    assert await _client_behind("10.0.0.1", "203.0.113.9", "192.0.2.7, 10.0.0.3", "10.0.0.2") == "192.0.2.7"
    assert await _client_behind("10.0.0.1") == "10.0.0.1"


async def test_only_the_last_entries_are_looked_at() -> None:
    assert await _client_behind("10.0.0.1", "192.0.2.7, " + ", ".join(["10.0.0.2"] * 10_000)) == "10.0.0.2"


@pytest.mark.parametrize(
    ("kind", "proto", "scheme"),
    [
        ("http", ("https",), "https"),
        ("websocket", ("https",), "wss"),
        ("websocket", ("wss",), "wss"),
        ("http", ("http", " https "), "https"),
        ("http", ("gopher",), "http"),
        ("http", (), "http"),
    ],
)
async def test_a_proxy_says_by_which_scheme_the_client_came(kind: str, proto: tuple[str, ...], scheme: str) -> None:
    assert (await _scope_behind("10.0.0.1", kind=kind, proto=proto))["scheme"] == scheme
    untrusted = await _scope_behind("203.0.113.9", kind=kind, proto=proto)
    assert untrusted["scheme"] == ("ws" if kind == "websocket" else "http")


async def test_an_ignored_header_is_logged_once_in_ten_minutes(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]

    async def ignore(*_: object) -> Any:
        pass

    proxies = TrustedProxies(ignore, _PROXIES, lambda: now[0])

    async def request(peer: str | None, *names: bytes) -> None:
        client = None if peer is None else (peer, 50_000)
        headers = [(name, b"192.0.2.7") for name in names]
        await proxies({"type": "http", "client": client, "scheme": "http", "headers": headers}, ignore, ignore)

    await request("203.0.113.9")
    await request("203.0.113.9", b"host", b"x-forwarded-proto")
    await request("10.0.0.1", b"x-forwarded-for")
    await request(None, b"x-forwarded-for")
    await proxies({"type": "lifespan"}, ignore, ignore)
    assert not caplog.records
    for _ in range(1000):
        await request("203.0.113.9", b"x-forwarded-for")
    now[0] = 600.0
    await request("203.0.113.10", b"x-forwarded-for")
    first, second = [record.getMessage() for record in caplog.records]
    assert "from 203.0.113.9 is ignored" in first
    assert "trusted-proxies" in first
    assert "(999 more such requests" in second
