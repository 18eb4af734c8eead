import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.gateways.native.topics import publication, room_of, topic_of
from relay.model.errors import Refused
from relay.model.names import check_room


@pytest.mark.parametrize(
    ("app", "topic", "room"),
    [
        ("", "notes", "notes"),
        ("", "a b/é", "a%20b%2F%C3%A9"),
        ("app", "notes", "app%2Fnotes"),
        ("my%20app", "50%", "my%20app%2F50%25"),
    ],
)
def test_the_room_of_a_topic(app: str, topic: str, room: str) -> None:
    assert room_of(topic, app) == room
    assert topic_of(room, app) == topic


@given(st.text(max_size=60), st.sampled_from(["", "app", "a%20b", "x%2Fy"]))
def test_every_room_of_a_topic_is_a_room_and_leads_back_to_the_topic(topic: str, app: str) -> None:
    try:
        room = room_of(topic, app)
    except Refused as error:
        assert error.code == "bad_room"
    else:
        assert check_room(room) == room
        assert topic_of(room, app) == topic


@pytest.mark.parametrize("topic", ["", ".", "\0", "x" * 256])
def test_topics_that_name_no_room(topic: str) -> None:
    with pytest.raises(Refused, match="room name"):
        room_of(topic, "")


def test_a_publication_has_the_data_byte_for_byte() -> None:
    assert publication(b'{"a": 1.50}') == b'{"channel":"y-webrtc","message":{"a": 1.50}}'
