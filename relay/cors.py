"""Cross-origin requests (WHATWG Fetch, "CORS protocol"): the headers that let pages of other origins read a response.

An origin is echoed with credentials only where a request proves its session by an id or token in its URL, its headers
or its body. A cookie proves nothing there, unless `allowed-origins` names the origin (`gateways.base.cookies`).
Elsewhere, pages of all origins get `*`, which browsers accept for requests without credentials alone.
"""

import re
from collections.abc import Sequence
from typing import Final

from relay.origins import MAX_ORIGIN, AllowedOrigins

MAX_REQUESTED: Final = 1024
"""Bytes of the header names that a preflight request may ask for."""

MAX_AGE: Final = 7200
"""Seconds for which a browser keeps the answer to a preflight request: as long as Chrome keeps any."""

Header = tuple[bytes, bytes]

_ORIGIN: Final = re.compile(f"[!-~]{{1,{MAX_ORIGIN}}}")
_NAMES: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+(?:[ \t]*,[ \t]*[A-Za-z0-9!#$%&'*+.^_`|~-]+)*", re.ASCII)
_EVERY: Final[Header] = (b"access-control-allow-origin", b"*")
_VARY: Final[Header] = (b"vary", b"Origin")
_CREDENTIALS: Final[Header] = (b"access-control-allow-credentials", b"true")


class CorsPolicy:
    """Writes the CORS headers of one group of routes.

    With `credentials`, pages may send requests with credentials. `methods` are those that preflight requests allow.
    `headers` are the request headers that they allow, in lower case; with None they allow any that are asked for.
    """

    def __init__(
        self,
        allowed: Sequence[str],
        *,
        credentials: bool = False,
        methods: Sequence[str] = ("GET", "HEAD", "POST"),
        headers: Sequence[str] | None = ("authorization", "content-type"),
    ) -> None:
        self.origins = AllowedOrigins(allowed)
        self.methods = methods
        self._same_for_all = self.origins.all and not credentials
        self._credentials = (_CREDENTIALS,) if credentials else ()
        self._headers = None if headers is None else ", ".join(headers).encode("ascii")
        self._preflight: Sequence[Header] = (
            (b"access-control-allow-methods", ", ".join(methods).encode("ascii")),
            (b"access-control-max-age", b"%d" % MAX_AGE),
        )

    def of_response(self, origin: str | None) -> Sequence[Header]:
        """Return the headers for a request with this `Origin` header, None if it has none.

        If they depend on the origin, `Vary` is among them, also for an origin that may not read the response.
        """
        if self._same_for_all:
            return (_EVERY,)
        if origin is None or not self._may_read(origin):
            return (_VARY,)
        return (_VARY, (b"access-control-allow-origin", origin.encode("ascii")), *self._credentials)

    def of_preflight(
        self, origin: str | None, requested: str | None, *, private_network: bool = False
    ) -> Sequence[Header]:
        """Return the headers for a preflight request, which asks for the header names `requested`.

        A page of a public site may reach a relay in a private network (`private_network`) only if the setting lists its
        origin: `*` is no consent to that.
        """
        found = list(self.of_response(origin))
        if origin is None or not self._may_read(origin):
            return found
        found += self._preflight
        headers = self._headers if self._headers is not None else _names(requested)
        if headers:
            found.append((b"access-control-allow-headers", headers))
        if private_network and self.origins.lists(origin):
            found.append((b"access-control-allow-private-network", b"true"))
        return found

    def allows_headers(self, requested: str | None) -> bool:
        """Return whether all headers that a preflight request asks for are allowed."""
        if self._headers is None or not requested:
            return True
        allowed = self._headers.decode("ascii").split(", ")
        return {name.strip().lower() for name in requested.split(",")} <= {*allowed, *_SAFE}

    def _may_read(self, origin: str) -> bool:
        return _ORIGIN.fullmatch(origin) is not None and self.origins.allows(origin)


_SAFE: Final = frozenset({"", "accept", "accept-language", "content-language"})
"""Names that need no permission, which browsers do not ask for (WHATWG Fetch, "CORS-safelisted request-header")."""


def _names(requested: str | None) -> bytes:
    """Return the header names that a preflight request asks for, b"" if they are no list of names, or too long."""
    if requested is None or len(requested) > MAX_REQUESTED or not _NAMES.fullmatch(requested):
        return b""
    return requested.encode("ascii")
