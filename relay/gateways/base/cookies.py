"""Cookies of requests to gateways: from which pages they count, and how they are read."""

from typing import Final

from starlette.types import Scope

from relay.http_request import header
from relay.origins import AllowedOrigins

_MAX_COOKIES: Final = 8192
"""Bytes of a header with cookies that is read."""


def is_same_origin(scope: Scope) -> bool:
    """Return whether a request comes from a page of the relay's own origin: its browser keeps cookies for it.

    Behind a proxy that changes the host, only the browser knows that (Fetch Metadata).
    """
    site = header(scope, b"sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin, host = header(scope, b"origin"), header(scope, b"host")
    return origin is not None and host is not None and origin.lower().partition("://")[2] == host.lower()


def may_use_cookies(scope: Scope, origins: AllowedOrigins) -> bool:
    """Return whether a cookie of a request counts: a page of any other origin must not act in its user's name.

    It counts from pages of the relay's own origin, from those of an origin that `allowed-origins` names (`*` names
    none), and from programs that are no browsers.
    """
    origin = header(scope, b"origin")
    if origin is None:
        return header(scope, b"sec-fetch-site") in (None, "same-origin", "none")
    return is_same_origin(scope) or origins.lists(origin)


def read_cookie(scope: Scope, name: str) -> str | None:
    """Return the value of a cookie, None if the request has none of this name, or has too many."""
    text = header(scope, b"cookie")
    if text is None or len(text) > _MAX_COOKIES or name not in text:
        return None
    # Not by `http.cookies`, which reads none of a header in which another cookie of the site has a space or a quote.
    for cookie in text.split(";"):
        found, _, value = cookie.strip().partition("=")
        if found == name:
            return value
    return None
