from relay.backend.redis.shared_calls import STORED, UNSTORED, RoomTemplate, SharedCall
from relay.model.envelope import MessageId


def test_a_call_takes_messages_of_its_kind_up_to_its_bounds() -> None:
    call = SharedCall(0, STORED)
    assert call.takes(STORED, 100)
    assert not call.takes(STORED, 101)
    assert not call.takes(UNSTORED, 0)
    call.addressees_left -= 60
    assert call.takes(STORED, 40)
    assert not call.takes(STORED, 41)
    call.messages_left = 0
    assert not call.takes(STORED, 0)


def test_events_that_were_seen_too_long_ago_are_told_once() -> None:
    template = RoomTemplate(b"", b"", b"")
    assert template.outdated(0, 10, MessageId(7, 1)) is None
    assert template.outdated(5, 10, MessageId(7, 2)) is None
    assert template.outdated(16, 10, MessageId(7, 3)) == MessageId(7, 2)
    assert template.outdated(17, 10, MessageId(7, 4)) is None


def test_the_written_generations_that_are_kept_are_bounded() -> None:
    template = RoomTemplate(b"", b"", b"")
    for number in range(100):
        assert template.generation(number) == b"%d " % number
    assert len(template.generations) <= 32
