"""The WebSocket of Firebase clients."""

from collections.abc import Coroutine
from functools import partial
from typing import Any

from starlette.types import Receive, Scope, Send

from relay.config import Settings
from relay.gateways.base.credentials import read_token
from relay.gateways.base.endpoint import GatewayEndpoint
from relay.gateways.base.join_request import CodecPair
from relay.gateways.base.websocket import serve
from relay.gateways.firebase.addresses import check_version, places_of, read_host
from relay.gateways.firebase.codec import FirebaseCodec
from relay.gateways.firebase.declaration import NAME, TOKENS
from relay.gateways.firebase.last_sessions import end_last_session
from relay.gateways.firebase.places import Places
from relay.gateways.firebase.session import RoomConnection
from relay.gateways.firebase.sockets import FirebaseSocketSession
from relay.gateways.firebase.state import state_of
from relay.http_request import read_query
from relay.model.errors import Refused
from relay.rooms.admissions import Ticket
from relay.rooms.connection import Connection, Receiver


class FirebaseGateway(GatewayEndpoint):
    """The ASGI application of the WebSocket's path."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, NAME)
        self._settings = settings
        codec = FirebaseCodec()
        self._codecs = CodecPair(codec, codec)

    async def serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket; raises `Refused` (`bad_query`, `bad_room`) before it is accepted."""
        query = dict(read_query(scope))
        check_version(query)
        if "s" in query:
            # A client that polls may stay with that.
            raise Refused("transport_mismatch")
        host = read_host(scope)
        opening = partial(self._open, scope, host, places_of(self._settings, query, host), query)
        await serve(scope, receive, send, protocol=NAME, opening=opening, subprotocol=None)

    def _open(
        self, scope: Scope, host: str, places: Places, query: dict[str, str], connection: Connection, ticket: Ticket
    ) -> tuple[Receiver, Coroutine[Any, Any, None]]:
        worker = scope["state"]["worker"]
        wrapped = RoomConnection(connection)
        session = FirebaseSocketSession(wrapped, worker, self._codecs, ticket, places, state_of(scope).sockets)

        async def greet() -> None:
            await end_last_session(scope, query)
            await session.start(host, read_token(scope, TOKENS), session.id, query.get("ls", ""))

        return session, greet()
