"""Pages in frames of one tab, at the origins of relays: they cost less than tabs, and share cookies as tabs do."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from playwright.async_api import Frame, Page, Route

from tests.browser.conftest import HERE, Tab
from tests.fleet import eventually

FILES = "/demo-of-signalr/"
"""The folder `tests/`, below the origin of the relay, where a reverse proxy would serve it."""


def address(origin: str, page: str, options: dict[str, str]) -> str:
    return f"{origin}{FILES}browser/pages/{page}?{urlencode(options)}"


async def serve_files(page: Page) -> None:
    """Have the browser find the files of the tests at each origin; all other requests reach the relay."""

    async def fulfill(route: Route) -> None:
        await route.fulfill(path=HERE.parent / route.request.url.partition(FILES)[2].partition("?")[0])

    await page.route(f"**{FILES}**", fulfill)


async def frames(tab: Tab, page: str, shown: Sequence[tuple[str, dict[str, str]]]) -> list[Frame]:
    """Open a page several times, each at an origin and with options in its address."""
    urls = [address(origin, page, options) for origin, options in shown]
    await tab.run(
        """urls => Promise.all(urls.map((url) => new Promise((loaded) => {
            const frame = document.createElement('iframe');
            frame.onload = loaded;
            frame.src = url;
            document.body.append(frame);
        })))""",
        urls,
    )
    return [next(frame for frame in tab.page.frames if frame.url == url) for url in urls]


async def until(frame: Frame, expression: str, argument: Any = None) -> Any:
    return await eventually(lambda: frame.evaluate(expression, argument), 40)
