"""The responses that the server writes by itself."""

import pytest

from relay.wire.refusals import BAD_REQUEST, REFUSALS, refusal


@pytest.mark.parametrize(("status", "text"), [*REFUSALS.values(), (b"400 Bad Request", BAD_REQUEST)])
def test_a_refusal_is_a_whole_response_that_closes_the_connection(status: bytes, text: str) -> None:
    head, _, body = refusal(status, text).partition(b"\r\n\r\n")
    first, *fields = head.split(b"\r\n")
    assert first == b"HTTP/1.1 " + status
    assert b"connection: close" in fields
    assert b"content-length: %d" % len(body) in fields
    assert body.decode("ascii") == text
