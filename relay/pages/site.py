"""The page at `/` and the demo at `/demo`. Their policy forbids inline scripts, and files from other servers."""

import html
import re
from collections.abc import Sequence
from string import Template
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from relay import __version__
from relay.config import Settings
from relay.http.about import ServiceDescription
from relay.http.responses import COMMON_HEADERS
from relay.pages.address import address_of, websocket_of
from relay.pages.script import compressed_size
from relay.pages.static import StaticFile, read

_FILES: Final = {
    "style.css": "text/css; charset=utf-8",
    "home.js": "text/javascript; charset=utf-8",
    "demo.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'{websocket}; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_OF_WEBSOCKETS: Final = re.compile("<!-- websockets -->(.*?)<!-- /websockets -->", re.DOTALL)


def site_routes(settings: Settings, about: ServiceDescription) -> Sequence[BaseRoute]:
    """Make the routes of both pages, and of the files that they load; the demo needs a plain WebSocket."""
    home, demo = Page("home.html", settings, about), Page("demo.html", settings, about)

    async def root(request: Request) -> Response:
        if wants_page(request):
            return await home.get(request)
        response = await about.service(request)
        response.headers["Vary"] = "Accept"
        return response

    revalidated = {"Cache-Control": "no-cache"}
    return [
        Route("/", root),
        *([Route("/demo", demo.get)] if about.websockets else []),
        *[
            Route(f"/pages/{name}", StaticFile(read(f"site/{name}").encode(), kind, revalidated).get)
            for name, kind in _FILES.items()
        ],
    ]


class Page:
    """A page that shows this relay's address, also in its snippets.

    Where no gateway has a plain WebSocket, the page lacks the parts of the file that need one, such as `relay.js`.
    """

    def __init__(self, name: str, settings: Settings, about: ServiceDescription) -> None:
        text = _OF_WEBSOCKETS.sub(r"\1" if about.websockets else "", read(f"site/{name}"))
        text = text.replace("$snippets", about.snippets)
        # JavaScript in the snippets has `${…}` of its own, which is not a field of this template.
        self._template = Template(text.replace("${", "$${"))
        self._settings = settings
        self._websockets = bool(about.websockets)

    async def get(self, request: Request) -> Response:
        """Answer with the page, with the address of this request filled in."""
        address = address_of(request, self._settings)
        websocket = websocket_of(address)
        fields = {
            "address": websocket if self._websockets else address,
            "http": address,
            "ws": websocket,
            "version": __version__,
            "size": str(compressed_size()),
        }
        body = self._template.substitute({name: html.escape(value) for name, value in fields.items()})
        headers = {
            **COMMON_HEADERS,
            "Content-Security-Policy": _POLICY.format(websocket=_source(websocket)),
            "Cross-Origin-Opener-Policy": "same-origin",
            "Permissions-Policy": "camera=(self), microphone=(self)",
            "Referrer-Policy": "no-referrer",
            "Vary": "Accept, Host",
        }
        return Response(body, 200, headers, "text/html; charset=utf-8")


def wants_page(request: Request) -> bool:
    """Whether a request is a browser's: its Accept header names HTML, and JSON not before it.

    Weights (RFC 9110, section 12.4.2) are ignored, as browsers name HTML first.
    """
    kinds = [kind.partition(";")[0].strip().lower() for kind in request.headers.get("accept", "").split(",")]
    if "text/html" not in kinds:
        return False
    return "application/json" not in kinds or kinds.index("text/html") < kinds.index("application/json")


def _source(url: str) -> str:
    # A Content-Security-Policy cannot name an IPv6 address. Browsers let 'self' cover the WebSocket of the same host.
    origin = "/".join(url.split("/")[:3])
    return "" if "[" in origin else f" {origin}"
