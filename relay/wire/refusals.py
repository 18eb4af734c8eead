"""The responses to requests that the server refuses by itself, without the application."""

from typing import Final

from relay.wire.handshake import response
from relay.wire.request_size import MAX_HEAD, MAX_HEADERS

MAX_WAITING: Final = 16
"""Requests of one connection that may wait until those before them are answered (pipelining)."""

BAD_REQUEST: Final = "this is not an HTTP/1.1 request"
BAD_HOST: Final = "a request of HTTP/1.1 has the header Host, once"

_TOO_LARGE_HEAD = f"the head of a request has at most {MAX_HEAD} bytes and {MAX_HEADERS} headers"
_TOO_MUCH_FRAMING = "the chunk sizes, chunk extensions and trailers of this request outweigh its body"
_TOO_MANY = f"at most {MAX_WAITING} requests may wait for their answers"

REFUSALS: Final = {
    "head": (b"431 Request Header Fields Too Large", _TOO_LARGE_HEAD),
    "framing": (b"400 Bad Request", _TOO_MUCH_FRAMING),
    "pipeline": (b"429 Too Many Requests", _TOO_MANY),
}
"""Status and text for the limits that a request may exceed; without a response for the others."""


def refusal(status: bytes, text: str) -> bytes:
    """Return a whole response, after which the connection is closed."""
    body = text.encode("ascii")
    fields = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
        (b"x-content-type-options", b"nosniff"),
        (b"connection", b"close"),
    ]
    return response(status, fields) + body
