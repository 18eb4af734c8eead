import json
from typing import Any

import pytest

from relay.gateways.socketio.apps.relay import RelayApplication
from relay.gateways.socketio.codec import SocketIOCodec, incoming_event, read_message_event
from relay.gateways.socketio.encoders import ModernEncoder
from relay.gateways.socketio.offsets import OffsetForm
from relay.gateways.socketio.packets import BadPacket
from relay.gateways.socketio.parser import IncomingEvent
from relay.model import events
from relay.model.codec import NOTHING
from relay.model.commands import NO_IDENTITY, Detect, Move, Publish
from relay.model.envelope import MessageId, read_frame, seal, splice
from relay.model.errors import ERRORS, BadFrame

ID = MessageId(5, 6)


def codec(revision: int = 4, namespace: str = "/", **options: Any) -> SocketIOCodec:
    options = {"home": "r", "form": OffsetForm.ARGUMENT, "allowed": {"*"}, "max_size": 1000} | options
    home, form = options.pop("home"), options.pop("form")
    form = form if revision == 4 else OffsetForm.NONE
    options["offsets"] = form is not OffsetForm.NONE
    application = RelayApplication(**options)
    key = f"{revision}{namespace}"
    return SocketIOCodec(ModernEncoder(revision, namespace), key, application, home=home, form=form)


def call(*values: Any, number: str = "", attachments: tuple[bytes, ...] = ()) -> IncomingEvent:
    return incoming_event([json.dumps(value).encode() for value in values], number, attachments)


def message(envelope: str) -> events.Message:
    return events.Message("r", ID, "ann", (), "", seal(splice(envelope.encode(), "ann"), ID))


# In.


def test_a_message_packet_is_read_in_one_step_with_the_same_result() -> None:
    for envelope in ('{"channel":"c","message":[1]}', '{"channel":7}', "{}"):
        found = read_message_event(b'2["message",' + envelope.encode() + b"]")
        assert found is not None
        assert codec().decode(found) == codec().decode(incoming_event([b'"message"', envelope.encode()], "", ()))
    for other in ('2["message",{},{}]', '2["message",{"to":"x"}]', '21["message",{}]', '2["message",{]}]', '2["x",{}]'):
        assert read_message_event(other.encode()) is None


@pytest.mark.parametrize(
    ("values", "envelope", "channel"),
    [
        (["message", {"sender": 1, "channel": "c", "message": "m"}], None, "c"),
        (["message", {"channel": 7}], None, "7"),
        (["message", {}], None, ""),
        (["message", "text"], '{"event":"message","args":["text"]}', ""),
        (["message", None], '{"event":"message","args":[null]}', ""),
        (["message", [1]], '{"event":"message","args":[[1]]}', ""),
        (["message"], '{"event":"message","args":[]}', ""),
        (["message", {"a": 1}, 2], '{"event":"message","args":[{"a": 1},2]}', ""),
        (["message", {"to": "ann"}], '{"event":"message","args":[{"to": "ann"}]}', ""),
        (["message", {"type": "offer"}], '{"event":"message","args":[{"type": "offer"}]}', ""),
        (["message", {"from": "me"}], '{"event":"message","args":[{"from": "me"}]}', ""),
        (["message", {"key": "k"}], '{"event":"message","args":[{"key": "k"}]}', ""),
        (["message", {"id": 1}], '{"event":"message","args":[{"id": 1}]}', ""),
        (["message", {"room": 1}], '{"event":"message","args":[{"room": 1}]}', ""),
        (["message", {"event": "x"}], '{"event":"message","args":[{"event": "x"}]}', ""),
        (["message", {"channel": 0.5}], None, "0.5"),
        (["message", {"channel": False}], None, "false"),
        (["message", {"channel": ["c"]}], None, ""),
        (["message", {"channel": {"c": 1}}], None, ""),
        (["message", {"channel": "c" * 2048}], None, "c" * 2048),
        (["message", {"channel": "c" * 2049}], '{"event":"message","args":[{"channel": "%s"}]}' % ("c" * 2049), ""),
        (["offer", {"sdp": "é"}, 1], '{"event":"offer","args":[{"sdp": "\\u00e9"},1]}', ""),
        ([5], '{"event":5,"args":[]}', ""),
    ],
)
def test_an_event_becomes_an_envelope_and_the_same_event_again(values, envelope, channel) -> None:
    command = codec().decode(call(*values, number="3"))
    assert isinstance(command, Publish)
    assert command == Publish(
        (envelope or json.dumps(values[1])).encode(), (), channel, "ack:3", identity=NO_IDENTITY
    )  # an acknowledgement's number says nothing of repeats
    assert read_frame(command.envelope) is not None, "no envelope, by the relay's own rules"
    frame = codec().encode(message(command.envelope.decode()))
    assert frame.data[:2] == b"42"
    assert json.loads(frame.data[2:]) == [*values, "5-6"]


def test_attachments_become_base64_and_the_same_bytes_again() -> None:
    placeholder = {"_placeholder": True, "num": 0}
    command = codec().decode(call("blob", {"it": placeholder}, attachments=(b"\1\2",)))
    assert isinstance(command, Publish)
    assert json.loads(command.envelope) == {"event": "blob", "args": [{"it": placeholder}], "attachments": ["AQI="]}
    for revision, head, prefix in ((4, b'451-["blob",', b""), (3, b'451-["blob",', b"\4")):
        frame = codec(revision).encode(message(command.envelope.decode()))
        text, binary, *position = frame.parts
        assert text.data.startswith(head)
        assert (binary.data, binary.is_text) == (prefix + b"\1\2", False)
        assert frame.wire == b"".join([part.wire for part in (text, binary, *position)])


@pytest.mark.parametrize("base64", ["_-8BAg==\n", "_-8\r\nBAg==", "_-8BAg", "/+8BAg==", " /+8B\tAg == "])
def test_attachments_in_every_form_of_base64(base64: str) -> None:
    envelope = {"event": "e", "args": [{"_placeholder": True, "num": 0}], "attachments": [base64]}
    frame = codec().encode(message(json.dumps(envelope)))
    assert [part.data for part in frame.parts[1:]] == [b"\xff\xef\x01\x02"]


def test_attachments_count_against_the_size_of_a_message() -> None:
    with pytest.raises(BadFrame, match="too_large"):
        codec().decode(call("blob", {"_placeholder": True, "num": 0}, attachments=(bytes(1000),)))


@pytest.mark.parametrize(
    ("values", "number", "command"),
    [
        (["presence", "c"], "", Detect("c")),
        (["presence", 42], "7", Detect("42", key="ack:7")),
        (["join", "room"], "", Move("room", "join:")),
        (["join", "room"], "7", Move("room", "join:7")),
        (["join", "a b/%20"], "", Move("a%20b%2F%2520", "join:")),
        (["join", 42], "", Move("42", "join:")),
        (["presence", "a b"], "", Detect("a b")),
    ],
)
def test_join_and_presence_are_commands(values, number: str, command) -> None:
    assert codec(allowed={"offer"}).decode(call(*values, number=number)) == command


@pytest.mark.parametrize(
    ("values", "code"),
    [
        (["presence"], "bad_event"),
        (["presence", {}], "bad_event"),
        (["presence", "a", "b"], "bad_event"),
        (["join", None], "bad_event"),
        (["join", ""], "bad_room"),
        (["join", "a\nb"], "bad_room"),
        (["n" * 256], "bad_event"),
        (["error", 1], "reserved_event"),
        (["secret"], "event_not_allowed"),
    ],
)
def test_refused_events(values, code: str) -> None:
    with pytest.raises(BadFrame) as caught:
        codec(allowed={"message", "n" * 256}).decode(call(*values, number="1"))
    assert caught.value.code == code
    assert caught.value.key == "ack:1"


def test_an_event_without_a_name_is_a_bad_packet() -> None:
    with pytest.raises(BadPacket):
        incoming_event([], "", [])


# Out.


@pytest.mark.parametrize(
    "envelope",
    [
        "{}",
        '{"channel":"c","message":{"deep":[1]}}',
        '{ "a" : 1 }',
        '{"event":"connect","args":[]}',
        '{"event":"error","args":[]}',
        '{"event":"x","args":{}}',
        '{"event":"x"}',
        '{"event":["x"],"args":[]}',
        '{"event":"x","args":[],"attachments":["*"]}',
        '{"event":"x","args":[{"_placeholder":true,"num":1}],"attachments":["AQ=="]}',
        '{"event":"x","args":[],"attachments":[' + ",".join(['""'] * 11) + "]}",
        '{"event":"x","args":[],"attachments":["\u00e9"]}',
        '{"event":"presence","args":[true]}',
        '{"event":"relay:joined","args":[]}',
        '{"event":"__defineGetter__","args":[]}',
        '{"say":"\\"event\\""}',
    ],
)
def test_any_other_envelope_is_a_message_event_as_its_sender_wrote_it(envelope: str) -> None:
    frame = codec(3).encode(message(envelope))
    assert json.loads(frame.data[2:]) == ["message", json.loads(envelope)]


def test_revision_3_gets_only_ascii_and_no_offsets() -> None:
    text = '{"message":"é ☃ \U0001f600"}'
    frame = codec(3).encode(message(text)).data
    assert frame.isascii()
    assert json.loads(frame[2:]) == ["message", json.loads(text)]
    assert "☃" in codec().encode(message(text)).text


def test_packets_name_their_namespace() -> None:
    inside = codec(namespace="/rooms/x")
    assert inside.encode(message('{"a":1}')).data == b'42/rooms/x,["message",{"a":1},"5-6"]'
    assert inside.encode(events.Ack("x", ID, "ack:3")).data == b'43/rooms/x,3[{"id":"5-6"}]'
    assert inside.encoder.disconnect().data == b"41/rooms/x,"
    assert inside.encoder.connect_error("room_full", "full").data.startswith(b"44/rooms/x,{")
    assert codec(3, "/rooms/x").encoder.connect_error("room_full", "full").data == b'44/rooms/x,"full"'


def test_codecs_that_write_different_packets_have_different_keys() -> None:
    forms = [codec(4, form=form) for form in OffsetForm]
    keys = [*forms, codec(3), codec(4, "/rooms/x"), codec(3, "/rooms/x")]
    assert len({one.key for one in keys}) == len(keys)
    assert codec().key == codec().key


def test_the_end_of_a_namespace_is_no_key_of_an_application() -> None:
    class Other(RelayApplication):
        key = "x"

    def key(namespace: str, kind: type[RelayApplication]) -> str:
        application = kind(allowed={"*"}, max_size=1000, offsets=False)
        return SocketIOCodec(ModernEncoder(4, namespace), namespace, application, home="r", form=OffsetForm.NONE).key

    assert key("/rooms/ax", RelayApplication) != key("/rooms/a", Other)


def test_welcomes() -> None:
    fresh = events.Welcome("r", "ann", ID, "secret")
    assert json.loads(codec().encode(fresh).data[2:]) == {"sid": "ann", "pid": "ann.secret.5-6"}
    assert json.loads(codec(form=OffsetForm.NONE).encode(fresh).data[2:]) == {"sid": "ann"}
    assert codec(3).encode(fresh).data == b"40"
    back = events.Welcome("r", "ann", ID, "next", resumed=True, recovered=True, key="ann.secret.5-1")
    assert json.loads(codec().encode(back).data[2:]) == {"sid": "ann", "pid": "ann.secret.5-1"}
    lost = events.Welcome("r", "ann", ID, "next", recovered=False, reason="trimmed", key="ann.secret.5-1")
    entered, joined = codec().encode(lost).parts
    assert json.loads(entered.data[2:])["pid"] == "ann.next.5-6"
    assert joined.data == b'42["relay:joined",{"room":"r","id":"5-6"},"5-6"]'
    moved = events.Welcome("r", "ann", ID, "next", key="join:4")
    assert [part.data for part in codec().encode(moved).parts] == [b'434[{"room":"r","id":"5-6"}]', joined.data]
    assert codec(3).encode(moved).data == b'434[{"room":"r","id":"5-6"}]'
    unasked = events.Welcome("r", "ann", ID, "next", key="join:")
    assert codec().encode(unasked).data == joined.data
    assert codec(3).encode(unasked) is NOTHING


def test_an_offset_in_another_room_than_the_namespaces_own_names_it() -> None:
    there = codec(home="elsewhere")
    assert there.encode(message('{"message":1}')).data.endswith(b',"5-6@r"]')
    joined = there.encode(events.Welcome("r", "ann", ID, "", key="join:")).data
    assert json.loads(joined[2:]) == ["relay:joined", {"room": "r", "id": "5-6"}, "5-6@r"]


def test_clients_give_and_get_rooms_as_text() -> None:
    moved = events.Welcome("a%20b%2F%2520", "ann", ID, "next", key="join:4")
    acknowledged, joined = codec().encode(moved).parts
    assert json.loads(acknowledged.data[3:]) == [{"room": "a b/%20", "id": "5-6"}]
    assert json.loads(joined.data[2:]) == ["relay:joined", {"room": "a b/%20", "id": "5-6"}, "5-6@a%20b%2F%2520"]
    refused = events.Failure("not_joined", "no", "move", "join:4", "a%20b", {"room": "a%20b"})
    assert json.loads(codec().encode(refused).data[3:])[0]["error"]["room"] == "a b"


def test_presence_is_an_event_and_an_acknowledgement() -> None:
    assert codec().encode(events.Detected("r", True)).data == b'42["presence",true]'
    both = codec().encode(events.Detected("r", False, "ack:2"))
    assert [part.data for part in both.parts] == [b'42["presence",false]', b"432[false]"]


@pytest.mark.parametrize("code", ["too_large", "event_not_allowed", "no_such_peer"])
def test_an_error_that_a_retry_cannot_fix_is_the_acknowledgement(code: str) -> None:
    frame = codec().encode(events.Failure(code, "why", "event", "ack:9")).data
    assert frame[:3] == b"439"
    assert json.loads(frame[3:]) == [{"error": {"code": code, "text": "why"}}]


@pytest.mark.parametrize("code", ["too_fast", "unavailable", "outcome_unknown", "keys_unavailable"])
def test_a_retryable_error_is_an_event_and_no_acknowledgement(code: str) -> None:
    frame = codec().encode(events.Failure(code, "why", "event", "ack:9")).data
    assert json.loads(frame[2:]) == ["error", {"code": code, "text": "why"}]


def test_errors_of_joining() -> None:
    refused = events.Failure("room_full", "full", "join")
    assert json.loads(codec().encode(refused).data[2:])["data"]["code"] == "room_full"
    assert codec(3).encode(refused).data == b'44"full"'
    # Told that, clients would not come back; the connection is closed instead, and they do.
    for code in ("unavailable", "keys_unavailable"):
        assert codec().encode(events.Failure(code, ERRORS[code][1], "join")) is NOTHING
    moving = codec().encode(events.Failure("room_full", "full", "move", "join:4")).data
    assert json.loads(moving[3:]) == [{"error": {"code": "room_full", "text": "full"}}]


def test_other_events_of_the_relay_have_no_packet() -> None:
    for event in (
        events.Recovered("r", ID, 1),
        events.PresenceChange("r", ID),
        events.LeftRoom("r"),
        events.Pong("r", ID),
    ):
        assert codec().encode(event) is NOTHING


def test_a_message_that_nests_too_deep_is_not_read_as_an_envelope() -> None:
    deep = b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}"
    assert read_message_event(b'2["message",' + deep + b"]") is None


@pytest.mark.parametrize("name", ["__proto__", "constructor", "relay:joined", "error"])
def test_names_with_a_meaning_to_clients_cannot_be_emitted(name: str) -> None:
    with pytest.raises(BadFrame) as refused:
        codec().decode(call(name, 1))
    assert refused.value.code == "reserved_event"
