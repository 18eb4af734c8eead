"""The CORS headers of one group of routes."""

from typing import Any

import pytest

from relay.cors import MAX_AGE, MAX_REQUESTED, CorsPolicy
from relay.origins import MAX_ORIGIN

PAGE = "https://page.example"
SETTINGS = {"all": ("*",), "listed": (PAGE, "https://*.sub.example"), "null": ("null",)}


def answered(policy: CorsPolicy, origin: str | None) -> tuple[str | None, bool, bool]:
    """Return the allowed origin, whether credentials are allowed, and whether the response varies by origin."""
    headers = {name.decode(): value.decode() for name, value in policy.of_response(origin)}
    varies = headers.pop("vary", "") == "Origin"
    credentials = headers.pop("access-control-allow-credentials", "") == "true"
    allowed = headers.pop("access-control-allow-origin", None)
    assert not headers
    return allowed, credentials, varies


@pytest.mark.parametrize(
    ("setting", "origin", "allowed"),
    [
        ("all", PAGE, True),
        ("all", "null", True),
        ("all", "https://evil.example", True),
        ("all", "https://evil.example x", False),
        ("all", "https://evil.example\x7f", False),
        ("all", "https://evil.example\xe9", False),
        ("all", "", False),
        ("all", "https://" + "a" * MAX_ORIGIN, False),
        ("all", None, False),
        ("listed", PAGE, True),
        ("listed", "https://a.sub.example", True),
        ("listed", "https://page.example.evil.example", False),
        ("listed", "http://page.example", False),
        ("listed", "null", False),
        ("listed", "*", False),
        ("listed", None, False),
        ("null", "null", True),
        ("null", PAGE, False),
    ],
)
def test_an_origin_is_named_with_credentials_only_where_they_are_declared(
    setting: str, origin: str | None, allowed: bool
) -> None:
    declared = CorsPolicy(SETTINGS[setting], credentials=True)
    assert answered(declared, origin) == ((origin, True, True) if allowed else (None, False, True))
    others = CorsPolicy(SETTINGS[setting])
    if setting == "all":
        assert answered(others, origin) == ("*", False, False)
    else:
        assert answered(others, origin) == ((origin, False, True) if allowed else (None, False, True))


def preflight(
    policy: CorsPolicy, origin: str | None = PAGE, requested: str | None = None, **more: Any
) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in policy.of_preflight(origin, requested, **more)}


@pytest.mark.parametrize("setting", ["all", "listed"])
@pytest.mark.parametrize("credentials", [True, False])
def test_a_browser_keeps_the_answer_to_a_preflight_request(setting: str, credentials: bool) -> None:
    headers = preflight(CorsPolicy(SETTINGS[setting], credentials=credentials, methods=("GET", "DELETE")))
    assert headers["access-control-max-age"] == str(MAX_AGE)
    assert headers["access-control-allow-methods"] == "GET, DELETE"


def test_the_answer_to_a_page_that_is_not_allowed_tells_nothing() -> None:
    assert preflight(CorsPolicy(SETTINGS["listed"], credentials=True), "https://evil.example", "x-a") == {
        "vary": "Origin"
    }
    assert preflight(CorsPolicy(SETTINGS["listed"], credentials=True), None, "x-a") == {"vary": "Origin"}


@pytest.mark.parametrize(
    ("requested", "allowed"),
    [
        (None, None),
        ("x-mine", "x-mine"),
        ("x-mine, X-Other,x_3", "x-mine, X-Other,x_3"),
        ("", None),
        ("x-mine,", None),
        ("x mine", None),
        ("x-mine: 1", None),
        ("x-m\xefne", None),
        ("x" * MAX_REQUESTED, "x" * MAX_REQUESTED),
        ("x" * (MAX_REQUESTED + 1), None),
        (", ".join(["x"] * 500), None),
    ],
)
def test_only_a_short_list_of_names_is_repeated(requested: str | None, allowed: str | None) -> None:
    headers = preflight(CorsPolicy(["*"], headers=None), requested=requested)
    assert headers.get("access-control-allow-headers") == allowed


@pytest.mark.parametrize(
    ("requested", "allowed"),
    [
        (None, True),
        ("", True),
        ("Authorization, content-type,accept", True),
        ("x-mine", False),
        ("authorization;", False),
    ],
)
def test_fixed_headers_are_compared(requested: str | None, allowed: bool) -> None:
    policy = CorsPolicy(["*"])
    assert policy.allows_headers(requested) is allowed
    assert preflight(policy, requested=requested)["access-control-allow-headers"] == "authorization, content-type"
    assert CorsPolicy(["*"], headers=None).allows_headers("x-mine")


@pytest.mark.parametrize(
    ("setting", "origin", "allowed"),
    [
        (["*"], PAGE, False),
        ([PAGE], PAGE, True),
        (["*", PAGE], PAGE, True),
        (["*", PAGE], "https://evil.example", False),
        (["https://*.example"], PAGE, True),
        (["null"], "null", True),
        (["*"], "*", False),
    ],
)
def test_only_listed_origins_reach_a_private_network(setting: list[str], origin: str, allowed: bool) -> None:
    name = "access-control-allow-private-network"
    assert preflight(CorsPolicy(setting), origin, private_network=True).get(name) == ("true" if allowed else None)
    assert name not in preflight(CorsPolicy(setting), origin)
