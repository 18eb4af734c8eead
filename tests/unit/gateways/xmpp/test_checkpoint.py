import pytest

from relay.gateways.xmpp.checkpoint import (
    Checkpoint,
    Entry,
    Missed,
    RoomReached,
    missed,
    read_checkpoint,
    write_checkpoint,
)
from relay.model.codec import Frame
from relay.model.envelope import MessageId


def logged(seq: int, room: str = "r") -> Missed:
    return Missed(Frame(b"%s %d" % (room.encode(), seq)), room, MessageId(1, seq), logged=True)


def joined(seq: int, room: str = "r") -> Missed:
    return Missed(Frame(b"join %d" % seq), room, MessageId(1, seq))


# Stanzas 11 to 14: a message, an answer, a message, a join. Then three messages without a checkpoint.
CHECKPOINT = Checkpoint(
    "u", "res", "localhost", "", 7, 14, 10, [RoomReached("r", "ann", 1, 20)],
    [Entry("", "r", 1, 21), Entry("<iq/>"), Entry("", "r", 1, 22), Entry("<presence/>", "r", 1, 23)],
)  # fmt: skip
REPLAYED = {"r": [logged(21), logged(22), joined(23), logged(24), logged(25), joined(26), logged(27)]}


@pytest.mark.parametrize(
    ("handled", "expected", "reached"),
    [
        (10, "r 21,<iq/>,r 22,<presence/>,r 24,r 25,join 26,r 27", 20),
        (11, "<iq/>,r 22,<presence/>,r 24,r 25,join 26,r 27", 21),
        (13, "<presence/>,r 24,r 25,join 26,r 27", 22),
        (14, "r 24,r 25,join 26,r 27", 23),
        (15, "r 25,join 26,r 27", 24),
        (17, "join 26", 27),
    ],
)
def test_what_a_client_has_missed_follows_from_its_count(handled: int, expected: str, reached: int) -> None:
    outcome = missed(CHECKPOINT, handled, REPLAYED)
    assert outcome is not None
    assert ",".join(one.frame.text for one in outcome[1]) == expected
    assert outcome[0] == {"r": (1, reached)}


@pytest.mark.parametrize("handled", [0, 9, 18, 4_000_000_000])
def test_a_count_that_cannot_be_is_refused(handled: int) -> None:
    assert missed(CHECKPOINT, handled, REPLAYED) is None


def test_messages_of_two_rooms_after_the_checkpoint_are_ambiguous() -> None:
    replayed = REPLAYED | {"s": [logged(5, "s")]}
    assert missed(CHECKPOINT, 15, replayed) is None
    assert missed(CHECKPOINT, 14, replayed) is not None
    assert missed(CHECKPOINT, 15, REPLAYED | {"s": [joined(5, "s")]}) is not None


def test_a_message_that_is_not_in_the_history_any_more_is_missed() -> None:
    assert missed(CHECKPOINT, 10, {"r": [logged(22)]}) is None
    assert missed(CHECKPOINT, 13, {"r": []}) is not None


def test_the_newest_turn_counts() -> None:
    data = write_checkpoint(CHECKPOINT)
    assert read_checkpoint({1: b"old", 2: data}) == (2, CHECKPOINT)
    assert read_checkpoint({}) is None
    assert read_checkpoint({1: data, 2: b"broken"}) is None
    assert b"ann" in data
