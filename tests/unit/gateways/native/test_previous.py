"""The option `previous`: marked frames, and the connection that completes them."""

from typing import Any

from relay.gateways.native.codec import NativeCodec
from relay.gateways.native.previous import MarkedFrame, MarkingCodec, PreviousConnection
from relay.model import events
from relay.model.codec import Batch
from relay.model.envelope import BEFORE_ALL, MessageId
from relay.model.errors import GOING_AWAY
from tests.unit.gateways.base.fakes import FakeConnection


def message(number: int, room: str = "r", text: bytes = b'{"n":1') -> events.Message:
    ident = MessageId(7, number)
    return events.Message(room, ident, "a", (), "", text + b',"from":"a","id":"%b"' % ident.encode())


def welcome(number: int, room: str = "r") -> events.Welcome:
    return events.Welcome(room, "me", MessageId(7, number), "key", resumed=False)


class Client:
    """A client with the option, and the frames that it got."""

    def __init__(self) -> None:
        self.wire = FakeConnection()
        self.connection = PreviousConnection(self.wire)
        self.codec = MarkingCodec(tagged=True)

    def sent(self, *sent: events.Event) -> list[Any]:
        """The field `previous` of the frames of these events."""
        before = len(self.wire.events)
        for event in sent:
            self.connection.write(self.codec.encode(event))
        return [frame.get("previous") for frame in self.wire.events[before:]]


def test_each_frame_names_the_position_before_it_and_none_goes_back() -> None:
    client = Client()
    assert client.sent(welcome(4), message(6), message(9)) == [None, "7-4", "7-6"]
    # A repeat is acknowledged with its first id.
    assert client.sent(events.Ack("r", MessageId(7, 5), "k"), events.Pong("r", MessageId(7, 9))) == ["7-9", "7-9"]
    assert client.sent(events.PresenceChange("r", MessageId(7, 12), ("b",), ()), message(13)) == ["7-9", "7-12"]
    assert client.sent(events.PresenceList("r", events.Roster(0, (), MessageId(7, 13)))) == ["7-13"]
    assert client.sent(events.Recovered("r", MessageId(7, 20), 0), message(21)) == ["7-13", "7-20"]


def test_a_loss_begins_anew_and_rooms_are_apart() -> None:
    client = Client()
    assert client.sent(welcome(4), welcome(1, "s"), message(5), message(2, "s")) == [None, None, "7-4", "7-1"]
    lost = events.Failure("messages_lost", "", room="r", detail={"reason": "epoch", "id": "6-2"})
    assert client.sent(lost, events.Pong("r", MessageId(6, 2))) == [None, "6-2"]
    assert client.sent(events.Failure("too_fast", "", room="r"), events.Pong("r", None)) == [None, None]


def test_ids_of_no_event_do_not_count() -> None:
    client = Client()
    assert client.sent(events.PresenceList("s", events.Roster(0, (), BEFORE_ALL)), message(1, "s")) == [None, None]
    assert client.sent(message(2, "s")) == ["7-1"]


def test_frames_are_shared_until_they_reach_the_connection() -> None:
    codecs = [NativeCodec(), NativeCodec(tagged=True), MarkingCodec(), MarkingCodec(tagged=True)]
    assert len({codec.key for codec in codecs}) == 4
    first, second = Client(), Client()
    batch = Batch([MarkingCodec().encode(message(number)) for number in (5, 6)])
    assert all(isinstance(frame, MarkedFrame) for frame in batch.frames)
    first.sent(welcome(1))
    second.sent(welcome(4))
    for client, before in ((first, "7-1"), (second, "7-4")):
        client.connection.write_batch(batch)
        assert [frame["previous"] for frame in client.wire.events[-2:]] == [before, "7-5"]
    assert batch.frames[0].data == NativeCodec().encode(message(5)).data


def test_everything_else_is_the_connections() -> None:
    client = Client()
    client.connection.pause_reading(paused=True)
    assert client.wire.paused == [True]
    client.connection.close(GOING_AWAY)
    assert client.connection.reason is GOING_AWAY
    client.connection.reason = None
    assert client.wire.reason is None
