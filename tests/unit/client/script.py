"""A relay that plays its script, one connection after the other."""

import http
import json
from collections.abc import Awaitable, Callable
from typing import Any

from websockets.asyncio.server import Request, Response, ServerConnection


class Script:
    """Serves one connection after the other, each by the next part; records the requests."""

    def __init__(self) -> None:
        self.parts: list[Callable[[ServerConnection], Awaitable[None]]] = []
        self.requests: list[Request] = []
        self.refusals: list[tuple[int, dict[str, str], bytes]] = []
        self.url = ""

    async def serve(self, socket: ServerConnection) -> None:
        await self.parts.pop(0)(socket)

    def check(self, _: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        if not self.refusals:
            return None
        status, headers, body = self.refusals.pop(0)
        response = Response(status, http.HTTPStatus(status).phrase, request.headers.__class__(headers), body)
        response.headers["Content-Length"] = str(len(body))
        return response

    @property
    def paths(self) -> list[str]:
        return [request.path for request in self.requests]

    @property
    def keys(self) -> list[str]:
        return [request.headers["Sec-WebSocket-Protocol"].split("resume.")[1] for request in self.requests]


async def send(socket: ServerConnection, **frame: Any) -> None:
    await socket.send(json.dumps(frame))


async def welcome(socket: ServerConnection, ident: str = "1-1", **more: Any) -> None:
    await send(socket, type="welcome", peer="me", room="r", id=ident, resume=f"key-{ident}", **more)


async def silent(socket: ServerConnection) -> None:
    await welcome(socket)
    await socket.wait_closed()
