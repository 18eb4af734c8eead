"""The pages: content negotiation, security headers, and the address that they show."""

import html
import re

import httpx2 as httpx
import pytest
from starlette.applications import Starlette

from relay import __version__
from relay.config import Settings
from relay.http.about import ServiceDescription
from relay.pages.site import site_routes, wants_page
from tests.unit.http.conftest import MakeSite

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
LOADED = ("style.css", "home.js", "demo.js", "icon.svg")


class Asked:
    def __init__(self, accept: str | None) -> None:
        self.headers = {} if accept is None else {"accept": accept}


@pytest.mark.parametrize(
    ("accept", "page"),
    [
        (BROWSER, True),
        ("TEXT/HTML", True),
        (None, False),
        ("*/*", False),
        ("application/json", False),
        ("application/json, text/html", False),
        ("text/html;q=0.9, application/json", True),
    ],
)
def test_browsers_get_the_page_and_programs_get_json(accept: str | None, page: bool) -> None:
    assert wants_page(Asked(accept)) == page  # type: ignore[arg-type]


async def test_the_root_serves_page_and_json(site: MakeSite) -> None:
    here = site()
    page = await here.get("/", headers={"Accept": BROWSER})
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert f"Relay {__version__}" in page.text
    program = await here.get("/", headers={"Accept": "*/*"})
    assert program.json()["name"] == "relay"
    assert "accept" in page.headers["vary"].lower()
    assert "accept" in program.headers["vary"].lower()


@pytest.mark.parametrize("path", ["/", "/demo"])
async def test_the_policy_of_a_page_is_strict_and_kept(site: MakeSite, path: str) -> None:
    page = await site().get(path, headers={"Accept": BROWSER})
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["connect-src"] == "'self'"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["permissions-policy"] == "camera=(self), microphone=(self)"
    # The page itself has nothing that the policy forbids.
    text = re.sub("<pre.*?</pre>", "", page.text, flags=re.DOTALL)
    assert not re.search(r"<script(?![^>]* src=)[^>]*>|<style|\son[a-z]+=| style=|javascript:", text)
    loaded = re.findall(r'(?:src|href)="([^"#]+)"', text)
    assert not [url for url in loaded if re.match("[a-z]+:|//", url)]


async def test_no_part_of_a_request_gets_into_the_policy(site: MakeSite) -> None:
    for host in ("evil.example", "evil.example; script-src *", "evil.example:1"):
        page = await site().get("/", headers={"Accept": BROWSER, "Host": host})
        assert "evil" not in page.headers["content-security-policy"]
    page = await site(public_url="https://signal.example/relay/").get("/", headers={"Accept": BROWSER, "Host": "evil"})
    assert "connect-src 'self' wss://signal.example;" in page.headers["content-security-policy"]


@pytest.mark.parametrize("name", LOADED)
async def test_files_of_the_pages_are_served(site: MakeSite, name: str) -> None:
    answer = await site().get(f"/pages/{name}")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["etag"]


@pytest.mark.parametrize("path", ["/demo", *[f"/pages/{name}" for name in LOADED]])
async def test_pages_can_be_turned_off(site: MakeSite, path: str) -> None:
    here = site(pages="off")
    assert (await here.get(path)).status_code == 404
    assert (await here.get("/", headers={"Accept": BROWSER})).json()["name"] == "relay"


async def test_pages_without_a_plain_websocket_have_no_demo_and_no_relay_js() -> None:
    about = ServiceDescription([], {}, "<pre>$http</pre>")
    here = httpx.ASGITransport(Starlette(routes=site_routes(Settings(), about)))
    async with httpx.AsyncClient(transport=here, base_url="http://relay:8888") as client:
        page = await client.get("/", headers={"Accept": BROWSER})
        assert (await client.get("/demo")).status_code == 404
    assert '<code id="address">http://relay:8888</code>' in page.text
    assert "<pre>http://relay:8888</pre>" in page.text
    assert not re.search("demo|relay\\.js|ws://|websockets", page.text)


async def test_pages_with_a_plain_websocket_have_the_demo_and_relay_js(site: MakeSite) -> None:
    page = await site().get("/", headers={"Accept": BROWSER})
    assert page.text.count('href="demo"') == 2
    assert 'href="relay.js"' in page.text
    assert "<!--" not in page.text


@pytest.mark.parametrize(
    ("auth", "parts"), [("off", (False, False)), ("optional", (True, True)), ("required", (True, False))]
)
async def test_the_page_says_whether_clients_give_a_token(site: MakeSite, auth: str, parts: tuple[bool, bool]) -> None:
    page = await site(auth=auth).get("/", headers={"Accept": BROWSER})
    assert ("the option <code>token</code>" in page.text, "without one" in page.text) == parts
    assert "<!--" not in page.text


async def shown(here, **headers: str) -> str:
    """Return the address that the page shows."""
    page = await here.get("/", headers={"Accept": BROWSER} | headers)
    (address,) = re.findall(r'<code id="address">(.*?)</code>', page.text)
    assert page.text.count(address) > 3
    return html.unescape(address)


@pytest.mark.parametrize("host", ["relay.example", "RELAY.example:8443", "127.0.0.1:1", "[::1]:8888", "localhost"])
async def test_the_page_shows_the_address_of_the_request(site: MakeSite, host: str) -> None:
    assert await shown(site(), Host=host) == f"ws://{host}"


@pytest.mark.parametrize(
    "host",
    [
        "",
        "a b",
        'x"><script>',
        "x';alert(1)//",
        "user@relay.example",
        "relay.example/path",
        "relay.example:port",
        "-a",
        "a" * 300,
        "[::1",
        "${ws}",
        "a;b",
    ],
)
async def test_an_invalid_host_is_not_repeated(site: MakeSite, host: str) -> None:
    assert await shown(site(port=1234), Host=host) == "ws://localhost:1234"


async def test_an_ipv6_address_is_covered_by_self(site: MakeSite) -> None:
    page = await site().get("/demo", headers={"Host": "[::1]:8888"})
    assert "connect-src 'self';" in page.headers["content-security-policy"]


async def test_the_setting_public_url_wins(site: MakeSite) -> None:
    here = site(public_url="https://signal.example/relay/")
    assert await shown(here, Host="internal:8888") == "wss://signal.example/relay"
    page = await here.get("/demo", headers={"Host": "internal:8888"})
    assert "connect-src 'self' wss://signal.example;" in page.headers["content-security-policy"]
