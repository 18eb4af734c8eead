"""Options of a client, and the URL that it connects to."""

import random
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, unquote, urlencode

from websockets.exceptions import InvalidURI
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from relay.client.position import RoomPosition
from relay.client.token import Token, TokenSource
from relay.logs import without_password
from relay.model.names import unescape

_SCHEMES: Final = {"http": "ws", "https": "wss"}
_ROOM_PATH: Final = re.compile(r"(.*)/rooms/([^/]+)")
_RESUME_KEY: Final = re.compile(r"[A-Za-z0-9_-]{0,64}")


@dataclass(frozen=True, slots=True)
class Options:
    """Bounds and timeouts of a client; times are in seconds.

    `outgoing` envelopes may wait for acknowledgement, of which `window` are sent ahead. Beyond `outgoing`, `send`
    raises `QueueFull`, or waits if `wait_for_space`.

    `incoming` events may wait for the user; then the client stops reading. The relay buffers later events, closes the
    connection when its own bound is reached (4000), and keeps the rest in the history. Acknowledgements arrive over the
    same connection: a client that only sends must still read its events, or subscribe to a channel without traffic.

    `connect_timeout` bounds the first join, and each call of a function that returns the token.

    A client that receives nothing for `ping_interval` sends a ping, and reconnects after `ping_timeout` without an
    answer; `ping_timeout` also bounds the handshake. `proxy` is as in `websockets`: a URL, or True for the system's.
    `draw` returns random numbers from 0 to 1, for jitter.
    """

    outgoing: int = 1000
    wait_for_space: bool = False
    window: int = 32
    incoming: int = 1000
    connect_timeout: float = 10
    ping_interval: float = 10
    ping_timeout: float = 5
    close_timeout: float = 2
    proxy: str | bool | None = None
    draw: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        if min(self.outgoing, self.window, self.incoming) < 1:
            raise ValueError("outgoing, window and incoming are at least 1")


@dataclass(frozen=True, slots=True)
class RoomRequest:
    """The room that a client joins, and how; see `join` for the fields, and `observe` for `observe`.

    `room` and `peer` are text.
    """

    room: str
    peer: str = ""
    presence: bool = False
    echo: bool = False
    channels: tuple[str, ...] = ()
    observe: str = ""
    token: Token = field(default="", repr=False)
    password: str = field(default="", repr=False)
    resume: str = field(default="", repr=False)
    store_key: Callable[[str], object] | None = None

    def __post_init__(self) -> None:
        if not _RESUME_KEY.fullmatch(self.resume):
            raise ValueError("resume is a resume key: at most 64 letters, digits, - and _")
        TokenSource(self.token)

    def subprotocols(self, position: RoomPosition) -> list[Subprotocol]:
        """Return the subprotocols to offer: they carry the resume key and the password, which must not be in a URL."""
        names = ["relay.v1", f"resume.{position.resume}"]
        if self.password:
            encoded = urlsafe_b64encode(self.password.encode("utf-8", "surrogatepass"))
            names.append(f"password.{encoded.decode('ascii').rstrip('=')}")
        return [Subprotocol(name) for name in names]

    def url(self, base: str, position: RoomPosition, info: str = "") -> str:
        """Return the URL to connect to, which asks for the events after `position`; `base` is from `base_url`.

        `info` is the client's member info as JSON, "" for none.
        """
        query: list[tuple[str, str]] = [("channel", channel) for channel in self.channels]
        query += [("observe", self.observe)] if self.observe else self._as_member(position, info)
        # The relay refuses half a surrogate pair in any parameter, and its error says more than an exception here.
        path = f"{base}/rooms/{quote(self.room, safe='', errors='surrogatepass')}"
        return path + (f"?{urlencode(query, errors='surrogatepass')}" if query else "")

    def _as_member(self, position: RoomPosition, info: str) -> list[tuple[str, str]]:
        query: list[tuple[str, str]] = []
        # The relay names the peer by its escaped name, and takes its text.
        if peer := unescape(position.peer) or self.peer:
            query.append(("peer", peer))
        query += [(name, "1") for name in ("presence", "echo") if getattr(self, name)]
        if info:
            query.append(("info", info))
        if position.known:
            query.append(("since", str(position.id)))
        return query


def base_urls(url: str | Sequence[str], room: str) -> list[str]:
    """Return the base URLs of one or several relays; raise ValueError as `base_url`, or if there is none.

    A URL that ends with the path of the room is taken without it; one with the path of another room is an error.
    """
    urls = [url] if isinstance(url, str) else list(url)
    if not urls:
        raise ValueError("at least one URL is needed")
    return [_without_room(base_url(one), room) for one in urls]


def _without_room(base: str, room: str) -> str:
    found = _ROOM_PATH.fullmatch(base)
    if found is None:
        return base
    named = unquote(found[2])
    if named != room:
        raise ValueError(
            f"the URL names the room {named!r}, and the call {room!r}; write "
            f"{without_password(found[1])}, without the room"
        )
    return found[1]


def base_url(url: str) -> str:
    """Return a relay's URL with the scheme ws or wss and without a trailing slash; raise ValueError for any other."""
    scheme, _, rest = url.rstrip("/").partition("://")
    base = f"{_SCHEMES.get(scheme, scheme)}://{rest}"
    try:
        parse_uri(base)
    except (InvalidURI, ValueError):
        raise ValueError(f"{without_password(url)!r} is not a URL that begins with ws:// or wss://") from None
    if "?" in url:
        raise ValueError(f"{without_password(url)!r} has a query, which the relay would not see")
    return base
