"""Wrong passwords, counted by address and user."""

import pytest

from relay.config import Settings
from relay.gateways.sip.guesses import WrongPasswords
from relay.model.errors import Refused


def test_an_address_guesses_a_user_so_often() -> None:
    wrong = WrongPasswords(Settings(token_attempts=2), lambda: 0.0)
    # The same one again counts once.
    for given in ("a", "a", "b"):
        wrong.check("here", "room", "ann")
        wrong.note("here", "room", "ann", given)
    with pytest.raises(Refused):
        wrong.check("here", "room", "ann")
    wrong.check("here", "room", "ben")
    wrong.check("there", "room", "ann")
