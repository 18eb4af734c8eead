"""Forwards a polling request to the worker that has its session, where several workers share one port.

The kernel chooses the worker for each new connection. A client that polls opens several, so its requests may reach a
worker that does not have its session. That worker asks the other ones, each over its unix socket, until one has it.
"""

import asyncio
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from starlette.types import Scope

from relay.gateways.base.admission import client_address
from relay.http_request import header

_UNKNOWN: Final = (b'{"code":1,"message":"Session ID unknown"}', b"7:::1+0")
"""The bodies by which a worker says that it does not have the session: for Engine.IO, and for version 0.9.

They are compared whole, as a client's own message may contain either.
"""

_CLIENT: Final = b"x-relay-client"
"""The header of a forwarded request that has the client's address."""

_STATUS: Final = re.compile(rb"HTTP/1\.1 (\d{3})")
_RESPONSE_HEADERS: Final = (
    b"content-type", b"x-engine-sid", b"access-control-", b"vary", b"cache-control", b"x-content-type",
)  # fmt: skip
_MAX_OWNERS: Final = 10_000
"""Sessions whose worker is remembered."""
_MAX_REPLY: Final = 64 * 1024 * 1024
"""Bytes of a reply's body, and of its head."""


@dataclass(frozen=True, slots=True)
class ForwardedReply:
    """The reply of the worker that has the session."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes


class Forwarder:
    """Asks the workers behind the same port; `sockets` are the paths of their unix sockets, empty for a lone worker."""

    def __init__(self, sockets: Sequence[str]) -> None:
        self._sockets = sockets
        self._owners: dict[str, str] = {}

    def may_forward(self, scope: Scope) -> bool:
        """Return whether to ask others about this request; not if it came over a unix socket, from another worker."""
        return len(self._sockets) > 1 and scope["server"] is not None and scope["server"][1] is not None

    def client_address(self, scope: Scope) -> str:
        """Return the address by which the client is counted, also of a forwarded request."""
        if scope.get("client") is None and len(self._sockets) > 1:
            return header(scope, _CLIENT) or ""
        return client_address(scope)

    async def forward(self, scope: Scope, sid: str, body: bytes) -> ForwardedReply | None:
        """Send the request to the worker that has this session; None if no worker has it.

        A session's first request is tried on each worker in turn, this one included. Later ones go straight to it.
        """
        for socket in self._candidates(sid):
            with suppress(OSError, ValueError, asyncio.IncompleteReadError):
                reply = await _exchange(socket, scope, body)
                if reply.body not in _UNKNOWN:
                    self._remember(sid, socket)
                    return reply
        self._owners.pop(sid, None)
        return None

    def _candidates(self, sid: str) -> Iterable[str]:
        owner = self._owners.get(sid)
        return self._sockets if owner is None else [owner]

    def _remember(self, sid: str, socket: str) -> None:
        # Removed and added again, it is the newest entry; the oldest one is dropped first.
        self._owners.pop(sid, None)
        self._owners[sid] = socket
        if len(self._owners) > _MAX_OWNERS:
            del self._owners[next(iter(self._owners))]


async def _exchange(socket: str, scope: Scope, body: bytes) -> ForwardedReply:
    reader, writer = await asyncio.open_unix_connection(socket, limit=_MAX_REPLY)
    try:
        writer.write(_request(scope, body))
        return await _read_reply(reader)
    finally:
        writer.transport.abort()


def _request(scope: Scope, body: bytes) -> bytes:
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    lines = [b"%b %b HTTP/1.1" % (scope["method"].encode("ascii"), target), b"host: relay", b"connection: close"]
    for name in (b"origin", b"content-type"):
        value = header(scope, name)
        if value is not None:
            lines.append(name + b": " + value.encode("latin-1"))
    lines.append(_CLIENT + b": " + client_address(scope).encode("latin-1"))
    lines.append(b"content-length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


async def _read_reply(reader: asyncio.StreamReader) -> ForwardedReply:
    """Read a reply of the relay itself, which always has a length; raises ValueError for anything else."""
    head, *fields = (await reader.readuntil(b"\r\n\r\n")).rstrip().split(b"\r\n")
    status = _STATUS.match(head)
    if status is None:
        raise ValueError("not a reply")
    headers = [(name.lower(), value.strip()) for name, _, value in (field.partition(b":") for field in fields)]
    length = int(dict(headers).get(b"content-length", b"0"))
    kept = [(name, value) for name, value in headers if name.startswith(_RESPONSE_HEADERS)]
    return ForwardedReply(int(status[1]), kept, await reader.readexactly(min(length, _MAX_REPLY)))
