"""Access to metrics and to the details of health, which are for operators."""

from ipaddress import ip_network
from typing import Final

from starlette.requests import Request
from starlette.types import Scope

from relay.addresses import read_address
from relay.config import Settings
from relay.http.ports import on_admin_port
from relay.http.request import has_admin_token
from relay.http_request import client_address, header
from relay.model.errors import Refused
from relay.model.workers import LISTENER

_OF_PROXIES: Final = frozenset(
    {b"forwarded", b"via", b"x-real-ip", b"cf-connecting-ip", b"true-client-ip", b"cdn-loop"}
)
"""Headers that a proxy adds, besides those that begin with `_OF_PROXIES_PREFIX`."""

_OF_PROXIES_PREFIX: Final = b"x-forwarded-"
_OF_PAGES: Final = frozenset({b"origin", b"sec-fetch-site"})
_SAFE_SITES: Final = frozenset({"none", "same-origin"})


class OperatorAccess:
    """Decides by the settings which requests are an operator's."""

    def __init__(self, settings: Settings) -> None:
        self._admin = settings.admin_address
        self._proxies = [ip_network(text) for text in settings.trusted_proxies]

    def is_internal(self, scope: Scope) -> bool:
        """Whether a request came to the admin port, or over a worker's unix socket, which other users cannot reach."""
        return on_admin_port(scope, self._admin) or scope.get("state", {}).get(LISTENER) == "local"

    def is_local(self, scope: Scope) -> bool:
        """Whether a request is of a program on this machine that speaks to the relay itself.

        A request that a proxy or a tunnel passes on comes from this machine as well, and so does one that a page of
        another site makes in a browser here. So its headers must not show such a thing, and it must name this machine
        as the host. nginx speaks HTTP/1.0 unless told otherwise.
        """
        client = read_address(client_address(scope))
        if client is None or not client.is_loopback or scope.get("http_version") == "1.0":
            return False
        if any(client in network for network in self._proxies):
            return False
        return _is_direct(scope) and _names_this_machine(header(scope, b"host") or "")

    def shows_details(self, request: Request) -> bool:
        """Whether a request may see the details that only operators need; never raises."""
        if self.is_internal(request.scope) or self.is_local(request.scope):
            return True
        try:
            return has_admin_token(request)
        except Refused:
            # Health must be told to everybody, also to a load balancer whose credentials are for another program.
            return False


def _is_direct(scope: Scope) -> bool:
    for name, value in scope["headers"]:
        if name in _OF_PROXIES or name.startswith(_OF_PROXIES_PREFIX):
            return False
        if name in _OF_PAGES and value.decode("latin-1") not in _SAFE_SITES:
            return False
    return True


def _names_this_machine(host: str) -> bool:
    # Also against pages of a name that is made to lead to this machine (DNS rebinding).
    if host.rpartition(":")[0] == "localhost" or host == "localhost":
        return True
    named = read_address(host)
    return named is not None and named.is_loopback
