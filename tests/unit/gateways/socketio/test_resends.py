"""Which events count as emitted again, and the client's offset meanwhile."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from relay.gateways.socketio.encoders import EventWriter, ModernEncoder, OutgoingEvent, PacketSequence
from relay.gateways.socketio.offsets import Offset, OffsetForm
from relay.gateways.socketio.resends import MOST_PENDING, RESEND_AFTER, Resends
from relay.model.codec import Frame
from relay.model.envelope import MessageId

WRITER = EventWriter(ModernEncoder(4, "/"), OffsetForm.EVENT)


def at(seq: int) -> MessageId:
    return MessageId(5, seq)


class Emitter:
    """A client that has acknowledgements of its messages up to 5-10; `offset` is the last one that it got."""

    def __init__(self, acknowledged: int = 10, *, recovering: bool = False) -> None:
        self.now = 0.0
        self.resends = Resends(at(acknowledged), lambda: self.now, self._echo, recovering=recovering)
        self.offset = ""
        self._echoes: list[Callable[[], None]] = []

    def _echo(self, answered: Callable[[], None]) -> Frame:
        self._echoes.append(answered)
        return Frame(b"2")

    def pong(self) -> None:
        """Answer the pings; there must be some."""
        assert self._echoes
        while self._echoes:
            self._echoes.pop()()

    def emit(self, number: int, content: bytes = b"x") -> tuple[str, int]:
        key = self.resends.emitted(str(number), content)
        return key.key, key.repeats_after.seq

    def event(self, seq: int, room: str = "") -> None:
        self._take(WRITER.event(OutgoingEvent(b'"e"', [b"1"]), Offset(at(seq), room)))

    def acknowledge(self, number: int, seq: int) -> bool:
        written = self._take(WRITER.ack(str(number), [1], Offset(at(seq))))
        # Ahead of the acknowledgement: the client reads it first.
        assert "2" not in written[1:]
        return "43" in written

    def refuse(self, number: int) -> bool:
        return "43" in self._take(WRITER.ack(str(number), [{"error": {}}], None))

    def _take(self, frame: Any) -> list[str]:
        packets = [part.data.decode() for one in self.resends.outgoing(frame) for part in one.parts]
        for packet in packets:
            if '"relay:position"' in packet:
                self.offset = json.loads(packet[2:])[1]
        return [packet[:2] for packet in packets]


@pytest.fixture
def emitter() -> Emitter:
    return Emitter()


def test_equal_events_in_a_row_are_different_messages(emitter: Emitter) -> None:
    first, after = emitter.emit(1)
    assert after == 10
    emitter.acknowledge(1, 12)
    # The key is free again: only a use of it after 12 is a repeat.
    assert emitter.emit(2) == (first, 12)
    assert emitter.emit(3)[0] != first
    assert emitter.emit(4, b"y")[0] != first


def test_an_event_that_waits_for_long_is_the_same_one_again(emitter: Emitter) -> None:
    first = emitter.emit(1)
    emitter.now = RESEND_AFTER
    assert emitter.emit(2) == first
    # Its first number has no acknowledgement any more: otherwise two emits would be acknowledged for one message.
    assert not emitter.acknowledge(1, 12)
    assert emitter.acknowledge(2, 12)
    assert emitter.offset == "5-12"
    emitter.pong()
    assert emitter.emit(3) == (first[0], 12)


def test_the_next_copy_may_follow_a_late_one_soon(emitter: Emitter) -> None:
    first = emitter.emit(1)
    # The second one was on its way for longer than the third one.
    emitter.now = 0.7
    assert emitter.emit(2) == first
    emitter.now = 0.8
    assert emitter.emit(3) == first


def test_an_event_that_crosses_with_its_late_acknowledgement_is_the_same_one_again(emitter: Emitter) -> None:
    first = emitter.emit(1)
    emitter.now = 0.4
    assert emitter.acknowledge(1, 12)
    assert emitter.emit(2) == first
    assert emitter.acknowledge(2, 12)
    emitter.pong()
    # The client has read the acknowledgement, and means another event.
    assert emitter.emit(3) == (first[0], 12)


def test_until_a_late_acknowledgement_is_read_two_equal_events_in_a_row_are_two(emitter: Emitter) -> None:
    first, _ = emitter.emit(1)
    emitter.now = RESEND_AFTER / 2
    assert emitter.acknowledge(1, 12)
    assert emitter.emit(2)[0] != first


def test_an_early_acknowledgement_asks_for_no_pong(emitter: Emitter) -> None:
    emitter.emit(1)
    assert emitter.acknowledge(1, 12)
    assert emitter.resends.settled


def test_a_client_that_has_read_a_late_acknowledgement_is_settled(emitter: Emitter) -> None:
    emitter.emit(1)
    emitter.now = 0.4
    emitter.emit(2)
    # The outcome of the first one was unknown: it is never answered.
    assert emitter.acknowledge(2, 12)
    assert not emitter.resends.settled
    emitter.event(13)
    assert emitter.offset == "5-13"
    emitter.pong()
    assert emitter.resends.settled


def test_client_4_6_0_emits_again_under_the_same_number(emitter: Emitter) -> None:
    first = emitter.emit(1)
    emitter.now = RESEND_AFTER
    assert emitter.emit(1) == first
    assert len(emitter.resends) == 1
    assert emitter.acknowledge(1, 12)


def test_a_new_connection_recognises_the_event_by_the_offset_alone(emitter: Emitter) -> None:
    key, after = emitter.emit(7)
    emitter.event(13)
    # Somebody's event, although message 12 of the client itself has no acknowledgement yet.
    assert emitter.offset == "5-13~5-10"
    back = Emitter(acknowledged=10)
    assert back.emit(8) == (key, after)


def test_a_client_that_is_lost_twice_before_it_emits_again_is_recognised_too() -> None:
    back = Emitter(acknowledged=10, recovering=True)
    back.event(13)
    assert back.offset == "5-13~5-10"
    assert back.emit(8)[1] == 10
    back.acknowledge(8, 12)
    assert back.offset == "5-13"
    assert back.resends.settled


def test_a_client_that_has_nothing_to_emit_again_is_settled_after_a_while() -> None:
    back = Emitter(acknowledged=10, recovering=True)
    back.now = 31
    assert back.resends.settled
    back.event(13)
    assert back.offset == "5-13"


def test_the_offset_says_what_is_acknowledged(emitter: Emitter) -> None:
    emitter.event(11)
    assert emitter.offset == "5-11"
    emitter.emit(1)
    emitter.emit(2, b"y")
    emitter.event(14)
    assert emitter.offset == "5-14~5-10"
    emitter.acknowledge(1, 12)
    assert emitter.offset == "5-14~5-12", "it does not go back"
    emitter.acknowledge(2, 13)
    assert emitter.offset == "5-14"
    emitter.emit(3)
    emitter.acknowledge(3, 15)
    assert emitter.offset == "5-15"


def test_a_refused_event_is_settled_too(emitter: Emitter) -> None:
    emitter.emit(1)
    assert emitter.refuse(1)
    assert len(emitter.resends) == 0
    emitter.event(12)
    assert emitter.offset == "5-12"


def test_another_room_has_ids_of_its_own(emitter: Emitter) -> None:
    emitter.event(11)
    emitter.emit(1)
    emitter.event(3, room="there")
    assert emitter.offset == "5-3@there"
    assert emitter.emit(2)[1] == 3


def test_packets_that_are_written_together(emitter: Emitter) -> None:
    emitter.emit(1)
    event = WRITER.event(OutgoingEvent(b'"e"', [b"1"]), Offset(at(11)))
    emitter._take(PacketSequence([WRITER.ack("1", [1], None), event]))
    assert (len(emitter.resends), emitter.offset) == (0, "5-11")


def test_the_events_that_are_remembered_are_bounded(emitter: Emitter) -> None:
    for number in range(2 * MOST_PENDING):
        emitter.emit(number)
    assert len(emitter.resends) == MOST_PENDING


def test_an_offset_in_an_argument_says_the_same() -> None:
    resends = Resends(at(10), lambda: 0, lambda _: None)
    resends.emitted("1", b"x")
    writer = EventWriter(ModernEncoder(4, "/"), OffsetForm.ARGUMENT)
    [frame] = resends.outgoing(writer.event(OutgoingEvent(b'"e"', [b"1"]), Offset(at(11))))
    assert frame.data == b'42["e",1,"5-11~5-10"]'
