"""Publications and receipts."""

import pytest

from relay.model.commands import Identity, Publish
from relay.model.envelope import MessageId
from relay.model.publication import Publication, Receipt


def a_publication(identity: Identity | None, key: str = "") -> Publication:
    return Publication(Publish(b"{}", key=key, identity=identity), "room", "alice")


def test_an_identity_decides_under_which_key_an_envelope_is_published_once() -> None:
    assert a_publication(None, "k").key == "k"
    assert a_publication(Identity("i"), "k").key == "i"
    assert a_publication(Identity(), "k").key == ""


@pytest.mark.parametrize(
    ("identity", "earlier", "repeats"),
    [
        pytest.param(None, MessageId(7, 1), True, id="no identity"),
        pytest.param(Identity("i"), MessageId(7, 1), True, id="an identity without an id"),
        pytest.param(Identity("i", (7, 3)), MessageId(7, 4), True, id="sent after the id"),
        pytest.param(Identity("i", (7, 3)), MessageId(7, 3), False, id="sent before the id"),
        pytest.param(Identity("i", (6, 3)), MessageId(7, 4), False, id="of another epoch"),
    ],
)
def test_a_repeat_is_newer_than_the_id_of_its_identity(
    identity: Identity | None, earlier: MessageId, repeats: bool
) -> None:
    assert a_publication(identity).is_repeat_of(earlier, 7) is repeats


def test_a_receipt_parses_its_id_on_demand() -> None:
    assert Receipt(b"17-4").id == MessageId(17, 4)
