"""The WebSocket of XMPP (RFC 7395)."""

from collections.abc import Coroutine
from typing import Any, Final

from starlette.types import Receive, Scope, Send

from relay.config import Settings
from relay.gateways.base.endpoint import GatewayEndpoint
from relay.gateways.base.join_request import CodecPair
from relay.gateways.base.websocket import serve
from relay.gateways.xmpp.codec import XmppCodec
from relay.gateways.xmpp.connection import XmppConnection
from relay.gateways.xmpp.declaration import NAME
from relay.gateways.xmpp.session import XmppSession
from relay.model.errors import Refused
from relay.rooms.admissions import Ticket
from relay.rooms.connection import Connection, Receiver

SUBPROTOCOL: Final = "xmpp"


class XmppGateway(GatewayEndpoint):
    """The ASGI application of the gateway's path."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, NAME)
        codec = XmppCodec("")
        self._codecs = CodecPair(codec, codec)

    async def serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket; raises `Refused` for one that does not offer the subprotocol (RFC 7395, section 3.1)."""
        if SUBPROTOCOL not in scope["subprotocols"]:
            raise Refused("bad_query", f"offer the subprotocol {SUBPROTOCOL}")

        def opening(connection: Connection, ticket: Ticket) -> tuple[Receiver, Coroutine[Any, Any, None]]:
            session = XmppSession(XmppConnection(connection), scope["state"]["worker"], self._codecs, ticket)
            return session, session.greet()

        await serve(scope, receive, send, protocol=NAME, opening=opening, subprotocol=SUBPROTOCOL)
