"""The WebSocket of XMPP (RFC 7395)."""

import re
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
from relay.gateways.xmpp.session import XmppSocketSession
from relay.http_request import header
from relay.model.errors import Refused
from relay.rooms.admissions import Ticket
from relay.rooms.connection import Connection, Receiver

SUBPROTOCOL: Final = "xmpp"

_HOST: Final = re.compile(r"[A-Za-z0-9.:\[\]_-]{1,255}", re.ASCII)
_OWN_MACHINE: Final = re.compile(r"(?:[^:]+\.)?localhost(?::|$)|127\.|\[::1\]", re.ASCII | re.IGNORECASE)


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

        worker, address = scope["state"]["worker"], _address(scope)

        def opening(connection: Connection, ticket: Ticket) -> tuple[Receiver, Coroutine[Any, Any, None]]:
            session = XmppSocketSession(XmppConnection(connection, address), worker, self._codecs, ticket)
            return session, session.greet()

        await serve(scope, receive, send, protocol=NAME, opening=opening, subprotocol=SUBPROTOCOL)


def _address(scope: Scope) -> str:
    """Return the address to which the client has connected; "" if its request does not say it.

    Behind a proxy that is not trusted, the page tells whether the client uses TLS: from one that was loaded by https,
    browsers open a WebSocket without TLS to their own machine alone.
    """
    host = header(scope, b"host") or ""
    if not _HOST.fullmatch(host):
        return ""
    secure_page = (header(scope, b"origin") or "").startswith("https://") and not _OWN_MACHINE.match(host)
    scheme = "wss" if secure_page or scope.get("scheme") in {"wss", "https"} else "ws"
    return f"{scheme}://{host}{scope['path']}"
