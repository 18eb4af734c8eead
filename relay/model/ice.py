"""STUN and TURN servers that the relay sends to clients, in the form of W3C WebRTC's RTCIceServer."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from relay.model.errors import NotAllowed

MAX_SERVERS: Final = 16
MAX_URLS: Final = 8
_MAX_TEXT: Final = 512

_LISTS: Final = ("iceServers", "ice_servers")
_WRAPPERS: Final = ("v", "d")

# RFC 7064 (stun) and RFC 7065 (turn), in lower case and without percent-encoding in the host.
_HOST = r"(?:[a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\])"
_PORT = r"(?::(?P<port>[0-9]{1,5}))?"
_STUN = re.compile(rf"stuns?:{_HOST}{_PORT}")
_TURN = re.compile(rf"turns?:{_HOST}{_PORT}(?:\?transport=(?:udp|tcp))?")


class IceServer(Struct, frozen=True, omit_defaults=True):
    """One server, or several that share their credentials."""

    urls: str | tuple[str, ...]
    username: str = ""
    credential: str = ""


class IceOffer(Struct, frozen=True):
    """The servers for one client; its credentials end in `ttl` seconds, or never for 0."""

    servers: Sequence[IceServer]
    ttl: int = 0


def parse_ice_servers(text: str) -> Sequence[IceServer]:
    """Parse the setting: JSON, or comma-separated URLs of STUN servers; "" for none.

    The JSON is a list of RTCIceServer, one of them, or an object with such a list as `iceServers`, or a whole answer of
    Twilio (`ice_servers`) or Xirsys (`v`, `d`). As the interfaces of TURN services return them, a server may have `url`
    beside or instead of `urls`, and capitals in its URLs; fields that browsers do not use are left out.

    Raises `NotAllowed` for anything else, and for a TURN server without credentials, which a browser would refuse. The
    reason names no value, since each may contain a secret.
    """
    if not text.lstrip().startswith(("[", "{")):
        urls = [url.strip() for url in text.split(",") if url.strip()]
        return _servers([{"urls": url} for url in urls])
    try:
        decoded = msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise NotAllowed(f"it is not JSON ({str(error) or 'nested too deeply'})") from None
    decoded = _list_in(decoded)
    return _servers(decoded if isinstance(decoded, list) else [decoded])


def parse_turn_url(text: str) -> str:
    """Return the URL of a TURN server in lower case; raise `NotAllowed` for anything else.

    The reason names no value: some write a password into a URL.
    """
    url = text.strip().lower()
    found = _TURN.fullmatch(url)
    if found is None:
        raise NotAllowed("each item is turn:HOST:PORT or turns:HOST:PORT; ?transport=udp or tcp may follow")
    if not 1 <= int(found["port"] or 1) <= 65_535:
        raise NotAllowed("a port is a number from 1 to 65535")
    return url


def _list_in(decoded: Any) -> Any:
    """Return the servers in an object that has them under a name of `_LISTS`, and anything else as it is."""
    if not isinstance(decoded, dict):
        return decoded
    for name in _WRAPPERS:
        if isinstance(decoded.get(name), dict):
            decoded = decoded[name]
    return next((decoded[name] for name in _LISTS if name in decoded), decoded)


def _servers(items: Sequence[Any]) -> Sequence[IceServer]:
    if len(items) > MAX_SERVERS:
        raise NotAllowed(f"a list has at most {MAX_SERVERS} servers")
    return tuple(_Reader(f"server {number}").read(item) for number, item in enumerate(items, 1))


class _Reader:
    """Reads one server of the list; `name` stands for it in the reason of a refusal."""

    def __init__(self, name: str) -> None:
        self._name = name

    def read(self, item: Any) -> IceServer:
        if not isinstance(item, dict):
            raise self._refusal('is not an object such as {"urls": "stun:stun.example.com"}')
        if item.get("credentialType") not in (None, "", "password"):
            raise self._refusal("has a credentialType that is not password; browsers have no other")
        urls = self._urls(item)
        server = IceServer(urls, self._text(item, "username"), self._text(item, "credential"))
        turn = any(url.startswith("turn") for url in ((urls,) if isinstance(urls, str) else urls))
        if turn and not (server.username and server.credential):
            raise self._refusal("is a TURN server, which needs username and credential")
        return server

    def _urls(self, item: Mapping[str, Any]) -> str | tuple[str, ...]:
        given = item.get("urls") or item.get("url")
        if isinstance(given, str):
            return self._url(given, "its URL")
        if not isinstance(given, list) or not given or len(given) > MAX_URLS:
            raise self._refusal(f"needs urls: a text, or a list of 1 to {MAX_URLS} texts")
        return tuple(self._url(url, f"URL {number}") for number, url in enumerate(given, 1))

    def _url(self, given: Any, which: str) -> str:
        url = given.strip().lower() if isinstance(given, str) else ""
        if found := _STUN.fullmatch(url) or _TURN.fullmatch(url):
            if not 1 <= int(found["port"] or 1) <= 65_535:
                raise self._refusal(f"has a port that is not a number from 1 to 65535 in {which}")
            return url
        if re.match(r"(?:stun|turn)s?://", url):
            raise self._refusal(f"has // behind the colon in {which}; write stun:HOST or turn:HOST")
        if re.match(r"stuns?:.*\?", url):
            raise self._refusal(f"has a query in {which}; browsers allow ?transport= in turn: URLs alone")
        raise self._refusal(
            f"needs stun:HOST:PORT or turn:HOST:PORT?transport=udp in {which}; stuns:, turns: and tcp are allowed, too"
        )

    def _text(self, item: Mapping[str, Any], field: str) -> str:
        given = item.get(field)
        if given is None:
            return ""
        if not isinstance(given, str) or len(given) > _MAX_TEXT:
            raise self._refusal(f"needs a {field} that is text of at most {_MAX_TEXT} characters")
        return given

    def _refusal(self, reason: str) -> NotAllowed:
        return NotAllowed(f"{self._name} {reason}")
