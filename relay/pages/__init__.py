"""Files for browsers: the page at `/`, the demo, and `relay.js`."""

from collections.abc import Sequence

from starlette.routing import BaseRoute

from relay.config import Settings
from relay.http.about import ServiceDescription
from relay.pages.script import script_routes
from relay.pages.site import site_routes


def routes(settings: Settings, about: ServiceDescription) -> Sequence[BaseRoute]:
    """Make the routes: `relay.js` always, the pages if the setting `pages` is on."""
    return [*script_routes(), *(site_routes(settings, about) if settings.pages == "on" else [])]
