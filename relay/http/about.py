"""`/` and `/openapi.json`: what this service is, for people and for programs."""

from starlette.requests import Request
from starlette.responses import Response

from relay import __version__
from relay.http.openapi import DOCUMENT
from relay.http.responses import ApiResponse


async def describe_service(request: Request) -> Response:
    """Describe the service in short."""
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
    """Answer with the OpenAPI document; readable for every origin, as API explorers live elsewhere."""
    return ApiResponse(DOCUMENT, headers={"Access-Control-Allow-Origin": "*", "Cache-Control": "max-age=300"})
