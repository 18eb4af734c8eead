from relay.gateways.base.event_fields import event_fields
from relay.model.envelope import MessageId
from relay.model.events import Ack, LeftRoom, Pong


def test_a_tagged_event_names_its_room_and_each_event_its_key() -> None:
    assert event_fields(LeftRoom("room", "k"), tagged=True) == {"type": "left", "room": "room", "key": "k"}
    assert event_fields(LeftRoom("room", "k")) == {"type": "left", "key": "k"}


def test_ids_are_text() -> None:
    assert event_fields(Ack("room", MessageId(17, 4), "k")) == {"type": "ack", "id": "17-4", "key": "k"}
    assert event_fields(Pong("room", None, "")) == {"type": "pong"}
