"""The page at `/` and the demo at `/demo`. Their policy forbids inline scripts, and files from other servers."""

import html
import re
from collections.abc import Mapping, Sequence
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
from relay.pages.folder import StaticFolder
from relay.pages.script import compressed_size
from relay.pages.static import StaticFile, read

_FILES: Final = {
    "style.css": "text/css; charset=utf-8",
    "home.js": "text/javascript; charset=utf-8",
    "demo.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'{others}; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_PART: Final = re.compile(r"<!-- (?P<name>[a-z-]+) -->(?P<text>.*?)<!-- /(?P=name) -->", re.DOTALL)
"""A part of a page that only some relays show."""


def site_routes(
    settings: Settings, about: ServiceDescription, folder: StaticFolder | None = None
) -> Sequence[BaseRoute]:
    """Make the routes of both pages, and of the files that they load; the demo needs a plain WebSocket.

    The index of `folder` comes ahead of the page at `/`.
    """
    home, demo = Page("home.html", settings, about), Page("demo.html", settings, about)

    async def root(request: Request) -> Response:
        if wants_page(request):
            return await home.get(request)
        response = await about.service(request)
        response.headers["Vary"] = "Accept"
        return response

    revalidated = {"Cache-Control": "no-cache"}
    return [
        Route("/", folder.front(root) if folder else root),
        *([Route("/demo", demo.get)] if about.websockets else []),
        *[
            Route(f"/pages/{name}", StaticFile(read(f"site/{name}").encode(), kind, revalidated).get)
            for name, kind in _FILES.items()
        ],
    ]


class Page:
    """A page that shows this relay's address, also in its snippets.

    If no gateway has a plain WebSocket, the page lacks the parts of the file that need one, such as `relay.js`.
    If tokens are read, it says so.
    """

    def __init__(self, name: str, settings: Settings, about: ServiceDescription) -> None:
        tokens = bool(about.websockets) and settings.auth != "off"
        shown = {
            "websockets": bool(about.websockets), "tokens": tokens, "optional-tokens": settings.auth == "optional",
        }  # fmt: skip
        text = _with_parts(read(f"site/{name}"), shown)
        text = text.replace("$snippets", about.snippets)
        # JavaScript in the snippets has `${…}` of its own, which is not a field of this template.
        self._template = Template(text.replace("${", "$${"))
        self._settings = settings
        self._websockets = bool(about.websockets)
        # For browsers, 'self' covers the WebSocket of the same host. No part of a request gets into the policy.
        self._others = _source(websocket_of(settings.public_url)) if settings.public_url else ""

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
            "Content-Security-Policy": _POLICY.format(others=self._others),
            "Cross-Origin-Opener-Policy": "same-origin",
            "Permissions-Policy": "camera=(self), microphone=(self)",
            "Referrer-Policy": "no-referrer",
            "Vary": "Accept, Host",
        }
        return Response(body, 200, headers, "text/html; charset=utf-8")


def _with_parts(text: str, shown: Mapping[str, bool]) -> str:
    """Return the text of a page with the parts that are shown, and without the others; parts may be nested."""
    return _PART.sub(lambda part: _with_parts(part["text"], shown) if shown[part["name"]] else "", text)


def wants_page(request: Request) -> bool:
    """Whether a request is a browser's: its Accept header names HTML, and JSON not before it.

    Weights (RFC 9110, section 12.4.2) are ignored, as browsers name HTML first.
    """
    kinds = [kind.partition(";")[0].strip().lower() for kind in request.headers.get("accept", "").split(",")]
    if "text/html" not in kinds:
        return False
    return "application/json" not in kinds or kinds.index("text/html") < kinds.index("application/json")


def _source(url: str) -> str:
    # A Content-Security-Policy cannot name an IPv6 address.
    origin = "/".join(url.split("/")[:3])
    return "" if "[" in origin else f" {origin}"
