"""HTTP requests to gateways: reading them, waiting while the client stays, and responses that pages may read."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from starlette.types import Message, Receive, Scope, Send

from relay.config import Settings
from relay.cors import CorsPolicy
from relay.gateways.base.forwarding import FORWARDER, Forwarder
from relay.http_request import counted_client, header, read_body
from relay.model.errors import STATUS_HEADERS
from relay.model.workers import LISTENER
from relay.rooms.buffers import FREE, Buffer
from relay.rooms.connection import ABORT_EXTENSION, Transfer
from relay.rooms.held_response import HOLD_EXTENSION, HeldResponse
from relay.rooms.worker import Worker

TEXT: Final = b"text/plain; charset=UTF-8"
HTML: Final = b"text/html"
JSON: Final = b"application/json"
OCTETS: Final = b"application/octet-stream"
EVENT_STREAM: Final = b"text/event-stream"

_PIECE: Final = 32_768
"""Bytes of a large body that are given to the server at a time."""

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

    `methods` are those that a preflight request allows. With `credentials`, pages may send requests with credentials;
    it is as in the gateway's declaration. `session_header` is the lower-case name of the header with the session's id,
    from which a load balancer learns which worker has the session; "" for none.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        session_header: str = "",
        methods: Sequence[str] = ("GET", "POST"),
        credentials: bool = False,
    ) -> None:
        self._policy = CorsPolicy(settings.allowed_origins, credentials=credentials, methods=methods, headers=None)
        self._session_header = session_header.encode("ascii")
        self.allow = ((b"allow", ", ".join(methods).encode("ascii")),)

    def of_session(self, session_id: str) -> Headers:
        """Return the header with the session's id; none for "", or if the gateway has no such header."""
        return [(self._session_header, session_id.encode("ascii"))] if session_id and self._session_header else []

    def cors(self, scope: Scope) -> Headers:
        """Return the CORS headers of the response to a request."""
        origin = header(scope, b"origin")
        if scope["method"] != "OPTIONS":
            return self._policy.of_response(origin)
        private = header(scope, b"access-control-request-private-network") == "true"
        return self._policy.of_preflight(
            origin, header(scope, b"access-control-request-headers"), private_network=private
        )


class _Held(NamedTuple):
    """The rest of a request whose response is held."""

    response: HeldResponse
    worker: Worker
    address: str
    cors: Headers
    names_session: bool


class HttpExchange:
    """One HTTP request to a gateway, and the response to it.

    While the response is held (see `hold`), the server's ASGI call has ended, and `scope` is empty.

    A large body counts for the client's address (`relay.rooms.buffers`): that of the request until the response begins,
    that of the response until the client has read it.
    """

    __slots__ = (
        "_arrived_bytes",
        "_body",
        "_buffer",
        "_dropped",
        "_held",
        "_receive",
        "_responses",
        "_send",
        "_unread",
        "method",
        "scope",
    )  # fmt: skip

    def __init__(self, scope: Scope, receive: Receive, send: Send, responses: GatewayResponses) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self._receive = receive
        self._send = send
        self._responses = responses
        self._held: _Held | None = None
        self._dropped = False
        self._body: bytes | None = None
        self._buffer: Buffer | None = None
        self._arrived_bytes = self._unread = 0

    @property
    def media_type(self) -> bytes:
        """The media type of the body, in lower case and without parameters."""
        value = header(self.scope, b"content-type") or ""
        return value.partition(";")[0].strip().lower().encode("latin-1")

    async def read_body(self, limit: int) -> bytes | None:
        """Return the body, which is read once; None if the client drops the request. See `http_request.read_body`."""
        if self._body is None:
            self._body = await read_body(self._receive, limit, self._arrived)
        return self._body

    async def hold(self, rest: Coroutine[Any, Any, None]) -> None:
        """Serve the rest of a request that may wait for long: `rest` waits, and responds.

        If the server can hand the response over, this returns at once: `rest` runs in a task of its own then, and
        nothing else of the request stays in memory. With other servers, it returns when `rest` has ended. Call it last,
        once the body has been read, if there is one; `rest` does not read `scope`, and raises nothing.
        """
        take = self.scope.get("extensions", {}).get(HOLD_EXTENSION)
        response: HeldResponse | None = None if take is None else take()
        if response is None:
            await rest
            return
        worker: Worker = self.scope["state"]["worker"]
        cors = self._responses.cors(self.scope)
        self._held = _Held(response, worker, counted_client(self.scope), cors, self._names_session())
        self._send, self._receive, self.scope, self._body = response.send, _nothing_left, {}, None
        worker.spawn(rest).add_done_callback(self._rest_ended)

    async def until_dropped(self) -> None:
        """Wait until the client drops the request, before `hold`; servers need not say so more than once.

        A client that sends a large body meanwhile, which nobody reads, could do so without end: it is disconnected.
        """
        while not self._dropped:
            message = await self._receive()
            self._dropped = message["type"] == "http.disconnect"
            self._unread += len(message.get("body", b""))
            if self._unread > FREE:
                self._abort()

    async def unless_dropped(self, result: "asyncio.Future[Result]") -> Result | None:
        """Wait for a result; None if the client drops the request first, and the result is cancelled then.

        Call it only once the body has been read, if there is one.
        """
        if result.done():
            return result.result()
        watch = self._watch(result)
        try:
            return await result
        except asyncio.CancelledError:
            if self.lost:
                return None
            raise
        finally:
            if watch is not None:
                watch.cancel()
            elif self._held is not None:
                self._held.response.when_dropped(None)

    async def respond(self, body: HttpBody, *, session_id: str = "", headers: Headers = ()) -> None:
        """Send the response, with more `headers`; a large one in pieces, as the client reads."""
        self.release()
        sent = [
            (b"content-type", body.media_type),
            (b"content-length", b"%d" % len(body.data)),
            *_NOT_STORED,
            *_OF_STATUS.get(body.status, ()),
            *(self._responses.allow if body.status == 405 else ()),
            *self._cors(),
            *self._of_session(session_id),
            *headers,
        ]
        await self._send({"type": "http.response.start", "status": body.status, "headers": sent})
        await self._send_body(body.data, last=True)

    async def forward(self, session_id: str, *, limit: int) -> bool:
        """Respond as the worker does that has this session; return False if no other worker has it.

        `limit` is for the body, in bytes. Raises `Refused`; see `Forwarder.forward`.
        """
        forwarder: Forwarder = self.scope["state"][FORWARDER]
        return await forwarder.forward(
            self.scope, self._receive, self._send, session_id, limit=limit, body=self._body, arrived=self._arrived
        )

    async def start_stream(self, session_id: str) -> None:
        """Send the head of an event stream."""
        headers = [*_NOT_BUFFERED, *self._cors(), *self._of_session(session_id)]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def send_chunk(self, data: bytes, *, last: bool = False) -> None:
        """Send a piece of an event stream; waits while the client reads too slowly."""
        await self._send_body(data, last=last)

    @property
    def lost(self) -> bool:
        """Whether the client has dropped the request, as far as that is known."""
        return self._dropped or (self._held is not None and self._held.response.dropped)

    def transfer(self) -> Transfer | None:
        """Return how much was written to the connection of a held response, and received; None if it is not known."""
        return None if self._held is None else self._held.response.transfer()

    def release(self) -> None:
        """Count nothing any more: the request is served."""
        self._arrived_bytes = 0
        if self._buffer is not None:
            self._buffer.clear()

    def _arrived(self, size: int) -> None:
        """Count bytes of the request's body."""
        before, self._arrived_bytes = self._arrived_bytes, self._arrived_bytes + size
        if before > FREE:
            self._counted().grow(size)
        elif self._arrived_bytes > FREE:
            self._counted().grow(self._arrived_bytes)

    async def _send_body(self, data: bytes, *, last: bool) -> None:
        """Send a part of the response's body; the server takes each piece when the client has read those before it."""
        if len(data) <= FREE:
            await self._send({"type": "http.response.body", "body": data, "more_body": not last})
            return
        buffer = self._counted()
        buffer.keep(data)
        try:
            for at in range(0, len(data), _PIECE):
                more = not last or at + _PIECE < len(data)
                await self._send({"type": "http.response.body", "body": data[at : at + _PIECE], "more_body": more})
        finally:
            buffer.trim(0)

    def _counted(self) -> Buffer:
        if self._buffer is None:
            if self._held is None:
                worker: Worker = self.scope["state"]["worker"]
                address = counted_client(self.scope)
            else:
                worker, address = self._held.worker, self._held.address
            self._buffer = worker.admissions.buffers.open(address, self._abort)
        return self._buffer

    def _abort(self) -> None:
        """End the client's connection; other servers than the relay's own offer no way to do that."""
        if self._held is not None:
            self._held.response.abort()
            return
        abort = self.scope.get("extensions", {}).get(ABORT_EXTENSION)
        if abort is not None:
            abort()

    def _cors(self) -> Headers:
        return self._responses.cors(self.scope) if self._held is None else self._held.cors

    def _of_session(self, session_id: str) -> Headers:
        return self._responses.of_session(session_id) if self._names_session() else ()

    def _names_session(self) -> bool:
        """Return whether responses may name the session; not those through a replica that does not have it.

        A load balancer would learn from the header that the session is there, and forget where it is.
        """
        if self._held is not None:
            return self._held.names_session
        listener: str | None = self.scope["state"].get(LISTENER)
        return listener != "forwarding"

    def _watch(self, result: "asyncio.Future[Any]") -> "asyncio.Task[None] | None":
        """Have the result cancelled when the client drops the request; plain ASGI needs a task for that."""
        if self._held is not None:
            self._held.response.when_dropped(result.cancel)
            return None
        watch = asyncio.create_task(self.until_dropped())
        # Not `asyncio.wait`, which costs twice as much; every poll waits here.
        watch.add_done_callback(lambda _: result.cancel())
        return watch

    def _rest_ended(self, _: object) -> None:
        self.release()
        # Only after an error, or when the worker ends, is the response not complete.
        self._abort()


async def _nothing_left() -> Message:
    raise RuntimeError("the body of a request is read before its response is held")
