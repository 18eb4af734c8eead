"""Limits that act, in the log and in a metric."""

import pytest

from relay.metrics import WIRE_LIMITS
from relay.wire.notices import LIMITS, LimitNotices


def test_a_limit_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = 1000.0
    notices = LimitNotices(clock=lambda: now)
    for _ in range(5):
        notices.note("head", "1.2.3.4")
    now += 61
    notices.note("head", "")
    assert [record.args[1:] for record in caplog.records if isinstance(record.args, tuple)] == [
        (1, "1.2.3.4"),
        (5, "unknown"),
    ]


def test_each_limit_has_a_metric() -> None:
    assert tuple(LIMITS) == WIRE_LIMITS
