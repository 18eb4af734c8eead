import logging

from relay.metrics import Metrics
from relay.rooms.foreign import ForeignEvents


def test_foreign_events_are_counted_and_logged_once_in_ten_minutes(caplog) -> None:
    caplog.set_level(logging.ERROR)
    now, metrics = [0.0], Metrics()
    foreign = ForeignEvents(metrics, lambda: now[0])
    for _ in range(3):
        foreign.note("room", {5, 7})
    assert metrics.registry.get_sample_value("relay_foreign_epochs_total") == 6
    assert len(caplog.records) == 1
    assert "room room: events of another fleet are ignored: their epoch 5" in caplog.text
    now[0] = 601.0
    foreign.note("room", {8})
    assert len(caplog.records) == 2
