"""The status of each error in a response."""

import pytest

from relay.gateways.sip.errors import REASONS, SIP_ERRORS, SipRefused, status_of
from relay.model.errors import ERRORS


def test_every_code_has_a_status_with_a_reason() -> None:
    assert not SIP_ERRORS.keys() & ERRORS.keys()
    for code in (*ERRORS, *SIP_ERRORS):
        assert status_of(code) in REASONS


@pytest.mark.parametrize(
    ("code", "status"),
    [("token_required", 401), ("wrong_peer", 403), ("peer_taken", 403), ("no_such_peer", 480), ("unavailable", 503),
     ("too_fast", 503), ("outcome_unknown", 504), ("too_large", 513), ("bad_json", 400), ("room_locked", 403),
     ("no_such_room", 404), ("no_such_user", 404), ("too_many_hops", 483), ("too_many_attempts", 503)],
)  # fmt: skip
def test_statuses(code: str, status: int) -> None:
    assert status_of(code) == status


def test_the_meaning_is_the_text() -> None:
    assert SipRefused("loop").text == SIP_ERRORS["loop"][1]
