"""The events that an observer receives, by its sight and its selection."""

import pytest

from relay.gateways.native.gateway import NativeCodec
from relay.model.envelope import MessageId
from relay.model.events import Message
from relay.rooms.observer import Observer, RoomObservers, Sight
from tests.unit.rooms.world import FakeConnection


def observer(sight: Sight, **options) -> Observer:
    return Observer(FakeConnection(), NativeCodec(), "room", sight, **options)


def message(*to: str, channel: str = "") -> Message:
    return Message("room", MessageId(1, 1), "a", to, channel, b"{")


@pytest.mark.parametrize(
    ("sight", "to_all", "to_some"),
    [(Sight.COUNTS, False, False), (Sight.MEMBER, True, False), (Sight.EVERYTHING, True, True)],
)
def test_the_sight_decides_which_messages_are_received(sight: Sight, to_all: bool, to_some: bool) -> None:
    one = observer(sight)
    assert (one.receives(message()), one.receives(message("b"))) == (to_all, to_some)


def test_without_messages_none_is_received() -> None:
    one = observer(Sight.EVERYTHING, messages=False)
    assert not one.receives(message())
    assert not one.receives(message("b"))
    assert one.presence


def test_channels_restrict_messages() -> None:
    one = observer(Sight.MEMBER)
    one.channels = {"x"}
    assert one.receives(message(channel="x"))
    assert not one.receives(message(channel="y"))


def test_with_the_sight_of_counts_it_is_no_watcher_of_presence() -> None:
    assert not observer(Sight.COUNTS).presence
    assert observer(Sight.MEMBER).presence
    assert not observer(Sight.MEMBER, presence=False).presence


def test_an_observer_that_counts_is_not_among_those_that_are_delivered_messages() -> None:
    observers, counting, listening = RoomObservers(), observer(Sight.COUNTS), observer(Sight.EVERYTHING)
    for one in (counting, listening):
        observers.size += 1
        assert one not in observers
        observers.add(one)
        assert one in observers
    assert (list(observers.counting), list(observers.listening)) == ([counting], [listening])
    observers.remove(counting)
    observers.remove(listening)
    assert (observers.size, counting in observers, listening in observers) == (0, False, False)
