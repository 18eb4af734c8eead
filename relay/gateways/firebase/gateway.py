"""The WebSocket of Firebase clients."""

import re
from collections.abc import Coroutine
from functools import partial
from typing import Any, Final

from starlette.types import Receive, Scope, Send

from relay.config import Settings
from relay.gateways.base.credentials import read_token
from relay.gateways.base.endpoint import GatewayEndpoint
from relay.gateways.base.join_request import CodecPair
from relay.gateways.base.websocket import serve
from relay.gateways.firebase.codec import FirebaseCodec
from relay.gateways.firebase.declaration import NAME, TOKENS
from relay.gateways.firebase.places import Places
from relay.gateways.firebase.session import FirebaseSession, RoomConnection
from relay.gateways.firebase.settings import FirebaseSettings
from relay.http_request import header, read_query
from relay.model.errors import Refused
from relay.model.names import escape_room
from relay.rooms.admissions import Ticket
from relay.rooms.connection import Connection, Receiver

_HOST: Final = re.compile(r"[A-Za-z0-9._-]{1,255}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?", re.ASCII)
_VERSION: Final = "5"


class FirebaseGateway(GatewayEndpoint):
    """The ASGI application of the gateway's paths."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, NAME)
        self._whole_database = settings.of(FirebaseSettings).firebase_room == "namespace"
        codec = FirebaseCodec()
        self._codecs = CodecPair(codec, codec)

    async def serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket; raises `Refused` (`bad_query`, `bad_room`) before it is accepted."""
        query = dict(read_query(scope))
        if query.get("v") != _VERSION:
            raise Refused("bad_query", f"the relay speaks version {_VERSION} of the protocol: v={_VERSION}")
        if "s" in query:
            # A client that polls may stay with that.
            raise Refused("transport_mismatch")
        host = read_host(scope)
        places = Places(namespace_in(query, host) if self._whole_database else "")
        opening = partial(self._open, scope, host, places)
        await serve(scope, receive, send, protocol=NAME, opening=opening, subprotocol=None)

    def _open(
        self, scope: Scope, host: str, places: Places, connection: Connection, ticket: Ticket
    ) -> tuple[Receiver, Coroutine[Any, Any, None]]:
        worker = scope["state"]["worker"]
        session = FirebaseSession(RoomConnection(connection), worker, self._codecs, ticket, places)
        return session, session.start(host, read_token(scope, TOKENS))


def read_host(scope: Scope) -> str:
    """Return the host by which a client has reached the relay, and comes back; raises `Refused` (`bad_query`)."""
    # A client of HTTP/1.0 need not name a host.
    host = header(scope, b"host") or "localhost"
    if not _HOST.fullmatch(host):
        raise Refused("bad_query", "the header Host is a name or an address, with a port or without")
    return host


def namespace_in(query: dict[str, str], host: str) -> str:
    """Return the namespace, as the name of a room: `ns` of the query, or the first label of the host."""
    return escape_room(query.get("ns") or host.partition(":")[0].partition(".")[0])
