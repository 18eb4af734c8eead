"""The size of requests: where exactly each bound is."""

import pytest

from relay.wire.request_size import MAX_HEAD, MAX_HEADERS, RequestSize, TooMuch


def feed(size: RequestSize, count: int) -> None:
    """Count bytes of a head in the pieces in which the parser gets them."""
    while count:
        piece = min(count, size.next_piece())
        size.add_piece(piece, in_head=True, body=0)
        count -= piece


def test_a_head_that_is_not_complete_has_fewer_bytes_than_the_limit() -> None:
    size = RequestSize(1000)
    feed(size, MAX_HEAD - 1)
    assert size.next_piece() == 1
    with pytest.raises(TooMuch, match="head"):
        feed(size, 1)


def test_a_head_behind_another_request_in_the_same_piece_is_counted_by_its_lines() -> None:
    size = RequestSize(1000)
    size.add_line(MAX_HEAD)
    with pytest.raises(TooMuch, match="head"):
        size.add_header(1)
    size.begin()
    size.add_header(MAX_HEAD)


def test_headers_are_bounded_in_number() -> None:
    size = RequestSize(1000)
    for _ in range(MAX_HEADERS):
        size.add_header(2)
    with pytest.raises(TooMuch, match="head"):
        size.add_header(2)


def body(size: RequestSize, chunk: int, framing: int, times: int) -> None:
    """Count chunks of a body."""
    size.in_head = False
    for _ in range(times):
        before = size.body
        size.add_body(chunk, drained=False)
        size.add_piece(chunk + framing, in_head=False, body=before)


def test_the_framing_of_a_body_may_grow_with_it() -> None:
    size = RequestSize(1000)
    body(size, 64, 8, 100_000)
    size.begin()
    body(size, 1, 5, 3000)
    with pytest.raises(TooMuch, match="framing"):
        body(size, 1, 5, 1000)


def test_trailers_are_framing() -> None:
    size = RequestSize(1000)
    with pytest.raises(TooMuch, match="framing"):
        body(size, 0, 1000, 20)


def test_a_body_is_bounded_once_its_request_is_answered() -> None:
    size = RequestSize(1000)
    size.add_body(5000, drained=False)
    size.add_body(1000, drained=True)
    with pytest.raises(TooMuch, match="unread_body"):
        size.add_body(1, drained=True)


def test_the_piece_in_which_a_head_ends_counts_for_neither() -> None:
    size = RequestSize(1000)
    size.in_head = False
    size.add_piece(16_384, in_head=True, body=0)
    assert (size.head, size.next_piece()) == (0, 16_384)


def test_the_piece_in_which_a_body_ends_and_the_next_one_begins_counts_for_neither() -> None:
    size = RequestSize(1000)
    size.in_head = False
    body(size, 16_384, 0, 5)
    before = size.body
    size.begin()
    size.in_head = False
    size.add_body(8000, drained=False)
    size.add_piece(16_384, in_head=False, body=before)
    # The framing of the second body counts from here on.
    body(size, 1, 5, 3000)
    with pytest.raises(TooMuch, match="framing"):
        body(size, 1, 5, 1000)
