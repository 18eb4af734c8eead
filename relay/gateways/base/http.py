"""HTTP requests to gateways: reading them, waiting while the client stays, and responses that pages may read."""

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeVar

from starlette.types import Receive, Scope, Send

from relay.config import Settings
from relay.gateways.base.forwarding import FORWARDER, Forwarder
from relay.http_request import header, read_body
from relay.model.errors import STATUS_HEADERS
from relay.model.workers import LISTENER
from relay.origins import AllowedOrigins

TEXT: Final = b"text/plain; charset=UTF-8"
HTML: Final = b"text/html"
JSON: Final = b"application/json"
OCTETS: Final = b"application/octet-stream"
EVENT_STREAM: Final = b"text/event-stream"

Headers = Sequence[tuple[bytes, bytes]]

_NOT_STORED: Final = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
_OF_STATUS: Final = {
    status: [(name.lower().encode("ascii"), value.encode("ascii")) for name, value in headers.items()]
    for status, headers in STATUS_HEADERS.items()
}
_NOT_BUFFERED: Final = (
    (b"content-type", EVENT_STREAM),
    (b"cache-control", b"no-store, no-transform"),
    (b"x-content-type-options", b"nosniff"),
    # nginx would keep a response back until it has 4 or 8 KB of it.
    (b"x-accel-buffering", b"no"),
)

Result = TypeVar("Result")


class HttpBody(NamedTuple):
    """The body of a response, its media type, and its status."""

    data: bytes
    media_type: bytes = TEXT
    status: int = 200


class GatewayResponses:
    """The headers of one gateway's responses: which pages may read them, and which session they belong to.

    `methods` are those that a preflight request allows. `session_header` is the lower-case name of the header with the
    session's id, from which a load balancer learns which worker has the session; "" for none.
    """

    def __init__(self, settings: Settings, *, session_header: str = "", methods: bytes = b"GET, POST") -> None:
        self._origins = AllowedOrigins(settings.allowed_origins)
        self._session_header = session_header.encode("ascii")
        self._methods = methods

    def of_session(self, session_id: str) -> Headers:
        """Return the header with the session's id; none for "", or if the gateway has no such header."""
        return [(self._session_header, session_id.encode("ascii"))] if session_id and self._session_header else []

    def cors(self, scope: Scope) -> Headers:
        """Return the CORS headers for a page of an allowed origin.

        Many clients always poll with credentials, which browsers allow only for an origin that is named, not for `*`.
        The relay reads no cookies.
        """
        origin = header(scope, b"origin")
        if origin is None or not self._origins.allows(origin):
            return []
        headers = [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-allow-credentials", b"true"),
            (b"vary", b"Origin"),
        ]
        if scope["method"] == "OPTIONS":
            requested = header(scope, b"access-control-request-headers")
            headers.append((b"access-control-allow-methods", self._methods))
            if requested is not None:
                headers.append((b"access-control-allow-headers", requested.encode("latin-1")))
        return headers


class HttpExchange:
    """One HTTP request to a gateway, and the response to it."""

    __slots__ = ("_body", "_receive", "_responses", "_send", "method", "scope")

    def __init__(self, scope: Scope, receive: Receive, send: Send, responses: GatewayResponses) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self._receive = receive
        self._send = send
        self._responses = responses
        self._body: bytes | None = None

    @property
    def media_type(self) -> bytes:
        """The media type of the body, in lower case and without parameters."""
        value = header(self.scope, b"content-type") or ""
        return value.partition(";")[0].strip().lower().encode("latin-1")

    async def read_body(self, limit: int) -> bytes | None:
        """Return the body, which is read once; None if the client drops the request. See `http_request.read_body`."""
        if self._body is None:
            self._body = await read_body(self._receive, limit)
        return self._body

    async def unless_dropped(self, result: "asyncio.Future[Result]") -> Result | None:
        """Wait for a result; None if the client drops the request first, and the result is cancelled then.

        Call it only once the body has been read, if there is one.
        """
        if not result.done():
            dropped = asyncio.create_task(self.until_dropped())
            # Not `asyncio.wait`, which costs twice as much; every poll waits here.
            dropped.add_done_callback(lambda _: result.cancel())
            try:
                return await result
            except asyncio.CancelledError:
                if dropped.done():
                    return None
                raise
            finally:
                dropped.cancel()
        return result.result()

    async def respond(self, body: HttpBody, *, session_id: str = "") -> None:
        """Send the response."""
        headers = [
            (b"content-type", body.media_type),
            (b"content-length", b"%d" % len(body.data)),
            *_NOT_STORED,
            *_OF_STATUS.get(body.status, ()),
            *self._responses.cors(self.scope),
            *self._of_session(session_id),
        ]
        await self._send({"type": "http.response.start", "status": body.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body.data})

    async def forward(self, session_id: str, *, limit: int) -> bool:
        """Respond as the worker does that has this session; return False if no other worker has it.

        `limit` is for the body, in bytes. Raises `Refused`; see `Forwarder.forward`.
        """
        forwarder: Forwarder = self.scope["state"][FORWARDER]
        return await forwarder.forward(self.scope, self._receive, self._send, session_id, limit=limit, body=self._body)

    async def start_stream(self, session_id: str) -> None:
        """Send the head of an event stream."""
        headers = [*_NOT_BUFFERED, *self._responses.cors(self.scope), *self._of_session(session_id)]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def send_chunk(self, data: bytes, *, last: bool = False) -> None:
        """Send a piece of an event stream; waits while the client reads too slowly."""
        await self._send({"type": "http.response.body", "body": data, "more_body": not last})

    def _of_session(self, session_id: str) -> Headers:
        """Return the header with the session's id; none through a replica that does not have the session.

        A load balancer would learn from the header that the session is there, and forget where it is.
        """
        if self.scope["state"].get(LISTENER) == "forwarding":
            return ()
        return self._responses.of_session(session_id)

    async def until_dropped(self) -> None:
        """Wait until the client drops the request; call it only once the body has been read, if there is one."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
