"""The opening handshake of a WebSocket connection (RFC 6455, 4.2)."""

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
"""What names a subprotocol (RFC 7230, 3.2.6)."""
_SMALL_HEAD: Final = 4096
_FEW_HEADERS: Final = 64
_UNREADABLE: Final = b"the handshake cannot be read"

Headers = Sequence[tuple[bytes, bytes]]


class BadHandshake(Exception):
    """A request for a WebSocket that cannot be granted; `answer` is the whole HTTP response."""

    def __init__(self, answer: bytes) -> None:
        super().__init__(answer)
        self.answer = answer


def read_key(method: bytes, url: bytes, headers: Headers) -> bytes:
    """Check a request for a WebSocket and return its key; raise `BadHandshake`.

    `headers` have lower-case names. An ordinary request is checked here; any other is read again, and refused in the
    proper words, by the `websockets` library.
    """
    found = dict(headers)
    key = found.get(b"sec-websocket-key", b"")
    if (
        method == b"GET"
        and len(found) == len(headers) <= _FEW_HEADERS
        and len(url) + sum(len(name) + len(value) for name, value in headers) < _SMALL_HEAD
        and found.get(b"connection", b"").lower() == b"upgrade"
        and found.get(b"upgrade", b"").lower() == b"websocket"
        and found.get(b"sec-websocket-version") == b"13"
        and _is_key(key)
    ):
        return key
    return _read_key_slowly(method, url, headers)


def accept_value(key: bytes) -> bytes:
    """The answer to a key, which shows that it was understood."""
    return binascii.b2a_base64(hashlib.sha1(key + _GUID, usedforsecurity=False).digest(), newline=False)


def response(status: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The head of an HTTP response, with the empty line after it."""
    return b"HTTP/1.1 %b\r\n%b\r\n" % (status, b"".join([b"%b: %b\r\n" % header for header in headers]))


def websocket_scope(
    http_scope: Mapping[str, object], url: bytes, extensions: Mapping[str, object]
) -> dict[str, object]:
    """The ASGI scope of a connection, from what was read of its request."""
    raw_path, _, query = url.partition(b"?")
    root: str = str(http_scope["root_path"])
    headers: Headers = http_scope["headers"]  # type: ignore[assignment]
    offered = b",".join([value for name, value in headers if name == b"sec-websocket-protocol"]).decode("latin-1")
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
        "subprotocols": [token for one in offered.split(",") if _TOKEN.fullmatch(token := one.strip())],
        "state": http_scope["state"],
        "extensions": extensions,
    }


def _is_key(key: bytes) -> bool:
    try:
        return len(key) == 24 and len(base64.b64decode(key, validate=True)) == 16
    except ValueError:
        return False


def _read_key_slowly(method: bytes, url: bytes, headers: Headers) -> bytes:
    library = ServerProtocol()
    library.receive_data(response(b"", headers).replace(b"HTTP/1.1 ", b"%b %b HTTP/1.1" % (method, url), 1))
    for event in library.events_received():
        if isinstance(event, Request):
            answer = library.accept(event)
            if answer.status_code == 101:
                return event.headers["Sec-WebSocket-Key"].encode("ascii")
            library.send_response(answer)
    answered = b"".join(library.data_to_send())
    if not answered:
        length = b"%d" % len(_UNREADABLE)
        answered = response(b"400 Bad Request", [(b"content-length", length), (b"connection", b"close")]) + _UNREADABLE
    raise BadHandshake(answered)
