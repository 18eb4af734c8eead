"""The answer to requests and WebSockets to a path at which there is nothing."""

from collections.abc import Sequence
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from relay.http.request import worker_of
from relay.http.responses import COMMON_HEADERS, ErrorResponse
from relay.http_request import counted_client
from relay.model.errors import Refused

_DOUBLED: Final = "there is nothing at this path, which has two slashes in a row; write one"


class NotFound:
    """Refuses a WebSocket with 404, like any other request, where Starlette would refuse it with an empty 403.

    `websockets` are the paths that plain WebSocket clients may use.
    """

    def __init__(self, websockets: Sequence[str]) -> None:
        paths = " or ".join(websockets)
        self._hint = f"; a WebSocket client connects to {paths}" if paths else ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse one request or handshake; `OPTIONS *` asks about the server as a whole, and gets an answer."""
        error = Refused("not_found", _DOUBLED) if "//" in scope["path"] else Refused("not_found")
        if scope["type"] == "websocket":
            error.text += self._hint
            await self._refuse_socket(WebSocket(scope, receive, send), error)
        elif scope["method"] == "OPTIONS" and scope["path"] == "*":
            await Response(status_code=204, headers=COMMON_HEADERS)(scope, receive, send)
        else:
            raise error

    async def _refuse_socket(self, websocket: WebSocket, error: Refused) -> None:
        try:
            # No gateway counts it as a handshake.
            await worker_of(websocket.scope).requests.admit(counted_client(websocket.scope))
        except Refused as too_many:
            error = too_many
        if "websocket.http.response" in websocket.scope.get("extensions", {}):
            await websocket.send_denial_response(ErrorResponse(error))
        else:
            await websocket.close()
