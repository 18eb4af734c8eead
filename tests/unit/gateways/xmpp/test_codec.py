import pytest

from relay.gateways.xmpp.codec import Received, RoomFrame, Whitespace, XmppCodec
from relay.gateways.xmpp.errors import BadStanza
from relay.model import events
from relay.model.codec import Frame
from relay.model.envelope import MessageId

CODEC = XmppCodec("localhost")


def test_white_space_keeps_a_connection_alive() -> None:
    assert isinstance(CODEC.decode(Frame(b" \n")), Whitespace)
    assert isinstance(CODEC.decode(Frame(b"")), Whitespace)


def test_an_error_about_a_stanza_repeats_its_id_and_receiver() -> None:
    command = CODEC.decode(Frame(b'<message id="1" to="a@b"/>'))
    assert isinstance(command, Received)
    assert (command.about, command.key, command.joins) == ("message", "1\na@b", 0)
    for text in (b'<iq type="result" id="1"/>', b'<message type="error" id="1"/>', b'<open xmlns="u" id="1"/>'):
        command = CODEC.decode(Frame(text))
        assert command.key == ""
    assert CODEC.decode(Frame(b'<message id="%b"/>' % (b"x" * 4000))).key == "\n"
    join = CODEC.decode(Frame(b'<presence><x xmlns="http://jabber.org/protocol/muc"/></presence>'))
    assert isinstance(join, Received)
    assert join.joins == 1


@pytest.mark.parametrize("frame", [Frame(b"<a/>", is_text=False), Frame(b"<a>"), Frame(b" <a/>x")])
def test_refuses_frames(frame: Frame) -> None:
    with pytest.raises(BadStanza) as refused:
        CODEC.decode(frame)
    assert (refused.value.code, refused.value.condition) == ("bad_xml", "not-well-formed")


def test_joins_and_leaves_are_presences() -> None:
    frame = CODEC.encode(events.PresenceChange("r", MessageId(1, 2), joined=["a b"], left=["c"]))
    assert isinstance(frame, RoomFrame)
    joined, left = frame.stanzas
    assert (joined.peer, joined.kind, left.peer, left.kind) == ("a b", "joined", "c", "left")
    assert b'from="r@conference.localhost/a b"' in joined.frame.data
    assert b'type="unavailable"' in left.frame.data
    assert b'role="none"' in left.frame.data


def test_other_events_have_no_stanza_of_their_own() -> None:
    frame = CODEC.encode(events.Kicked("r", MessageId(1, 2), "a"))
    assert isinstance(frame, RoomFrame)
    assert frame.stanzas == ()
    assert XmppCodec("a").key != XmppCodec("b").key
