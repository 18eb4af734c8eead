import pytest

from relay.config import Settings
from relay.gateways.base import post_rates
from relay.gateways.base.post_rates import PostRates, wait_for_turn
from relay.model.errors import Refused
from relay.rooms.worker import Worker


def test_a_place_has_one_rate_once_it_is_kept() -> None:
    known = PostRates(Worker(Settings()).admissions)
    pace = known.of("a", "10.0.0.1")
    assert known.of("a", "10.0.0.1") is not pace
    known.keep("a", pace)
    assert known.of("a", "10.0.0.1") is pace


def test_the_oldest_rate_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(post_rates, "_MOST", 2)
    known = PostRates(Worker(Settings()).admissions)
    paces = {name: known.of(name, "10.0.0.1") for name in "abc"}
    for name in "abac":
        known.keep(name, paces[name])
    assert len(known) == 2
    assert known.of("a", "10.0.0.1") is paces["a"]
    assert known.of("b", "10.0.0.1") is not paces["b"]


async def test_a_message_above_the_rate_is_refused_or_waits() -> None:
    strict = Worker(Settings(message_rate=1, message_delay=0)).admissions.pace_at("10.0.0.1")
    with pytest.raises(Refused, match="too_fast"):
        for _ in range(100):
            await wait_for_turn(strict, 1)
    patient = Worker(Settings(message_rate=200, message_delay=5)).admissions.pace_at("10.0.0.1")
    for _ in range(patient_burst := 450):
        await wait_for_turn(patient, 1)
    assert patient_burst
