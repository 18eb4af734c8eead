from relay.config import Settings
from relay.gateways.websync.state import STATE, WebSyncState, state_of
from relay.rooms.worker import Worker


def test_a_worker_begins_without_sessions() -> None:
    state = WebSyncState(Worker(Settings()))
    assert (len(state.sessions), len(state.rates), state.ends.take("nothing")) == (0, 0, None)
    assert state_of({"state": {STATE: state}}) is state
