import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.gateways.native.codec import NativeCodec
from relay.gateways.native.topics import PublishTopic, SubscribeTopics, UnsubscribeTopics
from relay.model import events
from relay.model.codec import Frame
from relay.model.commands import AskPresence, Join, Leave, Ping, Publish, SetInfo, Subscribe, Unsubscribe
from relay.model.envelope import MessageId
from relay.model.errors import ERRORS, BadFrame
from tests.unit.model.test_envelope import JSON

PLAIN, TAGGED = NativeCodec(), NativeCodec(tagged=True)
ID = MessageId(5, 6)


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ('{"a":1}', Publish(b'{"a":1}')),
        ('{"type":"join","room":"r"}', Join("r")),
        (
            '{"type":"join","room":"r","presence":true,"echo":true,"channels":[],"resume":"k","since":"1-2","key":"m"}',
            Join("r", "k", "1-2", True, True, [], "m"),
        ),
        ('{"type":"leave"}', Leave()),
        ('{"type":"leave","room":"r","key":"k"}', Leave("r", "k")),
        ('{"type":"publish","envelope":{"a": 1}}', Publish(b'{"a": 1}')),
        (
            '{"type":"publish","room":"r","key":"k","envelope":{"to":"p","channel":"c"}}',
            Publish(b'{"to":"p","channel":"c"}', ("p",), "c", "k", "r"),
        ),
        ('{"type":"publish","envelope":{"key":"inner"}}', Publish(b'{"key":"inner"}', (), "", "inner")),
        ('{"type":"publish","key":"k","envelope":{"key":"k"}}', Publish(b'{"key":"k"}', (), "", "k")),
        ('{"type":"subscribe","channels":["a"]}', Subscribe(["a"])),
        ('{"type":"subscribe","channels":[7,0.5,true]}', Subscribe(["7", "0.5", "true"])),
        ('{"type":"unsubscribe","channels":["a"],"room":"r"}', Unsubscribe(["a"], "r")),
        ('{"type":"unsubscribe"}', Unsubscribe(None)),
        ('{"type":"subscribe","topics":["a b","é"],"key":"k"}', SubscribeTopics(["a b", "é"], "k")),
        ('{"type":"subscribe","topics":[]}', SubscribeTopics([])),
        ('{"type":"unsubscribe","topics":["a"]}', UnsubscribeTopics(["a"])),
        (
            '{"type":"publish","topic":"a b","data":[1, 2.50],"key":"k"}',
            PublishTopic("a b", b'{"channel":"y-webrtc","message":[1, 2.50]}', "k"),
        ),
        ('{"type":"presence"}', AskPresence()),
        ('{"type":"presence","limit":1000,"key":"k"}', AskPresence("", "k", 1000)),
        ('{"type":"info","info":{"a": 1.50, "b":"\\u00e9"},"key":"k"}', SetInfo('{"a":1.5,"b":"é"}'.encode(), "", "k")),
        ('{"type":"info","info":null,"room":"r"}', SetInfo(b"", "r")),
        ('{"type":"join","room":"r","info":{"a":[ ]}}', Join("r", info=b'{"a":[]}')),
        ('{"type":"join","room":"r","info":null}', Join("r")),
        ('{"type":"ping","key":"k"}', Ping("", "k")),
        ('{"key":"k","type":"ping","unknown":1}', Ping("", "k")),
        (r'{"channel":"\ud83d","a":"\ude00"}', Publish(rb'{"channel":"\ufffd","a":"\ufffd"}', (), "\ufffd")),
        (r'{"type":"publish","envelope":{"a":"\ud83d"}}', Publish(rb'{"a":"\ufffd"}')),
    ],
)
def test_frames_are_decoded_to_commands(text: str, command: object) -> None:
    assert PLAIN.decode(Frame(text.encode())) == command


@pytest.mark.parametrize(
    ("text", "code", "about", "key"),
    [
        ('{"type":"dance","key":"k"}', "unknown_command", "", "k"),
        ('{"type":5}', "unknown_command", "", ""),
        ('{"type":null}', "unknown_command", "", ""),
        ('{"type":"join","room":5,"key":"k"}', "bad_command", "join", "k"),
        ('{"type":"join","room":"r","echo":"yes"}', "bad_command", "join", ""),
        ('{"type":"subscribe","channels":"a"}', "bad_command", "subscribe", ""),
        ('{"type":"unsubscribe","key":"k","channels":["%s"]}' % ("é" * 1025), "bad_command", "unsubscribe", "k"),
        ('{"type":"subscribe","key":"k"}', "bad_command", "subscribe", "k"),
        ('{"type":"subscribe","topics":[5]}', "bad_command", "subscribe", ""),
        ('{"type":"subscribe","topics":[' + ",".join(['"t"'] * 101) + "]}", "bad_command", "subscribe", ""),
        ('{"type":"publish","topic":"t","key":"k"}', "bad_command", "publish", "k"),
        ('{"type":"publish","topic":"t","data":' + "[" * 256 + "]" * 256 + "}", "bad_json", "envelope", ""),
        ('{"type":"ping","key":{}}', "bad_command", "ping", ""),
        ('{"type":"publish"}', "bad_command", "publish", ""),
        ('{"type":"publish","envelope":[]}', "bad_envelope", "envelope", ""),
        ('{"type":"publish","envelope":{"from":1}}', "reserved_field", "envelope", ""),
        ('{"type":"publish","key":"k","envelope":{"from":1}}', "reserved_field", "envelope", "k"),
        ('{"type":"publish","key":"k","envelope":{"to":[]}}', "bad_envelope", "envelope", "k"),
        ('{"type":"publish","key":"k","envelope":{"to":"?","key":"inner"}}', "bad_peer", "envelope", "inner"),
        ('{"type":"publish","key":"k","envelope":{"key":"inner"}}', "bad_command", "publish", "k"),
        ('{"type":"join",', "bad_json", "envelope", ""),
        ('{"type":"presence","limit":0,"key":"k"}', "bad_command", "presence", "k"),
        ('{"type":"presence","limit":1001}', "bad_command", "presence", ""),
        ('{"type":"info","key":"k"}', "bad_command", "info", "k"),
        ('{"type":"info","info":[],"key":"k"}', "bad_info", "info", "k"),
        ('{"type":"join","room":"r","info":"x","key":"k"}', "bad_info", "join", "k"),
    ],
)
def test_frames_that_cannot_be_read_get_an_error_with_their_known_parts(
    text: str, code: str, about: str, key: str
) -> None:
    with pytest.raises(BadFrame) as refused:
        PLAIN.decode(Frame(text.encode()))
    assert (refused.value.code, refused.value.about, refused.value.key) == (code, about, key)


def test_binary_frames_are_refused() -> None:
    with pytest.raises(BadFrame) as refused:
        PLAIN.decode(Frame(b"{}", is_text=False))
    assert refused.value.code == "binary_frame"


COMMAND = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["join", "leave", "publish", "subscribe", "unsubscribe", "info", "presence", "ping"])
        | JSON
    },
    optional={
        name: JSON
        for name in (
            "room",
            "key",
            "channels",
            "envelope",
            "echo",
            "presence",
            "resume",
            "since",
            "to",
            "info",
            "limit",
        )
    },
)


@given(st.binary(max_size=300) | JSON.map(json.dumps).map(str.encode) | COMMAND.map(json.dumps).map(str.encode))
def test_any_bytes_are_a_command_or_a_declared_error(data: bytes) -> None:
    try:
        PLAIN.decode(Frame(data))
    except BadFrame as error:
        assert error.code in ERRORS


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (
            events.Welcome("r", "p", ID, "k"),
            {"type": "welcome", "peer": "p", "room": "r", "id": "5-6", "resumed": False, "first": False, "resume": "k"},
        ),
        (
            events.Welcome(
                "r", "p", ID, "k", True, False, "trimmed", events.Roster(9, [events.Present("q", True)], ID), "m", True
            ),
            {"type": "welcome", "peer": "p", "room": "r", "id": "5-6", "resumed": True, "resume": "k", "key": "m"}
            | {"first": True, "recovered": False, "reason": "trimmed"}
            | {"members": [{"peer": "q", "held": True}], "count": 9},
        ),
        (events.Recovered("r", ID, 3), {"type": "recovered", "id": "5-6", "replayed": 3}),
        (
            events.PresenceChange("r", ID, ("a",), ("b",)),
            {"type": "presence", "joined": ["a"], "left": ["b"], "id": "5-6"},
        ),
        (
            events.PresenceChange("r", ID, ("a",), (), ("b", "c"), {"a": b'{"x":1}', "b": b"{}", "c": b""}),
            {"type": "presence", "joined": ["a"], "left": [], "changed": ["b", "c"], "id": "5-6"}
            | {"info": {"a": {"x": 1}, "b": {}, "c": None}},
        ),
        (
            events.PresenceList("r", events.Roster(1, [events.Present("q", True, b'{"x":1}')], ID)),
            {"type": "presence", "present": True, "members": [{"peer": "q", "held": True, "info": {"x": 1}}]}
            | {"count": 1, "id": "5-6"},
        ),
        (events.InfoChanged("r", b'{"x":1}', "m"), {"type": "info", "info": {"x": 1}, "key": "m"}),
        (events.InfoChanged("r", b""), {"type": "info", "info": None}),
        (
            events.PresenceList("r", events.Roster(0, (), ID), "m"),
            {"type": "presence", "present": False, "members": [], "count": 0, "id": "5-6", "key": "m"},
        ),
        (events.LeftRoom("r"), {"type": "left"}),
        (events.Subscriptions("r", None), {"type": "subscribed", "channels": None}),
        (events.Ack("r", ID, "m"), {"type": "ack", "id": "5-6", "key": "m"}),
        (events.Pong("r", ID), {"type": "pong", "id": "5-6"}),
        (
            events.Failure("room_full", "t", "join", "m", "", {"room": "r"}),
            {"type": "error", "code": "room_full", "text": "t", "about": "join", "key": "m", "room": "r"},
        ),
    ],
)
def test_events_are_encoded_to_frames(event: events.ServerEvent, expected: dict[str, object]) -> None:
    frame = PLAIN.encode(event)
    assert frame.is_text
    assert json.loads(frame.data) == expected
    assert json.loads(TAGGED.encode(event).data) == expected | ({"room": "r"} if event.room else {})


def test_a_room_without_infos_looks_as_before_there_were_any() -> None:
    change = events.PresenceChange("r", ID, ("a",), ("b",))
    assert PLAIN.encode(change).data == b'{"type":"presence","joined":["a"],"left":["b"],"id":"5-6"}'
    listed = events.PresenceList("r", events.Roster(1, [events.Present("q")], ID))
    assert (
        PLAIN.encode(listed).data == b'{"type":"presence","present":true,"members":[{"peer":"q"}],"count":1,"id":"5-6"}'
    )


def test_messages_are_their_envelope_with_the_room_where_it_is_not_the_own() -> None:
    message = events.Message("r", ID, "p", (), "", b'{"a":1,"from":"p","id":"5-6"')
    assert PLAIN.encode(message).data == b'{"a":1,"from":"p","id":"5-6"}'
    assert TAGGED.encode(message).data == b'{"a":1,"from":"p","id":"5-6","room":"r"}'
    assert PLAIN.key != TAGGED.key


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"type":"offer","sdp":"v=0"}', 'the type "offer"'),
        ('{"type":"answer","key":"k"}', 'the type "answer"'),
        ('{"type":"offer","key":5}', 'the type "offer"'),
        ('{"type":"%s"}' % ("x" * 100), 'the type "%s…"' % ("x" * 40)),
        ('{"type":7}', "this type"),
        ('{"type":{}}', "this type"),
    ],
)
def test_the_error_about_an_object_of_the_page_says_how_to_wrap_it(text: str, shown: str) -> None:
    with pytest.raises(BadFrame) as refused:
        PLAIN.decode(Frame(text.encode()))
    assert refused.value.code == "unknown_command"
    assert shown in refused.value.text
    assert '{"message":{"type":"offer",…}}' in refused.value.text
