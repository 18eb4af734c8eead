import pytest

from relay.backend.stamps import Order, Stamp, join_previous, order, split_previous

NOW = 1_000_000


@pytest.mark.parametrize("stamp", [Stamp(0, 0), Stamp(1_764_364_363_123_456, 1_764_364_363_123_999)])
def test_a_stamp_is_read_as_it_was_written(stamp: Stamp) -> None:
    assert Stamp.parse(str(stamp)) == stamp
    assert Stamp.parse(f"{stamp}!") == stamp


@pytest.mark.parametrize("text", ["", "@", "@1", "@1+", "1+1", "@1+1?", "@-1+1", "@1+1{}", "@" + "9" * 17 + "+1"])
def test_any_other_text_is_no_stamp(text: str) -> None:
    assert Stamp.parse(text) is None


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (("f", "@1+2", True), "f@1+2!"),
        (("f", "@1+2", False), "f@1+2"),
        (("f", "", False), "f"),
        (("", "", False), ""),
    ],
)
def test_the_previous_key_of_an_entry(parts: tuple[str, str, bool], text: str) -> None:
    assert join_previous(*parts[:2], first=parts[2]) == text
    assert split_previous(text) == parts


def test_without_a_key_or_a_stamp_there_is_nothing_to_order() -> None:
    assert join_previous("", "@1+2", first=True) == ""
    assert join_previous("f", "", first=True) == "f"


@pytest.mark.parametrize(
    ("attempt", "before", "same_worker", "expected"),
    [
        (Stamp(20, 25), Stamp(10, 15), False, Order.NEWER),
        (Stamp(10, 15), Stamp(20, 25), False, Order.OLDER),
        (Stamp(10, 20), Stamp(20, 25), False, Order.UNCLEAR),
        (Stamp(10, 20), Stamp(12, 25), True, Order.OLDER),
        (Stamp(12, 20), Stamp(12, 25), True, Order.NEWER),
        (None, Stamp(12, 25), False, Order.NEWER),
        (Stamp(12, 25), None, False, Order.NEWER),
        (Stamp(12, 25), Stamp(NOW + 1, NOW + 2), False, Order.NEWER),
        (Stamp(NOW + 1, NOW + 2), Stamp(12, 25), False, Order.UNCLEAR),
        (Stamp(NOW + 1, NOW + 2), Stamp(12, 25), True, Order.UNCLEAR),
    ],
)
def test_the_order_of_two_attempts(
    attempt: Stamp | None, before: Stamp | None, same_worker: bool, expected: Order
) -> None:
    assert order(attempt, before, NOW, same_worker=same_worker) is expected
