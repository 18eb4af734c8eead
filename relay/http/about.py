"""`/` and `/openapi.json`: a description of the service, for people and for programs."""

from collections.abc import Mapping, Sequence

from starlette.requests import Request
from starlette.responses import Response

from relay import __version__
from relay.http.openapi import document
from relay.http.responses import COMMON_HEADERS, ApiResponse
from relay.model.errors import ErrorTable


class ServiceDescription:
    """Describes this relay, as far as its gateways decide.

    `websockets` are the paths of its plain WebSockets, `errors` the gateways' own codes, and `snippets` the panels of
    the page at `/`, which show how clients use it.
    """

    def __init__(self, websockets: Sequence[str], errors: Mapping[str, ErrorTable], snippets: str = "") -> None:
        self.snippets = snippets
        self.websockets = websockets
        self._document = ApiResponse(document(errors)).body

    async def service(self, request: Request) -> Response:
        """Answer with a short description; browsers get a page instead, see `relay.pages`."""
        return ApiResponse(
            {
                "name": "relay",
                "version": __version__,
                "websocket": self.websockets,
                "health": "/health",
                "openapi": "/openapi.json",
            }
        )

    async def api(self, request: Request) -> Response:
        """Answer with the OpenAPI document; every origin may read it, as API explorers run elsewhere."""
        headers = {**COMMON_HEADERS, "Access-Control-Allow-Origin": "*", "Cache-Control": "max-age=300"}
        return Response(self._document, 200, headers, "application/json")
