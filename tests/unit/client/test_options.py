"""Addresses, bounds and waiting times: what needs no relay."""

from typing import Any

import pytest

from relay.client import Closed, Options, join
from relay.client.backoff import Backoff


async def test_a_password_in_the_address_is_not_told() -> None:
    with pytest.raises(Closed) as closed:
        async with join("ws://me:secret@127.0.0.1:1", "r", options=Options(connect_timeout=0.1)):
            pass
    assert "secret" not in str(closed.value)


@pytest.mark.parametrize("name", ["outgoing", "window", "incoming"])
def test_no_queue_is_without_a_bound(name: str) -> None:
    with pytest.raises(ValueError):
        Options(**{name: 0})


@pytest.mark.parametrize(
    "url", ["localhost:8888", "ftp://localhost", "ws://", "ws://host:port", "ws://host/?peer=a", "ws://host/#a", []]
)
def test_what_is_no_address_is_told_at_once(url: Any) -> None:
    with pytest.raises(ValueError):
        join(url, "r")


def test_waiting_times_double_and_are_drawn_from_all_of_their_range() -> None:
    longest, shortest = Backoff(draw=lambda: 1.0), Backoff(draw=lambda: 0.0)
    assert [longest.next() for _ in range(7)] == [0.25, 0.5, 1, 2, 4, 8, 10]
    assert longest.next(at_least=2) == 12
    longest.reset()
    assert (longest.next(), longest.soon()) == (0.25, 0.5)
    assert (shortest.next(), shortest.next(at_least=1)) == (0, 1)
