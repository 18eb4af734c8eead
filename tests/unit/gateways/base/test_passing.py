import pytest

from relay.gateways.base.passing import passes
from relay.model.errors import Refused


@pytest.mark.parametrize("code", ["peer_taken", "too_many_handshakes", "worker_full", "outcome_unknown", "room_full"])
def test_errors_that_pass(code: str) -> None:
    assert passes(Refused(code))


@pytest.mark.parametrize("code", ["bad_room", "token_required", "not_granted", "banned", "bad_origin"])
def test_errors_that_stay(code: str) -> None:
    assert not passes(Refused(code))
