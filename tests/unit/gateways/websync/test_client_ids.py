import pytest

from relay.gateways.websync.client_ids import client_id, peer_id, resume_key, session_id
from relay.model.errors import Refused

GUID = "6f1c3b64-0a51-4b5a-9d0f-2f3c4d5e6f70"


@pytest.mark.parametrize("peer", [GUID, "bob", "a%20b", f"x{GUID}", "", "72656c61-7900-4000-8000-000000000000.x"])
def test_each_peer_has_a_client_id_with_a_guid(peer: str) -> None:
    text = client_id(peer)
    assert text.count("-") >= 4
    if peer:
        assert peer_id(text) == peer


def test_a_guid_stays_as_it_is() -> None:
    assert client_id(GUID) == GUID


def test_session_ids() -> None:
    assert resume_key(session_id("key")) == "key"
    with pytest.raises(Refused, match="unknown_session"):
        resume_key("key")


def test_no_peer_has_an_impossible_name() -> None:
    with pytest.raises(Refused, match="bad_peer"):
        peer_id("\0")
