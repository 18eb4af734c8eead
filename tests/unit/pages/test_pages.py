"""The routes of the package: `relay.js` always, the pages if they are on."""

from starlette.routing import Route

from relay.config import Settings
from relay.pages import routes
from tests.unit.http.conftest import ABOUT

SCRIPT = {"/relay.js", "/relay.mjs", "/relay.d.ts"}


def paths(**settings: str) -> set[str]:
    return {route.path for route in routes(Settings(**settings), ABOUT) if isinstance(route, Route)}  # type: ignore[arg-type]


def test_the_script_is_always_served() -> None:
    assert paths(pages="off") == SCRIPT


def test_the_pages_are_served_if_they_are_on() -> None:
    assert paths() >= SCRIPT | {"/", "/demo", "/pages/style.css", "/pages/demo.js"}
