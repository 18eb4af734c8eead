"""How the supervisor judges a worker; tests/integration/test_supervisor.py runs it with processes."""

import json
import signal

import pytest

from relay.config import Settings
from relay.process.supervisor import SupervisorTimeouts, describe_end, failed_checks, timeouts_of


def health(**checks: bool) -> bytes:
    return json.dumps({"checks": {name: {"ok": ok, "text": "why"} for name, ok in checks.items()}}).encode()


@pytest.mark.parametrize(
    ("report", "failed"),
    [
        pytest.param(health(redis=True, subscription=True), "", id="healthy"),
        pytest.param(
            health(redis=True, subscription=False, heartbeat=False), "subscription: why, heartbeat: why", id="two"
        ),
        pytest.param(health(redis=False, subscription=False), "", id="Redis is away"),
        pytest.param(health(draining=False, subscription=False), "", id="draining"),
        pytest.param(b"{", "its health cannot be read: JSONDecodeError", id="not JSON"),
        pytest.param(b"[]", "its health cannot be read: TypeError", id="not an object"),
        pytest.param(b"{}", "its health cannot be read: KeyError", id="no checks"),
    ],
)
def test_only_failures_that_a_restart_repairs_count(report: bytes, failed: str) -> None:
    assert failed_checks(report) == failed


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (3, "has ended with status 3"),
        (None, "has ended with status None"),
        (-signal.SIGKILL, "was ended by SIGKILL"),
        (-99, "was ended by signal 99"),
    ],
)
def test_the_end_of_a_process_is_described(status: int | None, text: str) -> None:
    assert describe_end(status) == text


def test_the_timeouts_follow_the_probe_timeout() -> None:
    assert timeouts_of(Settings()) == SupervisorTimeouts()
    assert timeouts_of(Settings(probe_timeout=0.5)) == SupervisorTimeouts(poll_interval=0.5, unhealthy=1.5)
    assert timeouts_of(Settings(probe_timeout=10)) == SupervisorTimeouts(reply=30, unhealthy=30)
