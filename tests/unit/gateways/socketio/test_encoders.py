"""The packets that clients of versions 1 to 4 get."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.gateways.socketio.encoders import ModernEncoder, OutgoingEvent, escaped
from relay.model.codec import Bundle


@pytest.mark.parametrize(
    ("revision", "namespace", "head"),
    [(4, "/", b"42["), (3, "/", b"42["), (4, "/rooms/x", b"42/rooms/x,["), (3, "/rooms/x", b"42/rooms/x,[")],
)
def test_an_event_names_its_namespace_unless_it_is_the_first(revision, namespace: str, head: bytes) -> None:
    frame = ModernEncoder(revision, namespace).event(OutgoingEvent(b'"a"', [b"1", b'"x"']))
    assert frame.data == head + b'"a",1,"x"]'
    assert frame.is_text


def test_attachments_follow_their_event() -> None:
    event = OutgoingEvent(b'"a"', [b'{"_placeholder":true,"num":0}'], [b"\1", b"\2"])
    frame = ModernEncoder(4, "/x").event(event)
    assert isinstance(frame, Bundle)
    assert [part.data for part in frame.parts] == [b'452-/x,["a",{"_placeholder":true,"num":0}]', b"\1", b"\2"]
    assert [part.is_text for part in frame.parts] == [True, False, False]
    assert [part.data for part in ModernEncoder(3, "/").event(event).parts[1:]] == [b"\4\1", b"\4\2"]


def test_acknowledgements_and_the_end_of_a_namespace() -> None:
    for revision in (3, 4):
        assert ModernEncoder(revision, "/").ack("7", {"id": "1-2"}).data == b'437[{"id":"1-2"}]'
        assert ModernEncoder(revision, "/x").ack("7", True).data == b"43/x,7[true]"
        assert ModernEncoder(revision, "/").disconnect().data == b"41"
        assert ModernEncoder(revision, "/x").disconnect().data == b"41/x,"


def test_only_revision_4_has_ids_in_the_connect_packet() -> None:
    assert ModernEncoder(4, "/x").connect("ann", "").data == b'40/x,{"sid":"ann"}'
    assert ModernEncoder(4, "/").connect("ann", "p").data == b'40{"sid":"ann","pid":"p"}'
    assert ModernEncoder(3, "/x").connect("ann", "p").data == b"40/x,"


def test_errors_of_connecting() -> None:
    assert ModernEncoder(4, "/x").connect_error("bad_namespace", "Invalid namespace").data == (
        b'44/x,{"message":"Invalid namespace"}'
    )
    assert json.loads(ModernEncoder(4, "/").connect_error("room_full", "full").data[2:]) == {
        "message": "full",
        "data": {"code": "room_full", "text": "full"},
    }
    assert ModernEncoder(3, "/x").connect_error("room_full", "full").data == b'44/x,"full"'


def test_a_namespace_that_is_not_ascii_is_refused_by_name_in_revision_4_alone() -> None:
    assert ModernEncoder(4, "/é").connect_error("bad_namespace", "no").data.decode() == '44/é,{"message":"no"}'
    assert ModernEncoder(3, "/é").connect_error("bad_namespace", "no").data == b'44"no"'


def test_revision_3_gets_ascii_alone() -> None:
    event = OutgoingEvent(b'"a"', ['"é \U0001f600"'.encode()])
    assert ModernEncoder(3, "/").event(event).data == rb'42["a","\u00e9 \ud83d\ude00"]'
    assert ModernEncoder(4, "/").event(event).data.decode() == '42["a","é \U0001f600"]'
    assert ModernEncoder(3, "/").ack("1", "é").data == rb'431["\u00e9"]'


@given(st.text())
def test_escaped_json_means_the_same(text: str) -> None:
    text = text.encode(errors="ignore").decode()
    written = escaped(json.dumps(text, ensure_ascii=False).encode())
    assert written.isascii()
    assert json.loads(written) == text
