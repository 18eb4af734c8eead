"""Claims of clients that come."""

import pytest

from relay.rooms.claim import Claim


@pytest.mark.parametrize(
    ("claim", "comes_back"),
    [
        pytest.param(Claim(), False, id="a new client"),
        pytest.param(Claim("key"), True, id="with a key of the relay's"),
        pytest.param(Claim("key", own_key=True), False, id="with a key of its own"),
    ],
)
def test_only_a_key_of_the_relay_shows_that_a_client_was_here_before(claim: Claim, comes_back: bool) -> None:
    assert claim.comes_back is comes_back


def test_no_key_and_no_password_get_into_a_log() -> None:
    shown = repr(Claim("resume-key", password="pass-word", next_key="next-key", address="192.0.2.1"))
    assert "192.0.2.1" in shown
    assert "key" not in shown
    assert "word" not in shown
