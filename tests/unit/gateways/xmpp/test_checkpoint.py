import pytest
from msgspec import structs

from relay.gateways.xmpp.checkpoint import (
    Checkpoint,
    Entry,
    Missed,
    RoomReached,
    missed,
    read_checkpoint,
    write_checkpoint,
)
from relay.model.checkpoints import Kept
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
def test_the_missed_stanzas_follow_from_a_clients_count(handled: int, expected: str, reached: int) -> None:
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


TEXTS = {12: b"<iq/>", 14: b"<presence/>"}
"""The texts of the checkpoint's stanzas, by their numbers."""


def test_a_checkpoint_is_stored_without_texts_and_read_with_them() -> None:
    data = write_checkpoint(CHECKPOINT)
    assert b"iq" not in data
    assert read_checkpoint(Kept(3, data, TEXTS)) == CHECKPOINT
    assert read_checkpoint(None) is None
    assert read_checkpoint(Kept(3, b"broken", TEXTS)) is None
    assert read_checkpoint(Kept(3, data, {12: b"<iq/>"})) is None
    assert read_checkpoint(Kept(3, data, TEXTS | {14: b"\xff"})) is None


def test_messages_that_follow_each_other_take_few_bytes() -> None:
    """Each stanza that is in no history writes the checkpoint anew."""
    entries = [Entry("", "a-room-with-a-name", 1_700_000_000_000, 5_000_000 + 2 * number) for number in range(1000)]
    many = structs.replace(CHECKPOINT, entries=[*entries, Entry("", "s", 1, 1), *entries])
    data = write_checkpoint(many)
    assert len(data) < 5000
    assert read_checkpoint(Kept(1, data, {})) == many
