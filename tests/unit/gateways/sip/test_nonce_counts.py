"""The counts of nonces."""

from relay.gateways.sip.nonce_counts import MOST_NONCES, GroupedNonceCounts, NonceCounts


def test_each_count_is_taken_once_and_in_order() -> None:
    counts = NonceCounts()
    assert [counts.take(b"a", 1.0, count) for count in (1, 1, 3, 2, 4)] == [True, False, True, False, True]
    assert counts.take(b"b", 1.0, 1)


def test_no_nonce_is_taken_again_after_it_was_forgotten() -> None:
    counts = NonceCounts(most=2)
    assert all(counts.take(name, made, 1) for name, made in ((b"a", 2.0), (b"b", 1.0), (b"c", 3.0)))
    assert len(counts) == 2
    # The first is forgotten, and all that are not younger are used up with it.
    assert not any(counts.take(name, made, 2) for name, made in ((b"a", 2.0), (b"b", 1.0), (b"new", 1.5)))
    assert counts.take(b"c", 3.0, 2)


def test_nonces_that_are_too_old_are_forgotten() -> None:
    counts = NonceCounts()
    for made in range(5):
        counts.take(b"%d" % made, float(made), 1)
    counts.forget(3.0)
    assert len(counts) == 2


def test_an_address_with_many_nonces_uses_up_those_of_few_others() -> None:
    counts = GroupedNonceCounts()
    others = [f"10.0.0.{number}" for number in range(100)]
    assert all(counts.of(one).take(one.encode(), 1.0, 1) for one in others)
    for number in range(MOST_NONCES + 1):
        assert counts.of("busy").take(b"%d" % number, 2.0 + number, 1)
    assert sum(counts.of(one).take(one.encode(), 1.0, 2) for one in others) > 80
