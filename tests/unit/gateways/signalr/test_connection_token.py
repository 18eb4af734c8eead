import base64

import pytest

from relay.config import Settings
from relay.gateways.signalr.connection_token import FRESH, BadToken, HubTokens
from relay.rooms.worker import Worker


@pytest.fixture
def tokens() -> HubTokens:
    worker = Worker(Settings(fleet_secret="0" * 32))
    return HubTokens(worker.fleet_key, worker.session_ids)


def test_a_token_is_read_as_it_was_issued(tokens: HubTokens) -> None:
    text = tokens.issue("a%20b", 1_000_000)
    token = tokens.read(text, 1_005_000)
    assert (token.peer, token.age, token.is_fresh) == ("a%20b", 5000, True)
    assert token.session not in repr(token)
    assert tokens.issue("a%20b", 1_000_000) != text
    assert not tokens.read(text, 1_000_001 + FRESH).is_fresh
    assert not tokens.read(text, 999_999 - FRESH).is_fresh


def test_another_worker_of_the_fleet_reads_it(tokens: HubTokens) -> None:
    other = Worker(Settings(fleet_secret="0" * 32))
    text = HubTokens(other.fleet_key, other.session_ids).issue("ann", 0)
    assert tokens.read(text, 0).peer == "ann"


def test_texts_that_are_no_token(tokens: HubTokens) -> None:
    text = tokens.issue("ann", 0)
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    strange = Worker(Settings(fleet_secret="1" * 32))
    others = [
        base64.urlsafe_b64encode(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]).decode() for at in range(len(raw))
    ]
    for bad in (
        "", "x", text[:-1], text + "A", text + "=", "é", "A" * 5000, *others,
        HubTokens(strange.fleet_key, strange.session_ids).issue("ann", 0),
    ):  # fmt: skip
        with pytest.raises(BadToken):
            tokens.read(bad, 0)
