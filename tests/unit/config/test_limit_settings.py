"""The limits of connections, and the values that follow from them."""

import pytest

from relay.config import Settings


@pytest.mark.parametrize(("rate", "burst"), [(200, 400), (6.5, 13), (5, 10), (0.1, 10)])
def test_the_burst_is_twice_the_rate_and_at_least_ten(rate: float, burst: float) -> None:
    assert Settings(message_rate=rate).message_burst == burst


@pytest.mark.parametrize(
    ("max_message", "max_request"), [(1024, 16 * 1024), (69_905, 69_905 * 16), (1_048_576, 2 * 1_048_576)]
)
def test_a_request_may_be_sixteen_messages_large_or_one_megabyte_larger_than_one(
    max_message: int, max_request: int
) -> None:
    assert Settings(max_message=max_message).max_request == max_request
