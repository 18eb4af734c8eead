from relay.gateways.xmpp.bosh.connection import BoshConnection
from relay.gateways.xmpp.connection import CLOSE
from relay.model.codec import Frame
from relay.model.errors import GOING_AWAY
from tests.unit.gateways.xmpp.streams import Recorder


def test_the_framing_of_websockets_is_left_out() -> None:
    recorder = Recorder()
    connection = BoshConnection(recorder)
    connection.write(CLOSE)
    connection.write(Frame(b"<a/>"))
    connection.opened = True
    connection.close(GOING_AWAY)
    assert [frame.data[:14] for frame in recorder.frames] == [b"<a/>", b"<stream:error "]
    assert recorder.reason is GOING_AWAY
    assert not connection.manages
