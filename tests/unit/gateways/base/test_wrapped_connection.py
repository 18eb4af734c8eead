from relay.gateways.base.wrapped_connection import SilentConnection, WrappedConnection
from relay.model.codec import NOTHING, Batch, Frame
from relay.model.errors import GOING_AWAY
from tests.unit.gateways.base.fakes import FakeConnection


def test_everything_is_passed_on() -> None:
    inner = FakeConnection()
    inner.transfer = lambda: None  # type: ignore[attr-defined] # the fake has none
    one = WrappedConnection(inner)  # type: ignore[arg-type] # as above
    one.write(Frame(b"1"))
    one.write_batch(Batch([Frame(b"2"), Frame(b"3")]))
    one.pause_reading(paused=True)
    one.close(GOING_AWAY)
    assert (inner.events, inner.paused, inner.reason, one.reason) == ([1, 2, 3], [True], GOING_AWAY, GOING_AWAY)
    assert (one.lost, one.transfer()) == (False, None)
    one.reason = None
    assert inner.reason is None


def test_frames_without_data_are_not_written() -> None:
    inner = FakeConnection()
    inner.transfer = lambda: None  # type: ignore[attr-defined] # the fake has none
    one = SilentConnection(inner)  # type: ignore[arg-type] # as above
    one.write(NOTHING)
    one.write_batch(Batch([NOTHING, Frame(b"1"), NOTHING]))
    assert inner.events == [1]
