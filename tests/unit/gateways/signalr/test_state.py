import pytest

from relay.config import Settings
from relay.gateways.signalr import state as module
from relay.gateways.signalr.connection_token import FRESH
from relay.gateways.signalr.state import SignalRState
from relay.rooms.worker import Worker


def test_a_token_is_used_once_for_as_long_as_it_may_be_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_USED", 2)
    worker = Worker(Settings())
    now = 100.0
    worker.clock = lambda: now  # type: ignore[assignment]
    state = SignalRState(worker)
    assert state.use("a")
    assert not state.use("a")
    assert state.use("b")
    now += 2 * FRESH / 1000 + 1
    assert state.use("a")
    assert state.use("c")
    assert state.use("d")
    assert len(state._used) == 2
    assert not state.has("a")
    assert len(state) == 0
