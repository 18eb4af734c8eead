"""The origins whose pages may connect (RFC 6454; WHATWG Fetch, "Origin header"): how they are written, and compared."""

import logging
import re
from collections.abc import Sequence
from ipaddress import IPv6Address
from typing import Final

from relay.logs import escape
from relay.model.errors import NotAllowed, Refused

log = logging.getLogger("relay.origins")

MAX_ORIGIN: Final = 512
"""Characters of an origin. Host names have at most 253."""

_MOST_LOGGED: Final = 20
"""Refused origins that are logged, each once. A client may send any origin, so there must be a bound."""

_LISTS: Final = "lists those that may"
_SHAPE: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,39})://([^/?#]*)(.*)", re.DOTALL)
_HOST: Final = re.compile(r"[a-z0-9_*-]{1,63}(?:\.[a-z0-9_*-]{1,63}){0,126}")
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}
_OF_PAGES: Final = {"ws": "http", "wss": "https"}


def parse_origin(text: str) -> str:
    """Return an origin of the setting `allowed-origins` in the form in which browsers send it.

    That is `scheme://host` in lower case, with a port only if it is not the scheme's own. `*` stands for all origins;
    `null` for pages that have none, such as files; `*.` at the beginning of a host for one or more subdomains, another
    `*` for any part of a label, and the port `*` for any port. Raises `NotAllowed`.
    """
    if text in ("*", "null"):
        return text
    if len(text) > MAX_ORIGIN:
        raise NotAllowed(f"an origin has at most {MAX_ORIGIN} characters")
    shape = _SHAPE.fullmatch(text)
    if not shape:
        hint = f"; did you mean https://{text}?" if re.fullmatch(r"[A-Za-z0-9*.:-]+", text) else ""
        raise NotAllowed(f"{text!r} has no scheme, such as https://{hint}")
    scheme, authority, rest = shape[1].lower(), shape[2], shape[3]
    if scheme in _OF_PAGES:
        raise NotAllowed(f"{text!r} is an address of a WebSocket; the origin of a page begins with {_OF_PAGES[scheme]}")
    if rest not in ("", "/"):
        raise NotAllowed(f"{text!r} has more than an origin; leave {rest!r} out")
    if not authority and scheme == "file":
        return "file://"
    host, port = _split(text, authority)
    return f"{scheme}://{host}" + (f":{port}" if port and port != _DEFAULT_PORTS.get(scheme) else "")


def _split(text: str, authority: str) -> tuple[str, str]:
    """Return host and port of an origin's authority, the port "" if there is none."""
    if authority.startswith("["):
        host, end, port = authority[1:].partition("]")
        if not end or (port and not port.startswith(":")):
            raise NotAllowed(f"{text!r} has no port behind the address")
        try:
            host, port = f"[{IPv6Address(host).compressed}]", port[1:]
        except ValueError:
            raise NotAllowed(f"{text!r} has no IPv6 address in its brackets") from None
    else:
        name, _, port = authority.partition(":")
        host = _ascii_host(text, name)
        if not _HOST.fullmatch(host) or host == "*":
            raise NotAllowed(f"{text!r} has no host name; * alone allows all origins")
    if port != "*" and port and not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65_535):
        raise NotAllowed(f"{text!r} has a port that is not a number, 1 to 65535, or *")
    return host, port if port == "*" or not port else str(int(port))


def _ascii_host(text: str, name: str) -> str:
    if name.isascii():
        return name.lower()
    # Browsers send such a name in the form in which DNS has it.
    try:
        return name.encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise NotAllowed(f"{text!r} has a host name that cannot be written in ASCII") from None


class AllowedOrigins:
    """Compares the origins of requests with those whose pages may connect, in the form of `parse_origin`."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self.all = "*" in allowed
        self._exact = frozenset(allowed)
        patterns = [_pattern(one) for one in allowed if "*" in one and one != "*"]
        self._pattern = re.compile("|".join(patterns)) if patterns else None
        self._logged: set[str] = set()

    def allows(self, origin: str) -> bool:
        """Return whether pages of an origin may connect."""
        return self.all or self.lists(origin)

    def lists(self, origin: str) -> bool:
        """Return whether the setting names an origin, by itself or by a pattern other than `*`."""
        if origin in self._exact:
            return origin != "*"
        return self._pattern is not None and len(origin) <= MAX_ORIGIN and bool(self._pattern.fullmatch(origin))

    def check(self, origin: str | None) -> None:
        """Raise `Refused` (`bad_origin`) for an origin that is not allowed, and log it when it is refused first.

        Browsers send an `Origin` header; other clients send none (None), and are not restricted by it.
        """
        if origin is None or self.allows(origin):
            return
        shown = escape(origin[:MAX_ORIGIN])
        if shown not in self._logged and len(self._logged) < _MOST_LOGGED:
            self._logged.add(shown)
            log.warning("pages of the origin %s are refused: allowed-origins does not list it", shown)
        raise Refused(
            "bad_origin", f"pages of the origin {shown} may not connect; the setting allowed-origins {_LISTS}"
        )


def _pattern(origin: str) -> str:
    scheme, _, authority = origin.partition("://")
    port = r":[0-9]{1,5}" if authority.endswith(":*") else ""
    host = authority.removesuffix(":*")
    subdomains = r"(?:[a-z0-9_-]{1,63}\.){1,126}" if host.startswith("*.") else ""
    rest = re.escape(host.removeprefix("*.") if subdomains else host).replace(r"\*", "[a-z0-9_-]*")
    return rf"{re.escape(scheme)}://{subdomains}{rest}" + (f"(?:{port})?" if port else "")
