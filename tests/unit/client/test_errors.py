"""Exceptions of the client."""

import pytest

from relay.client.errors import Closed, NotAcknowledged, Rejected


@pytest.mark.parametrize("kind", [Closed, Rejected])
def test_an_error_has_a_code_and_a_text(kind: type[Closed] | type[Rejected]) -> None:
    error = kind("peer_taken", "in use")
    assert (error.code, error.text, str(error)) == ("peer_taken", "in use", "peer_taken: in use")


def test_a_timeout_says_whether_the_envelope_may_have_been_sent() -> None:
    assert str(NotAcknowledged(possibly_sent=True)) == "it may have been sent"
    assert str(NotAcknowledged(possibly_sent=False)) == "it was not sent"
