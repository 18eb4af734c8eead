import pytest

from relay.config import Settings
from relay.gateways.peerjs.guesses import WrongTokens
from relay.model.errors import Refused


def test_wrong_tokens_count_for_an_address_and_an_id(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    wrong = WrongTokens(Settings(token_attempts=3), lambda: now)
    for number in range(3):
        wrong.check("here", "room", "ann")
        wrong.note("here", "room", "ann", f"digest{number}")
    with pytest.raises(Refused, match="too_many_attempts"):
        wrong.check("here", "room", "ann")
    wrong.check("there", "room", "ann")
    wrong.check("here", "room", "ben")
    wrong.check("here", "another", "ann")
    now = 60.0
    wrong.check("here", "room", "ann")
    assert "digest" not in caplog.text
    assert "here room ann" in caplog.text
