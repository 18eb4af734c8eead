"""The WebSocket endpoints of SIP: `/` (the default room) and `/rooms/{room}`, for clients of the subprotocol `sip`."""

from collections.abc import Coroutine
from functools import partial
from typing import Any, Final

from starlette.types import Receive, Scope, Send

from relay.config import Settings
from relay.gateways.base.credentials import read_token
from relay.gateways.base.endpoint import GatewayEndpoint
from relay.gateways.base.join_request import CodecPair
from relay.gateways.base.websocket import serve
from relay.gateways.sip.codec import SipCodec
from relay.gateways.sip.connection import SipConnection
from relay.gateways.sip.declaration import NAME, TOKENS
from relay.gateways.sip.session import ClientPlace, SipSession
from relay.gateways.sip.transactions import Timers
from relay.http_request import header, read_query
from relay.model.names import escape_room
from relay.paths import room_in
from relay.rooms.admissions import Ticket
from relay.rooms.connection import Connection, Receiver

STATE: Final = NAME
"""The key under which `scope["state"]` has the `Logins` of this gateway."""


class SipGateway(GatewayEndpoint):
    """The ASGI application of both endpoints."""

    def __init__(self, settings: Settings, timers: Timers | None = None) -> None:
        super().__init__(settings, NAME)
        self._default_room = settings.default_room
        self._timers = timers or Timers()
        codec = SipCodec()
        self._codecs = CodecPair(codec, codec)

    async def serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket."""
        place = ClientPlace(self._room(scope), frozenset({_host(scope)}), partial(read_token, scope, TOKENS))
        opening = partial(self._open, scope, place)
        await serve(scope, receive, send, protocol=NAME, opening=opening, subprotocol=NAME)

    def _open(
        self, scope: Scope, place: ClientPlace, connection: Connection, ticket: Ticket
    ) -> tuple[Receiver, Coroutine[Any, Any, None]]:
        state = scope["state"]
        session = SipSession(
            SipConnection(connection),
            state["worker"],
            self._codecs,
            ticket,
            place=place,
            logins=state[STATE],
            timers=self._timers,
        )
        return session, session.begin_unregistered()

    def _room(self, scope: Scope) -> str:
        """Return the room of the path, or of the query; raise `Refused` (`bad_room`, `bad_query`)."""
        if "room" in scope["path_params"]:
            return room_in(scope)
        named = dict(read_query(scope)).get("room", "")
        return escape_room(named) if named else self._default_room


def _host(scope: Scope) -> str:
    """Return the host that the client has connected to, without its port."""
    host, colon, port = (header(scope, b"host") or "").lower().rpartition(":")
    return host if colon and port.isdigit() else host + colon + port
