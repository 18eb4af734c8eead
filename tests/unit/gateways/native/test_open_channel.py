import json
from typing import Any

import pytest

from relay.gateways.native.open_channel import (
    ChannelCodec,
    CheckPresence,
    DataCodec,
    OpenChannel,
    PublishData,
    opens_channel,
)
from relay.model import events
from relay.model.codec import NOTHING, Frame
from relay.model.envelope import MessageId, seal, splice
from relay.model.errors import BadFrame


def frame(text: str) -> Frame:
    return Frame(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        '{"open":true,"channel":"c"}',
        '{"channel":"c","open":true}',
        '{"open":true,"channel":7}',
        '{"checkPresence":true,"channel":"c"}',
    ],
)
def test_first_frames_of_the_dialect(text: str) -> None:
    assert opens_channel(frame(text))


@pytest.mark.parametrize(
    "text",
    [
        '{"open":1,"channel":"c"}',
        '{"open":"true","channel":"c"}',
        '{"open":false,"channel":"c"}',
        '{"open":true}',
        '{"open":true,"channel":"c","message":1}',
        '{"open":true,"channel":"c","data":1}',
        '{"open":true,"channel":null}',
        '{"open":true,"channel":["c"]}',
        '{"Open":true,"channel":"c"}',
        '[{"open":true,"channel":"c"}]',
        '{"checkPresence":false,"channel":"c"}',
        '{"checkPresence":true}',
        '{"channel":"c","data":1}',
        '{"channel":"c","message":1}',
        '{"type":"ping"}',
        "open",
        "",
        '{"open":true,"channel":"' + "c" * 5000 + '"}',
    ],
)
def test_all_other_first_frames_are_those_of_the_native_protocol(text: str) -> None:
    assert not opens_channel(frame(text))


def test_a_binary_frame_opens_nothing() -> None:
    binary = Frame(b'{"open":true,"channel":"c"}', is_text=False)
    assert not opens_channel(binary)
    with pytest.raises(BadFrame, match="binary_frame"):
        ChannelCodec().decode(binary)


def test_frames_after_the_first_may_have_more_fields() -> None:
    codec = ChannelCodec()
    assert codec.decode(frame('{"open":true,"channel":7,"more":1}')) == OpenChannel("7")
    assert codec.decode(frame('{"checkPresence":true,"channel":"c"}')) == CheckPresence("c")
    published = codec.decode(frame('{"channel":"c","data":{"sdp":"x"},"more":1}'))
    assert published == PublishData("c", b'{"channel":"c","message":{"sdp":"x"}}')
    assert (published.about, published.key, OpenChannel("c").joins) == ("data", "", 1)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("no JSON", "bad_json"),
        ("[1]", "bad_command"),
        ('{"data":1}', "bad_command"),
        ('{"channel":"c"}', "bad_command"),
        ('{"channel":{},"data":1}', "bad_command"),
        ('{"channel":"c","open":"yes"}', "bad_command"),
        ('{"channel":"' + "c" * 3000 + '","data":1}', "bad_command"),
        ('{"channel":"c","data":' + "[" * 256 + "]" * 256 + "}", "bad_json"),
        ('{"type":"leave"}', "bad_command"),
    ],
)
def test_frames_that_are_none(text: str, code: str) -> None:
    with pytest.raises(BadFrame) as refused:
        ChannelCodec().decode(frame(text))
    assert refused.value.code == code


def written(envelope: str) -> Any:
    message_id = MessageId(1, 2)
    body = seal(splice(envelope.encode(), "ann"), message_id)
    return json.loads(DataCodec().encode(events.Message("room", message_id, "ann", (), "c", body)).data)


def test_pages_get_the_message_alone() -> None:
    assert written('{"channel":"c","message":{"sdp":"é"}}') == {"sdp": "é"}
    assert written('{"message":null}') is None
    assert written('{"event":"left","args":[]}') == {"event": "left", "args": []}


def test_errors_are_written_and_other_events_are_not() -> None:
    codec = DataCodec()
    assert json.loads(codec.encode(events.Failure("too_fast", "slowly")).data)["code"] == "too_fast"
    assert codec.encode(events.LeftRoom("room", "")) is NOTHING
