"""The address of a client behind load balancers, which name it in headers."""

import logging
import time
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from relay.addresses import Address, read_address
from relay.limits import Clock
from relay.logs import LogIntervals

log = logging.getLogger("relay.http.proxies")

_LOG_INTERVAL: Final = 600.0
"""Seconds between two log lines about headers that are ignored: any client can send them."""

_FORWARDED_FOR: Final = b"x-forwarded-for"

_MOST_HOPS: Final = 32
"""Entries at the end of X-Forwarded-For that are looked at; each load balancer adds one."""

_SCHEMES: Final = frozenset({"http", "https", "ws", "wss"})


class TrustedProxies:
    """The middleware: applies X-Forwarded-For and X-Forwarded-Proto of requests that come from these networks.

    Each proxy adds the address that it sees to the end of X-Forwarded-For. So the client has the last address that is
    none of a proxy. An entry that is no address ends the search: the client counts as the hop before it. The log tells
    that the header of another address is ignored: it may be a load balancer that the operator has not named.
    """

    def __init__(self, app: ASGIApp, networks: Sequence[str], clock: Clock = time.monotonic) -> None:
        self._app = app
        self._networks = [_network(text) for text in networks]
        self._lines = LogIntervals(_LOG_INTERVAL, clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Set the client and the scheme of a request that a trusted proxy has passed on."""
        if scope["type"] != "lifespan":
            peer = _peer(scope)
            if self._is_trusted(peer):
                self._apply(scope)
            elif peer is not None and any(name == _FORWARDED_FOR for name, _ in scope["headers"]):
                self._note_ignored(peer)
        await self._app(scope, receive, send)

    def _apply(self, scope: Scope) -> None:
        scheme = _last(scope, b"x-forwarded-proto")
        if scheme in _SCHEMES:
            scope["scheme"] = scheme.replace("http", "ws") if scope["type"] == "websocket" else scheme
        client = self._client(scope)
        if client is not None:
            scope["client"] = (str(client), 0)

    def _note_ignored(self, peer: Address) -> None:
        unlogged = self._lines.due()
        if unlogged is not None:
            log.warning(
                "the header X-Forwarded-For of a request from %s is ignored; if this is the address of your load "
                "balancer, add it to trusted-proxies, as otherwise all clients behind it share the limits of one "
                "address (%d more such requests since the last of these lines)", peer, unlogged,
            )  # fmt: skip

    def _client(self, scope: Scope) -> Address | None:
        client: Address | None = None
        for entry in reversed(_entries(scope)):
            found = read_address(entry)
            if found is None:
                break
            client = found
            if not self._is_trusted(client):
                break
        return client

    def _is_trusted(self, address: Address | None) -> bool:
        return address is not None and any([address in network for network in self._networks])


def _network(text: str) -> IPv4Network | IPv6Network:
    """Read a network; one of mapped addresses (RFC 4291) is that of IPv4, as addresses are read so."""
    network = ip_network(text)
    if isinstance(network.network_address, IPv6Address) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - 96))
    return network


def _peer(scope: Scope) -> Address | None:
    """Return the address at the other end of the connection; None if there is none, as of a unix socket."""
    client = scope.get("client")
    return read_address(client[0]) if client else None


def _entries(scope: Scope) -> list[str]:
    """Return the last entries of X-Forwarded-For, of all its header lines together; empty ones do not count."""
    lines = [value for name, value in scope["headers"] if name == _FORWARDED_FOR]
    entries = b",".join(lines).decode("latin-1").rsplit(",", _MOST_HOPS)[-_MOST_HOPS:]
    return [entry for entry in map(str.strip, entries) if entry]


def _last(scope: Scope, wanted: bytes) -> str:
    values = [value for name, value in scope["headers"] if name == wanted]
    return str(values[-1].decode("latin-1").strip()) if values else ""
