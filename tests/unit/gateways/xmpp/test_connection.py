from relay.gateways.xmpp.codec import RoomFrame
from relay.gateways.xmpp.connection import CLOSE, XmppConnection
from relay.gateways.xmpp.errors import XmppRefused
from relay.gateways.xmpp.reading import read
from relay.model import events
from relay.model.codec import Batch, Frame
from relay.model.envelope import MessageId
from relay.model.errors import BAD_PACKET, GOING_AWAY, REPLACED
from tests.unit.gateways.xmpp.streams import Recorder


def opened() -> tuple[XmppConnection, Recorder]:
    inner = Recorder()
    connection = XmppConnection(inner)
    connection.opened = True
    return connection, inner


def test_events_go_to_the_session() -> None:
    connection, inner = opened()
    frame = RoomFrame(events.RoomClosed("r", MessageId(1, 2)), ())
    connection.write(frame)
    taken: list[RoomFrame] = []
    connection.take = taken.append
    connection.write_batch(Batch([frame, Frame(b"<a/>")]))
    assert taken == [frame]
    assert [one.data for one in inner.frames] == [b"<a/>"]


def test_a_close_ends_the_stream_once() -> None:
    connection, inner = opened()
    connection.fault, connection.condition = XmppRefused("bad_xml"), "restricted-xml"
    connection.close(BAD_PACKET)
    connection.close(GOING_AWAY)
    assert inner.frames[1] is CLOSE
    assert b"<restricted-xml" in inner.frames[0].data
    assert len(inner.frames) == 2
    assert inner.reason is BAD_PACKET


def test_a_stream_that_can_be_resumed_is_not_ended_where_its_client_comes_back() -> None:
    for reason, count in ((GOING_AWAY, 0), (REPLACED, 2)):
        connection, inner = opened()
        connection.resumable = True
        connection.close(reason)
        assert len(inner.frames) == count


def test_a_stream_that_has_not_begun_is_redirected_where_its_client_comes_back() -> None:
    for reason, expected in ((GOING_AWAY, ["wss://here/a&b"]), (BAD_PACKET, [])):
        inner = Recorder()
        connection = XmppConnection(inner, "wss://here/a&b")
        connection.close(reason)
        assert [read(frame.data).root.get("see-other-uri") for frame in inner.frames] == expected
        assert all(frame.data.startswith(b"<close ") for frame in inner.frames)
    connection, inner = opened()
    connection.address = "wss://here"
    connection.close(GOING_AWAY)
    assert b"see-other-uri" not in b"".join([frame.data for frame in inner.frames])


def test_without_a_stream_there_is_nothing_to_end() -> None:
    inner = Recorder()
    XmppConnection(inner).close(GOING_AWAY)
    assert inner.frames == []
    assert inner.reason is GOING_AWAY
