"""Reads the query, the origin, the address and the body of an HTTP request, within one set of bounds for all edges."""

from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope

from relay.addresses import counted_address
from relay.model.errors import Refused
from relay.origins import AllowedOrigins

MAX_QUERY: Final = 32_768
"""Bytes of a query, escaped as in the URL."""

MAX_PARAMETERS: Final = 1_024
"""Parameters of a query."""


def read_query(scope: Scope) -> list[tuple[str, str]]:
    """Return the parameters of a request's query, in order and with blank values.

    Raises `Refused` (`bad_query`) if the query is too long, has too many parameters, or is not UTF-8.
    """
    query: bytes = scope["query_string"]
    if not query:
        return []
    if len(query) > MAX_QUERY:
        raise Refused("bad_query", f"a query is at most {MAX_QUERY} bytes")
    try:
        return parse_qsl(query.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS)
    except ValueError:
        raise Refused("bad_query", f"the query is not UTF-8, or has more than {MAX_PARAMETERS} parameters") from None


def header(scope: Scope, name: bytes) -> str | None:
    """Return the first header of this lower-case name, or None."""
    # A loop and no generator: every request asks for several headers.
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return None


def bearer(authorization: str) -> str:
    """Return the token of a header `Authorization: Bearer TOKEN`; "" for a header of any other scheme."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def check_origin(scope: Scope, allowed: AllowedOrigins) -> None:
    """Raise `Refused` (`bad_origin`) for a request from a page of an origin that is not allowed."""
    if not allowed.all:
        allowed.check(header(scope, b"origin"))


def client_address(scope: Scope) -> str:
    """Return the address of a client; "" if the server does not know it."""
    client = scope.get("client")
    return client[0] if client else ""


def counted_client(scope: Scope) -> str:
    """Return the name under which the limits by address count a client; see `counted_address`."""
    return counted_address(client_address(scope))


async def read_body(receive: Receive, limit: int, arrived: Callable[[int], None] | None = None) -> bytes | None:
    """Return the whole body of a request; None if the client drops the request.

    `arrived` is called with the number of bytes of each piece. Raises `Refused` (`too_large`) as soon as more than
    `limit` bytes have arrived.
    """
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        piece = message.get("body", b"")
        body += piece
        if len(body) > limit:
            raise Refused("too_large", f"at most {limit} bytes at once")
        if arrived is not None:
            arrived(len(piece))
        if not message.get("more_body"):
            return bytes(body)
