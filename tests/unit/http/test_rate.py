"""The rate of HTTP requests of one address."""

import pytest

from relay import address_rates
from relay.address_rates import RequestRate
from tests.unit.http.conftest import MakeSite, error_of
from tests.unit.http.test_access import STRANGER


async def test_an_address_that_sends_too_many_requests_is_refused(
    site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(address_rates, "_REFUSAL_DELAY", 0)
    here = site()
    # In a time that stands still.
    here.worker.requests = RequestRate(1000, lambda: 0.0)
    origin = {"Origin": "https://a.example"}
    answers = [await here.get("/rooms/a", headers=origin, **STRANGER) for _ in range(2)]
    here.worker.requests._counted.of("203.0.113.9").take(3998)
    answers += [await here.get("/rooms/a", headers=origin, **STRANGER)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert error_of(answers[-1]) == (429, "too_many_requests")
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert answers[-1].headers["access-control-allow-origin"] == "*"
    assert here.worker.refused("too_many_requests") == 1
    assert (await here.get("/rooms/a")).status_code == 200
    for path in ("/health", "/health/live", "/gateway", "/gateway/x"):
        assert (await here.get(path, **STRANGER)).status_code != 429


async def test_the_admin_port_counts_no_requests(site: MakeSite) -> None:
    here = site(http_rate=1, admin_listen="9100")
    for _ in range(10):
        assert (await here.get("/metrics", port=9100, **STRANGER)).status_code == 200
