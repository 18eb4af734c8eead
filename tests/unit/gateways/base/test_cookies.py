from typing import Any

import pytest

from relay.gateways.base.cookies import is_same_origin, may_use_cookies, read_cookie
from relay.origins import AllowedOrigins

ORIGIN = "http://relay.example:8888"
LISTED = "https://page.example"


def scope(**headers: str) -> Any:
    return {"headers": [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]}


@pytest.mark.parametrize(
    ("same", "headers"),
    [
        (True, {"origin": ORIGIN, "host": "Relay.example:8888"}),
        (True, {"origin": "http://public.example", "host": "internal", "sec_fetch_site": "same-origin"}),
        (False, {"origin": ORIGIN, "host": "relay.example:8888", "sec_fetch_site": "same-site"}),
        (False, {"origin": ORIGIN, "host": "relay.example"}),
        (False, {"origin": "null", "host": "relay.example"}),
        (False, {"host": "relay.example"}),
        (False, {}),
    ],
)
def test_which_requests_come_from_the_own_origin(same: bool, headers: dict[str, str]) -> None:
    assert is_same_origin(scope(**headers)) is same


@pytest.mark.parametrize(
    ("counts", "allowed", "headers"),
    [
        (True, "*", {}),
        (True, "*", {"sec_fetch_site": "none"}),
        (True, "*", {"sec_fetch_site": "same-origin"}),
        (False, "*", {"sec_fetch_site": "cross-site"}),
        (True, "*", {"origin": ORIGIN, "host": "relay.example:8888"}),
        (False, "*", {"origin": LISTED, "host": "relay.example:8888"}),
        (True, LISTED, {"origin": LISTED, "host": "relay.example:8888", "sec_fetch_site": "cross-site"}),
        (False, LISTED, {"origin": "https://evil.example", "host": "relay.example:8888"}),
        (False, "*", {"origin": "null", "host": "relay.example:8888"}),
    ],
)
def test_from_which_pages_cookies_count(counts: bool, allowed: str, headers: dict[str, str]) -> None:
    assert may_use_cookies(scope(**headers), AllowedOrigins([allowed])) is counts


@pytest.mark.parametrize("other", ['consent={"ad": true}', "name=Ann Example", "flag", "=x", 'q="', "x=\xe9"])
def test_other_cookies_of_the_site_hide_none(other: str) -> None:
    assert read_cookie(scope(cookie=f"{other}; place=a=b"), "place") == "a=b"
    assert read_cookie(scope(cookie=f"place=a; {other}"), "place") == "a"


def test_no_cookie() -> None:
    for text in ("else=place", "places=a", "place=a" + "x" * 9000):
        assert read_cookie(scope(cookie=text), "place") is None
    assert read_cookie(scope(), "place") is None
