"""Requests of pages from other origins."""

from typing import Any

import pytest

from tests.unit.http.conftest import MakeSite, error_of

PREFLIGHT = {
    "Origin": "https://app.example",
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization, content-type",
}


async def test_any_origin(site: MakeSite) -> None:
    answer = await site().get("/rooms/a", headers={"Origin": "https://app.example"})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers


async def test_pages_can_read_errors(site: MakeSite) -> None:
    answer = await site().get("/nothing", headers={"Origin": "https://app.example"})
    assert answer.headers["access-control-allow-origin"] == "*"


async def test_listed_origin(site: MakeSite) -> None:
    here = site(allowed_origins=("https://app.example",))
    answer = await here.get("/rooms/a", headers={"Origin": "https://app.example"})
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert "Origin" in answer.headers["vary"]


async def test_another_origin_may_not_read(site: MakeSite) -> None:
    answer = await site(allowed_origins=("https://app.example",)).get(
        "/rooms/a", headers={"Origin": "https://evil.example"}
    )
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("settings", [{}, {"allowed_origins": ("https://app.example",)}])
async def test_preflight(site: MakeSite, settings: dict[str, Any]) -> None:
    answer = await site(**settings).request("OPTIONS", "/rooms/a", headers=PREFLIGHT)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] in {"*", "https://app.example"}
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "authorization" in answer.headers["access-control-allow-headers"].lower()


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"Origin": "https://evil.example"}, "bad_origin"),
        ({"Access-Control-Request-Method": "PURGE"}, "forbidden"),
        ({"Access-Control-Request-Headers": "x-evil"}, "forbidden"),
    ],
)
async def test_refused_preflight(site: MakeSite, changed: dict[str, str], code: str) -> None:
    here = site(allowed_origins=("https://app.example",))
    answer = await here.request("OPTIONS", "/rooms/a", headers=PREFLIGHT | changed)
    assert error_of(answer) == (403, code)
    assert here.worker.refused(code) == 1
    assert ("access-control-allow-origin" in answer.headers) == (code == "forbidden")
