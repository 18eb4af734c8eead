from relay.backend.redis.expected_ids import CAREFUL, ExpectedIds
from relay.model.envelope import MessageId


def test_ids_follow_the_newest_one_that_was_seen_or_taken() -> None:
    ids = ExpectedIds()
    assert ids.take(MessageId(7, 10), 2) == (12, 2)
    assert ids.take(MessageId(7, 10), 1) == (13, 3)
    assert ids.take(MessageId(7, 20), 1) == (21, 4)
    assert ids.take(MessageId(7, 15), 1) == (22, 5)


def test_another_epoch_begins_anew() -> None:
    ids = ExpectedIds()
    ids.take(MessageId(7, 100), 1)
    assert ids.take(MessageId(8, 3), 1)[0] == 4


def test_after_a_surprise_the_calls_on_their_way_count_from_the_id_that_was_told() -> None:
    ids = ExpectedIds()
    seen = MessageId(7, 10)
    first, second, third = (ids.take(seen, 2) for _ in range(3))
    assert (first[0], second[0], third[0]) == (12, 14, 16)
    ids.learn(*first, 15)
    assert ids.right == 0
    # The two calls after it have taken 16 to 19.
    assert ids.take(seen, 1)[0] == 20
    ids.learn(*second, 17)
    ids.learn(*third, 19)
    assert ids.take(seen, 1)[0] == 21


def test_ids_are_trusted_again_after_some_calls_without_a_surprise() -> None:
    ids = ExpectedIds()
    seen = MessageId(7, 10)
    ids.learn(*ids.take(seen, 1), 12)
    for _ in range(CAREFUL):
        assert ids.right < CAREFUL
        newest, mark = ids.take(seen, 1)
        ids.learn(newest, mark, newest)
    assert ids.right >= CAREFUL


def test_a_call_that_failed_leaves_only_what_was_seen() -> None:
    ids = ExpectedIds()
    ids.take(MessageId(7, 10), 5)
    ids.forget()
    assert ids.right == 0
    assert ids.take(MessageId(7, 10), 1)[0] == 11
