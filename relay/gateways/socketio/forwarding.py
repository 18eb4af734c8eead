"""Sessions on another worker behind the same port, which of whom gets a request is chance; and who polls makes many.

A request for a session that is not here is handed to the siblings, each over its own unix socket, until one has it.
"""

import asyncio
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from starlette.types import Scope

from relay.gateways.base.websocket import client_address, header

_UNKNOWN: Final = (b'{"code":1,"message":"Session ID unknown"}', b"7:::1+0")
"""What a worker answers that does not have the session, to a client of Engine.IO and to one of version 0.9."""

_CLIENT: Final = b"x-relay-client"
"""On a request that is handed on: the address of the client."""

_STATUS: Final = re.compile(rb"HTTP/1\.1 (\d{3})")
_KEPT: Final = (b"content-type", b"x-engine-sid", b"access-control-", b"vary", b"cache-control", b"x-content-type")
_MOST_REMEMBERED: Final = 10_000
_MAX_ANSWER: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ForwardedReply:
    """What a sibling answered."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes


class Forwarder:
    """The workers behind the same port, by the paths of their unix sockets; none where a worker is alone."""

    def __init__(self, sockets: Sequence[str]) -> None:
        self._sockets = sockets
        self._owners: dict[str, str] = {}

    def can_help(self, scope: Scope) -> bool:
        """Whether it is worth asking: not about what came from a sibling itself."""
        return len(self._sockets) > 1 and scope["server"] is not None and scope["server"][1] is not None

    def client_address(self, scope: Scope) -> str:
        """See `serving.client_address`; who hands a request on says whose it was."""
        if scope.get("client") is None and len(self._sockets) > 1:
            return header(scope, _CLIENT) or ""
        return client_address(scope)

    async def ask(self, scope: Scope, sid: str, body: bytes) -> ForwardedReply | None:
        """Have the sibling answer that has this session; None if none of them has."""
        for socket in self._in_turn(sid):
            with suppress(OSError, ValueError, asyncio.IncompleteReadError):
                reply = await _exchange(socket, scope, body)
                if reply.body not in _UNKNOWN:
                    self._remember(sid, socket)
                    return reply
        self._owners.pop(sid, None)
        return None

    def _in_turn(self, sid: str) -> Iterable[str]:
        known = self._owners.get(sid)
        return [known] if known is not None else self._sockets

    def _remember(self, sid: str, socket: str) -> None:
        self._owners.pop(sid, None)
        self._owners[sid] = socket
        if len(self._owners) > _MOST_REMEMBERED:
            del self._owners[next(iter(self._owners))]


async def _exchange(socket: str, scope: Scope, body: bytes) -> ForwardedReply:
    reader, writer = await asyncio.open_unix_connection(socket, limit=_MAX_ANSWER)
    try:
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        lines = [b"%b %b HTTP/1.1" % (scope["method"].encode("ascii"), target), b"host: relay", b"connection: close"]
        for name in (b"origin", b"content-type"):
            value = header(scope, name)
            if value is not None:
                lines.append(name + b": " + value.encode("latin-1"))
        lines.append(_CLIENT + b": " + client_address(scope).encode("latin-1"))
        lines.append(b"content-length: %d" % len(body))
        writer.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        head, *fields = (await reader.readuntil(b"\r\n\r\n")).rstrip().split(b"\r\n")
        status = _STATUS.match(head)
        if status is None:
            raise ValueError("not an answer")
        headers = [(name.lower(), value.strip()) for name, _, value in (field.partition(b":") for field in fields)]
        length = int(dict(headers)[b"content-length"]) if b"content-length" in dict(headers) else 0
        kept = [(name, value) for name, value in headers if name.startswith(_KEPT)]
        return ForwardedReply(int(status[1]), kept, await reader.readexactly(min(length, _MAX_ANSWER)))
    finally:
        writer.transport.abort()
