"""Forwards a request to the worker that has the session: in one hop, over its unix socket or its internal port.

A client that polls sends each request over any connection, so a load balancer or the kernel may give it to another
worker than the one that has its session. The session id names that worker, see `relay.session_ids`. All headers travel
along; the seal of `request_seal` vouches for the request and carries the client's address. `forwarded` is the receiving
side.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from starlette.types import Receive, Scope, Send

from relay.fleet_key import FleetKey
from relay.gateways.base.forward_targets import ForbiddenTarget, ForwardTargets
from relay.gateways.base.forwarded import FORWARDED, MISDIRECTED, target_of
from relay.gateways.base.request_seal import INTERNAL, SEAL, RequestHead, Sealer
from relay.http_client import HttpClient, HttpConnection, HttpError, HttpResponse, Target, Unreachable
from relay.http_request import client_address, read_body
from relay.logs import LogIntervals
from relay.metrics import Metrics
from relay.model.errors import Refused, RelayError
from relay.model.workers import Owner
from relay.session_ids import BadSessionId, SessionIds

log = logging.getLogger("relay.forwarding")

FORWARDER: Final = "forwarder"
"""The key under which `scope["state"]` has the worker's `Forwarder`."""

_LOG_INTERVAL: Final = 60.0

_MOST_OF_SESSION: Final = 16
"""Requests of one session that one worker forwards at the same time.

A body waits whole in memory. Without this bound, one client could send bodies for one session over all connections.
"""

_MAX_SEALERS: Final = 4096

_HOP_BY_HOP: Final = frozenset(
    b"connection expect http2-settings keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer "
    b"transfer-encoding upgrade".split()
)
"""Headers that are about one connection (RFC 9110, 7.6.1)."""

_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FORBIDDEN: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_TARGET: Final = re.compile(rb"/[!-~\x80-\xff]*")

Headers = list[tuple[bytes, bytes]]


class Forwarder:
    """Forwards the requests of one worker; at most `most` at the same time.

    `patience` is how many seconds the head of a response may take: more than any poll may wait.
    """

    def __init__(
        self,
        ids: SessionIds,
        targets: ForwardTargets,
        key: FleetKey,
        *,
        now: Callable[[], int],
        metrics: Metrics,
        most: int,
        patience: float,
    ) -> None:
        self._ids = ids
        self._targets = targets
        self._key = key
        self._now = now
        self._count = metrics.forwarded.labels
        self._requests = _OpenRequests(most)
        self._patience = patience
        self._client = HttpClient()
        self._lines = LogIntervals(_LOG_INTERVAL)
        self._sealers: dict[Owner, Sealer] = {}

    async def forward(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        session_id: str,
        *,
        limit: int,
        body: bytes | None = None,
        arrived: Callable[[int], None] | None = None,
    ) -> bool:
        """Answer as the worker does that has this session; return False if no other worker has it.

        The caller then answers with its protocol's "unknown session". `limit` is for the body, which a caller that has
        read it gives as `body`; for `arrived`, see `http_request.read_body`. A request that another worker has
        forwarded is never forwarded again.
        Raises `Refused` (`too_large`, `worker_full`, `too_many_connections`, `unavailable`).
        """
        if scope["state"].get(FORWARDED):
            return False
        found = await self._find(session_id)
        if found is None:
            return False
        owner, target = found
        with self._requests.one_more(session_id):
            if body is None:
                body = await read_body(receive, limit, arrived)
            outcome = "dropped" if body is None else await self._forward(scope, receive, send, owner, target, body)
        self._count(outcome).inc()
        if outcome == "unreachable":
            raise Refused("unavailable", "the worker that has this session cannot be reached; try again")
        return outcome != "gone"

    async def _find(self, session_id: str) -> tuple[Owner, Target] | None:
        """Return the owner of a session and its address; None if there is none. Raises `Refused` (`unavailable`)."""
        try:
            owner = self._ids.owner(session_id)
            target = await self._targets.find(owner)
        except BadSessionId:
            self._count("bad_id").inc()
            return None
        except ForbiddenTarget:
            self._count("forbidden").inc()
            return None
        except RelayError:
            self._count("unreachable").inc()
            raise Refused("unavailable") from None
        return None if target is None else (owner, target)

    def close(self) -> None:
        """Drop the connections that are kept for later requests."""
        self._client.close()

    async def _forward(
        self, scope: Scope, receive: Receive, send: Send, owner: Owner, target: Target, body: bytes
    ) -> str:
        """Send the request, and pass the response on; return the outcome."""
        head = _head(scope, len(body))
        connection: HttpConnection | None = None
        watcher = asyncio.ensure_future(_until_disconnect(receive))

        def on_disconnect(_: object) -> None:
            # The worker sees that its client is gone, as if it had been connected to it.
            if connection is not None:
                connection.abort("the client has dropped the request")

        watcher.add_done_callback(on_disconnect)
        started = False
        try:
            async with self._client.connection(target) as connection:
                if watcher.done():
                    return "dropped"
                # Sealed last: the seal has the time, and its number is in the order in which requests leave.
                request = self._request(scope, owner, head, body)
                async with asyncio.timeout(self._patience):
                    response = await connection.exchange(request, bodyless=scope["method"] == "HEAD")
                if response.status == MISDIRECTED:
                    # The worker has ended, and another one has its address.
                    self._targets.forget(owner)
                    return "gone"
                started = True
                await _pass_on(response, send)
                return "answered"
        except Unreachable as error:
            self._targets.forget(owner)
            return "gone" if error.refused else "unreachable"
        except (HttpError, TimeoutError) as error:
            if watcher.done():
                return "dropped"
            self._targets.forget(owner)
            if started:
                # The server sees that the response is not complete, and closes the client's connection.
                self._warn_of_cut(owner, error)
                return "cut"
            return "gone" if isinstance(error, HttpError) else "unreachable"
        finally:
            watcher.remove_done_callback(on_disconnect)
            watcher.cancel()

    def _warn_of_cut(self, owner: Owner, error: Exception) -> None:
        """Log one in a minute: a worker that ends has a response in progress for each stream."""
        if self._lines.due() is not None:
            log.warning(
                "worker %s ended in the middle of a response (%s); its client is disconnected, as are those of other "
                "responses of that worker", owner, error,
            )  # fmt: skip

    def _request(self, scope: Scope, owner: Owner, head: RequestHead, body: bytes) -> bytes:
        seal = self._sealer(owner).seal(head, address=client_address(scope), scheme=scope["scheme"], body=body)
        lines = [b"%b %b HTTP/1.1" % (head.method, head.target)]
        lines += [b"%b: %b" % header for header in head.headers]
        lines.append(b"%b: %b" % (SEAL, seal))
        return b"\r\n".join(lines) + b"\r\n\r\n" + body

    def _sealer(self, owner: Owner) -> Sealer:
        sealer = self._sealers.get(owner)
        if sealer is None:
            if len(self._sealers) >= _MAX_SEALERS:
                self._sealers.clear()
            sealer = self._sealers[owner] = Sealer(self._key, owner, self._now)
        return sealer


class _OpenRequests:
    """Counts the requests that are being forwarded: at most `most`, and at most so many of one session."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0
        self._of_session: dict[str, int] = {}

    @contextmanager
    def one_more(self, session_id: str) -> Iterator[None]:
        """Count a request of this session; raises `Refused` (`worker_full`, `too_many_connections`)."""
        of_session = self._of_session.get(session_id, 0)
        if self._count >= self._most:
            raise Refused("worker_full")
        if of_session >= _MOST_OF_SESSION:
            raise Refused("too_many_connections", f"at most {_MOST_OF_SESSION} requests of a session at the same time")
        self._count += 1
        self._of_session[session_id] = of_session + 1
        try:
            yield
        finally:
            self._count -= 1
            left = self._of_session.pop(session_id) - 1
            if left:
                self._of_session[session_id] = left


def _head(scope: Scope, size: int) -> RequestHead:
    """Return the head of a request with a body of this size; raises `Refused` for one that is not safe to write."""
    headers = _end_to_end(scope["headers"])
    if size or scope["method"] not in {"GET", "HEAD", "OPTIONS"}:
        headers.append((b"content-length", b"%d" % size))
    if not any(name == b"host" for name, _ in headers):
        # A client of HTTP/1.0 need not name a host, but the owner gets a request of HTTP/1.1 (RFC 9112, 3.2).
        headers.append((b"host", b""))
    head = RequestHead(scope["method"].encode("ascii"), target_of(scope), headers)
    if not (_TOKEN.fullmatch(head.method) and _TARGET.fullmatch(head.target)):
        raise Refused("bad_query")
    return head


def _end_to_end(headers: Sequence[tuple[bytes, bytes]]) -> Headers:
    dropped = _HOP_BY_HOP
    for name, value in headers:
        if name == b"connection" and value.lower() not in {b"keep-alive", b"close"}:
            dropped = dropped.union(one.strip().lower() for one in value.split(b","))
    kept = [
        (name, value)
        for name, value in headers
        if name and name not in dropped and name != b"content-length" and not name.startswith(INTERNAL)
    ]
    # A server that let a line feed through would let its client write headers of its own. All are checked at once.
    if _TOKEN.fullmatch(b"".join([name for name, _ in kept])) and not _FORBIDDEN.search(b"".join([v for _, v in kept])):
        return kept
    return [(name, value) for name, value in kept if _TOKEN.fullmatch(name) and not _FORBIDDEN.search(value)]


async def _pass_on(response: HttpResponse, send: Send) -> None:
    """Send a response to the client as it arrives."""
    headers = _end_to_end([header for header in response.headers if header[0] != b"date"])
    headers += [header for header in response.headers if header[0] == b"content-length"]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    more = True
    while more:
        chunk = await response.next_chunk()
        more = not response.ended
        await send({"type": "http.response.body", "body": chunk, "more_body": more})


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
