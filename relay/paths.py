"""Routes below `/rooms/` and `/subjects/`: they split the path as the client wrote it, and decode its parts afterwards.

So a name may contain a slash: `/rooms/a%2Fevents` is the room "a/events", and `/rooms/a/events` is the resource
`events` of the room "a". A proxy in front must pass the path on as it came; one that decodes `%2F` makes the second of
the first.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final
from urllib.parse import quote

from starlette.routing import BaseRoute, Match, Route, WebSocketRoute
from starlette.types import Scope

from relay.model.names import CORE_WORDS, escape_room, percent_decoded

_ROOM: Final = "/rooms/{room}"
_SUBJECT: Final = "/subjects/{subject}"
_NOT_CORE: Final = rf"(?!/(?:{'|'.join(map(re.escape, sorted(CORE_WORDS)))})(?:/|\Z))"
_NOTHING: Final[tuple[Match, Scope]] = (Match.NONE, {})


def raw_path(scope: Scope) -> str:
    """Return the percent-encoded path of a request, without the query and the `root_path`.

    A server need not pass it on (ASGI specification, `raw_path`). Then the decoded path is encoded anew: every slash
    separates segments, also one that the client encoded.
    """
    raw, root = scope.get("raw_path"), scope.get("root_path", "")
    path = quote(scope["path"], "/", errors="surrogatepass") if raw is None else raw.decode("utf-8", "replace")
    return path.removeprefix(root) if path.startswith(f"{root}/") else path


def room_in(scope: Scope) -> str:
    """Return the escaped name of the room in the path of a request; raise `Refused` (`bad_room`)."""
    return escape_room(scope["path_params"]["room"])


class PathPrefixes:
    """Paths that begin with one of these prefixes; `{NAME}` in a prefix stands for any one segment.

    As the first segment, it does not stand for one with which paths of the relay itself begin. Behind `/rooms/` it may
    be empty, as in the routes.
    """

    def __init__(self, prefixes: Sequence[str]) -> None:
        fixed = [prefix for prefix in prefixes if "{" not in prefix]
        self._exact = frozenset(fixed)
        self._below = tuple(f"{prefix}/" for prefix in fixed)
        self._patterns = [
            re.compile(
                (_NOT_CORE if prefix.startswith("/{") else "")
                + re.sub(r"\\{\w+\\}", "[^/]+", re.escape(prefix)).replace("/rooms/[^/]+", "/rooms/[^/]*")
                + "(?:/|\\Z)"
            )
            for prefix in prefixes
            if "{" in prefix
        ]

    def match(self, scope: Scope) -> bool:
        """Return whether the path of a request begins with a prefix."""
        path: str = scope["path"]
        if path in self._exact or path.startswith(self._below):
            return True
        # Split as the client wrote it: a segment may have an encoded slash.
        return bool(self._patterns) and any(pattern.match(raw_path(scope)) for pattern in self._patterns)


class RoomRoute(Route):
    """The route of `/rooms/NAME`, or of a path `below` it, which begins with a slash and may have parameters.

    The name may be empty, so that `room_in` refuses it. A slash at the end counts for nothing. Parameters are the text
    of one segment each.
    """

    def __init__(self, endpoint: Callable[..., Any], below: str = "", *, methods: Sequence[str] | None = None) -> None:
        super().__init__(_ROOM + below, endpoint, methods=methods)
        _loosen(self)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match the path as the client wrote it."""
        raw = _raw_scope(scope, "/rooms/", self.path_regex)
        return _NOTHING if raw is None else _decoded(super().matches(raw))


class RoomWebSocketRoute(WebSocketRoute):
    """`RoomRoute` for WebSockets."""

    def __init__(self, endpoint: Callable[..., Any], below: str = "") -> None:
        super().__init__(_ROOM + below, endpoint)
        _loosen(self)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match the path as the client wrote it."""
        path = raw_path(scope) if scope["type"] == "websocket" else ""
        found = self.path_regex.match(path) if path.startswith("/rooms/") else None
        if found is None:
            return _NOTHING
        # All parameters are texts, so that nothing is left of `super` but to copy the scope.
        own = {name: percent_decoded(value) for name, value in found.groupdict().items()}
        return Match.FULL, {"endpoint": self.endpoint, "path_params": {**scope.get("path_params", {}), **own}}


class SubprotocolRoute(WebSocketRoute):
    """The route of a path for WebSockets of clients that offer one subprotocol; it comes ahead of other routes."""

    def __init__(self, path: str, endpoint: Callable[..., Any], subprotocol: str) -> None:
        super().__init__(path, endpoint)
        self.subprotocol = subprotocol

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match the path and the offered subprotocols."""
        return super().matches(scope) if self.subprotocol in scope.get("subprotocols", ()) else _NOTHING


class RoomSubprotocolRoute(RoomWebSocketRoute):
    """`SubprotocolRoute` for `/rooms/NAME`."""

    def __init__(self, endpoint: Callable[..., Any], subprotocol: str) -> None:
        super().__init__(endpoint)
        self.subprotocol = subprotocol

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match the path as the client wrote it, and the offered subprotocols."""
        return super().matches(scope) if self.subprotocol in scope.get("subprotocols", ()) else _NOTHING


def subprotocols_first(routes: Iterable[BaseRoute]) -> list[BaseRoute]:
    """Return routes in their order, but those for one subprotocol first: others match the same paths."""
    return sorted(routes, key=lambda route: not getattr(route, "subprotocol", ""))


class SubjectRoute(Route):
    """The route of `/subjects/NAME`; the name is the text of one segment, and may be empty."""

    def __init__(self, endpoint: Callable[..., Any]) -> None:
        super().__init__(_SUBJECT, endpoint, methods=["GET"])
        _loosen(self)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match the path as the client wrote it."""
        raw = _raw_scope(scope, "/subjects/", self.path_regex)
        return _NOTHING if raw is None else _decoded(super().matches(raw))


def _loosen(route: Route | WebSocketRoute) -> None:
    """Let the name be empty, and a slash follow the path."""
    pattern = route.path_regex.pattern.replace("[^/]+", "[^/]*", 1)
    route.path_regex = re.compile(pattern.removesuffix("$") + "/?$")


def _raw_scope(scope: Scope, above: str, pattern: re.Pattern[str]) -> Scope | None:
    """Return the scope with the raw path as its path; None for a path that does not match, or is not below `above`."""
    path = raw_path(scope) if "path" in scope else ""
    # Matched here as well: nearly all routes do not match, and a copy of the scope costs more.
    return {**scope, "path": path, "root_path": ""} if path.startswith(above) and pattern.match(path) else None


def _decoded(found: tuple[Match, Scope]) -> tuple[Match, Scope]:
    match, child = found
    if match is not Match.NONE:
        child["path_params"] = {name: percent_decoded(value) for name, value in child["path_params"].items()}
    return found
