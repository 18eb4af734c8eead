"""Files for browsers: the page at `/`, the demo, `relay.js`, and the folder of the setting `static`."""

from collections.abc import Sequence

from starlette.routing import BaseRoute, Route

from relay.config import Settings
from relay.http.about import ServiceDescription
from relay.pages.folder import StaticFolder
from relay.pages.script import script_routes
from relay.pages.site import site_routes

__all__ = ["StaticFolder", "routes"]


def routes(settings: Settings, about: ServiceDescription, folder: StaticFolder | None = None) -> Sequence[BaseRoute]:
    """Make the routes: `relay.js` always, the pages if they are on; at `/`, the index of `folder` comes first."""
    if settings.pages == "on":
        return [*script_routes(), *site_routes(settings, about, folder)]
    return [*script_routes(), *([Route("/", folder.front(about.service))] if folder else [])]
