import logging

import pytest

from relay.rooms.crowding import CrowdingLog


def test_one_line_a_minute_says_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    now = 100.0
    crowding = CrowdingLog(7, lambda: now)
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            crowding.note("lobby", "192.0.2.7")
        now += 60
        crowding.note("hall", "2001:db8::/64")
        crowding.note("hall", "2001:db8::/64")
    first, second = [record.getMessage() for record in caplog.records]
    assert first.startswith("room lobby has 7 members from 192.0.2.7")
    assert "places-per-address" in first
    assert "(0 more" in first
    assert "room hall" in second
    assert "(4 more" in second
