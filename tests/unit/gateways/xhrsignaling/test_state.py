from relay.config import Settings
from relay.gateways.xhrsignaling.state import STATE, XhrState, state_of
from relay.rooms.worker import Worker


def test_a_worker_begins_without_places() -> None:
    state = XhrState(Worker(Settings()))
    assert (len(state.sessions), len(state.shared), len(state.rates)) == (0, 0, 0)
    assert state_of({"state": {STATE: state}}) is state
