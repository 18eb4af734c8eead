"""Accepts requests that other workers have forwarded, and drops internal headers from the requests of clients.

This middleware is the outermost one. On the clients' port it drops headers that only workers may send. On the port for
other replicas it answers 404 to everything that has no valid seal, before any other code sees the request; and 421 to a
valid request for another worker, one that has ended and whose address this worker has now. On a
worker's unix socket, which only processes of the same user reach, requests without a seal are those for health and
metrics.
"""

import logging
from collections.abc import Mapping
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from relay.addresses import normal_address
from relay.gateways.base.request_seal import INTERNAL, SEAL, BadSeal, ForwardedClient, RequestHead, SealVerifier
from relay.http_request import read_body
from relay.limits import Clock
from relay.logs import LogIntervals
from relay.metrics import Metrics
from relay.model.errors import Refused
from relay.model.workers import LISTENER

log = logging.getLogger("relay.forwarding")

GATE: Final = "forwarded_requests"
"""The key under which `scope["state"]` has the worker's `ForwardedGate`."""

FORWARDED: Final = "forwarded"
"""The key under which `scope["state"]` has True in a request that another worker has forwarded."""

_APPLIED: Final = frozenset({b"x-forwarded-for", b"x-forwarded-proto"})
"""Headers that the first worker has applied, if they came from a trusted proxy."""

MISDIRECTED: Final = 421
"""The status that tells another worker that this one is not the receiver of its request (RFC 9110, 15.5.20)."""

_LOG_INTERVAL: Final = 60.0


class ForwardedGate:
    """Decides which requests of other workers one worker accepts; `limit` is for their bodies, in bytes."""

    def __init__(self, verifier: SealVerifier, *, limit: int, metrics: Metrics, clock: Clock) -> None:
        self._verifier = verifier
        self._limit = limit
        self._metrics = metrics
        self._lines = LogIntervals(_LOG_INTERVAL, clock)

    async def accept(self, scope: Scope, receive: Receive) -> tuple[ForwardedClient, bytes] | None:
        """Return the client and the whole body of a request; None if it was dropped. Raises `BadSeal`."""
        client = self._verifier.verify(_head(scope), _seal(scope))
        try:
            body = await read_body(receive, self._limit)
        except Refused:
            raise BadSeal("too_large") from None
        if body is None:
            return None
        client.check(body)
        return client, body

    def note_refusal(self, flaw: str, peer: str) -> None:
        """Count a refused request; log one in a minute of each kind that shows a fault or an attack."""
        self._metrics.forward_refusals.labels(flaw).inc()
        if flaw == "misdirected":
            return
        if self._lines.due(flaw) is not None:
            log.warning(
                "refused a request on the port for other workers (%s, from %s); it was answered 404; check which "
                "programs reach this port, and that all workers have the same fleet key", flaw, peer,
            )  # fmt: skip


class ForwardedRequests:
    """The middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a client's request on without internal headers; accept or refuse a forwarded one."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        state: Mapping[str, Any] = scope.get("state", {})
        listener = state.get(LISTENER, "public")
        internal = any(name.startswith(INTERNAL) for name, _ in scope["headers"])
        if listener == "forwarding" or (listener == "local" and internal):
            await self._accept(scope, receive, send, state[GATE])
            return
        if internal:
            scope["headers"] = [header for header in scope["headers"] if not header[0].startswith(INTERNAL)]
        await self._app(scope, receive, send)

    async def _accept(self, scope: Scope, receive: Receive, send: Send, gate: ForwardedGate) -> None:
        peer = normal_address(scope["client"][0]) if scope.get("client") else "a unix socket"
        if scope["type"] == "websocket":
            gate.note_refusal("unsigned", peer)
            await WebSocketClose()(scope, receive, send)
            return
        try:
            accepted = await gate.accept(scope, receive)
        except BadSeal as error:
            gate.note_refusal(error.flaw, peer)
            headers = [(b"content-length", b"0"), (b"connection", b"close")]
            status = MISDIRECTED if error.flaw == "misdirected" else 404
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        if accepted is None:
            return
        client, body = accepted
        scope["client"] = (client.address, 0)
        scope["scheme"] = client.scheme
        scope["headers"] = [
            header for header in scope["headers"] if not header[0].startswith(INTERNAL) and header[0] not in _APPLIED
        ]
        scope["state"] = {**scope["state"], FORWARDED: True}
        await self._app(scope, _again(body, receive), send)


def target_of(scope: Scope) -> bytes:
    """Return path and query of a request as its client sent them."""
    path: bytes = scope["raw_path"]
    query: bytes = scope["query_string"]
    return path + b"?" + query if query else path


def _head(scope: Scope) -> RequestHead:
    return RequestHead(scope["method"].encode("ascii"), target_of(scope), scope["headers"])


def _seal(scope: Scope) -> bytes:
    seals = [value for name, value in scope["headers"] if name.startswith(INTERNAL)]
    if len(seals) != 1 or not any(name == SEAL for name, _ in scope["headers"]):
        raise BadSeal("malformed" if seals else "unsigned")
    return bytes(seals[0])


def _again(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that begins with a body that was read."""
    first: Message | None = {"type": "http.request", "body": body, "more_body": False}

    async def receive_again() -> Message:
        nonlocal first
        message, first = first, None
        return message if message is not None else await receive()

    return receive_again
