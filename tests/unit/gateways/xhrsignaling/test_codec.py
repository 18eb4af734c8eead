import json

import pytest

from relay.gateways.xhrsignaling.codec import RowCodec, RowFrame
from relay.model.codec import NOTHING, Frame
from relay.model.envelope import MessageId, seal, splice
from relay.model.errors import BadFrame
from relay.model.events import Failure, Message


def test_a_message_is_a_row_with_the_envelope_as_it_was_sent() -> None:
    envelope = '{"channel":"c", "message":{"sdp":"v=0\\r\\n é"},"sender":7}'.encode()
    message_id = MessageId(17, 4)
    frame = RowCodec().encode(Message("room", message_id, "ann", (), "c", seal(splice(envelope, "ann"), message_id)))
    assert isinstance(frame, RowFrame)
    assert frame.id == message_id
    assert json.loads(frame.data) == {"ID": "17-4", "Message": envelope.decode()}


def test_other_events_have_no_row() -> None:
    assert RowCodec().encode(Failure("bad_json", "no", "", "", "", {})) is NOTHING


def test_there_are_no_frames() -> None:
    with pytest.raises(BadFrame):
        RowCodec().decode(Frame(b"{}"))
