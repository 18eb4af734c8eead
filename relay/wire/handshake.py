"""The opening handshake of a WebSocket connection (RFC 6455, 4.2).

A client sends an HTTP request with `Upgrade: websocket` and a random key. The server answers 101 and a hash of the key:
that proves that it speaks WebSocket, and is no cache or plain HTTP server.

Nearly every handshake has the same few headers, which are checked here. Any other is read again by the `websockets`
library, which knows the rules in full and refuses with the right status and text. Reading every handshake with it would
take several times as long, which counts when ten thousand clients reconnect at once.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from urllib.parse import unquote

from websockets.http11 import Request
from websockets.server import ServerProtocol

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""The name of a subprotocol (RFC 7230, 3.2.6)."""
_ACCEPTING: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
)
_FEW_HEADERS: Final = 64

_MAX_VALUE: Final = 8000
"""Bytes of a header that the library checks; it refuses lines above 8,192 itself."""

_CHECKED: Final = frozenset({b"connection", b"host", b"sec-websocket-key", b"sec-websocket-version", b"upgrade"})
"""Headers that the library checks; the relay reads all others itself."""

_UNREADABLE: Final = "the handshake cannot be read"
_LARGE_HEAD: Final = (
    f"the headers {', '.join(sorted(name.decode() for name in _CHECKED))} have at most {_MAX_VALUE} bytes each"
)

_USUAL: Final = re.compile(
    rb"GET (/[!\"$-~]*) HTTP/1\.1\r\n"
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[ \t]*(?:[!-~](?:[\t -~]*[!-~])?)?\r\n)+)\r\n"
)
"""A whole request without a body: address and headers (RFC 9112, 3 and 5), all in ASCII."""

_FIELD: Final = re.compile(rb"([^:]+):[ \t]*([^\r]*)\r\n")

_LONGEST_USUAL: Final = 8192
"""Bytes of a request that is read here."""

_UNUSUAL: Final = frozenset({b"content-length", b"expect", b"te", b"trailer", b"transfer-encoding"})
"""Headers after which the parser of HTTP is to decide."""

Headers = Sequence[tuple[bytes, bytes]]


class BadHandshake(Exception):
    """A handshake that the relay refuses; `answer` is the whole HTTP response."""

    def __init__(self, answer: bytes) -> None:
        super().__init__(answer)
        self.answer = answer


def read_usual(data: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]] | None:
    """Read the address and the headers, with names in lower case, of a request for a WebSocket in its usual form.

    None for anything else, such as a part of a request, which the parser of HTTP is to read. It calls back for each
    header, and takes several times as long.
    """
    found = _USUAL.fullmatch(data) if len(data) <= _LONGEST_USUAL else None
    if found is None:
        return None
    address, lines = found.groups()
    headers = [(name.lower(), value) for name, value in _FIELD.findall(lines)]
    asked = dict(headers)
    if len(asked) != len(headers) or b"host" not in asked or not _UNUSUAL.isdisjoint(asked):
        return None
    if asked.get(b"upgrade", b"").lower() != b"websocket" or not _upgrades(asked.get(b"connection", b"")):
        return None
    return address, headers


def _upgrades(connection: bytes) -> bool:
    """Return whether the header Connection names the upgrade; Firefox sends `keep-alive, Upgrade`."""
    lower = connection.lower()
    return lower == b"upgrade" or b"upgrade" in [option.strip() for option in lower.split(b",")]


def read_key(method: bytes, headers: Headers) -> bytes:
    """Check a handshake and return its key; raise `BadHandshake`. The names in `headers` are in lower case."""
    found = dict(headers)
    key, connection = found.get(b"sec-websocket-key", b""), found.get(b"connection", b"")
    if (
        method == b"GET"
        and len(found) == len(headers)
        and len(connection) <= _MAX_VALUE
        and _upgrades(connection)
        and found.get(b"upgrade", b"").lower() == b"websocket"
        and found.get(b"sec-websocket-version") == b"13"
        and _is_key(key)
    ):
        return key
    return _read_key_slowly(method, headers)


def accepting(key: bytes, headers: Headers) -> bytes:
    """Return the head of the response that accepts the handshake with this key; `headers` are further ones."""
    accept = binascii.b2a_base64(hashlib.sha1(key + _GUID, usedforsecurity=False).digest(), newline=False)
    more = b"".join([b"%b: %b\r\n" % header for header in headers]) if headers else b""
    return b"%b%b\r\n%b\r\n" % (_ACCEPTING, accept, more)


def response(status: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the head of an HTTP response, with the empty line after it."""
    return b"HTTP/1.1 %b\r\n%b\r\n" % (status, b"".join([b"%b: %b\r\n" % header for header in headers]))


def websocket_scope(
    http_scope: Mapping[str, object], url: bytes, extensions: Mapping[str, object]
) -> dict[str, object]:
    """Return the ASGI scope of a connection, made from that of its request."""
    raw_path, _, query = url.partition(b"?")
    root: str = str(http_scope["root_path"])
    headers: Headers = http_scope["headers"]  # type: ignore[assignment]
    offered = [value for name, value in headers if name == b"sec-websocket-protocol"]
    path = raw_path.decode("ascii")
    return {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "wss" if http_scope["scheme"] == "https" else "ws",
        "server": http_scope["server"],
        "client": http_scope["client"],
        "root_path": root,
        "path": root + (unquote(path) if "%" in path else path),
        "raw_path": root.encode("ascii") + raw_path,
        "query_string": query,
        "headers": headers,
        "subprotocols": _tokens(b",".join(offered).decode("latin-1")) if offered else [],
        "state": http_scope["state"],
        "extensions": extensions,
    }


def _tokens(text: str) -> list[str]:
    return [token for one in text.split(",") if _TOKEN.fullmatch(token := one.strip())]


def _is_key(key: bytes) -> bool:
    try:
        return len(key) == 24 and len(base64.b64decode(key, validate=True)) == 16
    except ValueError:
        return False


def _read_key_slowly(method: bytes, headers: Headers) -> bytes:
    # The library limits each line, and their number, by an environment variable. `HttpProtocol` has limited the head as
    # a whole, so the library gets those headers alone that it checks, and any path.
    own = [header for header in headers if header[0] in _CHECKED]
    if len(own) > _FEW_HEADERS or any(len(value) > _MAX_VALUE for _, value in own):
        raise BadHandshake(_refusal(b"431 Request Header Fields Too Large", _LARGE_HEAD))
    library = ServerProtocol()
    library.receive_data(response(b"", own).replace(b"HTTP/1.1 ", b"%b / HTTP/1.1" % method, 1))
    for event in library.events_received():
        if isinstance(event, Request):
            answer = library.accept(event)
            if answer.status_code == 101:
                return event.headers["Sec-WebSocket-Key"].encode("ascii")
            answer.headers["X-Content-Type-Options"] = "nosniff"
            library.send_response(answer)
    raise BadHandshake(b"".join(library.data_to_send()) or _refusal(b"400 Bad Request", _UNREADABLE))


def _refusal(status: bytes, text: str) -> bytes:
    body = text.encode("ascii")
    fields = [(b"content-length", b"%d" % len(body)), (b"x-content-type-options", b"nosniff")]
    return response(status, [*fields, (b"connection", b"close")]) + body
