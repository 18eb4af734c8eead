"""`/` and `/openapi.json`: a description of the service, for people and for programs."""

from starlette.requests import Request
from starlette.responses import Response

from relay import __version__
from relay.http.openapi import DOCUMENT
from relay.http.responses import ApiResponse


async def describe_service(request: Request) -> Response:
    """Answer with a short description; browsers get a page instead, see `relay.pages`."""
    return ApiResponse(
        {
            "name": "relay",
            "version": __version__,
            "websocket": ["/", "/rooms/{room}"],
            "health": "/health",
            "openapi": "/openapi.json",
        }
    )


async def describe_api(request: Request) -> Response:
    """Answer with the OpenAPI document; every origin may read it, as API explorers run elsewhere."""
    return ApiResponse(DOCUMENT, headers={"Access-Control-Allow-Origin": "*", "Cache-Control": "max-age=300"})
